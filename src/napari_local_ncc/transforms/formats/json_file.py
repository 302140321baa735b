"""A transform's file: a JSON document, and the dense field of a flow beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_local_ncc.files.whole import whole_file, write_text
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.image.read_guard import (
    TOLD_BY_SYSTEM,
    ReadError,
    check_file,
    reason_of,
)
from napari_local_ncc.transforms.formats.field_file import (
    check_replaceable,
    field_path,
    read_field,
    write_field,
)

if TYPE_CHECKING:
    from os import PathLike

    import numpy as np
    from numpy.typing import NDArray

FORMAT = "napari-local-ncc transform"
VERSION = 1


def write_document(
    values: dict[str, Any],
    displacement: NDArray[np.float32] | None,
    path: str | PathLike[str],
    *,
    overwrite: bool = True,
) -> None:
    """Write a transform's values as JSON, and its field, if it has one, as Zarr beside it.

    Parameters
    ----------
    values : dict
        Plain JSON values, of `Registration.to_dict`.
    displacement : ndarray of float32, shape (*series, ndim, *space), or None
        The field of a flow.
    path : path_like
        The JSON file; the field goes beside it.
    overwrite : bool, default True
        Whether to replace what is there: both, or neither.

    Raises
    ------
    FileExistsError
        If the Zarr array would replace something else, or what is there must not be replaced.
    """
    target = Path(path)
    document = {"format": FORMAT, "version": VERSION, **values}
    if displacement is None:
        write_text(target, json.dumps(document, indent=1), overwrite=overwrite)
        return
    check_replaceable(field_path(target))
    with whole_file(target, overwrite=overwrite, beside=(field_path(target).name,)) as partial:
        ndim = Grid.from_dict(values["grid"]).spatial_ndim
        checksum = write_field(displacement, ndim, field_path(partial))
        document["displacement"] |= {"file": field_path(target).name, "checksum": checksum}
        partial.write_text(json.dumps(document, indent=1), encoding="utf-8")


def read_document(path: str | PathLike[str]) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
    """Read what `write_document` wrote: the values, and the field or None.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or not its field.
    ValueError
        If it is not such a file.
    """
    try:
        document = json.loads(check_file(path).read_text(encoding="utf-8"))
        _check_format(document)
        summary = document.get("displacement")
        if summary is None:
            return document, None
        shape, checksum = tuple(summary["shape"]), str(summary["checksum"])
        ndim = Grid.from_dict(document["grid"]).spatial_ndim
    except IsADirectoryError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except Exception as error:  # whatever a document that is not ours makes of it
        if type(error) in TOLD_BY_SYSTEM:
            raise
        raise foreign(path, error) from error
    # by its name beside the file, so that both can be renamed together
    return document, read_field(field_path(Path(path)), shape, ndim, checksum)


def values_of_text(text: str) -> dict[str, Any]:
    """Return the values in the text of a document, or in that of `Registration.to_dict`.

    Raises
    ------
    ValueError
        If it is no JSON object, or one of another format or version.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError("it is no JSON object")
        if values.keys() & {"format", "version"}:  # which `to_dict` does not give
            _check_format(values)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(reason_of(error)) from error
    return values


def _check_format(document: dict[str, Any]) -> None:
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {document['format']!r}")
    if document["version"] != VERSION or isinstance(document["version"], bool):
        raise ValueError(f"its version is {document['version']!r}, but {VERSION} can be read")


def foreign(path: str | PathLike[str], error: Exception) -> ValueError:
    """Return the error of a file that holds no transform."""
    return ReadError(
        f"{path} is no transform of local-ncc ({reason_of(error)}); "
        "make one with: local-ncc register FIXED MOVING -o T.json"
    )

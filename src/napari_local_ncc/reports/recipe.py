"""A map's provenance as a text that makes the same map again: Python, or a command line."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass, replace
from pprint import pformat
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from dask.array.core import normalize_chunks, slices_from_chunks

from napari_local_ncc.image.source import Source
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.io.reading import read_source
from napari_local_ncc.parameters import NCCParameters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_local_ncc.image.spatial_image import SpatialImage

Provenance = dict[str, Any]

NAMES = (
    "Calibration",
    "Grid",
    "NCCParameters",
    "Registration",
    "confidence_map",
    "read_image",
    "write_map",
)
ROLES = ("fixed", "moving", "mask")
OUTPUT = "ncc.ome.zarr"
TRANSFORM = "TRANSFORM.json"
SAVE_DENSE = (
    f"# The transform moves every pixel by itself: save it, as {TRANSFORM}, where it was found."
)
SAVE_LONG = (
    f"# Save the transform as {TRANSFORM}, from the map's file or layer: "
    f"Registration.from_dict(provenance['registration']).save({TRANSFORM!r})"
)
CALIBRATED_ANEW = (
    "# Confidence is calibrated anew: the same images and the same seed give the same numbers."
)
OTHER_CALIBRATION = (
    "# The calibration was given, and a command draws its own: the Python program has that one."
)
IN_CONSOLE = " in napari's console"
LONGEST_ARGUMENT = 6000  # characters; the command line of Windows holds 8191 in all


def as_python(provenance: Provenance, output: str = OUTPUT) -> str:
    """Write the Python program that makes a map again.

    Parameters
    ----------
    provenance : dict
        `ConfidenceMap.provenance`, or what a result layer carries in its metadata.
    output : str
        Where the program writes the map.

    Returns
    -------
    str
        A program. Where an image has no file behind it, a comment says how to save it
        under the name that the program reads.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import confidence_map, read_image
    >>> from napari_local_ncc.reports import as_python
    >>> np.save("a.npy", np.random.default_rng(0).normal(size=(40, 50)))
    >>> a = read_image("a.npy")
    >>> print(as_python(confidence_map(a, a).provenance))
    # made with napari-local-ncc ...
    from napari_local_ncc import confidence_map, read_image, write_map
    ...
    result = confidence_map(
    ...
    write_map(result, 'ncc.ome.zarr')
    """
    inputs = _inputs(provenance)
    body = [_read_in_python(each) for each in inputs]
    arguments = [each.role for each in inputs if each.role != "mask"]
    parameters = ", ".join(f"{k}={value!r}" for k, value in _set_parameters(provenance).items())
    arguments += [f"parameters=NCCParameters({parameters})"] if parameters else []
    if provenance["registration"] is not None:
        body.append(
            f"registration = Registration.load({TRANSFORM!r})"
            if _is_dense(provenance)
            else _literal("registration", "Registration", _moving(provenance))
        )
        arguments.append("registration=registration")
    if provenance["mask"] is not None:
        arguments.append("mask=mask")
    if provenance["unitless"] is not None:
        arguments.append(f"unitless={provenance['unitless']!r}")
    if _is_calibration_kept(provenance):
        body.append(_literal("calibration", "Calibration", provenance["calibration"]))
        arguments.append("calibration=calibration")
    call = "".join(f"    {argument},\n" for argument in arguments)
    body += [f"result = confidence_map(\n{call})", f"write_map(result, {output!r})"]
    names = [name for name in NAMES if any(re.search(rf"\b{name}\b", part) for part in body)]
    imports = f"from napari_local_ncc import {', '.join(names)}"
    head = [f"# made with {provenance['software']}", *_hints(inputs)]
    head += [SAVE_DENSE] if _is_dense(provenance) else []
    if provenance["calibration"] is not None and not _is_calibration_kept(provenance):
        head.append(CALIBRATED_ANEW)
    return "\n".join([*head, imports, "", *body, ""])


def as_command_line(provenance: Provenance, output: str = OUTPUT) -> str:
    """Write the command that makes a map again.

    Parameters
    ----------
    provenance, output
        As for `as_python`.

    Returns
    -------
    str
        One command for a POSIX shell, after lines of comment where an image has no file
        behind it, or the transform is too long for a command line.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import NCCParameters, confidence_map, read_image
    >>> from napari_local_ncc.reports import as_command_line
    >>> np.save("a.npy", np.random.default_rng(0).normal(size=(40, 50)))
    >>> a = read_image("a.npy")
    >>> result = confidence_map(a, a, parameters=NCCParameters(radius=3))
    >>> print(as_command_line(result.provenance))
    local-ncc map ...a.npy ...a.npy -o ncc.ome.zarr --radius 3
    """
    inputs = _inputs(provenance)
    words = ["local-ncc", "map", *(each.path for each in inputs if each.role != "mask")]
    words += ["-o", output]
    hints = _hints(inputs)
    hints += [OTHER_CALIBRATION] if provenance.get("calibration_given") else []
    ndim = inputs[0].spatial_ndim if any(e.placement == "count axes" for e in inputs) else None
    words += [] if ndim is None else ["--ndim", str(ndim)]
    for each in inputs:
        words += _options_for(each)
        counted = each.placement != "replace" and ndim in (None, each.spatial_ndim)
        if not counted:
            words += [f"--grid-{each.role}", json.dumps(each.grid, separators=(",", ":"))]
    words += _shared_options(inputs)
    parameters = _set_parameters(provenance)
    for name, value in parameters.items():
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(
                ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            )
    if provenance["registration"] is not None:
        text = json.dumps(_moving(provenance), separators=(",", ":"))
        if _is_dense(provenance):
            hints, text = [*hints, SAVE_DENSE], TRANSFORM
        elif len(text) > LONGEST_ARGUMENT:
            hints, text = [*hints, SAVE_LONG], TRANSFORM
        words += ["--transform", text]
    if provenance["unitless"] is not None:
        words += ["--unitless", provenance["unitless"]]
    return "\n".join([*hints, shlex.join(words), ""])


def _is_calibration_kept(provenance: Provenance) -> bool:
    """Say whether a calibration is written out: not where drawing it anew gives the same."""
    # maps of earlier versions do not say whether theirs was given
    return provenance["calibration"] is not None and provenance.get("calibration_given", True)


def _moving(provenance: Provenance) -> dict[str, Any]:
    """Return what of a transform moves pixels, without what is known of its quality."""
    return {k: v for k, v in provenance["registration"].items() if k != "reports"}


def checked_files(
    provenance: Provenance, images: Mapping[str, SpatialImage | None] | None = None
) -> Provenance:
    """Forget the files that do not hold the images that were compared.

    Parameters
    ----------
    provenance : dict
        As for `as_python`.
    images : mapping of str to SpatialImage, optional
        The images by their role, as far as they are at hand: a file is then believed only
        if its samples equal theirs, all of them where they can have been edited, else
        those in the middle.

    Returns
    -------
    dict
        The same, where the source of an image names a file only if that can be read and
        gives an image of this shape; it then says where the file itself places it.
    """
    checked = dict(provenance)
    for role in ROLES:
        origin = provenance[role]
        if origin is None or origin["source"] is None or origin["source"]["path"] is None:
            continue
        source = Source.from_dict(origin["source"])
        found = _read_again(source)
        if found is None or not _is_same(found, origin, (images or {}).get(role)):
            source = replace(source, path=None, grid=None)
        else:
            source = replace(source, grid=found.grid)
        checked[role] = origin | {"source": source.to_dict()}
    return checked


def _read_again(source: Source) -> SpatialImage | None:
    try:
        return read_source(source)
    except (OSError, ValueError, TypeError):  # it is gone, or holds something else now
        return None


def _is_same(found: SpatialImage, origin: Provenance, image: SpatialImage | None) -> bool:
    if list(found.grid.shape) != list(origin["grid"]["shape"]):
        return False
    if image is None:
        return True
    if image.source is not None and image.source.in_memory:  # any part may have been edited
        return all(_agree(found, image, place) for place in _tiles(found))
    middle = tuple(slice(max(n // 2 - 32, 0), n // 2 + 32) for n in found.grid.shape[-2:])
    return _agree(found, image, (*(n // 2 for n in found.grid.shape[:-2]), *middle))


def _tiles(image: SpatialImage) -> Iterator[tuple[slice, ...]]:
    return iter(slices_from_chunks(normalize_chunks(map_chunks(image.grid), image.grid.shape)))


def _agree(found: SpatialImage, image: SpatialImage, place: tuple[Any, ...]) -> bool:
    theirs, ours = dask.compute(found.data[place], image.data[place], callbacks=[])
    return bool(np.array_equal(theirs, ours, equal_nan=theirs.dtype.kind == "f"))


def _is_dense(provenance: Provenance) -> bool:
    """Say whether a transform is a field, of which the record holds only the description."""
    return "displacement" in (provenance["registration"] or {})


@dataclass(frozen=True, slots=True, eq=False)
class _Input:
    """One image of a recipe: how to read it, and where to place it.

    Parameters
    ----------
    role : {"fixed", "moving", "mask"}
        What it is for.
    name : str
        What it was called.
    path : str
        The file to read.
    source : Source
        What to take of it.
    grid : dict
        Where its samples lie.
    """

    role: str
    name: str
    path: str
    source: Source
    grid: dict[str, Any]

    @property
    def spatial_ndim(self) -> int:
        return sum(self.grid["spatial"])

    @property
    def placement(self) -> str:
        """What to do to the file's own grid: "nothing", "count axes" or "replace"."""
        own = None if self.source.grid is None else self.source.grid.to_dict()
        if own == self.grid:
            return "nothing"
        if own is not None and own | {"spatial": self.grid["spatial"]} == self.grid:
            return "count axes"
        return "replace"


def _inputs(provenance: Provenance) -> list[_Input]:
    inputs = []
    for role in ROLES:
        origin = provenance[role]
        if origin is None:
            continue
        source = Source() if origin["source"] is None else Source.from_dict(origin["source"])
        if source.path is None:  # what is saved is what was compared, selected already
            source = Source(expression=source.expression)
        path = source.path or f"{role.upper()}.npy"
        inputs.append(_Input(role, origin["name"], path, source, origin["grid"]))
    return inputs


def _hints(inputs: Sequence[_Input]) -> list[str]:
    """Say in lines of comment how to save the images that have no file."""
    without = [each for each in inputs if each.source.path is None]
    if not without:
        return []
    lines = [f"# {each.role} ({each.name}) has no file of its own." for each in without]
    in_napari = all(each.source.expression for each in without)
    lines.append(f"# Save {'it' if len(without) == 1 else 'them'}" + IN_CONSOLE * in_napari + ":")
    lines.append("#   import numpy")
    if in_napari:
        lines.append("#   from napari_local_ncc.layers import mask_image, spatial_image")
    for each in without:
        samples = f"{each.source.expression}.data" if in_napari else each.role
        lines.append(f"#   numpy.save({each.path!r}, {samples})")
    return lines


def _read_in_python(each: _Input) -> str:
    options = ""
    if each.source.select:
        options += f", select={dict(each.source.select)!r}"
    if each.source.level:
        options += f", level={each.source.level}"
    if each.source.scene is not None:
        options += f", scene={each.source.scene}"
    if each.source.absent_chunks is not None:
        options += f", absent_chunks={each.source.absent_chunks!r}"
    if each.source.reader is not None:
        options += f", reader={each.source.reader!r}"
    if not each.source.positions:
        options += ", positions=False"
    text = f"{each.role} = read_image({each.path!r}{options})"
    if each.placement == "count axes":
        return f"{text}.with_spatial_ndim({each.spatial_ndim})"
    if each.placement == "replace":
        grid = _literal(f"{each.role}_grid", "Grid", each.grid)
        return f"{text}\n{grid}\n{each.role} = {each.role}.replace(grid={each.role}_grid)"
    return text


def _literal(name: str, kind: str, values: dict[str, Any]) -> str:
    """Return the assignment of an object that is made from its plain values."""
    plain = json.loads(json.dumps(values))  # a map from a file has lists for tuples
    text = pformat(plain, width=92, sort_dicts=False, compact=True)
    lines = "\n".join(f"    {line}" for line in text.splitlines())
    return f"{name} = {kind}.from_dict(\n{lines}\n)"


def _set_parameters(provenance: Provenance) -> Mapping[str, Any]:
    """Return the parameters that differ from their defaults."""
    defaults = asdict(NCCParameters())
    given = asdict(NCCParameters(**provenance["parameters"]))
    return {name: value for name, value in given.items() if value != defaults[name]}


def _shared_options(inputs: Sequence[_Input]) -> list[str]:
    """Return the options of `local-ncc map` that say how all of its files are read."""
    images = [each.source for each in inputs if each.role != "mask"]
    absent = next((s.absent_chunks for s in images if s.absent_chunks is not None), None)
    words = [] if absent is None else ["--absent-chunks", absent]
    reader = next((s.reader for s in images if s.reader is not None), None)
    words += [] if reader is None else ["--reader", reader]
    return words + ([] if all(s.positions for s in images) else ["--ignore-positions"])


def _options_for(each: _Input) -> list[str]:
    """Return the options of `local-ncc map` that say what to take of one image's file."""
    words = ["--mask", each.path] if each.role == "mask" else []
    if each.source.select:
        chosen = ",".join(f"{label}={index}" for label, index in each.source.select.items())
        words += [f"--select-{each.role}", chosen]
    if each.source.level:
        words += [f"--level-{each.role}", str(each.source.level)]
    if each.source.scene is not None:
        words += [f"--scene-{each.role}", str(each.source.scene)]
    return words

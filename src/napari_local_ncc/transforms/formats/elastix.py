"""Transform parameter files of elastix: text that names numbers, and a file to begin with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.transforms.formats.itk import (
    check_same_lattice,
    displacement_on,
    from_itk,
    itk_affine,
    itk_place,
    linear_matrix,
    vector_image,
)
from napari_local_ncc.transforms.formats.simpleitk import simpleitk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.frame_transform import FrameTransform

    Entries = dict[str, list[str]]

ALONE = "NoInitialTransform"
INITIAL = ("InitialTransformParameterFileName", "InitialTransformParametersFileName")
ENTRY = re.compile(r"^\s*\(\s*(\w+)\s+(.*?)\)\s*(?://.*)?$", re.MULTILINE)
WORD = re.compile(r'"([^"]*)"|(\S+)')


def is_elastix(text: str) -> bool:
    """Return whether a text looks like a transform parameter file of elastix."""
    return {"Transform", "TransformParameters"} <= {name for name, _ in ENTRY.findall(text)}


def read_elastix(path: Path, space: Grid) -> FrameTransform:
    """Read a file of elastix, and the files that it begins with.

    Parameters
    ----------
    path : path
        Such as ``TransformParameters.1.txt``. An initial transform that is not where the file
        says is looked for beside it: elastix writes the path on the machine where it ran.
    space : Grid
        The fixed image's spatial grid, where a transform that is not linear is sampled.

    Raises
    ------
    FileNotFoundError
        If an initial transform is nowhere.
    ImportError
        If SimpleITK is not installed.
    ValueError
        If a file lacks something, or holds a transform that is not read.
    """
    _check_fixed(_entries(path), space)
    return from_itk(_chain(path, space), space)


def _check_fixed(entries: Entries, space: Grid) -> None:
    """Raise ValueError where elastix saw the fixed image in another world than its grid's."""
    turned = not (space.is_axis_parallel and (np.diagonal(space.pixel_to_world) > 0).all())
    if entries.get("UseDirectionCosines") == ["false"] and turned:
        raise ValueError(
            "elastix left out the directions of the images (UseDirectionCosines), but the axes of "
            "fixed are turned or flipped; run it with them"
        )
    seen = [entries.get(name, []) for name in ("Size", "Spacing", "Origin")]
    if any(len(words) != space.ndim for words in seen):
        return
    size, spacing, origin = ([float(word) for word in words[::-1]] for words in seen)
    check_same_lattice([int(n) for n in size], spacing, origin, space)


def files_of_chain(path: Path) -> dict[Path, Entries]:
    """Return a file and those that it begins with, and what stands in each."""
    chain = {path: _entries(path)}
    file = path
    while (before := _initial(file, chain[file])) is not None:
        if before in chain:
            raise ValueError(f"{before.name} is its own initial transform")
        chain[before] = _entries(before)
        file = before
    return chain


def _chain(path: Path, space: Grid) -> Any:
    """Put a file and those that it begins with together, as a transform of ITK."""
    chain = list(files_of_chain(path).items())
    whole: Any = None
    for file, entries in reversed(chain):
        try:
            one = _transform(entries)
        except (KeyError, ValueError, RuntimeError) as error:
            raise ValueError(f"{file.name} is no transform of elastix: {error.args[0]}") from error
        added = entries.get("HowToCombineTransforms", ["Compose"]) == ["Add"]
        whole = one if whole is None else (_add if added else _compose)(whole, one, space)
    return whole


def _entries(path: Path) -> Entries:
    text = path.read_text(encoding="utf-8", errors="replace")
    return {
        name: [quoted or plain for quoted, plain in WORD.findall(rest)]
        for name, rest in ENTRY.findall(text)
    }


def _initial(path: Path, entries: Entries) -> Path | None:
    """Return the file of the transform that comes before; None if there is none."""
    names = [entries[key][0] for key in INITIAL if entries.get(key)]
    if not names or names[0] == ALONE:
        return None
    named = Path(names[0])
    # a Windows path is one name elsewhere
    beside = path.with_name(names[0].replace("\\", "/").rsplit("/", 1)[-1])
    for candidate in (path.parent / named, beside):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"{path} begins with the transform {named}, which is neither there nor beside it; "
        "put both files into one folder"
    )


def _numbers(entries: Entries, name: str) -> list[float]:
    if name not in entries:
        raise KeyError(f"it has no {name}")
    return [float(word) for word in entries[name]]


def _transform(entries: Entries) -> Any:
    """Return the transform of one file alone."""
    name = entries.get("Transform", [""])[0]
    ndim = int(_numbers(entries, "FixedImageDimension")[0])
    if name not in MAKERS or ndim not in (2, 3):
        raise ValueError(
            f"its Transform is {name!r} of {ndim} axes, but only {', '.join(MAKERS)} of 2 or 3 "
            "axes are read"
        )
    transform = MAKERS[name](entries, ndim)
    parameters = _numbers(entries, "TransformParameters")
    if len(parameters) != transform.GetNumberOfParameters():
        raise ValueError(
            f"it has {len(parameters)} TransformParameters, but a {name} of {ndim} axes has "
            f"{transform.GetNumberOfParameters()}"
        )
    transform.SetParameters(parameters)
    return transform


def _translation(entries: Entries, ndim: int) -> Any:
    return simpleitk().TranslationTransform(ndim)


def _euler(entries: Entries, ndim: int) -> Any:
    itk = simpleitk()
    centre = _numbers(entries, "CenterOfRotationPoint")
    if ndim == 2:
        return _about(itk.Euler2DTransform(), centre)
    return _about(itk.Euler3DTransform(), [*centre, entries.get("ComputeZYX") == ["true"]])


def _similarity(entries: Entries, ndim: int) -> Any:
    itk = simpleitk()
    transform = itk.Similarity2DTransform() if ndim == 2 else itk.Similarity3DTransform()
    return _about(transform, _numbers(entries, "CenterOfRotationPoint"))


def _affine(entries: Entries, ndim: int) -> Any:
    return _about(simpleitk().AffineTransform(ndim), _numbers(entries, "CenterOfRotationPoint"))


def _bspline(entries: Entries, ndim: int) -> Any:
    if entries.get("UseCyclicTransform") == ["true"]:
        raise ValueError("it is a cyclic B-spline, which is not read")
    order = int(entries.get("BSplineTransformSplineOrder", ["3"])[0])
    size, index, spacing, origin = (
        np.array(_numbers(entries, f"Grid{part}"))
        for part in ("Size", "Index", "Spacing", "Origin")
    )
    columns = _numbers(entries, "GridDirection") if "GridDirection" in entries else np.eye(ndim)
    direction = np.reshape(columns, (ndim, ndim)).T  # elastix writes column after column
    first = origin + direction @ (spacing * index)
    transform = simpleitk().BSplineTransform(ndim, order)
    return _about(transform, [*size, *first, *spacing, *direction.ravel()])


def _about(transform: Any, fixed_parameters: Iterable[float]) -> Any:
    transform.SetFixedParameters([float(value) for value in fixed_parameters])
    return transform


MAKERS: dict[str, Callable[[Entries, int], Any]] = {
    "TranslationTransform": _translation,
    "EulerTransform": _euler,
    "SimilarityTransform": _similarity,
    "AffineTransform": _affine,
    "BSplineTransform": _bspline,
    "RecursiveBSplineTransform": _bspline,
}


def _compose(before: Any, after: Any, grid: Grid) -> Any:
    return simpleitk().CompositeTransform([after, before])  # ITK applies the last one first


def _add(before: Any, after: Any, grid: Grid) -> Any:
    """Add two displacements of the same points: exact of linear transforms, else on a grid."""
    if before.IsLinear() and after.IsLinear():
        matrix = linear_matrix(before) + linear_matrix(after) - np.eye(grid.ndim + 1)
        return itk_affine(matrix)
    steps = displacement_on(grid, before) + displacement_on(grid, after)
    return simpleitk().DisplacementFieldTransform(vector_image(steps, grid))


def write_elastix(found: FrameTransform, path: Path) -> None:
    """Write an affine as a file of elastix, with fixed's grid."""
    space = found.grid
    spacing, direction, origin = itk_place(space.pixel_to_world)
    transform = itk_affine(found.matrix)
    numbers = {
        "NumberOfParameters": [transform.GetNumberOfParameters()],
        "TransformParameters": transform.GetParameters(),
        "CenterOfRotationPoint": [0] * space.ndim,
        "FixedImageDimension": [space.ndim],
        "MovingImageDimension": [space.ndim],
        "Size": space.shape[::-1],
        "Index": [0] * space.ndim,
        "Spacing": spacing,
        "Origin": origin,
        "Direction": np.reshape(direction, (space.ndim,) * 2).T.ravel().tolist(),
    }
    words = {
        "Transform": "AffineTransform",
        INITIAL[0]: ALONE,
        "HowToCombineTransforms": "Compose",
        "FixedInternalImagePixelType": "float",
        "MovingInternalImagePixelType": "float",
        "UseDirectionCosines": "true",
        "ResampleInterpolator": "FinalLinearInterpolator",
        "Resampler": "DefaultResampler",
        "ResultImageFormat": "mha",
        "ResultImagePixelType": "float",
    }
    lines = [f'({name} "{word}")' for name, word in words.items()]
    lines += [f"({name} {' '.join(map(repr, values))})" for name, values in numbers.items()]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")

"""Regions of a map: one for looking at; slabs that are made apart, and joined again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.image.spatial_image import SpatialImage
from napari_local_ncc.ncc.dispatch import local_ncc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.pipeline import ConfidenceMap

    Box = tuple[slice, ...]

SLAB = "slab"  # of a map's provenance: which of how many it is


def region_of_map(comparison: Comparison, box: Sequence[slice]) -> SpatialImage:
    """Compare two images in a box only, with the windows that reach out of it.

    Parameters
    ----------
    comparison : Comparison
        What is compared.
    box : sequence of slice
        One slice per axis of its grid. A step k takes every k-th pixel; its window is the
        full one, of pixels.

    Returns
    -------
    SpatialImage
        Lazy NCC, float32, on the box's grid: what ``confidence_map(...)["ncc"][box]`` is, up
        to rounding; NaN where undefined. Only what the box needs is read.

    Raises
    ------
    ValueError
        If the images do not overlap anywhere, or a radius does not fit.
    """
    comparison.check_overlap()
    grid, parameters = comparison.grid, comparison.parameters
    reach, inner = _with_margin(box, comparison.radius, grid.shape)
    fixed, moving, *masks = comparison.images_in(reach)
    ncc = local_ncc(
        fixed,
        moving,
        radius=comparison.radius,
        weights=parameters.weights,
        mask=masks[0] if masks else None,
        min_std=parameters.min_std,
        min_valid=parameters.min_valid,
    )
    names = f"{comparison.fixed.name} vs {comparison.moving.name}"
    return SpatialImage(ncc[inner], grid.crop(box), f"NCC {names}")


def _with_margin(
    box: Sequence[slice], radius: Sequence[int], shape: Sequence[int]
) -> tuple[Box, Box]:
    """Return the pixels that the windows of a box need, and where the box lies in them."""
    reach, inner = [], []
    for part, r, n in zip(box, radius, shape, strict=True):
        start, stop, step = part.indices(n)
        low = max(start - r, 0)
        reach.append(slice(low, min(stop + r, n)))
        inner.append(slice(start - low, stop - low, step))
    return tuple(reach), tuple(inner)


def slab_of(confidence_map: ConfidenceMap, number: int, count: int) -> ConfidenceMap:
    """Return one of several slabs of a map, for a job of its own; `join_maps` joins them.

    Parameters
    ----------
    confidence_map : ConfidenceMap
        The whole, lazy: a job computes the blocks of its slab and what their windows reach.
    number, count : int
        Which slab, from 0, and of how many. They are of whole blocks, along the first axis
        that has so many.

    Returns
    -------
    ConfidenceMap
        The same values on a part of the grid.

    Raises
    ------
    ValueError
        If there is no such slab, or no axis has so many blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import confidence_map
    >>> from napari_local_ncc.maps.region import join_maps, slab_of
    >>> fixed = np.random.default_rng(0).normal(size=(2000, 100))
    >>> whole = confidence_map(fixed, 3 * fixed + 7)
    >>> slabs = [slab_of(whole, number, 2) for number in range(2)]
    >>> [slab.grid.shape for slab in slabs], join_maps(slabs).grid.shape
    ([(1024, 100), (976, 100)], (2000, 100))
    """
    if not 0 <= number < count:
        raise ValueError(f"there is no slab {number} of {count}; they count from 0")
    chunks = confidence_map.bands.chunks[1:]
    axis = next((k for k, lengths in enumerate(chunks) if len(lengths) >= count), None)
    if axis is None:
        raise ValueError(
            f"the map has {'x'.join(str(len(lengths)) for lengths in chunks)} blocks, too few for "
            f"{count} slabs along any axis"
        )
    edges = np.concatenate([[0], np.cumsum(chunks[axis])]).astype(int)
    first, last = (len(chunks[axis]) * k // count for k in (number, number + 1))
    box = [slice(None)] * len(chunks)
    box[axis] = slice(int(edges[first]), int(edges[last]))
    bands = confidence_map.bands[(slice(None), *box)]
    slab = {"number": number, "count": count}
    return replace(
        confidence_map,
        bands=bands,
        grid=confidence_map.grid.crop(box),
        provenance={**confidence_map.provenance, SLAB: slab},
    )


def join_maps(maps: Sequence[ConfidenceMap]) -> ConfidenceMap:
    """Return the map of which others are the slabs, in any order.

    Parameters
    ----------
    maps : sequence of ConfidenceMap
        All slabs of one map; see `slab_of`.

    Returns
    -------
    ConfidenceMap
        Lazy.

    Raises
    ------
    ValueError
        If they are not of one map, or one is missing or given twice.
    """
    if not maps:
        raise ValueError("there is no slab to join")
    _check_slabs([each.provenance.get(SLAB) for each in maps])
    to_pixels = invert_affine(maps[0].grid.pixel_to_world)
    origins = [apply_affine(to_pixels, each.grid.pixel_to_world[:-1, -1]) for each in maps]
    places = np.round(origins).astype(int)
    if not np.allclose(origins, places, rtol=0, atol=1e-6):
        raise ValueError("the slabs do not lie on one grid: they are of different maps")
    apart = np.ptp(places, axis=0)
    axis = int(np.argmax(apart))
    ordered = [maps[k] for k in np.argsort(places[:, axis], kind="stable")]
    whole = ordered[0]
    for each in ordered[1:]:
        if _made_of(each, axis) != _made_of(whole, axis):
            raise ValueError(
                "the slabs are of different maps: their bands, parameters or images differ"
            )
    lengths = [each.grid.shape[axis] for each in ordered]
    wanted = places[:, axis].min() + np.cumsum([0, *lengths[:-1]])
    starts = np.sort(places[:, axis])
    if np.count_nonzero(apart) > 1 or (starts != wanted).any():
        raise ValueError(
            f"the slabs do not join: along axis {axis} they begin at {starts.tolist()} px and are "
            f"{lengths} px long; give every slab once"
        )
    shape = list(whole.grid.shape)
    shape[axis] = sum(lengths)
    bands = da.concatenate([each.bands for each in ordered], axis=axis + 1)
    provenance = {k: value for k, value in whole.provenance.items() if k != SLAB}
    grid = whole.grid.replace(shape=tuple(shape))
    return replace(whole, bands=bands, grid=grid, provenance=provenance)


def _check_slabs(given: Sequence[Any]) -> None:
    """Refuse maps that are not all the slabs of one."""
    if not all(isinstance(each, Mapping) and {*each} == {"number", "count"} for each in given):
        raise ValueError("these are no slabs of a map; slab_of makes them")
    counts = {each["count"] for each in given}
    if len(counts) > 1:
        raise ValueError(f"the slabs are of different maps: of {sorted(counts)} slabs each")
    (count,) = counts
    missing = sorted({*range(count)} - {each["number"] for each in given})
    if missing:
        raise ValueError(f"of {count} slabs these are missing: {', '.join(map(str, missing))}")


def _made_of(part: ConfidenceMap, axis: int) -> tuple[Any, ...]:
    """Return what slabs along an axis have in common."""
    across = [n for k, n in enumerate(part.grid.shape) if k != axis]
    steps = np.round(part.grid.pixel_to_world[:-1, :-1], 12).tolist()
    provenance = {k: value for k, value in part.provenance.items() if k != SLAB}
    return part.band_names, part.parameters, provenance, across, steps

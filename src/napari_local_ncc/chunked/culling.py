"""Boxes of arrays whose graph lists a task for every chunk, such as stacks of delayed planes.

dask looks at the whole graph for each box: half a second at 10,000 planes, and as many boxes.
"""

from __future__ import annotations

import threading
import weakref
from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array
from dask.optimization import cull

if TYPE_CHECKING:
    from collections.abc import Mapping

LISTED = 500  # tasks, from which on a graph is looked through once, and not for every box

_graphs: dict[int, Mapping[Any, Any]] = {}  # by the identity of a graph that is alive
_lock = threading.Lock()


def culled(array: da.Array, box: tuple[slice | int, ...]) -> da.Array:
    """Return the array with no more of its graph than a box of it needs.

    Parameters
    ----------
    array : dask array
        Any; returned as it is where its graph is small, or made as it is needed.
    box : tuple of slice or int
        Not empty, of steps of 1; an item per axis, not negative.
    """
    if id(array.dask) not in _graphs and _listed(array) < LISTED:
        return array
    keys = product(
        (array.name,),
        *(_chunks_in(chunks, part) for chunks, part in zip(array.chunks, box, strict=True)),
    )
    graph, _ = cull(_graph_of(array), list(keys))
    return da.Array(graph, array.name, array.chunks, meta=meta_from_array(array))


def _listed(array: da.Array) -> int:
    """Return how many tasks and layers a graph lists, other than as it is asked for them."""
    layers = array.dask.layers
    return len(layers) + sum(len(x) for x in layers.values() if x.is_materialized())


def _chunks_in(chunks: tuple[int, ...], part: slice | int) -> range:
    """Return which chunks along an axis a part of it is in."""
    within = range(sum(chunks))[part] if isinstance(part, slice) else (part,)
    first, last = np.searchsorted(np.cumsum(chunks), [within[0], within[-1]], side="right").tolist()
    return range(first, last + 1)


def _graph_of(array: da.Array) -> Mapping[Any, Any]:
    """Return all tasks of an array by their keys; they are kept as long as its graph is."""
    own = id(array.dask)
    with _lock:
        if own not in _graphs:
            _graphs[own] = array.dask.to_dict()
            weakref.finalize(array.dask, _graphs.pop, own)
        return _graphs[own]

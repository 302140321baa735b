"""What a first run would load and compile, made ready while the user still chooses."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.maps.run import run_comparison
from napari_local_ncc.ncc.dispatch import local_ncc
from napari_local_ncc.parameters import BANDS, NCCParameters

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator

SIDE = 64  # px of the images that are compared for it
CAMERA_KINDS = (np.uint16, np.uint8)  # beside what interpolation gives
_is_done = False


def warm_up(cancelled: threading.Event) -> Generator[None, None, bool]:
    """Compare two small images by everything that runs by default, once in a process.

    Closing the generator cancels; so does setting `cancelled`.

    Returns
    -------
    bool
        Whether something was loaded, so that `search_memory` is worth while.
    """
    global _is_done
    if _is_done:
        return False
    scene = np.random.default_rng(0).normal(size=(2, SIDE, SIDE)).astype(np.float32)
    parameters = NCCParameters(bands=BANDS, radius=2, search=1)
    comparison = Comparison(scene[0], scene.mean(axis=0), parameters=parameters)
    for _ in run_comparison(comparison, model="translation", cancelled=cancelled):
        yield
    for kind in CAMERA_KINDS:  # windows are summed by a code of their own for each
        local_ncc(*(scene * 9 + 99).astype(kind), radius=2)
        yield
    scene[0, 0, 0] = np.nan  # as beside what a registration moved
    local_ncc(*scene, radius=2)
    warm_up_labels()
    _is_done = True
    return True


def is_warm() -> bool:
    """Say whether all of that is there; until then a run waits for it."""
    return _is_done


def search_memory() -> None:
    """Search all memory for garbage now, which Python would do in the first run.

    It does so whenever a quarter has come to what is there, as the code of a first run does, and
    napari stood still for it, a quarter of a second. To be called on the GUI thread: what is
    found may be widgets, which must not end on another.
    """
    gc.collect()


def warm_up_labels() -> None:
    """Let napari compile what draws labels here, rather than on the GUI thread when first shown."""
    Labels(np.zeros((2, 2), np.uint8), colormap=DirectLabelColormap(color_dict={None: "red"}))

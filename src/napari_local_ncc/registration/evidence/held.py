"""What holds two images where they are though their scene moved: labels, dust."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.evidence.blocks import block_means
from napari_local_ncc.registration.evidence.judge import BESIDE
from napari_local_ncc.registration.evidence.surfaces import near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.registration.evidence.surfaces import Detail, Surface

    Flags = NDArray[np.bool_]

BLOCK = 8  # px of the judged resolution: side of the parts that are left out
RIVAL = 0.5  # of the most evidence for any shift or by chance, that there is for none
SHARE = 1 / 30  # of the blocks, that are left out: as large as labels are
LARGEST = 0.25  # of the images, that is left out: more is a scene
HOLD = 0.25  # of all that agrees, that these make at least


def held_parts(fixed: Detail, moving: Detail, own: Surface, by_chance: float) -> Flags | None:
    """Find the few parts of two images by which alone they agree where they are.

    A scale bar and a time, drawn into both images by another program, or dust on the sensor agree
    to the last bit, and few cells that moved do not outweigh them. Nor is it told from here whether
    the parts are labels, or the few cells of a scene that did not move: what is found without
    them tells.

    Parameters
    ----------
    fixed, moving : Detail
        Images of equally many axes.
    own : ndarray of float32
        Their evidence for every shift, see `evidence_surfaces`.
    by_chance : float
        The most evidence for any shift of unrelated structure, see `weigh_nulls`.

    Returns
    -------
    ndarray of bool, shape of the images, or None
        The thirtieth of all blocks of 8 px that agrees most where the images are, and the blocks
        beside them. None where the shapes differ, where chance or another shift has twice the
        evidence, where those blocks hold less than a quarter of all that agrees, and where they
        are, with those beside them, more than a quarter of the images.
    """
    if fixed.values.shape != moving.values.shape:
        return None
    evidence = float(near(own, np.zeros(own.ndim), BESIDE).max())
    if evidence <= RIVAL * max(by_chance, float(own.max())):
        return None
    size = [min(BLOCK, n) for n in fixed.values.shape]
    sums, _ = block_means(fixed.values * moving.values, size, to_the_end=True)
    order = np.argsort(sums, axis=None)[::-1]
    total = np.cumsum(sums.ravel()[order], dtype=np.float64)
    number = max(round(SHARE * sums.size), 1)
    if total[-1] <= 0 or total[number - 1] < HOLD * total[-1]:
        return None
    blocks = np.zeros(sums.shape, bool)
    blocks.ravel()[order[:number]] = True
    wider = ndi.binary_dilation(blocks, np.ones((3,) * blocks.ndim))
    parts = enlarged(wider, size, fixed.values.shape)
    return parts if parts.mean() <= LARGEST else None


def enlarged(flags: Flags, factor: Sequence[int], shape: Sequence[int]) -> Flags:
    """Return flags of blocks as those of their samples; at the end the last block's.

    Parameters
    ----------
    flags : ndarray of bool
    factor : sequence of int
        Samples of a block along every axis.
    shape : sequence of int
        Of the samples.
    """
    for axis, (k, n) in enumerate(zip(factor, shape, strict=True)):
        index = np.minimum(np.arange(n) // k, flags.shape[axis] - 1)
        flags = flags.take(index, axis)
    return flags

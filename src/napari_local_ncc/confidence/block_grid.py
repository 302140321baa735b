"""The grid of 8 x 8 px blocks that lossy compression leaves in images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Counts = NDArray[np.float64]

SIDE = 8  # px, of a block
NEEDED = 6.0  # standard errors by which steps between blocks stand out
ALONE = 0.75  # of that, what the second of the phases may reach; a texture's period has two
NEIGHBOURS_ALIKE = 4.0  # samples along a block's edge that count as one


def has_block_grid(
    pairs: Sequence[Sequence[NDArray[Any]]],
    starts: Sequence[Sequence[int]],
    radius: Sequence[int],
) -> bool:
    """Tell whether two images share a grid of 8 x 8 px blocks, as of JPEG.

    Parameters
    ----------
    pairs : sequence of (fixed, moving)
        Samples of both images at some places; NaN where invalid.
    starts : sequence of sequence of int
        Where in the image each of these begins.
    radius : sequence of int
        Window radius per axis: the blocks lie along the last two that are above 0.

    Returns
    -------
    bool
        True where, along both axes and in both images, samples step at every eighth pixel
        more often than at all others, and at the same ones.
    """
    axes = [axis for axis, r in enumerate(radius) if r][-2:]
    if len(axes) < 2:
        return False
    for axis in axes:
        phases = []
        for image in range(2):
            counts = sum(
                _steps(pair[image], axis, start[axis])
                for pair, start in zip(pairs, starts, strict=True)
            )
            phases.append(_phase(np.asarray(counts)))
        if phases[0] is None or phases[0] != phases[1]:
            return False
    return True


def _steps(samples: NDArray[Any], axis: int, start: int) -> Counts:
    """Count, by position modulo 8, the samples that step more than both neighbours do; and all."""
    lines = np.moveaxis(samples, axis, -1).astype(np.float64)
    if lines.shape[-1] < 2 * SIDE:
        return np.zeros((2, SIDE))
    step = np.abs(np.diff(lines))
    with np.errstate(invalid="ignore"):
        stands_out = (step[..., 1:-1] > step[..., :-2]) & (step[..., 1:-1] > step[..., 2:])
    known = np.isfinite(step[..., 1:-1] + step[..., :-2] + step[..., 2:])
    phase = (start + 2 + np.arange(stands_out.shape[-1])) % SIDE
    leading = tuple(range(stands_out.ndim - 1))
    return np.stack(
        [
            np.bincount(phase, weights=count.sum(axis=leading), minlength=SIDE)
            for count in (stands_out & known, known)
        ]
    )


def _phase(counts: Counts) -> int | None:
    """Return the one position modulo 8 at which samples step more often, if there is one."""
    found, all_ = counts
    if all_.min() < 1:
        return None
    share = found / all_
    top = int(share.argmax())
    others = np.delete(share, top)
    error = np.sqrt(max(others.mean(), 1e-3) * NEIGHBOURS_ALIKE / all_.mean())
    lead, second = (share[top] - others.mean()) / error, (others.max() - others.mean()) / error
    return top if lead > NEEDED and second < ALONE * lead else None

"""A flow against the shift that it begins with, on pairs with a known truth.

Images of several kinds, bent or not, with noise of their own, white or shared by neighbours.
Run ``python benchmarks/flow_evidence.py``; it prints one line a cell and the worst pair.
Seeds begin at 5000; those below 1000 were used while the test was made.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from skimage import data

from napari_local_ncc import register

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.float64]

SIDE = 128  # px
MARGIN = 20  # px around, from which the bend takes its samples
BEND = 3.0  # px, the largest displacement
SHARED = 0.8  # px: sigma of the blur that makes neighbours share noise
KINDS = ("photograph", "coins", "nuclei", "speckle", "filaments")
WORSE = 0.2  # px


@dataclass(frozen=True)
class Trial:
    """What became of one pair: median errors in px, before and after."""

    before: float
    after: float
    applied: bool


def scene(kind: str, rng: np.random.Generator) -> Image:
    """Return a picture of a kind."""
    side = SIDE + 2 * MARGIN
    if kind in ("photograph", "coins"):
        photograph = (data.camera() if kind == "photograph" else data.coins()).astype(float)
        y, x = (rng.integers(0, n - side) for n in photograph.shape)
        return photograph[y : y + side, x : x + side]
    if kind == "speckle":
        return ndi.gaussian_filter(rng.normal(size=(side, side)), 1.5)
    picture = np.zeros((side, side))
    at = np.indices(picture.shape)
    if kind == "nuclei":
        for _ in range(side * side // 900):
            centre, sigma = rng.uniform(0, side, (2, 1, 1)), rng.uniform(3, 6)
            picture += rng.uniform(0.5, 1) * np.exp(
                -np.square(at - centre).sum(axis=0) / (2 * sigma**2)
            )
        return picture
    for _ in range(side // 4):
        centre, angle = rng.uniform(0, side, (2, 1, 1)), rng.uniform(0, np.pi)
        along = (at - centre)[0] * np.cos(angle) + (at - centre)[1] * np.sin(angle)
        across = (at - centre)[1] * np.cos(angle) - (at - centre)[0] * np.sin(angle)
        picture += np.exp(-np.square(across + 0.002 * along**2) / 4) * (np.abs(along) < side / 3)
    return picture


def pair(kind: str, bend: float, snr: float, shared: bool, seed: int) -> tuple[Image, Image, Image]:
    """Return fixed, moving and the true displacement, fixed(p) = moving(p + u(p))."""
    rng = np.random.default_rng(seed)
    moving = scene(kind, rng)
    u = np.stack([ndi.gaussian_filter(rng.normal(size=moving.shape), 20) for _ in range(2)])
    u *= bend / np.abs(u).max()
    fixed = ndi.map_coordinates(moving, np.indices(moving.shape) + u, order=3, mode="reflect")
    inner = (slice(MARGIN, -MARGIN),) * 2
    noisy = []
    for image in (fixed[inner], moving[inner]):
        noise = rng.normal(size=image.shape)
        if shared:
            noise = ndi.gaussian_filter(noise, SHARED)
        noisy.append(image + fixed.std() / snr * noise / noise.std())
    return noisy[0], noisy[1], u[(slice(None), *inner)]


def trial(kind: str, bend: float, snr: float, shared: bool, seed: int) -> Trial:
    """Register one pair by a flow."""
    fixed, moving, truth = pair(kind, bend, snr, shared, seed)
    found = register(fixed, moving, model="flow")
    points = np.stack(np.indices(fixed.shape), axis=-1).astype(float)
    moved = np.moveaxis(found.transform_points(points) - points, -1, 0)
    after = float(np.median(np.linalg.norm(moved - truth, axis=0)))
    if not found.reports[0].applied:  # its start was kept
        return Trial(after, after, applied=False)
    start = register(fixed, moving, model="translation").matrix[:2, 2, np.newaxis, np.newaxis]
    before = float(np.median(np.linalg.norm(start - truth, axis=0)))
    return Trial(before, after, applied=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1, help="pairs of a cell")
    options = parser.parse_args()
    everything: list[Trial] = []
    start = time.process_time()
    print("| bend px | SNR | noise | n | applied | worse by > 0.2 px | median px before -> after |")
    print("|--:|--:|---|--:|--:|--:|--:|")
    for bend, (snr, shared) in product(
        (0.0, BEND), ((np.inf, False), (2.0, False), (2.0, True), (1.0, False), (1.0, True))
    ):
        found = [
            trial(kind, bend, snr, shared, 5000 + 100 * number + repeat)
            for number, kind in enumerate(KINDS)
            for repeat in range(options.repeats)
        ]
        everything += found
        worse = sum(t.after > t.before + WORSE for t in found)
        before, after = (
            np.median([getattr(t, name) for t in found]) for name in ("before", "after")
        )
        print(
            f"| {bend:g} | {snr:g} | {'shared' if shared else 'white'} | {len(found)} "
            f"| {sum(t.applied for t in found)} | {worse} | {before:.2f} -> {after:.2f} |",
            flush=True,
        )
    worst = max(everything, key=lambda t: t.after - t.before)
    seconds = (time.process_time() - start) / len(everything)
    print(f"\n{len(everything)} pairs; worst {worst}; {seconds:.1f} s of processor time a pair")


if __name__ == "__main__":
    main()

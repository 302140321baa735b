"""How often a coarse search of a volume misses the best whole-pixel shift.

`python benchmarks/coarse_search.py` compares, in windows of radius 2, 4, 4 of volumes of
40 x 72 x 72 px, the best of all 343 shifts of a search of 3 px with what two searches find that go
from coarse to fine: every second shift, or images binned by 2, and then the neighbours of the best
one or three. docs/residual-shift.md holds what it prints. Textures are periodic, displaced by up to
2 px, with white noise in both; where no ratio of signal to noise is given they are unrelated.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SHAPE, RADIUS, SEARCH, SEED = (40, 72, 72), (2, 4, 4), 3, 70000
CELLS = [(1, 10), (1, 5), (1, 2), (2, 10), (2, 5), (1, None)]  # px; signal to noise
BEST = (1, 3)
Numbers = NDArray[np.float64]
Shifts = NDArray[np.int_]


def make_pair(sigma: float, snr: float | None) -> tuple[Numbers, Numbers]:
    """Return two textures, displaced and noisy, or unrelated."""
    rng = np.random.default_rng(SEED + 500)
    shift = rng.uniform(-2, 2, len(SHAPE))
    if snr is None:
        return texture(sigma, SEED), texture(sigma, SEED + 1)
    fixed = texture(sigma, SEED)
    moving = np.fft.ifftn(ndimage.fourier_shift(np.fft.fftn(fixed), shift)).real
    one, other = (image + rng.normal(0, 1 / snr, SHAPE) for image in (fixed, moving))
    return one, other


def texture(sigma: float, seed: int) -> Numbers:
    """Return smoothed white noise of standard deviation 1."""
    noise = np.random.default_rng(seed).standard_normal(SHAPE)
    smooth = ndimage.gaussian_filter(noise, sigma, mode="wrap")
    return np.asarray(smooth / smooth.std())


def ncc_of_shifts(
    fixed: Numbers, moving: Numbers, radius: tuple[int, ...], search: int
) -> tuple[Shifts, Numbers]:
    """Return all shifts, and the NCC at each."""
    size = [2 * r + 1 for r in radius]

    def mean(values: Numbers) -> Numbers:
        return np.asarray(ndimage.uniform_filter(values, size, mode="wrap"))

    means = [mean(image) for image in (fixed, moving)]
    deviations = [np.sqrt(mean(i * i) - m**2) for i, m in zip((fixed, moving), means, strict=True)]
    shifts = np.array(list(product(range(-search, search + 1), repeat=fixed.ndim)))
    ncc = np.empty((len(shifts), *fixed.shape), np.float32)
    for k, shift in enumerate(shifts):
        there, level, spread = (
            np.roll(a, -shift, (0, 1, 2)) for a in (moving, means[1], deviations[1])
        )
        ncc[k] = (mean(fixed * there) - means[0] * level) / (deviations[0] * spread)
    return shifts, ncc.astype(np.float64)


def missed(shifts: Shifts, ncc: Numbers, begins: Shifts) -> float:
    """Return the share of windows whose best shift is no neighbour of any begin (K, windows, 3)."""
    allowed = np.zeros(ncc.shape, bool)
    for begin in begins:
        allowed |= (np.abs(shifts[:, np.newaxis] - begin) <= 1).all(axis=-1)
    return float(np.mean(np.where(allowed, ncc, -2).argmax(axis=0) != ncc.argmax(axis=0)))


def binned(image: Numbers) -> Numbers:
    """Return the means of blocks of 2 px a side."""
    z, y, x = (n // 2 for n in image.shape)
    return np.asarray(image.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5)))


def main() -> None:
    """Print a table."""
    print("| texture, SNR | windows | every second, best 1; 3 | binned, best 1; 3 |")
    print("|---|--:|--:|--:|")
    taken = tuple(slice(r, -r, 3) for r in RADIUS)
    places = [np.arange(*part.indices(n)) // 2 for part, n in zip(taken, SHAPE, strict=True)]
    halves = np.ix_(*places)
    for sigma, snr in CELLS:
        pair = make_pair(sigma, snr)
        shifts, whole = ncc_of_shifts(*pair, RADIUS, SEARCH)
        ncc = whole[(slice(None), *taken)].reshape(len(shifts), -1)
        is_odd = (shifts % 2 == 1).all(axis=1)
        fine = np.argsort(-np.where(is_odd[:, np.newaxis], ncc, -2), axis=0)
        half = tuple(r // 2 for r in RADIUS)
        halved, found = ncc_of_shifts(*map(binned, pair), half, (SEARCH + 1) // 2)
        coarse = np.argsort(-found[(slice(None), *halves)].reshape(len(halved), -1), axis=0)
        cells = [[missed(shifts, ncc, shifts[fine[:k]]) for k in BEST],
                 [missed(shifts, ncc, 2 * halved[coarse[:k]]) for k in BEST]]  # fmt: skip
        told = " | ".join("; ".join(f"{share:.1%}" for share in cell) for cell in cells)
        print(f"| {sigma} px, {snr or 'unrelated'} | {ncc.shape[1]:,} | {told} |", flush=True)


if __name__ == "__main__":
    main()

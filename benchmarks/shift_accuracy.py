"""Bias of the residual shift, and coverage of its stated error: tables with n and seeds.

    python benchmarks/shift_accuracy.py bias
    python benchmarks/shift_accuracy.py coverage [--full]

Seeds of these figures are from 5000 on; none of them was used to choose a constant.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from napari_local_ncc import local_shift
from napari_local_ncc.shift.dispatch import shift_of_pieces

SEED = 5000
Images = tuple[NDArray[np.float64], NDArray[np.float64]]


def speckle(side: int, sigma: float, seed: int, shift: tuple[float, float]) -> Images:
    """Return saturating Gaussian blobs sampled at points, and the same displaced."""
    rng = np.random.default_rng(seed)
    count = int(side**2 / (9 * sigma**2))
    places = rng.uniform(-10, side + 10, (count, 2))
    at = np.arange(side)
    found = []
    for d in ((0.0, 0.0), shift):
        y, x = (np.exp(-0.5 * ((at - places[:, [axis]] - d[axis]) / sigma) ** 2) for axis in (0, 1))
        found.append(20 + 200 * (1 - np.exp(-(y.T @ x))))
    return found[0], found[1]


def texture(side: int, sigma: float, seed: int, shift: NDArray[np.float64]) -> Images:
    """Return a Gaussian texture of sd 1, and the same displaced in the Fourier domain."""
    noise = np.random.default_rng(seed).standard_normal((side, side))
    k = np.fft.fftfreq(side)
    wave = np.fft.fft2(noise) * np.exp(
        -2 * np.pi**2 * sigma**2 * (k[:, np.newaxis] ** 2 + k[np.newaxis] ** 2)
    )
    return _displaced(wave / np.fft.ifft2(wave).real.std(), shift)


def photograph(name: str, shift: NDArray[np.float64], binning: int) -> Images:
    """Return a photograph and the same displaced: by its Fourier transform, or by binning."""
    import skimage.data
    from skimage.color import rgb2gray

    image = np.asarray(getattr(skimage.data, name)(), np.float64)
    image = image if image.ndim == 2 else rgb2gray(image)
    image = image[:512, :512]
    if binning == 1:  # mirrored, as the transform takes an image to repeat itself
        mirrored = np.block([[image, image[:, ::-1]], [image[::-1], image[::-1, ::-1]]])
        fixed, moving = _displaced(np.fft.fft2(mirrored), shift)
        n, m = image.shape
        return fixed[:n, :m], moving[:n, :m]
    step = np.rint(shift * binning).astype(int)
    moved = np.roll(image, step, axis=(0, 1))
    n = 512 // binning
    fixed, moving = (
        a[: n * binning, : n * binning].reshape(n, binning, n, binning).mean((1, 3))
        for a in (image, moved)
    )
    return fixed, moving


def _displaced(wave: NDArray[np.complex128], shift: NDArray[np.float64]) -> Images:
    ky, kx = np.fft.fftfreq(wave.shape[0]), np.fft.fftfreq(wave.shape[1])
    turn = np.exp(-2j * np.pi * (ky[:, np.newaxis] * shift[0] + kx[np.newaxis] * shift[1]))
    return np.fft.ifft2(wave).real, np.fft.ifft2(wave * turn).real


def bias() -> None:
    """Print the worst mean error over fractions of a pixel."""
    print("speckle (n = 180 x 180 pixels a fraction, seed 5000): bias and sd, 0.001 px")
    for sigma in (0.8, 1.0, 1.8):
        for radius in (2, 4, 8):
            for snr in (np.inf, 10.0, 3.0):
                rng = np.random.default_rng(SEED)
                errors, spreads = [], []
                for part in (0.1, 0.2, 0.3, 0.4, 0.5):
                    pair = speckle(220, sigma, SEED, (0.5 * part, part))
                    fixed, moving = (
                        a + rng.normal(0, a.std() / snr, a.shape) if np.isfinite(snr) else a
                        for a in pair
                    )
                    found = local_shift(fixed, moving, radius=radius, search=2)[-1, 20:-20, 20:-20]
                    errors.append(np.nanmean(found) - part)
                    spreads.append(np.nanstd(found))
                worst = 1e3 * max(map(abs, errors))
                print(
                    f"  sigma {sigma} radius {radius} SNR {snr:g}: worst {worst:.1f}, "
                    f"sd {1e3 * max(spreads):.0f}",
                    flush=True,
                )
    print("photographs, radius 8: worst mean error over fractions, 0.001 px")
    for name in ("grass", "immunohistochemistry", "camera"):
        for binning in (1, 2, 4):
            parts = (0.25, 0.5) if binning > 1 else (0.1, 0.3, 0.5)
            parts = (0.5,) if binning == 2 else parts
            errors = []
            for part in parts:
                true = np.array([0.0, part])
                found = local_shift(*photograph(name, true, binning), radius=8, search=2)[-1]
                errors.append(np.nanmean(found[20:-20, 20:-20]) - part)
            how = "Fourier" if binning == 1 else f"binned {binning} x"
            print(f"  {name} {how}: {1e3 * max(map(abs, errors)):.1f}", flush=True)


def coverage(full: bool) -> None:
    """Print how often the truth lies within the stated error, of windows that do not overlap."""
    print("texture sigma, radius, SNR: n, share given, |error| < 1 sd, < 1.96 sd, median sd (px)")
    for sigma in (0.7, 1.0, 2.0, 4.0):
        for radius in (3, 5, 10):
            for snr in (10.0, 5.0, 2.0, 1.0):
                side = 200 if radius < 10 else 300
                wanted = 2000 if full else 1000
                ratios, given, errors, count = [], 0, [], 0
                for seed in range(SEED, SEED + 100):
                    if count >= wanted:
                        break
                    true = np.random.default_rng(seed + 77).uniform(-1, 1, 2)
                    rng = np.random.default_rng(seed + 1000)
                    fixed, moving = (
                        a + rng.standard_normal(a.shape) / snr
                        for a in texture(side, sigma, seed, true)
                    )
                    error, sd = _errors(fixed, moving, radius, true)
                    known = np.isfinite(error[0])
                    count += known.size
                    given += int(known.sum())
                    ratios.append((np.abs(error) / sd)[:, known].ravel())
                    errors.append(sd[:, known].ravel())
                z, sd = np.concatenate(ratios), np.concatenate(errors)
                print(
                    f"  {sigma} {radius:2d} {snr:2g}: n {count}, given {given / count:.3f}, "
                    f"{np.mean(z < 1):.3f}, {np.mean(z < 1.96):.3f}, {np.median(sd):.3f}",
                    flush=True,
                )


def _errors(
    fixed: NDArray[np.float64], moving: NDArray[np.float64], radius: int, true: NDArray[np.float64]
) -> Images:
    """Return errors and stated errors of windows that do not overlap; shape (2, n, m)."""
    whole = (slice(0, fixed.shape[0]), slice(0, fixed.shape[1]))
    bands = shift_of_pieces(
        [(whole, fixed)],
        [(whole, moving)],
        region=whole,
        radius=(radius, radius),
        search=(3, 3),
        weights="box",
        min_std=0.0,
        min_valid=0.5,
        with_error=True,
    )
    apart = slice(radius + 3, -radius - 3, 2 * radius + 1)
    error = bands[3:5, apart, apart] - true[:, np.newaxis, np.newaxis]
    return error, bands[5:7, apart, apart]


if __name__ == "__main__":
    if "coverage" in sys.argv[1:]:
        coverage("--full" in sys.argv[1:])
    else:
        bias()

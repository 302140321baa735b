"""Bias of the residual shift, and coverage of its stated error: tables with n and seeds.

    python benchmarks/shift_accuracy.py bias
    python benchmarks/shift_accuracy.py coverage [ROWS]

The second writes its tables into docs/residual-shift.md. Rows are added to a file as they are
found, below the commit they are of; those that it holds, of this commit, are not measured again.

Seeds of the bias are from 5000 on, those of the coverage from 60000 on, of which 11 rows were
looked at before small_windows.TEXTURE was set (on seeds from 41000 on).
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from napari_local_ncc import local_shift
from napari_local_ncc.shift.dispatch import shift_of_pieces

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[1] / "docs" / "residual-shift.md"
MARKS = "<!-- coverage: written by benchmarks/shift_accuracy.py -->", "<!-- coverage: end -->"
WINDOWS = 2000  # that do not overlap, of a cell
BIAS_SEED, SEED = 5000, 60_000
SNRS = (10, 5, 2, 1)
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


def texture(shape: tuple[int, ...], sigma: float, seed: int, shift: NDArray[np.float64]) -> Images:
    """Return a Gaussian texture of sd 1, and the same displaced in the Fourier domain."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    wave = np.fft.fftn(noise)
    for axis, n in enumerate(shape):
        blur = np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(n)) ** 2)
        wave *= blur.reshape(-1, *(1,) * (len(shape) - axis - 1))
    return _displaced(wave / np.fft.ifftn(wave).real.std(), shift)


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
    moved = scipy.ndimage.fourier_shift(wave, shift)
    return np.fft.ifftn(wave).real, np.fft.ifftn(moved).real


def bias() -> None:
    """Print the worst mean error over fractions of a pixel."""
    print("speckle (n = 180 x 180 pixels a fraction, seed 5000): bias and sd, 0.001 px")
    for sigma in (0.8, 1.0, 1.8):
        for radius in (2, 4, 8):
            for snr in (np.inf, 10.0, 3.0):
                rng = np.random.default_rng(BIAS_SEED)
                errors, spreads = [], []
                for part in (0.1, 0.2, 0.3, 0.4, 0.5):
                    pair = speckle(220, sigma, BIAS_SEED, (0.5 * part, part))
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


def white(pair: Images, rng: np.random.Generator, *, snr: float) -> Images:
    """Add white noise to both images."""
    fixed, moving = (a + rng.normal(0, a.std() / snr, a.shape) for a in pair)
    return fixed, moving


def photons(pair: Images, rng: np.random.Generator, *, count: float) -> Images:
    """Count photons, `count` a pixel on average, three times as many where it is bright."""
    fixed, moving = (rng.poisson(count * np.clip(1 + a / 2, 0.05, None)) for a in pair)
    return fixed.astype(float), moving.astype(float)


def textures(
    seed: int, true: NDArray[np.float64], *, sigma: float, shape: tuple[int, ...]
) -> Images:
    return texture(shape, sigma, seed, true)


def photographs(seed: int, true: NDArray[np.float64], *, name: str, binning: int) -> Images:
    part = np.array([0.25, 0.5]) if binning == 4 else np.array([0.5, -0.5])
    true[:] = part if binning > 1 else true
    return photograph(name, true, binning)


def cover(
    make: Callable[[int, NDArray[np.float64]], Images],
    blur: Callable[[Images, np.random.Generator], Images],
    radius: tuple[int, ...],
    weights: str = "box",
) -> str:
    """Return one cell: windows, share given a shift, coverage of 68 and 95 %, median sd."""
    ratios, errors, given, count, seed = [], [], 0, 0, SEED
    while count < WINDOWS:
        true = np.random.default_rng(seed + 77).uniform(-1, 1, len(radius))
        pair = make(seed, true)
        fixed, moving = blur(pair, np.random.default_rng(seed + 1000))
        error, sd = _errors(fixed, moving, radius, weights, true)
        known = np.isfinite(error[0])
        count, given, seed = count + known.size, given + int(known.sum()), seed + 1
        ratios.append((np.abs(error) / sd)[:, known].ravel())
        errors.append(sd[:, known].ravel())
    z, sd = np.concatenate(ratios), np.concatenate(errors)
    if not z.size:
        return "0 %"
    shares = f"{100 * np.mean(z < 1):.0f}, {100 * np.mean(z < 1.96):.0f} %"
    return f"{100 * given / count:.0f} %; {shares}; {np.median(sd):.2f}"


def cells() -> list[tuple[str, list[tuple[str, list[Callable[[], str]]]]]]:
    """Return the tables: the heads of their columns; how each row begins, what measures it."""
    noises = [partial(white, snr=snr) for snr in SNRS]

    def row(sigma: float, shape: tuple[int, ...], radius: int, weights: str) -> list[Any]:
        make = partial(textures, sigma=sigma, shape=shape)
        return [partial(cover, make, noise, (radius,) * len(shape), weights) for noise in noises]

    box = [
        (f"| {sigma:g}, {radius} |", row(sigma, (200 if radius < 10 else 300,) * 2, radius, "box"))
        for sigma, radius in product((0.7, 1.0, 2.0, 4.0), (3, 5, 10))
    ]
    narrow = [(f"| box, {radius} |", row(1.0, (200, 200), radius, "box")) for radius in (1, 2)]
    narrow += [
        (f"| Gaussian, {radius} |", row(1.0, (200, 200), radius, "gaussian"))
        for radius in (1, 2, 3, 4, 5, 8)
    ]
    narrow += [
        (f"| one axis, {radius} |", row(1.0, (20_000,), radius, "box")) for radius in (2, 3, 5, 12)
    ]
    heads = " | ".join(f"SNR {snr}" for snr in SNRS)
    return [
        (f"| texture, radius | {heads} |", box),
        (f"| windows, radius; texture 1 | {heads} |", narrow),
        ("| other, radius 5 | |", others()),
    ]


def others() -> list[tuple[str, list[Callable[[], str]]]]:
    """Return the rows of other noise, volumes and photographs."""
    fine = partial(textures, sigma=1.0, shape=(200, 200))
    deep = partial(textures, sigma=1.0, shape=(40, 80, 80))
    found = [
        ("texture 1, SNR 0.5", fine, partial(white, snr=0.5), (5, 5)),
        ("texture 1, 50 photons a pixel", fine, partial(photons, count=50), (5, 5)),
        ("texture 1, 5 photons a pixel", fine, partial(photons, count=5), (5, 5)),
        ("volumes, texture 1, SNR 5, radius 2, 3, 3", deep, partial(white, snr=5), (2, 3, 3)),
        ("volumes, texture 1, SNR 2, radius 2, 3, 3", deep, partial(white, snr=2), (2, 3, 3)),
    ]
    for name in ("grass", "immunohistochemistry"):
        for binning, how in ((1, "Fourier"), (2, "binned 2 x"), (4, "binned 4 x")):
            make = partial(photographs, name=name, binning=binning)
            found.append((f"{name}, {how}, SNR 10", make, partial(white, snr=10), (5, 5)))
    return [(f"| {title} |", [partial(cover, *rest)]) for title, *rest in found]


def known_rows(file: Path, commit: str) -> list[str]:
    """Return the whole rows that a file holds of a commit, and cut off what a killed run left.

    Raises
    ------
    ValueError
        If it is of another commit.
    """
    first = f"commit {commit}"
    found = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    whole = [line.rstrip("\n") for line in found if line.endswith("\n")]
    if whole and whole[0] != first:
        raise ValueError(f"{file} is not of {first} but begins {whole[0]!r}; remove it")
    whole = [first, *(line for line in whole[1:] if line.endswith(" |"))]
    file.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
    return whole[1:]


def _commit() -> str:
    """Return which commit is measured."""
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, encoding="ascii", check=True).stdout.strip()


def coverage(file: Path) -> None:
    """Measure how often the truth lies within the stated error, and write it into the docs."""
    known = known_rows(file, _commit())
    lines: list[str] = []
    for heads, rows in cells():
        lines += ["", heads, "|---" * (heads.count("|") - 1) + "|"]
        for start, row in rows:
            line = next((found for found in known if found.startswith(start)), "")
            if not line:
                line = f"{start} {' | '.join(measure() for measure in row)} |"
                print(line, flush=True)
                with file.open("a", encoding="utf-8") as held:
                    held.write(line + "\n")
            lines.append(line)
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    _, after = rest.split(MARKS[1])
    table = "\n".join(lines).strip()
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{after}", encoding="utf-8")


def _errors(
    fixed: NDArray[np.float64],
    moving: NDArray[np.float64],
    radius: tuple[int, ...],
    weights: str,
    true: NDArray[np.float64],
) -> Images:
    """Return errors and stated errors of windows that do not overlap; shape (axes, ...)."""
    whole = tuple(slice(0, n) for n in fixed.shape)
    axes = len(radius)
    bands = shift_of_pieces(
        [(whole, fixed)],
        [(whole, moving)],
        region=whole,
        radius=radius,
        search=(3,) * axes if axes < 3 else (2,) * axes,
        weights=weights,
        min_std=0.0,
        min_valid=0.5,
        with_error=True,
    )
    apart = tuple(slice(r + 3, -r - 3, 2 * r + 1) for r in radius)
    error = bands[3 : 3 + axes, *apart] - true.reshape(-1, *(1,) * axes)
    return error, bands[3 + axes : 3 + 2 * axes, *apart]


if __name__ == "__main__":
    if "coverage" in sys.argv[1:]:
        coverage(Path(sys.argv[2] if len(sys.argv) > 2 else "coverage-rows.md"))
    else:
        bias()

"""What the bands of a map cost: processor time per pixel, and over that of NCC alone.

    python benchmarks/band_cost.py [--side 2048] [--turns 3]

Sets of bands take turns in one run, in one thread; the least of each counts, as others may use
the machine. What is measured once for a map (calibration, noise) is given apart: it is read from
samples of bounded size, so that larger images pay less of it for a pixel. Texture of 1.5 px, SNR 5,
displaced by part of a pixel; uint16, radius 4, search 3.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from napari_local_ncc import NCCParameters, confidence_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETS = (
    ("ncc",),
    ("ncc", "fit"),
    ("ncc", "ceiling"),
    ("ncc", "confidence"),
    ("ncc", "shift"),
    ("ncc", "shift", "shift_error"),
    ("ncc", "confidence", "shift", "shift_error", "ceiling", "fit"),
    ("ncc", "confidence", "shift", "shift_error", "classes", "ceiling", "fit"),
)


def images(side: int) -> list[NDArray[np.uint16]]:
    """Return a texture, and the same displaced, with independent noise."""
    rng = np.random.default_rng(0)
    still = scipy.ndimage.gaussian_filter(rng.standard_normal((side, side)), 1.5, mode="wrap")
    still /= still.std()
    moved = np.fft.ifftn(scipy.ndimage.fourier_shift(np.fft.fftn(still), (0.3, -1.4))).real
    noisy = [
        1000 + 100 * (image + 0.2 * rng.standard_normal(still.shape)) for image in (still, moved)
    ]
    return [image.clip(0, None).astype(np.uint16) for image in noisy]


def spent(pair: list[NDArray[Any]], bands: tuple[str, ...]) -> tuple[float, float]:
    """Return the processor time of what is measured once, and of the bands."""
    start = time.process_time()
    found = confidence_map(*pair, parameters=NCCParameters(radius=4, search=3, bands=bands))
    once = time.process_time()
    found.bands.compute(scheduler="synchronous")
    return once - start, time.process_time() - once


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    small = images(256)
    for bands in SETS:  # loads the compiled code
        spent(small, bands)
    pair = images(options.side)
    turns = [[spent(pair, bands) for bands in SETS] for _ in range(options.turns)]
    once, each = 1e9 / options.side**2 * np.min(turns, axis=0).T
    print("| bands | ns/px | over NCC alone | once, ns/px |\n|---|---|---|---|")
    for bands, first, rest in zip(SETS, once, each, strict=True):
        print(f"| {', '.join(bands)} | {rest:.0f} | {rest / each[0]:.0f} | {first:.0f} |")


if __name__ == "__main__":
    main()

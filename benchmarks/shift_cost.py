"""What the residual shift costs: processor time per pixel and stage, and over the NCC kernel's.

    python benchmarks/shift_cost.py          planes and volumes
    python benchmarks/shift_cost.py error    with the error of the shift

Shift and NCC alone are timed in turn in the same run, each as the best of three: wall times, and
times of different runs, tell little on a machine that others use. One thread; radius 4 (2, 4, 4 in
volumes), search 3. Texture of 1.2 px, SNR 5, displaced as a whole by part of a pixel.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from napari_local_ncc import local_ncc
from napari_local_ncc.shift import fit_tiles, ncc_at_shift, search
from napari_local_ncc.shift.dispatch import shift_of_pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CASES = [((1024, 1024), (4, 4)), ((64, 128, 128), (2, 4, 4))]
STAGES = [
    (ncc_at_shift.Displaced, "store_all", "NCC at all whole-pixel shifts"),
    (search, "_peaks", "the best of them"),
    (search, "refine_shift", "the part of a pixel"),
    (fit_tiles, "noise_terms", "  of which its error"),
    (search, "total_error", "the error averaged"),
]


def images(shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Return a texture, and the same displaced by part of a pixel, with independent noise."""
    rng = np.random.default_rng(0)
    texture = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), 1.2, mode="wrap")
    shift = [0.3, -1.4, 0.6][-len(shape) :]
    moved = np.fft.ifftn(scipy.ndimage.fourier_shift(np.fft.fftn(texture), shift)).real
    noise = texture.std() / 5
    return [(image + rng.normal(0, noise, shape)).astype(np.float32) for image in (texture, moved)]


def spent(call: Callable[[], Any]) -> float:
    """Return the least processor time of three calls."""
    times = []
    for _ in range(3):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def staged(owner: Any, name: str, title: str, into: dict[str, float]) -> None:
    """Let a function add the processor time it takes to a table."""
    given = getattr(owner, name)

    def timed(*args: Any, **options: Any) -> Any:
        start = time.process_time()
        found = given(*args, **options)
        into[title] = into.get(title, 0.0) + time.process_time() - start
        return found

    setattr(owner, name, timed)


def main(*, with_error: bool) -> None:
    """Print a table for each case."""
    stages: dict[str, float] = {}
    for owner, name, title in STAGES:
        staged(owner, name, title, stages)
    for shape, radius in CASES:
        fixed, moving = images(shape)
        whole = tuple(slice(0, n) for n in shape)
        options: dict[str, Any] = {"region": whole, "radius": radius, "search": (3,) * len(shape)}
        options |= {"weights": "box", "min_std": 0.0, "min_valid": 0.5, "with_error": with_error}

        def shift(pair: Any = (fixed, moving), options: dict[str, Any] = options) -> Any:
            return shift_of_pieces(*([(options["region"], image)] for image in pair), **options)

        def ncc(pair: Any = (fixed, moving), radius: Any = radius) -> Any:
            return local_ncc(*pair, radius=radius)

        ncc()
        shift()  # loads the compiled code
        kernel = spent(ncc)
        stages.clear()
        total = spent(shift)
        print(f"{shape}: NCC alone {1e9 * kernel / fixed.size:.1f} ns a sample", flush=True)
        print(f"  all: {1e9 * total / fixed.size:.0f} ns, {total / kernel:.0f} x NCC alone")
        for title, seconds in stages.items():
            mean = seconds / 3
            print(f"  {title}: {1e9 * mean / fixed.size:.0f} ns, {mean / kernel:.0f} x", flush=True)


if __name__ == "__main__":
    main(with_error="error" in sys.argv[1:])

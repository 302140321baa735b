"""Whether a GPU gives the processor's NCC, and what time it takes: python -m benchmarks.gpu.

Needs CuPy and a GPU; ends with a line where there is none. Checked: the NCC of noise, of faint
windows beside bright ones, of constant windows, invalid samples and masks, in both weights, and a
map with a sub-pixel translation. Timed: arrays, host to host, and the whole command.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.scale import cost_of, make_pair
from napari_local_ncc import Registration, SpatialImage
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.maps.pipeline import map_of
from napari_local_ncc.ncc.device import CUDA, check_device
from napari_local_ncc.ncc.dispatch import ncc_on_gpu
from napari_local_ncc.ncc.kernels.driver import ncc_of_pieces
from napari_local_ncc.progress import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Arrays = list[NDArray[Any]]

TOLERANCE = 1e-6
RUNS = 5


def cases() -> Iterator[tuple[str, Arrays]]:
    """Yield images, some with a mask, by what is hard in them."""
    rng = np.random.default_rng(0)
    pair = rng.normal(size=(2, 500, 600))
    pair[1] += pair[0]
    yield "noise", list(pair)
    yield "uint16", [(4000 + 300 * image).astype(np.uint16) for image in pair]
    faint = pair * 1e-3
    faint[:, 250:] += 1e6 * rng.normal(size=(2, 250, 600))
    yield "faint beside bright", list(faint)
    constant = pair.copy()
    constant[:, 40:90, 40:90] = 7.0
    yield "constant windows", list(constant)
    holes = pair.astype(np.float32)
    holes[0, rng.random((500, 600)) < 0.1] = np.nan
    yield "invalid samples, masked", [*holes, rng.random((500, 600)) < 0.8]
    yield "volume", list(rng.normal(size=(2, 40, 60, 70)))


def compare(compute: Callable[..., Any], images: Arrays, weights: str) -> NDArray[np.float32]:
    """Return the NCC of whole images by one way or the other."""
    whole = tuple(slice(0, n) for n in images[0].shape)
    pieces = [[(whole, image)] for image in images]
    radius = (3,) * images[0].ndim
    options = {"radius": radius, "weights": weights, "min_std": 0.0, "min_valid": 0.5}
    return np.asarray(compute(*pieces, region=whole, **options))


def difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return by how much two maps differ at most; infinite where other pixels are undefined."""
    if not np.array_equal(np.isnan(found), np.isnan(expected)):
        return np.inf
    return float(np.nanmax(np.abs(found - expected), initial=0.0))


def check() -> float:
    """Print how far both are apart in every case; return the worst."""
    worst = 0.0
    for weights in ("box", "gaussian"):
        for name, images in cases():
            apart = difference(
                *(compare(way, images, weights) for way in (ncc_on_gpu, ncc_of_pieces))
            )
            print(f"| {name}, {weights} | {apart:.1e} |", flush=True)
            worst = max(worst, apart)
    rng = np.random.default_rng(1)
    images = [SpatialImage.from_array(image) for image in rng.normal(size=(2, 700, 800))]
    matrix = np.eye(3)
    matrix[:2, 2] = (0.4, -2.3)
    moved = Registration.from_matrix(matrix, images[0].grid, "translation")
    comparison = Comparison(*images, registration=moved)
    maps = [finish(map_of(comparison, device=device)).bands.compute() for device in (CUDA, None)]
    apart = difference(*maps)
    print(f"| a map, moved by parts of a pixel | {apart:.1e} |", flush=True)
    return max(worst, apart)


def time_arrays(side: int) -> None:
    """Print what the NCC of a block takes by both ways, in turns: median wall time."""
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 4000, (2, side, side)).astype(np.uint16))
    ways = {"GPU, copies included": ncc_on_gpu, "processor, one thread": ncc_of_pieces}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RUNS + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            compare(way, images, "box")
            taken[name].append(time.perf_counter() - began)
    for name, times in taken.items():
        ns = 1e9 * np.median(times[1:]) / side**2  # the first one compiles
        print(f"| {side:,}^2 uint16, {name} | {ns:.2f} ns/px |", flush=True)


def time_command(side: int) -> None:
    """Print what the whole command takes with and without."""
    with TemporaryDirectory() as folder:
        images = [str(path) for path in make_pair(Path(folder), side)]
        words = [sys.executable, "-m", "napari_local_ncc", "map", *images, "-o"]
        for device in ("GPU", "processor"):
            where = ["--device", CUDA] if device == "GPU" else []
            cost = cost_of([*words, f"{folder}/{device}.ome.zarr", *where])
            told = f"{cost.wall:.2f} s, {cost.processor:.2f} s of processor"
            print(f"| map of {side:,}^2, {device} | {told} |", flush=True)


def main() -> None:
    """Check, then time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=4096)
    side = parser.parse_args().side
    try:
        check_device(CUDA)
    except (ImportError, OSError) as error:
        raise SystemExit(f"nothing checked: {error}") from None
    print("| | |\n|---|---|")
    worst = check()
    time_arrays(2048)
    time_command(side)
    if worst > TOLERANCE:
        raise SystemExit(f"the GPU's NCC differs by {worst:.1e}")


if __name__ == "__main__":
    main()

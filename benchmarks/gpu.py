"""Whether a GPU gives the processor's map, and what time it takes: python -m benchmarks.gpu.

Needs CuPy and a GPU; ends with a line where there is none. Checked: the NCC of noise, of faint
windows beside bright ones, of constant windows, invalid samples and masks, in both weights; and
the bands of maps, as they lie and moved by whole pixels, by parts of one, by an affine and by a
flow, by lines and by cubic splines. Timed: arrays, host to host, and the whole command.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.scale import cost_of, make_pair
from napari_local_ncc import NCCParameters, Registration, SpatialImage
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.maps.pipeline import map_of
from napari_local_ncc.ncc.device import CUDA, check_device, gpu_failures, namespace_on, on_host
from napari_local_ncc.ncc.dispatch import ncc_of_pieces
from napari_local_ncc.progress import finish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Arrays = list[NDArray[Any]]

TOLERANCES = {"ncc": 1e-6, "confidence": 1e-4}
RUNS = 5
WAYS = {"GPU": CUDA, "processor": None}


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


def compare(device: str | None, images: Arrays, weights: str) -> NDArray[np.float32]:
    """Return the NCC of whole images by one way or the other, host to host."""
    whole = tuple(slice(0, n) for n in images[0].shape)
    radius = (3,) * images[0].ndim
    options = {"radius": radius, "weights": weights, "min_std": 0.0, "min_valid": 0.5}
    with gpu_failures(device):
        pieces = [[(whole, namespace_on(device).asarray(image))] for image in images]
        return np.asarray(on_host(ncc_of_pieces(*pieces, region=whole, **options)))


def difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return by how much two maps differ at most; infinite where other pixels are undefined."""
    if not np.array_equal(np.isnan(found), np.isnan(expected)):
        return np.inf
    return float(np.nanmax(np.abs(found - expected), initial=0.0))


def transforms(images: list[SpatialImage]) -> Iterator[tuple[str, Registration | None]]:
    """Yield what moves the second image, by name."""
    rng, grid = np.random.default_rng(2), images[0].grid
    yield "as they lie", None
    for name, linear, shift in (
        ("by whole pixels", np.zeros((2, 2)), (3, -2)),
        ("by parts of a pixel", np.zeros((2, 2)), (0.4, -2.3)),
        ("by an affine", rng.normal(0, 0.01, (2, 2)), (0.4, -2.3)),
    ):
        matrix = np.eye(3)
        matrix[:2, :2] += linear
        matrix[:2, 2] = shift
        yield name, Registration.from_matrix(matrix, grid)
    flow = gaussian_filter(20 * rng.normal(size=(2, *grid.shape)), (0, 8, 8)).astype(np.float32)
    yield "by a flow", Registration.from_matrix(np.eye(3), grid, "flow", displacement=flow)


def check() -> list[str]:
    """Print how far both are apart in every case; return those that are too far."""
    wrong = []

    def tell(name: str, band: str, found: NDArray[Any], expected: NDArray[Any]) -> None:
        apart = difference(found, expected)
        print(f"| {band}: {name} | {apart:.1e} |", flush=True)
        if not apart <= TOLERANCES[band]:
            wrong.append(f"{band} of {name}")

    for weights in ("box", "gaussian"):
        for name, images in cases():
            maps = [compare(device, images, weights) for device in WAYS.values()]
            tell(f"{name}, {weights}", "ncc", *maps)
    rng = np.random.default_rng(1)
    pair = gaussian_filter(rng.normal(size=(2, 700, 800)), (0, 1, 1))
    pair[1] += pair[0]
    pair[0, :40, :40] = np.nan
    images = [SpatialImage.from_array(image) for image in pair]
    mask = rng.random((700, 800)) < 0.98
    for how in ("linear", "cubic"):
        parameters = NCCParameters(bands=tuple(TOLERANCES), interpolation=how)
        for name, registration in transforms(images):
            comparison = Comparison(*images, mask, parameters, registration)
            expected = finish(map_of(comparison))
            options = {"device": CUDA, "calibration": expected.calibration}
            found = finish(map_of(comparison, **options))
            for band in found.band_names:
                values = (found[band].compute(), expected[band].compute())
                tell(f"a map, {name}, {how}", band, *values)
    return wrong


def time_arrays(side: int) -> None:
    """Print what the NCC of a block takes by both ways, in turns: median wall time."""
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 4000, (2, side, side)).astype(np.uint16))
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(RUNS + 1):
        for name, device in WAYS.items():
            began = time.perf_counter()
            compare(device, images, "box")
            taken[name].append(time.perf_counter() - began)
    for name, times in taken.items():
        ns = 1e9 * np.median(times[1:]) / side**2  # the first one compiles
        print(f"| {side:,}^2 uint16, {name}, one thread, copies included | {ns:.2f} ns/px |")


def time_command(side: int, bands: str) -> None:
    """Print what the whole command takes with and without."""
    with TemporaryDirectory() as folder:
        images = [str(path) for path in make_pair(Path(folder), (side, side))]
        words = [sys.executable, "-m", "napari_local_ncc", "map", *images, "--bands", bands, "-o"]
        for name, device in WAYS.items():
            where = [] if device is None else ["--device", device]
            cost = cost_of([*words, f"{folder}/{name}.ome.zarr", *where])
            told = f"{cost.wall:.2f} s, {cost.processor:.2f} s of processor"
            print(f"| map of {side:,}^2, {bands}, {name} | {told} |", flush=True)


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
    wrong = check()
    time_arrays(2048)
    for bands in ("ncc", ",".join(TOLERANCES)):
        time_command(side, bands)
    if wrong:
        raise SystemExit(f"the GPU's map differs: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()

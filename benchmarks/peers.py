"""Time local NCC beside what others offer, in one run, and write `docs/benchmarks.md`.

    python benchmarks/peers.py [--repeats 5] [--only "radius 3"]

Every case times its programs in turns and takes medians, so that a busy moment of the
machine does not fall on one of them only. The error of each is the largest difference to
the two-pass formula in float64, away from the border, where most pad and this project clips.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import scipy.ndimage
from skimage.metrics import structural_similarity

from napari_local_ncc import local_ncc
from napari_local_ncc.image.spatial_image import PLANE_CHUNK, VOLUME_CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Image = NDArray[Any]
    Program = Callable[["Case"], Any]

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
THREADS = 2
PARTS = 4  # chunks, along the first axis
PACKAGES = ("numpy", "numba", "dask", "scipy", "scikit-image", "opencv-python-headless", "dipy",
            "monai")  # fmt: skip
PROBE = 12  # pixels along each axis whose error is measured


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Two images and what to compare them with."""

    title: str
    shape: tuple[int, ...]
    programs: tuple[str, ...]
    radius: int = 3
    dtype: str = "float32"
    weights: str = "box"
    missing: str = ""  # "NaN" or "mask": how 10 % of the samples are invalid
    cut_out: bool = False  # whether most of the image is exactly 0
    images: list[Image] = field(default_factory=list)
    lazy: list[da.Array] = field(default_factory=list)  # in PARTS
    tiled: list[da.Array] = field(default_factory=list)  # in the chunks of a map
    extra: dict[str, Image] = field(default_factory=dict)

    def load(self) -> None:
        """Make structure of 100 on an offset of 1000, as cameras give it."""
        rng = np.random.default_rng(0)
        first, noise = rng.standard_normal((2, *self.shape), np.float32)
        pair = [1000 + 100 * first, 1000 + 60 * first + 80 * noise]
        if self.cut_out:
            cells = scipy.ndimage.gaussian_filter(rng.standard_normal(self.shape), 30)
            pair = [np.where(cells > cells.std(), image, 0) for image in pair]
        self.images[:] = [image.astype(self.dtype) for image in pair]
        if self.missing == "NaN":
            self.images[0][rng.random(self.shape) < 0.1] = np.nan
        # Not timed: dask copies what it takes from NumPy.
        edge = PLANE_CHUNK if len(self.shape) == 2 else VOLUME_CHUNK
        for lazy, chunks in ((self.lazy, self.chunks), (self.tiled, edge)):
            lazy[:] = [da.from_array(image, chunks, name=False) for image in self.images]
        if self.missing == "mask":
            self.extra["mask"] = rng.random(self.shape) > 0.1
        self.extra["sum"] = np.empty_like(self.images[0])
        self.extra["map"] = np.empty(self.shape, np.float32)

    @property
    def mask(self) -> Image | None:
        return self.extra.get("mask")

    @property
    def chunks(self) -> tuple[int, ...]:
        return (self.shape[0] // PARTS, *self.shape[1:])


# --- programs ------------------------------------------------------------------------------


def from_filters(fixed: Image, moving: Image, mean: Callable[[Image], Image]) -> Image:
    """Compute NCC from five filters: what is usually written."""
    a, b = mean(fixed), mean(moving)
    cov = mean(fixed * moving) - a * b
    return cov / np.sqrt((mean(fixed * fixed) - a * a) * (mean(moving * moving) - b * b))


def numpy_add(case: Case) -> None:
    np.add(*case.images, out=case.extra["sum"])


def ours(case: Case) -> Image:
    return local_ncc(*case.images, radius=case.radius, weights=case.weights, mask=case.mask)


def ours_lazily(case: Case) -> Image:
    lazy = local_ncc(*case.lazy, radius=case.radius, weights=case.weights, mask=case.mask)
    return lazy.compute(scheduler="threads", num_workers=THREADS)


def ours_stored(case: Case, threads: int = THREADS) -> Image:
    """Write into an array that is there, as np.add does."""
    return stored(case, case.lazy, threads)


def stored(case: Case, images: list[da.Array], threads: int) -> Image:
    lazy = local_ncc(*images, radius=case.radius, weights=case.weights, mask=case.mask)
    lazy.store(case.extra["map"], lock=False, scheduler="threads", num_workers=threads)
    return case.extra["map"]


def ours_stored_by_one(case: Case) -> Image:
    return ours_stored(case, 1)


def ours_stored_tiled(case: Case) -> Image:
    return stored(case, case.tiled, THREADS)


def scipy_filters(case: Case) -> Image:
    size = 2 * case.radius + 1
    images = (image.astype(np.float64) for image in case.images)
    return from_filters(*images, lambda image: scipy.ndimage.uniform_filter(image, size))


def opencv_filters(case: Case, dtype: type = np.float64) -> Image:
    import cv2

    size = (2 * case.radius + 1,) * 2
    images = (image.astype(dtype) for image in case.images)
    return from_filters(*images, lambda image: cv2.boxFilter(image, -1, size))


def opencv_filters_float32(case: Case) -> Image:
    return opencv_filters(case, np.float32)


def ssim(case: Case) -> None:
    gaussian = case.weights == "gaussian"
    options = (
        {"gaussian_weights": True, "sigma": case.radius / 3, "truncate": 3.0}
        if gaussian
        else {"win_size": 2 * case.radius + 1}
    )
    structural_similarity(*case.images, data_range=1000.0, full=True, **options)


def dipy(case: Case) -> Image:
    from dipy.align import crosscorr

    images = (image.astype(np.float64) for image in case.images)
    factors = getattr(crosscorr, f"precompute_cc_factors_{len(case.shape)}d")
    *_, cov, var_a, var_b = np.moveaxis(np.asarray(factors(*images, case.radius)), -1, 0)
    return cov / np.sqrt(var_a * var_b)


def monai(case: Case) -> None:
    import torch
    from monai.losses import LocalNormalizedCrossCorrelationLoss

    torch.set_num_threads(THREADS)
    loss = LocalNormalizedCrossCorrelationLoss(
        len(case.shape), 2 * case.radius + 1, reduction="none"
    )
    loss(*(torch.from_numpy(image.astype(np.float32))[None, None] for image in case.images))


def double_loop(case: Case) -> Image:
    """Compute the definition for a corner of the image, pixel by pixel."""
    r, (fixed, moving) = case.radius, case.images
    ncc = np.full(case.shape, np.nan, np.float32)
    for y, x in np.ndindex(LOOPED):
        window = (slice(max(y - r, 0), y + r + 1), slice(max(x - r, 0), x + r + 1))
        ncc[y, x] = np.corrcoef(fixed[window].ravel(), moving[window].ravel())[0, 1]
    return ncc


LOOPED = (64, 64)
PROGRAMS: dict[str, Program] = {
    "np.add(a, b, out=c)": numpy_add,
    "this project, NumPy, 1 thread": ours,
    "this project, dask, 1 thread, stored": ours_stored_by_one,
    f"this project, dask, {THREADS} threads, stored": ours_stored,
    f"this project, dask, {THREADS} threads, stored, chunks of a map": ours_stored_tiled,
    f"this project, dask, {THREADS} threads, joined by compute()": ours_lazily,
    "OpenCV, 5 box filters, float64": opencv_filters,
    "OpenCV, 5 box filters, float32": opencv_filters_float32,
    "SciPy, 5 uniform filters, float64": scipy_filters,
    "scikit-image SSIM": ssim,
    "DIPY cross-correlation factors": dipy,
    "MONAI LNCC loss": monai,
    "double Python loop": double_loop,
}
ADD, OURS, ALONE, STORED, TILED, JOINED, *PEERS = PROGRAMS
NEEDED = {opencv_filters: "cv2", opencv_filters_float32: "cv2", dipy: "dipy", monai: "monai"}
CV64, CV32, SCIPY, SSIM, DIPY, MONAI, LOOP = PEERS
SELF = (ADD, OURS, STORED, JOINED)
PLANE, SMALL, VOLUME = (4096, 4096), (2048, 2048), (256, 256, 256)
CASES = (
    Case("2-D, box, radius 3, float32", PLANE, (*SELF, ALONE, TILED, *PEERS)),
    Case("2-D, box, radius 1, float32", PLANE, (*SELF, CV64, CV32), radius=1),
    Case("2-D, box, radius 15, float32", PLANE, (*SELF, CV64, CV32), radius=15),
    Case("2-D, box, radius 7, uint16", SMALL, (*SELF, CV64, SCIPY), radius=7, dtype="uint16"),
    Case("2-D, box, radius 3, float32, 10 % NaN", PLANE, SELF, missing="NaN"),
    Case("2-D, box, radius 3, uint16, 10 % masked", PLANE, SELF, dtype="uint16", missing="mask"),
    Case("2-D, box, radius 7, float32, cells cut out", SMALL, SELF, radius=7, cut_out=True),
    Case("2-D, Gaussian, radius 5, float32", SMALL, (*SELF, SSIM), radius=5, weights="gaussian"),
    Case("2-D, Gaussian, radius 15, uint16", SMALL, (*SELF, SSIM), 15, "uint16", "gaussian"),
    Case("3-D, box, radius 3, float32", VOLUME, (*SELF, ALONE, TILED, SCIPY, SSIM, DIPY, MONAI)),
    Case("3-D, box, radius 1, uint16", VOLUME, (*SELF, SCIPY), radius=1, dtype="uint16"),
    Case("3-D, box, radius 7, float32", VOLUME, SELF, radius=7),
    Case("3-D, Gaussian, radius 3, float32, 10 % masked", (128,) * 3, SELF,
         weights="gaussian", missing="mask"),
)  # fmt: skip


# --- time and error ------------------------------------------------------------------------


def reference(case: Case, at: tuple[int, ...]) -> Image:
    """Compute the two-pass formula in float64 for PROBE pixels along each axis from `at`."""
    r, side = case.radius, 2 * case.radius + 1
    around = tuple(slice(i - r, i + PROBE + r) for i in at)
    axes = tuple(range(-len(at), 0))
    taps = np.ones(side)
    if case.weights == "gaussian":
        taps = np.exp(-0.5 * (3 * np.arange(-r, r + 1) / r) ** 2)
    window = taps
    for _ in at[1:]:
        window = np.multiply.outer(window, taps)
    a, b = (
        np.lib.stride_tricks.sliding_window_view(
            image[around].astype(np.float64), (side,) * len(at)
        )
        for image in case.images
    )
    valid = np.isfinite(a) & np.isfinite(b)
    if case.mask is not None:
        valid &= np.lib.stride_tricks.sliding_window_view(case.mask[around], (side,) * len(at))
    weight = np.where(valid, window, 0.0)
    weight /= weight.sum(axes, keepdims=True)
    a, b = (np.where(valid, samples, 0.0) for samples in (a, b))
    a, b = (samples - (weight * samples).sum(axes, keepdims=True) for samples in (a, b))
    cov, var_a, var_b = ((weight * product).sum(axes) for product in (a * b, a * a, b * b))
    return cov / np.sqrt(var_a * var_b)


def error(case: Case, result: Any) -> float:
    """Return the largest error, NaN for what is not NCC."""
    if result is None:
        return np.nan
    at = (20,) * len(case.shape)
    wanted = reference(case, at)
    found = np.asarray(result)[tuple(slice(i, i + PROBE) for i in at)]
    return float(np.nanmax(np.abs(found - wanted)))


def run(case: Case, repeats: int) -> Iterator[tuple[str, float, float]]:
    """Yield the name, ns per pixel and error of each program that is installed.

    Of two calls the second counts, as the system may have put aside memory that waited; of
    those that take over a second, any.
    """
    case.load()
    chosen = {
        name: PROGRAMS[name]
        for name in case.programs
        if (package := NEEDED.get(PROGRAMS[name])) is None or find_spec(package)
    }
    errors = {name: error(case, program(case)) for name, program in chosen.items()}
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for repeat in range(repeats):
        for name, program in chosen.items():
            if repeat >= 3 and min(times[name]) > 1:
                continue
            for _ in range(1 if min(times[name], default=0) > 1 else 2):
                start = time.perf_counter()
                program(case)
                seconds = time.perf_counter() - start
            times[name].append(seconds)
    case.images.clear()
    case.lazy.clear()
    case.tiled.clear()
    case.extra.clear()
    for name in chosen:
        pixels = np.prod(LOOPED if name == LOOP else case.shape)
        yield name, float(np.median(times[name]) / pixels * 1e9), errors[name]


def extra_memory() -> float:
    """Return the peak memory of one thread beyond images and map, as a share of the images."""
    case = Case("", PLANE, ())
    case.load()
    ours(case)
    tracemalloc.start()
    result = ours(case)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return float((peak - result.nbytes) / sum(image.nbytes for image in case.images))


def first_calls() -> tuple[float, float]:
    """Return the seconds of the first call ever, and of the first in a new process."""
    code = (
        "import time, numpy as np; from napari_local_ncc import local_ncc\n"
        "pair = np.random.default_rng(0).random((2, 64, 64), np.float32)\n"
        "start = time.perf_counter(); local_ncc(*pair); print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as cache:
        seconds = [
            subprocess.run(
                [sys.executable, "-c", code],
                env=os.environ | {"NUMBA_CACHE_DIR": cache},
                capture_output=True,
                check=True,
                encoding="utf-8",
            ).stdout
            for _ in range(2)
        ]
    return float(seconds[0]), float(seconds[1])


# --- the page ------------------------------------------------------------------------------


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line
            for line in cpuinfo.read_text(encoding="utf-8").splitlines()
            if "model name" in line
        ]
        model = names[0].partition(":")[2].strip() if names else model
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} not installed")
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, {', '.join(versions)}."
    )


def table(case: Case, rows: list[tuple[str, float, float]]) -> str:
    add = next(ns for name, ns, _ in rows if name == ADD)
    size = " x ".join(map(str, case.shape))
    lines = [f"## {case.title}", "", f"{size} pixels.", ""]
    lines += ["| program | ns per pixel | x np.add | largest error |", "|---|--:|--:|--:|"]
    for name, ns, worst in rows:
        shown = "" if np.isnan(worst) else f"{worst:.0e}"
        lines.append(f"| {name} | {ns:,.3g} | {ns / add:,.3g} | {shown} |")
    return "\n".join(lines)


def summary(found: dict[str, dict[str, float]]) -> str:
    plane, volume = found[CASES[0].title], found["3-D, box, radius 3, float32"]
    narrow, wide, missing = (found[CASES[i].title] for i in (1, 2, 4))
    gaussian = found["2-D, Gaussian, radius 5, float32"]
    ratios = [
        ("2-D box: time of np.add", plane, plane[ADD], True),
        *(
            (f"2-D box: faster than {peer}", plane, plane[peer], False)
            for peer in (CV64, SCIPY)
            if peer in plane
        ),
        ("3-D box: time of np.add", volume, volume[ADD], True),
        *((f"3-D box: faster than {p}", volume, volume[p], False) for p in (DIPY,) if p in volume),
        ("2-D Gaussian radius 5: faster than scikit-image's SSIM", gaussian, gaussian[SSIM], False),
    ]  # fmt: skip
    rows = [
        (what, *(f"{ours[how] / other if slower else other / ours[how]:.1f} x"
                 for how in (STORED, JOINED)))
        for what, ours, other, slower in ratios
    ]  # fmt: skip
    rows += [
        (what, *(f"{ours[how] / other[how]:.2f} x" for how in (STORED, JOINED)))
        for what, ours, other in (
            ("2-D box: radius 15 against radius 1", wide, narrow),
            ("2-D box: 10 % NaN against clean", missing, plane),
        )
    ]
    first, again = first_calls()
    rows += [
        (f"{name}: 1 thread against 2", f"{ours[ALONE] / ours[STORED]:.2f} x", "")
        for name, ours in (("2-D box", plane), ("3-D box", volume))
    ]
    rows += [
        ("memory of one thread beyond images and map, 2-D", f"{100 * extra_memory():.1f} %", ""),
        ("first call ever: loads and compiles", f"{first:.1f} s", ""),
        ("first call in a new process: loads", f"{again:.2f} s", ""),
    ]
    lines = [
        "## In short",
        "",
        f"Through dask with {THREADS} threads; 2-D 4096 x 4096, 3-D 256^3, float32, radius 3,",
        f"unless said; in {PARTS} chunks, written into an array that is there (as `np.add` does,",
        "and maps into files), or joined by `compute()`, which copies them once more, alone.",
        "",
        "| | stored | joined |",
        "|---|--:|--:|",
    ]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=PAGE)
    parser.add_argument("--only", default="", help="print only such cases; no page")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    tables, found = [], {}
    for case in CASES:
        if options.only not in case.title:
            continue
        rows = list(run(case, options.repeats))
        tables.append(table(case, rows))
        found[case.title] = {name: ns for name, ns, _ in rows}
        print(tables[-1], end="\n\n", flush=True)
    if options.only:
        return
    head = (
        "# Benchmarks\n\nWritten by `tox run -e bench` (`benchmarks/peers.py`): medians of "
        "repeats taken in turns.\nThe error is the largest difference to the two-pass formula "
        "in float64, away from the\nborder; blank where a program computes something else.\n\n"
        f"Machine: {machine()}"
    )
    short = summary(found)
    print(short)
    options.output.write_text("\n\n".join([head, short, *tables]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

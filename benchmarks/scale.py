"""Time and memory of whole commands on large images: python benchmarks/scale.py --sides 4096.

`--shapes 512x1024x1024 --kinds store "map, volume"` measures volumes; of what takes hours
`--slab 1/64` computes a part alone, and what is said of a pixel is then of one of that part.
Processor time (all processes), wall time and the peak of anonymous memory, each command in a
process of its own; beside them `da.store` of a + b through the same files, and loading the
libraries alone. With `--turns 3` all are run in turns: a row is the median of a command, with its
least and most memory. In a `--folder` the images stay, and are taken again. docs/scale.md
holds the figures. Reads /proc, so Linux.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tifffile
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

TILES = {2: 1024, 3: 128}  # px a side, of a scene as of a chunk
LAYERS = 3  # of one scene, each rolled elsewhere, make a tile
SHIFT = (0.6, 3.4, -5.7)  # px
ALL = "ncc,confidence,shift,shift_error,classes,ceiling,fit"
IMPORTS = "import dask.array, zarr, tifffile"
STORE = """
import sys, dask.array as da, numpy as np, tifffile, zarr
from zarr.codecs import BloscCodec
a, b = (tifffile.memmap(path, mode="r") for path in sys.argv[1:3])
edge, none = int(sys.argv[4]), np.empty((0,) * a.ndim, a.dtype)
a, b = (da.from_array(x, chunks=edge, name=False, meta=none) for x in (a, b))
codec = BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")
how = {"chunks": (edge,) * a.ndim, "dtype": "f4", "compressors": codec}
out = zarr.create_array(sys.argv[3], shape=a.shape, **how)
da.store(a.astype("f4") + b, out, lock=False)
"""


class Cost(NamedTuple):
    """What a command took: seconds, seconds of processor, bytes."""

    wall: float
    processor: float
    anonymous: int


def make_pair(folder: Path, shape: tuple[int, ...]) -> list[Path]:
    """Write two images of the same scene, the second moved, as OME-TIFF."""
    rng = np.random.default_rng(0)
    ndim = len(shape)
    edge = TILES[ndim]
    axes = tuple(range(ndim))
    scene = ndimage.gaussian_filter(rng.normal(size=(edge,) * ndim), 1.5, mode="wrap")
    scene *= 600 / scene.std() / np.sqrt(LAYERS)
    moved = ndimage.shift(scene, SHIFT[-ndim:], mode="grid-wrap")
    places = rng.integers(0, edge, (*(-(-n // edge) for n in shape), LAYERS, ndim))
    paths = []
    for name, image in (("a", scene), ("b", moved)):
        noise = rng.normal(size=image.shape) * 60 + 4000
        path = folder / f"{name}{named(shape)}.ome.tif"
        paths.append(path)
        if path.exists():
            continue
        axes_told = {"axes": "ZYX"[-ndim:]}
        part_of = path.with_name(f"part-{path.name}")
        options = {"shape": shape, "dtype": np.uint16, "ome": True}
        pixels = tifffile.memmap(part_of, metadata=axes_told, **options)
        for at in np.ndindex(places.shape[:ndim]):
            part = pixels[tuple(slice(k * edge, (k + 1) * edge) for k in at)]
            # no two tiles alike: a repeated scene has more than one best shift
            tile = noise + sum(np.roll(image, place, axes) for place in places[at])
            part[...] = tile[tuple(slice(n) for n in part.shape)]
        pixels.flush()
        part_of.rename(path)
    return paths


def named(shape: tuple[int, ...]) -> str:
    """Return a shape in words."""
    return "x".join(map(str, shape))


def cost_of(words: list[str]) -> Cost:
    """Run a program to its end."""
    before, began = os.times(), time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak, seen = 0, dict[int, float]()
    while process.poll() is None:
        tree = (process.pid, *children(process.pid))
        peak = max(peak, anonymous(tree))
        seen |= {each: taken for each in tree if (taken := processor_of(each)) is not None}
        time.sleep(0.02)
    after = os.times()
    if process.returncode:
        raise SystemExit(f"{words} ended with {process.returncode}")
    # of processes that nobody waited for, as those of a fork server, the system does not tell
    processor = max(sum(after[2:4]) - sum(before[2:4]), sum(seen.values()))
    return Cost(time.perf_counter() - began, processor, peak)


def processor_of(pid: int) -> float | None:
    """Return the processor time of a process so far, in seconds; None where it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def anonymous(tree: Sequence[int]) -> int:
    """Return the anonymous memory of some processes, in bytes."""
    total = 0
    for each in tree:
        try:
            text = Path(f"/proc/{each}/status").read_text(encoding="ascii")
        except OSError:
            continue
        found = [line for line in text.splitlines() if line.startswith("RssAnon:")]
        total += 1024 * int(found[0].split()[1]) if found else 0
    return total


def children(pid: int) -> list[int]:
    """Return all descendants of a process."""
    own = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):  # each thread has its own
        try:
            own += [int(each) for each in task.read_text(encoding="ascii").split()]
        except OSError:
            continue
    return own + [each for child in own for each in children(child)]


def report(label: str, shape: tuple[int, ...], costs: list[Cost], share: float = 1) -> None:
    """Print a row of the table, for a share of the pixels of an image."""
    wall, processor, memory = (statistics.median(each) for each in zip(*costs, strict=True))
    peaks = [cost.anonymous / 1e6 for cost in costs]
    print(
        f"| {named(shape)} | {label} | {wall:.2f} | {processor:.2f} "
        f"| {1e9 * processor / (math.prod(shape) * share):.1f} | {memory / 1e6:.0f} "
        f"| {min(peaks):.0f}-{max(peaks):.0f} |",
        flush=True,
    )


def cost_of_kind(kind: str, images: list[str], shape: tuple[int, ...], slab: str | None) -> Cost:
    """Run a command for two images, and remove what it writes."""
    with TemporaryDirectory(dir=Path(images[0]).parent) as folder:
        output = Path(folder) / "o.ome.zarr"
        if kind == "imports":
            return cost_of([sys.executable, "-c", IMPORTS])
        if kind == "store":
            words = [sys.executable, "-c", STORE, *images, str(output)]
            return cost_of([*words, str(TILES[len(shape)])])
        command = [sys.executable, "-m", "napari_local_ncc", "map", *images, "-o", str(output)]
        return cost_of(
            [*command, *([] if slab is None else ["--slab", slab, *DECIDED]), *OPTIONS[kind]]
        )


def measure(
    folder: Path, shape: tuple[int, ...], kinds: list[str], slab: str | None, turns: int
) -> None:
    """Print what all commands take for images of a shape."""
    images = [str(path) for path in make_pair(folder, shape)]
    costs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
    for _ in range(turns):
        for kind in kinds:
            costs[kind].append(cost_of_kind(kind, images, shape, slab))
    for kind in kinds:
        is_part = slab is not None and kind in OPTIONS
        label = f"{kind}, slab {slab}" if is_part else kind
        report(label, shape, costs[kind], float(Fraction(slab)) if slab and is_part else 1)


DECIDED = ["--memory", "4GB", "--threads", "2"]  # of slabs
OPTIONS = {
    "map": [],
    "map, --memory 600MB": ["--memory", "600MB"],
    "map, two processes": ["--workers", "2", "--threads", "1"],
    "map, two threads": ["--threads", "2"],
    "map, registered, --memory 600MB": ["--register", "translation", "--memory", "600MB"],
    "map, registered": ["--register", "translation"],
    "map, affine, --memory 1.5GB": ["--register", "affine", "--memory", "1.5GB"],
    "map, flow, --memory 1.5GB": ["--register", "flow", "--memory", "1.5GB"],
    "map, all bands": ["--bands", ALL],
    "map, volume": ["--radius", "2,4,4"],
    "map, volume, all bands": ["--radius", "2,4,4", "--bands", ALL],
}
KINDS = ["imports", "store", "map", "map, registered", "map, all bands", "map, --memory 600MB",
         "map, two threads", "map, two processes"]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sides", type=int, nargs="+", default=[], help="of planes; 4096 at first")
    parser.add_argument("--shapes", nargs="+", default=[], metavar="ZxYxX")
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--slab", metavar="I/N", help="of the maps, only this part")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--turns", type=int, default=1)
    chosen = parser.parse_args()
    print("| pixels | command | wall s | processor s | ns/px | anonymous MB | least-most |")
    print("|---|---|---|---|---|---|---|")
    shapes = [(side, side) for side in chosen.sides]
    shapes += [tuple(map(int, each.split("x"))) for each in chosen.shapes]
    with TemporaryDirectory() as own:
        folder = Path(own) if chosen.folder is None else chosen.folder
        for shape in shapes or [(4096, 4096)]:
            measure(folder, shape, chosen.kinds, chosen.slab, chosen.turns)


if __name__ == "__main__":
    main()

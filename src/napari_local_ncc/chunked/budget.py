"""How large blocks may be, and how many at a time, within a budget of memory."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dask.utils import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PLANE_EDGES = (2048, 1024, 512, 256)  # px
VOLUME_EDGES = (128, 96, 64, 48, 32)  # px: of 32, windows that reach far read 37 times as much
ROWS = (0.5, 1, 2)  # times that, along z, y, x: rows are read from a file one by one
LITTLE = 1.04  # times what a cube reads for each of its pixels, for the sake of longer rows
WANTED = 16  # blocks of a map at least, or threads end at different times
BASE = 250_000_000  # bytes: what the program takes before its first block
UNKNOWN = 4_000_000_000  # bytes that are taken to be free where the system does not say


def parse_memory(text: str | float) -> int:
    """Read a number of bytes: 2e9, "2GB", "600 MiB".

    Raises
    ------
    ValueError
        If it is not written like that, or not above 0.
    """
    try:
        found = parse_bytes(text)
    except (ValueError, TypeError):
        found = 0
    if found <= 0:
        raise ValueError(f"cannot read {text!r} as an amount of memory; write it like 2GB or 600MB")
    return int(found)


def _in_mb(amount: float) -> str:
    """Write a number of bytes in the unit that `parse_memory` reads."""
    return f"{math.ceil(amount / 1e6):,} MB" if amount >= 1e6 else f"{amount:,.0f} bytes"


def free_memory() -> int:
    """Return how many bytes the system, or the container, has to give now."""
    free = _available()
    group = Path("/sys/fs/cgroup")
    try:
        most, used = (
            int((group / name).read_text(encoding="ascii"))
            for name in ("memory.max", "memory.current")
        )
    except (OSError, ValueError):  # not in a container, or one without a limit ("max")
        return free
    return max(min(free, most - used), 0)


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (line,) = (each for each in lines if each.startswith("MemAvailable:"))
        return 1024 * int(line.split()[1])
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return UNKNOWN


def fit_blocks(
    shape: Sequence[int],
    spatial: Sequence[bool],
    *,
    reach: Sequence[int],
    per_pixel: float,
    memory: float,
    threads: int,
) -> tuple[tuple[int, ...], int]:
    """Return the edges of the blocks of a map, and how many to compute at a time.

    Parameters
    ----------
    shape : sequence of int
        Of the map's grid.
    spatial : sequence of bool
        Which of its axes are space; blocks are one sample long along the others.
    reach : sequence of int
        How far beyond a block samples are needed.
    per_pixel : float
        Bytes that computing takes for each sample that a block needs.
    memory : float
        Bytes to keep to, those of the program itself included.
    threads : int
        How many are wanted.

    Returns
    -------
    tuple of (tuple of int, int)
        Edges, the largest that fit for all threads; and the threads, fewer where even the
        smallest do not.

    Raises
    ------
    ValueError
        If not even one of the smallest blocks fits.
    """

    def cut(edges: Iterable[float]) -> tuple[int, ...]:
        along = iter(edges)
        return tuple(
            min(n, int(next(along))) if s else 1 for n, s in zip(shape, spatial, strict=True)
        )

    def read(edges: tuple[int, ...]) -> int:
        return math.prod(min(e + 2 * r, n) for e, r, n in zip(edges, reach, shape, strict=True))

    def edges_of(edge: int) -> tuple[int, ...]:
        cube = cut([edge] * sum(spatial))
        if not is_volume:
            return cube
        rows = cut(edge * times for times in ROWS)
        if math.prod(rows) > math.prod(cube):  # too thin to be halved
            return cube
        return min(cube, rows, key=lambda e: (1 if e is rows else LITTLE) * read(e) / math.prod(e))

    def needed(edge: int) -> float:
        return per_pixel * read(edges_of(edge))

    is_volume = sum(spatial) == len(ROWS)
    known = VOLUME_EDGES if is_volume else PLANE_EDGES
    room = memory - BASE
    for edge in known:
        count = math.prod(-(-n // e) for n, e in zip(shape, edges_of(edge), strict=True))
        enough = edge <= known[0] // 2 or count >= WANTED or is_volume
        if enough and threads * needed(edge) <= room:
            return edges_of(edge), threads
    smallest = needed(known[-1])
    if smallest > room:
        raise ValueError(
            f"a block of {'x'.join(map(str, edges_of(known[-1])))} needs "
            f"{_in_mb(smallest)} beside the {_in_mb(BASE)} of the program, more than "
            f"{_in_mb(memory)}: give more memory (--memory, memory=), or fewer bands, a smaller "
            "radius or search"
        )
    return edges_of(known[-1]), int(room // smallest)

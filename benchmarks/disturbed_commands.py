"""Commands that can be disturbed at a moment, and what they leave: for `reliability.py`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_local_ncc.cli import main as local_ncc
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.io import read_image, read_map
from napari_local_ncc.progress import MENDABLE
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.transform_file import read_transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATIENCE = 600  # s
PAGE = 4096  # bytes, of which a file in memory takes whole ones
BLOCK = 256  # px, of a map


class Started:
    """A program that runs; what it says goes into a file `err` beside its output."""

    def __init__(self, words: list[str], at: Path, *, forked: bool) -> None:
        if forked:
            self._process: Any = get_context("fork").Process(target=_run, args=(words, at))
            self._process.start()
        else:
            with (at / "err").open("wb") as said:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "napari_local_ncc", *words],
                    cwd=at,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                )
        self.pid: int = self._process.pid

    def wait(self) -> int:
        """Wait for its end, and return its exit code: below 0 where a signal ended it."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.wait()
        self._process.join()
        return int(self._process.exitcode)

    def runs(self) -> bool:
        """Return whether it has not ended."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll() is None
        return bool(self._process.is_alive())

    def hears(self) -> bool:
        """Return whether it handles the signals that end it: its own first lines have run."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    def workers(self) -> list[int]:
        """Return the processes that it computes in."""
        servers = [pid for pid in _children(self.pid) if b"forkserver" in _command(pid)]
        return [pid for server in servers for pid in _children(server)]


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started, from any of its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(each) for found in lists for each in found.read_text("ascii").split())


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _run(words: list[str], at: Path) -> None:
    """Run the command line in a forked process."""
    os.chdir(at)
    said = os.open("err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ["local-ncc", *words]
    sys.exit(local_ncc())


@dataclass(frozen=True)
class Output:
    """What a command writes.

    Parameters
    ----------
    name : str
        What is given to it.
    beside : str
        The name of what belongs to that; "" where nothing does.
    options : tuple of str
        What it is told to have it so.
    """

    name: str
    beside: str = ""
    options: tuple[str, ...] = ()

    @property
    def names(self) -> set[str]:
        """The names of all that is written."""
        return {self.name, self.beside} - {""}

    def files(self, folder: Path) -> dict[str, bytes]:
        """Return what its files hold, by their names."""
        tops = [folder / name for name in self.names]
        found = (path for top in tops for path in (top, *top.rglob("*")) if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}


class Command(ABC):
    """A command of two images, all runs of which give the same.

    Parameters
    ----------
    folder : Path
        Where it runs, each time in a new folder.
    side : int
        Of the images, in pixels.
    """

    outputs: ClassVar[tuple[Output, ...]]
    late: ClassVar[float]  # of the moments are before the last part of a run
    kept: ClassVar[tuple[str, ...]] = ()  # the options of a run that is to be continued,
    again: ClassVar[tuple[str, ...]]  # of the one that does so,
    killed: ClassVar[tuple[str, ...]]  # and what states there are between

    def __init__(self, folder: Path, side: int) -> None:
        self.folder, self.side, self._turn = folder, side, 0
        for name, image in zip("ab", self.images(), strict=True):
            np.save(folder / f"{name}.npy", image)
        self.warm_up()
        self.seconds: dict[Output, tuple[float, float]] = {}
        self.pages: dict[Output, int] = {}
        for output in self.outputs:
            self._measure(output)

    @abstractmethod
    def images(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return what is compared."""

    @abstractmethod
    def warm_up(self) -> None:
        """Have this process load and do all that is forked from it, and keep what is right."""

    @abstractmethod
    def words(self, output: Output, images: list[str]) -> list[str]:
        """Return the command, without the output."""

    @abstractmethod
    def is_right(self, at: Path, output: Output) -> bool:
        """Return whether what was written is, bit for bit, that of an undisturbed run.

        Or raise what reading raises.
        """

    @abstractmethod
    def wait_for_late(self, process: Started, at: Path, output: Output) -> None:
        """Wait until the last part of a run begins."""

    @abstractmethod
    def wait_for_early(self, process: Started, at: Path, output: Output, share: float) -> None:
        """Wait for a moment of the first part of a run, from 0 to 1."""

    def _measure(self, output: Output) -> None:
        """Run it undisturbed: how long its parts take, and what it writes."""
        at = self.place()
        began = time.monotonic()
        process = self.start(at, output)
        self.wait_for_late(process, at, output)
        late = time.monotonic()
        _poll(process, (at / (output.beside or output.name)).exists)
        placed = time.monotonic()
        if process.wait() or self.state(at, output) != "whole":
            raise SystemExit((at / "err").read_text(encoding="utf-8"))
        self.seconds[output] = late - began, placed - late
        self.pages[output] = sum(-(-len(content) // PAGE) for content in output.files(at).values())

    def place(self) -> Path:
        """Return a new folder."""
        self._turn += 1
        at = self.folder / str(self._turn)
        at.mkdir()
        return at

    def clear(self) -> None:
        """Remove what runs have left: it would fill the disk."""
        for each in self.folder.iterdir():
            if each.is_dir():
                shutil.rmtree(each)

    def start(self, at: Path, output: Output, *options: str, forked: bool = True) -> Started:
        """Start it in a folder."""
        for name in ("a.npy", "b.npy"):
            if not (at / name).exists():
                shutil.copy(self.folder / name, at / name)
        words = [*self.words(output, _images(at)), "-o", output.name, *options]
        return Started(words, at, forked=forked)

    def wait_for(self, process: Started, at: Path, output: Output, moment: float) -> None:
        """Wait for a moment of a run, from 0 to 1: when its output is in place."""
        if moment < self.late:
            self.wait_for_early(process, at, output, moment / self.late)
            return
        self.wait_for_late(process, at, output)
        time.sleep(self.seconds[output][1] * (moment - self.late) / (1 - self.late))

    def state(self, at: Path, output: Output) -> str:
        """Say what is there: whole, nothing, unfinished, or what should not be."""
        found = {each.name for each in at.glob("o.*")}
        if "Traceback" in (at / "err").read_text(encoding="utf-8", errors="replace"):
            return "traceback"
        if not found:
            return "nothing"
        # while that folder is removed, it has a number, too
        making = {name for name in found if name.startswith(f"{output.name}.unfinished")}
        if making and output.name not in found:
            return "unfinished"  # what belongs to it may be in its place
        if found - making != output.names:
            return f"left: {', '.join(sorted(found))}"
        try:
            if not self.is_right(at, output):
                return "WRONG"
        except MENDABLE:
            return "refused when it is read"
        return "whole, its folder left" if making else "whole"


def _images(folder: Path) -> list[str]:
    return [str(folder / f"{name}.npy") for name in "ab"]


def _poll(process: Started, is_so: Any) -> None:
    """Wait until something is so, or a program has ended."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.runs() and not is_so():
        time.sleep(0.0005)


class Map(Command):
    """Moments of the first part are told by the blocks that are finished."""

    late = 0.75
    outputs = (Output("o.ome.zarr"), Output("o.ome.tif"), Output("o.npy", "o.npy.json"))
    kept = again = ("--resume",)
    killed = ("unfinished",)

    def images(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return noise: every pixel of a map is another."""
        rng = np.random.default_rng(0)
        shape = (2, self.side, self.side)
        fixed, moving = rng.integers(0, 4000, shape).astype(np.uint16)
        return fixed, moving

    def warm_up(self) -> None:
        """Map once, by one thread: none is left to be forked."""
        path = self.folder / "warm.npy"
        words = self.words(Output(""), _images(self.folder))
        if local_ncc([*words, "-o", str(path), "--threads", "1", "--quiet"]):
            raise SystemExit("the undisturbed run failed")
        self._expected = read_map(path).bands.compute(scheduler="sync")

    def words(self, output: Output, images: list[str]) -> list[str]:
        """Return a command that has blocks of 256 px."""
        window = ["--radius", "20", "--weights", "gaussian"]
        return ["map", *images, *window, "--memory", "256MB", "--threads", "2"]

    def is_right(self, at: Path, output: Output) -> bool:
        """Compare the bands: documents hold the names and times of images."""
        bands = read_map(at / output.name).bands.compute(scheduler="sync")
        return bool(np.array_equal(bands, self._expected, equal_nan=True))

    def wait_for_late(self, process: Started, at: Path, output: Output) -> None:
        """Wait for the last block."""
        self.wait_for_early(process, at, output, 1)

    def wait_for_early(self, process: Started, at: Path, output: Output, share: float) -> None:
        """Wait for a share of the blocks."""
        record = at / f"{output.name}.unfinished" / "blocks"
        count = int(share * (self.side // BLOCK) ** 2)

        def is_so() -> bool:
            try:
                return record.read_bytes().count(b"\n") > count  # and its heading
            except OSError:
                return False

        _poll(process, is_so)


class Timed(Command):
    """Moments of the first part are told by time; then it writes."""

    again = ("--overwrite",)
    killed = ("nothing", "unfinished")

    @abstractmethod
    def result(self, at: Path, output: Output) -> Any:
        """Read what was written: what is equal is, bit for bit, the same."""

    def images(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return a texture, and the same moved and bent."""
        texture = gaussian_filter(np.random.default_rng(0).normal(size=(self.side, self.side)), 2)
        y, x = np.mgrid[: self.side, : self.side]
        at = [y + 2.5 + 1.5 * np.sin(2 * np.pi * x / self.side), x - 3]
        moved = map_coordinates(texture, at, order=3, mode="reflect")
        return (30000 * texture).astype(np.int16), (30000 * moved).astype(np.int16)

    def warm_up(self) -> None:
        """Write every output once, in a folder of its own."""
        self._expected: dict[Output, Any] = {}
        for output in self.outputs:
            at = self.place()
            words = self.words(output, _images(self.folder))
            if local_ncc([*words, "-o", str(at / output.name), "--quiet"]):
                raise SystemExit("the undisturbed run failed")
            self._expected[output] = self.result(at, output)

    def is_right(self, at: Path, output: Output) -> bool:
        """Read it, and compare."""
        return bool(self.result(at, output) == self._expected[output])

    def wait_for_late(self, process: Started, at: Path, output: Output) -> None:
        """Wait until it begins to write."""
        made, placed = at / f"{output.name}.unfinished", at / output.name
        _poll(process, lambda: made.exists() or placed.exists())

    def wait_for_early(self, process: Started, at: Path, output: Output, share: float) -> None:
        """Wait for a share of the time until then, from its own first lines on."""
        _poll(process, process.hears)
        time.sleep(self.seconds[output][0] * share)


class Register(Timed):
    """Transforms of one file, of two, and of a folder."""

    late = 0.5
    outputs = (
        Output("o.json", options=("--model", "translation")),
        Output("o.json", "o.zarr", ("--model", "flow")),
        Output("o.ome.zarr", options=("--model", "flow")),
    )

    def words(self, output: Output, images: list[str]) -> list[str]:
        """Return the command with a model."""
        return ["register", *images, *output.options]

    def result(self, at: Path, output: Output) -> dict[str, bytes]:
        """Read it, and return the bytes of all files."""
        read_transform(at / output.name, Grid((self.side, self.side)))
        return output.files(at)


class Apply(Timed):
    """An image that is turned by 0.1 rad; the first is moved onto the grid of the second."""

    late = 0.25
    outputs = (Output("o.ome.zarr"), Output("o.ome.tif"), Output("o.npy"))

    def warm_up(self) -> None:
        """Write a transform, too, that all apply."""
        cos, sin = np.cos(0.1), np.sin(0.1)
        turn = [[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]
        Registration.from_matrix(turn, Grid((self.side, self.side))).save(self.folder / "t.json")
        super().warm_up()

    def words(self, output: Output, images: list[str]) -> list[str]:
        """Return the command with its transform."""
        image, like = images
        return ["apply", str(self.folder / "t.json"), image, "--like", like]

    def result(self, at: Path, output: Output) -> bytes:
        """Return the samples: documents hold times."""
        samples = read_image(at / output.name).data.compute(scheduler="sync")
        return bytes(np.ascontiguousarray(samples).tobytes())

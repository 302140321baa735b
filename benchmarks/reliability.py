"""Faults while `local-ncc map` runs, and what is there afterwards.

`python benchmarks/reliability.py` writes docs/reliability.md. It needs Linux; the
full disk needs the right to mount.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.io import read_map

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 1400
ENDINGS = (".ome.zarr", ".ome.tif", ".npy")
HEAD = """# Reliability

Written by `python benchmarks/reliability.py --share {share}` (1: 20 kills, 40 pairs of writers, 6
of all else; 4 at least): faults while `local-ncc map` runs, and what is there afterwards.
Whole programs, on Linux and a local file system; two uint16 images of {side} x {side} px, window
radius 20, blocks of 256 px. A trial is bad where an output can be opened that is not bit for
bit that of an undisturbed run, where something is left that should not be, or where an exit
code is not the documented one.

| fault | n | bad | what was seen |
|---|---|---|---|
"""
TAIL = """
A moment is a time after the first trace of an output, spaced evenly from none at all to nearly
what an undisturbed run takes from there; a run that a fault came too late for ends whole.
Exit -2, -15 or -1 is that of a process which the signal itself has ended. Formats take turns.
Two writers start together, each for the same output without `--overwrite`.

Not tried here: a power failure, or a machine that goes down; network file systems and object
stores; workers of a cluster that are killed (one lost worker: a nightly test); stores that
lose, delay or damage what they are given; more than the formats .ome.zarr, .ome.tif and .npy;
two signals at once; other commands than `map`; Windows and macOS; many maps in one process over
hours.
"""
TILED = ["--radius", "20", "--weights", "gaussian", "--memory", "256MB", "--threads", "2"]


class Trials:
    """A folder with two images and the map that they give undisturbed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._turn = folder, 0
        rng = np.random.default_rng(0)
        for name in ("a", "b"):
            np.save(folder / f"{name}.npy", rng.integers(0, 4000, (SIDE, SIDE)).astype(np.uint16))
        at = self.place()
        process = self.start(at, ".npy")
        self.wait_for_writing(at)
        began = time.monotonic()
        if process.wait():
            raise SystemExit("the undisturbed run failed")
        self.seconds = time.monotonic() - began
        self.expected = read_map(at / "o.npy").bands.compute()

    def place(self) -> Path:
        """Return a new folder."""
        self._turn += 1
        at = self.folder / str(self._turn)
        at.mkdir()
        return at

    def start(self, at: Path, ending: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a map in a folder."""
        images = [str(at / f"{n}.npy") for n in "ab"]
        for image in images:
            if not Path(image).exists():
                shutil.copy(self.folder / Path(image).name, image)
        words = [sys.executable, "-m", "napari_local_ncc", "map", *images, "-o", f"o{ending}"]
        return subprocess.Popen(
            [*words, *TILED, *options],
            cwd=at,
            stdout=subprocess.DEVNULL,
            stderr=open(at / "err", "wb"),
        )

    def wait_for_writing(self, at: Path) -> None:
        """Wait until there is something of an output."""
        end = time.monotonic() + 60
        while not list(at.glob("o.*")) and time.monotonic() < end:
            time.sleep(0.001)

    def state(self, at: Path, ending: str) -> str:
        """Say what is there: whole, nothing, unfinished, or what should not be."""
        found = {each.name for each in at.glob("o.*")}
        own = {f"o{ending}", f"o{ending}.json"} if ending == ".npy" else {f"o{ending}"}
        if "Traceback" in (at / "err").read_text(encoding="utf-8", errors="replace"):
            return "traceback"
        if not found:
            return "nothing"
        if found == {f"o{ending}.unfinished"}:
            return "unfinished"
        if found != own:
            return f"left: {', '.join(sorted(found))}"
        bands = read_map(at / f"o{ending}").bands.compute()
        return "whole" if np.array_equal(bands, self.expected, equal_nan=True) else "WRONG"


def killed(trials: Trials, moment: float, turn: int) -> tuple[bool, str]:
    """Kill a run and continue it."""
    ending, at = ENDINGS[turn % 3], trials.place()
    process = trials.start(at, ending, "--resume")
    trials.wait_for_writing(at)
    time.sleep(moment)
    process.kill()
    process.wait()
    before = trials.state(at, ending)
    if before == "whole":
        return True, "whole before"
    again = trials.start(at, ending, "--resume").wait()
    after = trials.state(at, ending)
    return (before, again, after) == ("unfinished", 0, "whole"), f"{before}, then {after}"


def interrupted(name: str) -> Callable[[Trials, float, int], tuple[bool, str]]:
    """Return a trial that sends a signal."""

    def trial(trials: Trials, moment: float, turn: int) -> tuple[bool, str]:
        ending, at = ENDINGS[turn % 3], trials.place()
        process = trials.start(at, ending)
        trials.wait_for_writing(at)
        time.sleep(moment)
        process.send_signal(getattr(signal, name))
        code, seen = process.wait(), trials.state(at, ending)
        good = (code, seen) in ((130, "nothing"), (130, "whole"), (0, "whole"))
        return good, f"{seen}, exit {code}"

    return trial


def raced(trials: Trials, _: float, turn: int) -> tuple[bool, str]:
    """Let two runs write one output."""
    ending, at = ENDINGS[turn % 3], trials.place()
    codes = sorted(p.wait() for p in [trials.start(at, ending) for _ in range(2)])
    seen = trials.state(at, ending)
    return (codes, seen) == ([0, 2], "whole"), f"{seen}, exits {codes[0]} and {codes[1]}"


def removed(what: str) -> Callable[[Trials, float, int], tuple[bool, str]]:
    """Return a trial that removes an input, or what is being written."""

    def trial(trials: Trials, moment: float, turn: int) -> tuple[bool, str]:
        ending, at = ENDINGS[turn % 3], trials.place()
        process = trials.start(at, ending)
        trials.wait_for_writing(at)
        time.sleep(moment * 0.8)
        if what == "input":
            (at / "a.npy").unlink()
        else:
            shutil.rmtree(at / f"o{ending}.unfinished", ignore_errors=True)
        code, seen = process.wait(), trials.state(at, ending)
        return (code, seen) in ((2, "nothing"), (0, "whole")), f"{seen}, exit {code}"

    return trial


def full(trials: Trials, _: float, turn: int) -> tuple[bool, str]:
    """Write to a disk that is too small, or just large enough."""
    ending, at = ENDINGS[turn % 3], trials.place()
    disk, size = at / "disk", int((0.3 + 0.3 * turn) * 4 * SIDE**2)
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    try:
        for name in "ab":
            (disk / f"{name}.npy").symlink_to(trials.folder / f"{name}.npy")
        (disk / "err").symlink_to(at / "err")
        process = trials.start(disk, ending)
        code, seen = process.wait(), trials.state(disk, ending)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    return (code, seen) in ((2, "nothing"), (0, "whole")), f"{seen}, exit {code}"


FAULTS: dict[str, tuple[int, Callable[[Trials, float, int], tuple[bool, str]]]] = {
    "SIGKILL, then `--resume`": (20, killed),
    "two writers": (40, raced),
    "SIGINT": (6, interrupted("SIGINT")),
    "SIGTERM": (6, interrupted("SIGTERM")),
    "SIGHUP": (6, interrupted("SIGHUP")),
    "disk full, 0.3 to 1.8 times the pixels": (6, full),
    "an input deleted": (6, removed("input")),
    "the output deleted": (6, removed("output")),
}


def main() -> None:
    """Run all trials and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the trials")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), help="the rows to make anew")
    parser.add_argument("--out", type=Path, default=Path("docs/reliability.md"))
    options = parser.parse_args()
    old = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    rows = {line.split(" | ")[0][2:]: line for line in old if line.startswith("| ")}
    with TemporaryDirectory() as name:
        trials = Trials(Path(name))
        for fault in options.faults:
            most, trial = FAULTS[fault]
            count = max(4, round(options.share * most))
            found = [trial(trials, trials.seconds * k / count, k) for k in range(count)]
            seen = Counter(what for _, what in found)
            bad = sum(not good for good, _ in found)
            told = "; ".join(f"{what}: {n}" for what, n in seen.most_common())
            rows[fault] = f"| {fault} | {count} | {bad} | {told} |"
            print(rows[fault], flush=True)
    table = "".join(f"{rows[fault]}\n" for fault in FAULTS if fault in rows)
    options.out.write_text(
        HEAD.format(side=SIDE, share=options.share) + table + TAIL, encoding="utf-8"
    )


if __name__ == "__main__":
    main()

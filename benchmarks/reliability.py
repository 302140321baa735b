"""Faults while `local-ncc map` runs, and what is there afterwards.

`python benchmarks/reliability.py TRIALS.jsonl` tries what is not in that file yet, and writes
docs/reliability.md; with `--faults` and nothing after it, only the page. `--soak ROUNDS.jsonl` is
what `soak.py` wrote. It needs Linux; the full disk needs the right to mount.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.cli import main as local_ncc
from napari_local_ncc.io import read_map

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from store_faults import BAD, try_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Trial = Callable[["Trials", float, int], tuple[bool, str]]

SIDE, SMALL = 1536, 512  # px: the latter where two runs race
BLOCK = 256  # px
LATE = 0.75  # of the moments are after some of the blocks; the others after the last
GOLDEN = 0.618  # times a number of turns: any few of them are spread over all moments
PATIENCE = 600  # s
ENDINGS = (".ome.zarr", ".ome.tif", ".npy")
TILED = ["--radius", "20", "--weights", "gaussian", "--memory", "256MB", "--threads", "2"]
HEAD = """# Reliability

Written by `python benchmarks/reliability.py TRIALS.jsonl`: faults while `local-ncc map` runs, and
what is there afterwards. On Linux and a local file system; two uint16 images of {side} x {side} px
({small} x {small} for two writers), window radius 20, blocks of {block} px. A trial is bad where an
output can be opened that is not bit for bit that of an undisturbed run, where something is left
that should not be, or where an exit code is not the documented one.

| fault | n | bad | what was seen | at commit |
|---|---|---|---|---|
"""
TAIL = """
Moments are spread evenly: three quarters of them by the blocks that are finished, from none to
all, the others by time from there to the end of an undisturbed run; a run that a fault came too
late for ends whole. Formats (.ome.zarr, .ome.tif, .npy) take turns. Programs are forked from one
that has loaded everything, but every fifth that gets a signal, and each whose worker is killed:
these are started as a user starts them. Two writers start together, for one output without
`--overwrite`. A Zarr store that fails loses, delays, cuts off or denies what it is given or asked
for, has no room for it, or changes a bit of a chunk, of 0.1 to all of its keys: half of the trials
read an image, half write a map (`python tests/store_faults.py 200 1`); "right" is where no key was
struck, or late.

What fails there is `napari_local_ncc.files.faulty_store.FaultyStore`: it stands in front of any
Zarr store, in tests of your own too. Chunks of the maps and images that are written as OME-Zarr
have a CRC-32C, so that whoever reads them notices a bit that is another, and a chunk of a map that
is not there is an error. Nobody notices a changed bit where there is no such sum: in most images
(the trials read chunks with one), in .tif, .npy, .nii and other maps, in the text of a zarr.json.

An interrupt that Python itself cannot raise, as while it destroys an object, is remembered: the run
ends at its next step, or is whole. Signals that come before a program's first line of Python are
Python's own. (Of 20 SIGHUP that were counted before, one came so, and a whole map with exit code 0
was said beside a traceback of Python's.)

Not tried here: a power failure, or a machine that goes down; network file systems and object
stores; two signals at once; Windows and macOS. Of other commands than `map` few moments were tried
by hand: 10 of `register`, 10 of `info`, 6 each of `apply`, `convert` and `batch`, none of `refine`.
All ended as is documented, but two in their first 0.04 s of processor time, by Python's own hand.
Of two `register` runs with one output, started together 50 times by hand (translations and flows),
one won each time, and the other said so and ended with 2.
"""
SOAK = """
## One process, for long

`xvfb-run -a python benchmarks/soak.py ROUNDS.jsonl`: images of 64 x 64 px; maps of NCC alone, every
tenth of all bands, every fifth into a file (.ome.zarr, .ome.tif, .npy in turn); registrations by a
translation, every tenth rigid, affine or flow; previews in a napari window, each of another radius.
Memory is that of the whole process, looked at every 20 rounds; within 5 % is the aim.

| rounds | MB at their end | MB at most | threads |
|---|--:|--:|--:|
"""


class Started:
    """A program that maps; what it says goes into a file `err` beside its output."""

    def __init__(self, words: list[str], at: Path, *, forked: bool) -> None:
        if forked:
            self._process: Any = get_context("fork").Process(target=_map, args=(words, at))
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


def _map(words: list[str], at: Path) -> None:
    """Run the command line in a forked process."""
    os.chdir(at)
    said = os.open("err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ["local-ncc", *words]
    sys.exit(local_ncc())


class Trials:
    """A folder with two images and the map that they give undisturbed."""

    def __init__(self, folder: Path, side: int) -> None:
        self.folder, self.blocks, self._turn = folder, (side // BLOCK) ** 2, 0
        rng = np.random.default_rng(0)
        for name in ("a", "b"):
            np.save(folder / f"{name}.npy", rng.integers(0, 4000, (side, side)).astype(np.uint16))
        words = ["--threads", "1", "--overwrite"]
        with TemporaryDirectory() as warm:  # the kernel is loaded once, for all that are forked
            images = [str(folder / f"{name}.npy") for name in "ab"]
            if local_ncc(["map", *images, "-o", f"{warm}/o.npy", *TILED[:-2], *words, "--quiet"]):
                raise SystemExit("the undisturbed run failed")
            self.expected = read_map(f"{warm}/o.npy").bands.compute(scheduler="sync")
        self.seconds = {ending: self._measure_end(ending) for ending in ENDINGS}

    def _measure_end(self, ending: str) -> float:
        """Return how long a run takes from its last block to its end."""
        at = self.place()
        process = self.start(at, ending)
        self.wait_for_blocks(process, at, ending, self.blocks)
        began = time.monotonic()
        if process.wait() or self.state(at, ending) != "whole":
            raise SystemExit("the undisturbed run failed")
        return time.monotonic() - began

    def place(self) -> Path:
        """Return a new folder."""
        self._turn += 1
        at = self.folder / str(self._turn)
        at.mkdir()
        return at

    def start(self, at: Path, ending: str, *options: str, forked: bool = True) -> Started:
        """Start a map in a folder."""
        for name in ("a.npy", "b.npy"):
            if not (at / name).exists():
                shutil.copy(self.folder / name, at / name)
        images = [str(at / f"{name}.npy") for name in "ab"]
        return Started(["map", *images, "-o", f"o{ending}", *TILED, *options], at, forked=forked)

    def wait_for_blocks(self, process: Started, at: Path, ending: str, count: int) -> None:
        """Wait until some blocks are finished, or the program has ended."""
        record = at / f"o{ending}.unfinished" / "blocks"
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and process.runs():
            try:
                if record.read_bytes().count(b"\n") > count:  # and its heading
                    return
            except OSError:
                if count < 0 and record.parent.exists():
                    return
            time.sleep(0.002)

    def wait_for(self, process: Started, at: Path, ending: str, moment: float) -> None:
        """Wait for a moment of a run, from 0 to 1."""
        if moment < LATE:
            self.wait_for_blocks(process, at, ending, int(moment / LATE * self.blocks))
            return
        self.wait_for_blocks(process, at, ending, self.blocks)
        time.sleep(self.seconds[ending] * (moment - LATE) / (1 - LATE))

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
        bands = read_map(at / f"o{ending}").bands.compute(scheduler="sync")
        return "whole" if np.array_equal(bands, self.expected, equal_nan=True) else "WRONG"


def killed(trials: Trials, moment: float, turn: int) -> tuple[bool, str]:
    """Kill a run and continue it."""
    ending, at = ENDINGS[turn % 3], trials.place()
    process = trials.start(at, ending, "--resume")
    trials.wait_for(process, at, ending, moment)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = trials.state(at, ending)
    if before == "whole":
        return True, "whole before"
    again = trials.start(at, ending, "--resume").wait()
    after = trials.state(at, ending)
    return (before, again, after) == ("unfinished", 0, "whole"), f"{before}, then {after}"


def worker_killed(trials: Trials, moment: float, turn: int) -> tuple[bool, str]:
    """Kill one of two processes that compute; if the run fails, continue it."""
    ending, at = ENDINGS[turn % 3], trials.place()
    options = ("--workers", "2", "--memory", "520MB", "--resume")  # as large blocks for each
    process = trials.start(at, ending, *options, forked=False)
    trials.wait_for(process, at, ending, moment * LATE)
    workers = process.workers() if process.runs() else []
    if workers:
        os.kill(workers[turn % len(workers)], signal.SIGKILL)
    code, before = process.wait(), trials.state(at, ending)
    told = "worker killed" if workers else "too late to kill"
    if (code, before) == (0, "whole"):
        return True, f"{told}: whole, exit 0"
    again = trials.start(at, ending, "--resume").wait()
    after = trials.state(at, ending)
    good = (code, before, again, after) == (2, "unfinished", 0, "whole")
    return good, f"{told}: {before}, exit {code}; resumed: {after}"


def interrupted(name: str) -> Trial:
    """Return a trial that sends a signal."""

    def trial(trials: Trials, moment: float, turn: int) -> tuple[bool, str]:
        ending, at = ENDINGS[turn % 3], trials.place()
        process = trials.start(at, ending, forked=turn % 5 > 0)
        trials.wait_for(process, at, ending, moment)
        if process.runs():
            os.kill(process.pid, getattr(signal, name))
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


def removed(what: str) -> Trial:
    """Return a trial that removes an input, or what is being written."""

    def trial(trials: Trials, moment: float, turn: int) -> tuple[bool, str]:
        ending, at = ENDINGS[turn % 3], trials.place()
        process = trials.start(at, ending)
        trials.wait_for(process, at, ending, moment)
        if what == "input":
            (at / "a.npy").unlink()
        else:
            shutil.rmtree(at / f"o{ending}.unfinished", ignore_errors=True)
        code, seen = process.wait(), trials.state(at, ending)
        return (code, seen) in ((2, "nothing"), (0, "whole")), f"{seen}, exit {code}"

    return trial


def full(trials: Trials, moment: float, turn: int) -> tuple[bool, str]:
    """Write to a disk that is too small, or just large enough."""
    ending, at = ENDINGS[turn % 3], trials.place()
    disk, size = at / "disk", int((0.05 + 1.75 * moment) * 4 * SIDE**2)
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


def store_failed(_: Trials, __: float, turn: int) -> tuple[bool, str]:
    """Read or write a Zarr store that fails."""
    what, _fault, outcome = try_fault(turn, seed=1)
    return not outcome.startswith(BAD), f"{what}: {outcome}"


FAULTS: dict[str, tuple[int, Trial]] = {
    "SIGKILL, then `--resume`": (50, killed),
    "SIGKILL of one of two `--workers`": (20, worker_killed),
    "two writers": (200, raced),
    "SIGINT": (20, interrupted("SIGINT")),
    "SIGTERM": (20, interrupted("SIGTERM")),
    "SIGHUP": (20, interrupted("SIGHUP")),
    "disk full, 0.05 to 1.8 times the pixels": (20, full),
    "an input deleted": (20, removed("input")),
    "the output deleted": (20, removed("output")),
    "a Zarr store that fails": (200, store_failed),
}


def run(faults: list[str], trials_file: Path) -> None:
    """Try what has not been tried, and append a line for each trial."""
    tried = Counter(each["fault"] for each in _read(trials_file))
    for fault in faults:
        count, trial = FAULTS[fault]
        with TemporaryDirectory() as name, trials_file.open("a", encoding="utf-8") as file:
            trials = Trials(Path(name), SMALL if trial is raced else SIDE)
            for k in range(tried[fault], count):
                good, seen = trial(trials, k * GOLDEN % 1, k)
                row = {"fault": fault, "good": good, "seen": seen, "at": _commit()}
                file.write(json.dumps(row) + "\n")
                file.flush()
                for each in trials.folder.iterdir():  # they would fill the disk
                    if each.is_dir():
                        shutil.rmtree(each)


@cache
def _commit() -> str:
    """Return which commit is tried."""
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, encoding="ascii", check=True).stdout.strip()


def _read(trials_file: Path) -> list[dict[str, Any]]:
    if not trials_file.exists():
        return []
    return [json.loads(line) for line in trials_file.read_text(encoding="utf-8").splitlines()]


def write_page(trials_file: Path, rounds_file: Path | None, page: Path) -> None:
    """Count the trials of a file, and tell of the rounds of a soak."""
    rows, trials = [], _read(trials_file)
    for fault, (count, _) in FAULTS.items():
        found = [each for each in trials if each["fault"] == fault]
        seen = Counter(each["seen"] for each in found)
        bad = sum(not each["good"] for each in found) if found else "?"
        told = "; ".join(f"{what}: {n}" for what, n in seen.most_common()) or "not tried"
        at = ", ".join(dict.fromkeys(each["at"] for each in found))
        rows.append(f"| {fault} | {len(found)} of {count} | {bad} | {told} | {at} |\n")
    head = HEAD.format(side=SIDE, small=SMALL, block=BLOCK)
    soaked = "" if rounds_file is None else SOAK + "".join(_soak_rows(_read(rounds_file)))
    page.write_text(head + "".join(rows) + TAIL + soaked, encoding="utf-8")


def _soak_rows(looks: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a row for each kind of rounds of the last soak in a file."""
    looks = looks[max(k for k, look in enumerate(looks) if look["what"] == "warm") :]
    first = looks[0]["mb"]
    for what in dict.fromkeys(look["what"] for look in looks):
        of_it = [look for look in looks if look["what"] == what]
        most, last = max(look["mb"] for look in of_it), of_it[-1]
        count = "after 100 of each" if what == "warm" else f"{last['turn']} {what}s"
        yield (
            f"| {count} | {last['mb']:.0f} | {most:.0f} ({most / first - 1:+.1%}) "
            f"| {last['threads']} |\n"
        )


def main() -> None:
    """Run the trials that are not in a file, and write the page of all in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", type=Path, help="a file with a line for each trial")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), help="those to try")
    parser.add_argument("--soak", type=Path, help="what soak.py wrote")
    parser.add_argument("--page", type=Path, default=Path("docs/reliability.md"))
    options = parser.parse_args()
    run(options.faults, options.trials)
    write_page(options.trials, options.soak, options.page)


if __name__ == "__main__":
    main()

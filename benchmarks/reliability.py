"""Faults while commands run, and what is there afterwards.

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
from collections import Counter
from functools import cache
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from disturbed_commands import BLOCK, PAGE, Apply, Command, Map, Register

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from store_faults import BAD, try_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Trial = Callable[[Command, float, int], tuple[bool, str]]  # whether it is good; what was seen

SIDES: dict[type[Command], int] = {Map: 1536, Register: 96, Apply: 1024}  # px
SMALL = 512  # px of two maps that race
GOLDEN = 0.618  # times a number of turns: any few of them are spread over all moments
LARGEST_DISK = 1.8  # times what an undisturbed run leaves
TEMPLATE = Path(__file__).with_name("reliability_page.md")


def killed(command: Command, moment: float, turn: int) -> tuple[bool, str]:
    """Kill a run and continue it, or begin anew."""
    output, at = command.outputs[turn % 3], command.place()
    process = command.start(at, output, *command.kept)
    command.wait_for(process, at, output, moment)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = command.state(at, output)
    if before.startswith("whole"):
        return True, before.replace("whole", "whole before", 1)
    again = command.start(at, output, *command.again).wait()
    after = command.state(at, output)
    good = before in command.killed and (again, after) == (0, "whole")
    return good, f"{before}, then {after}"


def worker_killed(command: Command, moment: float, turn: int) -> tuple[bool, str]:
    """Kill one of two processes that compute; if the run fails, continue it."""
    output, at = command.outputs[turn % 3], command.place()
    options = ("--workers", "2", "--memory", "520MB", "--resume")  # as large blocks for each
    process = command.start(at, output, *options, forked=False)
    command.wait_for_early(process, at, output, moment)
    workers = process.workers() if process.runs() else []
    if workers:
        os.kill(workers[turn % len(workers)], signal.SIGKILL)
    code, before = process.wait(), command.state(at, output)
    told = "worker killed" if workers else "too late to kill"
    if (code, before) == (0, "whole"):
        return True, f"{told}: whole, exit 0"
    again = command.start(at, output, "--resume").wait()
    after = command.state(at, output)
    good = (code, before, again, after) == (2, "unfinished", 0, "whole")
    return good, f"{told}: {before}, exit {code}; resumed: {after}"


def interrupted(name: str) -> Trial:
    """Return a trial that sends a signal."""

    def trial(command: Command, moment: float, turn: int) -> tuple[bool, str]:
        output, at = command.outputs[turn % 3], command.place()
        process = command.start(at, output, forked=turn % 5 > 0)
        command.wait_for(process, at, output, moment)
        if process.runs():
            os.kill(process.pid, getattr(signal, name))
        code, seen = process.wait(), command.state(at, output)
        good = (code, seen) in ((130, "nothing"), (130, "whole"), (0, "whole"))
        return good, f"{seen}, exit {code}"

    return trial


def raced(command: Command, _: float, turn: int) -> tuple[bool, str]:
    """Let two runs write one output."""
    output, at = command.outputs[turn % 3], command.place()
    codes = sorted(p.wait() for p in [command.start(at, output) for _ in range(2)])
    seen = command.state(at, output)
    return (codes, seen) == ([0, 2], "whole"), f"{seen}, exits {codes[0]} and {codes[1]}"


def removed(what: str) -> Trial:
    """Return a trial that removes an input, or what is being written."""

    def trial(command: Command, moment: float, turn: int) -> tuple[bool, str]:
        output, at = command.outputs[turn % 3], command.place()
        process = command.start(at, output)
        command.wait_for(process, at, output, moment)
        if what == "input":
            (at / "a.npy").unlink()
        else:
            shutil.rmtree(at / f"{output.name}.unfinished", ignore_errors=True)
        code, seen = process.wait(), command.state(at, output)
        return (code, seen) in ((2, "nothing"), (0, "whole")), f"{seen}, exit {code}"

    return trial


def full(command: Command, moment: float, turn: int) -> tuple[bool, str]:
    """Write to a disk that is too small, or just large enough."""
    output, at = command.outputs[turn % 3], command.place()
    room = int(moment * LARGEST_DISK * command.pages[output])
    disk = at / "disk"
    disk.mkdir()
    size = f"size={(room + 1) * PAGE}"  # 0 would be as much as there is memory
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], check=True)
    try:
        (disk / "filling").write_bytes(bytes(PAGE))
        for name in "ab":
            (disk / f"{name}.npy").symlink_to(command.folder / f"{name}.npy")
        (disk / "err").symlink_to(at / "err")
        process = command.start(disk, output)
        code, seen = process.wait(), command.state(disk, output)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    return (code, seen) in ((2, "nothing"), (0, "whole")), f"{seen}, exit {code}"


def store_failed(_: Command, __: float, turn: int) -> tuple[bool, str]:
    """Read or write a Zarr store that fails."""
    what, _fault, outcome = try_fault(turn, seed=1)
    return not outcome.startswith(BAD), f"{what}: {outcome}"


class Fault(NamedTuple):
    """A fault of a command, how often to try it, and how."""

    command: type[Command]
    count: int
    trial: Trial


OF_ALL: dict[str, tuple[int, Trial]] = {
    "SIGINT": (20, interrupted("SIGINT")),
    "SIGTERM": (20, interrupted("SIGTERM")),
    "SIGHUP": (20, interrupted("SIGHUP")),
    "disk full": (20, full),
    "an input deleted": (20, removed("input")),
    "the output deleted": (20, removed("output")),
}
FAULTS = {
    "`map`: SIGKILL, then `--resume`": Fault(Map, 50, killed),
    "`map`: SIGKILL of one of two `--workers`": Fault(Map, 20, worker_killed),
    "`map`: two writers": Fault(Map, 200, raced),
    **{f"`map`: {name}": Fault(Map, *how) for name, how in OF_ALL.items()},
    "`map`: a Zarr store that fails": Fault(Map, 200, store_failed),
    "`register`: SIGKILL, then `--overwrite`": Fault(Register, 50, killed),
    "`register`: two writers": Fault(Register, 200, raced),
    **{f"`register`: {name}": Fault(Register, *how) for name, how in OF_ALL.items()},
    "`apply`: SIGKILL, then `--overwrite`": Fault(Apply, 20, killed),
    "`apply`: two writers": Fault(Apply, 20, raced),
    **{f"`apply`: {name}": Fault(Apply, *how) for name, how in OF_ALL.items()},
}


def run(names: list[str], trials_file: Path) -> None:
    """Try what has not been tried, and append a line for each trial."""
    tried = Counter(each["fault"] for each in _read(trials_file))
    for name in names:
        fault = FAULTS[name]
        if tried[name] >= fault.count:
            continue
        side = SMALL if (fault.command, fault.trial) == (Map, raced) else SIDES[fault.command]
        with TemporaryDirectory() as folder, trials_file.open("a", encoding="utf-8") as file:
            command = fault.command(Path(folder), side)
            for k in range(tried[name], fault.count):
                good, seen = fault.trial(command, k * GOLDEN % 1, k)
                row = {"fault": name, "good": good, "seen": seen, "at": _commit()}
                file.write(json.dumps(row) + "\n")
                file.flush()
                command.clear()


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
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        faults="".join(_fault_rows(_read(trials_file))),
        rounds="" if rounds_file is None else "".join(_soak_rows(_read(rounds_file))),
        map_side=SIDES[Map],
        small=SMALL,
        register_side=SIDES[Register],
        apply_side=SIDES[Apply],
        block=BLOCK,
        map_late=f"{100 * Map.late:.0f} %",
        register_late=f"{100 * Register.late:.0f} %",
        apply_late=f"{100 * Apply.late:.0f} %",
        largest=LARGEST_DISK,
    )
    page.write_text(text, encoding="utf-8")


def _fault_rows(trials: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a row for each fault."""
    for name, fault in FAULTS.items():
        found = [each for each in trials if each["fault"] == name]
        seen = Counter(each["seen"] for each in found)
        bad = sum(not each["good"] for each in found) if found else "?"
        told = "; ".join(f"{what}: {n}" for what, n in seen.most_common()) or "not tried"
        at = ", ".join(dict.fromkeys(each["at"] for each in found))
        yield f"| {name} | {len(found)} of {fault.count} | {bad} | {told} | {at} |\n"


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
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells ignore in background
    run(options.faults, options.trials)
    write_page(options.trials, options.soak, options.page)


if __name__ == "__main__":
    main()

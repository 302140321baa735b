"""What the command line says: progress and messages on standard error, results elsewhere."""

from __future__ import annotations

import sys
from contextlib import closing
from threading import Event
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from rich.console import Console
from rich.progress import Progress as ProgressBar
from rich.progress import TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from napari_local_ncc.progress import Progress
    from napari_local_ncc.reports.map_summary import Summary
    from napari_local_ncc.transforms.registration import Registration

R = TypeVar("R")

INTERRUPTION = Event()


def say(message: str) -> None:
    """Print a message to standard error."""
    print(message, file=sys.stderr)


def interrupt(*_: Any) -> NoReturn:
    """Handle a signal that ends the run: raise, and remember it for `follow`.

    Python ignores what is raised while it destroys an object or runs a callback of C.
    """
    INTERRUPTION.set()
    raise KeyboardInterrupt


def follow(steps: Generator[Progress, None, R]) -> R:
    """Show the progress of a computation and return its result.

    A bar with the time left on a terminal, a line for each step elsewhere. An `interrupt`
    that was ignored counts at the next step.
    """
    console = Console(stderr=True)
    columns = (*ProgressBar.get_default_columns()[:-1], TimeRemainingColumn())
    hidden = not console.is_terminal
    bar = ProgressBar(*columns, console=console, transient=True, disable=hidden)
    with closing(steps), bar:
        task = bar.add_task("", total=None)
        step = ""
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                result: R = end.value
                return result
            if INTERRUPTION.is_set():
                raise KeyboardInterrupt
            done, total = progress.done, progress.total
            bar.update(task, description=progress.text, completed=done, total=total)
            if hidden and progress.step != step:
                step = progress.step
                say(step if total == 1 else f"{step}: {total} parts")


def report(
    registration: Registration | None, lines: Mapping[str, str], before: Summary | None = None
) -> None:
    """Print what a registration found, and the map in numbers, by title (before it, too)."""
    from napari_local_ncc.reports.describe import describe_registration

    if registration is not None:
        print(f"register {describe_registration(registration)}")
    if before is not None:
        print(f"before   {before}")
    for title, text in lines.items():
        print(f"{'after' if before is not None and title == 'ncc' else title:8} {text}")

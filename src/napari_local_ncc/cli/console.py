"""What the command line says: progress and messages on standard error, results elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from napari_local_ncc.progress import finish, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from napari_local_ncc.maps.map_summary import Summary
    from napari_local_ncc.progress import Progress
    from napari_local_ncc.transforms.registration import Registration

Result = TypeVar("Result")

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


def follow(steps: Generator[Progress, None, Result]) -> Result:
    """Show the progress of a computation and return its result.

    A bar with the time left on a terminal, a line for each step elsewhere. An `interrupt`
    that was ignored counts at the next step.
    """
    with _bar() if sys.stderr.isatty() else _lines() as show:
        return finish(translate(steps, partial(_tell, show)))


def _tell(show: Callable[[Progress], None], progress: Progress) -> tuple[()]:
    if INTERRUPTION.is_set():
        raise KeyboardInterrupt
    show(progress)
    return ()


@contextmanager
def _lines() -> Iterator[Callable[[Progress], None]]:
    """Give a function that says what is done when that changes."""
    said = ""

    def show(progress: Progress) -> None:
        nonlocal said
        if progress.line != said:
            said = progress.line
            say(said if progress.total == 1 else f"{said}: {progress.total} parts")

    yield show


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """Give a function that draws a bar with the time left."""
    from rich.console import Console
    from rich.progress import Progress as ProgressBar
    from rich.progress import TimeRemainingColumn

    columns = (*ProgressBar.get_default_columns()[:-1], TimeRemainingColumn())
    with ProgressBar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(progress: Progress) -> None:
            metric = "" if progress.metric is None else f" (metric {progress.metric:.4f})"
            text = progress.line + metric
            bar.update(task, description=text, completed=progress.done, total=progress.total)

        yield show


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

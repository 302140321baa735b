"""What the command line says: progress and messages on standard error, results elsewhere."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, TypeVar, cast

import typer

from napari_local_ncc.progress import Note, finish, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_local_ncc.maps.map_summary import Summary
    from napari_local_ncc.progress import Progress
    from napari_local_ncc.transforms.registration import Registration

Result = TypeVar("Result")

INTERRUPTION = Event()
PERIOD = 30  # s between two lines of one step
EMPTY_FILTERS = "Found an empty list of filters"  # of Zarr, of a file that it reads all the same

DEFECT, BAD_INPUT, DOUBTFUL, INTERRUPTED = 1, 2, 3, 130  # exit codes; 0: done

Strict = Annotated[
    bool, typer.Option("--strict", help="End with code 3 where what is found is doubtful.")
]


@dataclass
class Voice:
    """What a run of the command line says where.

    Attributes
    ----------
    quiet : bool
        Whether progress and messages are kept back; errors and warnings never are.
    json : bool
        Whether standard output gets one JSON document and nothing else.
    data : bool
        Whether it gets a table or a transform and nothing else.
    """

    quiet: bool = False
    json: bool = False
    data: bool = False


VOICE = Voice()


def reset_voice(*, quiet: bool) -> None:
    """Begin a run: results as text to standard output."""
    VOICE.quiet, VOICE.json, VOICE.data = quiet, False, False


# Names of files and axes are others' words: what would steer a terminal is shown, not obeyed.
# JSON has no \\x, and no control characters below 32 but as \\u.
STEERING = {
    code: f"\\x{code:02x}" if code < 32 else f"\\u{code:04x}"
    for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(code) != "\t"
}


def escape(text: str) -> str:
    """Return a text in which what would steer a terminal is written out; lines stay lines."""
    return "\n".join(line.translate(STEERING) for line in text.split("\n"))


def say(message: str) -> None:
    """Print a message to standard error, in one line, unless the run is quiet."""
    if not VOICE.quiet:
        warn(message)


def warn(message: str) -> None:
    """Print a message to standard error, in one line; if that is gone, nobody can be told."""
    try:
        print(message.translate(STEERING), file=sys.stderr, flush=True)
    except OSError:
        lead_nowhere(sys.stderr)


def lead_nowhere(stream: TextIO) -> None:
    """Let a stream that failed take what it holds back, and all else, without a word.

    It would be tried again when Python ends, which then ends with 120.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class EscapedStream:
    """A stream that shows what would steer a terminal, and what its encoding lacks.

    Once nobody reads on (``local-ncc ... | head``), what is written goes nowhere: files that are
    wanted beside it are written all the same.

    Parameters
    ----------
    stream : text stream
        Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; raise OSError if there is no room for it."""
        encoding = self._stream.encoding or "utf-8"
        known = escape(text).encode(encoding, "backslashreplace").decode(encoding)
        with self._nowhere_on_error():
            self._stream.write(known)
        return len(text)

    def flush(self) -> None:
        """Write what is held back; raise OSError if there is no room for it."""
        with self._nowhere_on_error():
            self._stream.flush()

    @contextmanager
    def _nowhere_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            lead_nowhere(self._stream)
            is_gone = isinstance(error, BrokenPipeError)
            if sys.platform == "win32":  # which names a pipe without a reader so
                is_gone |= error.errno == errno.EINVAL
            if not is_gone:
                raise OSError(f"standard output cannot be written ({error.strerror})") from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def escaped_output() -> Iterator[None]:
    """Let all that is printed to standard output go through an `EscapedStream`."""
    stream = EscapedStream(sys.stdout)
    with redirect_stdout(cast("TextIO", stream)):
        yield
    stream.flush()


def open_closed_streams() -> None:
    """Lead nowhere what the caller has closed (``>&-``).

    Otherwise the next file that is opened gets its number, and all that libraries say is written
    into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
            buffered = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
            setattr(sys, name, io.TextIOWrapper(buffered, encoding="utf-8"))


def tell(line: str) -> None:
    """Print a result in one line: to standard output, but where that is a document's, as a message.

    A name with an end of line in it cannot pass for a result of its own.
    """
    if VOICE.json or VOICE.data:
        say(line)
    else:
        print(line.translate(STEERING))


def answer_in_json(wanted: bool) -> bool:
    """Keep standard output for one JSON document, if that is wanted."""
    VOICE.json = wanted
    return wanted


def answer_with_data(path: Any) -> bool:
    """Keep standard output for what a path of "-" stands for; return whether it is one.

    Raises
    ------
    ValueError
        If the output is a JSON document's, or other data's, already.
    """
    if str(path) != "-":
        return False
    if VOICE.json or VOICE.data:
        raise ValueError("only one result can go to standard output: one of --json and '-'")
    VOICE.data = True
    return True


def answer(command: str, facts: Callable[[], dict[str, Any]]) -> None:
    """Print the JSON document of a command, if it is wanted."""
    if VOICE.json:
        from napari_local_ncc.reports.document import as_json, document

        text = as_json(document(command, facts()))
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:  # JSON has its own way to write what an encoding lacks
            text = "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text)
        print(text)


def save_transform(found: Registration, output: Path, *, overwrite: bool) -> None:
    """Write a transform into its file, or to standard output if that is kept for it."""
    if VOICE.data:
        print(json.dumps(found.to_dict()))
    else:
        found.save(output, overwrite=overwrite)
        tell(f"transform {output}")


@contextmanager
def notes_said() -> Iterator[None]:
    """Say what a file lacks or what of it is not used, and the like, in one line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        warnings.filterwarnings("ignore", EMPTY_FILTERS)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, Note):
                warn(str(message))
            else:
                shown(message, category, *rest, **more)

        warnings.showwarning = show
        yield


def interrupt(*_: Any) -> NoReturn:
    """Handle a signal that ends the run: raise, and remember it for `follow`.

    Python ignores what is raised while it destroys an object or runs a callback of C.
    """
    INTERRUPTION.set()
    raise KeyboardInterrupt


def tell_unraisable(unraisable: Any) -> None:
    """Say what Python cannot raise, but for an `interrupt`: `follow` will."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)


def follow(steps: Generator[Progress, None, Result]) -> Result:
    """Show the progress of a computation and return its result.

    A bar with the time left on a terminal, a line for each step elsewhere. An `interrupt`
    that was ignored counts at the next step.
    """
    with _bar() if sys.stderr.isatty() and not VOICE.quiet else _lines() as show:
        return finish(translate(steps, partial(_tell, show)))


def _tell(show: Callable[[Progress], None], progress: Progress) -> tuple[()]:
    if INTERRUPTION.is_set():
        raise KeyboardInterrupt
    show(progress)
    return ()


@contextmanager
def _lines() -> Iterator[Callable[[Progress], None]]:
    """Give a function that says what is done when that changes, or has gone on for long."""
    pace, last = Pace(), 0.0

    def show(progress: Progress) -> None:
        nonlocal last
        now = monotonic()
        if pace.begins(progress):
            last = now
            say(pace.line if progress.total == 1 else f"{pace.line}: {progress.total} parts")
        elif progress.done == progress.total and progress.pixels:
            say(f"{pace.line}: {pace.seconds:.1f} s{pace.of(progress)}")
        elif now - last > PERIOD and progress.done:
            last = now
            left = pace.seconds / progress.done * (progress.total - progress.done)
            done = f"{progress.done} of {progress.total} parts"
            say(f"{pace.line}: {done}{pace.of(progress)}, {left:.0f} s left")

    yield show


class Pace:
    """How fast a step goes on, from what was done when it was first heard of.

    Attributes
    ----------
    line : str
        The step.
    """

    def __init__(self) -> None:
        self.line, self._began, self._pixels = "", monotonic(), 0

    def begins(self, progress: Progress) -> bool:
        """Return whether this is another step than before, and begin to count if so."""
        if progress.line == self.line:
            return False
        self.line, self._began, self._pixels = progress.line, monotonic(), progress.pixels
        return True

    @property
    def seconds(self) -> float:
        """How long the step has taken."""
        return monotonic() - self._began

    def of(self, progress: Progress) -> str:
        """Say how long a pixel takes, where pixels are counted."""
        pixels = progress.pixels - self._pixels
        return f", {1e9 * self.seconds / pixels:.0f} ns/px" if pixels > 0 else ""


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """Give a function that draws a bar with the time left."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn
    from rich.progress import Progress as ProgressBar

    columns = (
        *ProgressBar.get_default_columns()[:-1],
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=Console(stderr=True), transient=True) as bar:
        task, pace = bar.add_task("", total=None), Pace()

        def show(progress: Progress) -> None:
            pace.begins(progress)
            metric = "" if progress.metric is None else f" (metric {progress.metric:.4f})"
            text = progress.line + metric + pace.of(progress)
            bar.update(task, description=text, completed=progress.done, total=progress.total)

        yield show


def doubts_of(registration: Registration | None) -> list[str]:
    """Return what there is to doubt in a registration."""
    if registration is None or not registration.reports:
        return []
    from napari_local_ncc.transforms.formats.frame_by_points import METRIC

    of_images = [each for each in registration.reports if each.metric != METRIC]
    failed = sum(each.after.median != each.after.median for each in of_images)
    lost = [f"{failed} of {len(registration.reports)} frames could not be registered"]
    return [r.doubt for r in registration.reports if r.doubt] + (lost if failed else [])


def judge(strict: bool, doubts: Sequence[str]) -> None:
    """End with a code of its own where something is doubtful and that was asked for."""
    if strict and doubts:
        warn(f"local-ncc: done, but doubtful (--strict): {'; '.join(dict.fromkeys(doubts))}")
        raise typer.Exit(DOUBTFUL)


def report(
    registration: Registration | None, lines: Mapping[str, str], before: Summary | None = None
) -> None:
    """Print what a registration found, and the map in numbers, by title (before it, too)."""
    from napari_local_ncc.reports.describe import describe_registration

    if registration is not None:
        tell(f"register {describe_registration(registration)}")
    if before is not None:
        tell(f"before   {before}")
    for title, text in lines.items():
        tell(f"{'after' if before is not None and title == 'ncc' else title:8} {text}")

"""What a long computation says of itself while it runs, and how to run one to its end."""

from __future__ import annotations

import ast
import signal
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

Arguments = ParamSpec("Arguments")
Event = TypeVar("Event")
Message = TypeVar("Message")
Result = TypeVar("Result")

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # that end a run; Windows has no SIGHUP

# What a user can mend; anything else that is raised is a defect of ours.
MENDABLE = (ValueError, TypeError, MemoryError, OSError, ImportError)


class Note(UserWarning):
    """What a user should know of, in one line; nothing is wrong."""


class Step(StrEnum):
    """What a long computation is doing, by its short name.

    Attributes
    ----------
    text : str
        How to say that it goes on.
    note : str
        What else to say of it, or nothing.
    """

    START = "start", "Starting"
    REGISTER = "register", "Registering"
    REFINE = "refine", "Refining"
    CALIBRATE = "calibrate", "Calibrating"
    LOAD = "load the kernel", "Loading the kernel", "compiled once after an installation"
    COMPARE = "compare", "Comparing"
    RESAMPLE = "resample", "Resampling"
    JUDGE = "judge", "Judging"
    TABULATE = "tabulate", "Tabulating"
    WRITE = "write", "Writing"
    READ = "read", "Reading"

    text: str
    note: str

    def __new__(cls, name: str, text: str, note: str = "") -> Step:
        """Make a step of its name and what to say of it."""
        step = str.__new__(cls, name)
        step._value_, step.text, step.note = name, text, note
        return step


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step of a long computation has come.

    Parameters
    ----------
    step : Step
        What is being done.
    done, total : int
        How many of how many parts are finished.
    metric : float, optional
        What an optimiser at work has reached, where one is at work; it falls.
    turn : int, default 0
        Which turn of a step that is repeated; nothing is said of the first.
    pixels : int, default 0
        How many pixels are finished, where these are counted.
    """

    step: Step
    done: int
    total: int
    metric: float | None = None
    turn: int = 0
    pixels: int = field(default=0, compare=False)

    @property
    def line(self) -> str:
        """The step by its short name."""
        return self._said(self.step.value)

    @property
    def text(self) -> str:
        """The step, as going on."""
        return self._said(self.step.text)

    def _said(self, what: str) -> str:
        note = f" ({self.step.note})" if self.step.note else ""
        return what + note + (f", round {self.turn}" if self.turn else "")


class Stepwise(Protocol[Arguments, Event, Result]):
    """A function that runs to its end; `steps` does the same work step by step."""

    steps: Callable[Arguments, Generator[Event, None, Result]]

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """Run to the end."""
        ...


def stepwise(
    steps: Callable[Arguments, Generator[Event, None, Result]],
) -> Stepwise[Arguments, Event, Result]:
    """Make a function that runs some steps to their end; the steps stay its attribute.

    Parameters
    ----------
    steps : callable
        A generator function: it yields what it says of itself, and returns its result.

    Returns
    -------
    callable
        Takes the same arguments and returns the result. Its attribute `steps` is the generator
        function, for those who show progress or may cancel.
    """

    @wraps(steps)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return finish(steps(*args, **kwargs))

    run.__annotations__ = steps.__annotations__ | {"return": _result_of(steps)}
    run.steps = steps  # type: ignore[attr-defined]  # functions take attributes
    return cast("Stepwise[Arguments, Event, Result]", run)


def _result_of(steps: Callable[..., Any]) -> str:
    """Return the last argument of a generator's annotation: what help() is to show."""
    annotation = ast.parse(steps.__annotations__["return"], mode="eval").body
    assert isinstance(annotation, ast.Subscript)
    assert isinstance(annotation.slice, ast.Tuple)
    return ast.unparse(annotation.slice.elts[-1])


def finish(steps: Generator[Any, None, Result]) -> Result:
    """Run a computation that says how far it is to its end, and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def translate(
    steps: Generator[Event, None, Result], tell: Callable[[Event], Iterable[Message]]
) -> Generator[Message, None, Result]:
    """Run a computation, saying what it yields in other words.

    Parameters
    ----------
    steps : generator
        The computation.
    tell : callable
        What to say instead of something that it yields.

    Yields
    ------
    object
        Each message in turn. Closing the generator closes `steps`.

    Returns
    -------
    object
        The value that ends `steps`.
    """
    with closing(steps):
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield from tell(event)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off what Python does on Ctrl-C, and on other `SIGNALS`, until the context ends.

    For what goes on in another thread if the one that waits for it is interrupted. In a thread
    that is not the main one, which alone handles signals, it does nothing.
    """
    came: list[int] = []
    before: dict[int, Callable[[int, Any], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        found = {n: signal.getsignal(n) for n in map(_number, SIGNALS) if n is not None}
        before = {n: handler for n, handler in found.items() if callable(handler)}
    try:
        for number in before:
            signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            before[came[0]](came[0], None)


def _number(name: str) -> int | None:
    return getattr(signal, name, None)

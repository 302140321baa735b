"""Work off the GUI thread: of what is asked one after the other, the newest."""

from __future__ import annotations

import atexit
import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

from napari.qt.threading import WorkerBase, create_worker

from napari_local_ncc.progress import MENDABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Message = TypeVar("Message")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """What went wrong off the GUI thread.

    Parameters
    ----------
    error : Exception
        As it was raised.
    """

    error: Exception


def explain(failure: Failure) -> str:
    """Say how to mend a failure; raise a defect of ours, which napari shows with its traceback."""
    if not isinstance(failure.error, MENDABLE):
        raise failure.error
    return str(failure.error)


def attempt(
    steps_of: Callable[[threading.Event], Generator[Message, None, Result]],
    cancelled: threading.Event,
) -> Generator[Message, None, Result | Failure | None]:
    """Do some work for a worker thread: nothing is raised there, and nothing left running.

    Parameters
    ----------
    steps_of : callable
        Takes an event that cancels; returns a generator of messages.
    cancelled : threading.Event
        Cancels when it is set.

    Returns
    -------
    object, Failure or None
        What the work gave, what went wrong, or None where it was cancelled. A failure is
        returned since napari 0.9.2 stumbles over a worker's own error signal.
    """
    try:
        steps = steps_of(cancelled)
        try:
            while not cancelled.is_set():
                yield next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            steps.close()
    except CancelledError:
        return None
    except Exception as error:  # delivered to the GUI thread, which says or raises it
        return Failure(error)
    return None


def start_worker(
    steps_of: Callable[[threading.Event], Generator[Message, None, Result]],
    cancelled: threading.Event,
    show: Callable[[Message], None],
    finish: Callable[[Result | Failure | None], None],
) -> None:
    """Let a thread do some work, and hear of it on the GUI thread; see `attempt`.

    Parameters
    ----------
    steps_of, cancelled
        As for `attempt`.
    show : callable
        Gets what the work yields.
    finish : callable
        Gets what `attempt` returns.
    """
    # Functions keep alive whoever is told: PySide6 calls a method whose object has gone since the
    # signal was sent, and crashes. They let go at the end, since the worker may live on.
    told: list[Callable[[Any], None]] = [show, finish]
    _outlive_no_worker()
    _running.add(cancelled)
    create_worker(
        attempt,
        steps_of,
        cancelled,
        _connect={
            "yielded": lambda message: told[0](message),
            "returned": lambda result: told[1](result),
            "finished": lambda: told.clear(),
        },
    )


_running: WeakSet[threading.Event] = WeakSet()  # that cancel what goes on


@cache
def _outlive_no_worker() -> None:
    """See to it, once, that the workers are cancelled and waited for as Python ends.

    napari waits only where an event loop ends. A script, or a notebook's kernel, may end without
    one; a worker that then is done finds that Qt's objects have gone, and PyQt6 aborts.
    """
    atexit.register(_end_workers)


def _end_workers() -> None:
    for cancelled in list(_running):
        cancelled.set()
    WorkerBase.await_workers()


class NewestOnly(Generic[Message, Result]):
    """Does one piece of work at a time; of those that wait, only the newest begins.

    Parameters
    ----------
    receive : callable
        Gets every result on the GUI thread, or a `Failure` instead.
    show : callable, optional
        Gets there what the work yields before.
    """

    def __init__(
        self,
        receive: Callable[[Result | Failure], None],
        show: Callable[[Message], None] | None = None,
    ) -> None:
        self._receive = receive
        self._show = show
        self._waiting: Callable[[threading.Event], Generator[Message, None, Result]] | None = None
        self._running: threading.Event | None = None  # set where the result is not wanted any more
        self._is_gone = False

    def ask(self, question: Callable[[], Result]) -> None:
        """Answer `question` next, instead of any other that waits."""
        self.work(partial(_in_one_step, question))

    def work(self, steps_of: Callable[[threading.Event], Generator[Message, None, Result]]) -> None:
        """Do the same for work that yields messages, and looks at an event that cancels it."""
        self._waiting = steps_of
        self._begin()

    def forget(self) -> None:
        """Cancel what was asked so far: nothing of it will be received."""
        self._waiting = None
        if self._running is not None:
            self._running.set()

    def let_go(self) -> None:
        """Receive nothing more."""
        self._is_gone = True
        self.forget()

    def listen(self) -> None:
        """Work again, after it was let go."""
        self._is_gone = False

    @property
    def is_busy(self) -> bool:
        """Whether work is going on or waits."""
        return self._running is not None or self._waiting is not None

    def _begin(self) -> None:
        if self._running is not None or self._waiting is None or self._is_gone:
            return
        steps_of, self._waiting = self._waiting, None
        self._running = threading.Event()
        start_worker(steps_of, self._running, self._told, self._finish)

    def _told(self, message: Message) -> None:
        if self._show is not None and self._is_wanted():
            self._show(message)

    def _finish(self, result: Result | Failure | None) -> None:
        is_wanted = self._is_wanted()
        self._running = None
        self._begin()
        if is_wanted and result is not None:
            self._receive(result)

    def _is_wanted(self) -> bool:
        return self._running is not None and not self._running.is_set()


def _in_one_step(
    question: Callable[[], Result], cancelled: threading.Event
) -> Generator[Any, None, Result]:
    yield from ()
    return question()

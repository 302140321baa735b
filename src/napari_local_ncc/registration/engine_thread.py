"""An engine at work in a thread: what it says of itself, and how it is told to stop."""

from __future__ import annotations

from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from napari_local_ncc.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

POLL = 0.1  # s between looks at an engine, and at whether it was cancelled
T = TypeVar("T")


class Watch:
    """What an engine and whoever waits for it know of each other.

    Examples
    --------
    >>> from napari_local_ncc.registration import Watch
    >>> watch = Watch()
    >>> watch.at(1, 4)  # an engine says how far it has come
    >>> watch.done, watch.total
    (1, 4)
    >>> watch.stopped.set()  # and is told that nobody waits
    >>> watch.check()
    Traceback (most recent call last):
    concurrent.futures._base.CancelledError
    """

    def __init__(self) -> None:
        self.metric: float | None = None
        self.done, self.total = 0, 1
        self.stopped = Event()

    def note(self, metric: float) -> None:
        """Say what the optimiser has reached."""
        self.metric = metric

    def at(self, done: int, total: int) -> None:
        """Say how many parts of the work are done, of how many."""
        self.done, self.total = done, total

    def check(self) -> None:
        """Raise CancelledError where nobody waits any more."""
        if self.stopped.is_set():
            raise CancelledError


def watch_work(
    work: Callable[[Watch], T], here: Progress, cancelled: Event | None
) -> Generator[Progress, None, T]:
    """Do some work in a thread, yielding progress ten times a second.

    Parameters
    ----------
    work : callable
        Takes the `Watch` that it is to note its metric in, and to check now and then.
    here : Progress
        Where the work stands among other work.
    cancelled : threading.Event or None
        Cancels when it is set.

    Yields
    ------
    Progress
        `here`, with the metric and the parts of the work. Closing the generator cancels.

    Returns
    -------
    object
        What the work returns.

    Raises
    ------
    concurrent.futures.CancelledError
        If `cancelled` was set. It is raised at once; the thread ends at the work's next
        check, since SimpleITK cannot stop this optimiser in the middle.
    """
    watch = Watch()
    pool = ThreadPoolExecutor(1, thread_name_prefix="local-ncc-register")
    try:
        yield here
        run = pool.submit(work, watch)
        while wait([run], POLL).not_done:
            if cancelled is not None and cancelled.is_set():
                raise CancelledError
            done, total = here.done * watch.total + watch.done, here.total * watch.total
            yield Progress(here.step, done, total, watch.metric)
        if cancelled is not None and cancelled.is_set():
            raise CancelledError
        return run.result()
    finally:
        watch.stopped.set()
        pool.shutdown(wait=False)

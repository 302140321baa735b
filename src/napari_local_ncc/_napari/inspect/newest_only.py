"""One question at a time, off the GUI thread; of those that wait, the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker

if TYPE_CHECKING:
    from collections.abc import Callable


class Latest:
    """Answers questions one after another, and skips those that a newer one has overtaken.

    Parameters
    ----------
    receive : callable
        Gets every answer on the GUI thread, or the exception that was raised instead.
    """

    def __init__(self, receive: Callable[[Any], None]) -> None:
        self._receive = receive
        self._waiting: Callable[[], Any] | None = None
        self._is_busy = self._is_wanted = self._is_gone = False

    def ask(self, question: Callable[[], Any]) -> None:
        """Answer `question` next, instead of any other that waits."""
        self._waiting = question
        self._go_on()

    def forget(self) -> None:
        """Receive no answer to what was asked so far."""
        self._waiting = None
        self._is_wanted = False

    def let_go(self) -> None:
        """Receive nothing more."""
        self._is_gone = True
        self._waiting = None

    @property
    def is_busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._is_busy or self._waiting is not None

    def _go_on(self) -> None:
        if self._is_busy or self._waiting is None:
            return
        question, self._waiting = self._waiting, None
        self._is_busy = self._is_wanted = True
        create_worker(_answered, question, _connect={"returned": self._answer})

    def _answer(self, answer: Any) -> None:
        self._is_busy = False
        if self._is_gone:
            return
        is_wanted = self._is_wanted
        self._go_on()
        if is_wanted:
            self._receive(answer)


def _answered(question: Callable[[], Any]) -> Any:
    """Answer; errors are answers too, since napari 0.9.2 stumbles over a worker's own."""
    try:
        return question()
    except Exception as error:  # delivered to the GUI thread, which says or raises it
        return error

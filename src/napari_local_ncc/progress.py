"""What a long computation says of itself while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a long computation.

    Parameters
    ----------
    step : str
        What is being done, e.g. ``"register"``.
    done, total : int
        How many of how many parts are finished.
    metric : float, optional
        What an optimiser at work has reached, where one is at work; it falls.
    """

    step: str
    done: int
    total: int
    metric: float | None = None

    @property
    def text(self) -> str:
        """The step, and the metric where there is one."""
        return self.step if self.metric is None else f"{self.step} (metric {self.metric:.4f})"


def finished(steps: Generator[Progress, None, Result]) -> Result:
    """Run a computation that yields progress to its end, and return its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result

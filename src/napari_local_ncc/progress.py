"""What a long computation says of itself while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a long computation.

    Parameters
    ----------
    step : str
        What is being done, e.g. ``"register"``.
    done, total : int
        How many of how many parts are finished.
    """

    step: str
    done: int
    total: int

"""What a caller wants of a file beside its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Absent = Literal["invalid", "fill"]


@dataclass(frozen=True, slots=True)
class Request:
    """How an image of a file is to be read.

    Parameters
    ----------
    level : int, default 0
        Resolution level; 0 is the finest.
    absent : {"invalid", "fill"}, optional
        What parts are that the file leaves out: undefined, or the file's fill value.
        Default: the fill value for labels and masks, else undefined.
    positions : bool, default True
        Whether to lay the image where its stage stood.
    """

    level: int = 0
    absent: Absent | None = None
    positions: bool = True

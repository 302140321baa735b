"""A part of a list of blocks, for a job of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

Block = TypeVar("Block")


@dataclass(frozen=True, slots=True)
class Slab:
    """One of the equal parts of a list of blocks.

    Parameters
    ----------
    number, count : int
        Which, from 1, and of how many.

    Raises
    ------
    ValueError
        If there is no such part.

    Examples
    --------
    >>> from napari_local_ncc.chunked.slab import Slab
    >>> [Slab(number, 3).of("abcdefgh") for number in (1, 2, 3)]
    ['ab', 'cde', 'fgh']
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(
                f"there is no slab {self.number} of {self.count}: they count from 1, as 1/8 to 8/8"
            )

    @classmethod
    def parse(cls, text: str) -> Slab:
        """Read a slab that is written like "3/8".

        Raises
        ------
        ValueError
            If it is not, or there is no such slab.
        """
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if found is None:
            raise ValueError(f"cannot read {text!r} as a slab; write it like 3/8, the third of 8")
        return cls(*map(int, found.groups()))

    def __str__(self) -> str:
        return f"{self.number} of {self.count}"

    def check(self, blocks: int) -> None:
        """Raise ValueError where there are fewer blocks than slabs."""
        if blocks < self.count:
            raise ValueError(
                f"the map has {blocks} blocks, too few for {self.count} slabs: give fewer slabs, "
                "or less memory (--memory), for smaller blocks"
            )

    def of(self, blocks: Sequence[Block]) -> Sequence[Block]:
        """Return the blocks that are its own: neighbours, and as many as any slab, or one more."""
        self.check(len(blocks))
        first, last = (len(blocks) * k // self.count for k in (self.number - 1, self.number))
        return blocks[first:last]

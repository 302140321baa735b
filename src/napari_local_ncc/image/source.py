"""Where an image's samples came from, so that they can be read again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from napari_local_ncc.geometry.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What to read to get the samples of an image once more.

    Parameters
    ----------
    path : str, optional
        The file, as an absolute path; ``None`` where the samples have none.
    select : mapping of str to int
        The index that was taken of each named axis.
    level : int, default 0
        Resolution level; 0 is the finest.
    grid : Grid, optional
        Where the file itself says that these samples lie; ``None`` where that is not known.
    expression : str, default ""
        Python that gives the image in the program that holds it, if one does.
    scene : int, optional
        Which of several images of the file was asked for; ``None`` took the first.
    absent_chunks : {"invalid", "fill"}, optional
        What was asked for of chunks that the file leaves out.
    positions : bool, default True
        Whether stage positions were used.
    reader : str, optional
        The plugin of napari that the file was read by; ``None`` for our own readers.
    notes : tuple of str
        What of the file is missing or was not used.
    stage : str, default ""
        Where a stage stood when the image was taken, if that is where it was laid.
    in_memory : bool, default False
        Whether a program holds the samples where they can be edited.
    channels : tuple of str
        What the file calls its channels.
    """

    path: str | None = None
    select: Mapping[str, int] = field(default_factory=dict)
    level: int = 0
    grid: Grid | None = None
    expression: str = ""
    scene: int | None = None
    absent_chunks: Literal["invalid", "fill"] | None = None
    positions: bool = True
    reader: str | None = None
    notes: tuple[str, ...] = ()
    stage: str = ""
    in_memory: bool = False
    channels: tuple[str, ...] = ()

    def selecting(self, chosen: Mapping[str, int], kept: Sequence[int]) -> Self:
        """Return the source after one index of some axes was taken and `kept` axes remain."""
        return replace(
            self,
            select={**self.select, **chosen},
            grid=None if self.grid is None else self.grid.take(kept),
            expression=f"{self.expression}.select({dict(chosen)})" if self.expression else "",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the source as plain JSON values."""
        return {
            "path": self.path,
            "select": dict(self.select),
            "level": self.level,
            "grid": None if self.grid is None else self.grid.to_dict(),
            "expression": self.expression,
            "scene": self.scene,
            "absent_chunks": self.absent_chunks,
            "positions": self.positions,
            "reader": self.reader,
            "notes": list(self.notes),
            "stage": self.stage,
            "in_memory": self.in_memory,
            "channels": self.channels,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a source from `to_dict`."""
        grid = values["grid"]
        return cls(**{**values, "grid": None if grid is None else Grid.from_dict(grid)})

"""Which image of the several that a file may hold is wanted, and how it is to be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_local_ncc.image.read_guard import ReadError

if TYPE_CHECKING:
    from collections.abc import Sequence

Absent = Literal["invalid", "fill"]


@dataclass(frozen=True, slots=True)
class Scene:
    """One image (series, position, well, dataset) of a file.

    Parameters
    ----------
    name : str
        What the file calls it; "" where it has no name.
    shape : tuple of int
        Its size, as stored.
    axes : str
        Its axes, one word or letter each, in that order.
    """

    name: str
    shape: tuple[int, ...] = ()
    axes: str = ""

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        axes = "" if "-" in self.axes else self.axes  # axes without a name are numbered from -1
        return " ".join(filter(None, (repr(self.name) if self.name else "", size, axes)))


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


def choose_scene(scenes: Sequence[Scene], wanted: int | str | None) -> int:
    """Return the index of the scene that is wanted.

    Parameters
    ----------
    scenes : sequence of Scene
        Those of the file.
    wanted : int, str or None
        Its index from 0, its name, or its index as text; None takes the first.

    Raises
    ------
    ReadError
        If there is none of this index or name, or several of this name.
    """
    if wanted is None:
        return 0
    named = [k for k, scene in enumerate(scenes) if scene.name and scene.name == wanted]
    if len(named) > 1:
        raise ReadError(
            f"{len(named)} scenes are called {wanted!r}; give the index of one of them: "
            f"{', '.join(map(str, named))}"
        )
    if named:
        return named[0]
    try:
        index = int(wanted)
    except ValueError:
        index = -1
    if not 0 <= index < len(scenes):
        raise ReadError(f"there is no scene {wanted!r}; it holds {list_scenes(scenes)}")
    return index


def list_scenes(scenes: Sequence[Scene], most: int = 12) -> str:
    """Name scenes with their index and size, the first of very many."""
    listed = ", ".join(f"{k}: {scene}" for k, scene in enumerate(scenes[:most]))
    return listed + (f", ... ({len(scenes)} in all)" if len(scenes) > most else "")

"""What a transform may do to space, from a shift to a displacement of every point."""

from __future__ import annotations

from enum import StrEnum

UNREGISTERED = "none"  # the model of images that are left where they lie


class Kind(StrEnum):
    """What a transform may do; each kind can do all that the ones before it can."""

    TRANSLATION = "translation"
    RIGID = "rigid"
    SIMILARITY = "similarity"
    AFFINE = "affine"
    FLOW = "flow"  # a displacement of its own for every point

    def includes(self, other: Kind) -> bool:
        """Whether every transform of another kind is one of this kind, too."""
        kinds = list(Kind)
        return kinds.index(other) <= kinds.index(self)


def with_article(model: str) -> str:
    """Return the name of a model in a sentence: "an affine", "a translation"."""
    return f"{'an' if model.startswith('a') else 'a'} {model}"

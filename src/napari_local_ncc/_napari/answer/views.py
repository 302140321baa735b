"""The maps that the switch shows: which kinds of result belong to each."""

from __future__ import annotations

from enum import StrEnum


class View(StrEnum):
    """One of the maps that answer a question.

    Attributes
    ----------
    text : str
        What its button says.
    kinds : tuple of str
        The kinds of result that it shows, from below; the first is the map itself.
    question : str
        What it answers.
    absent : str
        How to get it where it was not computed.
    """

    NCC = ("ncc", "NCC", ("ncc",), "How alike are the images, window by window?", "run")
    CONFIDENCE = (
        "confidence",
        "confidence",
        ("confidence",),
        "How sure is it that they are more alike than chance?",
        "tick confidence and run",
    )
    CLASSES = (
        "classes",
        "classes",
        ("classes",),
        "Where do they agree, where are they displaced, and where do they really differ?",
        "tick classes or residual shift and run",
    )
    SHIFT = (
        "shift",
        "shift",
        ("shift_length", "arrows"),
        "How far off is the moving image still, and in which direction?",
        "tick residual shift and run",
    )

    text: str
    kinds: tuple[str, ...]
    question: str
    absent: str

    def __new__(
        cls, name: str, text: str, kinds: tuple[str, ...], question: str, absent: str
    ) -> View:
        """Make a view of its name, what its button says and what it shows."""
        view = str.__new__(cls, name)
        view._value_, view.text, view.kinds = name, text, kinds
        view.question, view.absent = question, absent
        return view

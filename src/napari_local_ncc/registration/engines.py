"""The engines of registration: for each model, what finds its transforms.

`ENGINES` is open: an engine that is put into it is a model of `register`, of the command line
and of the widget. The engines themselves are imported when they are used.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from napari_local_ncc.geometry.kind import UNREGISTERED, Kind
from napari_local_ncc.registration.engine import Engine, fall_of_likeness, no_doubt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_local_ncc.image.pairing import Pair
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.settings import Settings
    from napari_local_ncc.transforms.registration import Registration

    MODELS: tuple[str, ...]
    """What `register` takes for a model: "none", and the names of all engines there are.

    Examples
    --------
    >>> from napari_local_ncc.registration import MODELS
    >>> MODELS[:3]
    ('none', 'translation', 'rigid')
    """

GROUP = "napari_local_ncc.engines"  # of entry points


def _translation(
    pair: Pair, settings: Settings, start: Registration | None, watch: Watch
) -> Registration:
    from napari_local_ncc.registration.translation_frame import estimate_shift

    return estimate_shift(pair, settings, start, watch)


def _linear(
    kind: Kind, pair: Pair, settings: Settings, start: Registration | None, watch: Watch
) -> Registration:
    from napari_local_ncc.registration.affine_frame import estimate_frame, refine_tile
    from napari_local_ncc.registration.multiresolution import Levels

    levels = Levels(kind, partial(estimate_frame, kind), refine_tile)
    return levels.estimate(pair, settings, start, watch)


def _flow(pair: Pair, settings: Settings, start: Registration | None, watch: Watch) -> Registration:
    from napari_local_ncc.registration.flow.frame import estimate_frame

    return estimate_frame(pair, settings, start, watch)


def _by_simpleitk(kind: Kind, summary: str) -> Engine:
    return Engine(
        partial(_linear, kind),
        kind,
        summary,
        needs="SimpleITK",
        install="napari-local-ncc[registration]",
        axes=(2, 3),
        doubt=fall_of_likeness,
    )


ENGINES: dict[str, Engine] = {
    "translation": Engine(
        _translation,
        Kind.TRANSLATION,
        "images of one kind of contrast: correlation surfaces, verified by the NCC of the overlap",
    ),
    "rigid": _by_simpleitk(
        Kind.RIGID,
        "images of any contrast, from any turn: detail and least squares, or mutual information",
    ),
    "similarity": _by_simpleitk(Kind.SIMILARITY, "the same, with one scale"),
    "affine": _by_simpleitk(Kind.AFFINE, "the same, with scales and shears"),
    "flow": Engine(
        _flow,
        Kind.FLOW,
        "what was deformed: optical flow of locally normalised images, for every pixel",
        axes=(2, 3),
        doubt=no_doubt,
    ),
}
"""The engine of each model, by its name; what is put into it is a model of all entrances.

Examples
--------
>>> from napari_local_ncc.registration import ENGINES
>>> list(ENGINES)[:2]
['translation', 'rigid']
>>> ENGINES["affine"].needs
'SimpleITK'
"""


def add_installed_engines() -> None:
    """Add the engines of installed packages, by their entry points ``napari_local_ncc.engines``."""
    for point in entry_points(group=GROUP):
        if point.name not in ENGINES:
            ENGINES[point.name] = point.load()


def models() -> tuple[str, ...]:
    """Return what `register` takes for a model: "none", and the names of all engines."""
    return (UNREGISTERED, *ENGINES)


def engines_among(names: Iterable[object]) -> dict[str, Engine]:
    """Return the engines of those names that are models, in the order of `ENGINES`."""
    wanted = {name for name in names if isinstance(name, str)}
    return {name: engine for name, engine in ENGINES.items() if name in wanted}


def check_model(model: str) -> None:
    """Raise ValueError unless `model` is known, and ImportError unless its engine is there.

    Examples
    --------
    >>> from napari_local_ncc.registration import check_model
    >>> check_model("translation")
    >>> check_model("warp")
    Traceback (most recent call last):
    ValueError: model must be one of none, translation, ..., got 'warp'
    """
    if model not in models():
        add_installed_engines()
    if model not in models():
        raise ValueError(f"model must be one of {', '.join(models())}, got {model!r}")
    missing = ENGINES[model].missing if model in ENGINES else ""
    if missing:
        raise ImportError(
            f"the model {model} needs {ENGINES[model].needs}; install it with: {missing}"
        )


def __getattr__(name: str) -> Any:
    if name == "MODELS":  # as they are when it is asked for
        return models()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

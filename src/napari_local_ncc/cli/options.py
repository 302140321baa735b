"""The command `local-ncc`, to which modules add one of their own, and options they have in common.

An option has one name, one meaning, one sentence of help.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from napari_local_ncc.cli.console import answer_in_json
from napari_local_ncc.geometry.kind import UNREGISTERED, Kind
from napari_local_ncc.parameters import BANDS

# ------------------------------------------------------------------ the command

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Any command takes --quiet (no progress and no messages, but errors and warnings) "
    "and --debug (the traceback of an error).",
)


def say_version(wanted: bool) -> None:
    """Print the version and end, if that is wanted."""
    if wanted:
        from importlib.metadata import version

        print(f"local-ncc {version('napari-local-ncc')}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=say_version, help="Say which it is."),
    ] = False,
) -> None:
    """Local normalized cross-correlation of two images, per pixel."""


# ------------------------------------------------------------------ the registration

Register = Annotated[
    str,
    typer.Option(
        metavar="MODEL", help=f"Register moving first: {', '.join((UNREGISTERED, *Kind))}."
    ),
]
Metric = Annotated[
    str,
    typer.Option(
        help="Of a registration: 'mutual information' or 'correlation'; not for translation."
    ),
]
Initial = Annotated[
    str | None,
    typer.Option(
        metavar="START",
        help="Begin at: identity, centres (of mass), phase (correlation), a model to "
        "register by first, or a transform file. Default: search; a flow: the shift of the "
        "images where that is sure, else identity.",
    ),
]
KeepDoubtful = Annotated[
    bool, typer.Option(help="Keep a transform even where chance may have found it.")
]
Mirror = Annotated[
    bool, typer.Option(help="Mirror moving where only that fits; not by a translation.")
]
Refine = Annotated[
    bool, typer.Option(help="Then follow the residual shift, until the map gets no better.")
]

# ------------------------------------------------------------------ the map

Radius = Annotated[
    str, typer.Option(help="Window radius: pixels (4), one per axis (0,4,4), or '0.5um'.")
]
Weights = Annotated[str, typer.Option(help="Window weights: box or gaussian.")]
Bands = Annotated[str, typer.Option(help=f"What to compute: {','.join(BANDS)} or some of these.")]
Search = Annotated[
    str, typer.Option(help="How far to look for residual shifts: pixels, or one per axis.")
]
Alternative = Annotated[
    str,
    typer.Option(
        help="What counts as related: 'greater', a high NCC, or 'two-sided', a high |NCC|, "
        "where contrast may be inverted."
    ),
]
RATE = 0.05
DiscoveryRate = Annotated[
    float,
    typer.Option(
        min=1e-6, max=1, help="False discovery rate at which confident pixels are counted."
    ),
]

# ------------------------------------------------------------------ the images

Ndim = Annotated[
    int | None, typer.Option(min=1, max=3, help="Spatial axes; 2 takes a stack plane by plane.")
]
Mask = Annotated[str | None, typer.Option(help="Image that is non-zero where fixed may be used.")]


def _scene(image: str) -> typer.models.OptionInfo:
    return typer.Option(
        metavar="SCENE", help=f"Which of several images of {image}'s file: index or name."
    )


SceneFixed = Annotated[str | None, _scene("fixed")]
SceneMoving = Annotated[str | None, _scene("moving")]
SceneMask = Annotated[str | None, _scene("the mask")]
Scene = Annotated[str | None, _scene("the image")]
AbsentChunks = Annotated[
    Literal["invalid", "fill"] | None,
    typer.Option(
        help="What parts are that a file leaves out: undefined, or its fill value. "
        "Default: undefined; fill in masks and labels."
    ),
]
IgnorePositions = Annotated[
    bool,
    typer.Option("--ignore-positions", help="Lay images at 0, not where their stage stood."),
]
ReaderPlugin = Annotated[
    str | None,
    typer.Option("--reader", metavar="PLUGIN", help="Read images by this plugin of napari."),
]
Stretch = Annotated[
    bool,
    typer.Option("--stretch", help="Lay a mask or labels of another size over the whole image."),
]
UnitlessMeaning = Annotated[
    str | None,
    typer.Option(
        metavar="MEANING",
        help="What an image without units means beside one that has them: "
        "pixels (the other's pixels) or numbers (in the other's units).",
    ),
]

# ------------------------------------------------------------------ the run and its results

Memory = Annotated[
    str | None,
    typer.Option(
        metavar="2GB", help="To keep to, all processes together; default: half of what is free."
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        is_eager=True,
        callback=answer_in_json,
        help="Print one JSON document to standard output, and all else to standard error.",
    ),
]
Overwrite = Annotated[bool, typer.Option(help="Replace an existing output.")]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="R.html", help="Also write a page: verdict, pictures, recipe."
    ),
]


def whole_pixels(text: str) -> int | tuple[int, ...]:
    """Read whole pixels: "3", or "0,3,3" for one per axis.

    Raises
    ------
    ValueError
        If it is neither.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"cannot read {text!r}; write whole pixels (3), or 0,3,3") from None
    return numbers if len(numbers) > 1 else numbers[0]


def band_names(text: str) -> tuple[str, ...]:
    """Read the bands of a map, which hold the NCC.

    Raises
    ------
    ValueError
        If they do not.
    """
    names = tuple(band.strip() for band in text.split(","))
    if "ncc" not in names:
        raise ValueError(f"--bands must contain ncc, got {text}; it is what is summed up")
    return names


def check_registered(model: str) -> None:
    """Raise ValueError where moving is to be registered by a model that there is not."""
    if model != UNREGISTERED:
        from napari_local_ncc.registration.engines import check_model

        check_model(model)


def reading(
    absent_chunks: Literal["invalid", "fill"] | None, ignore_positions: bool, reader: str | None
) -> dict[str, Any]:
    """Return what these options are as arguments of `read_image`."""
    return {"absent_chunks": absent_chunks, "positions": not ignore_positions, "reader": reader}

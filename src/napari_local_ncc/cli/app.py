"""The command `local-ncc`, to which every module here adds one of its own."""

from __future__ import annotations

from typing import Annotated

import typer

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

"""The command `local-ncc`, to which every module here adds one of its own."""

from __future__ import annotations

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Add --debug to see the traceback of an error.",
)


@app.callback()
def about() -> None:
    """Local normalized cross-correlation of two images, per pixel."""

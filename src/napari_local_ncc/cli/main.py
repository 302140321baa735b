"""From words to an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO, cast

import typer

from napari_local_ncc.cli.console import (
    BAD_INPUT,
    INTERRUPTED,
    INTERRUPTION,
    EscapedStream,
    interrupt,
    notes_said,
    reset_voice,
    warn,
)
from napari_local_ncc.cli.options import app
from napari_local_ncc.progress import MENDABLE, SIGNALS

COMMANDS = ("apply", "batch", "convert", "demo", "info", "map", "refine", "register")
NO_THREAD = "can't start new thread"  # all that Python says where a limit is reached


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Words after the command's name; default: those of the process.

    Returns
    -------
    int
        Exit code: 0 done, 2 bad input (one line on standard error), 3 done but doubtful
        (with ``--strict``), 130 interrupted. A defect is raised, which Python ends with 1.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if not debug:
        # tifffile logs what it also raises; the user is told once.
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    reset_voice(quiet="--quiet" in words)
    words = [word for word in words if word not in ("--debug", "--quiet")]
    INTERRUPTION.clear()
    if arguments is None:  # a process of its own
        _handle_signals(interrupt)
    try:
        _import_commands(words)
        with notes_said(), redirect_stdout(cast("TextIO", EscapedStream(sys.stdout))):
            code = app(words, prog_name="local-ncc", standalone_mode=False) or 0
        if arguments is None:  # what comes while Python takes itself down comes too late
            _handle_signals(signal.SIG_IGN)
    except (typer.Abort, KeyboardInterrupt):  # typer's own, or before and after it
        code = INTERRUPTED
    except (*MENDABLE, RuntimeError, typer.TyperException) as error:
        if debug or (type(error) is RuntimeError and NO_THREAD not in str(error)):
            raise
        warn(f"local-ncc: {' '.join(_told(error, words).split())}")
        code = BAD_INPUT
    if code == INTERRUPTED:  # typer returns it on Ctrl-C
        warn("local-ncc: interrupted; what was not complete is removed (with --resume, kept)")
        if arguments is None:
            # Engines and zarr's thread may still be at work: waiting for them takes seconds,
            # and what they say of an interpreter that goes away is a traceback.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
    return int(code)


def _handle_signals(handler: Any) -> None:
    """Handle a batch system's time-out, and a terminal that goes, as Ctrl-C is handled."""
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # by nohup
            signal.signal(number, handler)


def _told(error: Exception, words: list[str]) -> str:
    """Say what a user can mend."""
    if isinstance(error, typer.TyperException):
        advice = ""
        if any(word.startswith("-") and Path(word).exists() for word in words):
            advice = "; a file whose name begins with - is given as ./-NAME"
        return error.format_message() + advice
    if isinstance(error, MemoryError | RuntimeError):
        return (
            f"the memory does not suffice ({str(error) or 'none is left'}); compare a part "
            "(--select-fixed) or a coarser level (--level-fixed, --level-moving), or give "
            "--threads 1"
        )
    return str(error) or type(error).__name__


def _import_commands(words: list[str]) -> None:
    """Import the command that is named, or all to name them; each adds itself to the app."""
    named = [word for word in words[:1] if word in COMMANDS]
    for name in [] if words[:1] == ["--version"] else named or COMMANDS:
        import_module(f"napari_local_ncc.cli.{name}")

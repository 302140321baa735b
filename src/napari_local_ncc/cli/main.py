"""From words to an exit code."""

from __future__ import annotations

import logging
import mmap
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from napari_local_ncc.cli.console import (
    BAD_INPUT,
    INTERRUPTED,
    INTERRUPTION,
    escaped_output,
    interrupt,
    notes_said,
    open_closed_streams,
    reset_voice,
    tell_unraisable,
    warn,
)
from napari_local_ncc.cli.options import app
from napari_local_ncc.progress import MENDABLE, SIGNALS

COMMANDS = ("apply", "batch", "convert", "demo", "info", "map", "refine", "register")
BLAS_BUFFERS = 2**27  # bytes: 32 MiB for each OpenBLAS and for each thread that is in it
NO_ROOM = ("failed to map segment from shared object", "Cannot allocate memory")
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
    if arguments is None:  # a process of its own
        open_closed_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if not debug:
        # tifffile logs what it also raises; the user is told once.
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    reset_voice(quiet="--quiet" in words)
    words = [word for word in words if word not in ("--debug", "--quiet")]
    INTERRUPTION.clear()
    if arguments is None:
        _handle_signals(interrupt)
        sys.unraisablehook = tell_unraisable
    try:
        _import_commands(words)
        if arguments is None:
            _give_blas_its_memory()
        with notes_said(), escaped_output():
            code = app(words, prog_name="local-ncc", standalone_mode=False) or 0
        if arguments is None:  # what comes while Python takes itself down comes too late
            _handle_signals(signal.SIG_IGN)
    except (typer.Abort, KeyboardInterrupt):  # typer's own, or before and after it
        code = INTERRUPTED
    except (*MENDABLE, RuntimeError, typer.TyperException) as error:
        if debug or (isinstance(error, RuntimeError) and NO_THREAD not in str(error)):
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
    if isinstance(error, RuntimeError) or _lacks_memory(error):
        reason = str(error) if isinstance(error, MemoryError | RuntimeError) else ""
        return (
            f"the memory does not suffice ({reason or 'none is left'}); compare a part "
            "(--select-fixed) or a coarser level (--level-fixed, --level-moving), or give "
            "--threads 1"
        )
    return str(error) or type(error).__name__


def _give_blas_its_memory() -> None:
    """Have OpenBLAS take its buffers before there is less room, where the room is limited.

    It tries for ever to get what it is denied, and no signal is heard meanwhile.
    """
    if sys.platform == "win32":
        return
    import resource

    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    import numpy as np
    import scipy.linalg

    with mmap.mmap(-1, BLAS_BUFFERS):  # or an error
        pass
    np.linalg.solve(np.eye(2), np.eye(2))  # NumPy and SciPy have an OpenBLAS each
    scipy.linalg.solve(np.eye(2), np.eye(2))


def _lacks_memory(error: BaseException | None) -> bool:
    """Say whether there was no memory; libraries that it does not suffice to load say it so."""
    while error is not None:
        if isinstance(error, MemoryError) or str(error).endswith(NO_ROOM):
            return True
        error = error.__cause__ or error.__context__
    return False


def _import_commands(words: list[str]) -> None:
    """Import the command that is named, or all to name them; each adds itself to the app."""
    named = [word for word in words[:1] if word in COMMANDS]
    for name in [] if words[:1] == ["--version"] else named or COMMANDS:
        import_module(f"napari_local_ncc.cli.{name}")

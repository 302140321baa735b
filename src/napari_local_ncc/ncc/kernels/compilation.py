"""How kernels are compiled, and when machine code on disk is still that of the source."""

from __future__ import annotations

import hashlib
import warnings
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from napari_local_ncc.progress import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

# "contract" fuses a * b + c into one rounding; nothing licenses assuming that NaN is absent.
COMPILE = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}

# what numba says where neither the installation nor the user's cache directory is writable
NO_PLACE = "no locator available"

inner = numba.njit(**COMPILE)  # for functions that only kernels call: they become part of these


def kernel(function: Any) -> Any:
    """Compile on the first call; keep the machine code on disk where a place can be found.

    Numba takes its file for that of the source as long as the file that defines the function
    is the same. What is compiled into it stands in other files too: a digest of all of it is
    made part of what numba compares.
    """
    try:
        compiled = numba.njit(cache=True, **COMPILE)(function)
    except RuntimeError as error:
        if NO_PLACE not in str(error):
            raise
        _tell_once()
        return numba.njit(**COMPILE)(function)
    if numba.config.DISABLE_JIT:
        return compiled
    file = compiled._cache._cache_file  # numba has no public way to say what else the code holds
    file._source_stamp = (file._source_stamp, source_digest(function))
    return compiled


@cache
def _tell_once() -> None:
    warnings.warn(
        "compiled code cannot be kept, since neither the installation nor the home directory can "
        "be written to: every start compiles it anew, for some seconds; NUMBA_CACHE_DIR=FOLDER "
        "names a place for it",
        Note,
        stacklevel=4,
    )


def source_digest(function: FunctionType) -> str:
    """Return a digest of a function and of all that is compiled into it.

    Parameters
    ----------
    function : function
        As Python has it, not compiled. What it calls must be defined before.

    Returns
    -------
    str
        Of the byte code and constants of the function, of those that it calls, and so on, and
        of the values of the global names in them. Comments, names of files and numbers of
        lines do not count.
    """
    digest = hashlib.sha256(repr(sorted(COMPILE.items(), key=str)).encode())
    for part in _parts(function, set()):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()


def _parts(function: FunctionType, seen: set[FunctionType]) -> Iterator[bytes]:
    """Yield what a function is made of, each function once."""
    seen.add(function)
    code = function.__code__
    yield from _code_parts(code)
    for name in code.co_names:  # of attributes too: those that are no global names are passed over
        value = function.__globals__.get(name)
        value = getattr(value, "py_func", value)
        if isinstance(value, FunctionType):
            if value not in seen:
                yield from _parts(value, seen)
        elif isinstance(value, np.ndarray):
            yield name.encode() + repr((value.shape, value.dtype)).encode() + value.tobytes()
        elif value is not None and not isinstance(value, ModuleType):
            yield f"{name}={value!r}".encode()


def _code_parts(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr((code.co_name, code.co_names, code.co_varnames)).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_parts(constant)
        else:
            yield repr(constant).encode()

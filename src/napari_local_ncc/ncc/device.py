"""Whether an NCC can be computed on a GPU."""

from __future__ import annotations

CUDA = "cuda"


def check_device(device: str) -> None:
    """Raise an error where NCC cannot be computed on a device.

    Parameters
    ----------
    device : str
        "cuda" is the only one, beside the processor.

    Raises
    ------
    ValueError
        If it is another.
    ImportError
        If CuPy, which "cuda" needs, is not installed.
    OSError
        If there is no GPU that it can use.
    """
    if device != CUDA:
        raise ValueError(f"there is no device {device!r}; give {CUDA}, or none for the processor")
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            "--device cuda (device=) needs CuPy for the CUDA of this machine: pip install "
            "cupy-cuda12x, or cupy-cuda13x"
        ) from error
    try:
        found = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:  # of no device, or no driver
        raise OSError(f"--device cuda (device=) finds no GPU ({error})") from error
    if not found:
        raise OSError("--device cuda (device=) finds no GPU")

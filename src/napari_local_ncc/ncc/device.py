"""Whether a map can be computed on a GPU, and how arrays come there and back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.parameters import is_cupy

if TYPE_CHECKING:
    from collections.abc import Iterator

CUDA = "cuda"


def check_device(device: str) -> None:
    """Raise an error where nothing can be computed on a device.

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
    try:
        (cupy.ones(1) + 1).get()
    except RuntimeError as error:  # it is of no use: no compiler, or no kernels for this GPU
        raise OSError(f"--device cuda (device=) cannot compute on the GPU ({error})") from error


def free_device_memory(device: str) -> int:
    """Return how many bytes of a device's memory may be used: half of what is free."""
    with gpu_failures(device):
        free, _ = namespace_on(device).cuda.runtime.memGetInfo()
    return int(free) // 2


def namespace_of(array: object) -> Any:
    """Return the namespace that an array is of: CuPy on a GPU, or else NumPy."""
    return namespace_on(CUDA if is_cupy(array) else None)


def namespace_on(device: str | None) -> Any:
    """Return the namespace of a device's arrays; None is the processor."""
    if device is None:
        return np
    import cupy

    return cupy


def ndimage_of(array: object) -> Any:
    """Return what filters an array: SciPy's ndimage, or CuPy's copy of it."""
    if is_cupy(array):
        import cupyx.scipy.ndimage

        return cupyx.scipy.ndimage
    import scipy.ndimage

    return scipy.ndimage


def as_floats(samples: Any) -> Any:
    """Return samples as float64, 64-bit integers less their lowest: there float64 skips numbers."""
    if samples.dtype.kind not in "iu" or samples.dtype.itemsize < 8 or not samples.size:
        return samples.astype(np.float64)
    whole = samples.astype(np.uint64)  # modulo 2 ** 64, as the difference is
    return (whole - whole.dtype.type(int(samples.min()) % 2**64)).astype(np.float64)


def on_host(array: Any) -> Any:
    """Return an array in the memory of the processor."""
    return array.get() if is_cupy(array) else array


@contextmanager
def gpu_failures(device: str | None) -> Iterator[None]:
    """Tell what fails on a GPU in a line.

    Raises
    ------
    OSError
        If the GPU, or its driver, fails, or its memory does not suffice.
    """
    if device is None:
        yield
        return
    import cupy

    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise OSError(
            f"the memory of the GPU does not suffice ({error}): give fewer threads (--threads), "
            "or a smaller budget (--memory), which makes blocks smaller, or compute on the CPU"
        ) from error
    except (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError) as error:
        raise OSError(
            f"the GPU of --device cuda (device=) fails ({error}); see whether another program "
            "fills or holds it (nvidia-smi), or compute on the CPU"
        ) from error

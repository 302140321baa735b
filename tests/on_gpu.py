"""NumPy in the place of CuPy, as strict as that is about what lies where."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import numpy as np
import scipy.ndimage
from numpy.lib.mixins import NDArrayOperatorsMixin


class OnGPU(NDArrayOperatorsMixin):
    """An array that does not mix with those of NumPy, nor becomes one by itself."""

    __module__ = "cupy"
    __hash__ = None

    def __init__(self, host):
        self._host = host

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_function__(self, func, _, args, options):
        return on_gpu(func(*host_of(args), **{k: host_of(v) for k, v in options.items()}))

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if method != "__call__" or "where" in options:
            raise TypeError(f"{ufunc.__name__}.{method} of an array on the GPU")
        outs = options.pop("out", ())
        if outs:
            options["out"] = tuple(host_of(out) for out in outs)
        found = ufunc(*map(host_of, inputs), **options)
        return outs[0] if outs else on_gpu(found)

    def __getitem__(self, index):
        return on_gpu(self._host[host_of(index)])

    def __setitem__(self, index, value):
        self._host[host_of(index)] = host_of(value)

    def __len__(self):
        return len(self._host)

    def __bool__(self):
        return bool(self._host)

    def __float__(self):
        return float(self._host)

    def __int__(self):
        return int(self._host)

    def __getattr__(self, name):
        found = getattr(self._host, name)
        return on_gpu(found) if isinstance(found, np.ndarray) else found

    def get(self):
        return self._host.copy()


def _method(name, allowed):
    def call(self, *args, **options):
        if set(options) - set(allowed):
            raise TypeError(f"{name} takes {allowed}, got {list(options)}")
        return on_gpu(getattr(self._host, name)(*map(host_of, args), **options))

    return call


REDUCED = ("axis", "out", "keepdims")
METHODS = {
    **dict.fromkeys(("max", "min", "all", "any"), REDUCED),
    **dict.fromkeys(("sum", "mean"), ("dtype", *REDUCED)),
    **dict.fromkeys(("reshape", "transpose", "ravel", "view", "copy"), ()),
    "astype": ("copy",),
    "take": ("axis",),
}
for _name, _allowed in METHODS.items():
    setattr(OnGPU, _name, _method(_name, _allowed))


def on_gpu(found):
    """Put what a function of NumPy returns on the GPU; a number becomes an array of no axes."""
    if isinstance(found, np.ndarray | np.generic):
        return OnGPU(np.asarray(found))
    if isinstance(found, tuple | list):
        return type(found)(map(on_gpu, found))
    return found


def host_of(value):
    """Take what a function gets from the GPU; what is not there is refused."""
    if isinstance(value, OnGPU):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, tuple | list):
        return type(value)(map(host_of, value))
    return value


class Namespace(ModuleType):
    """The functions of a module, of arrays on the GPU."""

    def __init__(self, name, module):
        super().__init__(name)
        self._module = module

    def __getattr__(self, name):
        found = getattr(self._module, name)
        if isinstance(found, type) or not callable(found):
            return found

        def call(*args, **options):
            options = {key: host_of(value) for key, value in options.items()}
            return on_gpu(found(*map(host_of, args), **options))

        return call


def stand_in():
    """Return the modules in the place of CuPy's, by name; with one GPU, of 8 GB."""

    def asarray(array, *rest):
        return array if isinstance(array, OnGPU) and not rest else array_of(array, *rest)

    def array_of(array, *rest):
        return OnGPU(np.array(array._host if isinstance(array, OnGPU) else array, *rest))

    cupy = Namespace("cupy", np)
    cupy.ndarray, cupy.asarray, cupy.array = OnGPU, asarray, array_of
    cupy.asnumpy = lambda array: array.get()
    runtime, driver = (
        type(name, (RuntimeError,), {}) for name in ("CUDARuntimeError", "CUDADriverError")
    )
    cupy.cuda = SimpleNamespace(
        runtime=SimpleNamespace(
            getDeviceCount=lambda: 1, memGetInfo=lambda: (8 * 10**9,) * 2, CUDARuntimeError=runtime
        ),
        driver=SimpleNamespace(CUDADriverError=driver),
        memory=SimpleNamespace(OutOfMemoryError=type("OutOfMemoryError", (MemoryError,), {})),
    )
    cupyx, place = ModuleType("cupyx"), ModuleType("cupyx.scipy")
    cupyx.scipy, place.ndimage = place, Namespace("cupyx.scipy.ndimage", scipy.ndimage)
    return {
        "cupy": cupy,
        "cupyx": cupyx,
        "cupyx.scipy": place,
        "cupyx.scipy.ndimage": place.ndimage,
    }

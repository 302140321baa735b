"""Time and peak memory for `asv`, to see regressions: `asv run`, `asv continuous main`."""

from __future__ import annotations

import dask.array as da
import numpy as np

from napari_local_ncc import local_ncc, local_shift

THREADS = 2


class LocalNCC:
    """One map, on NumPy and through dask."""

    params = (["2-D", "3-D"], [1, 3, 15], ["box", "gaussian"], ["float32", "uint16"])
    param_names = ("windows", "radius", "weights", "dtype")

    def setup(self, windows: str, radius: int, weights: str, dtype: str) -> None:
        if windows == "3-D" and radius == 15:
            raise NotImplementedError  # asv: skip
        shape = (2048, 2048) if windows == "2-D" else (128, 128, 128)
        rng = np.random.default_rng(0)
        first, noise = rng.standard_normal((2, *shape), np.float32)
        self.images = [(1000 + 100 * a).astype(dtype) for a in (first, first + noise)]
        self.chunks = (512, 2048) if windows == "2-D" else (64, 128, 128)
        self.options = {"radius": radius, "weights": weights}
        local_ncc(*self.images, **self.options)

    def time_numpy(self, *_: object) -> None:
        local_ncc(*self.images, **self.options)

    def time_dask(self, *_: object) -> None:
        images = (da.from_array(image, self.chunks, name=False) for image in self.images)
        local_ncc(*images, **self.options).compute(scheduler="threads", num_workers=THREADS)

    def peakmem_numpy(self, *_: object) -> None:
        local_ncc(*self.images, **self.options)


class Missing:
    """What invalid samples cost."""

    params = (["clean", "NaN", "mask"],)
    param_names = ("samples",)

    def setup(self, samples: str) -> None:
        rng = np.random.default_rng(0)
        self.images = list(rng.standard_normal((2, 2048, 2048), np.float32))
        known = rng.random((2048, 2048)) > 0.1
        self.mask = known if samples == "mask" else None
        if samples == "NaN":
            self.images[0][~known] = np.nan
        self.time_numpy()

    def time_numpy(self, *_: object) -> None:
        local_ncc(*self.images, radius=3, mask=self.mask)


class LocalShift:
    """The residual shift, and as many calls of the kernel as it has displacements."""

    params = ([(1024, 1024), (96, 96, 96)], [1, 2, 3, 6])
    param_names = ("shape", "search")

    def setup(self, shape: tuple[int, ...], search: int) -> None:
        if len(shape) == 3 and search > 3:
            raise NotImplementedError  # asv: skip
        first, noise = np.random.default_rng(0).standard_normal((2, *shape), np.float32)
        # Alike, as else most pixels have their best shift on the border, and no fit.
        self.images = np.stack([first, first + noise / 10])
        small = self.images[(slice(None), *(slice(0, 20),) * len(shape))]
        local_shift(*small, search=search)  # loads the compiled code

    def time_shift(self, _: tuple[int, ...], search: int) -> None:
        local_shift(*self.images, search=search)

    def time_kernel_calls(self, shape: tuple[int, ...], search: int) -> None:
        for _ in range((2 * search + 1) ** len(shape)):
            local_ncc(*self.images)

    def peakmem_shift(self, _: tuple[int, ...], search: int) -> None:
        local_shift(*self.images, search=search)

"""Values that stand for no sample, as attributes of arrays name them (netCDF, xarray, GDAL)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

# of the CF conventions: cfconventions.org, section 2.5.1
NAMES = ("_FillValue", "missing_value")


def fill_values(attributes: Mapping[str, Any]) -> list[float]:
    """Return the numbers that attributes call no sample; NaN is one anyway."""
    told = [np.ravel(attributes[name]) for name in NAMES if name in attributes]
    numbers = [value.item() for values in told for value in values if values.dtype.kind in "biuf"]
    return sorted({value for value in numbers if value == value})


def hide_fill_values(samples: Any, attributes: Mapping[str, Any]) -> Any:
    """Return samples (NumPy or dask) with NaN where they are what attributes call none."""
    for value in fill_values(attributes):
        if not _has_place(samples.dtype, value):
            continue
        own = samples.dtype.type(value) if samples.dtype.kind == "f" else value
        floating = np.result_type(samples.dtype, np.float32)
        hidden = samples == own
        samples = np.where(hidden, floating.type(np.nan), samples.astype(floating))
    return samples


def _has_place(dtype: np.dtype[Any], value: float) -> bool:
    """Say whether samples can be a value at all: those that cannot stay what they are."""
    if dtype.kind == "b":
        return True
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return float(limits.min) <= value <= float(limits.max)

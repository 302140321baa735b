"""Images of xarray come with their place, and maps go back with theirs."""

import numpy as np
import xarray as xr

from napari_local_ncc import confidence_map

random = np.random.default_rng(0)
pixels = random.normal(size=(90, 100)).cumsum(axis=1)
places = {"y": 0.5 * np.arange(90), "x": 0.5 * np.arange(100)}
fixed = xr.DataArray(pixels, coords=places, dims=("y", "x"), name="fixed")
for axis in ("y", "x"):
    fixed[axis].attrs["units"] = "um"
moving = fixed[10:, 5:] + random.normal(size=(80, 95))  # another part, in its place

ncc = confidence_map(fixed, moving).to_xarray().sel(band="ncc")
print(ncc.sizes, ncc.y.attrs)
print("defined from y =", float(ncc.y[np.isfinite(ncc).any("x").values][0]), "um on")

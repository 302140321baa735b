"""A series that drifts: register every frame, correct the drift, and find what changed."""

import numpy as np

from napari_local_ncc import confidence_map, register, resample
from napari_local_ncc.sample_data import drifting_series

pair = drifting_series()
registration = register(pair.fixed, pair.moving, model="translation")
for frame, matrix in enumerate(registration.matrix):
    y, x = matrix[:2, 2]
    print(f"frame {frame}: y {y:.2f}, x {x:.2f} {registration.grid.units[-1]}")

corrected = resample(pair.moving, registration.grid, registration)
np.save("corrected.npy", corrected.data.compute())

ncc = confidence_map(pair.fixed, pair.moving, registration=registration)["ncc"].compute()
for frame, values in enumerate(ncc):
    print(f"frame {frame}: {np.mean(values[np.isfinite(values)] < 0.5):.1%} of pixels below 0.5")

"""Two volumes of anisotropic voxels: windows in millimetres, and where the images are displaced."""

import numpy as np

from napari_local_ncc import NCCParameters, confidence_map, register
from napari_local_ncc.sample_data import head_volume

pair = head_volume()
print("voxels of", " x ".join(f"{step:g}" for step in pair.fixed.grid.spacing), "mm")
parameters = NCCParameters(radius="6 mm")
print("window radius", parameters.radius_on(pair.fixed.grid), "px")

found = register(pair.fixed, pair.moving, model="translation")
print("shift", np.round(found.translation, 2), "mm; true", pair.shift * pair.fixed.grid.spacing)
for registration in (None, found):
    ncc = confidence_map(pair.fixed, pair.moving, parameters=parameters, registration=registration)
    high = np.nanquantile(ncc["ncc"].compute(), 0.9)  # most of a volume is air
    print(f"a tenth above {high:.3f}", "as they lie" if registration is None else "registered")

"""Two kinds of contrast: register by mutual information; inverted contrast counts as alike, too."""

import numpy as np

from napari_local_ncc import NCCParameters, confidence_map, register
from napari_local_ncc.reports import describe_registration
from napari_local_ncc.sample_data import brain_slice

pair = brain_slice()
moving = pair.moving.replace(data=255 - pair.moving.data)  # what is bright in one is dark here

registration = register(pair.fixed, moving, model="rigid", metric="mutual information")
print(describe_registration(registration))
parameters = NCCParameters(bands=("ncc", "confidence"), alternative="two-sided")
result = confidence_map(pair.fixed, moving, registration=registration, parameters=parameters)
print(f"median NCC {np.nanmedian(result['ncc'].compute()):.3f}: alike, inverted")
print(f"confident {(result['confidence'] >= 0.95).mean().compute():.0%}")

"""Loaded once by the process that the workers of a cluster of this machine are copies of.

Importing it loads what every map needs in a worker, Numba's own modules among it, which it loads
with the first kernel: 0.4 s of processor time in each process.
"""

import numpy as np

import napari_local_ncc.io.map_omezarr
import napari_local_ncc.io.readers.tiff.series
import napari_local_ncc.io.writing
import napari_local_ncc.maps.block.task
import napari_local_ncc.maps.stream
import napari_local_ncc.ncc.kernels.driver  # noqa: F401
from napari_local_ncc.image.pyramid import reduce_by

reduce_by(np.zeros((2, 2), np.float32), (2, 2))

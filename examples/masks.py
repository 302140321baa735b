"""A mask of where samples count, and a table by region: cells, organs, tissue."""

import dask.array as da
import numpy as np

from napari_local_ncc import confidence_map, label_table, register
from napari_local_ncc.reports import write_csv
from napari_local_ncc.sample_data import brain_slice

pair = brain_slice()
tissue = pair.fixed.replace(data=(pair.fixed.data > 20).astype(np.uint8), name="tissue")

registration = register(pair.fixed, pair.moving, mask=tissue)
result = confidence_map(pair.fixed, pair.moving, mask=tissue, registration=registration)

quarters = np.zeros(pair.fixed.grid.shape, np.uint8)  # labels of a segmentation
middle = [n // 2 for n in quarters.shape]
quarters[: middle[0], : middle[1]], quarters[: middle[0], middle[1] :] = 1, 2
quarters[middle[0] :, : middle[1]], quarters[middle[0] :, middle[1] :] = 3, 4
labels = pair.fixed.replace(data=da.from_array(quarters), name="quarters")
table = label_table(result, labels)
for row in table.rows:
    print(f"region {row.label}: median NCC {row.ncc.median:.3f} of {row.ncc.defined:.0%}")
write_csv(table, "regions.csv")

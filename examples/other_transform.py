"""Judge the transform of another program: here an ITK file; elastix, ANTs and BigWarp go alike."""

import numpy as np

from napari_local_ncc import Comparison, Registration, read_transform, write_transform
from napari_local_ncc.batch.compare import judge_frames
from napari_local_ncc.sample_data import brain_slice

pair = brain_slice()
true_shift = np.eye(3)
true_shift[:2, 2] = pair.shift * pair.fixed.grid.spacing
wrong_shift = true_shift.copy()
wrong_shift[1, 2] += 5 * pair.fixed.grid.spacing[1]
for name, matrix in (("right.tfm", true_shift), ("wrong.tfm", wrong_shift)):
    write_transform(Registration.from_matrix(matrix, pair.fixed.grid), name)  # their output

for name in ("right.tfm", "wrong.tfm"):
    transform = read_transform(name, pair.fixed.grid)
    comparison = Comparison(pair.fixed, pair.moving, registration=transform)
    (verdict,) = judge_frames(comparison, searched=False)
    print(f"{name}: {verdict.judgement}, {verdict.reason}")

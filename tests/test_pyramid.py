"""Pyramids, whole and grown part by part."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from napari_local_ncc.image.pyramid import level_shapes, reduce_by, update_pyramid


@pytest.mark.parametrize(
    ("shape", "spatial"),
    [((1100, 700), (True, True)), ((2, 601, 530), (False, True, True)), ((3, 513, 9), (True,) * 3)],
)
@pytest.mark.parametrize("store", ["memory", "zarr"])
def test_a_pyramid_grown_in_parts_is_the_pyramid_of_the_whole(rng, shape, spatial, store):
    samples = rng.normal(size=shape).astype("f4")
    samples[..., 3:9] = np.nan
    whole = [samples]
    for shape_of_level in level_shapes(samples.shape, spatial)[1:]:
        factors = [1 if n == m else 2 for n, m in zip(whole[-1].shape, shape_of_level, strict=True)]
        whole.append(reduce_by(whole[-1], factors))
    assert [level.shape for level in whole] == level_shapes(shape, spatial)
    assert max(whole[-1].shape[-2:]) < 512
    levels = [np.full(level.shape, np.nan, "f4") for level in whole]
    if store == "zarr":
        levels = [zarr.array(level) for level in levels]
    edges = [range(0, n, 1 if not s else 97) for n, s in zip(shape, spatial, strict=True)]
    starts = np.stack(np.meshgrid(*edges, indexing="ij"), -1).reshape(-1, len(shape))
    for start in rng.permutation(starts):
        part = tuple(
            slice(int(a), min(int(a) + (97 if s else 1), n))
            for a, s, n in zip(start, spatial, shape, strict=True)
        )
        levels[0][part] = samples[part]
        update_pyramid(levels, part)
    for grown, expected in zip(levels, whole, strict=True):
        np.testing.assert_allclose(grown[...], expected, rtol=1e-5, atol=1e-6)

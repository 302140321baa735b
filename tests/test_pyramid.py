"""Pyramids, whole and grown part by part."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from napari_local_ncc.image.pyramid import level_shapes, mean_of_few, reduce_by, update_pyramid


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


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 2, 2), (3, 1, 5)])
def test_few_samples_are_averaged_as_many_to_the_last_bit(rng, dtype, factors):
    from napari_local_ncc.ncc.kernels.reduce import mean_of_blocks

    shape = (2, 7, 31, 23)
    fine = (rng.normal(size=shape) * 10.0 ** rng.integers(-12, 3, shape)).astype(dtype)
    fine[rng.random(shape) < 0.3] = np.nan
    fine[0, :4, :9, :11] = [np.inf]
    coarse = [-(-n // f) for n, f in zip(shape, (1, *factors), strict=True)]
    few, many = np.empty(coarse, "f4"), np.empty(coarse, "f4")
    mean_of_few(fine, few, *factors)
    mean_of_blocks(fine, many, *factors)
    np.testing.assert_array_equal(few, many)
    assert np.isnan(few).any()
    assert np.isfinite(few).any()

"""Arrows of a residual shift: how many, which, and that tiles make no difference."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_local_ncc.shift.arrows import ArrowTally, arrow_strides


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
    radius=st.tuples(st.just(0), st.integers(1, 5), st.integers(1, 5)),
    most=st.integers(1, 60),
    cut=st.integers(1, 39),
)
def test_arrows_stand_a_window_apart_and_know_no_tiles(shape, radius, most, cut):
    rng = np.random.default_rng(0)
    shift = rng.normal(size=(2, *shape)).astype("f4")
    labels = rng.integers(0, 4, shape).astype(np.uint8)
    keep = labels > 1
    shift[1][shift[1] > 1] = np.nan
    errors = rng.random((2, *shape)).astype("f4")

    def drawn(*columns):
        tally = ArrowTally(shape, radius, most)
        for part in columns:
            where = (slice(0, shape[0]), slice(0, shape[1]), part)
            spread = errors[(..., part)]
            tally.add(shift[(..., part)], labels[..., part], keep[..., part], where, spread)
        order = np.lexsort(tally.ends[:, 0].T[::-1])
        np.testing.assert_array_equal(tally.ends[:, 1, 1:], tally.components)
        return tally.ends[order], tally.labels[order], tally.errors[order]

    cut = min(cut, shape[2])
    whole = ends, classes, spreads = drawn(slice(0, shape[2]))
    for one, other in zip(drawn(slice(0, cut), slice(cut, shape[2])), whole, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(ends) <= max(most, shape[0])  # every frame keeps one
    for (start, components), label, spread in zip(ends, classes, spreads, strict=True):
        place = tuple(start.astype(int))
        np.testing.assert_array_equal(components, [0, *shift[(slice(None), *place)]])
        np.testing.assert_array_equal(spread, errors[(slice(None), *place)])
        assert keep[place]
        assert labels[place] == label
    strides = arrow_strides(shape, radius, most)
    assert all(step % (2 * r + 1) == 0 for step, r in zip(strides[1:], radius[1:], strict=True))
    places = [len(range(step // 2, n, step)) for n, step in zip(shape, strides, strict=True)]
    assert np.prod(places) <= max(most, shape[0])


def test_all_that_is_kept_gets_an_arrow():
    tally = ArrowTally((30, 31), (2, 1))
    everywhere = np.ones((30, 31), bool)
    tally.add(
        np.ones((2, 30, 31)), everywhere.astype(np.uint8), everywhere, (slice(0, 30), slice(0, 31))
    )
    assert tally.strides == (5, 3)
    assert len(tally.ends) == 6 * 10
    assert tally.errors.shape == (60, 2)
    assert np.isnan(tally.errors).all()  # unknown

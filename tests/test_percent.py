"""Shares in words: never all or nothing where they are not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_local_ncc.geometry.units import percent


@given(st.floats(0, 1), st.integers(0, 2))
def test_all_and_nothing_are_told_of_all_and_nothing_alone(share, decimals):
    text = percent(share, decimals)
    number = float(re.search(r"[\d.]+", text)[0]) / 100
    step = 10.0 ** -(decimals + 2)
    assert ("over" in text or number < 1) == (share < 1)
    assert ("under" in text or number > 0) == (share > 0)
    if "under" in text:
        assert share < number
    elif "over" in text:
        assert share > number
    else:
        assert number == pytest.approx(share, abs=0.51 * step)

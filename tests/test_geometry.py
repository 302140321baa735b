"""Laws of grids and affines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_local_ncc import Grid, NCCParameters
from napari_local_ncc.geometry.affine import apply_affine, invert_affine, whole_pixel_offset
from napari_local_ncc.geometry.units import unit_name


@st.composite
def grids(draw, min_dims=1, max_dims=4):
    """Draw a grid with a random invertible affine."""
    ndim = draw(st.integers(min_dims, max_dims))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    matrix = np.eye(ndim + 1)
    rotation, _ = np.linalg.qr(rng.normal(size=(ndim, ndim)))
    matrix[:-1, :-1] = rotation * 10 ** rng.uniform(-3, 3, ndim)
    matrix[:-1, -1] = rng.normal(size=ndim) * 100
    return Grid(tuple(rng.integers(1, 50, ndim)), matrix, ("um",) * ndim)


@given(grids())
def test_a_grid_survives_json(grid):
    again = Grid.from_dict(grid.to_dict())
    np.testing.assert_array_equal(again.pixel_to_world, grid.pixel_to_world)
    assert again.to_dict() == grid.to_dict()


@given(grids())
def test_changing_units_moves_nothing(grid):
    in_nm = grid.in_units(("nm",) * grid.ndim)
    np.testing.assert_allclose(in_nm.corners(), grid.corners() * 1000, rtol=1e-12)
    np.testing.assert_allclose(in_nm.spacing, grid.spacing * 1000)
    back = in_nm.in_units(grid.units)
    np.testing.assert_allclose(back.pixel_to_world, grid.pixel_to_world, rtol=1e-12)


@given(grids(), st.integers(0, 2**32 - 1))
def test_world_and_pixels_are_inverse(grid, seed):
    pixels = np.random.default_rng(seed).normal(size=(5, grid.ndim)) * 100
    world = apply_affine(grid.pixel_to_world, pixels)
    np.testing.assert_allclose(
        apply_affine(invert_affine(grid.pixel_to_world), world), pixels, atol=1e-6
    )


def test_series_axes_are_known_by_label_and_by_unit():
    assert Grid((2, 3, 4), axis_labels=("t", "y", "x")).spatial == (False, True, True)
    assert Grid((2, 3, 4), units=("s", "um", "um")).spatial == (False, True, True)
    assert Grid((2, 3, 4), axis_labels=("z", "y", "x")).spatial_ndim == 3
    assert Grid((2, 3, 4)).with_spatial_ndim(2).series_shape == (2,)
    pages_of_a_stack = Grid((2, 3, 4), axis_labels=("t", "y", "x"))
    assert pages_of_a_stack.with_spatial_ndim(3).spatial_ndim == 3


@pytest.mark.parametrize(
    ("text", "radius"),
    [("4", 4), (" 4 px", 4), ("0,4, 4", (0, 4, 4)), ("0.5um", "0.5um"), ("1e3 nm", "1e3 nm")],
)
def test_a_radius_is_read_as_people_write_it(text, radius):
    assert NCCParameters(radius=text).radius == radius


def test_axes_are_taken_apart_and_put_together():
    grid = Grid.from_spacing(
        (5, 2, 30, 40), (2, 1, 0.5, 0.25), (1, 0, 7, 8), axis_labels=("t", "c", "y", "x")
    )
    again = grid.space().prepend(grid.take([0, 1]))
    assert again.to_dict() == grid.to_dict()
    assert grid.space().shape == (30, 40)


def test_mixed_axes_cannot_be_taken_apart():
    matrix = np.eye(4)
    matrix[0, 1] = 0.5
    with pytest.raises(ValueError, match="mixes"):
        Grid((2, 3, 4), matrix).take([1, 2])


@pytest.mark.parametrize(
    "name",
    [
        "um",
        "µm",
        "\u03bcm",
        "micron",
        "micrometer",
        "\\u00B5m",
        "Âµm",
        "UM",
        "Micrometers",
        "MICRONS",
    ],
)
def test_a_unit_has_one_name(name):
    assert unit_name(name) == "micrometer"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MM", "millimeter"), ("PM", "picometer"), ("MS", "millisecond"), ("NM", "nanometer"),
        ("Mm", "megameter"), ("mM", "millimolar"), ("A", "ampere"), ("MV", "megavolt"),
    ],
)  # fmt: skip
def test_capitals_are_a_length_or_a_time_where_they_can_be(name, meant):
    assert unit_name(name) == meant


@pytest.mark.parametrize("name", ["", "pixel", "px", "pixels", "Voxels"])
def test_no_unit_is_pixel(name):
    assert unit_name(name) == "pixel"


def test_whole_pixels_are_told_from_fractions():
    assert whole_pixel_offset(np.eye(3), (10, 10)) == (0, 0)
    shifted = np.eye(3)
    shifted[:2, 2] = 3 + 1e-12, -2
    assert whole_pixel_offset(shifted, (1000, 1000)) == (3, -2)
    shifted[0, 2] = 3.01
    assert whole_pixel_offset(shifted, (10, 10)) is None
    stretched = np.diag([1 + 1e-7, 1, 1])
    assert whole_pixel_offset(stretched, (5, 5)) == (0, 0)
    assert whole_pixel_offset(stretched, (10_000, 5)) is None


def test_a_physical_radius_follows_each_axis_spacing():
    grid = Grid.from_spacing(
        (3, 9, 90, 90), (1, 2, 0.5, 0.25), units=("s", "um", "um", "um"), axis_labels="tzyx"
    )
    assert NCCParameters(radius="1.5 um").radius_on(grid) == (0, 1, 3, 6)
    assert NCCParameters(radius="1500nm").radius_on(grid) == (0, 1, 3, 6)
    assert NCCParameters(radius=3).radius_on(grid) == (0, 3, 3, 3)
    assert NCCParameters(radius=(0, 0, 2, 2)).radius_on(grid) == (0, 0, 2, 2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Grid((0, 3)), "empty"),
        (lambda: Grid((24, 1e308)), "more than"),
        (lambda: Grid.from_spacing((24, 32), origin=(1e308, 0)), "beyond 1e\\+100"),
        (lambda: Grid.from_spacing((24, 32), (1, 1e300)), "beyond 1e\\+100"),
        (lambda: Grid((24, 10**400)), "more than"),
        (lambda: Grid((3, 3), np.eye(4)), r"\(3, 3\)"),
        (lambda: Grid((3, 3), np.diag([1, 0, 1])), "inverted"),
        (lambda: Grid((3, 3), np.diag([1, np.nan, 1])), "finite"),
        (lambda: Grid((3, 3), units=("um",)), "units has 1"),
        (lambda: Grid((3, 3), units=("um", "furlogs")), "furlogs"),
        (lambda: Grid((3, 3), axis_labels=("y", "c")), "transpose"),
        (lambda: Grid((3, 3)).with_spatial_ndim(3), "only 2"),
        (lambda: Grid((3, 3, 3), axis_labels="cyx").with_spatial_ndim(3), "'c'"),
        (lambda: Grid((3, 3), units=("s", "um")).with_spatial_ndim(2), "second"),
        (lambda: NCCParameters(radius=10**7), "1000000"),
        (lambda: NCCParameters(radius="4.5"), "4.5"),
        (lambda: NCCParameters(interpolation="sinc"), "sinc"),
        (lambda: Grid((3, 3), units=("um", "um")).in_units(("s", "s")), "different things"),
        (lambda: NCCParameters(radius="1 um").radius_on(Grid((3, 3))), "no physical pixel size"),
        (lambda: NCCParameters(radius="1 s").radius_on(Grid((3, 3))), "not a length"),
        (lambda: NCCParameters(radius="wide").radius_on(Grid((3, 3))), "wide"),
        (lambda: NCCParameters(radius=(1, 1, 1)).radius_on(Grid((3, 3))), "3 values"),
        (lambda: NCCParameters(bands=("fog",)), "fog"),
        (lambda: NCCParameters(radius=-2), "-2"),
    ],
)
def test_bad_values_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_unit_for_all_axes_is_no_unit_per_letter():
    with pytest.raises(TypeError, match="one per axis, got the text 'um'"):
        Grid((4, 5), units="um")  # of which u and m are units: dalton and metre

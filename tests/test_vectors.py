"""Strain, the test for outliers, and the table of vectors."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from napari_local_ncc import NCCParameters, confidence_map
from napari_local_ncc.reports import vector_table, write_csv
from napari_local_ncc.shift import displacement_gradient, neighbour_residual, strain_and_rotation


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_linear_field_has_its_gradient(rng, ndim):
    gradient = 0.02 * rng.standard_normal((ndim, ndim))
    places = np.indices((14, 15, 16)[:ndim]).astype(float)
    shift = np.tensordot(gradient, places, axes=1) + 0.3
    shift[:, rng.random(shift.shape[1:]) < 0.2] = np.nan
    found = displacement_gradient(shift, radius=2)
    inner = (slice(None), slice(None), *(slice(2, -2),) * ndim)
    expected = np.broadcast_to(gradient.reshape(ndim, ndim, *(1,) * ndim), found.shape)
    known = np.isfinite(found[inner])
    assert known.mean() > 0.95
    np.testing.assert_allclose(found[inner][known], expected[inner][known], atol=1e-10)


def test_a_turn_is_no_strain():
    y, x = np.indices((20, 20)).astype(float)
    angle = 0.01
    strain, rotation = strain_and_rotation(np.stack([-angle * x, angle * y]))
    np.testing.assert_allclose(strain[:, :, 5:-5, 5:-5], 0, atol=1e-12)
    np.testing.assert_allclose(rotation[1, 0, 5:-5, 5:-5], angle)


def test_the_gradient_follows_the_spacing():
    y, x = np.indices((12, 12)).astype(float)
    shift = np.stack([0.01 * x, 0.02 * y])  # px per px
    gradient = displacement_gradient(shift, spacing=(2.0, 0.5))
    np.testing.assert_allclose(gradient[0, 1, 6, 6], 0.01 * 2 / 0.5)
    np.testing.assert_allclose(gradient[1, 0, 6, 6], 0.02 * 0.5 / 2)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"radius": 0}, "radius"), ({"spacing": 0}, "spacing"), ({}, "components")],
)
def test_bad_input_is_named(options, word):
    shape = (2, 9, 9) if options else (3, 9, 9)
    with pytest.raises(ValueError, match=word):
        displacement_gradient(np.zeros(shape), **options)


def test_planted_outliers_are_found(rng):
    y, x = np.indices((20, 22)).astype(float)
    vectors = np.stack([0.05 * x, 0.02 * y]) + 0.02 * rng.standard_normal((2, 20, 22))
    planted = [(3, 4), (10, 11), (0, 0)]
    for place in planted:
        vectors[(0, *place)] += 2
    residual = neighbour_residual(vectors)
    assert {tuple(place) for place in np.argwhere(residual > 2).tolist()} == set(planted)
    vectors[:, 5, 5] = np.nan
    assert np.isnan(neighbour_residual(vectors)[5, 5])


def test_vectors_of_a_map(rng, tmp_path):
    fixed = rng.random((3, 40, 50))
    moving = np.roll(fixed, 2, axis=2)
    parameters = NCCParameters(radius=(0, 4, 4), bands=("ncc", "shift", "shift_error"))
    result = confidence_map(fixed, moving, parameters=parameters)
    write_csv(vector_table(result, stride=10), tmp_path / "v.csv")
    with open(tmp_path / "v.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 0.6 * 3 * 4 * 5
    last = list(rows[0])[-2:]
    assert last == ["residual", "valid"]
    axes = list(rows[0])[1:3]
    assert all(0 < float(row[f"shift_sd_{axis}"]) <= 0.5 for row in rows for axis in axes)
    inner = [row for row in rows if int(list(row.values())[2]) < 40]
    np.testing.assert_allclose([float(row["shift_" + list(row)[2]]) for row in inner], 2, atol=5e-3)
    assert all(row["valid"] == "1" for row in inner)
    with pytest.raises(ValueError, match="no shift"):
        vector_table(confidence_map(fixed, moving))

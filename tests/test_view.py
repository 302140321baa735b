"""What is said and drawn of a plane, as napari displays it: by the world, not by rows of pixels."""

from __future__ import annotations

import base64
import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from napari_local_ncc import (
    Comparison,
    Grid,
    NCCParameters,
    SpatialImage,
    run_comparison,
    window_pair,
)
from napari_local_ncc.geometry.affine import apply_affine
from napari_local_ncc.geometry.view import View
from napari_local_ncc.maps.shift_summary import DisplacedSummary
from napari_local_ncc.progress import finish, translate
from napari_local_ncc.reports import describe_comparison
from napari_local_ncc.reports.headline import headline
from napari_local_ncc.reports.inspector_figures import size_text
from napari_local_ncc.reports.pictures import middle_plane, pictures_of
from napari_local_ncc.shift.interpret import CLASSES

TURN = np.radians(20)
STEPS = [np.diag(signs) @ np.eye(2)[list(order)] for signs in product((-1.0, 1.0), repeat=2)
         for order in ((0, 1), (1, 0))]  # fmt: skip
STEPS.append(STEPS[0] @ [[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])


def grid_of(steps, shape=(30, 40)):
    matrix = np.eye(3)
    matrix[:2, :2] = steps
    return Grid(shape, matrix, axis_labels=("y", "x"))


@pytest.mark.parametrize("steps", STEPS)
def test_where_is_told_and_drawn_is_where_it_lies_in_the_world(steps):
    grid = grid_of(steps)
    labels = np.full(grid.shape, CLASSES.index("agrees"), np.uint8)
    labels[:15, :20] = CLASSES.index("displaced")
    marked = np.argwhere(labels == 2)
    down, right = apply_affine(grid.pixel_to_world, marked).mean(axis=0) - grid.corners().mean(
        axis=0
    )
    expected = f"{'lower' if down > 0 else 'upper'} {'right' if right > 0 else 'left'}"
    summary = DisplacedSummary(grid, NCCParameters(bands=("ncc", "shift")))
    bands = {name: np.ones(grid.shape, np.float32) for name in ("shift_y", "shift_x")}
    summary.add(labels, bands, (slice(0, 30), slice(0, 40)))
    assert summary.result().where == expected
    seen, plane = middle_plane(SpatialImage.from_array(labels).replace(grid=grid), 1000)
    assert plane.shape == seen.shape
    rows, columns = np.argwhere(seen == 2).mean(axis=0) - (np.array(seen.shape) - 1) / 2
    assert (rows > 0, columns > 0) == (down > 0, right > 0)


def test_a_plane_that_is_swapped_takes_its_pixel_sizes_with_it():
    steps = np.array([[0.0, 3.0], [-0.5, 0.0]])
    image = SpatialImage.from_array(np.zeros((30, 40))).replace(grid=grid_of(steps))
    _, plane = middle_plane(image, 20)
    assert (plane.shape, plane.spacing.tolist()) == ((20, 15), [6.0, 1.0])


def test_a_line_is_left_and_right():
    line = np.random.default_rng(0).normal(size=600).cumsum().astype("f4")
    moving = line.copy()
    moving[:200] = np.roll(line, 2)[:200]
    parameters = NCCParameters(bands=("ncc", "shift"))
    comparison = Comparison(line, moving, parameters=parameters)
    result = finish(translate(run_comparison(comparison), lambda _: ()))
    assert result.tally.displaced.where == "left"
    said = headline(None, result.tally)
    assert "of the line;" in said.agreement
    assert said.next_step is None  # a flow is of planes and volumes
    assert View.of(Grid((9,), np.diag([-1.0, 1.0]))).sides() == (("right", "left"),)
    assert pictures_of(comparison, result.map)["ncc"]


def test_pictures_of_an_oblique_volume_are_its_middle_plane():
    """Its planes mix with the third axis: they have no grid of their own, and are pictures."""
    matrix = np.eye(4)
    matrix[0, 0] = matrix[2, 2] = np.cos(TURN)
    matrix[0, 2], matrix[2, 0] = -np.sin(TURN), np.sin(TURN)
    volume = np.random.default_rng(0).normal(size=(7, 20, 30)).astype("f4")
    image = SpatialImage.from_array(volume).replace(grid=Grid(volume.shape, matrix))
    comparison = Comparison(image, image)
    result = finish(translate(run_comparison(comparison), lambda _: ()))
    picture = pictures_of(comparison, result.map)["fixed"]
    assert Image.open(io.BytesIO(base64.b64decode(picture["png"]))).size == (30, 20)
    assert picture["plane"] == "z=3"
    assert middle_plane(image, 100)[0][0, 0] == volume[3, 0, 0]


def test_an_axis_that_is_not_searched_has_no_end_to_be_near():
    grid = grid_of(np.eye(2))
    summary = DisplacedSummary(grid, NCCParameters(bands=("ncc", "shift"), search=(0, 4)))
    labels = np.full(grid.shape, CLASSES.index("displaced"), np.uint8)
    bands = {"shift_y": np.zeros(grid.shape, "f4"), "shift_x": np.ones(grid.shape, "f4")}
    summary.add(labels, bands, (slice(0, 30), slice(0, 40)))
    assert summary.result().at_end == 0


def test_lengths_along_axes_of_other_units_are_told_in_one():
    matrix = np.diag([500.0, 0.25, 1.0])
    grid = Grid((30, 40), matrix, ("nanometer", "micrometer"), ("y", "x"))
    image = SpatialImage.from_array(np.random.default_rng(0).normal(size=(30, 40)))
    image = image.replace(grid=grid)
    said = describe_comparison(Comparison(image, image))
    assert "fixed 30x40 at 0.5x0.25 µm" in said
    assert "window 9x9 px = 4.5x2.25 µm" in said
    assert size_text(window_pair(image, image, (15, 20))) == "9x9 px = 4.5x2.25 µm"
    assert middle_plane(image, 100)[1].spacing.tolist() == [0.5, 0.25]

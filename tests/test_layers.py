"""Between napari layers and images in the world; no display is needed."""

from __future__ import annotations

import subprocess
import sys
import threading

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes

from napari_local_ncc import Grid, NCCParameters, SpatialImage, confidence_map
from napari_local_ncc._napari.layers.convert import (
    layer_grid,
    mask_image,
    placement,
    placement_on,
    spatial_image,
)
from napari_local_ncc._napari.results.job import Job, run_job
from napari_local_ncc._napari.results.result_layer import ResultLayer
from napari_local_ncc._napari.results.result_spec import Output, Product
from napari_local_ncc.geometry.affine import apply_affine
from napari_local_ncc.image.pairing import pair_images
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.reports.describe import describe_comparison
from napari_local_ncc.transforms.resampling import mask_on

DEFAULTS = NCCParameters()


def compare(fixed, moving, ndim=2, parameters=DEFAULTS):
    """Run a job on two layers and show its result in a viewer without a window."""
    job = Job(
        comparison=Comparison(
            spatial_image(fixed, ndim),
            spatial_image(moving, ndim),
            parameters=parameters,
            unitless="numbers",
        ),
        model="none",
        options={},
        refines=False,
        compare=True,
        add_registered=False,
        output=Output(
            placement=placement(fixed),
            multiscale=fixed.multiscale,
            view=(0.0,) * fixed.ndim,
            budget=1e9,
            layers={},
            style={},
        ),
    )
    viewer = ViewerModel()
    shown = [
        ResultLayer(viewer, message, keep_earlier=True)
        for message in run_job(job, threading.Event())
        if isinstance(message, Product)
    ]
    for result in shown:
        result.complete()
    return viewer.layers[0]


@st.composite
def placements(draw, ndim):
    """Draw how napari may place a layer."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rotation, _ = np.linalg.qr(rng.normal(size=(ndim, ndim)))
    affine = np.eye(ndim + 1)
    affine[:-1, :-1] += rng.normal(size=(ndim, ndim)) * 0.1
    affine[:-1, -1] = rng.normal(size=ndim)
    return {
        "scale": rng.uniform(0.1, 5, ndim),
        "translate": rng.normal(size=ndim) * 10,
        "rotate": rotation * np.sign(np.linalg.det(rotation)),
        "shear": rng.normal(size=ndim * (ndim - 1) // 2) * 0.3,
        "affine": affine,
        "units": ("um",) * ndim,
    }


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@given(placements(2) | placements(3), st.integers(0, 2**32 - 1))
def test_the_grid_is_where_napari_puts_the_layer(where, seed):
    ndim = len(where["scale"])
    layer = Image(np.zeros((4, 5, 6)[:ndim]), **where)
    for pixel in np.random.default_rng(seed).normal(size=(3, ndim)) * 20:
        np.testing.assert_allclose(
            apply_affine(layer_grid(layer).pixel_to_world, pixel),
            layer.data_to_world(pixel),
            rtol=0,
            atol=1e-9,
        )


@given(placements(2), st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_the_result_lies_on_fixed_to_a_billionth(where, seed):
    rng = np.random.default_rng(seed)
    fixed = Image(rng.normal(size=(20, 24)), **where)
    result = compare(fixed, Image(rng.normal(size=(20, 24)), **where))
    assert result.units == fixed.units
    assert result.axis_labels == fixed.axis_labels
    for pixel in rng.normal(size=(4, 2)) * 20:
        np.testing.assert_allclose(
            result.data_to_world(pixel), fixed.data_to_world(pixel), rtol=0, atol=1e-9
        )


def world_pattern(layer):
    pixels = np.stack(np.meshgrid(*map(np.arange, layer.data.shape), indexing="ij"), axis=-1)
    world = apply_affine(layer_grid(layer).pixel_to_world, pixels)
    factor = 1e-3 if "nano" in str(layer.units[0]) else 1.0
    return sum(np.sin(0.4 * c * factor + k) for k, c in enumerate(np.moveaxis(world, -1, 0)))


@given(st.floats(0, 90), st.floats(0.2, 0.7), st.floats(-0.2, 0.2), st.sampled_from(["um", "nm"]))
@settings(max_examples=20)
def test_one_world_on_two_layers_is_alike(angle, scale, shear, unit):
    factor = 1000 if unit == "nm" else 1
    fixed = Image(np.zeros((60, 70)), scale=(0.3, 0.3), units=("um", "um"))
    moving = Image(
        np.zeros((90, 80)),
        scale=(scale * factor, scale * factor),
        rotate=angle,
        shear=[shear],
        translate=(-2 * factor, 3 * factor),
        units=(unit, unit),
    )
    for layer in (fixed, moving):
        layer.data = world_pattern(layer)
    try:
        result = compare(fixed, moving)
    except ValueError as error:
        if "do not overlap" not in str(error):
            raise
        return
    defined = np.isfinite(result.data)
    assert not defined.any() or result.data[defined].min() > 0.99


def test_two_volumes_of_other_origin_and_voxel_size():
    fixed = Image(np.zeros((20, 30, 30)), scale=(3, 2, 2), translate=(-30, -30, -30))
    moving = Image(np.zeros((40, 50, 60)), scale=(1.5, 1, 1), translate=(-25, -20, -28))
    for layer in (fixed, moving):
        layer.units, layer.axis_labels = ("mm",) * 3, ("z", "y", "x")
        layer.data = world_pattern(layer)
    result = compare(fixed, moving, ndim=3, parameters=NCCParameters(radius=2))
    defined = np.isfinite(result.data)
    assert defined.mean() > 0.4
    assert result.data[defined].min() > 0.99
    images = spatial_image(fixed, 3), spatial_image(moving, 3)
    plan = describe_comparison(Comparison(*images, parameters=NCCParameters(radius=2)))
    assert "20x30x30 at 3x2x2 mm" in plan
    assert "moving is resampled" in plan
    assert "window 5x5x5 px = 15x10x10 mm" in plan
    assert "whole image" not in plan
    large = NCCParameters(radius=(0, 15, 15))
    planes = spatial_image(fixed, 2)
    with_large = describe_comparison(Comparison(planes, planes, parameters=large))
    assert "the window covers the whole image: choose a smaller one" in with_large


def test_five_dimensional_layers_by_frame_and_by_channel(rng):
    data = rng.normal(size=(2, 3, 4, 12, 12))
    labels = ("c", "t", "z", "y", "x")
    fixed = Image(data, axis_labels=labels, name="a")
    image = spatial_image(fixed, 3)
    assert image.grid.spatial == (False, False, True, True, True)
    channel = spatial_image(fixed, 3, chosen={"c": 1})
    assert channel.grid.axis_labels == ("t", "z", "y", "x")
    np.testing.assert_array_equal(channel.data, data[1])
    result = confidence_map(image, channel, parameters=NCCParameters(radius=1))["ncc"].compute()
    assert result.shape == data.shape
    np.testing.assert_allclose(result[1], 1, atol=1e-6)
    with pytest.raises(ValueError, match="c: 2, t: 3"):
        spatial_image(fixed, 3, chosen={"q": 1})
    with pytest.raises(ValueError, match="c=2"):
        spatial_image(fixed, 3, chosen={"c": 2})


@pytest.mark.parametrize("samples", [3, 4])
def test_rgb_is_luminance_or_one_channel_and_no_volume(rng, samples):
    data = rng.integers(0, 255, (20, 30, samples), dtype=np.uint8)
    data[3:5, :, -1] = 0
    layer = Image(data, rgb=True)
    image = spatial_image(layer)
    assert image.grid.shape == (20, 30)
    grey = data[..., :3] @ [0.2125, 0.7154, 0.0721]
    if samples == 4:
        grey[data[..., 3] == 0] = np.nan
    np.testing.assert_allclose(image.data, grey, rtol=1e-6)
    blue = data[..., 2].astype(float)
    blue[np.isnan(grey)] = np.nan
    np.testing.assert_array_equal(spatial_image(layer, chosen={"c": 2}).data, blue)


def test_levels_of_a_pyramid_lie_where_their_pixels_come_from():
    fine = np.arange(64.0).reshape(8, 8)
    coarse = fine.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    layer = Image([fine, coarse], multiscale=True, scale=(2, 2), translate=(10, 10))
    np.testing.assert_allclose(layer_grid(layer, 1).origin, (11, 11))
    np.testing.assert_allclose(layer_grid(layer, 1).spacing, (4, 4))
    np.testing.assert_array_equal(spatial_image(layer, level=1).data, coarse)
    np.testing.assert_array_equal(spatial_image(layer, level=9).data, coarse)


def test_a_pyramid_gives_a_pyramid(rng):
    fine = rng.normal(size=(1200, 1100)).astype("f4")
    layer = Image([fine, fine[::2, ::2]], multiscale=True)
    result = compare(layer, Image(fine))
    assert result.multiscale
    assert [level.shape for level in result.data] == [(1200, 1100), (600, 550), (300, 275)]
    np.testing.assert_allclose(result.data[-1], 1, atol=1e-6)


@pytest.mark.parametrize("dtype", [bool, "u1", ">u2", "i8", "f2", ">f4"])
def test_pixels_of_every_kind(rng, dtype):
    data = rng.integers(0, 2, (20, 20)).astype(dtype)
    result = compare(Image(data), Image(data.astype("f8")))
    np.testing.assert_allclose(result.data, 1, atol=1e-6)


def test_lazy_layers_stay_lazy(tmp_path, rng):
    stored = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(40, 40), chunks=(10, 10), dtype="f4"
    )
    stored[:] = rng.normal(size=(40, 40))

    def forbidden(block):
        raise AssertionError("read before it was needed")

    lazy = da.zeros((40, 40), chunks=10).map_blocks(forbidden, dtype=float, meta=np.zeros((0, 0)))
    viewer = ViewerModel()
    zarr_layer = viewer.add_image(stored, contrast_limits=(0, 1), visible=False)
    lazy_layer = Image(lazy, contrast_limits=(0, 1), visible=False)
    pair = pair_images(spatial_image(zarr_layer), spatial_image(lazy_layer))
    assert isinstance(pair.fixed.data, da.Array)
    confidence_map(pair.fixed, pair.moving)
    np.testing.assert_array_equal(pair.fixed.data, stored[:])


def test_pairing_huge_lazy_layers_needs_little_memory():
    code = """
import resource, sys
import dask.array as da, numpy as np
from napari_local_ncc import SpatialImage, confidence_map, Grid
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = da.zeros((20000, 20000), chunks=1000, dtype="u2")
fixed = SpatialImage(data, Grid.from_spacing(data.shape, 0.1, units=("um", "um")))
moving = SpatialImage(data, Grid.from_spacing(data.shape, 0.11, 3.0, units=("um", "um")))
result = confidence_map(fixed, moving)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    if sys.platform != "linux":
        pytest.skip("ru_maxrss is in kB on Linux only")
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert int(found.stdout) < 200_000


def test_a_plane_with_units_meets_one_without(rng):
    data = rng.normal(size=(20, 20))
    fixed = SpatialImage.from_array(data, "a", spacing=0.1, units=("um", "um"))
    moving = SpatialImage.from_array(data, "b")
    with pytest.raises(ValueError, match="unitless='pixels'"):
        confidence_map(fixed, moving)
    with pytest.raises(ValueError, match="unitless='pixels'"):
        confidence_map(moving, fixed)
    as_pixels = confidence_map(fixed, moving, unitless="pixels")
    np.testing.assert_allclose(as_pixels["ncc"].compute(), 1, atol=1e-6)
    other = confidence_map(moving, fixed, unitless="pixels")
    np.testing.assert_allclose(other["ncc"].compute(), 1, atol=1e-6)
    as_numbers = confidence_map(fixed, moving, unitless="numbers")
    assert np.nanmax(as_numbers["ncc"].compute()) < 1
    plans = [
        describe_comparison(Comparison(fixed, moving, unitless=unitless))
        for unitless in ("pixels", "numbers")
    ]
    assert "its pixels are taken for the other's" in plans[0]
    assert "its numbers are read as µm" in plans[1]
    same = SpatialImage.from_array(data, "c", units=("um", "um"))
    confidence_map(same, moving)


def test_masks_of_every_kind_lie_on_their_own_grid():
    fixed = Image(np.zeros((30, 40)), scale=(0.5, 0.5), translate=(5, 5), units=("um", "um"))
    inside = np.zeros((30, 40), bool)
    inside[10:20, 8:30] = True
    coarse = inside[::2, ::2]
    labels = Labels(
        coarse.astype(int) * 3, scale=(1, 1), translate=(5.25, 5.25), units=("um", "um")
    )
    image = Image(inside * 0.25, scale=(0.5, 0.5), translate=(5, 5), units=("um", "um"))
    corners = np.array([[9.5, 7.5], [9.5, 29.5], [19.5, 29.5], [19.5, 7.5]]) * 0.5 + 5
    shapes = Shapes([corners], shape_type="polygon", units=("um", "um"))
    for layer in (labels, image, shapes):
        mask = mask_image(layer, spatial_image(fixed))
        np.testing.assert_array_equal(mask_on(mask, spatial_image(fixed)), inside)


def test_shapes_hold_for_every_frame():
    fixed = Image(np.zeros((3, 20, 20)), axis_labels=("t", "y", "x"))
    shapes = Shapes([[[4.5, 4.5], [4.5, 14.5], [14.5, 14.5], [14.5, 4.5]]], shape_type="rectangle")
    mask = np.asarray(mask_on(mask_image(shapes, spatial_image(fixed)), spatial_image(fixed)))
    assert mask.shape == (3, 20, 20)
    assert (mask == mask[0]).all()
    assert mask[0].sum() == 100


def test_what_is_no_mask_is_named():
    fixed = Image(np.zeros((9, 9)))
    with pytest.raises(TypeError, match="cannot be a mask"):
        mask_image(Points(name="dots"), spatial_image(fixed))
    line = Shapes([[[0, 0], [5, 5]]], shape_type="line")
    for shapes in (Shapes(), line):
        with pytest.raises(ValueError, match="holds no area"):
            mask_image(shapes, spatial_image(fixed))


@pytest.mark.parametrize("kind", ["rectangle", "ellipse", "polygon"])
def test_shapes_are_drawn_as_napari_draws_them(kind):
    corners = np.array([[10.0, 12], [14, 70], [62, 66.6], [58, 8.6]])
    shapes = Shapes([corners], shape_type=kind)
    fixed = spatial_image(Image(np.zeros((80, 90))))
    drawn = np.asarray(mask_image(shapes, fixed).data)
    theirs = shapes.to_labels(fixed.grid.shape) > 0
    assert (drawn != theirs).mean() < 0.02
    assert drawn.sum() > 500


def test_shapes_on_a_huge_image_are_drawn_where_they_are_needed():
    huge = SpatialImage(da.zeros((20000, 20000), chunks=1000), Grid((20000, 20000)))
    shapes = Shapes([[[0, 0], [0, 9e3], [9e3, 9e3], [9e3, 0]]], shape_type="rectangle")
    mask = mask_image(shapes, huge).data
    assert mask[8990:9010, 8990:9010].compute().sum() == 11**2


def test_a_mask_follows_what_is_picked(rng):
    series = Image(rng.normal(size=(3, 20, 20)), axis_labels=("t", "y", "x"))
    labels = np.zeros((3, 20, 20), int)
    labels[1, 5:15, 5:15] = 1
    fixed = spatial_image(series, 2, chosen={"t": 1})
    mask = mask_image(Labels(labels, axis_labels=("t", "y", "x")), fixed, {"t": 1})
    np.testing.assert_array_equal(mask_on(mask, fixed), labels[1] > 0)
    shapes = Shapes([[[4.5, 4.5], [4.5, 14.5], [14.5, 14.5], [14.5, 4.5]]])
    np.testing.assert_array_equal(mask_on(mask_image(shapes, fixed), fixed), labels[1] > 0)


def test_a_grid_without_a_layer_is_placed_too():
    parallel = SpatialImage.from_array(np.zeros((4, 5)), spacing=(2, 3), origin=(7, 8)).grid
    layer = Image(np.zeros((4, 5)), **placement_on(parallel))
    np.testing.assert_allclose(layer.scale, (2, 3))
    turned = parallel.replace(pixel_to_world=[[0, -2, 1], [2, 0, 3], [0, 0, 1]])
    for grid in (parallel, turned):
        layer = Image(np.zeros((4, 5)), **placement_on(grid))
        np.testing.assert_allclose(
            layer.data_to_world((2, 3)), apply_affine(grid.pixel_to_world, (2, 3))
        )

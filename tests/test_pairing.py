"""Axes that pair by name or by place, and advice that works when it is followed."""

import re
import shlex

import numpy as np
import pytest
import tifffile
import zarr

from napari_local_ncc import Comparison, SpatialImage, confidence_map, read_image
from napari_local_ncc.cli import main
from napari_local_ncc.image import pair_images
from napari_local_ncc.image.pairing import spacing_advice
from napari_local_ncc.image.source import Source
from napari_local_ncc.io import iter_write_image
from napari_local_ncc.progress import finish
from napari_local_ncc.reports import describe_comparison
from napari_local_ncc.transforms.resampling import labels_on, mask_on

STACK = np.random.default_rng(4).integers(0, 4000, (6, 24, 32), dtype=np.uint16)
PLANE = STACK[0]


def image(data, labels, units=None, name="image"):
    image = SpatialImage.from_array(data, axis_labels=tuple(labels), units=units or ())
    return image.replace(name=name)


@pytest.mark.parametrize(
    ("ours", "theirs", "spatial"),
    [
        ("qyx", "tyx", 2), ("tyx", "qyx", 2), ("qyx", "cyx", 2), ("qyx", "zyx", 3),
        ("zyx", "qyx", 3), ("iyx", "tyx", 2), ("qyx", "pyx", 3),
    ],
)  # fmt: skip
def test_pages_pair_by_place_with_any_axis(ours, theirs, spatial):
    pair = pair_images(image(STACK, ours), image(STACK, theirs))
    assert pair.fixed.grid.shape == pair.moving.grid.shape == STACK.shape
    assert pair.fixed.grid.spatial_ndim == pair.moving.grid.spatial_ndim == spatial
    np.testing.assert_array_equal(pair.fixed.data, pair.moving.data)


def test_pages_pair_with_the_planes_of_a_stack_too():
    ours = image(STACK, "qyx")
    theirs = image(STACK, "zyx").with_spatial_ndim(2)
    assert pair_images(ours, theirs).moving.grid.shape == STACK.shape


def test_two_unknown_axes_pair_by_place():
    series = STACK.reshape(2, 3, 24, 32)
    for labels in (("t", "c", "y", "x"), ("q", "q2", "y", "x")):
        pair = pair_images(image(series, ("q", "q2", "y", "x")), image(series, labels))
        np.testing.assert_array_equal(pair.fixed.data, pair.moving.data)


def test_known_names_pair_by_name_in_any_order():
    series = STACK.reshape(2, 3, 24, 32)
    pair = pair_images(image(series, "qtyx"), image(series.swapaxes(0, 1), "tqyx"))
    np.testing.assert_array_equal(pair.fixed.data, pair.moving.data)


def test_what_one_image_does_not_name_pairs_with_what_is_left():
    series = STACK.reshape(2, 3, 24, 32)
    for ours, theirs in (("cqyx", "tcyx"), ("qcyx", "ctyx"), ("tqyx", "qtyx"), ("cqyx", "qcyx")):
        fixed, moving = image(series, ours), image(series.swapaxes(0, 1), theirs)
        pair = pair_images(fixed, moving)
        assert pair.fixed.grid.axis_labels == pair.moving.grid.axis_labels == tuple(ours)
        np.testing.assert_array_equal(pair.fixed.data, pair.moving.data)
    for ours, theirs in (("cqyx", "tpyx"), ("ctyx", "cpyx"), ("qcyx", "qtyx")):
        said = refusal(image(series, ours), image(series, theirs).with_spatial_ndim(2))
        assert "independent axes do not match" in said


def test_names_are_the_same_in_upper_and_lower_case():
    series = STACK.reshape(2, 3, 24, 32)
    pair = pair_images(image(series, "tcyx"), image(series.transpose(1, 0, 3, 2), "CTXY"))
    np.testing.assert_array_equal(pair.fixed.data, pair.moving.data)
    one = pair_images(image(series[:, 0], "Tyx"), image(series, "tcYX"))
    assert one.fixed.grid.shape == series.shape


# ---------------------------------------------------------------- advice


def refusal(fixed, moving, **options):
    with pytest.raises(ValueError) as caught:
        pair_images(fixed, moving, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def selections(message):
    """Read each select={...} of a message, in order."""
    return [eval(text) for text in re.findall(r"select=(\{.*?\})", message)]  # our own text


def test_a_volume_and_a_plane_by_each_advice():
    volume, plane = image(STACK, "zyx", name="v"), image(PLANE, "yx", name="p")
    for fixed, moving in ((volume, plane), (plane, volume)):
        message = refusal(fixed, moving)
        assert "--ndim 2, with_spatial_ndim(2)" in message
        assert f"--select-{'fixed' if fixed is volume else 'moving'}=z=0" in message
        (chosen,) = selections(message)
        taken = [im.select(chosen) if im is volume else im for im in (fixed, moving)]
        assert pair_images(*taken).fixed.grid.shape == PLANE.shape
        flat = [im.with_spatial_ndim(2) for im in (fixed, moving)]
        assert pair_images(*flat).moving.grid.shape == STACK.shape


def test_axes_that_lack_in_one_or_both_by_the_advice():
    channels, times = image(STACK, "cyx", name="a"), image(STACK, "tyx", name="b")
    message = refusal(channels, times)
    ours, theirs = selections(message)
    assert pair_images(channels.select(ours), times.select(theirs)).fixed.grid.shape == PLANE.shape
    both = image(STACK.reshape(2, 3, 24, 32), "ctyx", name="both")
    assert pair_images(both, times.crop((slice(3), slice(None), slice(None))))
    message = refusal(image(STACK, "qyx", name="pages"), both)
    assert selections(message)


def test_series_of_two_lengths_by_the_advice():
    ours, theirs = image(STACK, "tyx", name="a"), image(STACK[:4], "tyx", name="b")
    (chosen,) = selections(refusal(ours, theirs))
    assert pair_images(ours.select(chosen), theirs).fixed.grid.shape == (4, 24, 32)
    assert pair_images(ours, theirs.select(chosen)).fixed.grid.shape == STACK.shape


def test_units_on_one_side_by_the_advice():
    ours, theirs = image(PLANE, "yx", ("um", "um"), "a"), image(PLANE, "yx", name="b")
    ours = ours.replace(grid=ours.grid.replace(pixel_to_world=np.diag([0.5, 0.5, 1])))
    message = refusal(ours, theirs)
    for choice in re.findall(r"unitless='(\w+)'", message):
        assert pair_images(ours, theirs, unitless=choice)


def test_command_line_does_what_it_advises(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "stack.tif", STACK, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "times.tif", STACK[:4], imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "more.tif", STACK, imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "plane.tif", PLANE)
    pairs = [("stack", "plane"), ("plane", "stack"), ("times", "more")]
    for fixed, moving in pairs:
        words = ["map", str(tmp_path / f"{fixed}.tif"), str(tmp_path / f"{moving}.tif"), "-o",
                 str(tmp_path / "o.npy"), "--overwrite"]  # fmt: skip
        assert main(words) == 2
        told = capsys.readouterr().err
        advised = [
            shlex.split(text) for text in re.findall(r"--(?:select|ndim)[^,;) ]*(?: 2)?", told)
        ]
        assert advised
        for option in advised:
            assert main([*words, *option]) == 0, option
            assert "1.000" in capsys.readouterr().out


# ---------------------------------------------------------------- masks and labels


HALF = np.ones((12, 16), np.uint8)


@pytest.mark.parametrize("units", [None, ("um", "um")])
def test_mask_of_another_size_says_both(units):
    fixed, mask = image(PLANE, "yx", units, "f"), image(HALF, "yx", name="m")
    with pytest.raises(ValueError, match=r"mask \(m\) has 12x16 pixels, f has 24x32.*--stretch"):
        confidence_map(fixed, fixed, mask=mask)
    with pytest.raises(ValueError, match=r"labels \(m\) has 12x16 pixels, the map has 24x32"):
        labels_on(mask, fixed.grid)


def test_mask_stretched_covers_the_whole_in_place():
    fixed = image(PLANE, "yx", ("um", "um"))
    fixed = fixed.replace(grid=fixed.grid.replace(pixel_to_world=np.diag([0.5, 0.25, 1])))
    half = RNG_MASK[::2, ::2]
    laid = mask_on(image(half, "yx").stretch_over(fixed.grid), fixed).compute()
    np.testing.assert_array_equal(laid, np.kron(half, np.ones((2, 2))) > 0)


RNG_MASK = np.kron(np.random.default_rng(0).integers(0, 2, (12, 16)), np.ones((2, 2))).astype("u1")


def test_mask_that_says_where_it_lies_is_believed():
    fixed = image(PLANE, "yx")
    placed = SpatialImage.from_array(HALF, spacing=2.0, origin=0.5, axis_labels=("y", "x"))
    assert mask_on(placed, fixed).compute().all()
    one_for_all = image(HALF, "yx")
    assert mask_on(one_for_all, image(STACK[:, :12, :16], "tyx")).compute().all()


@pytest.mark.parametrize("labels", ["yx", "xy"])
@pytest.mark.parametrize("units", [(None, ("um", "um")), (("um", "um"), None)])
def test_a_unit_on_one_side_leaves_a_mask_on_its_pixels(units, labels):
    fixed, mask = (
        SpatialImage.from_array(data, spacing=0.25, units=unit or (), axis_labels=tuple(axes))
        for data, unit, axes in (
            (PLANE, units[0], "yx"),
            (RNG_MASK if labels == "yx" else RNG_MASK.T, units[1], labels),
        )
    )
    fixed = fixed.replace(grid=fixed.grid.replace(pixel_to_world=np.diag([2.0, 3.0, 1.0])))
    np.testing.assert_array_equal(mask_on(mask, fixed).compute(), RNG_MASK > 0)
    np.testing.assert_array_equal(labels_on(mask, fixed.grid).compute(), RNG_MASK)
    half = mask.replace(data=mask.data[::2, ::2], grid=mask.grid.crop((slice(0, None, 2),) * 2))
    with pytest.raises(ValueError, match=r"pixels, image has 24x32"):
        mask_on(half, fixed)


def test_a_layer_of_a_viewer_lies_where_it_is_seen():
    fixed = SpatialImage.from_array(PLANE, spacing=0.25, units=("um", "um"))
    left = SpatialImage.from_array(np.ones((12, 8), np.uint8), spacing=0.5, origin=0.125)
    laid = mask_on(left.replace(source=Source(expression="viewer.layers[0]")), fixed).compute()
    np.testing.assert_array_equal(laid, np.arange(32) < 16 + np.zeros((24, 1)))


def test_command_line_lays_a_mask_only_when_told(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "f.tif", PLANE)
    tifffile.imwrite(tmp_path / "m.tif", HALF)
    f, m = str(tmp_path / "f.tif"), str(tmp_path / "m.tif")
    words = ["map", f, f, "-o", str(tmp_path / "o.npy"), "--mask", m]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "12x16" in said
    assert "24x32" in said
    assert main([*words, "--stretch"]) == 0
    assert "m.tif (12x16) is laid over the whole image (24x32)" in capsys.readouterr().err
    assert np.isfinite(np.load(tmp_path / "o.npy")).all()


# ---------------------------------------------------------------- stage positions


def write_at(path, y, x, unit="µm", size=0.5):
    places = {"PositionX": [x], "PositionY": [y], "PositionXUnit": [unit], "PositionYUnit": [unit]}
    metadata = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeY": size, "Plane": places}
    tifffile.imwrite(path, PLANE, ome=True, metadata=metadata)


def test_stage_positions_are_honoured_in_their_units(tmp_path):
    write_at(tmp_path / "a.ome.tif", 0.1, 0.2, "mm")
    image = read_image(tmp_path / "a.ome.tif")
    np.testing.assert_allclose(image.grid.origin, (100, 200))
    assert image.source.stage == "y 100 µm, x 200 µm"
    assert not read_image(tmp_path / "a.ome.tif", positions=False).grid.origin.any()


def test_positions_in_no_length_are_said_not_to_be_used(tmp_path):
    from napari_local_ncc.image.read_guard import ReadNote

    write_at(tmp_path / "a.ome.tif", 3, 4, "reference frame")
    with pytest.warns(ReadNote, match=r"stage position \(Y 3 reference frame, X 4 .*not used"):
        image = read_image(tmp_path / "a.ome.tif")
    assert not image.grid.origin.any()


def test_channels_in_another_order_are_said(tmp_path, capsys):
    names = {"a": ["DAPI", "GFP"], "b": ["GFP", "DAPI"], "c": ["GFP", "RFP"]}
    for name, channels in names.items():
        metadata = {"axes": "CYX", "Channel": {"Name": channels}}
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", STACK[:2], ome=True, metadata=metadata,
                         photometric="minisblack")  # fmt: skip
    a, b, c = (str(tmp_path / f"{name}.ome.tif") for name in "abc")
    words = ["map", "-o", str(tmp_path / "o.npy"), "--radius", "2", "--overwrite"]
    told = "a.ome.tif: DAPI, GFP; b.ome.tif: GFP, DAPI"
    for files, more, said in (
        ((a, b), [], True), ((a, a), [], False), ((a, c), [], False),
        ((a, b), ["--select-fixed=c=0", "--select-moving=c=1"], False),
    ):  # fmt: skip
        assert main([*words, *files, *more]) == 0
        assert (told in capsys.readouterr().err) == said


def test_images_apart_name_the_stage_and_the_option_that_lays_them_together(tmp_path, capsys):
    for name, place in (("a", 0), ("b", 500)):
        write_at(tmp_path / f"{name}.ome.tif", place, place)
    words = ["map", *(str(tmp_path / f"{n}.ome.tif") for n in "ab"), "-o", str(tmp_path / "o.npy")]
    assert main(words) == 2
    assert "--ignore-positions" in capsys.readouterr().err
    assert main([*words, "--ignore-positions"]) == 0
    told = capsys.readouterr()
    assert "1.000" in told.out
    assert "stage" not in told.err


# ---------------------------------------------------------------- OME-Zarr of other writers

AXES = [{"name": k, "type": "space", "unit": "micrometer"} for k in "yx"]
SCALE = [{"type": "scale", "scale": [0.5, 0.25]}]
FOREIGN = {
    "no version": {"axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": SCALE}]},
    "axes without type": {
        "axes": [{"name": k, "unit": "micrometer"} for k in "yx"],
        "datasets": [{"path": "0", "coordinateTransformations": SCALE}],
    },
    "version a number": {
        "version": 0.4, "axes": AXES,
        "datasets": [{"path": "0", "coordinateTransformations": SCALE}],
    },
    "name no text": {
        "name": None, "axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": SCALE}],
    },
    "transform of all levels": {
        "axes": AXES, "datasets": [{"path": "0"}], "version": "0.3",
        "coordinateTransformations": SCALE,
    },
    "identity first": {
        "axes": AXES,
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "identity"}, *SCALE]}],
    },
    "systems of 0.6": {
        "coordinateSystems": [{"name": "world", "axes": AXES}],
        "datasets": [{"path": "0", "coordinateTransformations": [
            {"type": "sequence", "input": "0", "output": "world", "transformations": SCALE}]}],
    },
    "an affine matrix": {
        "axes": AXES,
        "datasets": [{"path": "0", "coordinateTransformations": [
            {"type": "affine", "affine": [[0.5, 0, 0], [0, 0.25, 0]]}]}],
    },
}  # fmt: skip
OMERO = [{}, {"channels": [{"label": "a"}]}, {"channels": [{"color": "#FF0000"}]}, {"channels": 3}]


def write_zarr(path, multiscale, **attributes):
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=PLANE)
    group.attrs.update({"multiscales": [multiscale], **attributes})


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_not_used_does_not_refuse(case, tmp_path):
    write_zarr(tmp_path / "a.zarr", FOREIGN[case])
    image = read_image(tmp_path / "a.zarr")
    np.testing.assert_allclose(image.grid.spacing, (0.5, 0.25))
    assert image.grid.units == ("micrometer",) * 2


@pytest.mark.parametrize("omero", OMERO)
def test_colours_for_display_are_not_asked(omero, tmp_path):
    write_zarr(tmp_path / "a.zarr", FOREIGN["no version"], omero=omero)
    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr").data, PLANE)


def test_axes_as_names_alone(tmp_path):
    write_zarr(
        tmp_path / "a.zarr", {"version": "0.3", "axes": ["y", "x"], "datasets": [{"path": "0"}]}
    )
    assert read_image(tmp_path / "a.zarr").grid.axis_labels == ("y", "x")


def test_an_affine_that_turns_places_the_image(tmp_path):
    turn = [[0.3, -0.4, 7], [0.4, 0.3, 1]]
    transform = [{"type": "affine", "affine": turn}]
    write_zarr(
        tmp_path / "a.zarr",
        {"axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": transform}]},
    )
    grid = read_image(tmp_path / "a.zarr").grid
    np.testing.assert_allclose(grid.pixel_to_world[:2], turn)


WRONG = {
    "no datasets": ({"axes": AXES}, r"multiscales\[0\].datasets is missing"),
    "no path": ({"axes": AXES, "datasets": [{}]}, r"datasets\[0\].path is missing"),
    "no such array": ({"axes": AXES, "datasets": [{"path": "9"}]}, "name an array '9'"),
    "three scales": (
        {"axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": [
            {"type": "scale", "scale": [1, 1, 1]}]}]},
        r"datasets\[0\].coordinateTransformations\[0\].scale is \[1, 1, 1\].*2 axes",
    ),
    "no size": (
        {"axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": [
            {"type": "scale", "scale": [0, 1]}]}]}, "pixels of no size",
    ),
    "unknown kind": (
        {"axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": [
            {"type": "displacements", "path": "d"}]}]}, "type is 'displacements'; known are",
    ),
    "other axes": (
        {"axes": [*AXES, *AXES], "datasets": [{"path": "0"}], "version": "0.3"},
        "name 4 axes .* has 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_needed_is_named_with_its_field(case, tmp_path):
    multiscale, reason = WRONG[case]
    write_zarr(tmp_path / "a.zarr", multiscale)
    with pytest.raises(ValueError, match=f"a.zarr: its .*{reason}") as caught:
        read_image(tmp_path / "a.zarr")
    assert "\n" not in str(caught.value)


def test_a_pixel_size_that_only_one_of_two_unitless_images_has_is_told(tmp_path, capsys):
    sizes = (("a", (1, 1)), ("b", (0.5, 0.25)), ("c", (0.5, 0.5)))
    images = {name: SpatialImage.from_array(PLANE, spacing=s) for name, s in sizes}
    for pair, told in (("ab", True), ("ba", True), ("aa", False), ("bc", False)):
        advice = spacing_advice(*(images[name].replace(name=name) for name in pair))
        assert ("b has pixels of 0.5x0.25 without a unit, a has pixels of 1;" in advice) == told
        assert bool(advice) == told
    physical = SpatialImage.from_array(PLANE, spacing=(0.5, 0.5), units=("um", "um"))
    assert spacing_advice(images["a"], physical) == ""
    for name in "ab":
        finish(iter_write_image(images[name], tmp_path / f"{name}.ome.zarr"))
    pair = [str(tmp_path / f"{name}.ome.zarr") for name in "ab"]
    for command, output in (("map", "m.npy"), ("register", "t.json"), ("refine", "r.json")):
        assert main([command, *pair, "-o", str(tmp_path / output)]) == 0
        assert capsys.readouterr().err.count("without a unit") == 1
    (tmp_path / "p.csv").write_text("fixed,moving\na.ome.zarr,b.ome.zarr\n", encoding="utf-8")
    main(["batch", str(tmp_path / "p.csv"), "-o", str(tmp_path / "out"), "--no-maps"])
    assert capsys.readouterr().err.count("without a unit") == 1
    plan = describe_comparison(Comparison(images["a"], images["b"].replace(name="b")))
    assert "b has pixels of 0.5x0.25 without a unit" in plan

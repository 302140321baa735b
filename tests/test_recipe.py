"""A recipe is the map: replayed as Python or as a command, it gives equal numbers."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from napari_local_ncc import (
    NCCParameters,
    Registration,
    SpatialImage,
    confidence_map,
    read_image,
    read_map,
    register,
    write_map,
)
from napari_local_ncc.cli import main
from napari_local_ncc.reports.recipe import OUTPUT, as_command_line, as_python, checked_files

UM = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}


def replayed_as_python(provenance, folder):
    exec(as_python(provenance), {})
    return read_map(folder / OUTPUT)


def replayed_as_command(provenance, folder):
    words = shlex.split(as_command_line(provenance, "again.npy"), comments=True)
    assert words.pop(0) == "local-ncc"
    assert main(words) == 0
    return read_map(folder / "again.npy")


@pytest.fixture
def replay(tmp_path, monkeypatch):
    """Check that both texts of a map give this map again."""

    def replay(result):
        json.dumps(result.provenance)  # plain values
        monkeypatch.chdir(tmp_path)
        for old in ("again.npy", "again.npy.json"):
            (tmp_path / old).unlink(missing_ok=True)
        shutil.rmtree(tmp_path / OUTPUT, ignore_errors=True)
        expected = np.asarray(result.bands)
        assert np.isfinite(expected).any()
        for again in (
            replayed_as_python(result.provenance, tmp_path),
            replayed_as_command(result.provenance, tmp_path),
        ):
            np.testing.assert_array_equal(np.asarray(again.bands), expected)
            assert again.grid.to_dict() == result.grid.to_dict()
            assert again.parameters == result.parameters

    return replay


@pytest.fixture
def files(tmp_path, rng):
    """A two-channel series with units and its shifted copy."""
    field = rng.normal(size=(3, 2, 50, 60)).cumsum(axis=-1).astype("f4")
    metadata = {"axes": "TCYX", **UM}
    tifffile.imwrite(tmp_path / "a.ome.tif", field[..., 5:-5, 5:-5], metadata=metadata)
    tifffile.imwrite(tmp_path / "b.ome.tif", field[..., 3:-7, 8:-2], metadata=metadata)
    return tmp_path / "a.ome.tif", tmp_path / "b.ome.tif"


def test_files_parameters_and_a_series_transform(files, replay):
    fixed, moving = (read_image(path, select={"C": 1}) for path in files)
    parameters = NCCParameters(
        radius="1.5 um", weights="gaussian", min_valid=0.7, interpolation="cubic"
    )
    registration = register(fixed, moving)
    replay(confidence_map(fixed, moving, parameters=parameters, registration=registration))


def test_all_bands(files, replay):
    fixed, moving = (read_image(path, select={"c": 1, "t": 0}) for path in files)
    parameters = NCCParameters(radius=2, bands=("ncc", "confidence", "shift"), search=(1, 2))
    replay(confidence_map(fixed, moving, parameters=parameters))


def test_a_calibration_is_written_out_only_where_it_was_given(files, replay, tmp_path):
    fixed, moving = (read_image(path, select={"c": 1, "t": 0}) for path in files)
    parameters = NCCParameters(radius=2, bands=("ncc", "confidence"))
    drawn = confidence_map(fixed, moving, parameters=parameters)
    text = as_python(drawn.provenance)
    assert "Calibration.from_dict" not in text
    assert "calibrated anew" in text
    assert len(text.splitlines()) < 15
    replay(drawn)
    other = confidence_map(moving, fixed, parameters=parameters).calibration
    given = confidence_map(fixed, moving, parameters=parameters, calibration=other)
    shutil.rmtree(tmp_path / OUTPUT)
    again = replayed_as_python(given.provenance, tmp_path)
    np.testing.assert_array_equal(np.asarray(again.bands), np.asarray(given.bands))
    assert "The calibration was given" in as_command_line(given.provenance)
    assert "The calibration was given" not in as_command_line(drawn.provenance)


def test_a_selection_made_after_reading_counts_too(files, replay):
    fixed = read_image(files[0], select={"c": 0}).select({"T": -1})
    moving = read_image(files[1]).select({"c": 1})
    assert fixed.source.select == {"c": 0, "t": 2}
    replay(confidence_map(fixed, moving, parameters=NCCParameters(radius=2)))


def test_what_is_space_is_kept(files, tmp_path, rng, replay):
    stack = rng.normal(size=(3, 4, 20, 20))
    for name, data in zip("ab", stack[:2], strict=True):
        np.save(tmp_path / f"{name}.npy", data)
    np.save(tmp_path / "m.npy", stack[2] > -1)
    a, b, m = (read_image(tmp_path / f"{name}.npy") for name in "abm")
    flat = [image.with_spatial_ndim(2) for image in (a, b)]
    text = as_command_line(confidence_map(*flat).provenance)
    assert "--ndim 2" in text
    assert "--grid" not in text
    replay(confidence_map(*flat, mask=m.with_spatial_ndim(2)))
    replay(confidence_map(a, b, mask=m))
    # the mask is a volume to its file, planes to the map
    replay(confidence_map(*flat, mask=m.with_spatial_ndim(2).select({"-3": 1})))


def test_a_grid_that_is_not_the_file_s_is_kept(files, replay):
    fixed, moving = (read_image(path, select={"c": 0, "t": 0}) for path in files)
    turned = fixed.grid.pixel_to_world @ [[0.8, -0.6, 3.0], [0.6, 0.8, -2.0], [0, 0, 1]]
    fixed = fixed.replace(grid=fixed.grid.replace(pixel_to_world=turned))
    replay(confidence_map(fixed, moving, parameters=NCCParameters(radius=(2, 3))))


def test_what_unitless_meant_is_kept(files, tmp_path, replay):
    np.save(tmp_path / "plain.npy", np.asarray(read_image(files[1]).data)[0, 0])
    fixed = read_image(files[0], select={"c": 0, "t": 0})
    replay(confidence_map(fixed, read_image(tmp_path / "plain.npy"), unitless="pixels"))


def test_arrays_are_to_be_saved_under_the_names_the_recipe_reads(tmp_path, rng, replay):
    fixed, moving, mask = rng.normal(size=(3, 4, 30, 30))
    fixed = SpatialImage.from_array(fixed, "mine", axis_labels=("t", "y", "x"), spacing=2.0)
    result = confidence_map(fixed, moving[0], mask=mask > -1)
    text = as_python(result.provenance)
    assert "# fixed (mine) has no file of its own" in text
    assert "'FIXED.npy'" in text
    np.save(tmp_path / "FIXED.npy", fixed.data)
    np.save(tmp_path / "MOVING.npy", moving[0])
    np.save(tmp_path / "MASK.npy", mask > -1)
    replay(result)


def test_a_transform_too_long_for_a_command_line_is_to_be_saved(tmp_path, rng, replay):
    frames = rng.normal(size=(70, 9, 9)).cumsum(axis=-1)
    np.save(tmp_path / "a.npy", frames)
    fixed = read_image(tmp_path / "a.npy").with_spatial_ndim(2)
    matrices = np.tile(np.eye(3), (70, 1, 1))
    matrices[:, :2] += rng.normal(size=(70, 2, 3)) * 1e-3
    registration = Registration("affine", matrices, fixed.grid, *np.full((3, 70), np.nan))
    result = confidence_map(fixed, fixed, registration=registration)
    assert "--transform TRANSFORM.json" in as_command_line(result.provenance)
    registration.save(tmp_path / "TRANSFORM.json")
    replay(result)


def test_a_dense_transform_is_to_be_saved(files):
    fixed, moving = (read_image(path, select={"c": 0, "t": 0}) for path in files)
    provenance = confidence_map(fixed, moving, registration=register(fixed, moving)).provenance
    provenance["registration"]["displacement"] = {"shape": [2, 40, 50]}
    assert "registration = Registration.load('TRANSFORM.json')" in as_python(provenance)
    assert "--transform TRANSFORM.json" in as_command_line(provenance)
    for text in (as_python(provenance), as_command_line(provenance)):
        assert "# The transform moves every pixel by itself: save it" in text


def test_a_map_file_carries_its_recipe(files, tmp_path):
    fixed, moving = (read_image(path, select={"c": 0, "t": 0}) for path in files)
    result = confidence_map(fixed, moving)
    write_map(result, tmp_path / "map.ome.zarr")
    written = read_map(tmp_path / "map.ome.zarr")
    assert as_command_line(written.provenance) == as_command_line(result.provenance)
    program = as_python(written.provenance)
    assert program == as_python(result.provenance)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(read_map(tmp_path / OUTPUT)["ncc"], result["ncc"])


def test_changed_samples_are_no_longer_the_file_s(files):
    image = read_image(files[0])
    assert image.source.path == str(files[0])
    assert image.replace(data=image.data + 1).source is None
    assert image.where(image.data > 0).source is None


def test_a_file_that_is_gone_or_another_is_not_named(files):
    fixed, moving = (read_image(path, select={"c": 0, "t": 0}) for path in files)
    provenance = confidence_map(fixed, moving).provenance
    assert checked_files(provenance) == provenance
    other = fixed.replace(data=fixed.data[::-1])
    assert checked_files(provenance, {"fixed": other})["fixed"]["source"]["path"] is None
    assert checked_files(provenance, {"fixed": fixed}) == provenance
    files[1].unlink()
    checked = checked_files(provenance)
    assert checked["fixed"] == provenance["fixed"]
    assert "MOVING.npy" in as_command_line(checked)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--transform {", "--transform"),
        ("--grid-fixed {}", "grid of a.npy"),
        ('--grid-fixed {"shape":[3,3]}', "shape"),
        ("--grid-moving here", "grid of a.npy"),
    ],
)
def test_a_broken_text_is_said(tmp_path, monkeypatch, capsys, option, message):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.eye(9))
    assert main(["map", "a.npy", "a.npy", "-o", "o.npy", *option.split(" ")]) == 2
    assert message in capsys.readouterr().err


def test_scene_and_positions_of_a_file_are_kept(tmp_path, rng, replay):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path) as tif:
        for name, shift in (("macro", 0.0), ("scan", 3.0)):
            place = {"PositionX": [shift], "PositionXUnit": ["µm"]}
            samples = rng.integers(0, 4000, (24, 30), dtype=np.uint16)
            tif.write(samples, metadata={"Name": name, "Plane": place, **UM})
    fixed, moving = (read_image(path, scene=scene, positions=False) for scene in ("scan", 0))
    text = as_command_line(confidence_map(fixed, moving).provenance)
    assert "--scene-fixed 1" in text
    assert "--ignore-positions" in text
    replay(confidence_map(fixed, moving))


@pytest.mark.parametrize("edit", [(0, 0), (5, 150), (127, 159), (64, 80)])
def test_no_file_is_named_for_a_layer_that_was_edited_anywhere(edit, tmp_path, rng):
    pytest.importorskip("napari")
    from napari.components import ViewerModel
    from napari.layers._source import layer_source

    from napari_local_ncc._napari.layers.convert import spatial_image

    samples = rng.integers(0, 4000, (128, 160), dtype=np.uint16)
    viewer, images = ViewerModel(), {}
    for role in ("fixed", "moving"):
        path = tmp_path / f"{role}.tif"
        tifffile.imwrite(path, samples)
        with layer_source(path=str(path)):
            layer = viewer.add_image(samples.copy(), name=role)
        if role == "fixed":
            layer.data[edit] += 1
        images[role] = spatial_image(layer)
    checked = checked_files(confidence_map(**images).provenance, images)
    assert checked["fixed"]["source"]["path"] is None
    assert checked["moving"]["source"]["path"] == str(tmp_path / "moving.tif")
    assert "# fixed (fixed) has no file of its own" in as_command_line(checked)

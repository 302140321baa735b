"""Map files: a map comes back as it was written, and is there completely or not at all."""

import json
import os
import re
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_local_ncc import SpatialImage, confidence_map
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.io import (
    check_layout,
    check_output,
    iter_write_image,
    iter_write_map,
    read_image,
    read_map,
    write_map,
)
from napari_local_ncc.io.map_document import KEY
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.maps.pipeline import ConfidenceMap
from napari_local_ncc.parameters import NCCParameters
from napari_local_ncc.shift.interpret import CLASSES
from napari_local_ncc.transforms import Registration

RNG = np.random.default_rng(7)
PAGES = RNG.integers(0, 2**16, (3, 2, 20, 30), dtype=np.uint16)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
ALPHA = (GREY > 100).astype(np.uint8) * 255
UM = "micrometer"


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---------------------------------------------------------------- maps

ENDINGS = (".ome.zarr", ".ome.tif", ".npy")


def make_map(grid, *, bands=("ncc",), registration=None, values=None, chunks=None):
    parameters = NCCParameters(radius="0.5 um", min_std=0.1, bands=bands)
    names = tuple(band.name for band in bands_on(parameters, grid))
    if values is None:
        values = RNG.uniform(-1, 1, (len(names), *grid.shape)).astype(np.float32)
        values[RNG.random(values.shape) < 0.1] = np.nan
    lazy = da.from_array(values, chunks=chunks or (1, *map_chunks(grid)))
    return ConfidenceMap(lazy, names, grid, parameters, registration, {"software": "x 1"})


def assert_same_map(found, expected):
    np.testing.assert_array_equal(found.bands.compute(), expected.bands.compute())
    assert found.bands.dtype == np.float32
    assert found.band_names == expected.band_names
    assert found.grid.to_dict() == expected.grid.to_dict()
    assert found.parameters == expected.parameters
    assert found.provenance == expected.provenance


AXES = [
    (("y", "x"), (UM, UM)),
    (("-2", "-1"), ("pixel",) * 2),
    (("t", "y", "x"), ("second", UM, UM)),
    (("q", "row", "column"), ("pixel",) * 3),
    (("c", "z", "y", "x"), ("pixel", UM, UM, UM)),
    (("-3", "-2", "-1"), (UM,) * 3),
    (("t", "c", "z", "y", "x"), ("millisecond", "pixel", "nanometer", UM, UM)),
]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("ending", ENDINGS)
@given(data=st.data())
def test_map_comes_back_as_it_was(ending, tmp_path, data):
    labels, units = data.draw(st.sampled_from(AXES))
    shape = [data.draw(st.integers(1, 7)) for _ in labels]
    spacing = [data.draw(st.sampled_from([1, 0.5, 3])) for _ in labels]
    grid = Grid.from_spacing(shape, spacing, -2.5, axis_labels=labels, units=units)
    bands = (
        ("ncc",)
        if {"c", "q"} & set(labels) or "pixel" in units  # the radius is a length
        else data.draw(st.sampled_from([("ncc",), ("ncc", "confidence"), ("shift",)]))
    )
    chunks = (1, *(data.draw(st.integers(1, n)) for n in shape))
    written = make_map(grid, bands=bands, chunks=chunks)
    assert_same_map(read_map(write_map(written, tmp_path / f"a{ending}", overwrite=True)), written)


@pytest.mark.parametrize("ending", ENDINGS)
def test_rotated_grid_and_registration_come_back(ending, tmp_path):
    turned = np.array([[0.6, -0.8, 3], [0.8, 0.6, -1], [0, 0, 1]])
    grid = Grid((20, 30), turned, (UM, UM))
    nan = np.array(np.nan)
    registration = Registration("translation", np.eye(3) + turned / 7, grid, nan, nan, nan)
    registration = Registration.from_dict(
        {**registration.to_dict(), "matrix": [[1, 0, 0.1], [0, 1, 1 / 3], [0, 0, 1]]}
    )
    written = make_map(grid, registration=registration)
    found = read_map(write_map(written, tmp_path / f"a{ending}"))
    assert_same_map(found, written)
    assert found.registration.to_dict() == registration.to_dict()


def test_ome_zarr_map_is_valid_for_other_tools(tmp_path):
    grid = Grid.from_spacing((3, 600, 520), (2, 0.5, 0.25), 1, units=("s", "um", "um"),
                             axis_labels=("t", "-2", "-1"))  # fmt: skip
    path = write_map(make_map(grid, bands=("ncc", "confidence")), tmp_path / "a.ome.zarr")
    yaozarrs.validate_zarr_store(path)
    metadata = yaozarrs.open_group(path).ome_metadata()
    axes = [(axis.name, axis.type, axis.unit) for axis in metadata.multiscales[0].axes]
    assert axes == [("t", "time", "second"), ("c", "channel", None),
                    ("y", "space", UM), ("x", "space", UM)]  # fmt: skip
    channels = metadata.omero.channels
    assert [channel.label for channel in channels] == ["ncc", "confidence"]
    assert [(c.window.start, c.window.end) for c in channels] == [(-1, 1), (0, 1)]
    assert zarr.open_array(path / "0").chunks == (1, 1, 600, 520)
    image = read_image(path, select={"c": 0}, level=1)
    assert image.grid.shape == (3, 300, 260)
    np.testing.assert_allclose(image.grid.spacing, (2, 1, 0.5))
    np.testing.assert_allclose(image.grid.origin, (1, 1.25, 1.125))


def test_pyramid_level_is_the_mean_of_defined_samples_where_they_lie(tmp_path):
    grid = Grid.from_spacing((1030, 700), (0.5, 2), (3, -7), units=("um", "um"))
    rows = (3 + 0.5 * np.arange(1030, dtype=np.float32))[:, None] + np.zeros((1, 700), np.float32)
    rows[:8, :8] = np.nan
    rows[20, 20:22] = rows[21, 20] = np.nan
    path = write_map(make_map(grid, values=rows[None]), tmp_path / "a.zarr")
    for level in (1, 2):
        image = read_image(path, level=level)
        values = image.data.compute()
        # a ramp whose value is its own world coordinate tells where a coarse pixel lies
        coordinate = image.grid.origin[0] + image.grid.spacing[0] * np.arange(len(values))
        assert np.isnan(values[: 8 >> level, : 8 >> level]).all()
        np.testing.assert_allclose(values[20:-2, 30], coordinate[20:-2], rtol=1e-6)
        assert np.isfinite(values[20 >> level, 20 >> level])
    assert read_image(path, level=1).data[10, 10] == rows[21, 21]
    assert read_image(path, level=2).grid.shape == (258, 175)


@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.tif"])
def test_own_channels_take_the_place_of_bands(ending, tmp_path):
    grid = Grid.from_spacing((2, 20, 30), axis_labels=("c", "y", "x"), units=("px", "um", "um"))
    path = write_map(make_map(grid), tmp_path / f"a{ending}")
    assert read_image(path).grid.axis_labels == ("c", "y", "x")
    with pytest.raises(ValueError, match=r"bands \('ncc', 'confidence'\).*write .npy instead"):
        write_map(make_map(grid, bands=("ncc", "confidence")), tmp_path / f"b{ending}")
    assert names_in(tmp_path) == {path.name}


def test_tiff_map_has_sizes_units_and_channel_names(tmp_path):
    grid = Grid.from_spacing((20, 30), (0.5, 0.25), units=("um", "nm"), axis_labels=("y", "x"))
    path = write_map(make_map(grid, bands=("ncc", "confidence")), tmp_path / "a.tif")
    image = read_image(path)
    assert image.grid.units == ("pixel", UM, "nanometer")
    np.testing.assert_allclose(image.grid.spacing, (1, 0.5, 0.25))
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
        assert 'Name="confidence"' in tif.ome_metadata


@pytest.mark.parametrize("how", [{"compression": "zlib"}, {"tile": (16, 16)}])
def test_tiff_map_that_another_program_wrote_anew_is_read(how, tmp_path):
    made = make_map(Grid((20, 30)), bands=("ncc", "confidence"))
    path = write_map(made, tmp_path / "a.tif")
    with tifffile.TiffFile(path) as tif:
        pixels, told = tif.asarray(), tif.ome_metadata.encode()
    tifffile.imwrite(path, pixels, description=told, photometric="minisblack", metadata=None, **how)
    np.testing.assert_array_equal(read_map(path).bands, made.bands)
    np.testing.assert_array_equal(read_image(path).data, made.bands)


def test_npy_map_is_plain_numpy_with_a_text_beside_it(tmp_path):
    written = make_map(Grid((4, 5)))
    write_map(written, tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), written["ncc"])
    assert json.loads((tmp_path / "a.npy.json").read_text(encoding="utf-8"))["band_names"] == [
        "ncc"
    ]


@pytest.mark.parametrize("ending", ENDINGS)
def test_image_is_not_taken_for_a_map(ending, tmp_path):
    path = write_map(make_map(Grid((20, 30))), tmp_path / f"a{ending}")
    if ending == ".ome.zarr":
        del zarr.open_group(path).attrs[KEY]
    elif ending == ".npy":
        (tmp_path / "a.npy.json").unlink()
    else:
        tifffile.imwrite(path, GREY)
    with pytest.raises(ValueError, match="it holds no map written by napari-local-ncc"):
        read_map(path)


def test_missing_map(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_map(tmp_path / "a.zarr")


# ---------------------------------------------------------------- completely or not at all


def fail_at_the_end(block, block_info=None):
    if block_info[0]["chunk-location"][-1] == 3:
        raise RuntimeError("no more")
    return block


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("end", ["error", "cancel", "interrupt"])
def test_unfinished_map_leaves_what_was_there(end, ending, tmp_path):
    old = make_map(Grid((8, 40)))
    path = write_map(old, tmp_path / f"a{ending}")
    before = names_in(tmp_path)
    new = make_map(Grid((8, 40)), chunks=(1, 8, 10))
    failing = new.bands.map_blocks(fail_at_the_end, dtype=np.float32)
    if end == "error":
        new = ConfidenceMap(failing, *(getattr(new, f) for f in new.__slots__[1:]))
        with pytest.raises(RuntimeError, match="no more"):
            write_map(new, path, overwrite=True)
    else:
        steps = iter_write_map(new, path, overwrite=True)
        next(steps)
        assert len(names_in(tmp_path) - before) == 1
        if end == "cancel":
            steps.close()
        else:
            with pytest.raises(KeyboardInterrupt):
                steps.throw(KeyboardInterrupt())
    assert names_in(tmp_path) == before
    assert_same_map(read_map(path), old)


@pytest.mark.parametrize("ending", ENDINGS)
def test_old_map_survives_if_the_new_one_cannot_take_its_place(ending, tmp_path, monkeypatch):
    old = make_map(Grid((8, 40)))
    path = write_map(old, tmp_path / f"a{ending}")

    def refuse(source, target, *, move):
        if Path(target) == path and "replaced" not in Path(source).name:
            raise PermissionError("in use")
        move(source, target)

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, partial(refuse, move=getattr(os, name)))
    with pytest.raises(PermissionError, match="in use"):
        write_map(make_map(Grid((8, 40))), path, overwrite=True)
    assert_same_map(read_map(path), old)
    assert names_in(tmp_path) <= {f"a{ending}", "a.npy.json"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_tiles_are_told_as_they_are_written(ending, tmp_path):
    new = make_map(Grid((8, 40)), chunks=(1, 8, 10))
    path = write_map(make_map(Grid((8, 40))), tmp_path / f"a{ending}")
    tiles = list(iter_write_map(new, path, overwrite=True, threads=1))
    assert [(tile.done, tile.total) for tile in tiles] == [(k, 4) for k in (1, 2, 3, 4)]
    assert_same_map(read_map(path), new)
    assert names_in(tmp_path) <= {f"a{ending}", "a.npy.json"}


def test_existing_output_is_kept_unless_told(tmp_path):
    path = write_map(make_map(Grid((4, 5))), tmp_path / "a.npy")
    with pytest.raises(FileExistsError, match=r"a.npy exists; choose another name"):
        check_output(path, overwrite=False)
    assert check_output(path, overwrite=True) == path


def test_folder_that_is_no_zarr_is_never_replaced(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    assert check_output(tmp_path / "a.zarr", overwrite=True)
    (tmp_path / "a.zarr" / "thesis.docx").touch()
    with pytest.raises(FileExistsError, match="a folder with other things in it"):
        check_output(tmp_path / "a.zarr", overwrite=True)


@pytest.mark.parametrize("name", ["map.jpg", "map", "map.zip"])
def test_unknown_ending_lists_the_known_ones(name, tmp_path):
    with pytest.raises(ValueError, match=r"give .ome.zarr, .ome.tif, .tif or .npy"):
        check_output(tmp_path / name, overwrite=False)


def test_folder_of_the_output_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none; create it first"):
        check_output(tmp_path / "none" / "a.npy", overwrite=False)


def test_folder_of_the_output_must_be_writable(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(PermissionError, match="cannot be written to"):
        check_output(tmp_path / "a.npy", overwrite=False)


def test_map_larger_than_the_disk_is_refused(tmp_path):
    grid = Grid((2**22, 2**22))
    huge = ConfidenceMap(
        da.zeros((1, *grid.shape), dtype="f4"), ("ncc",), grid, NCCParameters(), None, {}
    )
    with pytest.raises(OSError, match=r"needs 64.00 TiB, but its disk has"):
        write_map(huge, tmp_path / "a.npy")
    assert not names_in(tmp_path)


# ---------------------------------------------------------------- volumes of other programs


def turned_map(ndim, bands=("ncc",), units="um"):
    """Make a map of random images on a grid that is turned."""
    rng = np.random.default_rng(3)
    shape = (12, 14, 16)[-ndim:]
    matrix = np.eye(ndim + 1)
    matrix[-3:-1, -3:-1] = [[0.8, -0.6], [0.6, 0.8]]
    matrix[:-1, :-1] *= (3, 0.5, 0.25)[-ndim:]
    matrix[:-1, -1] = (1, 2, 3)[-ndim:]
    grid = Grid(shape, matrix, units=(units,) * ndim, axis_labels=("z", "y", "x")[-ndim:])
    images = [SpatialImage.from_array(rng.normal(size=shape)).replace(grid=grid) for _ in "ab"]
    return confidence_map(*images, parameters=NCCParameters(radius=2, bands=bands, search=1))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(("ndim", "bands"), [(3, ("ncc",)), (2, ("ncc",)), (2, ("ncc", "shift"))])
def test_volume_lies_where_itk_says(ending, ndim, bands, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    result = turned_map(ndim, bands)
    write_map(result, tmp_path / f"a{ending}")
    again = read_map(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(again.bands.compute(), result.bands.compute())
    np.testing.assert_allclose(again.grid.pixel_to_world, result.grid.pixel_to_world)
    image = sitk.ReadImage(str(tmp_path / f"a{ending}"))
    place = np.arange(1, ndim + 1)
    ours = (result.grid.pixel_to_world @ [*place, 1])[:-1] / 1000  # µm, and mm
    theirs = image.TransformIndexToPhysicalPoint(place[::-1].tolist())
    np.testing.assert_allclose(theirs[:ndim][::-1], ours, rtol=1e-5, atol=1e-9)
    assert image.GetNumberOfComponentsPerPixel() == len(result.band_names)


def test_moved_image_as_a_volume_comes_back(tmp_path):
    pytest.importorskip("SimpleITK")
    grid = turned_map(3).grid
    image = SpatialImage.from_array(np.arange(12 * 14 * 16, dtype="u2").reshape(12, 14, 16))
    for _ in iter_write_image(image.replace(grid=grid), tmp_path / "a.nii.gz"):
        pass
    read = read_image(tmp_path / "a.nii.gz")
    assert read.data.dtype == np.uint16
    np.testing.assert_array_equal(read.data, image.data)
    in_mm = grid.in_units(("millimeter",) * 3)
    np.testing.assert_allclose(read.grid.pixel_to_world, in_mm.pixel_to_world, rtol=1e-5, atol=1e-9)


def test_what_a_volume_cannot_hold_is_said(tmp_path):
    sheared = turned_map(2)
    matrix = sheared.grid.pixel_to_world.copy()
    matrix[0, 1] += 0.3
    grid = sheared.grid.replace(pixel_to_world=matrix)
    with pytest.raises(ValueError, match="sheared, which NIfTI, NRRD and MHA cannot say; write"):
        check_layout(tmp_path / "a.mha", grid, sheared.parameters)


def test_channels_of_several_bands_have_colours_of_their_own(tmp_path):
    result = turned_map(2, ("ncc", "shift"))
    flat = Grid.from_spacing(result.grid.shape, axis_labels=("y", "x"))
    result = replace(result, grid=flat)
    write_map(result, tmp_path / "a.ome.zarr")
    channels = zarr.open_group(tmp_path / "a.ome.zarr").attrs["ome"]["omero"]["channels"]
    assert [channel["label"] for channel in channels] == list(result.band_names)
    assert len({channel["color"] for channel in channels}) == len(channels)
    windows = [(channel["window"]["start"], channel["window"]["end"]) for channel in channels]
    assert windows[0] == (-1, 1)
    write_map(result, tmp_path / "a.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        told = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]["Channel"]
    assert [channel["Name"] for channel in told] == list(result.band_names)
    hexes = [(channel["Color"] & 0xFFFFFFFF) >> 8 for channel in told]
    assert [f"{value:06X}" for value in hexes] == [channel["color"] for channel in channels]


# ---------------------------------------------------------------- classes


@pytest.mark.parametrize("ending", ENDINGS)
def test_documents_are_json_to_those_who_know_no_nan(ending, tmp_path):
    written = make_map(Grid((8, 9), units=(UM,) * 2))
    told = {"software": "x 1", "exposure": {"gain": np.nan, "of": [1.5, -np.inf, None]}}
    path = write_map(replace(written, provenance=told), tmp_path / f"a{ending}")
    documents = {
        ".npy": lambda: Path(f"{path}.json").read_text("utf-8"),
        ".ome.zarr": lambda: (path / "zarr.json").read_text("utf-8"),
        ".ome.tif": lambda: re.search(r"{.*}", unescape(tifffile.tiffcomment(path)))[0],
    }
    json.loads(documents[ending](), parse_constant=pytest.fail)
    assert read_map(path).provenance["exposure"] == {"gain": None, "of": [1.5, None, None]}


def test_classes_are_a_label_image_that_others_show(tmp_path):
    rng = np.random.default_rng(5)
    fixed = rng.normal(size=(3, 20, 700))
    place = {"spacing": (2, 0.5, 0.5), "origin": (1, 2, 3), "units": ("um",) * 3,
             "axis_labels": ("z", "y", "x")}  # fmt: skip
    images = [SpatialImage.from_array(a, **place) for a in (fixed, rng.normal(size=fixed.shape))]
    parameters = NCCParameters(radius=(0, 2, 2), search=1, bands=("ncc", "shift", "classes"))
    result = confidence_map(*images, parameters=parameters)
    write_map(result, tmp_path / "a.ome.zarr")
    codes = result["classes"].compute()
    assert len(np.unique(codes)) > 1
    group = zarr.open_group(tmp_path / "a.ome.zarr/labels", mode="r")
    assert group.attrs["ome"]["labels"] == ["classes"]
    yaozarrs.validate_zarr_store(str(tmp_path / "a.ome.zarr/labels/classes"))
    told = group["classes"].attrs["ome"]["image-label"]
    assert json.dumps([c["label-value"] for c in told["colors"]]) == "[1, 2, 3, 4, 5]"
    assert [p["class"] for p in told["properties"]] == list(CLASSES[1:])
    assert told["source"] == {"image": "../../"}
    labels = read_image(tmp_path / "a.ome.zarr/labels/classes")
    assert labels.data.dtype == np.uint8
    np.testing.assert_array_equal(labels.data, codes)
    np.testing.assert_allclose(labels.grid.pixel_to_world, result.grid.pixel_to_world)
    coarse = read_image(tmp_path / "a.ome.zarr/labels/classes", level=1)
    steps = np.rint(coarse.grid.spacing / labels.grid.spacing).astype(int)
    np.testing.assert_array_equal(coarse.data, codes[tuple(slice(None, None, k) for k in steps)])
    np.testing.assert_allclose(coarse.grid.origin, labels.grid.origin)
    np.testing.assert_array_equal(read_map(tmp_path / "a.ome.zarr")["classes"], codes)


def test_maps_without_classes_have_no_labels(tmp_path):
    write_map(turned_map(2, ("ncc",)), tmp_path / "a.ome.zarr")
    assert not (tmp_path / "a.ome.zarr/labels").exists()

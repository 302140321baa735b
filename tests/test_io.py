"""Image files: what is read lies where the file says."""

import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from imageio.v3 import imwrite as write_picture
from yaozarrs import DimSpec, v04, v05
from yaozarrs.write.v05 import write_bioformats2raw, write_image

from napari_local_ncc.image.luminance import luminance
from napari_local_ncc.io import read_image

RNG = np.random.default_rng(7)
PAGES = RNG.integers(0, 2**16, (3, 2, 20, 30), dtype=np.uint16)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
ALPHA = (GREY > 100).astype(np.uint8) * 255
OME = {
    "PhysicalSizeX": 0.1,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 200,
    "PhysicalSizeYUnit": "nm",
    "PhysicalSizeZ": 1.5,
    "TimeIncrement": 5,
    "TimeIncrementUnit": "ms",
}
UM = "micrometer"


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---------------------------------------------------------------- TIFF

TIFFS = {
    # name: (how it is written, labels, spacing, units, order of the axes of PAGES)
    "plain": ({"metadata": None}, "qyx", (1, 1, 1), ("pixel",) * 3, None),
    "dots per inch": (
        {"metadata": {"axes": "TCYX"}, "resolution": (300, 300), "resolutionunit": "INCH"},
        "tcyx", (1, 1, 1, 1), ("pixel",) * 4, (0, 1, 2, 3),
    ),
    "per centimetre": (
        {"metadata": {"axes": "CZYX"}, "resolution": (9e4, 9e4), "resolutionunit": "CENTIMETER"},
        "czyx", (1, 1, 1, 1), ("pixel",) * 4, (0, 1, 2, 3),
    ),
    "ImageJ": (
        {
            "imagej": True,
            "metadata": {"axes": "TZYX", "unit": "\\u00B5m", "spacing": 2.5, "finterval": 3},
            "resolution": (4, 5),
        },
        "tzyx", (3, 2.5, 0.2, 0.25), ("second", UM, UM, UM), (0, 1, 2, 3),
    ),
    "ImageJ without a unit": (
        {"imagej": True, "metadata": {"axes": "TCYX"}, "resolution": (4, 5)},
        "tcyx", (1, 1, 1, 1), ("pixel",) * 4, (0, 1, 2, 3),
    ),
    "ImageJ in inches": (
        {"imagej": True, "metadata": {"axes": "TCYX", "unit": "inch"}, "resolution": (96, 96)},
        "tcyx", (1, 1, 1, 1), ("pixel",) * 4, (0, 1, 2, 3),
    ),
    "OME": (
        {"ome": True, "metadata": {"axes": "TZYX", **OME}},
        "tzyx", (5, 1.5, 200, 0.1), ("millisecond", UM, "nanometer", UM), (0, 1, 2, 3),
    ),
    "OME, space before channels": (
        {"ome": True, "metadata": {"axes": "ZCYX", **OME}, "compression": "zlib"},
        "czyx", (1, 1.5, 200, 0.1), ("pixel", UM, "nanometer", UM), (1, 0, 2, 3),
    ),
    "OME, tiled, big-endian": (
        {"ome": True, "metadata": {"axes": "TCYX"}, "tile": (16, 16), "byteorder": ">"},
        "tcyx", (1, 1, 1, 1), ("pixel",) * 4, (0, 1, 2, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TIFFS)
def test_tiff_comes_with_its_grid(case, tmp_path):
    options, labels, spacing, units, order = TIFFS[case]
    tifffile.imwrite(tmp_path / "image.tif", PAGES, **options)
    image = read_image(tmp_path / "image.tif")
    expected = PAGES.reshape(6, 20, 30) if order is None else PAGES.transpose(order)
    np.testing.assert_array_equal(image.data.compute(), expected)
    assert image.data.dtype == np.uint16
    assert image.name == "image.tif"
    assert "".join(image.grid.axis_labels) == labels
    assert image.grid.units == units
    np.testing.assert_allclose(image.grid.spacing, spacing)
    assert image.grid.spatial == tuple(label in "zyx" for label in labels)


def test_unknown_tiff_axes_stay_apart(tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", PAGES)
    grid = read_image(tmp_path / "image.tif").grid
    assert grid.axis_labels == ("q", "q2", "y", "x")
    assert grid.spatial == (False, False, True, True)


def test_five_samples_are_channels(tmp_path):
    samples = RNG.integers(0, 9, (20, 30, 5), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack", planarconfig="contig")
    image = read_image(tmp_path / "a.tif")
    assert image.grid.axis_labels == ("c", "y", "x")
    np.testing.assert_array_equal(image.data, samples.transpose(2, 0, 1))


def test_mask_of_single_bits(tmp_path):
    tifffile.imwrite(tmp_path / "mask.tif", ALPHA > 0)
    image = read_image(tmp_path / "mask.tif")
    assert image.data.dtype == bool
    np.testing.assert_array_equal(image.data, ALPHA > 0)


def write_pyramid(path):
    full = RNG.integers(0, 256, (2, 1025, 1100), dtype=np.uint8)
    options = {"tile": (256, 256), "compression": "zlib"}
    with tifffile.TiffWriter(path, ome=True) as tif:
        metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        tif.write(full, subifds=2, metadata=metadata, **options)
        for level in (1, 2):
            tif.write(full[:, :: 2**level, :: 2**level], subfiletype=1, **options)
    return full


def test_tiff_pyramid_levels_cover_the_same_place(tmp_path):
    full = write_pyramid(tmp_path / "a.ome.tif")
    image = read_image(tmp_path / "a.ome.tif", level=2)
    np.testing.assert_array_equal(image.data, full[:, ::4, ::4])
    np.testing.assert_allclose(image.grid.spacing, (1, 2, 2))
    np.testing.assert_allclose(image.grid.origin, (0, 0.75, 0.75))


def test_tiles_are_read_alone_and_strips_whole(tmp_path):
    write_pyramid(tmp_path / "tiled.tif")
    assert read_image(tmp_path / "tiled.tif").data.chunksize == (1, 1024, 1024)
    plane = np.zeros((1200, 1000), np.uint8)
    tifffile.imwrite(tmp_path / "strips.tif", plane, rowsperstrip=100, compression="zlib")
    assert read_image(tmp_path / "strips.tif").data.chunksize == (1000, 1000)
    tifffile.imwrite(tmp_path / "one.tif", plane, rowsperstrip=1200, compression="zlib")
    assert read_image(tmp_path / "one.tif").data.chunksize == (1200, 1000)
    tifffile.imwrite(tmp_path / "raw.tif", plane)
    assert read_image(tmp_path / "raw.tif").data.chunksize == (1024, 1000)


@pytest.mark.parametrize("name", ["raw.tif", "packed.tif", "a.npy", "a.zarr"])
def test_graph_travels_to_other_processes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "a.zarr":
        zarr.create_array(name, data=PAGES)
    elif name == "a.npy":
        np.save(name, PAGES)
    else:
        tifffile.imwrite(name, PAGES, compression="zlib" if name == "packed.tif" else None)
    sent = pickle.dumps(read_image(name).data)
    assert len(sent) < 5000
    elsewhere = (
        "import os, pickle, sys; os.chdir('/');"
        "print(pickle.load(sys.stdin.buffer).compute(scheduler='sync').sum(dtype='i8'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", elsewhere], input=sent, capture_output=True, check=True
    )
    assert int(run.stdout) == PAGES.sum(dtype="i8")


def test_file_written_anew_is_read_anew(tmp_path):
    for value in (1, 2):
        np.save(tmp_path / "a.npy", np.full((4, 4 + value), value))
        assert read_image(tmp_path / "a.npy").data.max().compute() == value


# ---------------------------------------------------------------- colour


@given(st.sampled_from(["u1", "u2", "i4", "f4"]), st.integers(0, 2**24), st.sampled_from([3, 4]))
def test_luminance_of_grey_is_exactly_that_grey(dtype, value, samples):
    value = value % np.iinfo(dtype).max if dtype[0] in "ui" and dtype != "i4" else value
    colour = da.from_array(np.full((2, 3, samples), max(value, 1), dtype), chunks=(2, 2, 1))
    grey = luminance(colour)
    assert grey.dtype == np.float32
    np.testing.assert_array_equal(grey.compute(), np.full((2, 3), max(value, 1), np.float32))


def test_luminance_weighs_as_scikit_image_does():
    from skimage.color import rgb2gray

    colour = RNG.integers(0, 256, (3, 20, 30), dtype=np.uint8)
    grey = luminance(da.from_array(colour, chunks=(2, 9, 30)), channel_axis=0)
    expected = 255 * rgb2gray(colour, channel_axis=0)
    np.testing.assert_allclose(grey.compute(), expected, atol=1e-4)


def test_luminance_of_five_channels_is_refused():
    with pytest.raises(ValueError, match="1 to 4 samples, but axis 2 has 5"):
        luminance(da.zeros((3, 3, 5)))


COLOURS = {
    "grey": (GREY, False),
    "RGB": (np.dstack([GREY] * 3), False),
    "RGBA": (np.dstack([GREY] * 3 + [ALPHA]), True),
    "grey and alpha": (np.dstack([GREY, ALPHA]), True),
}


@pytest.mark.parametrize("ending", [".png", ".tif", " planar.tif"])
@pytest.mark.parametrize("kind", COLOURS)
def test_colour_becomes_luminance_and_transparent_nan(kind, ending, tmp_path):
    samples, transparent = COLOURS[kind]
    path = tmp_path / f"a{ending}"
    if ending == ".png":
        write_picture(path, samples)
    elif samples.ndim == 2:
        tifffile.imwrite(path, samples)
    else:
        planar = "planar" in ending
        tifffile.imwrite(
            path,
            np.moveaxis(samples, -1, 0) if planar else samples,
            photometric="rgb" if samples.shape[-1] > 2 else "minisblack",
            planarconfig="separate" if planar else "contig",
            extrasamples=["unassalpha"] if transparent else [],
        )
    image = read_image(path)
    expected = np.where(ALPHA == 0, np.nan, GREY) if transparent else GREY
    np.testing.assert_array_equal(image.data.compute(), expected)
    assert image.grid.axis_labels == ("y", "x")
    assert image.grid.units == ("pixel", "pixel")


def test_printed_colours_are_turned_to_rgb_first(tmp_path):
    cyan_magenta_yellow_black = np.zeros((8, 8, 4), np.uint8)
    write_picture(tmp_path / "a.jpg", cyan_magenta_yellow_black, mode="CMYK")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").data, np.full((8, 8), 255))


def test_colour_channel_can_be_selected(tmp_path):
    samples = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_picture(tmp_path / "a.png", samples)
    image = read_image(tmp_path / "a.png", select={"c": 1})
    np.testing.assert_array_equal(image.data, samples[..., 1])
    assert image.data.dtype == np.uint8


# ---------------------------------------------------------------- axes


def test_select_takes_one_index_of_an_axis(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PAGES, ome=True, metadata={"axes": "ZCYX", **OME})
    image = read_image(tmp_path / "a.tif", select={"C": 1, "z": 2}, name="x")
    np.testing.assert_array_equal(image.data, PAGES[2, 1])
    assert image.grid.axis_labels == ("y", "x")
    assert image.name == "x"


@pytest.mark.parametrize("select", [{"w": 0}, {"c": 2}, {"c": -1}])
def test_select_names_the_axes_there_are(select, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PAGES, ome=True, metadata={"axes": "ZCYX"})
    with pytest.raises(ValueError, match=r"a.tif: cannot .* z \(3\), c \(2\), y \(20\), x \(30\)"):
        read_image(tmp_path / "a.tif", select=select)


@pytest.mark.parametrize("shape", [(1, 1, 20, 30), (1, 20, 30), (20, 30)])
def test_axes_of_length_one_are_dropped(shape, tmp_path):
    np.save(tmp_path / "a.npy", GREY.reshape(shape))
    grid = read_image(tmp_path / "a.npy").grid
    assert grid.shape == (20, 30)
    assert grid.axis_labels == ("-2", "-1")


def test_a_single_row_stays_an_axis(tmp_path):
    np.save(tmp_path / "a.npy", GREY[:1])
    assert read_image(tmp_path / "a.npy").grid.shape == (1, 30)


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a.astype(">u2")])
def test_npy_in_any_layout(layout, tmp_path):
    np.save(tmp_path / "a.npy", layout(PAGES))
    image = read_image(tmp_path / "a.npy")
    assert image.data.dtype.isnative
    assert image.grid.spatial == (True,) * 4
    np.testing.assert_array_equal(image.data, PAGES)


# ---------------------------------------------------------------- Zarr

DIMS = [
    DimSpec(name="t", size=3, scale=5, unit="second", type="time"),
    DimSpec(name="c", size=2, type="channel"),
    DimSpec(name="y", size=20, scale=0.5, unit=UM, translation=7),
    DimSpec(name="x", size=30, scale=0.25, unit=UM),
]


def check_ome_zarr(path):
    image = read_image(path)
    np.testing.assert_array_equal(image.data, PAGES)
    assert image.grid.axis_labels == ("t", "c", "y", "x")
    assert image.grid.units == ("second", "pixel", UM, UM)
    assert image.grid.spatial == (False, False, True, True)
    np.testing.assert_allclose(image.grid.spacing, (5, 1, 0.5, 0.25))
    np.testing.assert_allclose(image.grid.origin, (0, 0, 7, 0))


def test_ome_zarr_0_5(tmp_path):
    image = v05.Image(multiscales=[v05.Multiscale.from_dims(DIMS)])
    write_image(tmp_path / "a.ome.zarr", image, PAGES, writer="zarr")
    check_ome_zarr(tmp_path / "a.ome.zarr")


def test_ome_zarr_0_4(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=PAGES)
    multiscale = v04.Multiscale.from_dims(DIMS).model_dump(mode="json", exclude_none=True)
    group.attrs["multiscales"] = [{**multiscale, "version": "0.4"}]
    check_ome_zarr(tmp_path / "a.zarr")


def test_bioformats2raw_gives_its_first_image(tmp_path):
    image = v05.Image(multiscales=[v05.Multiscale.from_dims(DIMS)])
    write_bioformats2raw(tmp_path / "a.zarr", {"0": (image, [PAGES])}, writer="zarr")
    check_ome_zarr(tmp_path / "a.zarr")


def test_ome_zarr_transform_of_all_levels_is_applied_last(tmp_path):
    multiscale = v05.Multiscale.from_dims(DIMS).model_copy(
        update={
            "coordinateTransformations": [
                v05.ScaleTransformation(scale=[1, 1, 2, 2]),
                v05.TranslationTransformation(translation=[0, 0, 1, 0]),
            ]
        }
    )
    write_image(tmp_path / "a.zarr", v05.Image(multiscales=[multiscale]), PAGES, writer="zarr")
    grid = read_image(tmp_path / "a.zarr").grid
    np.testing.assert_allclose(grid.spacing, (5, 1, 1, 0.5))
    np.testing.assert_allclose(grid.origin, (0, 0, 15, 0))


@pytest.mark.parametrize(
    ("options", "labels", "spatial"),
    [
        ({"zarr_format": 2}, ("-3", "-2", "-1"), (True, True, True)),
        ({"zarr_format": 3}, ("-3", "-2", "-1"), (True, True, True)),
        ({"dimension_names": ("y", "x", "t")}, ("t", "y", "x"), (False, True, True)),
    ],
)
def test_plain_zarr_array(options, labels, spatial, tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=PAGES[0], **options)
    image = read_image(tmp_path / "a.zarr")
    assert image.grid.axis_labels == labels
    assert image.grid.spatial == spatial
    np.testing.assert_array_equal(
        image.data, PAGES[0].transpose(2, 0, 1) if "t" in labels else PAGES[0]
    )


# ---------------------------------------------------------------- what cannot be read


def write_cut_tiff(path):
    tifffile.imwrite(path, PAGES)
    path.write_bytes(path.read_bytes()[: PAGES.nbytes // 2])


def write_cut_compressed_tiff(path):
    tifffile.imwrite(path, PAGES, compression="zlib", metadata=None)
    path.write_bytes(path.read_bytes()[:-200])


def write_cut_npy(path):
    np.save(path, PAGES)
    path.write_bytes(path.read_bytes()[:500])


def write_cut_png(path):
    write_picture(path, GREY)
    path.write_bytes(path.read_bytes()[:100])


UNREADABLE = {
    "text.tif": (lambda path: path.write_text("hello", encoding="utf-8"), "readable are TIFF"),
    "table.csv": (lambda path: path.write_text("1,2", encoding="utf-8"), "readable are TIFF"),
    "empty.tif": (lambda path: path.touch(), "0 bytes"),
    "header.tif": (lambda path: path.write_bytes(b"II*\x00\x08"), "readable are TIFF"),
    "cut.tif": (write_cut_tiff, "cannot read"),
    "cut2.tif": (write_cut_compressed_tiff, "cut off|cannot read"),
    "cut.npy": (write_cut_npy, "cannot read"),
    "cut.png": (write_cut_png, "cannot read"),
    "archive.npz": (lambda path: np.savez(path, a=GREY), "readable are TIFF"),
    "no_pixels.npy": (lambda path: np.save(path, PAGES[:0]), "the image is empty"),
    "folder": (lambda path: path.mkdir(), "readable are TIFF"),
    "folder.zarr": (lambda path: path.mkdir(), "readable are TIFF"),
    "group.zarr": (lambda path: zarr.open_group(path, mode="w"), "not of an OME-Zarr image"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_file_is_named_with_the_reason(name, tmp_path):
    write, reason = UNREADABLE[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=reason) as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none.tif"):
        read_image(tmp_path / "none.tif")


@pytest.mark.parametrize("values", [GREY * 1j, np.array([[{}]]), np.array([["a"]])])
def test_samples_that_are_no_real_numbers(values, tmp_path):
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(TypeError, match=r"a.npy holds .* values"):
        read_image(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.png", "a.tif", "a.zarr"])
def test_level_that_is_not_there(name, tmp_path):
    write = {"a.npy": np.save, "a.png": write_picture, "a.tif": tifffile.imwrite}
    if name == "a.zarr":
        zarr.create_array(tmp_path / name, data=GREY)
    else:
        write[name](tmp_path / name, GREY)
    with pytest.raises(ValueError, match=r"no level 1; its levels are 0 to 0"):
        read_image(tmp_path / name, level=1)


@pytest.mark.skipif(importlib.util.find_spec("imagecodecs") is not None, reason="has the codec")
def test_missing_codec_says_what_to_install(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        tif.pages[0].tags["Compression"].overwrite(5)  # LZW
    with pytest.raises(ValueError, match="pip install imagecodecs"):
        read_image(tmp_path / "a.tif")

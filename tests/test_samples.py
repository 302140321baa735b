"""The same picture in any format, by any tag, is the same image; what is no sample is NaN."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_local_ncc import confidence_map, read_image
from napari_local_ncc.image.read_guard import ReadNote

RNG = np.random.default_rng(5)
GREY = np.round(np.cumsum(RNG.normal(size=(40, 52)), axis=1) * 4 + 128).clip(1, 254).astype("u1")
DEEP = GREY.astype(np.uint16) * 200 + RNG.integers(0, 200, GREY.shape, dtype=np.uint16)
ORIENTATION = 274


def alike(image, truth):
    """Say how alike an image is to what it shows, and whether all of it is there."""
    samples = image.data.compute().astype(float)
    assert samples.shape == truth.shape
    assert np.isfinite(samples).all()
    return np.corrcoef(samples.ravel(), truth.ravel())[0, 1]


def tiff_with(path, samples, photometric, tags=None, **options):
    """Write a TIFF, and change tags that its writer keeps to itself."""
    tifffile.imwrite(path, samples, photometric=photometric, metadata=None, **options)
    if tags:
        with tifffile.TiffFile(path, mode="r+") as tif:
            for name, value in tags.items():
                tif.pages[0].tags[name].overwrite(value)
    return path


def without_tag(path, code):
    """Rename a tag so that nobody finds it."""
    content = bytearray(path.read_bytes())
    start = struct.unpack("<I", content[4:8])[0]
    for k in range(struct.unpack("<H", content[start : start + 2])[0]):
        place = start + 2 + 12 * k
        if struct.unpack("<H", content[place : place + 2])[0] == code:
            struct.pack_into("<H", content, place, 60000)
    path.write_bytes(content)


def lab_of(grey):
    from skimage.color import rgb2lab

    return rgb2lab(np.dstack([grey / 255] * 3))[..., 0]


def shuffled_palette():
    grey_of = np.random.default_rng(3).permutation(256)
    return np.argsort(grey_of).astype(np.uint8)[GREY], np.stack([grey_of * 257] * 3).astype("u2")


PALETTE_INDEX, PALETTE = shuffled_palette()
NEUTRAL = np.full_like(GREY, 128)
ZERO = np.zeros_like(GREY)
L_STAR = np.round(lab_of(GREY) * 2.55).astype(np.uint8)
INTERPRETATIONS = {
    "grey": (GREY, "minisblack", {}, 1),
    "0 is white": (255 - GREY, "miniswhite", {}, 1),
    "0 is white, 16 bits": (65535 - DEEP, "miniswhite", {}, 0.999),
    "0 is white, tiled": (255 - GREY, "miniswhite", {"tile": (16, 16), "compression": "zlib"}, 1),
    "0 is white, float": (-GREY.astype("f4"), "miniswhite", {}, 1),
    "0 is white, signed": (-1 - GREY.astype("i2"), "miniswhite", {}, 1),
    "0 is white, opacity": (
        np.dstack([255 - GREY, ZERO + 255]), "miniswhite",
        {"extrasamples": ["unassalpha"], "planarconfig": "contig"}, 1,
    ),
    "colours": (np.dstack([GREY] * 3), "rgb", {}, 1),
    "colours, planes apart": (np.stack([GREY] * 3), "rgb", {"planarconfig": "separate"}, 1),
    "colour table": (PALETTE_INDEX, "palette", {"colormap": PALETTE}, 1),
    "inks": (np.dstack([255 - GREY] * 3 + [ZERO]), "separated", {}, 1),
    "black ink": (np.dstack([ZERO] * 3 + [255 - GREY]), "separated", {}, 1),
    "luma and chroma": (np.dstack([GREY, NEUTRAL, NEUTRAL]), "ycbcr", {}, 1),
    "CIE L*a*b*": (np.dstack([L_STAR, ZERO, ZERO]), "cielab", {}, 0.999),
    "L* alone": (L_STAR, "minisblack", {"tags": {"PhotometricInterpretation": 8}}, 0.999),
    "ICC L*a*b*": (np.dstack([L_STAR, NEUTRAL, NEUTRAL]), "icclab", {}, 0.999),
    "ITU L*a*b*": (np.dstack([L_STAR, ZERO, ZERO]), "itulab", {}, 0.999),
    "linear raw": (np.dstack([GREY] * 3), "linear_raw", {}, 1),
    "linear raw, one": (GREY, "minisblack", {"tags": {"PhotometricInterpretation": 34892}}, 1),
    "depth": (GREY, "depth_map", {}, 1),
    "opacity multiplied in": (
        np.dstack([GREY // 2 * 2 // 2, ZERO + 127]), "minisblack",
        {"extrasamples": ["assocalpha"], "planarconfig": "contig"}, 0.999,
    ),
    "a near infrared beside": (
        np.dstack([GREY] * 3 + [NEUTRAL - 128]), "rgb", {"extrasamples": ["unspecified"]}, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", INTERPRETATIONS)
@pytest.mark.filterwarnings("ignore::napari_local_ncc.image.read_guard.ReadNote")
def test_interpretation_of_samples_is_obeyed(case, tmp_path):
    samples, photometric, options, least = INTERPRETATIONS[case]
    image = read_image(tiff_with(tmp_path / "a.tif", samples, photometric, **options))
    assert image.grid.axis_labels == ("y", "x")
    assert alike(image, GREY) > least - 1e-9


def test_grey_through_colours_has_its_own_values(tmp_path):
    for case in ("colours", "colour table", "0 is white", "luma and chroma", "linear raw"):
        samples, photometric, options, _ = INTERPRETATIONS[case]
        image = read_image(tiff_with(tmp_path / f"{case}.tif", samples, photometric, **options))
        np.testing.assert_array_equal(image.data, GREY)


def test_both_ways_to_one_picture_agree_in_every_window(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY)
    tiff_with(tmp_path / "b.tif", PALETTE_INDEX, "palette", colormap=PALETTE)
    result = confidence_map(read_image(tmp_path / "a.tif"), read_image(tmp_path / "b.tif"))
    np.testing.assert_allclose(result["ncc"].compute(), 1, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("mode", ["palette", "miniswhite"])
def test_few_bits_per_sample(bits, mode, tmp_path):
    few = GREY >> (8 - bits)
    top = 2**bits - 1
    options = {}
    if mode == "palette":
        options["colormap"] = np.stack([np.arange(top, -1, -1) * (65535 // top)] * 3).astype("u2")
    stored = top - few
    path = tmp_path / "a.tif"
    try:
        if bits == 1 and mode == "miniswhite":
            Image.fromarray(few > 0).save(path)
            with tifffile.TiffFile(path, mode="r+") as tif:
                tif.pages[0].tags["PhotometricInterpretation"].overwrite(0)
            few = 1 - few
        else:
            tiff_with(path, stored.astype("u1"), mode, bitspersample=bits, **options)
    except (NotImplementedError, ValueError, ImportError):
        pytest.skip("tifffile cannot write it here")
    assert alike(read_image(path), few) > 1 - 1e-9


def test_a_mask_written_by_tifffile_is_read_as_it_was(tmp_path):
    tifffile.imwrite(tmp_path / "mask.tif", GREY > 128)  # it says "0 is white", not meaning it
    np.testing.assert_array_equal(read_image(tmp_path / "mask.tif").data, GREY > 128)


def test_display_colours_of_imagej_are_no_samples(tmp_path):
    green = np.zeros((3, 256), np.uint16)
    green[1] = np.arange(256) * 257
    tifffile.imwrite(tmp_path / "gfp.tif", GREY, imagej=True, colormap=green, photometric="palette")
    np.testing.assert_array_equal(read_image(tmp_path / "gfp.tif").data, GREY)


def test_chroma_counts_in_luminance(tmp_path):
    rgb = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    ycbcr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    tiff_with(tmp_path / "a.tif", rgb, "rgb")
    tiff_with(tmp_path / "b.tif", ycbcr, "ycbcr")
    a, b = (read_image(tmp_path / f"{name}.tif").data.compute() for name in "ab")
    assert np.abs(a - b).max() < 2.5  # both round to 8 bits


def test_colours_of_lab_count_in_luminance(tmp_path):
    from skimage.color import rgb2lab

    rgb = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    lab = rgb2lab(rgb / 255)
    stored = np.dstack([np.round(lab[..., 0] * 2.55), np.round(lab[..., 1:]) % 256]).astype("u1")
    tiff_with(tmp_path / "a.tif", rgb, "rgb")
    tiff_with(tmp_path / "b.tif", stored, "cielab")
    a, b = (read_image(tmp_path / f"{name}.tif").data.compute() for name in "ab")
    assert np.abs(a - b).max() < 6  # a* and b* have steps of 1, of about 250


def test_a_mosaic_is_said_to_be_one(tmp_path):
    tiff_with(tmp_path / "a.tif", GREY, "cfa")
    with pytest.warns(ReadNote, match="mosaic of colour filters"):
        image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, GREY)


def test_logarithms_are_refused_by_name(tmp_path):
    tiff_with(tmp_path / "a.tif", GREY, "logl")
    with pytest.raises(ValueError, match=r"a.tif: its PhotometricInterpretation 32844 .* save it"):
        read_image(tmp_path / "a.tif")


# ---------------------------------------------------------------- extra samples


def test_a_fourth_sample_is_opacity_only_where_the_tag_says_so(tmp_path):
    infrared = np.where(GREY < 128, 0, 200).astype("u1")
    samples = np.dstack([GREY] * 3 + [infrared])
    for kind in ("unspecified", "assocalpha", "unassalpha"):
        tiff_with(tmp_path / f"{kind}.tif", samples, "rgb", extrasamples=[kind])
    with pytest.warns(ReadNote, match="of its 4 samples per pixel 1 is neither colour nor opacity"):
        np.testing.assert_array_equal(read_image(tmp_path / "unspecified.tif").data, GREY)
    seen = read_image(tmp_path / "unassalpha.tif").data.compute()
    np.testing.assert_array_equal(seen, np.where(infrared == 0, np.nan, GREY))
    multiplied = read_image(tmp_path / "assocalpha.tif").data.compute()
    np.testing.assert_array_equal(np.isnan(multiplied), infrared == 0)
    np.testing.assert_allclose(
        multiplied[infrared > 0], GREY[infrared > 0] * (255 / 200), rtol=1e-6
    )


def test_extra_sample_that_the_note_names_can_be_selected(tmp_path):
    samples = np.dstack([GREY] * 3 + [255 - GREY])
    tiff_with(tmp_path / "a.tif", samples, "rgb", extrasamples=["unspecified"])
    with pytest.warns(ReadNote, match="select one by c"):
        image = read_image(tmp_path / "a.tif", select={"c": 3})
    np.testing.assert_array_equal(image.data, 255 - GREY)


def test_opacity_after_another_extra_sample(tmp_path):
    samples = np.dstack([GREY] * 3 + [NEUTRAL, np.where(GREY > 99, 255, 0).astype("u1")])
    tiff_with(tmp_path / "a.tif", samples, "rgb", extrasamples=["unspecified", "unassalpha"])
    with pytest.warns(ReadNote, match="1 is neither"):
        image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, np.where(GREY > 99, GREY, np.nan))


@pytest.mark.parametrize("tagged", [True, False])
def test_two_samples_without_a_word_are_channels(tagged, tmp_path):
    path = tmp_path / "a.tif"
    tiff_with(path, np.dstack([GREY, 255 - GREY]), "minisblack", planarconfig="contig",
              extrasamples=["unspecified"])  # fmt: skip
    if not tagged:
        without_tag(path, 338)
    image = read_image(path)
    assert image.grid.axis_labels == ("c", "y", "x")
    np.testing.assert_array_equal(image.data, np.stack([GREY, 255 - GREY]))


def test_values_that_gdal_calls_none_are_none(tmp_path):
    tags = [(42113, "s", 0, "17", True)]
    stored = np.where(GREY > 99, GREY, 17).astype("u1")
    tifffile.imwrite(tmp_path / "a.tif", stored, extratags=tags, metadata=None)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.isnan(image.data.compute()), stored == 17)


def test_mask_page_of_a_picture_hides_its_pixels(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(GREY, photometric="minisblack", metadata=None)
        tif.write(GREY > 99, photometric="mask", subfiletype=4, metadata=None)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, np.where(GREY > 99, GREY, np.nan))


# ---------------------------------------------------------------- orientation

TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, -1),
}  # what is stored so that the tag turns it upright


@pytest.mark.parametrize("value", TURNS)
@pytest.mark.parametrize("ending", ["tif", "packed.tif", "png", "jpg", "png16"])
def test_all_eight_orientations_are_turned_upright(value, ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    stored = np.ascontiguousarray(TURNS[value](GREY))
    if ending.endswith("tif"):
        packed = {"compression": "zlib", "tile": (16, 16)} if "packed" in ending else {}
        tags = [(ORIENTATION, "H", 1, value, True)]
        tifffile.imwrite(path, stored, extratags=tags, metadata=None, **packed)
    elif ending == "png16":
        exif = Image.Exif()
        exif[ORIENTATION] = value
        write_deep_png(path, np.dstack([stored.astype("u2")] * 3), 2, exif.tobytes())
    else:
        exif = Image.Exif()
        exif[ORIENTATION] = value
        Image.fromarray(stored).save(path, exif=exif, quality=100)
    assert alike(read_image(path), GREY) > (0.99 if ending == "jpg" else 1 - 1e-9)
    if ending in ("png", "jpg"):  # as another program does
        from PIL import ImageOps

        shown = np.asarray(ImageOps.exif_transpose(Image.open(path)), float)
        assert np.corrcoef(shown.ravel(), GREY.ravel())[0, 1] > 0.99


def test_a_quarter_turn_takes_pixel_sizes_along(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.ascontiguousarray(GREY.T), imagej=True, resolution=(4, 5),
        metadata={"unit": "um"}, extratags=[(ORIENTATION, "H", 1, 5, True)],
    )  # fmt: skip
    grid = read_image(tmp_path / "a.tif").grid
    assert grid.shape == GREY.shape
    np.testing.assert_allclose(grid.spacing, (0.25, 0.2))


# ---------------------------------------------------------------- bits of pictures


def write_deep_png(path, samples, colour_type, exif=b""):
    """Write a PNG of 16 bits per sample, which Pillow cannot."""

    def chunk(name, content):
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    size = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], 16, colour_type, 0, 0, 0)
    extra = chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) if exif else b""
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + extra
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


OPAQUE = np.where(GREY > 99, 65535, 0).astype("u2")
DEEP_PNGS = {
    "grey": (DEEP, 0, False),
    "colours": (np.dstack([DEEP] * 3), 2, False),
    "grey, opacity": (np.dstack([DEEP, OPAQUE]), 4, True),
    "colours, opacity": (np.dstack([DEEP] * 3 + [OPAQUE]), 6, True),
}


@pytest.mark.parametrize("kind", DEEP_PNGS)
def test_png_keeps_its_sixteen_bits(kind, tmp_path):
    samples, colour_type, is_transparent = DEEP_PNGS[kind]
    write_deep_png(tmp_path / "a.png", samples, colour_type)
    expected = np.where(OPAQUE == 0, np.nan, DEEP) if is_transparent else DEEP
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, expected)


def test_deep_colours_of_a_netpbm_file(tmp_path):
    header = b"P6\n52 40\n65535\n"
    (tmp_path / "a.ppm").write_bytes(header + np.dstack([DEEP] * 3).astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a.ppm").data, DEEP)


def test_deep_jpeg2000(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    encoded = imagecodecs.jpeg2k_encode(np.dstack([DEEP] * 3), level=0)
    (tmp_path / "a.jp2").write_bytes(encoded)
    assert alike(read_image(tmp_path / "a.jp2"), DEEP) > 1 - 1e-6


@pytest.mark.parametrize("ending", ["png", "gif", "bmp"])
def test_picture_with_a_colour_table(ending, tmp_path):
    picture = Image.fromarray(PALETTE_INDEX, "P")
    picture.putpalette((PALETTE.T // 257).astype("u1").tobytes())
    picture.save(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{ending}").data, GREY)


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_transparent_colour_of_a_png(mode, tmp_path):
    stored = np.where(GREY > 99, GREY, 17).astype("u1")
    picture = Image.fromarray(stored).convert(mode)
    if mode == "P":
        picture = Image.fromarray(stored, "P")
        picture.putpalette(np.repeat(np.arange(256, dtype="u1"), 3).tobytes())
    picture.save(tmp_path / "a.png", transparency=17 if mode != "RGB" else (17, 17, 17))
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png").data, np.where(stored == 17, np.nan, stored)
    )

"""What a file promises and does not hold is no sample, counted and said."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import zarr

from napari_local_ncc import SpatialImage, confidence_map, read_image
from napari_local_ncc.cli import main
from napari_local_ncc.image.read_guard import ReadNote
from napari_local_ncc.io import iter_write_image
from napari_local_ncc.io.reading import open_image

STACK = np.random.default_rng(2).integers(1, 60000, (10, 32, 48), dtype=np.uint16)
HELD = 7


def write_cut_ome(path, **options):
    """Write an OME-TIFF whose description promises more planes than follow."""
    whole = path.with_name("whole.ome.tif")
    tifffile.imwrite(whole, STACK, ome=True, metadata={"axes": "ZYX"}, photometric="minisblack")
    with tifffile.TiffFile(whole) as tif:
        xml = tif.ome_metadata.encode()
    with tifffile.TiffWriter(path) as tif:
        for k in range(HELD):
            tif.write(STACK[k], description=xml if k == 0 else None, metadata=None,
                      contiguous=False, photometric="minisblack", **options)  # fmt: skip


def write_packed_ome(path):
    write_cut_ome(path, compression="zlib", tile=(16, 16))


def write_scattered_ome(path):
    """Write an OME-TIFF of several files, of which one is not there."""
    block = (
        '<TiffData FirstZ="{}" IFD="{}" PlaneCount="{}"><UUID FileName="{}">{}</UUID></TiffData>'
    )
    ours, theirs = "urn:uuid:00000000-0000-0000-0000-000000000001", "urn:uuid:2"
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="{ours}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
        'Type="uint16" SizeX="48" SizeY="32" SizeZ="10" SizeC="1" SizeT="1">'
        + block.format(0, 0, HELD, path.name, ours)
        + block.format(HELD, 0, 3, "elsewhere.ome.tif", theirs)
        + "</Pixels></Image></OME>"
    )
    with tifffile.TiffWriter(path) as tif:
        for k in range(HELD):
            tif.write(STACK[k], description=xml.encode() if k == 0 else None, metadata=None,
                      contiguous=False, photometric="minisblack")  # fmt: skip


def write_cut_imagej(path, compression=None):
    told = "ImageJ=1.54f\nimages=10\nslices=10\nloop=false\n"
    with tifffile.TiffWriter(path) as tif:
        for k in range(HELD):
            tif.write(STACK[k], description=told if k == 0 else None, metadata=None,
                      contiguous=False, compression=compression)  # fmt: skip


def write_packed_imagej(path):
    write_cut_imagej(path, "zlib")


def write_cut_shaped(path):
    with tifffile.TiffWriter(path) as tif:
        for k in range(HELD):
            tif.write(STACK[k], description='{"shape": [10, 32, 48]}' if k == 0 else None,
                      metadata=None, contiguous=False, compression="zlib")  # fmt: skip


CUT = {
    "a.ome.tif": write_cut_ome,
    "packed.ome.tif": write_packed_ome,
    "scattered.ome.tif": write_scattered_ome,
    "shaped.tif": write_cut_shaped,
    "imagej.tif": write_cut_imagej,
    "packed-imagej.tif": write_packed_imagej,
}


@pytest.mark.parametrize("name", CUT)
def test_planes_that_a_tiff_promises_are_undefined_and_counted(name, tmp_path):
    CUT[name](tmp_path / name)
    with pytest.warns(ReadNote, match=f"{name}: 3 of 10 planes are not in the file; they are und"):
        image = read_image(tmp_path / name)
    samples = image.data.compute()
    np.testing.assert_array_equal(samples[:HELD], STACK[:HELD])
    assert np.isnan(samples[HELD:]).all()
    with pytest.warns(ReadNote, match="3 of 10 planes .* taken as 0"):
        filled = read_image(tmp_path / name, absent_chunks="fill")
    assert filled.data.dtype == np.uint16
    np.testing.assert_array_equal(filled.data, np.where(np.isnan(samples), 0, samples))


@pytest.mark.parametrize("told", ["ImageJ=1.54f\nimages=7001\nframes=7001\n", None])
def test_a_description_of_a_thousand_planes_for_each_that_is_there_is_refused(told, tmp_path):
    """65,535 planes of 5 kB took minutes, each of them undefined."""
    for count in (7000, 7001):
        text = told and told.replace("7001", str(count))
        with tifffile.TiffWriter(tmp_path / f"{count}.tif") as tif:
            for k in range(HELD):
                said = text or f'{{"shape": [{count}, 32, 48]}}'
                tif.write(STACK[k], description=said if k == 0 else None, metadata=None,
                          contiguous=False, compression="zlib")  # fmt: skip
    with pytest.warns(ReadNote, match="6993 of 7000 planes are not in the file"):
        assert read_image(tmp_path / "7000.tif").grid.shape == (7000, 32, 48)
    with pytest.raises(ValueError, match=r"7001\.tif.*promises 7001 planes, of which .* has 7"):
        read_image(tmp_path / "7001.tif")


def test_one_plane_of_a_packed_imagej_file_is_not_all(tmp_path):
    told = "ImageJ=1.54f\nimages=10\nslices=10\n"
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(STACK[0], description=told, metadata=None, compression="zlib")
    with pytest.warns(ReadNote, match="9 of 10 planes are not in the file"):
        image = read_image(tmp_path / "a.tif")
    samples = image.data.compute()
    np.testing.assert_array_equal(samples[0], STACK[0])
    assert np.isnan(samples[1:]).all()


def test_missing_planes_are_undefined_in_the_map(tmp_path):
    write_cut_ome(tmp_path / "a.ome.tif")
    with pytest.warns(ReadNote):
        cut = read_image(tmp_path / "a.ome.tif")
    ncc = confidence_map(read_image(tmp_path / "whole.ome.tif"), cut)["ncc"].compute()
    np.testing.assert_allclose(ncc[:HELD], 1, atol=1e-6)
    assert np.isnan(ncc[HELD:]).all()


def test_tiles_without_samples_are_undefined(tmp_path):
    places = [(y, x) for y in (0, 16) for x in (0, 16, 32)]
    tiles = (None if at == (16, 32) else STACK[0, at[0] :, at[1] :][:16, :16] for at in places)
    tifffile.imwrite(tmp_path / "a.tif", tiles, shape=(32, 48), dtype="u2", tile=(16, 16),
                     photometric="minisblack", compression="zlib")  # fmt: skip
    with pytest.warns(ReadNote, match="1 of 6 tiles are not in the file"):
        samples = read_image(tmp_path / "a.tif").data.compute()
    assert np.isnan(samples[16:, 32:]).all()
    np.testing.assert_array_equal(samples[:16], STACK[0, :16])


def test_a_part_of_the_image_costs_a_part_of_the_planes(tmp_path):
    write_packed_ome(tmp_path / "a.ome.tif")
    with pytest.warns(ReadNote):
        image = read_image(tmp_path / "a.ome.tif")
    for index in ((8,), (slice(5, 9), 3, slice(None, None, 2)), (slice(None), slice(3, 20), 7)):
        whole = np.where(np.arange(10)[:, None, None] < HELD, STACK, np.nan)
        np.testing.assert_array_equal(image.data[index], whole[index])


# ---------------------------------------------------------------- chunks of a Zarr


def zarr_with_absent(path, data=STACK, **options):
    """Write an array of which one chunk holds its fill value alone, and is left out."""
    options = {"chunks": (5, 16, 16), **options}
    array = zarr.create_array(path, shape=data.shape, dtype=data.dtype, fill_value=0, **options)
    stored = data.copy()
    stored[:5, :16, :16] = 0
    array[...] = stored
    return stored


@pytest.mark.parametrize(
    "options",
    [
        {"zarr_format": 2},
        {"zarr_format": 3},
        {"shards": (10, 32, 16)},
        {"chunks": (5, 8, 16), "shards": (5, 16, 48)},
    ],
)
def test_absent_chunks_are_undefined_and_counted(options, tmp_path):
    stored = zarr_with_absent(tmp_path / "a.zarr", **options)
    with pytest.warns(ReadNote, match=r"(1 of 12|2 of 24) chunks are not in the store; .*undefi"):
        image = read_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(image.data, np.where(stored == 0, np.nan, stored))
    with pytest.warns(ReadNote, match="chunks are not in the store; they are taken as 0"):
        image = read_image(tmp_path / "a.zarr", absent_chunks="fill")
    assert image.data.dtype == np.uint16
    np.testing.assert_array_equal(image.data, stored)


@pytest.mark.parametrize("chunks", [(5, 16, 16), None])
def test_chunks_of_hdf5_that_were_never_written_are_undefined_and_counted(chunks, tmp_path):
    h5py = pytest.importorskip("h5py")
    stored = np.full(STACK.shape, 7, STACK.dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, dtype in (("a", "u2"), ("b", bool)):
            array = file.create_dataset(name, stored.shape, dtype, chunks=chunks, fillvalue=7)
            if chunks:
                array[:5, 16:] = stored[:5, 16:] = STACK[:5, 16:]
    missing = np.ones(STACK.shape, bool)
    if chunks:
        missing[:5, 16:] = False
    count = r"9 of 12" if chunks else "1 of 1"
    with pytest.warns(ReadNote, match=f"{count} chunks were never written; they are undefined"):
        image = read_image(tmp_path / "a.h5", scene="a")
    np.testing.assert_array_equal(image.data, np.where(missing, np.nan, stored))
    with pytest.warns(ReadNote, match=f"{count} chunks were never written; they are taken as 7"):
        image = read_image(tmp_path / "a.h5", scene="a", absent_chunks="fill")
    np.testing.assert_array_equal(image.data, stored)
    with pytest.warns(ReadNote, match="they are taken as True"):
        assert read_image(tmp_path / "a.h5", scene="b").data.dtype == bool


def test_chunks_of_hdf5_are_asked_for_in_one_go(tmp_path):
    h5py = pytest.importorskip("h5py")
    hdf5 = pytest.importorskip("napari_local_ncc.io.readers.hdf5")
    written = np.random.default_rng(0).random((30, 20)) < 0.9
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset("a", (59, 60), "u1", chunks=(2, 3))  # the last are cut off
        for y, x in zip(*np.nonzero(written), strict=True):
            array[2 * y, 3 * x] = 1
        asked = []
        whole = array.id

        class Counting:
            def __getattr__(self, name):
                asked.append(name)
                return getattr(whole, name)

        told = SimpleNamespace(id=Counting(), is_virtual=False, external=None,
                               shape=array.shape, chunks=array.chunks)  # fmt: skip
        np.testing.assert_array_equal(hdf5._present_chunks(told), written)
    assert len(asked) < 5


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_fill_values_that_xarray_writes_are_no_samples(zarr_format, tmp_path):
    xarray = pytest.importorskip("xarray")
    stored = STACK[0].astype(np.int16)
    stored[3:9] = -1
    array = xarray.DataArray(stored, dims=("y", "x"), name="a")
    array.encoding["_FillValue"] = np.int16(-1)
    array.to_dataset().to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format, consolidated=False)
    read = read_image(tmp_path / "a.zarr").data.compute()
    np.testing.assert_array_equal(read, np.where(stored == -1, np.nan, stored))


@pytest.mark.parametrize("ending", [".h5", ".zarr"])
def test_fill_values_that_attributes_name_are_no_samples(ending, tmp_path):
    stored = STACK[0].astype(np.int16)
    stored[3:9] = -1
    path = tmp_path / f"a{ending}"
    if ending == ".h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["a"] = stored
            file["a"].attrs["_FillValue"] = np.int16(-1)
    else:
        array = zarr.create_array(path, data=stored, chunks=(16, 16))
        array.attrs["_FillValue"] = -1
    read = read_image(path).data.compute()
    np.testing.assert_array_equal(read, np.where(stored == -1, np.nan, stored))


def test_a_shard_that_is_left_out_counts_its_chunks(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(32, 48), dtype="u2", chunks=(8, 8),
                              shards=(16, 16))  # fmt: skip
    array[:16] = STACK[0, :16]
    with pytest.warns(ReadNote, match="12 of 24 chunks"):
        image = read_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(image.data[:16], STACK[0, :16])
    assert np.isnan(image.data[16:].compute()).all()


def test_a_store_that_holds_all_is_read_as_it_is(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=STACK, chunks=(5, 16, 16))
    image = read_image(tmp_path / "a.zarr")
    assert image.data.dtype == np.uint16
    np.testing.assert_array_equal(image.data, STACK)


def test_labels_and_masks_take_the_fill_value(tmp_path):
    stored = zarr_with_absent(tmp_path / "mask.zarr", STACK > 30000)
    np.testing.assert_array_equal(read_image(tmp_path / "mask.zarr").data, stored)
    group = zarr.open_group(tmp_path / "labels.zarr", mode="w")
    stored = zarr_with_absent(tmp_path / "labels.zarr" / "0")
    axes = [{"name": k, "type": "space"} for k in "zyx"]
    scale = [{"type": "scale", "scale": [1, 1, 1]}]
    group.attrs["ome"] = {
        "version": "0.5",
        "image-label": {},
        "multiscales": [
            {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
        ],
    }
    image = read_image(tmp_path / "labels.zarr")
    assert image.data.dtype == np.uint16
    np.testing.assert_array_equal(image.data, stored)
    assert ("absent", "1 of 12 chunks are not in the store; they are 0, as in all labels") in (
        open_image(tmp_path / "labels.zarr").facts
    )


def test_command_line_takes_masks_as_they_are_and_says_the_rest(tmp_path, capsys):
    zarr_with_absent(tmp_path / "a.zarr", STACK[:, :, :40])
    mask = zarr.create_array(
        tmp_path / "m.zarr", shape=(10, 32, 40), dtype="u1", chunks=(10, 16, 16)
    )
    mask[:, :16] = 255
    a, m = str(tmp_path / "a.zarr"), str(tmp_path / "m.zarr")
    words = ["map", a, a, "-o", str(tmp_path / "o.npy"), "--mask", m, "--radius", "2"]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "a.zarr: 1 of 12 chunks are not in the store; they are undefined" in said
    half = np.isfinite(np.load(tmp_path / "o.npy")).reshape(10, 32, 40)
    assert not half[:, 16:].any()
    assert not half[:5, :16, :16].any()
    assert main([*words, "--absent-chunks", "fill", "--overwrite"]) == 0
    assert "they are taken as 0" in capsys.readouterr().err


def test_images_that_we_write_hold_all_of_their_chunks(tmp_path):
    image = SpatialImage.from_array(np.zeros((40, 40), np.uint8), axis_labels=("y", "x"))
    for _ in iter_write_image(image, tmp_path / "a.ome.zarr"):
        pass
    read = read_image(tmp_path / "a.ome.zarr")
    assert read.data.dtype == np.uint8
    np.testing.assert_array_equal(read.data, np.zeros((40, 40)))


def test_a_chunk_that_cannot_be_read_is_an_error(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=STACK, chunks=(5, 16, 16))
    image = read_image(tmp_path / "a.zarr")
    chunk = tmp_path / "a.zarr" / "c" / "1" / "0" / "2"
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"a.zarr: its samples \[.*\] cannot be read \(") as caught:
        image.data.compute()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fill", [0, np.nan])
def test_a_store_that_goes_away_is_an_error(fill, tmp_path):
    data = STACK.astype("f4")
    zarr.create_array(tmp_path / "a.zarr", data=data, chunks=(5, 16, 16), fill_value=fill)
    image = read_image(tmp_path / "a.zarr")
    shutil.rmtree(tmp_path / "a.zarr")
    with pytest.raises(ValueError, match=r"a.zarr: its chunk c/0/0/0 is gone; it was there"):
        image.data.compute()


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_that_goes_away_or_changes_is_an_error(compression, tmp_path):
    path = tmp_path / f"{compression}.tif"
    tifffile.imwrite(path, STACK, compression=compression)
    image = read_image(path)
    path.unlink()
    if compression:  # the other is in memory already
        from napari_local_ncc.io import file_array

        file_array._open.cache_clear()
        with pytest.raises(ValueError, match=r"zlib.tif is gone; it was there"):
            image.data.compute()
        tifffile.imwrite(path, STACK[:5])
        with pytest.raises(ValueError, match=r"zlib.tif was written anew"):
            image.data.compute()


def test_a_tile_that_cannot_be_decoded_names_file_and_part(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], compression="zlib", tile=(16, 16), metadata=None)
    with tifffile.TiffFile(path) as tif:
        start = tif.pages[0].dataoffsets[3]
    content = bytearray(path.read_bytes())
    content[start : start + 20] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.tif: its samples \[0:32, 0:48\] cannot be read"):
        read_image(path).data.compute()


@pytest.mark.parametrize(
    ("told", "huge"),
    [
        ('SizeT="1"', f'SizeT="{10**9}"'),
        ('SizeX="16"', f'SizeX="{16 * 10**9}"'),
        ('IFD="0"', f'IFD="0" PlaneCount="{10**9}"'),
    ],
)
def test_an_ome_tiff_that_promises_a_billion_planes_fills_no_memory(told, huge, tmp_path):
    path = tmp_path / "a.ome.tif"
    plane = np.zeros((16, 16), np.uint8)
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="16" SizeY="16" '
        'SizeZ="1" SizeC="1" SizeT="1"><TiffData IFD="0"/></Pixels></Image></OME>'
    )
    tifffile.imwrite(path, plane, description=xml.replace(told, huge), metadata=None)
    with pytest.raises(ValueError, match="OME-XML promises 1000000000 planes, far more"):
        read_image(path)


def test_an_ome_tiff_may_have_a_large_image_in_another_file(tmp_path):
    uuids = [f"urn:uuid:00000000-0000-0000-0000-{k:012}" for k in range(2)]
    image = (
        '<Image ID="Image:{0}"><Pixels ID="Pixels:{0}" DimensionOrder="XYZCT" Type="uint8" '
        'SizeX="{1}" SizeY="{1}" SizeZ="1" SizeC="1" SizeT="1"><TiffData IFD="0" PlaneCount="1">'
        '<UUID FileName="{0}.ome.tif">{2}</UUID></TiffData></Pixels></Image>'
    )
    images = "".join(image.format(k, side, uuids[k]) for k, side in enumerate((4, 5000)))
    space = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    for k, side in enumerate((4, 5000)):
        xml = f'<OME xmlns="{space}" UUID="{uuids[k]}">{images}</OME>'
        plane = np.zeros((side, side), np.uint8)
        path = tmp_path / f"{k}.ome.tif"
        tifffile.imwrite(path, plane, description=xml, metadata=None, compression="zlib")
    for k in range(2):
        for scene, side in enumerate((4, 5000)):
            assert read_image(tmp_path / f"{k}.ome.tif", scene=scene).data.shape == (side, side)


OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="{}" SizeY="16" SizeZ="1" '
    'SizeC="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5"><TiffData IFD="0"/></Pixels>'
    "</Image>{}</OME>"
)


def test_an_axis_of_ome_that_counts_for_ever_fills_no_memory(tmp_path):
    counted = '<ModuloAlongT Type="lifetime" Start="0" Step="1" End="1e12"/>'
    told = OME.format(16, f"<StructuredAnnotations>{counted}</StructuredAnnotations>")
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), description=told, metadata=None)
    with pytest.raises(ValueError, match="OME-XML promises 1000000000000 planes, far more"):
        read_image(path)


def test_ome_xml_of_another_image_is_left_with_a_word(tmp_path):
    path, plane = tmp_path / "a.ome.tif", np.zeros((16, 16), np.uint8)
    tifffile.imwrite(path, plane, description=OME.format(16, ""), metadata=None)
    assert np.diag(read_image(path).grid.pixel_to_world).tolist() == [0.5, 0.5, 1]
    tifffile.imwrite(path, plane, description=OME.format(32, ""), metadata=None)
    with pytest.warns(ReadNote, match="its OME-XML describes no image with as many rows"):
        image = read_image(path)
    assert np.diag(image.grid.pixel_to_world).tolist() == [1, 1, 1]

"""Every kind of image that is read: it opens, lies right, is read lazily, misses what it misses.

The table of docs/formats.md is what this finds; `LNCC_WRITE_TABLE=1 pytest` writes it.
"""

from __future__ import annotations

import builtins
import bz2
import errno
import gzip
import itertools
import json
import os
import pickle
import struct
import threading
import tracemalloc
import warnings
import zlib
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_local_ncc import read_image
from napari_local_ncc.cli import main
from napari_local_ncc.image import as_spatial_image
from napari_local_ncc.image.read_guard import ReadNote
from napari_local_ncc.io.readers.mrc import start_of
from napari_local_ncc.io.readers.scene import Request
from napari_local_ncc.io.reading import open_image

for module in ("SimpleITK", "h5py", "imagecodecs", "mrcfile", "nibabel", "xarray", "aiohttp"):
    pytest.importorskip(module)

import h5py  # noqa: E402
import mrcfile  # noqa: E402
import nibabel as nib  # noqa: E402
import SimpleITK as sitk  # noqa: E402
import xarray as xr  # noqa: E402

Y, X = np.mgrid[:192, :256]
PLANE = (2000 + 900 * np.sin(Y / 7) * np.cos(X / 11) + Y + X).astype(np.uint16)
EIGHT = (PLANE // 16).astype(np.uint8)
STACK = np.stack([PLANE + 10 * k for k in range(3)])
BYTES = STACK // 16
SIZE = (2.0, 0.5, 0.25)  # of STACK's pixels, z y x
UM = "micrometer"
IMOD = 1146047817  # what IMOD writes into the header of an MRC
OPAQUE = np.where(X < 128, 0, 255).astype(np.uint8)
TABLE = Path(__file__).parents[1] / "docs" / "formats.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
OME_SIZE = {"PhysicalSizeX": SIZE[2], "PhysicalSizeY": SIZE[1], "PhysicalSizeZ": SIZE[0]}
AXES = [{"name": k, "type": "space", "unit": UM} for k in "zyx"]
SCALE = [{"type": "scale", "scale": list(SIZE)}]
MULTISCALE = {"axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": SCALE}]}


@dataclass
class Kind:
    """One kind of input: how it is written, what it shows, how big its pixels are."""

    write: Any
    truth: Any
    spacing: tuple[float, ...] | None = None
    unit: str = "pixel"
    missing: Any = None  # writes one with a part missing, and returns where
    missing_name: str = ""
    atol: float = 0.0


def tiff(data, path, **options):
    tifffile.imwrite(path, data, **({"metadata": None} | options))


def ome(data, path, **options):
    metadata = {"axes": "ZYX", **OME_SIZE}
    tifffile.imwrite(path, data, ome=True, metadata=metadata, photometric="minisblack", **options)


def cut_ome(path):
    ome(STACK, path)
    with tifffile.TiffFile(path) as tif:
        xml = tif.ome_metadata.encode()
    with tifffile.TiffWriter(path) as tif:
        for k in range(2):
            tif.write(STACK[k], description=xml if k == 0 else None, metadata=None,
                      contiguous=False, photometric="minisblack")  # fmt: skip
    return np.arange(3)[:, None, None] == 2


def sparse(path):
    tiles = (PLANE[y : y + 64, x : x + 64] if y < 128 else None for y in (0, 64, 128)
             for x in (0, 64, 128, 192))  # fmt: skip
    tifffile.imwrite(path, tiles, shape=PLANE.shape, dtype="u2", tile=(64, 64), compression="zlib",
                     photometric="minisblack")  # fmt: skip
    return Y >= 128


def masked(path):
    with tifffile.TiffWriter(path) as tif:
        tif.write(PLANE, photometric="minisblack", metadata=None)
        tif.write(OPAQUE > 0, photometric="mask", subfiletype=4, metadata=None)
    return OPAQUE == 0


def nodata(path):
    stored = np.where(OPAQUE > 0, PLANE, 7).astype("u2")
    tiff(stored, path, extratags=[(42113, "s", 0, "7", True)])
    return OPAQUE == 0


def pyramid(path):
    with tifffile.TiffWriter(path, ome=True) as tif:
        options = {"tile": (64, 64), "photometric": "minisblack"}
        tif.write(STACK, subifds=1, metadata={"axes": "ZYX", **OME_SIZE}, **options)
        tif.write(STACK[:, ::2, ::2], subfiletype=1, **options)


def slide(path):
    told = "Aperio Image Library v1\n256x192 (64x64) |AppMag = 20|MPP = 0.5"
    with tifffile.TiffWriter(path) as tif:
        tif.write(np.dstack([EIGHT] * 3), tile=(64, 64), description=told, metadata=None,
                  compression="zlib", photometric="rgb")  # fmt: skip


def fax(path):
    Image.fromarray(EIGHT > 128).save(path, compression="group4")


def pixels_of(data, path, **options):
    Image.fromarray(data).save(path, **options)


def nan_npy(path):
    np.save(path, np.where(OPAQUE == 0, np.nan, PLANE))
    return OPAQUE == 0


def array(path, **options):
    zarr.create_array(path, data=STACK, chunks=(1, 96, 128), **options)


def array_less(path, **options):
    made = zarr.create_array(path, shape=STACK.shape, dtype="u2", chunks=(1, 96, 128), **options)
    made[:2] = STACK[:2]
    return np.arange(3)[:, None, None] == 2


def ome_zarr(path, version="0.4", less=False, **more):
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    made = group.create_array("0", shape=STACK.shape, dtype="u2", chunks=(1, 96, 128))
    made[: 2 if less else 3] = STACK[: 2 if less else 3]
    told = {"version": version, "multiscales": [MULTISCALE | more]}
    if version == "0.4":
        group.attrs["multiscales"] = [MULTISCALE | {"version": version}]
    else:
        group.attrs["ome"] = told
    return np.arange(3)[:, None, None] == 2


def ome_zarr_06(path):
    systems = [{"name": "world", "axes": AXES}]
    scale = [{"type": "scale", "input": "0", "output": "world", "scale": list(SIZE)}]
    ome_zarr(path, "0.6", coordinateSystems=systems, axes=None,
             datasets=[{"path": "0", "coordinateTransformations": scale}])  # fmt: skip


def container(path):
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    ome_zarr(path / "0")


def plate(path):
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["plate"] = {"wells": [{"path": "A/1"}]}
    well = group.require_group("A/1")
    well.attrs["well"] = {"images": [{"path": "0"}]}
    ome_zarr(path / "A" / "1" / "0")


def zipped(path):
    import shutil

    ome_zarr(path.with_name("folder.zarr"), "0.5")
    shutil.make_archive(str(path), "zip", path.with_name("folder.zarr"))
    path.with_name(path.name + ".zip").rename(path)


def volume(path):
    image = sitk.GetImageFromArray(STACK)
    image.SetSpacing(SIZE[::-1])
    sitk.WriteImage(image, str(path))


def nan_volume(path):
    hidden = np.broadcast_to(OPAQUE == 0, STACK.shape)
    image = sitk.GetImageFromArray(np.where(hidden, np.nan, STACK).astype("f4"))
    sitk.WriteImage(image, str(path))  # of a NIfTI it would read 0 again
    return hidden


def dicom(path, k=0, number=1):
    image = sitk.GetImageFromArray(STACK[k])
    image.SetSpacing(SIZE[:0:-1])
    root = "1.2.826.0.1.3680043.2.1125"
    tags = {"0008|0060": "OT", "0020|000e": f"{root}.1", "0020|000d": root,
            "0008|0018": f"{root}.1.{k}", "0020|0032": f"0\\0\\{SIZE[0] * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0013": str(k)}  # fmt: skip
    for name, value in tags.items():
        image.SetMetaData(name, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


def dicom_series(path):
    path.mkdir()
    for k in range(3):
        dicom(path / f"{'bca'[k]}.dcm", k)


def hdf5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data", data=STACK, chunks=(1, 96, 128))
        file["entry/data"].attrs["element_size_um"] = SIZE


def hdf5_less(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", STACK.shape, "u2", chunks=(1, 96, 128))[:2] = STACK[:2]
    return np.arange(3)[:, None, None] == 2


def imaris(path):
    def told(node, **values):
        for name, value in values.items():
            node.attrs[name] = np.array(
                [str(value).encode()[i : i + 1] for i in range(len(str(value)))]
            )

    with h5py.File(path, "w") as file:
        channel = file.create_group("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0")
        filled = np.zeros((4, 256, 256), "u2")
        filled[:3, :192] = STACK
        channel.create_dataset("Data", data=filled, chunks=(1, 64, 64))
        told(channel, ImageSizeX=256, ImageSizeY=192, ImageSizeZ=3)
        image = file.create_group("DataSetInfo/Image")
        ends = {f"ExtMin{k}": 0.0 for k in range(3)}
        ends |= {
            f"ExtMax{k}": n * s for k, n, s in zip(range(3), (256, 192, 3), SIZE[::-1], strict=True)
        }
        told(image, Unit="um", **ends)


def npy(path):
    np.save(path, STACK)


def png(path):
    Image.fromarray(EIGHT).save(path)


def mrc(path):
    with mrcfile.new(path) as file:
        file.set_data(STACK)
        file.set_volume()
        file.voxel_size = (SIZE[2], SIZE[1], SIZE[0])


def packed_mrc(path, how="gzip"):
    with mrcfile.new(path, compression=how) as file:
        file.set_data(STACK)
        file.set_volume()
        file.voxel_size = SIZE[::-1]


def planes(path):
    path.mkdir()
    for k in range(3):
        tiff(STACK[k], path / f"plane_{8 + k}.tif")


def pattern(path):
    planes(path.parent / "many")
    tiff(PLANE[:9], path.parent / "many" / "other.tif")
    return path.parent / "many" / "plane_*.tif"


def in_xarray(path):
    return xr.DataArray(STACK, dims=("z", "y", "x"), coords={
        k: (k, s * np.arange(n), {"units": "um"})
        for k, s, n in zip("zyx", SIZE, STACK.shape, strict=True)})  # fmt: skip


def in_simpleitk(path):
    image = sitk.GetImageFromArray(STACK)
    image.SetSpacing(SIZE[::-1])
    return image


def in_nibabel(path):
    return nib.Nifti1Image(STACK.T, np.diag([-SIZE[2], -SIZE[1], SIZE[0], 1]))


def at(address, write):
    def made(path):
        write(path)
        return address(path)

    return made


def by_server(path):
    return f"{SERVER}/{path.relative_to(SERVED).as_posix()}"


def in_memory(path):
    import fsspec

    files = fsspec.filesystem("memory")
    name = f"/{path.parent.name}/{path.name}"
    files.put(str(path), name, recursive=True)
    return f"memory:/{name}"


COLOURS = np.dstack([EIGHT] * 3)
TABLE_OF = np.random.default_rng(0).permutation(256)
INDEX = np.argsort(TABLE_OF)[EIGHT].astype("u1")
PALETTE = np.stack([TABLE_OF * 257] * 3).astype("u2")
RGBA = np.dstack([COLOURS, OPAQUE])


def transparent(path, save=None):
    save(path)
    return OPAQUE == 0


def rgba_tiff(path):
    tiff(RGBA, path, photometric="rgb", extrasamples=["unassalpha"])
    return OPAQUE == 0


def rgba_png(path):
    pixels_of(RGBA, path)
    return OPAQUE == 0


def deep_png(path):
    import imagecodecs

    path.write_bytes(imagecodecs.png_encode(np.dstack([PLANE] * 3)))


def jpeg2000(path):
    import imagecodecs

    path.write_bytes(imagecodecs.jpeg2k_encode(PLANE, level=0))


PACKED = {"metadata": None, "tile": (64, 64)}
KINDS = {
    "TIFF": Kind(partial(tiff, PLANE), PLANE, missing=nodata, missing_name="nodata of GDAL"),
    "TIFF, tiled, zlib": Kind(
        partial(tiff, PLANE, tile=(64, 64), compression="zlib"), PLANE,
        missing=sparse, missing_name="tiles"),
    "TIFF, LZW": Kind(partial(tiff, PLANE, compression="lzw", predictor=True), PLANE),
    "TIFF, LERC": Kind(partial(tiff, PLANE, compression="lerc"), PLANE),
    "TIFF, JPEG": Kind(
        partial(tiff, COLOURS, compression="jpeg", photometric="rgb"), EIGHT, atol=9),
    "TIFF, JPEG 2000": Kind(partial(tiff, PLANE, compression="jpeg2000"), PLANE, atol=80),
    "TIFF, JPEG XL": Kind(partial(tiff, EIGHT, compression="jpegxl"), EIGHT, atol=9),
    "TIFF, CCITT fax": Kind(fax, EIGHT > 128),
    "TIFF, 0 is white": Kind(partial(tiff, 255 - EIGHT, photometric="miniswhite"), EIGHT),
    "TIFF, colour table": Kind(
        partial(tiff, INDEX, photometric="palette", colormap=PALETTE), EIGHT),
    "TIFF, RGB": Kind(
        partial(tiff, COLOURS, photometric="rgb"), EIGHT,
        missing=rgba_tiff, missing_name="opacity"),
    "TIFF, CMYK": Kind(
        partial(tiff, np.dstack([255 - COLOURS, 0 * EIGHT]), photometric="separated"), EIGHT),
    "TIFF with a mask": Kind(partial(tiff, PLANE), PLANE, missing=masked, missing_name="mask"),
    "BigTIFF, big-endian": Kind(partial(tiff, PLANE, bigtiff=True, byteorder=">"), PLANE),
    "TIFF of ImageJ": Kind(
        lambda path: tifffile.imwrite(path, STACK, imagej=True, resolution=(4, 2), metadata={
            "axes": "ZYX", "unit": "um", "spacing": 2.0}), STACK, SIZE, UM),
    "OME-TIFF": Kind(partial(ome, STACK), STACK, SIZE, UM, missing=cut_ome, missing_name="planes"),
    "OME-TIFF, pyramid": Kind(pyramid, STACK, SIZE, UM),
    "SVS": Kind(slide, EIGHT, (0.5, 0.5), UM),
    "PNG": Kind(partial(pixels_of, EIGHT), EIGHT, missing=rgba_png, missing_name="opacity"),
    "PNG, 16 bits, RGB": Kind(deep_png, PLANE),
    "JPEG": Kind(partial(pixels_of, EIGHT, quality=95), EIGHT, atol=12),
    "JPEG 2000": Kind(jpeg2000, PLANE),
    "BMP": Kind(partial(pixels_of, EIGHT), EIGHT),
    "GIF": Kind(partial(pixels_of, EIGHT), EIGHT),
    "WebP": Kind(partial(pixels_of, COLOURS, lossless=True), EIGHT),
    ".npy": Kind(lambda path: np.save(path, PLANE), PLANE, missing=nan_npy, missing_name="NaN"),
    "Zarr 2": Kind(partial(array, zarr_format=2), STACK, missing=partial(array_less, zarr_format=2),
                   missing_name="chunks"),
    "Zarr 3": Kind(array, STACK, missing=array_less, missing_name="chunks"),
    "Zarr 3, shards": Kind(
        partial(array, shards=(1, 192, 256)), STACK,
        missing=partial(array_less, shards=(3, 192, 256)), missing_name="chunks in shards"),
    "OME-Zarr 0.4": Kind(ome_zarr, STACK, SIZE, UM, partial(ome_zarr, less=True), "chunks"),
    "OME-Zarr 0.5": Kind(partial(ome_zarr, version="0.5"), STACK, SIZE, UM,
                         partial(ome_zarr, version="0.5", less=True), "chunks"),
    "OME-Zarr 0.6 (affine, sequence)": Kind(ome_zarr_06, STACK, SIZE, UM),
    "OME-Zarr of bioformats2raw": Kind(container, STACK, SIZE, UM),
    "OME-Zarr plate": Kind(plate, STACK, SIZE, UM),
    "OME-Zarr in a zip (.ozx)": Kind(zipped, STACK, SIZE, UM),
    "OME-Zarr by http": Kind(at(by_server, ome_zarr), STACK, SIZE, UM),
    "OME-Zarr in memory": Kind(at(in_memory, ome_zarr), STACK, SIZE, UM),
    "NIfTI": Kind(volume, STACK, SIZE, "millimeter", nan_volume, "NaN"),
    "NIfTI, gzip": Kind(volume, STACK, SIZE, "millimeter", nan_volume, "NaN"),
    "NRRD": Kind(volume, STACK, SIZE),
    "MHA": Kind(volume, STACK, SIZE),
    "DICOM": Kind(dicom, PLANE, SIZE[1:], "millimeter"),
    "DICOM series": Kind(dicom_series, STACK, SIZE, "millimeter"),
    "HDF5": Kind(hdf5, STACK, SIZE, UM, hdf5_less, "chunks"),
    "Imaris": Kind(imaris, STACK, SIZE, UM),
    "MRC": Kind(mrc, STACK, SIZE, "angstrom"),
    "folder of planes": Kind(planes, STACK),
    "pattern of planes": Kind(pattern, STACK),
    "xarray.DataArray": Kind(in_xarray, STACK, SIZE, UM),
    "SimpleITK.Image": Kind(in_simpleitk, STACK, SIZE),
    "image of nibabel": Kind(in_nibabel, STACK, SIZE, "millimeter"),
}  # fmt: skip
FAX = "TIFF, CCITT fax"
if tifffile.COMPRESSION.CCITT_T6 not in tifffile.TIFF.DECOMPRESSORS:  # it is since 2026.3
    del KINDS[FAX]
ENDINGS = {"TIFF": ".tif", "BigTIFF": ".tif", "OME-TIFF": ".ome.tif", "SVS": ".svs", "PNG": ".png",
           "JPEG": ".jpg", "JPEG 2000": ".jp2", "BMP": ".bmp", "GIF": ".gif", "WebP": ".webp",
           ".npy": ".npy", "NIfTI": ".nii", "NIfTI, gzip": ".nii.gz", "NRRD": ".nrrd",
           "MHA": ".mha", "DICOM": ".dcm", "HDF5": ".h5", "Imaris": ".ims", "MRC": ".mrc",
           "OME-Zarr in a zip (.ozx)": ".ozx"}  # fmt: skip
SERVER, SERVED = "", Path()


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory):
    """Serve the folder of the tests on the loopback address."""
    global SERVER, SERVED
    folder = SERVED = tmp_path_factory.getbasetemp()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        SERVER = f"http://127.0.0.1:{serving.server_port}"
        yield
        serving.shutdown()


def path_of(name, folder):
    first = name.split(",")[0].split(" of ")[0].split(" with ")[0]
    return folder / f"a{ENDINGS.get(name, ENDINGS.get(first, ''))}"


def taken(source):
    is_path = isinstance(source, (str, Path))
    return read_image(source) if is_path else as_spatial_image(source, "a")


def row_of(name, folder):
    """Try one kind, and return its row of the table."""
    kind = KINDS[name]
    path = path_of(name, folder)
    source = kind.write(path)
    image = taken(path if source is None or isinstance(source, np.ndarray) else source)
    samples = image.data.compute().astype(float)
    assert samples.shape == kind.truth.shape, name
    assert np.abs(samples - kind.truth).max() <= kind.atol, name
    spacing = kind.spacing or (1,) * samples.ndim
    np.testing.assert_allclose(image.grid.spacing, spacing, rtol=1e-6, err_msg=name)
    placed = [
        u for u, is_space in zip(image.grid.units, image.grid.spatial, strict=True) if is_space
    ]
    assert set(placed) == {kind.unit}, name
    part = image.data[..., 5:9, 3:11].compute()
    np.testing.assert_array_equal(part, image.data.compute()[..., 5:9, 3:11])
    is_lazy = len(pickle.dumps(image.data)) < 20_000
    missing = "-"
    if kind.missing is not None:
        other = path_of(name, folder / "missing")
        hidden = kind.missing(other)
        found = np.isnan(read_image(other).data.compute())
        np.testing.assert_array_equal(found, np.broadcast_to(hidden, found.shape), err_msg=name)
        missing = kind.missing_name
    cells = (name, "yes", "yes" if kind.spacing else "pixels", "yes" if is_lazy else "no", missing)
    return f"| {' | '.join(cells)} |"


@pytest.mark.filterwarnings("ignore::napari_local_ncc.image.read_guard.ReadNote")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_table_of_formats_is_what_is_found(tmp_path):
    rows = []
    for k, name in enumerate(KINDS):
        folder = tmp_path / str(k)
        (folder / "missing").mkdir(parents=True)
        rows.append(row_of(name, folder))
    assert len(rows) >= 40
    head = (
        "| kind of input | opens | geometry right | lazy | missing is undefined |\n"
        "|---|---|---|---|---|\n"
    )
    table = head + "\n".join(rows) + "\n"
    text = TABLE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    found, _, after = rest.partition(END)
    found = "".join(row for row in found.splitlines(True) if FAX in KINDS or FAX not in row)
    if os.environ.get("LNCC_WRITE_TABLE"):
        TABLE.write_text(before + BEGIN + table + END + after, encoding="utf-8")
    else:
        assert found == table


# ---------------------------------------------------------------- what is said of them


def told(words, capsys):
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_info_says_what_will_be_used(tmp_path, capsys):
    cut_ome(tmp_path / "a.ome.tif")
    said = told(["info", tmp_path / "a.ome.tif"], capsys)
    assert "samples  16 bits, 1 per pixel: grey" in said
    assert "note     1 of 3 planes are not in the file; they are undefined" in said
    assert "axis     z: 3 px, step 2, from 0 µm, space" in said
    rgba_tiff(tmp_path / "rgba.tif")
    assert "8 bits, 4 per pixel: red, green, blue, opacity" in told(
        ["info", tmp_path / "rgba.tif"], capsys
    )
    Image.fromarray(np.dstack([EIGHT, EIGHT]), "LA").save(tmp_path / "la.png")
    assert "8 bits, 2 per pixel: grey, opacity" in told(["info", tmp_path / "la.png"], capsys)
    turned = sitk.GetImageFromArray(EIGHT)
    turned.SetDirection([0, 1, -1, 0])
    sitk.WriteImage(turned, str(tmp_path / "a.mha"))
    assert "along    x: -1 y of the world" in told(["info", tmp_path / "a.mha"], capsys)
    hdf5(tmp_path / "a.h5")
    assert "axis     z: 3 px, step 2" in told(["info", tmp_path / "a.h5"], capsys)
    with tifffile.TiffWriter(tmp_path / "two.tif") as tif:
        tif.write(PLANE, metadata=None)
        tif.write(PLANE[::2], metadata=None, extratags=[(274, "H", 1, 3, True)])
    said = told(["info", tmp_path / "two.tif", "--scene", "1"], capsys)
    assert "scene    0: 192x256 YX\nscene    1: 96x256 YX, this one" in said
    assert "3; turned upright" in said


def test_planes_are_counted_as_people_do(tmp_path):
    folder = tmp_path / "planes"
    planes(folder)  # 8, 9, 10
    with pytest.warns(ReadNote, match=r"3 files, plane_8.tif to plane_10.tif, are taken as a ser"):
        read_image(folder)
    tiff(STACK[0], folder / "plane_14.tif")
    with pytest.warns(ReadNote, match="their numbers jump at 10 to 14"):
        read_image(folder / "plane_*.tif")
    tiff(PLANE[:9], folder / "plane_15.tif")
    with pytest.raises(ValueError, match=r"plane_15.tif has another size \(9x256\) than plane_8"):
        read_image(folder)


@pytest.mark.parametrize("other", [STACK, STACK[0] + 0.5])
def test_planes_of_a_wider_type_are_refused(other, tmp_path):
    folder = tmp_path / "planes"
    folder.mkdir()
    tiff((STACK[0] // 256).astype("u1"), folder / "plane_1.tif")
    tiff(other if other.ndim == 2 else other[0], folder / "plane_2.tif")
    with pytest.warns(ReadNote), pytest.raises(ValueError, match=r"plane_2.tif holds .* no place"):
        read_image(folder).data.compute()


def test_nodata_is_a_value_of_the_file_also_where_0_is_white(tmp_path):
    tiff(
        EIGHT,
        tmp_path / "a.tif",
        photometric="miniswhite",
        extratags=[(42113, "s", 0, "100", True)],
    )
    found = read_image(tmp_path / "a.tif").data.compute()
    np.testing.assert_array_equal(found, np.where(EIGHT == 100, np.nan, 255.0 - EIGHT))


@pytest.mark.parametrize(
    ("stamp", "flags", "brightest", "is_unsigned"),
    [(IMOD, 0, 255, True), (IMOD, 0, 100, True), (IMOD, 1, 100, False), (0, 0, 255, True),
     (0, 0, 100, False), (0, 1, 100, False)],
)  # fmt: skip
def test_bytes_of_mrc_are_signed_where_its_writer_says_so(
    stamp, flags, brightest, is_unsigned, tmp_path
):
    truth = EIGHT.view("i1")
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(truth)
        file.header.dmax = brightest
        file.header.extra2 = np.void(b"\0" * 40 + struct.pack("<ii", stamp, flags) + b"\0" * 36)
    found = read_image(tmp_path / "a.mrc").data.compute()
    assert found.dtype == ("u1" if is_unsigned else "i1")
    np.testing.assert_array_equal(found, EIGHT if is_unsigned else truth)


@pytest.mark.parametrize(
    ("stamp", "flags", "version", "sign"),
    [(IMOD, 0, 0, -1), (IMOD, 4, 0, 1), (IMOD, 0, 20140, 1), (0, 0, 20140, 1)],
)
def test_mrc_lies_where_its_writer_means(stamp, flags, version, sign, tmp_path):
    mrc(tmp_path / "a.mrc")
    with mrcfile.open(tmp_path / "a.mrc", "r+") as file:
        file.header.origin = (3, -4, 5)
        file.header.nversion = version
        file.header.extra2 = np.void(b"\0" * 40 + struct.pack("<ii", stamp, flags) + b"\0" * 36)
    origin = read_image(tmp_path / "a.mrc").grid.origin
    np.testing.assert_array_equal(origin, sign * np.array([5, -4, 3]))


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_axes_of_mrc_come_in_any_order(order, tmp_path):
    axes = [3 - number for number in order[::-1]]  # of sections, rows, columns in z, y, x
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(STACK.transpose(axes))
        file.set_volume()
        file.header.mapc, file.header.mapr, file.header.maps = order
        file.header.mx, file.header.my, file.header.mz = STACK.shape[::-1]
        file.header.cella = tuple(np.multiply(SIZE, STACK.shape)[::-1])
    image = read_image(tmp_path / "a.mrc")
    np.testing.assert_array_equal(image.data, STACK)
    assert image.grid.axis_labels == ("z", "y", "x")
    np.testing.assert_allclose(image.grid.spacing, SIZE, rtol=1e-6)


@pytest.mark.parametrize(("name", "how"), [("a.map.gz", "gzip"), ("a.mrc.bz2", "bzip2")])
def test_a_packed_mrc_is_read(name, how, tmp_path):
    packed_mrc(tmp_path / name, how)
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image.data.compute(), STACK)
    np.testing.assert_allclose(image.grid.spacing, SIZE, rtol=1e-6)


@pytest.mark.parametrize("name", ["a.mrc", "a.mrc.gz", "a.mrc.bz2"])
def test_a_disk_that_cannot_be_read_cuts_no_mrc_off(name, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    if name == "a.mrc":
        mrc(tmp_path / name)
        monkeypatch.setattr(builtins, "open", fail)
    else:
        how = "gzip" if name.endswith("gz") else "bzip2"
        packed_mrc(tmp_path / name, how)
        monkeypatch.setattr({"gzip": gzip, "bzip2": bz2}[how], "open", fail)
    with pytest.raises(OSError, match="Input/output error"):
        start_of(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mrc.gz", "a.mrc.bz2"])
@pytest.mark.parametrize(
    "held", [b"", b"nothing packed", b"BZh9" + bytes(40), b"\x1f\x8b" + bytes(40)]
)
def test_an_mrc_that_is_not_packed_as_its_name_says_has_no_start(name, held, tmp_path):
    (tmp_path / name).write_bytes(held)
    assert start_of(tmp_path / name) == b""


CUT = [".nii", ".nii.gz", ".nrrd", ".mha", ".h5", ".mrc", ".mrc.gz", ".npy", ".png"]


@pytest.mark.parametrize("ending", CUT)
def test_a_file_that_is_cut_off_is_said_to_be(ending, tmp_path):
    path = tmp_path / f"a{ending}"
    writers = {".h5": hdf5, ".mrc": mrc, ".mrc.gz": packed_mrc, ".npy": npy, ".png": png}
    writers.get(ending, volume)(path)
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
    said = "cannot read" if ending.startswith((".h5", ".mrc")) else "is cut off"
    with pytest.raises(ValueError, match=said) as caught:  # noqa: PT012
        warnings.simplefilter("ignore")
        read_image(path).data.compute()
    said = str(caught.value)
    assert "\n" not in said
    assert "0x" not in said.replace(str(path), "")
    assert ".cxx" not in said


def test_a_packed_metaimage_that_is_cut_off_is_known_by_its_header(tmp_path, capfd):
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(STACK), str(path), useCompression=True)
    assert (read_image(path).data.compute() == STACK).all()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="the file is cut off; copy it again"):
        read_image(path)
    assert "".join(capfd.readouterr()) == ""  # ITK writes to the terminal what it cannot read


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
@pytest.mark.parametrize("packed", [False, True])
def test_samples_beside_a_header_are_looked_for(ending, packed, tmp_path):
    path = tmp_path / f"a{ending}"
    image = sitk.GetImageFromArray(STACK)
    sitk.WriteImage(image, str(path), useCompression=packed)
    assert (read_image(path).data.compute() == STACK).all()
    (samples,) = (file for file in tmp_path.iterdir() if file != path)
    samples.write_bytes(samples.read_bytes()[: samples.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"cut off|cannot read it") as caught:
        read_image(path).data.compute()
    assert "No such file" not in str(caught.value)
    samples.unlink()
    with pytest.raises(ValueError, match=f"in the file {samples.name}, which is not beside it"):
        read_image(path)


def test_inverted_dicom_is_turned(tmp_path):
    image = sitk.GetImageFromArray(255 - EIGHT)
    path = tmp_path / "a.dcm"
    sitk.WriteImage(image, str(path))
    path.write_bytes(path.read_bytes().replace(b"MONOCHROME2", b"MONOCHROME1"))
    samples = read_image(tmp_path / "a.dcm").data.compute().astype(float)
    assert np.corrcoef(samples.ravel(), EIGHT.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("translation", [None, 0.0, 0.25])
def test_a_level_that_tells_no_position_is_said_to(translation, tmp_path):
    """Pixels of 0.5: the middle of the first two is at 0.25."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    levels = []
    for k in (0, 1):
        group.create_array(str(k), data=PLANE[:: k + 1, :: k + 1], chunks=(96, 128))
        steps = [{"type": "scale", "scale": [0.5 * (k + 1)] * 2}]
        if k and translation is not None:
            steps.append({"type": "translation", "translation": [translation] * 2})
        levels.append({"path": str(k), "coordinateTransformations": steps})
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": AXES[1:], "datasets": levels}]}
    told = [open_image(tmp_path / "a.zarr", Request(level)).notes for level in (0, 1)]
    assert told[0] == ()
    if translation:
        assert told[1] == ()
    else:
        assert "its level 1 tells no position" in told[1][0]
        assert "they lie 0.5 px of the full level farther on" in told[1][0]


def test_slices_of_dicom_have_a_scale_each(tmp_path):
    """As those of PET: the first is of whole numbers, the second of halves."""
    dicom_series(tmp_path / "a")
    slope = b"\x28\x00\x53\x10\x02\x00\x00\x00"  # its tag and length
    path = tmp_path / "a" / "c.dcm"
    content = path.read_bytes()
    assert content.count(slope + b"1 ") == 1
    path.write_bytes(content.replace(slope + b"1 ", slope + b".5"))
    found = read_image(tmp_path / "a").data.compute()
    np.testing.assert_array_equal(found, STACK * np.array([1, 0.5, 1])[:, None, None])


def test_axes_of_hdf5_are_those_that_ilastik_names(tmp_path):
    """Channels last are no columns; sizes are of z, y, x wherever these are."""
    stored = np.stack([STACK, STACK + 1], axis=-1)
    tags = {"axes": [{"key": key, "typeFlags": 2} for key in "zyxc"]}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported_data"] = stored
        file["exported_data"].attrs["axistags"] = json.dumps(tags)
        file["exported_data"].attrs["element_size_um"] = SIZE
    image = read_image(tmp_path / "a.h5")
    assert image.grid.axis_labels == ("c", "z", "y", "x")
    np.testing.assert_array_equal(image.data, np.moveaxis(stored, -1, 0))
    np.testing.assert_allclose(image.grid.spacing, (1, *SIZE))
    np.testing.assert_array_equal(read_image(tmp_path / "a.h5", select={"c": 1}).data, STACK + 1)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["a"] = stored
        file["a"].attrs["axistags"] = "none of vigra's"
    assert read_image(tmp_path / "b.h5").grid.shape == stored.shape


def test_a_reader_of_bioio_that_tells_sizes_of_its_level(monkeypatch):
    """The size of a pixel is that of the full level, times how much smaller the level is."""
    from napari_local_ncc.io.readers import proprietary

    class Image:
        scenes, channel_names, resolution_levels, level = ("a",), None, (0, 1), 0
        dims = SimpleNamespace(order="ZYX")

        def set_scene(self, name): ...

        def set_resolution_level(self, level):
            self.level = level

        @property
        def dask_data(self):
            return da.from_array(STACK[:, 1 :: self.level + 1, 1 :: self.level + 1])

        @property
        def physical_pixel_sizes(self):
            factor = self.level + 1
            return SimpleNamespace(Z=SIZE[0], Y=SIZE[1] * factor, X=SIZE[2] * factor)

    monkeypatch.setattr(proprietary, "_open", lambda path: Image())
    for level in (0, 1):
        grid = proprietary.read("a.czi", 0, Request(level)).image("a").grid
        factors = np.array([1, level + 1, level + 1])
        np.testing.assert_allclose(grid.spacing, SIZE * factors)
        np.testing.assert_allclose(grid.origin, SIZE * (factors - 1) / 2)


def test_datasets_of_hdf5_are_scenes(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"], file["seg/labels"], file["n"] = PLANE, EIGHT, np.arange(3)
    with pytest.warns(ReadNote, match="first of 2 images: 0: 'raw' 192x256, 1: 'seg/labels'"):
        read_image(tmp_path / "a.h5")
    np.testing.assert_array_equal(read_image(tmp_path / "a.h5", scene="seg/labels").data, EIGHT)


@pytest.mark.parametrize("layout", ["tiles", "strips"])
def test_a_large_tiff_is_never_read_whole(layout, tmp_path):
    """A part of an image of 20,000 x 20,000 costs the tiles or strips that it lies in."""
    side = 20_000
    options = {"tile": (512, 512)} if layout == "tiles" else {"rowsperstrip": 32}
    piece = zlib.compress(np.ones((512 * 512,) if layout == "tiles" else (32 * side,), "u1"))
    count = 40 * 40 if layout == "tiles" else side // 32
    tiff(iter([piece] * count), tmp_path / "big.tif", shape=(side, side), dtype="u1",
         compression="zlib", photometric="minisblack", **options)  # fmt: skip
    tracemalloc.start()
    image = read_image(tmp_path / "big.tif")
    assert (image.data[9000:9050, 9000:9050].compute(scheduler="sync") == 1).all()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < side * side / 5


def test_an_address_that_cannot_be_read_says_what_it_needs():
    with pytest.raises(ValueError, match=r"cannot read http://127.0.0.1:9/a.zarr .*over a network"):
        read_image("http://127.0.0.1:9/a.zarr")


def test_proprietary_formats_come_through_bioio(tmp_path):
    """Its reader of OME-TIFF stands for all: what it says is kept."""
    pytest.importorskip("bioio_ome_tiff")
    from napari_local_ncc.io.readers import proprietary
    from napari_local_ncc.io.readers.scene import Request

    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        metadata = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
        metadata["Channel"] = {"Name": ["DAPI", "GFP"]}
        tif.write(STACK[:2], photometric="minisblack", metadata=metadata)
        tif.write(PLANE, photometric="minisblack", metadata={})
    assert len(proprietary.scenes(tmp_path / "a.ome.tif")) == 2
    stored = proprietary.read(tmp_path / "a.ome.tif", 0, Request())
    assert dict(stored.facts)["channels"] == "DAPI, GFP"
    image = stored.sort_axes().image("a")
    np.testing.assert_array_equal(image.data, STACK[:2])
    assert image.grid.axis_labels == ("c", "y", "x")
    np.testing.assert_allclose(image.grid.spacing, (1, 0.5, 0.25))


def test_unknown_format_says_what_would_read_it(tmp_path):
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE" + bytes(600))
    with pytest.raises(
        ValueError, match=r"a.czi: .*bioio.*readable are TIFF|readable are TIFF.*bio"
    ):
        read_image(tmp_path / "a.czi")


def test_plugin_of_napari_reads_what_it_can(tmp_path):
    from npe2 import DynamicPlugin

    path = tmp_path / "a.weird"
    path.write_text(json.dumps({"size": [0.5, 0.25]}), encoding="utf-8")
    with DynamicPlugin("weird-reader") as plugin:

        @plugin.contribute.reader(filename_patterns=["*.weird"])
        def get_reader(path):
            options = {"name": "one", "scale": (0.5, 0.25), "units": ("um", "um")}
            return lambda path: [(PLANE, options, "image"), (EIGHT, {"name": "two"}, "labels")]

        image = read_image(path, reader="weird-reader", scene="one")
        np.testing.assert_array_equal(image.data, PLANE)
        assert image.grid.units == (UM, UM)
        np.testing.assert_allclose(image.grid.spacing, (0.5, 0.25))
        with pytest.raises(ValueError, match=r"no reader 'another' takes it; .* weird-reader"):
            read_image(path, reader="another")

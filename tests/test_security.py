"""What docs/security.md promises: nothing in a file is executed, nothing outside is read."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import zarr

from napari_local_ncc import Grid, read_image, read_transform
from napari_local_ncc.cli import main
from napari_local_ncc.image.read_guard import ReadError

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32)).astype(np.uint8)
SECRET = np.full((24, 32), 77, np.uint8)


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("open_file", [read_image, lambda p: read_transform(p, Grid((4, 4)))])
@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.json", "a.txt", "a.pkl"])
def test_pickles_are_not_executed(open_file, name, tmp_path):
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, np.array([[Evil()] * 3] * 3, object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises((ValueError, TypeError)):
        open_file(path)


def test_objects_in_a_zarr_are_not_unpickled(tmp_path):
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / ".zarray").write_text(
        '{"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": null, '
        '"fill_value": null, "order": "C", "filters": [{"id": "pickle", "protocol": 5}]}', "utf-8"
    )  # fmt: skip
    (folder / "0").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises((ValueError, TypeError)):
        read_image(folder).data.compute()


def write_zarr_beside(folder, path):
    zarr.create_array(folder / "secret.zarr", data=SECRET)
    image = {"axes": ["y", "x"], "datasets": [{"path": path}]}
    zarr.create_group(
        folder / "in/a.ome.zarr", attributes={"ome": {"version": "0.5", "multiscales": [image]}}
    )


@pytest.mark.parametrize("path", ["../../secret.zarr", "{}/secret.zarr", "0/../../../secret.zarr"])
def test_a_zarr_names_nothing_outside(path, tmp_path):
    (tmp_path / "in").mkdir()
    write_zarr_beside(tmp_path, path.format(tmp_path))
    with pytest.raises(ReadError):
        read_image(tmp_path / "in/a.ome.zarr")


@pytest.mark.parametrize("place", ["../secret.ome.tif", "{}/secret.ome.tif"])
def test_an_ome_tiff_names_no_files_outside(place, tmp_path):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "secret.ome.tif", SECRET, metadata=None)
    block = '<TiffData FirstZ="{}" IFD="0" PlaneCount="1"><UUID FileName="{}">{}</UUID></TiffData>'
    ours, theirs = "urn:uuid:00000000-0000-0000-0000-000000000001", "urn:uuid:2"
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="{ours}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
        'Type="uint8" SizeX="32" SizeY="24" SizeZ="2" SizeC="1" SizeT="1">'
        + block.format(0, "a.ome.tif", ours)
        + block.format(1, place.format(tmp_path), theirs)
        + "</Pixels></Image></OME>"
    )
    path = tmp_path / "in/a.ome.tif"
    tifffile.imwrite(path, PICTURE, description=xml.encode(), metadata=None)
    with pytest.raises(ReadError, match="elsewhere"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
@pytest.mark.parametrize("place", ["../secret.raw", "{}/secret.raw"])
def test_headers_of_volumes_name_no_files_outside(name, place, tmp_path):
    pytest.importorskip("SimpleITK")
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.raw").write_bytes(SECRET.tobytes())
    told = place.format(tmp_path)
    texts = {
        "a.mhd": "ObjectType = Image\nNDims = 2\nDimSize = 32 24\nElementType = MET_UCHAR\n"
        f"ElementDataFile = {told}\n",
        "a.nhdr": "NRRD0004\ntype: uint8\ndimension: 2\nsizes: 32 24\nencoding: raw\n"
        f"data file: {told}\n",
    }
    (tmp_path / "in" / name).write_text(texts[name], "utf-8")
    with pytest.raises(ReadError, match="elsewhere"):
        read_image(tmp_path / "in" / name)
    inside = texts[name].replace(told, "own.raw")
    (tmp_path / "in/own.raw").write_bytes(PICTURE.tobytes())
    (tmp_path / "in" / name).write_text(inside, "utf-8")
    np.testing.assert_array_equal(read_image(tmp_path / "in" / name).data, PICTURE)


def test_hdf5_names_no_files_outside(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.raw").write_bytes(SECRET.tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = SECRET
    with h5py.File(tmp_path / "in/raw.h5", "w") as file:
        file.create_dataset("a", SECRET.shape, "u1", external=str(tmp_path / "secret.raw"))
    with h5py.File(tmp_path / "in/link.h5", "w") as file:
        file["a"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "a")
    layout = h5py.VirtualLayout(SECRET.shape, "u1")
    layout[...] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "a", SECRET.shape)
    with h5py.File(tmp_path / "in/virtual.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    for name in ("raw.h5", "link.h5", "virtual.h5"):
        with pytest.raises(ReadError, match=r"elsewhere|holds no array"):
            read_image(tmp_path / "in" / name)


def test_virtual_datasets_beside_are_read_and_lost_ones_said(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["a"] = PICTURE
    layout = h5py.VirtualLayout(PICTURE.shape, "u1")
    layout[...] = h5py.VirtualSource("part.h5", "a", PICTURE.shape)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    np.testing.assert_array_equal(read_image(tmp_path / "virtual.h5").data, PICTURE)
    (tmp_path / "part.h5").unlink()
    with pytest.raises(ReadError, match=r"has samples in part\.h5, which is not there"):
        read_image(tmp_path / "virtual.h5")


def test_entities_of_xml_are_not_expanded_from_files(tmp_path, capsys):
    secret = tmp_path / "secret.txt"
    secret.write_text("hunter2", "utf-8")
    xml = (
        f'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY e SYSTEM "file://{secret}">]>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="32" SizeY="24" '
        'SizeZ="1" SizeC="1" SizeT="1"><Channel ID="Channel:0" Name="&e;"/><TiffData/></Pixels>'
        "</Image></OME>"
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", PICTURE, description=xml.encode(), metadata=None)
    main(["info", str(tmp_path / "a.ome.tif")])
    assert "hunter2" not in "".join(capsys.readouterr())


def test_importing_opens_no_socket_and_writes_nothing(tmp_path):
    """Of Python's own audit: no socket, no program, no file that is written but byte code."""
    code = """
import sys
import numpy.testing  # NumPy 2.0 asks lscpu about the processor as it loads this
seen = []
def audit(event, args):
    if event in ("socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.exec"):
        seen.append((event, str(args)))
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        if "__pycache__" not in str(args[0]):
            seen.append((event, str(args)))
    if event in ("os.mkdir", "os.remove", "os.rename"):
        if "__pycache__" not in str(args):
            seen.append((event, str(args)))
sys.addaudithook(audit)
import napari_local_ncc.cli, napari_local_ncc.io.reading, napari_local_ncc.transforms.registration
assert not seen, seen
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)

"""Files that change or cost much while they are read, and texts that are none: one clear word."""

import itertools
import json
import os
import re
import shutil
import struct
import tracemalloc
from importlib import import_module

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_local_ncc import Grid, NCCParameters, Registration, read_image
from napari_local_ncc.batch import FilePair, compare
from napari_local_ncc.batch.run import check_folder
from napari_local_ncc.cli import main
from napari_local_ncc.cli.inputs import open_transform
from napari_local_ncc.image.read_guard import ReadError, ReadNote
from napari_local_ncc.io import file_array
from napari_local_ncc.io.file_array import FileArray
from napari_local_ncc.io.readers.raw_samples import RawSamples
from napari_local_ncc.progress import finish

IMAGE = np.random.default_rng(0).integers(1, 60000, (4, 96, 128)).astype(np.uint16)

# ---------------------------------------------------------------- samples as they lie


@st.composite
def parts(draw, n):
    if draw(st.booleans()):
        return draw(st.integers(-n, n - 1))
    ends = st.none() | st.integers(-n - 2, n + 2)
    step = draw(st.sampled_from([None, 1, 2, 3, -1, -2]))
    return slice(draw(ends), draw(ends), step)


@given(st.data())
def test_a_part_that_is_read_is_that_of_the_array(raw_file, data):
    path, array = raw_file
    ndim = data.draw(st.integers(1, 3))
    shape = (7, 5, 6)[:ndim]
    order = data.draw(st.sampled_from(list(itertools.permutations(range(ndim)))))
    whole = array[: np.prod(shape)].reshape(shape).transpose(order)
    raw = RawSamples(str(path), array.dtype, 3, shape, order)
    count = data.draw(st.integers(1, ndim))
    index = tuple(data.draw(parts(n)) for n in whole.shape[:count])
    assert raw.shape == whole.shape
    np.testing.assert_array_equal(raw[index], whole[index])


@pytest.fixture(scope="module")
def raw_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("raw") / "samples.raw"
    array = np.arange(7 * 5 * 6, dtype=">u2")
    path.write_bytes(b"abc" + array.tobytes())
    return path, array


def test_an_index_that_is_not_there_is_an_error(raw_file):
    path, array = raw_file
    with pytest.raises(IndexError, match="index 4 is out of bounds for an axis of 4"):
        RawSamples(str(path), array.dtype, 0, (4, 2))[4]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">i2", "f4", "?"])
def test_a_npy_of_any_order_is_read(order, dtype, tmp_path):
    array = np.asarray(IMAGE.astype(dtype), order=order)
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy").data.compute(), array)


# ---------------------------------------------------------------- cut off while they are read


def npy(path):
    np.save(path, IMAGE)


def tif(path):
    tifffile.imwrite(path, IMAGE, photometric="minisblack")


def h5(path):
    with pytest.importorskip("h5py").File(path, "w") as file:
        file.create_dataset("a", data=IMAGE, chunks=(1, 32, 32))


def mrc(path):
    with pytest.importorskip("mrcfile").new(path) as file:
        file.set_data(IMAGE)
        file.set_volume()


def volume(path):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(IMAGE), str(path))


def hdr(path):
    volume(path.with_suffix(".img"))


def floats(path):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(IMAGE.astype("f4")), str(path))


WRITERS = {"a.npy": npy, "a.tif": tif, "a.h5": h5, "a.mrc": mrc, "a.nii": volume, "f.nii": floats,
           "a.mhd": volume, "a.nhdr": volume, "a.mha": volume, "a.hdr": hdr,
           "a.nii.gz": volume}  # fmt: skip
HELD_BY = {"a.hdr": "a.img", "a.mhd": "a.raw", "a.nhdr": "a.raw"}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_cut_off_after_it_was_opened_is_an_error(name, tmp_path):
    WRITERS[name](tmp_path / name)
    if name == "a.nhdr":
        shutil.move(next(tmp_path.glob("a.raw*")), tmp_path / "a.raw")
    held = tmp_path / HELD_BY.get(name, name)
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image.data[0, :8, :8].compute(), IMAGE[0, :8, :8])
    os.truncate(held, held.stat().st_size // 2)
    with pytest.raises(ValueError, match=rf"(?i){re.escape(name)}.*(cut off|written anew)"):
        image.data[-1, -8:, -8:].compute()


class CutOffWhileRead:
    """What HDF5 and ITK do: samples of a file that is cut off meanwhile are zeros."""

    def __init__(self, path, key):
        self.path = path

    def __getitem__(self, index):
        os.truncate(self.path, 10)
        return np.zeros(IMAGE.shape, IMAGE.dtype)[index]


def test_a_file_that_is_cut_off_while_a_part_is_read_is_an_error(tmp_path):
    np.save(tmp_path / "a.npy", IMAGE)
    array = FileArray.at(CutOffWhileRead, tmp_path / "a.npy", 0, IMAGE.shape, IMAGE.dtype)
    with pytest.raises(ReadError, match=r"a\.npy.*cut off"):
        array[0]


def test_the_files_that_lie_beside_are_watched_too(tmp_path):
    for k in range(3):
        np.save(tmp_path / f"p{k}.npy", IMAGE[k])
    with pytest.warns(ReadNote, match="3 files"):
        image = read_image(tmp_path / "p*.npy")
    np.testing.assert_array_equal(image.data[1].compute(), IMAGE[1])
    np.save(tmp_path / "p1.npy", IMAGE[2])
    with pytest.raises(ValueError, match=r"p1\.npy was written anew"):
        image.data[1].compute()


def write_ome(folder, planes):
    files = [(f"{k}.ome.tif", f"urn:uuid:00000000-0000-0000-0000-{k:012}") for k in range(planes)]
    blocks = "".join(
        f'<TiffData FirstZ="{k}" IFD="0" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID>'
        "</TiffData>"
        for k, (name, uuid) in enumerate(files)
    )
    for k, (name, uuid) in enumerate(files):
        xml = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{uuid}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
            f'Type="uint8" SizeX="8" SizeY="6" SizeZ="{planes}" SizeC="1" SizeT="1">{blocks}'
            "</Pixels></Image></OME>"
        )
        plane = np.full((6, 8), k, np.uint8)
        tifffile.imwrite(folder / name, plane, description=xml.encode(), metadata=None)
    return "0.ome.tif", "{}.ome.tif"


def write_list(folder, planes):
    pytest.importorskip("SimpleITK")
    for k in range(planes):
        (folder / f"{k}.raw").write_bytes(bytes([k]) * 48)
    names = "\n".join(f"{k}.raw" for k in range(planes))
    (folder / "a.mhd").write_text(
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 8 6 {planes}\n"
        f"ElementType = MET_UCHAR\nElementDataFile = LIST\n{names}\n",
        encoding="ascii",
    )
    return "a.mhd", "{}.raw"


def write_virtual(folder, planes):
    h5py = pytest.importorskip("h5py")
    layout = h5py.VirtualLayout((planes, 6, 8), "u1")
    for k in range(planes):
        with h5py.File(folder / f"{k}.h5", "w") as file:
            file["a"] = np.full((6, 8), k, np.uint8)
        layout[k] = h5py.VirtualSource(f"{k}.h5", "a", (6, 8))
    with h5py.File(folder / "all.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    return "all.h5", "{}.h5"


def write_virtual_without_end(folder, planes):
    """Write rows of files that may grow, as detectors do."""
    h5py = pytest.importorskip("h5py")
    layout = h5py.VirtualLayout((3, 6 * planes, 8), "u1", maxshape=(None, 6 * planes, 8))
    endless = slice(0, h5py.h5s.UNLIMITED)
    for k in range(planes):
        with h5py.File(folder / f"{k}.h5", "w") as file:
            file.create_dataset("a", data=np.full((3, 6, 8), k, "u1"), maxshape=(None, 6, 8))
        source = h5py.VirtualSource(f"{k}.h5", "a", (3, 6, 8), maxshape=(None, 6, 8))
        layout[endless, 6 * k : 6 * (k + 1)] = source[endless]
    with h5py.File(folder / "all.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    return folder / "all.h5"


def test_a_virtual_dataset_of_files_that_may_grow_is_read(tmp_path):
    image = read_image(write_virtual_without_end(tmp_path, 4))
    np.testing.assert_array_equal(image.data[1, :, 0], np.repeat(range(4), 6))
    os.utime(tmp_path / "2.h5", ns=(1, 1))
    with pytest.raises(ValueError, match=r"2\.h5 was written anew"):
        image.data[1, 12:18].compute()


@pytest.mark.parametrize("write", [write_ome, write_list, write_virtual])
def test_a_plane_is_read_without_a_look_at_the_files_of_the_others(write, tmp_path, monkeypatch):
    name, held = write(tmp_path, 9)
    made, looked, at = [], [], FileArray.at
    monkeypatch.setattr(FileArray, "at", lambda *told: made.append(at(*told)) or made[-1])
    read_image(tmp_path / name)
    (source,) = made
    version_of = file_array.version_of
    monkeypatch.setattr(file_array, "version_of", lambda p: looked.append(p) or version_of(p))
    for k in (5, 0, 8):
        assert np.all(source[k : k + 1] == k)
    assert {os.path.basename(p) for p in looked} == {name, *(held.format(k) for k in (0, 5, 8))}
    file = tmp_path / held.format(5)
    os.utime(file, ns=(1, 1))
    assert np.all(source[8] == 8)
    for index in (5, slice(3, 7), slice(7, 3, -1), (slice(None), 2, slice(1, 3))):
        with pytest.raises(ValueError, match=f"{file.name} was written anew"):
            source[index]


# ---------------------------------------------------------------- what commands say


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = Grid(IMAGE.shape[1:], axis_labels=("y", "x"))
    Registration.from_matrix(np.eye(3), grid, "translation").save("t.json")
    for name in ("a.zarr", "b.zarr"):
        zarr.create_array(name, data=IMAGE[0], chunks=(32, 32))
    return tmp_path


@pytest.mark.parametrize("words", [
    "apply t.json b.zarr -o out.npy",
    "register a.zarr b.zarr -o out.json",
    "refine a.zarr b.zarr -o out.json",
])  # fmt: skip
def test_nothing_is_written_of_files_that_changed_meanwhile(words, folder, monkeypatch, capsys):
    command = import_module(f"napari_local_ncc.cli.{words.split()[0]}")
    follow = command.follow

    def follow_and_change(steps):
        def changing():
            result = yield from steps
            return result

        chunk = folder / "b.zarr" / "c" / "0" / "0"
        os.utime(chunk, ns=(1, 1))
        return follow(changing())

    monkeypatch.setattr(command, "follow", follow_and_change)
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert re.search(r"b\.zarr changed during the run: the (image|transform) is not kept", said)
    assert not list(folder.glob("out*"))


def test_a_batch_without_maps_tells_of_a_file_that_changed(folder, monkeypatch):
    def judge(comparison, **_):
        os.utime(folder / "b.zarr" / "c" / "0" / "0", ns=(1, 1))
        return []

    monkeypatch.setattr(compare, "judge_frames", judge)
    pair = FilePair("p", str(folder / "a.zarr"), str(folder / "b.zarr"))
    settings = compare.Settings(NCCParameters(radius=2), keep_maps=False)
    with pytest.raises(OSError, match="changed during the run: the result is not kept"):
        finish(compare.compare_files(pair, settings, folder))


@pytest.mark.parametrize("name", ["results.csv", "frames.csv", "p.json"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_among_the_results_of_a_batch_is_not_waited_for(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileExistsError, match=f"{name} is no result of a batch"):
        check_folder([FilePair("p", "a.npy", "b.npy")], tmp_path, keep_maps=True)


# ---------------------------------------------------------------- texts


def test_the_text_of_a_transform_is_looked_at_as_a_file_is():
    grid = Grid((4, 5))
    values = Registration.identity(grid, "translation").to_dict()
    whole = {"format": "napari-local-ncc transform", "version": 1, **values}
    for good in (values, whole):
        assert open_transform(json.dumps(good), grid).model == "translation"
    assert open_transform(json.dumps(values | {"model": "theirs"}), grid).model == "theirs"
    for bad, said in (
        ({"version": 99}, "its version is 99, but 1 can be read"),
        ({"version": True}, "its version is True"),
        ({"format": "x"}, "its format is 'x'"),
        ({"format": None}, "its format is None"),
        ({"model": ""}, "the model must be a name"),
        ({"model": "a\nb"}, "the model must be a name"),
        ({"grid": [1]}, "its parts do not fit together$"),
        ({"matrix": {"a": 1}}, "--transform"),
        ({"reports": [5]}, "its parts do not fit together$"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            open_transform(json.dumps(whole | bad), grid)
        assert str(caught.value).startswith("cannot read the JSON of --transform: ")
        assert not re.search(r"Error\(|argument|object|napari_local_ncc\.", str(caught.value))
    with pytest.raises(ValueError, match="it lacks 'format'"):
        open_transform(json.dumps({"version": 1, **values}), grid)


DEEP = "[" * 50_000 + "]" * 50_000


def test_deep_texts_are_said_to_be_deep(folder, capsys):
    pair = ["map", "a.zarr", "b.zarr", "-o", "m.npy"]
    for more in (["--transform", '{"a":' + DEEP + "}"], ["--grid-fixed", DEEP]):
        assert main([*pair, *more]) == 2
        assert "nested too deeply" in capsys.readouterr().err
    (folder / "p.json").write_text(DEEP, encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"p\.json is no result of a batch"):
        check_folder([FilePair("p", "a.npy", "b.npy")], folder, keep_maps=False)


@pytest.mark.parametrize("error", [NotImplementedError("later"), RecursionError("too deep")])
def test_a_defect_is_no_lack_of_memory(error, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(import_module("napari_local_ncc.cli.main"), "app", fail)
    with pytest.raises(type(error)):
        main(["demo"])


# ---------------------------------------------------------------- small files that cost much


@pytest.mark.parametrize("claimed", [2**31 - 1, 5000, -1])
def test_an_extension_that_a_mrc_does_not_have_is_not_made(claimed, tmp_path):
    mrc(tmp_path / "a.mrc")
    content = bytearray((tmp_path / "a.mrc").read_bytes()[:3000])
    content[92:96] = struct.pack("<i", claimed)
    (tmp_path / "a.mrc").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a\.mrc: its header (claims|is damaged)"):
        read_image(tmp_path / "a.mrc")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**8


def png(path, mode, side, **more):
    Image.new(mode, (side, side)).save(path, **more)


@pytest.mark.parametrize(("mode", "more", "bytes_each"), [
    ("1", {}, 3), ("L", {}, 3), ("L", {"transparency": 3}, 9), ("P", {}, 11), ("RGB", {}, 10),
    ("RGB", {"transparency": (1, 2, 3)}, 16), ("RGBA", {}, 12), ("LA", {}, 8), ("I;16", {}, 6),
])  # fmt: skip
def test_what_decoding_a_picture_takes_is_counted(mode, more, bytes_each, tmp_path, monkeypatch):
    png(tmp_path / "a.png", mode, 1000, **more)
    needed = bytes_each * 1000**2
    monkeypatch.setenv("LNCC_READ_LIMIT", str(needed))
    assert read_image(tmp_path / "a.png").grid.shape == (1000, 1000)
    monkeypatch.setenv("LNCC_READ_LIMIT", str(needed - 1))
    with pytest.raises(ValueError, match=r"a\.png: it would need"):
        read_image(tmp_path / "a.png")

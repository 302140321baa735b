"""Files that are damaged or claim too much: one line that names file, part and reason."""

import json
import os
import shutil
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_local_ncc import (
    Grid,
    NCCParameters,
    Registration,
    confidence_map,
    read_image,
    read_map,
    read_transform,
    write_map,
)
from napari_local_ncc.cli import main
from napari_local_ncc.image.read_guard import LIMIT, ReadError, check_claim, guard_reading
from napari_local_ncc.io.points import read_points, write_points
from napari_local_ncc.reports.tables import Distribution, FrameRow, FrameTable, write_csv

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32)).astype(np.uint8)
DEEP = "[" * 50_000 + "]" * 50_000
LITTLE = 100_000  # bytes: the limit in the tests of what claims too much


def said_by(capsys, *words):
    """Run the command line on what it must refuse, and return the one line that it says."""
    assert main(list(map(str, words))) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "local-ncc: " in each]
    return line


# ---------------------------------------------------------------- documents


def write_zarr_with(attributes):
    def write(path):
        zarr.create_array(path, data=PICTURE, chunks=(8, 8))
        document = json.loads((path / "zarr.json").read_text("utf-8"))
        (path / "zarr.json").write_text(
            json.dumps(document | {"attributes": "here"}).replace('"here"', attributes), "utf-8"
        )

    return write


def write_group_with(image):
    def write(path):
        text = json.dumps({"ome": {"version": "0.5", "multiscales": [image]}})
        (path / "0").mkdir(parents=True)
        zarr.create_array(path / "0", data=PICTURE, overwrite=True)
        (path / "zarr.json").write_text(
            '{"zarr_format": 3, "node_type": "group", "attributes": ' + text + "}", "utf-8"
        )

    return write


DATASETS = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}]
DOCUMENTS = {
    "deep.zarr": (write_zarr_with(DEEP), "nested too deeply"),
    "text.zarr": (write_zarr_with('"a text"'), "."),
    "number.zarr": (write_zarr_with("7"), "."),
    "axes.ome.zarr": (write_group_with({"axes": [1, None], "datasets": DATASETS}), r"axes\[0\]"),
    "names.ome.zarr": (
        write_group_with({"axes": [{"name": 1}, {"name": []}], "datasets": DATASETS}),
        r"axes\[0\]\.name is 1, not a str",
    ),
    "level.ome.zarr": (write_group_with({"axes": ["y", "x"], "datasets": 5}), "datasets is 5"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_metadata_that_make_no_sense(name, tmp_path, capsys):
    write, words = DOCUMENTS[name]
    write(tmp_path / name)
    with pytest.raises(ReadError, match=words) as caught:
        read_image(tmp_path / name)
    assert name in str(caught.value)
    assert name in said_by(capsys, "info", tmp_path / name)


def test_a_shard_that_is_smaller_than_its_index(tmp_path, capsys):
    path = tmp_path / "a.zarr"
    array = zarr.create_array(path, shape=(24, 32), shards=(16, 16), chunks=(8, 8), dtype="u1")
    array[:] = PICTURE
    document = json.loads((path / "zarr.json").read_text("utf-8"))
    document["chunk_grid"]["configuration"]["chunk_shape"] = [2**31, 16]
    (path / "zarr.json").write_text(json.dumps(document), "utf-8")
    tracemalloc.start()
    assert "less than an index of 536870912 chunks" in said_by(capsys, "info", path)
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()


@pytest.mark.parametrize(("pages", "back"), [(1, 0), (2, 0), (150, 120)])
def test_pages_of_a_tiff_that_go_round_in_a_circle(pages, back, tmp_path, capsys):
    path = tmp_path / "round.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(pages):
            writer.write(np.zeros((16, 16), np.uint8), contiguous=False)
    with tifffile.TiffFile(path) as tif:
        offsets = [page.offset for page in tif.pages]
        last = offsets[-1] + 2 + 12 * len(tif.pages[-1].tags)
    with path.open("r+b") as file:
        file.seek(last)
        assert file.read(4) == bytes(4)
        file.seek(last)
        file.write(offsets[back].to_bytes(4, "little"))
    assert f"page {pages} is followed by an earlier one" in said_by(capsys, "info", path)


@pytest.mark.parametrize("axes", ["1e308", "11", "-1", "0", "99999999999"])
@pytest.mark.parametrize("ending", [".mha", ".mhd"])
def test_a_metaimage_of_more_axes_than_it_can_have(axes, ending, tmp_path, capsys):
    path = tmp_path / f"a{ending}"
    header = (
        f"ObjectType = Image\nNDims = {axes}\nBinaryData = True\nDimSize = 8 8\n"
        "ElementNumberOfChannels = 2\nElementType = MET_FLOAT\n"
    )
    beside = "LOCAL" if ending == ".mha" else "a.raw"
    path.write_bytes(f"{header}ElementDataFile = {beside}\n".encode() + bytes(512))
    (tmp_path / "a.raw").write_bytes(bytes(512))
    np.save(tmp_path / "b.npy", np.eye(8))
    image = tmp_path / "b.npy"
    words = f"its NDims is '{axes}'"
    assert words in said_by(capsys, "info", path)
    made = tmp_path / "c.npy"
    assert words in said_by(capsys, "apply", path, image, "--like", image, "-o", made)


@pytest.mark.parametrize("numbers", ["1 3 1", "1 3 0", "", "\xac b"])
def test_a_metaimage_of_a_pattern_of_files(numbers, tmp_path, capsys):
    """MetaIO divided by a step of 0, and ended the process."""
    path = tmp_path / "a.mha"
    header = "ObjectType = Image\nNDims = 3\nDimSize = 8 8 3\nElementType = MET_UCHAR\n"
    path.write_text(f"{header}ElementDataFile = a%d.raw {numbers}\n", "latin-1")
    for k in range(1, 4):
        (tmp_path / f"a{k}.raw").write_bytes(bytes(64))
    assert "as a pattern" in said_by(capsys, "info", path)


@pytest.mark.parametrize(
    "end", [b"ElementDataFile\0\0\0\1OCAL\n", b"", b"B\0\0\0 = 1\nElementDataFile = LOCAL\n"]
)
def test_a_metaimage_whose_header_does_not_end(end, tmp_path, capsys):
    """MetaIO went on in the samples, and ended the process by a signal now and then."""
    header = b"ObjectType = Image\nNDims = 2\nDimSize = 8 8\nElementType = MET_UCHAR\n"
    (tmp_path / "a.mha").write_bytes(header + end + bytes(range(64)))
    assert "does not say where its samples are" in said_by(capsys, "info", tmp_path / "a.mha")


def test_an_empty_list_of_filters_is_no_word_to_a_user(tmp_path, capsys):
    """Zarr warns of it, once for each time it looks."""
    zarr.create_array(tmp_path / "a.zarr", data=np.eye(8), chunks=(4, 4), zarr_format=2)
    document = tmp_path / "a.zarr" / ".zarray"
    text = document.read_text("utf-8")
    assert '"filters": null' in text
    document.write_text(text.replace('"filters": null', '"filters": []'), "utf-8")
    assert main(["info", str(tmp_path / "a.zarr")]) == 0
    assert "filters" not in capsys.readouterr().err


TRANSFORMS = {
    "deep.json": DEEP,
    "deeper.json": '{"format": "napari-local-ncc transform", "version": 1, "grid": ' + DEEP + "}",
    "list.json": "[1, 2]",
    "text.json": '"text"',
    "axes.json": json.dumps(
        {
            "format": "napari-local-ncc transform",
            "version": 1,
            **Registration.identity(Grid((4, 4))).to_dict(),
        }
    ).replace('"axis_labels": ["-2", "-1"]', '"axis_labels": [3, {"a": 1}]'),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_that_make_no_sense(name, tmp_path, capsys):
    (tmp_path / name).write_text(TRANSFORMS[name], "utf-8")
    with pytest.raises(ReadError, match="no transform of local-ncc") as caught:
        read_transform(tmp_path / name)
    assert name in str(caught.value)
    assert name in said_by(capsys, "info", tmp_path / name)


@pytest.fixture
def small_map():
    return confidence_map(PICTURE, PICTURE, parameters=NCCParameters(radius=2))


def test_a_map_whose_origin_nobody_told(small_map, tmp_path, capsys):
    write_map(small_map, tmp_path / "a.npy")
    sidecar = tmp_path / "a.npy.json"
    document = json.loads(sidecar.read_text("utf-8"))
    sidecar.write_text(json.dumps(document | {"provenance": {}}), "utf-8")
    assert main(["info", str(tmp_path / "a.npy")]) == 0
    assert "made with ?" in capsys.readouterr().out
    for provenance in ("none", [1], None):
        sidecar.write_text(json.dumps(document | {"provenance": provenance}), "utf-8")
        with pytest.raises(ReadError, match=r"the map .*a\.npy|a\.npy: its provenance"):
            read_map(tmp_path / "a.npy")


@pytest.mark.parametrize("ending", [".npy", ".ome.zarr", ".ome.tif"])
def test_a_map_of_another_size_than_its_document_says(ending, small_map, tmp_path):
    write_map(small_map, tmp_path / f"a{ending}")
    place = {".npy": "a.npy.json", ".ome.zarr": "a.ome.zarr/zarr.json", ".ome.tif": "a.ome.tif"}
    file = tmp_path / place[ending]
    document = small_map.grid.to_dict()["shape"]
    content = file.read_bytes()
    for old, new in ((b"24,", b"25,"),):
        assert document == [24, 32]
        assert old in content
        content = content.replace(old, new)
    file.write_bytes(content)
    with pytest.raises(ReadError, match=r"samples, but it has|cannot read"):
        read_map(tmp_path / f"a{ending}")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_damaged_chunk_of_a_map_is_named(zarr_format, small_map, tmp_path):
    write_map(small_map, tmp_path / "a.ome.zarr")
    (chunk,) = [p for p in (tmp_path / "a.ome.zarr/0").rglob("*") if p.is_file() and "c" in p.parts]
    chunk.write_bytes(chunk.read_bytes()[:zarr_format] + b"\xff" * 9)
    with pytest.raises(ReadError, match=r"a.ome.zarr/0: its samples \[.*\] cannot be read \("):
        read_map(tmp_path / "a.ome.zarr").bands.compute()


# ---------------------------------------------------------------- claims


def write_packed_tiff(path):
    tifffile.imwrite(path, np.zeros((1000, 1000), "u1"), compression="zlib", rowsperstrip=1000)


def write_claiming_tiff(path):
    """Write 48 planes of a few bytes each that claim 2**32 - 1 rows."""
    with tifffile.TiffWriter(path) as tif:
        for _ in range(48):
            tif.write(PICTURE, compression="zlib", rowsperstrip=24, metadata=None, contiguous=False)
    content = bytearray(path.read_bytes())
    (place,) = struct.unpack_from("<I", content, 4)
    while place:
        (count,) = struct.unpack_from("<H", content, place)
        for k in range(count):
            entry = place + 2 + 12 * k
            if struct.unpack_from("<H", content, entry)[0] in (257, 278):
                struct.pack_into("<HII", content, entry + 2, 4, 1, 2**32 - 1)
        (place,) = struct.unpack_from("<I", content, place + 2 + 12 * count)
    path.write_bytes(content)


def write_packed_png(path):
    Image.fromarray(np.zeros((1000, 1000), np.uint8)).save(path)


def write_claiming_png(path):
    def chunk(name, content):
        whole = name + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    samples = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + samples + chunk(b"IEND", b""))


def write_packed_zarr(path):
    zarr.create_array(path, data=np.ones((1000, 1000), np.uint8), chunks=(1000, 1000))


def write_absent_zarr(path):
    zarr.create_array(path, shape=(10**6, 10**6), chunks=(10**6, 10**6), dtype="u1")


def write_shredded_zarr(path):
    zarr.create_array(path, shape=(10**9, 10**9), chunks=(1, 1), dtype="u1")


def write_packed_zip(path):
    zarr.create_array(path.with_suffix(".zarr"), data=PICTURE)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path.with_suffix(".zarr") / "zarr.json", "zarr.json")
        archive.writestr("c/0/0", bytes(10**6))


def write_packed_nifti(path):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((1, 1000, 1000), np.uint8)), str(path), True)


def write_packed_hdf5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.zeros((1000, 1000), "u1"), chunks=(1000, 1000),
                            compression="gzip")  # fmt: skip


CLAIMS = {
    "packed.tif": (write_packed_tiff, "a strip of its plane 0 would need 1 MB at once"),
    "claiming.tif": (write_claiming_tiff, "plane 0 claims|a strip of its plane 0 claims"),
    "packed.png": (write_packed_png, "it would need 3 MB at once, of"),
    "claiming.png": (write_claiming_png, "claims 30 GB, more than its"),
    "packed.zarr": (write_packed_zarr, "its chunk c/0/0 would need 1 MB at once"),
    "absent.zarr": (write_absent_zarr, "a chunk of 1000000x1000000 would need 1 TB at once"),
    "shredded.zarr": (write_shredded_zarr, "claims 1,000,000,000,000,000,000 chunks of 1x1"),
    "packed.ozx": (write_packed_zip, "its entry c/0/0 would need 1 MB at once"),
    "packed.nii.gz": (write_packed_nifti, "its samples would need 1 MB at once"),
    "packed.h5": (write_packed_hdf5, "a chunk of its dataset a would need 1 MB at once"),
}


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
@pytest.mark.parametrize("name", CLAIMS)
def test_what_a_small_file_claims_is_not_believed(name, tmp_path, monkeypatch):
    write, words = CLAIMS[name]
    write(tmp_path / name)
    monkeypatch.setenv(LIMIT, str(LITTLE))
    tracemalloc.start()
    try:
        with pytest.raises(ReadError, match=words) as caught:
            read_image(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 5e7
    finally:
        tracemalloc.stop()
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["packed.tif", "packed.png", "packed.zarr", "packed.h5"])
def test_who_trusts_a_file_can_say_so(name, tmp_path, monkeypatch):
    """The advice of the message works."""
    CLAIMS[name][0](tmp_path / name)
    monkeypatch.setenv(LIMIT, str(LITTLE))
    with pytest.raises(ReadError) as caught:
        read_image(tmp_path / name)
    monkeypatch.setenv(LIMIT, str(caught.value).split(f"{LIMIT}=")[1].split()[0])
    assert read_image(tmp_path / name).data.sum().compute() in (0, 10**6)
    monkeypatch.setenv(LIMIT, "much")
    with pytest.raises(ValueError, match="must be a number of bytes, got 'much'"):
        read_image(tmp_path / name)


def test_a_field_that_claims_more_than_is_stored(tmp_path, capsys):
    grid = Grid((15_000, 15_000), axis_labels=("y", "x"))
    small = np.zeros((2, 4, 4), np.float32)
    whole = Registration("flow", np.eye(3), Grid((4, 4)), *[np.array(np.nan)] * 3, small)
    whole.save(tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text("utf-8"))
    document["displacement"]["shape"] = [2, 15_000, 15_000]
    document["grid"] = grid.to_dict()
    (tmp_path / "a.json").write_text(json.dumps(document), "utf-8")
    field = json.loads((tmp_path / "a.zarr/zarr.json").read_text("utf-8"))
    field["shape"] = [2, 15_000, 15_000]
    (tmp_path / "a.zarr/zarr.json").write_text(json.dumps(field), "utf-8")
    line = said_by(capsys, "info", tmp_path / "a.json")
    assert "a.zarr: the dense field would need 1.8 GB at once" in line


@pytest.mark.parametrize("ending", [".npy", ".ome.zarr", ".ome.tif"])
def test_a_transform_of_a_huge_grid_is_refused_before_the_work(ending, tmp_path, capsys):
    Registration.identity(Grid((10**7, 10**7))).save(tmp_path / "a.json")
    np.save(tmp_path / "i.npy", PICTURE)
    line = said_by(
        capsys, "apply", tmp_path / "a.json", tmp_path / "i.npy", "-o", tmp_path / f"o{ending}"
    )
    assert ", but its disk has" in line
    assert not list(tmp_path.glob("o*"))


def test_sparse_planes_and_masks_of_zeros_are_no_attack():
    check_claim(2**28, 0, "it")
    check_claim(10**12, 10**10, "it")
    with pytest.raises(ReadError):
        check_claim(10**12, 10**9, "it")


# ---------------------------------------------------------------- what is no file


@pytest.mark.parametrize("words", ["info P", "map P I -o O", "map I I -o O --transform P",
                                   "map I I -o O --mask P", "apply P I -o O",
                                   "convert P T --like I"])  # fmt: skip
def test_a_pipe_is_refused(words, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    np.save(tmp_path / "i.npy", PICTURE)
    names = {"P": "pipe", "I": "i.npy", "O": "o.npy", "T": "t.tfm"}
    line = said_by(capsys, *(tmp_path / names[w] if w in names else w for w in words.split()))
    assert "pipe is a pipe or a device, not a file" in line


def _raise_guarded(error):
    with guard_reading("a.tif"):
        raise error


def test_reasons_are_one_line_without_addresses():
    errors = (
        AttributeError("'str' object has no attribute 'get'"),
        ValueError("first 0x7f00deadbeef\nsecond"),
        KeyError("axes"),
        IndexError(),
        zlib.error("Error -3"),
        ValueError("cannot reshape array of size 0 into shape (1,2)"),
        MemoryError(),
    )
    for error in errors:
        with pytest.raises(ReadError, match=r"^(cannot read )?a\.tif") as caught:
            _raise_guarded(error)
        said = str(caught.value)
        assert "\n" not in said
        assert "0x7f" not in said
        assert "reshape" not in said


# ---------------------------------------------------------------- names and cells


def test_names_do_not_steer_the_terminal(tmp_path, capsys):
    evil = "a\x1b[31m\x07\u202eb\n.npy"
    np.save(tmp_path / evil, PICTURE)
    assert main(["info", str(tmp_path / evil)]) == 0
    assert main(["info", str(tmp_path / f"{evil}none")]) == 2
    said = "".join(capsys.readouterr())
    assert "\\x1b[31m\\x07\\u202eb" in said
    assert not set(said) & {"\x1b", "\x07", "\u202e"}


@pytest.mark.parametrize("name", ["a b.npy", "ü µ 漢字.npy", "'q\"$x.npy", "-a.npy", "--b=c.npy"])
def test_names_of_all_kinds(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / name, PICTURE)
    words = ["map", f"./{name}", f"./{name}", "-o", f"./out {name}"]
    assert main(words) == 0
    assert (tmp_path / f"out {name}").exists()
    if name.startswith("-"):
        assert "a file whose name begins with - is given as ./-NAME" in said_by(
            capsys, "map", name, name, "-o", "o.npy"
        )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
@pytest.mark.parametrize("name", ["zarr.json", ".zarray", ".zgroup", ".zattrs"])
def test_a_pipe_within_a_zarr_is_refused(name, tmp_path, capsys):
    (tmp_path / "a.zarr").mkdir()
    os.mkfifo(tmp_path / "a.zarr" / name)
    assert f"{name} is a pipe or a device" in said_by(capsys, "info", tmp_path / "a.zarr")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
def test_a_pipe_that_a_header_names_is_refused(tmp_path, capsys):
    pytest.importorskip("SimpleITK")
    header = "ObjectType = Image\nNDims = 2\nDimSize = 32 24\nElementType = MET_UCHAR\n"
    (tmp_path / "a.mhd").write_text(f"{header}ElementDataFile = a.raw\n", "utf-8")
    os.mkfifo(tmp_path / "a.raw")
    assert "a.raw is a pipe or a device" in said_by(capsys, "info", tmp_path / "a.mhd")


def test_names_that_are_too_long(tmp_path, capsys):
    np.save(tmp_path / "a.npy", PICTURE)
    long = tmp_path / f"{'x' * 300}.npy"
    assert "name too long" in said_by(capsys, "info", long)
    assert "has 304 bytes; at most" in said_by(
        capsys, "map", tmp_path / "a.npy", tmp_path / "a.npy", "-o", long
    )


def test_formulas_in_tables_are_texts(tmp_path):
    row = FrameRow((0,), Distribution(*[0.5] * 5))
    write_csv(FrameTable(("=HYPERLINK(1)",), (row,)), tmp_path / "t.csv")
    header, values = (tmp_path / "t.csv").read_text("utf-8").splitlines()
    assert header.startswith("'=HYPERLINK(1),median_ncc")
    assert values == "0,0.5,0.5,0.5,0.5,0.5"


def test_formulas_beside_points_are_texts_and_numbers_stay(tmp_path):
    (tmp_path / "p.csv").write_text("y,x,=a,n\n-1,+2,=1+1,-3.5\n3,4,@b,\t=c\n", "utf-8")
    write_points(read_points(tmp_path / "p.csv", ("y", "x")), tmp_path / "q.csv")
    assert (tmp_path / "q.csv").read_text("utf-8").splitlines() == [
        "y,x,'=a,n",
        "-1,+2,'=1+1,-3.5",
        "3,4,'@b,'\t=c",
    ]
    again = read_points(tmp_path / "q.csv", ("y", "x"))
    np.testing.assert_array_equal(again.coordinates, [[-1, 2], [3, 4]])
    write_points(again, tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_bytes() == (tmp_path / "q.csv").read_bytes()


# ---------------------------------------------------------------- before the first second


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.full((24, 32), 0.5), "labels are whole numbers"),
        (np.ones((7, 9), int), "7x9|9 x 7|size"),
    ],
)
def test_labels_are_looked_at_before_the_work(labels, words, tmp_path, capsys):
    np.save(tmp_path / "a.npy", PICTURE)
    np.save(tmp_path / "l.npy", labels)
    line = said_by(capsys, "map", tmp_path / "a.npy", tmp_path / "a.npy", "-o", tmp_path / "o.npy",
                   "--labels", tmp_path / "l.npy", "--table", tmp_path / "t.csv")  # fmt: skip
    assert "l.npy" in line
    assert not list(tmp_path.glob("o*"))
    assert not list(tmp_path.glob("t*"))


@pytest.mark.parametrize("ending", [".npy", ".ome.zarr", ".ome.tif"])
def test_space_is_looked_at_before_the_work(ending, tmp_path, capsys, monkeypatch):
    np.save(tmp_path / "a.npy", PICTURE)
    real = shutil.disk_usage
    monkeypatch.setattr("shutil.disk_usage", lambda path: real(path)._replace(free=1000))
    monkeypatch.setattr("napari_local_ncc.maps.run.run_comparison", None)  # nothing is begun
    line = said_by(capsys, "map", tmp_path / "a.npy", tmp_path / "a.npy", "-o",
                   tmp_path / f"o{ending}")  # fmt: skip
    assert "needs" in line
    assert "iB free" in line

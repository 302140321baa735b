"""A file that holds several images: listed, chosen, and said where one is taken."""

import numpy as np
import pytest
import tifffile
import zarr
from yaozarrs import DimSpec, v05
from yaozarrs.write.v05 import write_bioformats2raw

from napari_local_ncc.cli import main
from napari_local_ncc.image.read_guard import ReadNote
from napari_local_ncc.io import read_image
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.reading import open_image

SCAN = np.random.default_rng(1).integers(0, 4000, (48, 64), dtype=np.uint16)
MACRO = SCAN[::4, ::4]
UM = "micrometer"


def write_ome_tiff(path):
    with tifffile.TiffWriter(path) as tif:
        for name, data, size in (("macro", MACRO, 8.0), ("scan", SCAN, 2.0)):
            tif.write(data, metadata={"Name": name, "PhysicalSizeX": size, "PhysicalSizeY": size})


def write_pages(path):
    with tifffile.TiffWriter(path) as tif:
        tif.write(MACRO, metadata=None)
        tif.write(SCAN, metadata=None)


def write_container(path):
    images = {}
    for key, data, size in (("0", MACRO, 8.0), ("1", SCAN, 2.0)):
        dims = [
            DimSpec(name=k, size=n, scale=size, unit=UM)
            for k, n in zip("yx", data.shape, strict=True)
        ]
        images[key] = (v05.Image(multiscales=[v05.Multiscale.from_dims(dims)]), [data])
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        + "".join(
            f'<Image ID="Image:{k}" Name="{name}"/>' for k, name in enumerate(("macro", "scan"))
        )
        + "</OME>"
    )
    write_bioformats2raw(path, images, writer="zarr")
    (path / "OME" / "METADATA.ome.xml").write_text(xml, encoding="utf-8")


def group_with(path, data, size):
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=data)
    group.attrs["multiscales"] = [multiscale("0", size)]
    return group


def multiscale(path, size, **more):
    axes = [{"name": k, "type": "space", "unit": UM} for k in "yx"]
    scale = [{"type": "scale", "scale": [size, size]}]
    return {"version": "0.4", "axes": axes, **more,
            "datasets": [{"path": path, "coordinateTransformations": scale}]}  # fmt: skip


def write_multiscales(path):
    group = group_with(path, MACRO, 8.0)
    group.create_array("scan", data=SCAN)
    group.attrs["multiscales"] = [
        multiscale("0", 8.0, name="macro"), multiscale("scan", 2.0, name="scan")
    ]  # fmt: skip


def write_plate(path):
    plate = zarr.open_group(path, mode="w", zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/2"}]}
    for well, data, size in (("A/1", MACRO, 8.0), ("B/2", SCAN, 2.0)):
        group = plate.require_group(well)
        group.attrs["well"] = {"images": [{"path": "0"}]}
        group_with(path / well / "0", data, size)


def write_arrays(path):
    group = zarr.open_group(path, mode="w")
    group.create_array("macro", data=MACRO)
    group.create_array("scan", data=SCAN)


FILES = {
    # name: (how it is made, name of the second image, whether pixel sizes are told)
    "a.ome.tif": (write_ome_tiff, "scan", True),
    "pages.tif": (write_pages, None, False),
    "container.zarr": (write_container, "scan", True),
    "multiscales.zarr": (write_multiscales, "scan", True),
    "plate.zarr": (write_plate, "B/2/0", True),
    "arrays.zarr": (write_arrays, "scan", False),
}


@pytest.fixture(params=FILES)
def several(request, tmp_path):
    write, name, is_calibrated = FILES[request.param]
    write(tmp_path / request.param)
    return tmp_path / request.param, name, is_calibrated


def test_every_image_is_listed_and_can_be_chosen(several):
    path, name, is_calibrated = several
    scenes = open_image(path).scenes
    assert [scene.shape for scene in scenes] == [MACRO.shape, SCAN.shape]
    for wanted in (1, "1", name):
        if wanted is not None:
            image = read_image(path, scene=wanted)
            np.testing.assert_array_equal(image.data, SCAN)
            assert image.grid.spacing.tolist() == ([2, 2] if is_calibrated else [1, 1])
    np.testing.assert_array_equal(read_image(path, scene=0).data, MACRO)


def test_taking_the_first_of_several_is_said(several):
    path, *_ = several
    with pytest.warns(ReadNote, match=r"first of 2 images: 0: .*12x16.*, 1: .*48x64.*scene="):
        image = read_image(path)
    np.testing.assert_array_equal(image.data, MACRO)
    assert image.source.notes


@pytest.mark.parametrize("scene", ["overview", 2, -1])
def test_a_scene_that_is_not_there(several, scene):
    path, *_ = several
    with pytest.raises(ValueError, match=r"there is no scene .*; it holds 0: .*, 1: "):
        read_image(path, scene=scene)


def test_command_line_chooses_and_says(tmp_path, capsys):
    path = tmp_path / "a.ome.tif"
    write_ome_tiff(path)
    words = ["map", str(path), str(path), "-o", str(tmp_path / "m.npy")]
    assert main([*words, "--scene-fixed", "scan", "--scene-moving", "1"]) == 0
    told = capsys.readouterr()
    assert "first of 2" not in told.err
    assert "0.000 to 1.000" not in told.out
    assert main([*words, "--overwrite"]) == 0
    assert "taken is the first of 2 images: 0: 'macro' 12x16 YX" in capsys.readouterr().err


def test_one_image_among_copies_and_masks_is_one(tmp_path):
    """A pyramid written as pages, and a mask, are no images of their own."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        options = {"metadata": None, "tile": (16, 16), "photometric": "minisblack"}
        tif.write(SCAN, **options)
        tif.write(SCAN[::2, ::2], subfiletype=1, **options)
    found = open_image(tmp_path / "a.tif")
    assert len(found.scenes) == 1
    assert not found.notes
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", level=1).data, SCAN[::2, ::2])


def test_names_that_occur_twice_need_an_index(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        for data in (MACRO, SCAN):
            tif.write(data, metadata={"Name": "same"})
    with pytest.raises(ValueError, match=r"2 scenes are called 'same'; give the index .* 0, 1"):
        read_image(tmp_path / "a.ome.tif", scene="same")


def test_axes_without_a_name_are_not_listed():
    assert str(Scene("a", (96, 120), "-2-1")) == "'a' 96x120"
    assert str(Scene("", (3, 96, 120), "ZYX")) == "3x96x120 ZYX"

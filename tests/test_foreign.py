"""Images of other libraries come with their place, or are refused by name."""

import subprocess
import sys
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest

from napari_local_ncc import (
    NCCParameters,
    SpatialImage,
    confidence_map,
    local_ncc,
    local_shift,
    register,
)
from napari_local_ncc.image import as_spatial_image
from napari_local_ncc.image.read_guard import ReadNote
from napari_local_ncc.io.reading import open_image, read_image

sitk = pytest.importorskip("SimpleITK")
xr = pytest.importorskip("xarray")
nib = pytest.importorskip("nibabel")

VOLUME = np.random.default_rng(6).normal(size=(4, 12, 16)).astype(np.float32)
PLANE = VOLUME[0]
DIRECTION = np.array([[0.0, -0.6, 0.8], [1, 0, 0], [0, 0.8, 0.6]])  # of SimpleITK: x, y, z


def itk_image(samples, spacing, origin=None, direction=None, **options):
    image = sitk.GetImageFromArray(samples, **options)
    image.SetSpacing(spacing)
    if origin is not None:
        image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(np.ravel(direction).tolist())
    return image


def test_itk_image_lies_where_itk_says():
    image = itk_image(VOLUME, (0.5, 0.25, 2), (10, 20, 30), DIRECTION)
    taken = as_spatial_image(image, "fixed")
    np.testing.assert_array_equal(taken.data, VOLUME)
    assert taken.grid.axis_labels == ("z", "y", "x")
    for place in ((0, 0, 0), (3, 11, 15), (2, 5, 7)):
        world = taken.grid.pixel_to_world @ [*place, 1]
        expected = image.TransformIndexToPhysicalPoint(place[::-1])
        np.testing.assert_allclose(world[:-1][::-1], expected)


def test_two_itk_images_of_two_spacings_compare_in_the_world():
    y, x = np.mgrid[:64, :64]
    scene = np.sin(y / 5) + np.cos(x / 7) + np.sin((x + y) / 9)
    fine, coarse = itk_image(scene, (1, 1)), itk_image(scene[::2, ::2], (2, 2))
    ncc = confidence_map(fine, coarse)["ncc"].compute()
    assert np.nanmedian(ncc) > 0.99


def test_channels_and_single_planes_of_itk():
    colours = itk_image(np.dstack([PLANE] * 3), (1, 2), isVector=True)
    taken = as_spatial_image(colours, "a")
    assert taken.grid.axis_labels == ("c", "y", "x")
    assert taken.grid.spacing.tolist() == [1, 2, 1]
    slice_of_volume = as_spatial_image(itk_image(VOLUME[:1], (1, 1, 9)), "a")
    assert slice_of_volume.grid.axis_labels == ("y", "x")
    oblique = as_spatial_image(itk_image(VOLUME[:1], (1, 1, 9), direction=DIRECTION), "a")
    assert oblique.grid.shape == VOLUME[:1].shape


def test_nibabel_and_itk_agree_on_one_file(tmp_path):
    affine = np.array([[0, -2, 0, 5], [3, 0, 0, -7], [0, 0, 4, 1], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(VOLUME.T, affine), tmp_path / "a.nii.gz")
    ours = as_spatial_image(nib.load(tmp_path / "a.nii.gz"), "a")
    theirs = as_spatial_image(sitk.ReadImage(str(tmp_path / "a.nii.gz")), "b")
    np.testing.assert_array_equal(ours.data, theirs.data)
    np.testing.assert_allclose(ours.grid.pixel_to_world, theirs.grid.pixel_to_world, atol=1e-5)
    assert ours.grid.units == ("millimeter",) * 3


def test_a_nifti_with_two_places_says_which_is_taken(tmp_path):
    sform, qform = np.diag([2.0, 3.0, 4.0, 1.0]), np.diag([2.0, 3.0, 4.0, 1.0])
    qform[0, 3] = 30
    for code, unit, said in ((2, "mm", True), (2, "micron", True), (0, "mm", False)):
        image = nib.Nifti1Image(VOLUME.T, sform)
        image.header.set_xyzt_units(unit)
        image.set_qform(qform, 1)
        image.set_sform(sform, code)
        nib.save(image, tmp_path / "a.nii")
        found = open_image(tmp_path / "a.nii")
        away = 0.03 if unit == "micron" else 30
        told = f"it lies where ITK lays it, which is up to {away:g} mm from where its sform does"
        assert any(told in note for note in found.notes) == said
    image = nib.Nifti1Image(VOLUME.T, qform)
    for form in (image.set_qform, image.set_sform):
        form(qform, 1)
    nib.save(image, tmp_path / "b.nii.gz")
    assert open_image(tmp_path / "b.nii.gz").notes == ()
    for form in (image.set_qform, image.set_sform):
        form(qform, 0)
    nib.save(image, tmp_path / "c.nii.gz")
    with pytest.warns(ReadNote, match="does not say where it lies"):
        grid = read_image(tmp_path / "c.nii.gz").grid
    np.testing.assert_array_equal(grid.spacing, (4, 3, 2))
    np.testing.assert_array_equal(grid.origin, 0)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_of_the_second_version_is_called_so(ending, tmp_path):
    nib.save(nib.Nifti2Image(VOLUME.T, np.eye(4)), tmp_path / f"a{ending}")
    with pytest.raises(ValueError, match=r"it is NIfTI-2, .* or give nibabel\.load"):
        open_image(tmp_path / f"a{ending}")
    taken = as_spatial_image(nib.load(tmp_path / f"a{ending}"), "a")
    np.testing.assert_array_equal(taken.data, VOLUME)


def test_time_of_a_nifti_is_a_series():
    image = nib.Nifti1Image(np.stack([VOLUME.T] * 3, axis=-1), np.diag([2, 2, 2, 1.0]))
    grid = as_spatial_image(image, "a").grid
    assert grid.axis_labels == ("t", "z", "y", "x")
    assert grid.spatial == (False, True, True, True)


def data_array(samples, dims, **coords):
    return xr.DataArray(samples, dims=dims, coords=coords)


def test_xarray_comes_with_names_places_and_units():
    y = ("y", 3 + 0.5 * np.arange(12), {"units": "um"})
    x = ("x", 9 - 0.25 * np.arange(16), {"units": "um"})
    grid = as_spatial_image(data_array(PLANE, ("y", "x"), y=y, x=x), "a").grid
    np.testing.assert_allclose(grid.pixel_to_world, [[0.5, 0, 3], [0, -0.25, 9], [0, 0, 1]])
    assert grid.units == ("micrometer", "micrometer")
    assert grid.axis_labels == ("y", "x")


def test_xarray_axes_are_told_by_name_in_any_order():
    ours, theirs = data_array(PLANE, ("y", "x")), data_array(PLANE.T, ("x", "y"))
    np.testing.assert_allclose(confidence_map(ours, theirs)["ncc"].compute(), 1, atol=1e-6)
    series = data_array(VOLUME.transpose(1, 2, 0), ("y", "x", "time"))
    taken = as_spatial_image(series, "a")
    assert taken.grid.axis_labels == ("time", "y", "x")
    np.testing.assert_array_equal(taken.data, VOLUME)


def test_a_dask_array_of_unknown_size_is_told_what_helps():
    array = da.from_array(PLANE)
    rows = array[da.from_array(PLANE[:, 0] >= np.median(PLANE[:, 0]))]
    with pytest.raises(ValueError, match=r"fixed .* call its compute_chunk_sizes\(\)"):
        as_spatial_image(rows, "fixed")
    assert as_spatial_image(rows.compute_chunk_sizes(), "fixed").grid.ndim == 2


def test_coordinates_of_xarray_that_are_no_places():
    band = as_spatial_image(data_array(VOLUME, ("band", "y", "x"), band=list("abcd")), "a")
    assert band.grid.spatial == (False, True, True)
    times = np.array(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"], "M8[ns]")
    series = as_spatial_image(data_array(VOLUME, ("time", "y", "x"), time=times), "a")
    assert series.grid.units[0] == "second"
    assert series.grid.spacing[0] == 86400
    uneven = data_array(PLANE, ("y", "x"), x=np.arange(16.0) ** 2)
    with pytest.raises(ValueError, match="coordinate 'x' of fixed is not evenly spaced"):
        confidence_map(uneven, PLANE)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("fill", [np.float32(9.96921e36), np.int16(-9999), np.uint8(0), [7, 9]])
def test_fill_values_of_xarray_are_no_samples(fill, name, lazy):
    hidden = np.zeros(PLANE.shape, bool)
    hidden[2:5, 3:9] = True
    values = np.ravel(fill)
    samples = (50 + 10 * PLANE).astype(values.dtype)
    samples[hidden] = np.resize(values, hidden.sum())
    array = data_array(da.from_array(samples) if lazy else samples, ("y", "x"))
    array.attrs[name] = fill
    taken = as_spatial_image(array, "a").data.compute()
    np.testing.assert_array_equal(np.isnan(taken), hidden)
    np.testing.assert_array_equal(taken[~hidden], samples[~hidden])
    array.attrs[name] = "none"  # which is no number
    np.testing.assert_array_equal(as_spatial_image(array, "a").data, samples)


def test_a_fill_value_that_no_sample_can_be_changes_nothing():
    array = data_array(np.arange(192, dtype=np.uint8).reshape(12, 16), ("y", "x"))
    for fill in (-9999, 256, [-1, 1e30]):
        array.attrs["_FillValue"] = fill
        assert as_spatial_image(array, "a").data.dtype == np.uint8
    array.attrs["_FillValue"] = 1e300
    assert np.isfinite(as_spatial_image(array.astype(np.float32), "a").data.compute()).all()


def test_what_masked_arrays_hide_in_dask_is_no_sample():
    hidden = np.zeros(PLANE.shape, bool)
    hidden[2:5, 3:9] = True
    masked = da.from_array(np.ma.masked_array(PLANE, hidden), chunks=8)
    nan = np.where(hidden, np.nan, PLANE)
    for compare in (local_ncc, local_shift, lambda a, b: confidence_map(a, b)["ncc"]):
        found, expected = (np.asarray(compare(a, PLANE)) for a in (masked, nan))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        assert np.isnan(found[..., hidden]).all()
    np.testing.assert_array_equal(np.isnan(as_spatial_image(masked, "a").data), hidden)


def test_every_door_takes_them():
    plane = data_array(PLANE, ("y", "x"))
    mask = data_array(np.ones_like(PLANE), ("y", "x"))
    result = confidence_map(plane, itk_image(PLANE, (1, 1)), mask=mask)
    assert np.isfinite(result["ncc"].compute()).all()
    half = data_array(np.ones((6, 8)), ("y", "x"), y=0.5 + 2.0 * np.arange(6),
                      x=0.5 + 2.0 * np.arange(8))  # fmt: skip
    assert np.isfinite(confidence_map(PLANE, PLANE, mask=half)["ncc"].compute()).all()
    assert register(plane, plane, model="none") is not None


def test_map_goes_back_to_xarray_and_comes_again():
    image = SpatialImage.from_array(PLANE, spacing=(0.5, 2.0), origin=(3, -1), units=("um", "um"))
    array = confidence_map(image, image).to_xarray()
    assert array.dims == ("band", "y", "x")
    assert array.coords["y"].attrs["units"] == "micrometer"
    again = as_spatial_image(array.sel(band="ncc", drop=True), "again").grid
    np.testing.assert_allclose(again.pixel_to_world, image.grid.pixel_to_world)
    assert again.units == image.grid.units


def refusals():
    from pathlib import Path

    from PIL import Image

    layer = pytest.importorskip("napari").layers.Image(PLANE, name="mine")
    return {
        "a layer": (layer, r"layer of napari \(Image 'mine'\); .*spatial_image\(layer\) takes it"),
        "a Dataset": (xr.Dataset({"a": ("y", [1.0])}), "Dataset of xarray; .* variables: a"),
        "a path": (Path("a.tif"), r"read_image\(path\) opens a file"),
        "a text": ("a.tif", r"'a.tif'\), no array"),
        "a picture": (Image.new("L", (4, 4)), r"no array but a PIL.Image.Image"),
        "a dict": ({"a": 1}, "no array but a builtins.dict"),
        "an object": (SimpleNamespace(), "no array but a types.SimpleNamespace"),
        "nothing": (None, "no array but a builtins.NoneType"),
    }


def test_what_is_no_image_is_refused_by_name():
    for case, (value, reason) in refusals().items():
        with pytest.raises(TypeError, match=f"fixed is .*{reason}") as caught:
            confidence_map(value, PLANE)
        assert "\n" not in str(caught.value), case


@pytest.mark.parametrize("kind", ["xarray", "SimpleITK", "nibabel"])
def test_functions_of_arrays_refuse_what_has_a_place(kind):
    image = {
        "xarray": data_array(PLANE, ("y", "x")),
        "SimpleITK": itk_image(PLANE, (1, 1)),
        "nibabel": nib.Nifti1Image(VOLUME, np.eye(4)),
    }[kind]
    with pytest.raises(TypeError, match=f"fixed is no array but a {kind}"):
        local_ncc(image, PLANE)


def test_arrays_of_all_kinds_stay_arrays():
    import zarr

    stored = zarr.create_array(zarr.storage.MemoryStore(), data=PLANE)
    for array in (PLANE, PLANE.tolist(), stored, np.ma.masked_less(PLANE, -9)):
        np.testing.assert_allclose(as_spatial_image(array, "a").data, PLANE)


def test_no_library_is_loaded_for_an_array():
    code = (
        "import sys, numpy as np; from napari_local_ncc import confidence_map; "
        "confidence_map(np.eye(9), np.eye(9)); "
        "print({'SimpleITK', 'nibabel', 'napari'} & set(sys.modules))"  # pint loads xarray
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert run.stdout.strip() == "set()"


class OnGPU:
    """As much of a CuPy array as is asked of one, which never becomes NumPy's by itself."""

    __module__ = "cupy"

    def __init__(self, array):
        self.host = array
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __getitem__(self, index):
        return OnGPU(self.host[index])

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def astype(self, dtype, **_):
        return OnGPU(self.host.astype(dtype))

    def reshape(self, *shape):
        return OnGPU(self.host.reshape(*shape))

    def sum(self, **_):
        return OnGPU(self.host.sum(keepdims=True))

    def get(self):
        return self.host


@pytest.mark.parametrize("lazy", [False, True])
def test_a_map_of_what_lies_on_a_gpu_is_that_of_its_copy(lazy):
    fixed, moving = np.random.default_rng(0).normal(size=(2, 40, 50)).astype("f4")

    def there(image):
        if not lazy:
            return OnGPU(image)
        return da.from_array(image, 20).map_blocks(OnGPU, meta=OnGPU(np.empty((0, 0), "f4")))

    bands = NCCParameters(bands=("ncc", "shift"), search=1)
    found = confidence_map(there(fixed), there(moving), parameters=bands).bands.compute()
    np.testing.assert_array_equal(found, confidence_map(fixed, moving, parameters=bands).bands)

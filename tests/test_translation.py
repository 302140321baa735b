"""The translation engine: known shifts come back, and no answer is worse than none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from scipy.interpolate import BSpline
from skimage import data
from skimage.io import imread

from napari_local_ncc.registration.translation.array_pair import (
    LINEAR,
    QUINTIC,
    ArrayPair,
    spline_weights,
    standardise,
)
from napari_local_ncc.registration.translation.estimate import Translation, estimate_translation
from napari_local_ncc.registration.translation.subpixel import shift_covariance, snap

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Image = NDArray[np.generic]

CASES = "cases"
PYVALE = [("04", 0.4), ("08", 0.8), ("10", 1), ("25", 25), ("50", 50)]


def grey(path: Path) -> Image:
    image = imread(path)
    return image[..., 0] if image.ndim == 3 else image


def blobs(shape: tuple[int, ...], seed: int = 0, sigma: float = 2.0) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndi.gaussian_filter(noise, sigma)
    return smooth / smooth.std()


def crops(
    image: Image, shape: tuple[int, ...], offset: tuple[int, ...]
) -> tuple[Image, Image, NDArray[np.float64]]:
    """Two windows of one image, the second moved by `offset`."""
    corner = [max(0, -o) for o in offset]
    fixed = image[tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))]
    sides = zip(corner, offset, shape, strict=True)
    moving = image[tuple(slice(c + o, c + o + n) for c, o, n in sides)]
    return fixed, moving, -np.array(offset, float)


def assert_offset(result: Translation, truth: object, tolerance: float = 0.0) -> None:
    np.testing.assert_allclose(result.offset, truth, rtol=0, atol=tolerance)
    assert not result.ncc_after < result.ncc_before
    assert 0 <= result.overlap <= 1


# ------------------------------------------------------------------ real pairs, known truth


@pytest.mark.realdata
def test_itk_brain_is_exact(shared_data: Path) -> None:
    folder = shared_data / CASES / "itk_brain2d"
    fixed = grey(folder / "BrainProtonDensitySliceBorder20.png")
    moving = grey(folder / "BrainProtonDensitySliceShifted13x17y.png")
    result = estimate_translation(fixed, moving)
    assert_offset(result, (17, 13))
    assert result.ncc_after == pytest.approx(1, abs=1e-9)


@pytest.mark.realdata
@pytest.mark.parametrize(("x", "y"), [(75, 75), (130, 130), (-130, 130)])
def test_padfield_masked_pairs_are_exact(shared_data: Path, x: int, y: int) -> None:
    folder = shared_data / CASES / "skimage_padfield_masked"
    fixed = imread(folder / f"OriginalX{x}Y{y}.png")
    moving = imread(folder / f"TransformedX{x}Y{y}.png")
    result = estimate_translation(fixed, moving, fixed_valid=fixed != 0, moving_valid=moving != 0)
    # the published shift, (x, y) = (-x, y), is applied to moving: our offset is its negative
    assert_offset(result, (-y, x))


@pytest.mark.realdata
@pytest.mark.parametrize(("frame", "shift"), PYVALE)
@pytest.mark.parametrize("swapped", [False, True])
def test_pyvale_speckle(shared_data: Path, frame: str, shift: float, swapped: bool) -> None:
    folder = shared_data / CASES / "dic_pyvale_rigid"
    pair = [grey(folder / f"rigid_cam0_frame{number}.tiff") for number in ("00", frame)]
    truth = np.array([-shift, shift])
    if swapped:
        pair, truth = pair[::-1], -truth
    assert_offset(estimate_translation(*pair), truth, 0.002)


@pytest.mark.realdata
@pytest.mark.parametrize("case", ["known_pd_2d", "known_t1_3d"])
def test_known_translation(shared_data: Path, case: str) -> None:
    folder = shared_data / CASES / case
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["cases"]["translation"][
        "b"
    ]
    fixed, moving = np.load(folder / "fixed_translation.npy"), np.load(folder / "moving.npy")
    assert_offset(estimate_translation(fixed, moving), truth, 0.01)


@pytest.mark.realdata
@pytest.mark.parametrize("names", [("sample1", "sample2"), ("sample2", "sample1")])
def test_imreg_drawn_shapes(shared_data: Path, names: tuple[str, str]) -> None:
    fixed, moving = (grey(shared_data / CASES / "imreg_dft_samples" / f"{n}.png") for n in names)
    truth = np.array([-79, 19]) * (1 if names[0] == "sample1" else -1)
    assert_offset(estimate_translation(fixed, moving), truth)


@pytest.mark.realdata
@pytest.mark.parametrize("channel", [1, 2])
def test_time_lapse_never_gets_worse_and_drifts_little(shared_data: Path, channel: int) -> None:
    name = f"C{channel}-MAX_mitosis_t00-09.tif"
    frames = imread(shared_data / CASES / "mitosis_2ch_series" / name)
    for frame in frames[1:]:
        result = estimate_translation(frames[0], frame)
        assert result.ncc_after >= result.ncc_before
        assert np.abs(result.offset).max() < 10


@pytest.mark.parametrize(
    ("image", "shift", "tolerance"),
    [
        (data.camera(), (-7, 12), 0),
        (data.camera(), (-2.4, 1.32), 0.05),
        (data.camera(), (0, 0), 0),
        (data.binary_blobs(length=32, n_dim=3, rng=0), (-2, 1, 5), 0),
        (data.binary_blobs(length=32, n_dim=3, rng=0), (-2.3, 1.7, 5.4), 0.05),
    ],
)
def test_the_shifts_scikit_image_tests(
    image: Image, shift: tuple[float, ...], tolerance: float
) -> None:
    moving = np.fft.ifftn(ndi.fourier_shift(np.fft.fftn(image), shift)).real
    assert_offset(estimate_translation(image, moving), shift, tolerance)


# ------------------------------------------------------------------------------------- laws


@settings(max_examples=40)
@given(st.data())
def test_crops_of_one_image_are_exact(choice: st.DataObject) -> None:
    image = choice.draw(st.sampled_from([data.camera()[::2, ::2], data.coins(), blobs((200, 220))]))
    sides, corners = [], []
    for n in image.shape:
        first, second = (choice.draw(st.integers(n // 2, 3 * n // 4)) for _ in range(2))
        # at least 0.6 of the shorter side is in common: over a third of the area
        gap = int(0.4 * min(first, second))
        one = choice.draw(st.integers(0, n - first))
        low, high = max(0, one + first - second - gap), min(n - second, one + gap)
        low, high = min(low, n - second), max(min(low, n - second), high)
        sides.append((first, second))
        corners.append((one, choice.draw(st.integers(low, high))))
    fixed, moving = (
        image[tuple(slice(c[k], c[k] + s[k]) for c, s in zip(corners, sides, strict=True))]
        for k in (0, 1)
    )
    assert_offset(estimate_translation(fixed, moving), [a - b for a, b in corners])


@given(
    st.floats(-9, 9), st.floats(-9, 9), st.sampled_from([0.1, 3.0, 1e4]), st.sampled_from([0, 1e3])
)
@settings(max_examples=15)
def test_sub_pixel_shifts_survive_gain_and_offset(
    dy: float, dx: float, gain: float, background: float
) -> None:
    image = blobs((140, 150))
    moving = gain * (ndi.shift(image, (dy, dx), order=5)[20:-20, 20:-20] + background)
    result = estimate_translation(image[20:-20, 20:-20].astype(np.float32), moving)
    np.testing.assert_allclose(result.offset, (dy, dx), atol=0.03)


def test_noise_does_not_pull_to_half_pixels() -> None:
    fine = blobs((1100, 1100), sigma=6)
    errors = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        fixed = fine[20:1020:4, 20:1020:4] + rng.normal(0, 1, (250, 250))
        moving = fine[19:1019:4, 19:1019:4] + rng.normal(0, 1, (250, 250))
        errors.append(estimate_translation(fixed, moving).offset - 0.25)
    assert np.abs(np.mean(errors)) < 0.015


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float16, np.float32])
def test_any_real_dtype(dtype: type[np.generic]) -> None:
    image = (100 + 25 * blobs((90, 90))).clip(0, 255).astype(dtype)
    fixed, moving, truth = crops(image, (60, 60), (-7, 21))
    assert_offset(estimate_translation(fixed, moving), truth)


@pytest.mark.parametrize(
    ("shape", "window", "offset"),
    [
        ((300,), (200,), (61,)),
        ((24, 24), (16, 16), (5, -3)),
        ((24, 24), (16, 16), (8, 0)),
        ((1, 200), (1, 120), (0, 33)),
        ((30, 60, 60), (20, 40, 40), (7, -11, 15)),
        ((8, 10, 24, 24), (6, 7, 16, 16), (1, -2, 4, 5)),
    ],
)
def test_any_dimension_and_small_images(
    shape: tuple[int, ...], window: tuple[int, ...], offset: tuple[int, ...]
) -> None:
    fixed, moving, truth = crops(blobs(shape, sigma=1.0), window, offset)
    assert_offset(estimate_translation(fixed, moving), truth)


def test_large_images_are_exact_through_the_pyramid() -> None:
    fixed, moving, truth = crops(blobs((1500, 1600), sigma=1.0), (1024, 1024), (437, -511))
    assert_offset(estimate_translation(fixed, moving), truth)


def test_swapping_the_images_negates_the_offset() -> None:
    image = blobs((150, 150))
    fixed, moving = image[20:-20, 20:-20], ndi.shift(image, (3.3, -6.6), order=5)[20:-20, 20:-20]
    there, back = estimate_translation(fixed, moving), estimate_translation(moving, fixed)
    np.testing.assert_allclose(there.offset, -back.offset, atol=0.005)


def test_vignetting_and_noise() -> None:
    fixed, moving, truth = crops(data.camera().astype(float), (300, 320), (90, -70))
    light = 1 - 0.5 * (np.linspace(-1, 1, 300)[:, None] ** 2 + np.linspace(-1, 1, 320) ** 2) / 2
    rng = np.random.default_rng(0)
    fixed, moving = (light * i + rng.normal(0, 20, i.shape) for i in (fixed, moving))
    assert_offset(estimate_translation(fixed, moving), truth, 0.1)


def test_nan_and_masks_take_the_same_path() -> None:
    fixed, moving, truth = crops(blobs((120, 120)), (90, 90), (13, -22))
    hole = np.ones(fixed.shape, bool)
    hole[30:60, 10:50] = False
    holed = np.where(hole, fixed, np.nan)
    with_nan = estimate_translation(holed, moving)
    with_mask = estimate_translation(np.where(hole, fixed, 1e6), moving, fixed_valid=hole)
    assert_offset(with_nan, truth)
    assert_offset(with_mask, truth)
    assert with_nan.ncc_after == with_mask.ncc_after
    assert with_nan.overlap == with_mask.overlap


def test_a_static_mask_edge_does_not_hold_the_images_in_place() -> None:
    fixed, moving, truth = crops(blobs((120, 120)), (90, 90), (9, 14))
    disc = np.hypot(*(np.indices((90, 90)) - 44.5)) < 40
    masked = estimate_translation(
        np.where(disc, fixed, -50), np.where(disc, moving, -50), fixed_valid=disc, moving_valid=disc
    )
    assert_offset(masked, truth)


def test_overlap_is_the_share_of_fixed_that_is_seen() -> None:
    fixed, moving, truth = crops(blobs((80, 80)), (50, 60), (10, 0))
    result = estimate_translation(fixed, moving)
    assert_offset(result, truth)
    assert result.overlap == 40 / 50


def test_ncc_is_that_of_the_overlap() -> None:
    image = blobs((80, 80))
    fixed, moving, _ = crops(image, (50, 50), (10, -4))
    noisy = moving + np.random.default_rng(1).normal(0, 0.3, moving.shape)
    result = estimate_translation(fixed, noisy)
    assert_offset(result, (-10, 4))
    expected = np.corrcoef(fixed[10:, :-4].ravel(), noisy[:-10, 4:].ravel())[0, 1]
    assert result.ncc_after == pytest.approx(expected, abs=1e-9)
    before = np.corrcoef(fixed.ravel(), noisy.ravel())[0, 1]
    assert result.ncc_before == pytest.approx(before, abs=1e-9)


def test_a_small_template_is_found_in_a_large_image() -> None:
    image = data.camera()
    result = estimate_translation(image, image[200:264, 310:390])
    assert_offset(result, (-200, -310))


# --------------------------------------------------------------------- start, and honesty


def test_periodic_structure_takes_the_shift_nearest_to_start() -> None:
    y, x = np.indices((96, 96))
    image = np.sin(2 * np.pi * x / 12) + np.cos(2 * np.pi * y / 16)
    assert_offset(estimate_translation(image, image), (0, 0))
    assert_offset(estimate_translation(image, image, start=(16, -12)), (16, -12))
    moved = np.sin(2 * np.pi * (x - 3) / 12) + np.cos(2 * np.pi * (y + 2) / 16)
    # by any other period they match as well: nothing is applied that nobody can know
    assert not estimate_translation(image, moved).is_reliable
    kept = estimate_translation(image, moved, keep_doubtful=True).offset
    apart = (kept - (-2, 3)) / (16, 12)
    np.testing.assert_allclose(apart, np.round(apart), atol=0.01)


def test_start_is_what_holds_before() -> None:
    fixed, moving, truth = crops(blobs((120, 120)), (90, 90), (15, -12))
    result = estimate_translation(fixed, moving, start=truth)
    assert_offset(result, truth)
    assert result.ncc_before == pytest.approx(1)
    far = estimate_translation(fixed, moving, start=(500, 0))
    assert np.isnan(far.ncc_before)
    assert_offset(far, truth)


@pytest.mark.parametrize("seed", range(8))
def test_unrelated_images_never_end_below_start(seed: int) -> None:
    fixed, moving = blobs((70, 64), seed), blobs((64, 70), seed + 100)
    result = estimate_translation(fixed, moving)
    assert result.ncc_after >= result.ncc_before
    assert result.overlap >= 0.09


def test_the_same_input_gives_the_same_bits() -> None:
    fixed, moving = blobs((90, 90)), ndi.shift(blobs((90, 90)), (2.3, -1.2))
    results = [estimate_translation(fixed, moving) for _ in range(2)]
    assert results[0].offset.tobytes() == results[1].offset.tobytes()
    assert results[0].ncc_after == results[1].ncc_after


# -------------------------------------------------------------------------------- bad input

GOOD = blobs((40, 40))
BAD = [
    (GOOD, blobs((10, 12, 14)), {}, "fixed is 2-D but moving is 3-D"),
    (np.full((40, 40), 7), GOOD, {}, "fixed is constant"),
    (GOOD, np.full((40, 40), np.nan), {}, "moving has 0 valid samples of 1600"),
    (GOOD, GOOD, {"moving_valid": np.zeros((40, 40), bool)}, "moving has 0 valid samples"),
    (GOOD, GOOD, {"fixed_valid": np.ones((3, 3), bool)}, "the mask of fixed has shape"),
    (GOOD, GOOD * 1j, {}, "moving must be an array of real numbers"),
    (GOOD, GOOD, {"start": (1, 2, 3)}, "start must be 2 finite numbers"),
    (np.zeros((0, 5)), GOOD, {}, "fixed has 0 valid samples of 0"),
]


@pytest.mark.parametrize(("fixed", "moving", "options", "message"), BAD)
def test_bad_input_is_named(
    fixed: Image, moving: Image, options: dict[str, Image], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_translation(fixed, moving, **options)


def test_no_overlap_that_could_be_judged() -> None:
    left, right = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    left[:2, :4], right[-4:, -2:] = True, True
    with pytest.raises(ValueError, match="no shift of moving"):
        estimate_translation(GOOD, GOOD, fixed_valid=left, moving_valid=right)


def test_a_fit_less_exact_than_a_whole_pixel_is_rounded():
    """Noise leaves nothing of what tells fractions: the peak of the evidence is as good."""
    random = np.random.default_rng(4)
    y, x = np.indices((96, 96))
    smooth = np.exp(-((y - 48.0) ** 2 + (x - 48.0) ** 2) / (2 * 15.0**2))
    images = [
        standardise(smooth + random.normal(size=smooth.shape), None, "image") for _ in range(2)
    ]
    pair = ArrayPair(*images, 0.1)
    assert np.sqrt(np.diag(shift_covariance(pair, np.full(2, 0.4)))).min() > 0.29
    np.testing.assert_array_equal(snap(pair, np.array([0.4, -0.3])), 0)


@pytest.mark.parametrize("degree", [LINEAR, QUINTIC])
def test_the_spline_is_that_of_scipy(degree):
    half = (degree + 1) / 2
    spline = BSpline.basis_element(np.arange(-half, half + 1), extrapolate=False)
    for fraction in np.random.default_rng(0).uniform(0, 1, 50):
        at = fraction - np.arange(-3, 4)
        for is_slope, expected in ((False, spline(at)), (True, spline.derivative()(at))):
            weights = spline_weights(degree, fraction, is_slope)
            np.testing.assert_allclose(weights, np.nan_to_num(expected), atol=1e-14)


@pytest.mark.parametrize("unit", [1e-30, 1e-18, 1e30])
def test_the_unit_of_float32_samples_does_not_matter(unit):
    """Their squares were beyond the type, and the image "constant" or without any shift."""
    rng = np.random.default_rng(0)
    scene = ndi.gaussian_filter(rng.normal(size=(80, 80)), 1.5)
    plain, other = (
        estimate_translation(
            *(np.float32(k) * x.astype(np.float32) for x in (scene, scene[3:, 2:]))
        )
        for k in (1, unit)
    )
    assert other.is_reliable
    np.testing.assert_allclose(other.offset, plain.offset, atol=1e-4)
    np.testing.assert_allclose(plain.offset, (-3, -2), atol=0.01)

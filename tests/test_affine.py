"""The affine engine: known transforms come back in world coordinates, whatever the contrast."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage as ndi
from skimage import data
from skimage.io import imread

from napari_local_ncc.registration.affine.estimate import AffineFit, estimate_affine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Image = NDArray[np.generic]
    Matrix = NDArray[np.float64]

pytest.importorskip("SimpleITK")

CONTRAST: dict[str, Callable[[Image], Image]] = {
    "same": lambda x: x,
    "inverted": lambda x: 255 - x,
    "gamma": lambda x: 255 * (x / 255) ** 0.5,
}
EYE = np.eye(3)


def homogeneous(linear: object, offset: object = 0.0) -> Matrix:
    linear = np.atleast_2d(np.asarray(linear, float))
    matrix = np.eye(len(linear) + 1)
    matrix[:-1, :-1] = linear
    matrix[:-1, -1] = offset
    return matrix


def turned(degrees: float, scale: float = 1.0) -> Matrix:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return scale * np.array([[cos, -sin], [sin, cos]])


def about(linear: Matrix, centre: object, shift: object) -> Matrix:
    """A linear map that turns about `centre`, then shifts."""
    centre = np.asarray(centre, float)
    return homogeneous(linear, centre - linear @ centre + np.asarray(shift, float))


def warped(moving: Image, px_to_moving_px: Matrix, shape: tuple[int, ...] | None = None) -> Image:
    """What fixed shows if its pixels map to moving's so; NaN outside."""
    return ndi.affine_transform(
        np.asarray(moving, float), px_to_moving_px, output_shape=shape, order=3, cval=np.nan
    )


def error(fit: AffineFit, truth: Matrix, to_world: Matrix, valid: Image) -> float:
    """Mean distance from the truth over valid pixels of fixed, in px of fixed."""
    pixels = np.argwhere(valid)[::7]
    points = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
    wrong = (fit.matrix - truth) @ to_world
    distance = points @ (np.linalg.inv(to_world) @ wrong).T
    return float(np.linalg.norm(distance[:, :-1], axis=1).mean())


def assert_sound(fit: AffineFit) -> None:
    assert 0 < fit.overlap <= 1
    assert abs(fit.ncc_after) >= abs(fit.ncc_before) or np.isnan(fit.ncc_before)
    assert fit.iterations > 0
    np.testing.assert_array_equal(fit.matrix[-1], np.eye(len(fit.matrix))[-1])


@pytest.fixture(scope="module")
def camera() -> Image:
    return data.camera()[::2, ::2]


# ------------------------------------------------------------------ real pairs, known truth


def known(folder: Path, model: str) -> tuple[Image, Image, Matrix, Matrix, Image]:
    """Return fixed, moving, pixel to world, the truth in the world, and where it is valid."""
    record = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    to_world = homogeneous(np.diag(record["spacing_zyx"]))
    case = record["cases"][model]
    truth = to_world @ homogeneous(case["A"], case["b"]) @ np.linalg.inv(to_world)
    valid = np.load(folder / f"truth_{model}.npz")["valid"]
    return (
        np.load(folder / f"fixed_{model}.npy"),
        np.load(folder / "moving.npy"),
        to_world,
        truth,
        valid,
    )


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("case", "model", "contrast"),
    [
        ("known_pd_2d", "rigid", "same"),
        ("known_pd_2d", "rigid", "inverted"),
        ("known_pd_2d", "rigid", "gamma"),
        ("known_pd_2d", "affine", "same"),
        ("known_pd_2d", "affine", "inverted"),
        ("known_pd_2d", "affine", "gamma"),
        ("known_t1_3d", "rigid", "same"),
        pytest.param("known_t1_3d", "affine", "inverted", marks=pytest.mark.nightly),
        pytest.param("known_t1_3d", "affine", "gamma", marks=pytest.mark.nightly),
    ],
)
def test_known_truth(shared_data: Path, case: str, model: str, contrast: str) -> None:
    fixed, moving, to_world, truth, valid = known(shared_data / "cases" / case, model)
    fit = estimate_affine(
        fixed,
        CONTRAST[contrast](moving),
        model=model,
        fixed_to_world=to_world,
        moving_to_world=to_world,
    )
    assert error(fit, truth, to_world, valid) <= (0.05 if contrast == "same" else 0.1)
    assert_sound(fit)


@pytest.mark.realdata
@pytest.mark.parametrize("model", ["rigid", "affine"])
def test_known_truth_by_correlation(shared_data: Path, model: str) -> None:
    fixed, moving, to_world, truth, valid = known(shared_data / "cases/known_pd_2d", model)
    fit = estimate_affine(
        fixed,
        CONTRAST["inverted"](moving),
        model=model,
        fixed_to_world=to_world,
        moving_to_world=to_world,
        metric="correlation",
    )
    assert error(fit, truth, to_world, valid) <= 0.1
    assert fit.ncc_after < -0.99


@pytest.mark.realdata
@pytest.mark.parametrize("fixed_name", ["BrainProtonDensitySlice", "BrainT1Slice"])
@pytest.mark.parametrize(
    ("moving_name", "model", "number"),
    [("R10X13Y17", "rigid", 2), ("R10X13Y17S12", "similarity", 3)],
)
def test_agrees_with_what_itk_converges_to(
    shared_data: Path, fixed_name: str, moving_name: str, model: str, number: int
) -> None:
    folder = shared_data / "cases/itk_brain2d"
    fixed, moving = (
        imread(folder / f"{name}.png")[..., 0]
        for name in (f"{fixed_name}Border20", f"BrainProtonDensitySlice{moving_name}")
    )
    record = json.loads((shared_data / "expected/itk_examples.json").read_text(encoding="utf-8"))[
        "cases"
    ][number]
    assert record["moving"] == moving_name
    itk = record["itk_result"]
    # ITK's axes are x, y: the same angle turns the other way in y, x
    linear = turned(-np.rad2deg(itk["angle"]), itk.get("scale", 1.0))
    truth = about(linear, itk["center"][::-1], itk["t"][::-1])
    fit = estimate_affine(fixed, moving, model=model, fixed_to_world=EYE, moving_to_world=EYE)
    assert error(fit, truth, EYE, fixed > 0) <= 0.3
    assert np.linalg.det(fit.matrix) ** 0.5 == pytest.approx(record.get("true_scale", 1), abs=0.005)


@pytest.mark.realdata
def test_large_rotation_and_scale(shared_data: Path) -> None:
    folder = shared_data / "cases/imreg_dft_samples"
    fixed, moving = (imread(folder / f"sample{k}.png")[..., :3].mean(axis=-1) for k in (3, 1))
    fit = estimate_affine(
        fixed, moving, model="similarity", fixed_to_world=EYE, moving_to_world=EYE
    )
    scale = np.linalg.det(fit.matrix) ** 0.5
    assert scale == pytest.approx(1.25, abs=0.005)
    np.testing.assert_allclose(fit.matrix[:2, :2] / scale, turned(-30), atol=np.deg2rad(0.3))


# ------------------------------------------------------------------ laws


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_far_motion_comes_back(camera: Image, model: str) -> None:
    linear = {
        "rigid": turned(15),
        "similarity": turned(-15, 1.15),
        "affine": turned(12) @ np.array([[1.05, 0.04], [-0.02, 0.94]]),
    }[model]
    truth = about(linear, [128, 128], [-40, 48])
    fixed = warped(camera, truth)
    fit = estimate_affine(fixed, camera, model=model, fixed_to_world=EYE, moving_to_world=EYE)
    assert error(fit, truth, EYE, np.isfinite(fixed)) < 0.05
    assert_sound(fit)


GRIDS = {
    "spacing and origin": (np.diag([0.5, 0.8]), [100, -30]),
    "rotation": (turned(90) @ np.diag([0.5, 0.8]), [3, 4]),
    "flip": (np.diag([0.5, -0.7]), [0, 180]),
    "shear": (np.array([[0.6, 0.2], [0.0, 0.6]]), [-3, 4]),
}


@pytest.mark.parametrize("swap", [False, True], ids=["fixed", "moving"])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_model_holds_in_the_world(camera: Image, grid: str, swap: bool) -> None:
    plain = homogeneous(0.55 * np.eye(2), [2, 1])
    odd = homogeneous(*GRIDS[grid])
    if grid in ("spacing and origin", "rotation"):  # put it where the other is
        middle = np.array([*(np.array(camera.shape) / 2), 1])
        odd[:, -1] += (plain - odd) @ middle
    shape = (230, 260)
    fixed_to_world, moving_to_world = (plain, odd) if swap else (odd, plain)
    middle = (fixed_to_world @ [115, 130, 1])[:-1]
    shift = (moving_to_world @ [128, 128, 1])[:-1] - middle + [4, -6]
    truth = about(turned(9), middle, shift)
    fixed = warped(camera, np.linalg.inv(moving_to_world) @ truth @ fixed_to_world, shape)
    fit = estimate_affine(
        fixed,
        camera,
        model="rigid",
        fixed_to_world=fixed_to_world,
        moving_to_world=moving_to_world,
    )
    assert error(fit, truth, fixed_to_world, np.isfinite(fixed)) < 0.1
    np.testing.assert_allclose(fit.matrix[:2, :2] @ fit.matrix[:2, :2].T, np.eye(2), atol=1e-9)


def test_invalid_samples_do_not_count(camera: Image) -> None:
    truth = about(turned(7), [128, 128], [12, -9])
    fixed, moving = warped(camera, truth), np.array(camera, float)
    fixed[40:90, 120:200] = np.nan
    moving[130:190, 60:130] = np.nan
    moving[0, 0] = np.inf
    fit = estimate_affine(fixed, moving, model="rigid", fixed_to_world=EYE, moving_to_world=EYE)
    assert error(fit, truth, EYE, np.isfinite(fixed)) < 0.05
    assert fit.ncc_after > 0.99
    assert fit.overlap < 0.95


def test_thin_masks(camera: Image) -> None:
    truth = about(turned(3), [128, 128], [4, -3])
    fixed = warped(camera, truth)
    fixed[np.arange(256) % 16 > 4] = np.nan
    fit = estimate_affine(fixed, camera, model="rigid", fixed_to_world=EYE, moving_to_world=EYE)
    assert error(fit, truth, EYE, np.isfinite(fixed)) < 0.1


def test_moving_may_be_much_smaller(camera: Image) -> None:
    moving = camera[60:150, 80:180]
    fit = estimate_affine(camera, moving, model="rigid", fixed_to_world=EYE, moving_to_world=EYE)
    np.testing.assert_allclose(fit.matrix, about(np.eye(2), [0, 0], [-60, -80]), atol=0.05)
    assert fit.overlap == pytest.approx(moving.size / camera.size, rel=0.05)


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_volumes_of_few_planes(model: str, rng: np.random.Generator) -> None:
    volume = ndi.gaussian_filter(rng.standard_normal((10, 80, 90)), (1, 3, 3))
    truth = np.eye(4)
    truth[1:3, 1:3] = turned(8)
    truth[:3, 3] = [1.2, 3, -9]
    to_world = homogeneous(np.diag([3.0, 1, 1]))
    fixed = warped(volume, np.linalg.inv(to_world) @ truth @ to_world)
    fit = estimate_affine(
        fixed, volume, model=model, fixed_to_world=to_world, moving_to_world=to_world
    )
    assert error(fit, truth, to_world, np.isfinite(fixed)) < 0.1


def test_same_seed_same_bits_in_any_company(camera: Image) -> None:
    camera = camera[60:160, 60:160]
    fixed = warped(camera, about(turned(5), [50, 50], [3, 4]))

    def estimated(_: int) -> AffineFit:
        return estimate_affine(
            fixed, camera, model="affine", fixed_to_world=EYE, moving_to_world=EYE
        )

    alone = estimated(0)
    with ThreadPoolExecutor(3) as pool:
        for fit in pool.map(estimated, range(3)):
            np.testing.assert_array_equal(fit.matrix, alone.matrix)
            assert (fit.metric, fit.iterations) == (alone.metric, alone.iterations)


@pytest.mark.parametrize("metric", ["mutual information", "correlation"])
def test_equal_images_stay_where_they_are(camera: Image, metric: str) -> None:
    fit = estimate_affine(
        camera, camera, model="affine", fixed_to_world=EYE, moving_to_world=EYE, metric=metric
    )
    np.testing.assert_allclose(fit.matrix, EYE, atol=1e-8)  # px: least squares ends within rounding
    assert (fit.ncc_before, fit.ncc_after, fit.overlap) == pytest.approx((1, 1, 1))


def test_gain_and_offset_change_nothing(camera: Image) -> None:
    fixed = warped(camera, about(turned(5), [128, 128], [3, 4]))
    plain, changed = (
        estimate_affine(fixed, moving, model="rigid", fixed_to_world=EYE, moving_to_world=EYE)
        for moving in (camera, 1e-4 * camera + 3)
    )
    np.testing.assert_allclose(plain.matrix, changed.matrix, atol=0.02)


# ------------------------------------------------------------------ bad input

PLANE = np.random.default_rng(0).random((30, 30))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "flow"}, "model must be one of rigid"),
        ({"metric": "demons"}, "metric must be one of"),
        ({"fixed": PLANE[0]}, "got 1-D"),
        ({"moving": PLANE + 1j}, "complex128"),
        ({"moving": np.zeros((9, 9, 9)), "moving_to_world": np.eye(4)}, "is constant"),
        (
            {"moving": PLANE[None] * np.ones((9, 1, 1)), "moving_to_world": np.eye(4)},
            "but moving is 3-D",
        ),
        ({"fixed": np.full((30, 30), 7.0)}, r"fixed is constant \(7\)"),
        ({"fixed": np.full((30, 30), np.nan)}, "0 valid samples"),
        ({"moving": PLANE[:3]}, r"shape \(3, 30\)"),
        ({"moving_to_world": np.diag([1, 0, 1])}, "invert"),
    ],
)
def test_bad_input_is_refused(change: dict[str, object], message: str) -> None:
    arguments = {"fixed": PLANE, "moving": PLANE, "model": "rigid"} | change
    fixed, moving = arguments.pop("fixed"), arguments.pop("moving")
    worlds = {"fixed_to_world": EYE, "moving_to_world": EYE}
    with pytest.raises(ValueError, match=message):
        estimate_affine(fixed, moving, **(worlds | arguments))


def test_no_overlap_is_refused() -> None:
    halves = np.where(np.arange(60)[:, None] < 4, np.random.default_rng(1).random((60, 60)), np.nan)
    with pytest.raises(ValueError, match="share no samples"):
        estimate_affine(
            halves,
            halves[::-1],
            model="rigid",
            fixed_to_world=EYE,
            moving_to_world=homogeneous(np.eye(2), [2e3, 0]) @ np.diag([1, 1, 1.0]),
        )


def test_without_simpleitk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ImportError, match=r"napari-local-ncc\[registration\]"):
        estimate_affine(PLANE, PLANE, model="rigid", fixed_to_world=EYE, moving_to_world=EYE)

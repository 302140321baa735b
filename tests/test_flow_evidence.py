"""What a flow is worth: chance, noise, and what it gains."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.ndimage
from skimage import data

from napari_local_ncc import Registration, SpatialImage, register
from napari_local_ncc.cli import main
from napari_local_ncc.registration.flow.sharpness import Smoothed, equally_sharp, relative_blur
from napari_local_ncc.reports.describe import describe_registration

SIDE = 128


def photo(name: str):
    image = np.atleast_3d(getattr(data, name)().astype(float))[..., :3].mean(axis=-1)
    image = scipy.ndimage.zoom(image, 260 / max(image.shape), order=1)
    return image[20 : 20 + SIDE, 60 : 60 + SIDE]


def texture(seed, sigma, shape=(SIDE, SIDE)):
    return scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)


def bent(image, largest, seed=0):
    """Move an image by a smooth field of up to `largest` px."""
    noise = np.random.default_rng(seed).normal(size=(image.ndim, *image.shape))
    field = np.stack([scipy.ndimage.gaussian_filter(part, 18) for part in noise])
    field *= largest / np.sqrt(np.square(field).sum(axis=0)).max()
    points = np.indices(image.shape) + field
    return scipy.ndimage.map_coordinates(image, points, order=3, mode="nearest"), field


def noisy(image, share, seed):
    noise = np.random.default_rng(seed).normal(size=image.shape)
    return image + share * image.std() * noise


UNRELATED = [
    (photo("camera"), photo("coins")),
    (photo("coffee"), photo("moon")),
    (texture(1, 1.0), texture(2, 1.0)),
    (texture(3, 3.0), texture(4, 3.0)),
    (texture(5, 0.0), texture(6, 0.0)),
]


@pytest.mark.parametrize("pair", UNRELATED)
def test_unrelated_images_do_not_flow_unless_asked(pair):
    found = register(*pair, model="flow")
    (report,) = found.reports
    assert not report.applied
    assert report.significance < 1.25
    assert "no flow is reliably better" in report.note
    assert not found.displacement.any()
    assert found.ncc_after == found.ncc_before
    assert "not applied" in describe_registration(found)


def test_what_is_doubtful_flows_if_asked():
    found = register(*UNRELATED[0], model="flow", keep_doubtful=True)
    (report,) = found.reports
    assert report.applied
    assert "no flow is reliably better" in report.note
    assert found.displacement.any()


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(("largest", "noise"), [(0.8, 0.0), (3.0, 0.0), (4.0, 0.3)])
def test_images_that_correspond_flow(largest, noise, inverted):
    image = photo("camera")
    fixed, field = bent(image, largest)
    moving = -image if inverted else image
    found = register(noisy(fixed, noise, 1), noisy(moving, noise, 2), model="flow")
    (report,) = found.reports
    assert report.applied
    assert not report.note
    assert report.significance > 1.25
    points = np.moveaxis(np.indices(image.shape), 0, -1).astype(float)
    moved = np.moveaxis(found.transform_points(points) - points, -1, 0)
    assert np.abs(moved - field).mean() < np.abs(field).mean()


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3, 1.0])
def test_what_is_aligned_stays_and_is_not_doubted(noise):
    image = photo("camera")
    found = register(noisy(image, noise, 1), noisy(image, noise, 2), model="flow")
    (report,) = found.reports
    assert not report.applied
    assert not report.note
    assert report.significance > 1.25
    assert not found.displacement.any()
    text = describe_registration(found)
    assert "a flow gains nothing" in text
    assert "not applied" not in text


def test_volumes_are_told_from_chance_too():
    image, other = (texture(seed, 1.5, (24, 36, 36)) for seed in (1, 2))
    fixed, _ = bent(image, 1.5)
    assert register(fixed, image, model="flow").reports[0].applied
    assert "reliably better" in register(fixed, other, model="flow").reports[0].note


def test_a_frame_that_needs_no_flow_is_a_sure_step():
    frame = photo("camera")
    bent_later = [frame, frame, bent(frame, 3)[0]]
    frames = np.stack([noisy(image, 0.3, seed) for seed, image in enumerate(bent_later)])
    series = SpatialImage.from_array(frames, axis_labels=("t", "y", "x"))
    found = register(series, series, model="flow", reference="previous")
    assert not any(report.note for report in found.reports)


def test_the_command_line_says_so(tmp_path, capsys):
    for name, image in zip("fm", UNRELATED[2], strict=True):
        np.save(tmp_path / f"{name}.npy", image)
    words = [str(tmp_path / name) for name in ("f.npy", "m.npy")]
    path = tmp_path / "t.json"
    assert main(["register", *words, "-o", str(path), "--model", "flow"]) == 0
    assert "no flow is reliably better" in capsys.readouterr().out
    (report,) = json.loads(path.read_text(encoding="utf-8"))["reports"]
    assert report["significance"] < 1.25
    assert {"gain", "applied"} <= report.keys()
    assert not Registration.load(path).reports[0].applied


def test_valid_samples_in_a_part_of_the_field_are_enough():
    """Displaced within the whole field, the valid parts of both images would not meet."""
    image = photo("camera")
    moved, _ = bent(image, 3.0)
    y, x = np.indices(image.shape) - SIDE / 2
    outside = y**2 + x**2 > 40**2
    fixed, moving = (np.where(outside, np.nan, i) for i in (moved, image))
    (report,) = register(fixed, moving, model="flow", keep_doubtful=True).reports
    assert report.applied
    assert np.isfinite(report.significance)


def test_aligned_images_in_noise_are_left_alone():
    image = texture(7, 3.0, (150, 150))
    for seed in range(3):
        pair = noisy(image, 0.3, 2 * seed + 1), noisy(image, 0.3, 2 * seed + 2)
        found = register(*pair, model="flow")
        assert found.reports[0].gain < 2
        assert not found.displacement.any()


def test_a_gain_is_measured_in_thin_stacks():
    stack = texture(8, (2, 3, 3), (8, 190, 190))
    moved, _ = bent(stack, 1.5)
    (report,) = register(moved, stack, model="flow", keep_doubtful=True).reports
    assert np.isfinite(report.gain)


@pytest.mark.parametrize("largest", [0.0, 3.0])
def test_noise_that_neighbours_share_moves_nothing_further_away(largest):
    """As of images that were interpolated, denoised or compressed: no flow is worse than none."""
    image = photo("camera")
    fixed, field = bent(image, largest) if largest else (image, np.zeros((2, *image.shape)))
    sd = fixed.std()
    fixed, moving = (
        each + 0.5 * sd * texture(seed, 0.8, image.shape) / texture(seed, 0.8, image.shape).std()
        for seed, each in ((1, fixed), (2, image))
    )
    found = register(fixed, moving, model="flow")
    points = np.moveaxis(np.indices(image.shape), 0, -1).astype(float)
    moved = np.moveaxis(found.transform_points(points) - points, -1, 0)
    before, after = (np.median(np.hypot(*(flow - field))) for flow in (0 * field, moved))
    assert after <= before + 0.2


@pytest.mark.parametrize("blurred", ["fixed", "moving"])
@pytest.mark.parametrize(
    "scene", [photo("camera"), texture(21, 2.0)], ids=["photograph", "texture"]
)
def test_a_flow_does_not_take_blur_for_motion(scene, blurred):
    scene = scipy.ndimage.zoom(scene, 2, order=3)
    fixed, moving = scene[10:-10, 10:-10], scene[7:-13, 16:-4]
    if blurred == "fixed":
        fixed = scipy.ndimage.gaussian_filter(fixed, 2.5)
    else:
        moving = scipy.ndimage.gaussian_filter(moving, 2.5)
    found = register(noisy(fixed, 0.05, 1), noisy(moving, 0.05, 2), model="flow")
    points = np.stack(np.meshgrid(*2 * [np.arange(20.0, 210, 10)], indexing="ij"), -1)
    moved = found.transform_points(points) - points - [3, -6]
    assert np.linalg.norm(moved, axis=-1).mean() < 0.1
    assert f"as {blurred} looks blurred" in found.reports[0].remark


@pytest.mark.parametrize("sigma", [1.0, 2.5, 4.0])
def test_relative_blur_is_that_of_the_images(sigma):
    for seed in range(3):
        scene = texture(seed, 1.0, (300, 320)).astype(np.float32)
        sharp = noisy(scene[:256, :256], 0.05, seed + 1).astype(np.float32)
        soft = scipy.ndimage.gaussian_filter(scene, sigma)[20:276, 7:263]
        soft = noisy(soft, 0.05, seed + 2).astype(np.float32)
        assert np.sqrt(relative_blur(sharp, soft)) == pytest.approx(sigma, rel=0.15)
        assert relative_blur(soft, sharp) == pytest.approx(-relative_blur(sharp, soft), rel=0.01)
        assert relative_blur(sharp, 50 - 7 * soft) == pytest.approx(
            relative_blur(sharp, soft), rel=0.01
        )


def test_images_that_are_equally_sharp_are_left_as_they_are():
    for seed, sigma in enumerate([0.0, 1.0, 3.0]):
        scene = texture(seed, sigma, (200, 200)).astype(np.float32)
        pair = [noisy(scene, 0.2, seed + k).astype(np.float32) for k in (1, 2)]
        one, two, said = equally_sharp(*pair, pair[1])
        assert one is pair[0]
        assert two is pair[1]
        assert not said
    empty = np.full((40, 40), np.nan, np.float32)
    assert relative_blur(empty, empty) == 0
    assert relative_blur(scene[:9], scene[:9]) == 0
    assert relative_blur(0 * scene, 0 * scene) == 0


@pytest.mark.parametrize("shape", [(40, 50), (12, 20, 30)])
def test_a_box_of_a_smoothed_image_is_that_of_the_whole(shape):
    image = texture(1, 0.0, shape).astype(np.float32)
    image[(slice(3, 6),) * len(shape)] = np.nan
    smooth = Smoothed(image, 1.7)
    whole = smooth[tuple(slice(0, n) for n in shape)]
    assert np.isnan(whole).sum() == 3 ** len(shape)
    for box in ((slice(0, 7),) * len(shape), tuple(slice(4, n - 1) for n in shape)):
        np.testing.assert_allclose(smooth[box], whole[box], atol=1e-6)


def test_a_flow_begins_with_a_verified_shift_also_where_samples_were_left_out():
    image = photo("camera")
    fixed, moving = image[:, :-30].copy(), image[:, 30:].copy()
    moving[7, 9] = 10 * moving.max()  # said in the shift's report, and no doubt
    found = register(fixed, moving, model="flow")
    moved = found.transform_points(np.array([[40.0, 60.0]]))
    np.testing.assert_allclose(moved, [[40.0, 30.0]], atol=0.5)

"""Linear transforms from any turn and scale, as exact as noise lets them, no richer than needed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import linalg
from scipy import ndimage as ndi

from napari_local_ncc import read_map, register
from napari_local_ncc.cli import main
from napari_local_ncc.registration.affine import by_detail
from napari_local_ncc.registration.affine.block_jackknife import block_jackknife
from napari_local_ncc.registration.affine.contrast import in_contrast_of
from napari_local_ncc.registration.affine.detail_search import FOLLOWED
from napari_local_ncc.registration.affine.ladder import (
    draw_errors,
    error_quantiles,
    is_extreme,
    simplest,
)
from napari_local_ncc.registration.affine.least_squares import Fit, generators, least_squares
from napari_local_ncc.registration.affine.orientations import (
    axis_orientations,
    search_range,
    starts_by_detail,
)
from napari_local_ncc.registration.affine.sampled_image import Sampled, frame_of
from napari_local_ncc.registration.affine.score_kernel import sum_scores
from napari_local_ncc.registration.affine.verified_shift import verified_shift
from napari_local_ncc.registration.engine_thread import Watch

pytest.importorskip("SimpleITK")

SIDE = 128
MIDDLE = (SIDE - 1) / 2


def waves(matrix, seed=0, shape=(SIDE, SIDE), wavelengths=(7.0, 40.0)):
    """A scene of plane waves, read without interpolation where `matrix` puts the pixels."""
    random = np.random.default_rng(seed)
    ndim = len(shape)
    directions = random.normal(size=(60, ndim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = 2 * np.pi * directions / random.uniform(*wavelengths, (60, 1))
    at = np.indices(shape).reshape(ndim, -1)
    at = matrix[:-1, :-1] @ at + matrix[:-1, -1:]
    return np.sin(waves @ at + random.uniform(0, 7, (60, 1))).sum(axis=0).reshape(shape)


def motion(degrees=0.0, scale=1.0, shift=(0.0, 0.0), linear=None):
    """About the middle of a plane: fixed's pixels to moving's."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[cos, -sin], [sin, cos]])
    if linear is not None:
        matrix[:2, :2] = linear
    matrix[:2, 2] = MIDDLE - matrix[:2, :2] @ [MIDDLE, MIDDLE] + shift
    return matrix


def pair_of(truth, snr=np.inf, seed=0, **how):
    """Fixed shows at p what moving shows at truth p; noise of its own in each."""
    fixed, moving = waves(truth, seed, **how), waves(np.eye(len(truth)), seed, **how)
    random = np.random.default_rng(1000 + seed)
    return [a + random.normal(size=a.shape) * a.std() / snr for a in (fixed, moving)]


def missed(matrix, truth, shape=(SIDE, SIDE)):
    """Root mean square distance over fixed, px."""
    at = np.stack([*np.indices(shape).reshape(len(shape), -1), np.ones(np.prod(shape))])
    return float(np.sqrt(np.mean(np.sum(((matrix - truth) @ at)[:-1] ** 2, axis=0))))


# ------------------------------------------------------------------ reach


@pytest.mark.parametrize("degrees", [77.0, 180.0, 289.0])
def test_any_turn_is_found(degrees):
    truth = motion(degrees, shift=(4.3, -6.8))
    found = register(*pair_of(truth), model="rigid")
    assert found.reports[0].applied
    assert not found.reports[0].note
    assert missed(found.matrix, truth) < 0.005


@pytest.mark.parametrize(("degrees", "scale"), [(200.0, 0.3), (33.0, 2.9)])
def test_scales_far_from_one_are_found(degrees, scale):
    truth = motion(degrees, scale, (3.0, 5.0))
    images = pair_of(truth, snr=10, wavelengths=(9.0, 90.0), shape=(256, 256))
    found = register(*images, model="similarity")
    assert found.reports[0].applied
    assert missed(found.matrix, truth) < 0.01 * SIDE


def cells(matrix, seed, side=256):
    """Some twenty round cells of 5 to 15 px, read where `matrix` puts the pixels."""
    random = np.random.default_rng(seed)
    at = matrix[:2] @ np.stack([*np.indices((side, side)).reshape(2, -1), np.ones(side**2)])
    image = np.zeros(side**2)
    for _ in range(200):
        away = np.hypot(*(at - random.uniform(-side, 2 * side, (2, 1)))) - random.uniform(5, 15)
        cell = random.uniform(0.5, 1) / (1 + np.exp(away.clip(-50, 50)))
        image = np.maximum(image, cell)
    noise = np.random.default_rng([seed, 1]).normal(size=side**2) * image.std() / 5
    return (image + noise).reshape(side, side).astype(np.float32)


@pytest.mark.parametrize(("seed", "scale"), [(0, 0.7), (1, 0.7), (2, 0.7), (3, 1.5)])
def test_starts_of_few_cells_that_are_scaled_are_followed(seed, scale):
    """On a lattice on which a cell is a pixel wide, wrong starts fit as well."""
    truth = motion(47 * seed + 20, scale)
    truth[:2, 2] = 127.5 - truth[:2, :2] @ [127.5, 127.5] + [60, 40]
    fixed, moving = (cells(matrix, seed) for matrix in (truth, np.eye(3)))
    to_frame = frame_of(Sampled(fixed, np.eye(3)))
    images = [Sampled(image, to_frame) for image in (fixed, moving)]
    starts = starts_by_detail(*images, scaled=True, watch=Watch())[: FOLLOWED[0]]
    found = [np.linalg.inv(to_frame) @ start.matrix @ to_frame for start in starts]
    assert min(missed(matrix, truth, (256, 256)) for matrix in found) < 16


def test_a_volume_on_its_side_is_found():
    turn = axis_orientations()[17] @ ndi_turn(12.0)
    truth = np.eye(4)
    truth[:3, :3] = turn
    truth[:3, 3] = 19.5 - turn @ np.full(3, 19.5) + [1.0, -2.0, 0.5]
    shape = (40, 40, 40)
    found = register(*pair_of(truth, shape=shape), model="rigid")
    assert found.reports[0].applied
    assert missed(found.matrix, truth, shape) < 0.01


def ndi_turn(degrees):
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def test_the_orientations_of_axes_are_the_rotations_of_a_cube():
    found = axis_orientations()
    assert len({tuple(matrix.ravel()) for matrix in found}) == 24
    assert all(np.linalg.det(matrix) == pytest.approx(1) for matrix in found)


def test_a_mirror_image_is_said_and_mirrored_only_on_request():
    truth = motion(linear=motion(15)[:2, :2] @ np.diag([1.0, -1.0]))
    pair = pair_of(truth)
    found = register(*pair, model="rigid")
    assert_allclose(found.matrix, np.eye(3))
    assert not found.reports[0].applied
    assert "mirrored along" in found.reports[0].note
    asked = register(*pair, model="rigid", mirror=True)
    assert asked.reports[0].applied
    assert missed(asked.matrix, truth) < 0.01


def test_a_map_of_a_mirror_image_on_request(tmp_path):
    pair = pair_of(motion(linear=np.diag([1.0, -1.0])))
    for name, image in zip("ab", pair, strict=True):
        np.save(tmp_path / f"{name}.npy", np.asarray(getattr(image, "data", image)))
    words = [
        "map",
        *(str(tmp_path / f"{name}.npy") for name in "ab"),
        "-o",
        str(tmp_path / "o.npy"),
    ]
    assert main([*words, "--register", "rigid", "--mirror"]) == 0
    made = read_map(tmp_path / "o.npy")
    assert np.linalg.det(made.registration.matrix[:2, :2]) == pytest.approx(-1, abs=1e-3)
    assert np.nanmedian(made["ncc"].compute()) > 0.9


# ------------------------------------------------------------------ refusals


def discs(seed, count=5, side=160, radii=(8, 14)):
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image = np.zeros((side, side))
    for _ in range(count):
        centre, radius = random.uniform(0, side, 2), random.uniform(*radii)
        inside = np.hypot(y - centre[0], x - centre[1]) < radius
        image = np.maximum(image, inside * random.uniform(0.6, 1))
    return 20 + 100 * ndi.gaussian_filter(image, 1.5)


@pytest.mark.parametrize("snr", [np.inf, 2.0])
def test_unrelated_discs_that_a_turn_lays_on_one_another_are_refused(snr):
    """Of 50 pairs the one whose evidence comes nearest to that of what is related."""
    random, noise = np.random.default_rng(2), np.random.default_rng(9)
    images = [discs(random, side=256, radii=(10, 18)) for _ in range(2)]
    images = [image + noise.normal(0, image.std() / snr, image.shape) for image in images]
    report = register(*images, model="rigid").reports[0]
    assert not report.applied
    assert report.significance < 1.35


@pytest.mark.parametrize(("model", "snr"), [("rigid", np.inf), ("rigid", 1.0), ("affine", 2.0)])
def test_unrelated_discs_are_refused(model, snr):
    random = np.random.default_rng(3)
    images = [a + random.normal(size=a.shape) * a.std() / snr for a in map(discs, (1, 2))]
    found = register(*images, model=model)
    assert not found.reports[0].applied
    assert search_range(2, model) in found.reports[0].note
    assert_allclose(found.matrix, np.eye(3))


def test_a_shift_is_applied_where_turns_tell_nothing():
    """Few discs fit others by some turn nearly as well, but by no shift alone."""
    scene, random = discs(0, count=14, side=320, radii=(8, 18)), np.random.default_rng([0, 2])
    parts = scene[:224, :224], scene[80:304, 60:284]
    images = [part + random.normal(size=part.shape) * scene.std() for part in parts]
    found = register(*images, model="rigid")
    (report,) = found.reports
    assert report.applied
    assert "by turns and scales nothing is better than chance" in report.note
    assert missed(found.matrix, np.array([[1, 0, -80], [0, 1, -60], [0, 0, 1]]), (224, 224)) < 0.5


def test_a_shift_that_nothing_richer_fits_is_kept(monkeypatch):
    """The judge of translations has spoken for it."""
    monkeypatch.setattr(by_detail, "fit_of_least_error", lambda *_: None)
    scene, random = discs(0, count=14, side=320, radii=(8, 18)), np.random.default_rng([0, 2])
    parts = scene[:224, :224], scene[80:304, 60:284]
    images = [part + random.normal(size=part.shape) * scene.std() for part in parts]
    found = register(*images, model="affine")
    assert found.reports[0].applied
    assert missed(found.matrix, np.array([[1, 0, -80], [0, 1, -60], [0, 0, 1]]), (224, 224)) < 0.5


@pytest.mark.parametrize("step", [1.0, 1.5])
def test_a_verified_shift_is_one_in_the_frame(step):
    """Of images whose pixels differ, too; and none of unrelated ones."""
    truth = motion(shift=(7.0, -4.5))
    place = np.diag([step, step, 1.0])
    fixed, moving = waves(truth), waves(place, shape=(120, 120))
    to_frame = np.diag([0.01, 0.01, 1.0])
    here, there = (Sampled(a.astype(np.float32), to_frame) for a in (fixed, moving))
    there = Sampled(there.values, to_frame @ place)
    matrix, verdict = verified_shift(here, there, Watch())
    assert verdict.is_significant
    assert_allclose(matrix, to_frame @ truth @ np.linalg.inv(to_frame), atol=5e-4)
    other = Sampled(waves(truth, seed=5).astype(np.float32), to_frame)
    assert verified_shift(other, there, Watch()) is None


def test_no_shift_is_asked_for_in_pixels_far_smaller():
    """An overview in the pixels of a detail would take all memory."""
    here = Sampled(np.ones((64, 64), np.float32), np.eye(3))
    there = Sampled(np.ones((64, 64), np.float32), np.diag([1e4, 1e4, 1.0]))
    assert verified_shift(here, there, Watch()) is None


def test_two_cells_that_an_affine_lays_on_two_others_are_no_match():
    """Rims of few round cells coincide: mutual information found them, and edges agreed."""
    at = np.indices((256, 256))
    images = []
    for cells in (
        ((53, 139, 15), (112, 66, 16), (120, 72, 14), (185, 200, 12), (215, 193, 8), (12, 255, 13)),
        ((15, 88, 10), (48, 83, 18), (50, 138, 15), (61, 127, 10), (185, 47, 18), (237, 176, 13)),
    ):
        image = np.zeros((256, 256))
        for y, x, radius in cells:
            image[np.hypot(at[0] - y, at[1] - x) < radius] = 0.7 + radius / 60
        images.append(20 + 100 * ndi.gaussian_filter(image, 1.5))
    assert not register(*images, model="affine").reports[0].applied


def test_what_scales_or_stretches_too_far_is_doubted():
    assert not is_extreme(motion(40, 3.9), 4)
    assert "scales by" in is_extreme(motion(40, 4.9), 4)
    assert "stretches" in is_extreme(np.diag([1.0, 2.5, 1.0]), 4)


# ------------------------------------------------------------------ accuracy and ladder


def test_interpolation_that_smooths_noise_earns_nothing():
    """Nothing moved: half a pixel would be where the metric rewards it."""
    for seed in (0, 1):
        pair = pair_of(np.eye(3), snr=1, seed=seed)
        found = register(*pair, model="affine")
        report = found.reports[0]
        assert report.applied
        assert "a translation explains" in report.remark
        assert missed(found.matrix, np.eye(3)) < min(0.15, 2 * report.error95_px)
        assert report.error95_px < 0.2


def test_an_affine_is_kept_where_it_is_one():
    truth = motion(linear=[[1.03, 0.04], [-0.01, 0.96]], shift=(2.4, -1.7))
    found = register(*pair_of(truth, snr=4), model="affine")
    report = found.reports[0]
    assert not report.remark
    assert missed(found.matrix, truth) < 2 * report.error95_px < 0.1


@pytest.mark.parametrize("snr", [2.0, 1.0])
def test_the_last_step_reaches_the_limit_of_the_noise_and_states_it(snr):
    """Cramer and Rao's bound of a signal in two noisy images."""
    errors, stated, bounds = [], [], []
    truth = motion(6.0, shift=(2.37, -1.61))
    base = generators("rigid", 2)
    for seed in range(8):
        clean = waves(truth, seed)
        images = [Sampled(a.astype(np.float32), np.eye(3)) for a in pair_of(truth, snr, seed)]
        frame = frame_of(images[0])
        images = [Sampled(image.values, frame) for image in images]
        back = np.linalg.inv(frame)
        start = frame @ motion(6.0, shift=(2.67, -1.41)) @ back
        fit = least_squares(*images, start, model="rigid", smoothing=1.2)
        errors.append(missed(back @ fit.matrix @ frame, truth))
        drawn = draw_errors(fit.covariance, fit.blocks)
        stated.append(error_quantiles(drawn, "rigid", images[0])[0])
        slopes = np.stack(np.gradient(clean)).reshape(2, -1)
        at = np.stack([*np.indices(clean.shape).reshape(2, -1), np.ones(clean.size)])
        moves = (back @ base @ frame)[:, :2] @ at
        rows = np.einsum("kdn,dn->kn", moves, slopes)
        covariance = 2 * (clean.std() / snr) ** 2 * np.linalg.inv(rows @ rows.T)
        spread = np.einsum("kdn,ldn,kl->n", moves, moves, covariance)
        bounds.append(np.sqrt(spread.mean()))
    assert np.median(errors) < 1.5 * np.median(bounds)
    assert np.median(stated) == pytest.approx(np.median(bounds), rel=0.4)


def test_the_covariance_is_that_of_fits_without_one_block_each():
    """Of a linear model, where leaving out is exact, with blocks of very unlike weight."""
    random = np.random.default_rng(3)
    design = random.normal(size=(12, 5, 3)) * random.exponential(size=(12, 1, 1))
    target = random.normal(size=(12, 5))
    flat = design.reshape(-1, 3), target.ravel()
    whole = np.linalg.lstsq(*flat)[0]
    without = [
        np.linalg.lstsq(np.delete(design, b, 0).reshape(-1, 3), np.delete(target, b, 0).ravel())[0]
        for b in range(12)
    ]
    changes = np.array(without) - whole
    scores = np.einsum("bnk,bn->bk", design, target - design @ whole)
    curvatures = np.einsum("bnk,bnl->bkl", design, design)
    found, blocks = block_jackknife(scores, curvatures, curvatures.sum(axis=0))
    assert_allclose(found, changes.T @ changes * 11 / 12, rtol=1e-9)
    assert 1 < blocks < 12


def test_what_a_simpler_motion_leaves_out_is_within_its_error():
    """A turn of three standard errors, which is not evident, is no chance one of three either."""
    tiny, sd = 1e-9, 0.01
    turned = linalg.expm(3 * sd * generators("rigid", 2)[2])
    fits = {
        "rigid": Fit(turned, np.diag([tiny, tiny, sd**2]), 50.0, 1, converged=True),
        "translation": Fit(np.eye(3), tiny * np.eye(2), 50.0, 1, converged=True),
    }
    image = Sampled(np.zeros((64, 64), np.float32), np.eye(3))
    image = Sampled(image.values, frame_of(image))
    pair = SimpleNamespace(fixed=image, fit=lambda start, kind: fits[kind])
    kind, _, errors = simplest(pair, fits["rigid"], "rigid")
    assert kind == "translation"
    inner, outer = error_quantiles(errors, "rigid", image)
    at = (np.stack(np.mgrid[:64, :64], -1) - 31.5).reshape(-1, 2)
    length = 3 * sd * np.linalg.norm(at, axis=1).mean()
    assert length < inner < 1.25 * length < outer < 2 * length


@pytest.mark.parametrize("shape", [(1, 30, 40), (9, 20, 22)])
def test_the_compiled_scores_are_those_of_the_definition(shape):
    random = np.random.default_rng(0)
    here, other = random.normal(size=(2, *shape)).astype(np.float32)
    here[:, 10, 7] = np.nan
    bound, sums = 1.5, np.zeros((16 ** (2 if shape[0] == 1 else 3), 3, 5))
    count = sum_scores(here, other, 0.25, bound, 16, sums)
    both = np.zeros((3, *shape))
    inner = np.ones(shape, bool)
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        far = 1 if n < 16 else 2
        taps = [-0.5, 0, 0.5] if far == 1 else np.array([1, -8, 0, 8, -1]) / 12
        both[axis] = sum(
            tap * np.roll(here.astype(float) + other, far - k, axis) for k, tap in enumerate(taps)
        )
        np.moveaxis(inner, axis, 0)[[*range(far), *range(-far, 0)]] = False
    used = inner & np.isfinite(both.sum(axis=0) + here)
    pull = both / 2 * np.clip(here.astype(float) - other - 0.25, -bound, bound)
    expected = [
        [np.sum((pull[axis] * weight)[used]) for weight in (*np.indices(shape), np.ones(shape))]
        for axis in range(3)
    ]
    assert count == np.count_nonzero(used) == sums[:, 2, 4].sum()
    assert_allclose(sums.sum(axis=0)[:, :4], expected, rtol=1e-4, atol=1e-2)


def test_the_models_are_nested():
    richest = generators("affine", 3)
    assert len(richest) == 12
    assert np.linalg.matrix_rank(richest.reshape(12, -1)) == 12
    for model, count in (("translation", 3), ("rigid", 6), ("similarity", 7)):
        assert_allclose(generators(model, 3), richest[:count])


def test_a_contrast_that_is_a_curve_is_followed_and_a_line_is_left():
    fixed, noise = waves(np.eye(3)).astype(np.float32), waves(np.eye(3), 1).astype(np.float32)
    line, curve = -2 * fixed + 3 + 0.1 * noise, np.exp(fixed / 8)
    same, other = Sampled(line, np.eye(3)), Sampled(curve, np.eye(3))
    assert in_contrast_of(fixed, line, same) is same
    brought = in_contrast_of(fixed, curve, other).values
    assert np.corrcoef(brought.ravel(), fixed.ravel())[0, 1] > 0.99
    assert np.corrcoef(curve.ravel(), fixed.ravel())[0, 1] < 0.95

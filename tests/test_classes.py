"""Classes by evidence: laws that hold whatever the images are, on planted truth."""

from __future__ import annotations

import itertools
import json

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import fourier_shift, gaussian_filter, shift

from napari_local_ncc import NCCParameters, classify, confidence_map
from napari_local_ncc.confidence.local_noise import noise_around, reach_of_noise
from napari_local_ncc.evidence.noise import NoiseModel
from napari_local_ncc.maps.block.block import Block
from napari_local_ncc.maps.block.plan import BandPlan
from napari_local_ncc.maps.exposure import Exposure, common_motion
from napari_local_ncc.maps.map_summary import MapTally
from napari_local_ncc.maps.window_evidence import motion_likelihood
from napari_local_ncc.ncc.separable import window_taps
from napari_local_ncc.shift import CLASSES
from napari_local_ncc.shift.classes import Looks, classes_of_windows

UNDEFINED, AGREES, DISPLACED, DIFFERS, BEYOND, UNSURE = range(6)
PARAMETERS = NCCParameters(radius=4, search=3, bands=("ncc", "classes"))
INNER = (slice(10, -10), slice(10, -10))


def texture(seed, sigma=1.5, shape=(160, 170)):
    made = gaussian_filter(np.random.default_rng([41, seed]).normal(size=shape), sigma)
    return made / made.std()


def in_noise(image, snr, seed):
    return image + np.random.default_rng([42, seed]).normal(size=image.shape) / snr


def classes_of(fixed, moving, parameters=PARAMETERS, **options):
    result = confidence_map(fixed, moving, parameters=parameters, **options)
    return np.asarray(result["classes"]), result


def share(classes, code):
    return float(np.mean(classes == code))


@pytest.mark.parametrize(("snr", "gain"), [(5, 1), (1, -40), (0.3, 1)])
def test_the_same_in_noise_neither_differs_nor_moves(snr, gain):
    same = texture(1) * np.linspace(0.05, 2, 170)  # structure from below the noise to above it
    parameters = PARAMETERS.replace(alternative="greater" if gain > 0 else "two-sided")
    fixed, moving = in_noise(same, snr, 1), gain * in_noise(same, snr, 2)
    classes, _ = classes_of(fixed, moving, parameters)
    assert share(classes, DIFFERS) < 0.02
    assert share(classes, DISPLACED) < 0.02
    assert share(classes, AGREES) + share(classes, UNSURE) > 0.96


@pytest.mark.parametrize("sigma", [0.8, 1.5])
def test_what_two_images_have_in_common_is_no_noise(sigma):
    """Second differences take fine structure for noise; that both show it tells them apart."""
    same = texture(14, sigma)
    moved = same.copy()
    moved[40:110, 40:120] = np.roll(same, 2, 1)[40:110, 40:120]
    _, result = classes_of(in_noise(same, 5, 1), in_noise(moved, 5, 2))
    for name in ("fixed", "moving"):
        assert result.provenance["exposure"][name]["sd"] == pytest.approx(0.2, rel=0.08)
    _, twice = classes_of(same, same)
    assert twice.provenance["exposure"]["fixed"]["sd"] > 0


@pytest.mark.parametrize("where", ["ramp", "patch"])
def test_noise_that_varies_over_place_is_no_difference(where):
    """As where light was evened or a part was denoised: 3 to 12 % were said to differ."""
    same = texture(15)
    sd = np.geomspace(0.15, 0.6, 170) * np.ones((160, 1))
    if where == "patch":
        sd = np.full(same.shape, 0.2)
        sd[50:100, 60:120] = 0.6
    fixed, moving = (same + sd * in_noise(0 * same, 1, seed) for seed in (3, 4))
    classes, _ = classes_of(fixed, moving)
    assert share(classes, DIFFERS) < 0.02
    assert share(classes, DISPLACED) < 0.02
    assert share(classes, AGREES) > 0.95
    moving[20:70, 20:70] = texture(16)[20:70, 20:70] + (sd * in_noise(0 * same, 1, 5))[20:70, 20:70]
    classes, _ = classes_of(fixed, moving)
    assert share(classes[30:60, 30:60], DIFFERS) > 0.8


@pytest.mark.parametrize("radius", [(4, 4), (0, 4)])
def test_noise_around_is_what_it_is_whatever_stands_out(radius):
    sd = np.geomspace(1, 3, 200)[:, np.newaxis] * np.ones(180)
    image = (
        sd * np.random.default_rng(46).normal(size=sd.shape)
        + np.add.outer(*[np.arange(200)] * 2)[:, :180]
    )
    if radius[0]:  # of a line, one sample in 33 is too much
        image[::40, ::35] += 5000
    valid = np.ones(image.shape, bool)
    valid[60:64] = False
    image[60:64] = 1e9
    found = noise_around(image, valid, radius=radius)
    assert np.sqrt(np.mean((found[valid] / sd[valid] - 1) ** 2)) < (0.2 if radius[0] else 0.35)
    assert np.mean(found[valid] / sd[valid]) == pytest.approx(1, abs=0.08)


def test_windows_without_structure_lose_none():
    """However quiet they are beside what the noise is taken for."""
    rng = np.random.default_rng(15)
    columns = np.arange(170)
    quiet = np.where(columns < 20, 0.6, 1.0)  # of the noise of the rest
    same = 4 * texture(16) * (columns >= 40)
    fixed, moving = (same + quiet * rng.normal(size=same.shape) for _ in range(2))
    classes, _ = classes_of(fixed, moving)
    assert share(classes, DIFFERS) < 0.003


def test_photons_are_noise_too():
    rng = np.random.default_rng(5)
    same = 40 * np.exp(0.4 * texture(2)) * np.linspace(0.3, 2, 170)
    classes, _ = classes_of(*(rng.poisson(same) for _ in range(2)))
    assert share(classes, DIFFERS) < 0.02
    assert share(classes, DISPLACED) < 0.02
    assert share(classes, AGREES) > 0.6


@pytest.mark.parametrize("snr", [10, 3])
def test_what_is_planted_is_found_as_what_it_is(snr):
    same, other = texture(3), texture(4)
    moved = same.copy()
    moved[30:70, 30:70] = other[30:70, 30:70]
    moved[90:130, 40:80] = np.roll(same, 2, 1)[90:130, 40:80]
    moved[30:70, 110:150] = 0  # lost
    classes, _ = classes_of(in_noise(same, snr, 3), in_noise(moved, snr, 4))
    assert share(classes[34:66, 34:66], DIFFERS) > 0.85
    assert share(classes[94:126, 46:76], DISPLACED) > 0.9
    # Whatever the search brings into these windows is lost as well.
    assert share(classes[38:62, 118:142], DIFFERS) > (0.85 if snr > 5 else 0.4)
    assert share(classes[140:, :], AGREES) > 0.95


@pytest.mark.parametrize("shift", [(4, -1), (3, -2), (-25, 31)])
@pytest.mark.parametrize("snr", [20, 2])
def test_what_moved_too_far_is_beyond_the_search(shift, snr):
    fixed = texture(5)
    moving = in_noise(np.roll(fixed, shift, (0, 1)), snr, 6)
    classes, result = classes_of(in_noise(fixed, snr, 5), moving)
    inner = classes[40:-40, 40:-40]
    if max(map(abs, shift)) > 3:
        assert tuple(result.provenance["exposure"]["motion"]) == shift
        assert share(inner, BEYOND) > (0.95 if snr > 10 else 0.9)
    assert share(inner, BEYOND) > (0.9 if snr > 10 else 0.7)
    assert share(inner, DIFFERS) < 0.05


@pytest.mark.parametrize(("sigma", "least"), [(2.0, 0.97), (3.0, 0.92)])
def test_what_moved_too_far_follows_the_images_as_a_whole(sigma, least):
    """In coarse texture a window alone tells little of a shift just beside the search."""
    still = texture(31, sigma, (200, 200))
    moved = np.roll(still, (4, -2), (0, 1))
    moved[130:180, 20:70] = still[130:180, 20:70]
    moved[130:180, 110:160] = texture(32, sigma, (200, 200))[130:180, 110:160]
    classes, _ = classes_of(in_noise(still, 2, 33), in_noise(moved, 2, 34))
    assert share(classes[20:110, 20:-20], BEYOND) > least
    assert share(classes[20:110, 20:-20], DIFFERS) < 0.01
    assert share(classes[140:170, 30:60], BEYOND) < 0.05
    assert share(classes[140:170, 120:150], BEYOND) < 0.25


@pytest.mark.parametrize("weights", ["box", "gaussian"])
def test_what_follows_the_images_as_a_whole_follows_no_chunks(weights):
    still = texture(35, 2.0, (150, 160))
    pair = in_noise(still, 1.5, 36), in_noise(np.roll(still, (5, -2), (0, 1)), 1.5, 37)
    pair[1][60:90, 60:100] = np.nan
    parameters = PARAMETERS.replace(weights=weights)
    wanted, result = classes_of(*pair, parameters)
    assert result.provenance["exposure"]["motion"] is not None
    chunked = [da.from_array(image, chunks=(70, 90)) for image in pair]
    np.testing.assert_array_equal(classes_of(*chunked, parameters)[0], wanted)


def test_unrelated_images_have_no_common_motion_and_differ():
    classes, result = classes_of(in_noise(texture(6), 10, 7), in_noise(texture(7), 10, 8))
    assert result.provenance["exposure"]["motion"] is None
    assert share(classes, DIFFERS) > 0.7
    assert share(classes, AGREES) < 0.05


@pytest.mark.parametrize(("sigma", "snr"), [(1, 2), (2, 5), (2, 2), (3, 20), (3, 5), (3, 2)])
def test_what_has_nothing_in_common_did_not_move_too_far(sigma, snr):
    """The best of many at the border of the search is one by chance: it was in 3 to 7 %."""
    found = []
    for seed in (61, 63):
        pair = (texture(seed + k, sigma, (256, 256)) for k in range(2))
        classes, _ = classes_of(*(in_noise(image, snr, seed + k) for k, image in enumerate(pair)))
        found.append(share(classes, BEYOND))
    assert np.mean(found) <= 0.02


@pytest.mark.parametrize("weights", ["box", "gaussian"])
def test_what_is_missing_tells_nothing_of_a_motion(weights):
    """Windows of which half is masked out counted as whole ones."""
    rng = np.random.default_rng(64)
    fixed, moving = rng.normal(size=(2, 40, 44))
    mask = rng.random(fixed.shape) < 0.6
    moving[20:24, 5:9] = np.nan
    model, whole = NoiseModel(1.0, 0.0, 0.0), (slice(0, 40), slice(0, 44))
    exposure = Exposure(model, model, 1.0, (3, -2))
    limits = {"weights": weights, "min_std": 0.0, "min_valid": 0.3}
    kinds = ("classes",)
    plan = BandPlan(kinds, (2, 2), (2, 2), limits, None, exposure, True, False)
    pieces = [[(whole, image)] for image in (fixed, moving, mask)]
    found = motion_likelihood(Block(pieces, whole, plan, (0, 0)))
    taps = window_taps(4, weights)
    places = np.argwhere(np.isfinite(found))[::40]
    assert len(places) > 10
    for y, x in places:
        worth, ncc = [], []
        for dy, dx in ((0, 0), (3, -2)):
            rows = []
            for i, j in itertools.product(range(-4, 5), repeat=2):
                p, q = (y + i, x + j), (y + i + dy, x + j + dx)
                if all(0 <= u < 40 and 0 <= v < 44 and mask[u, v] for u, v in (p, q)):
                    rows.append((fixed[p], moving[q], taps[i + 4] * taps[j + 4]))
            a, b, w = np.array([row for row in rows if np.isfinite(row).all()]).T
            worth.append(w.sum() ** 2 / (w**2).sum())
            (aa, ab), (_, bb) = np.cov(a, b, aweights=w)
            ncc.append(max(ab / np.sqrt(aa * bb), 0.0))
        wanted = min(worth) * np.log((1 - ncc[0] ** 2) / (1 - ncc[1] ** 2))
        assert found[y, x] == pytest.approx(wanted, abs=1e-3)


def test_noise_alone_tells_nothing():
    rng = np.random.default_rng(9)
    classes, _ = classes_of(*rng.normal(size=(2, 150, 150)))
    assert share(classes, UNSURE) > 0.85
    assert share(classes, DIFFERS) + share(classes, DISPLACED) < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_gain_and_offset_change_no_class(seed):
    fixed, moving = in_noise(texture(8), 2, seed), in_noise(texture(8), 2, seed + 9)
    wanted, _ = classes_of(fixed, moving)
    found, _ = classes_of(fixed * 1e-3 - 5, moving * 700 + 1e4)
    assert np.mean(found == wanted) > 0.995


def test_undefined_is_0_also_outside_the_overlap():
    fixed, moving = texture(10), texture(10)
    fixed[:40] = np.nan
    moving[60:80, 60:80] = 3.0  # flat
    classes, result = classes_of(fixed, moving)
    np.testing.assert_array_equal(classes == UNDEFINED, np.isnan(np.asarray(result["ncc"])))


def test_a_volume_is_classed_as_a_plane_is():
    same = gaussian_filter(np.random.default_rng(11).normal(size=(24, 40, 44)), 1.2)
    same /= same.std()
    moved = same.copy()
    moved[:, :, 22:] = np.roll(same, 2, 1)[:, :, 22:]
    fixed, moving = in_noise(same, 4, 1), in_noise(moved, 4, 2)
    classes, _ = classes_of(fixed, moving, PARAMETERS.replace(radius=3, search=2))
    assert share(classes[5:-5, 5:-5, 5:16], AGREES) > 0.95
    # two voxels is the border of the search
    assert share(classes[5:-5, 5:-5, 28:-5], BEYOND) > 0.9


def test_the_summary_tells_the_classes_and_the_exposure_survives_json():
    fixed, moving = in_noise(texture(12), 4, 1), in_noise(texture(12), 4, 2)
    result = confidence_map(fixed, moving, parameters=PARAMETERS)
    tally = MapTally(result.band_names, result.calibration)
    tally.add(result.bands.compute())
    assert tally.lines()["classes"].startswith("agrees ")
    assert "by the noise and the texture" in tally.lines()["classes"]
    exposure = Exposure.from_dict(result.provenance["exposure"])
    assert exposure.to_dict() == result.provenance["exposure"]
    assert exposure.fixed.sd == pytest.approx(0.25, rel=0.15)


@pytest.mark.parametrize(
    ("radius", "weights", "samples"),
    [(2, "box", 25), ((1, 5), "box", 33), (4, "gaussian", 22.29082)],
)
def test_classes_by_threshold_know_the_window(radius, weights, samples):
    """Noise makes more of the best of many in a small one."""
    fixed, moving = in_noise(texture(12), 4, 1), in_noise(texture(12), 1, 2)
    parameters = NCCParameters(radius=radius, weights=weights, search=2, bands=("ncc", "shift"))
    result = confidence_map(fixed, moving, parameters=parameters)
    bands = dict(zip(result.band_names, result.bands.compute(), strict=True))
    tally = MapTally.of(result)
    tally.add(result.bands.compute(), tuple(slice(0, n) for n in fixed.shape))
    codes = classify(bands["ncc"], bands["ncc_best"], bands["gain"], ceiling=0.5, samples=samples)
    assert tally.shares["displaced"] == pytest.approx(float(np.mean(codes == DISPLACED)))
    assert (codes != classify(bands["ncc"], bands["ncc_best"], bands["gain"], ceiling=0.5)).any()


def test_an_unknown_noise_survives_json_that_knows_no_nan():
    """As of two images without noise: a map's metadata changed when it was saved."""
    unknown = NoiseModel(np.nan, np.nan, np.nan)
    told = Exposure(unknown, unknown, np.nan, (1, 2), np.nan).to_dict()
    again = json.loads(json.dumps(told, allow_nan=False)) | {"motion": (1, 2)}
    assert again == told
    assert Exposure.from_dict(again).to_dict() == told
    assert np.isnan(Exposure.from_dict(again).moving.sd)


def test_a_motion_within_the_search_is_none():
    image = texture(13)
    moved = np.roll(image, (2, -3), (0, 1))
    assert common_motion([(image, moved)], (4, 4), (4, 4)) is None
    assert common_motion([(image, moved)], (4, 4), (3, 3)) == (2, -3)  # at its border
    assert common_motion([(image, moved)], (4, 4), (5, 0)) == (2, -3)
    assert common_motion([(image, moved)], (4, 4), (2, 2)) == (2, -3)
    assert common_motion([(image, -moved)], (4, 4), (2, 2), is_signed=False) == (2, -3)


def test_names_of_the_classes():
    assert CLASSES[4:] == ("beyond the search", "cannot tell")


@pytest.mark.parametrize("sigma", [0.8, 2])
def test_half_a_pixel_or_an_interpolation_is_no_difference(sigma):
    same = gaussian_filter(np.random.default_rng(43).normal(size=(120, 130)), sigma, mode="wrap")
    same /= same.std()
    moved = np.fft.ifftn(fourier_shift(np.fft.fftn(same), (0.5, 0.5))).real
    back = shift(moved, (-0.5, -0.5), order=1, mode="grid-wrap")
    for moving in (moved, back):
        classes, _ = classes_of(in_noise(same, 20, 1), in_noise(moving, 20, 2))
        assert share(classes, DIFFERS) < 0.01
        assert share(classes, BEYOND) < 0.01


def test_classes_do_not_follow_what_else_is_asked_for():
    same = texture(6)
    moving = in_noise(np.roll(same, 2, 1), 1, 2)
    classes, _ = classes_of(in_noise(same, 1, 1), moving)
    bands = ("ncc", "shift", "shift_error", "classes")
    with_error, _ = classes_of(in_noise(same, 1, 1), moving, PARAMETERS.replace(bands=bands))
    np.testing.assert_array_equal(classes, with_error)


@pytest.mark.parametrize("kind", ["mask", "nan", "outside"])
def test_what_is_missing_in_places_hides_no_noise(kind):
    same, mask = texture(8), None
    pair = [in_noise(same, 4, seed) for seed in (1, 2)]
    pair[1][20:50, 20:60] = texture(9)[20:50, 20:60]
    whole, known = classes_of(*pair)
    missing = (
        (slice(70, 76), slice(30, 36)) if kind != "outside" else (slice(None), slice(-6, None))
    )
    if kind == "mask":
        mask = np.ones(same.shape, bool)
        mask[missing] = False
    else:
        pair[1][missing] = np.nan
    result = confidence_map(*pair, mask=mask, parameters=PARAMETERS)
    for name in ("fixed", "moving"):
        noise, expected = (r.provenance["exposure"][name]["sd"] for r in (result, known))
        assert noise == pytest.approx(expected, rel=0.1)
    classes = np.asarray(result["classes"])[8:-20, 8:-20]
    assert share(classes, DIFFERS) > 0.8 * share(whole[8:-20, 8:-20], DIFFERS) > 0.05


def test_a_ceiling_does_not_follow_what_else_is_asked_for():
    """Classes want noise and contrast of what the search may bring, too: the same arrays."""
    same = texture(7)
    pair = in_noise(same, 3, 1), in_noise(np.roll(same, 2, 1), 2, 2)
    alone, both = (
        confidence_map(*pair, parameters=PARAMETERS.replace(bands=bands))["ceiling"].compute()
        for bands in (("ceiling",), ("classes", "ceiling"))
    )
    assert np.ptp(alone) > 0.05
    np.testing.assert_allclose(both, alone, atol=1e-6)


def test_noise_around_is_that_of_the_whole_image_with_its_reach():
    rng = np.random.default_rng(91)
    image = rng.normal(size=(240, 240))
    image[rng.random(image.shape) < 0.01] += 40
    image[:, :120] *= 0.2
    (reach, _) = reach_of_noise((3, 3))
    near = slice(110 - reach, 130 + reach)
    whole = noise_around(image, np.ones(image.shape, bool), radius=(3, 3))[110:130, 110:130]
    part = image[near, near]
    found = noise_around(part, np.ones(part.shape, bool), radius=(3, 3))
    np.testing.assert_allclose(found[reach:-reach, reach:-reach], whole, rtol=1e-9)


@pytest.mark.parametrize(("there", "found"), [(1.0, DIFFERS), (6.0, DIFFERS)])
def test_a_window_without_structure_explains_nothing(there, found):
    """Differs at no shift; what the best one brings is empty, or other structure."""
    here, best = (
        Looks(*(np.array([value]) for value in (ncc, 0.7, 6.0, moving, 0.9)))
        for ncc, moving in ((0.0, 6.0), (0.15, there))
    )
    options = {"step": np.array([3.0]), "is_at_border": np.array([True]), "looks": 5.0}
    options |= {"tried": 49, "samples": np.array([81.0]), "gain": 1.0}
    labels = classes_of_windows(here, best, **options)
    np.testing.assert_array_equal(labels, found)

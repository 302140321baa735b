"""Laws of the judge: what is unrelated is not believed, at any noise."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_local_ncc.evidence.samples import samples_per_independent_one
from napari_local_ncc.registration.evidence.judge import judge, reduction
from napari_local_ncc.registration.evidence.surfaces import Detail, detail_of, evidence_surfaces


def texture(shape, sigma=2.0, seed=0):
    image = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return image / image.std()


@pytest.mark.parametrize("shape", [(400,), (70, 90), (16, 40, 40)])
def test_the_surface_is_the_evidence_at_each_shift(shape):
    """Against sums over the overlap, one shift after the other."""
    fixed, moving = (detail_of(texture(shape, 1.5, seed)) for seed in (1, 2))
    own = next(evidence_surfaces(fixed, moving, 1))
    worth = samples_per_independent_one(fixed.values, moving.values)
    random = np.random.default_rng(0)
    for _ in range(20):
        shift = [int(random.integers(-n // 3, n // 3)) for n in shape]
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(shift, shape, strict=True))
        there = tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(shift, shape, strict=True))
        f, m = fixed.values[here].astype(float), moving.values[there].astype(float)
        joint = float((f * m).sum())
        ncc = joint / np.sqrt((f**2).sum() * (m**2).sum())
        fisher = np.arctanh(min(ncc, 0.99)) * np.sqrt(max(f.size / worth - 3, 0))
        expected = np.sqrt(fisher * joint / np.sqrt(((f * m) ** 2).sum())) if joint > 0 else 0
        assert own[tuple(shift)] == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("shape", [(60, 80), (12, 20, 24)])
def test_mirrored_surfaces_are_those_of_mirrored_images(shape):
    fixed, moving = (detail_of(texture(shape, 1.0, seed)) for seed in (1, 2))
    found = sorted(float(s.max()) for s in evidence_surfaces(fixed, moving, 1))
    flips = [
        np.flip(moving.values, [a for a in range(len(shape)) if k >> a & 1])
        for k in range(2 ** len(shape))
    ]
    if len(shape) == 2:
        flips += [image.T for image in flips]
    expected = sorted(
        float(next(evidence_surfaces(fixed, Detail(np.ascontiguousarray(f), None), 1)).max())
        for f in flips
    )
    np.testing.assert_allclose(found, expected, rtol=5e-3)  # K is that of the images as they are


@pytest.mark.parametrize("snr", [np.inf, 2, 0.7])
def test_what_corresponds_is_told_from_what_does_not(snr):
    scene = texture((140, 160), 2.0)
    random = np.random.default_rng(0)

    def noisy(image):
        return image if snr == np.inf else image + random.normal(0, 1 / snr, image.shape)

    same = judge(noisy(scene), noisy(scene))
    assert same.is_significant
    assert same.significance > 2
    for seed in range(1, 4):
        other = judge(noisy(scene), noisy(texture(scene.shape, 2.0, seed)))
        assert not other.is_significant


def test_what_a_search_finds_in_unrelated_structure_raises_what_is_needed():
    scene = texture((120, 120))
    mixed = scene + texture((120, 120), seed=1)
    plain = judge(scene, mixed)
    strict = judge(scene, mixed, [mixed + 0.1 * texture((120, 120), seed=2)])
    assert plain.is_significant
    assert strict.significance < 1.1
    assert "needed" in strict.describe()


def test_missing_samples_do_not_count():
    scene = texture((120, 120))
    moved = np.where(np.arange(120) < 70, scene, np.nan)
    verdict = judge(scene, moved)
    assert verdict.is_significant
    assert np.isnan(judge(scene, np.full_like(scene, np.nan)).significance)


def test_large_images_are_judged_at_a_bounded_size():
    assert reduction((200, 200)) == (1, 1)
    assert reduction((2048, 2048)) == (8, 8)
    assert reduction((20, 4000, 4000))[0] == 1


def test_inverted_contrast_is_told_by_edges():
    scene = texture((150, 150), 3.0)
    assert not judge(scene, -scene).is_significant
    assert judge(scene, -scene, by_edges=True).is_significant
    assert not judge(scene, texture((150, 150), 3.0, 1), by_edges=True).is_significant

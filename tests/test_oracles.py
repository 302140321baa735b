"""The local NCC of other programs, where they define it as we do: `tox run -e oracles`.

R's terra is asked by its stored maps (`test_ncc.py`). MONAI pads with zeros and squares, and its
PyTorch takes hundreds of megabytes: `benchmarks/peers.py` runs it where it is installed.
"""

from __future__ import annotations

import numpy as np
import pytest
from skimage.feature import match_template

from napari_local_ncc import local_ncc

RADIUS = 3
SHAPES = ((40, 52), (14, 18, 20))
in_planes = pytest.mark.parametrize("pair", SHAPES[:1], indirect=True)  # all that OpenCV knows


@pytest.fixture(params=SHAPES, ids=["2-D", "3-D"])
def pair(request, rng):
    """Two images that share structure, on an offset, without a constant window."""
    fixed = rng.random(request.param) + np.linspace(0, 3, request.param[-1]) + 100
    moving = 2 * np.roll(fixed, 1, axis=0) + rng.random(request.param)
    return fixed, moving


@pytest.fixture
def ours(pair):
    return local_ncc(*pair, radius=RADIUS)


def windows(shape, rng, count=12):
    """Draw pixels whose windows lie inside; yield each with its window."""
    for _ in range(count):
        pixel = tuple(int(rng.integers(RADIUS, n - RADIUS)) for n in shape)
        yield pixel, tuple(slice(i - RADIUS, i + RADIUS + 1) for i in pixel)


def corner(pixel):
    return tuple(i - RADIUS for i in pixel)


def test_dipy_with_windows_clipped_at_the_border(pair, ours):
    crosscorr = pytest.importorskip("dipy.align.crosscorr")
    ndim = pair[0].ndim
    factors = getattr(crosscorr, f"precompute_cc_factors_{ndim}d")(*pair, RADIUS)
    factors = np.asarray(factors)
    covariance, *variances = (factors[..., k] for k in (2, 3, 4))
    theirs = covariance / np.sqrt(variances[0] * variances[1])
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_scikit_image_with_a_window_as_template(pair, ours, rng):
    for pixel, window in windows(pair[0].shape, rng):
        theirs = match_template(pair[1], pair[0][window])[corner(pixel)]
        assert ours[pixel] == pytest.approx(theirs, abs=1e-6)


@in_planes
def test_opencv_with_a_window_as_template(pair, ours, rng):
    cv2 = pytest.importorskip("cv2")
    fixed, moving = ((image - image.mean()).astype(np.float32) for image in pair)
    for pixel, window in windows(fixed.shape, rng):
        theirs = cv2.matchTemplate(moving, fixed[window], cv2.TM_CCOEFF_NORMED)[corner(pixel)]
        assert ours[pixel] == pytest.approx(theirs, abs=1e-5)


@in_planes
def test_opencv_by_its_mean_filters(pair, ours):
    cv2 = pytest.importorskip("cv2")
    a, b = (image - image.mean() for image in pair)
    sides = (2 * RADIUS + 1,) * 2

    def mean(image):
        inside = cv2.boxFilter(np.ones_like(image), -1, sides, borderType=cv2.BORDER_CONSTANT)
        return cv2.boxFilter(image, -1, sides, borderType=cv2.BORDER_CONSTANT) / inside

    covariance = mean(a * b) - mean(a) * mean(b)
    variances = [mean(image * image) - mean(image) ** 2 for image in (a, b)]
    np.testing.assert_allclose(ours, covariance / np.sqrt(np.prod(variances, axis=0)), atol=1e-6)


def test_itk_with_a_window_as_template(pair, ours, rng):
    sitk = pytest.importorskip("SimpleITK")
    moving = sitk.GetImageFromArray(pair[1])
    for pixel, window in windows(pair[0].shape, rng, count=4):
        template = sitk.GetImageFromArray(np.ascontiguousarray(pair[0][window]))
        found = sitk.GetArrayFromImage(sitk.FFTNormalizedCorrelation(moving, template))
        at = tuple(i + RADIUS for i in pixel)  # a template that overlaps at all has a place
        assert ours[pixel] == pytest.approx(found[at], abs=1e-4)


def test_itk_by_the_metric_of_ants(pair, ours):
    """Minus the mean of the squared local NCC, with windows clipped at the border."""
    sitk = pytest.importorskip("SimpleITK")
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsANTSNeighborhoodCorrelation(RADIUS)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    images = [sitk.GetImageFromArray(image) for image in pair]
    method.SetInitialTransform(sitk.TranslationTransform(pair[0].ndim))
    theirs = method.MetricEvaluate(*images)
    assert theirs == pytest.approx(-np.mean(ours.astype(float) ** 2), abs=1e-4)

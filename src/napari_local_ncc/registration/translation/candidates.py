"""Candidates for a translation: correlation surfaces propose, the NCC of the overlap ranks."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from skimage.feature import peak_local_max
from skimage.registration import phase_cross_correlation

from napari_local_ncc.registration.translation.array_pair import (
    MIN_SAMPLES,
    QUINTIC,
    ArrayPair,
    detail,
    ncc_of,
    reduced,
)
from napari_local_ncc.registration.translation.subpixel import tracked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.translation.array_pair import Samples, Vector


COARSE_SIZE = 2**17  # samples; larger images are searched on a reduced level
TRACK_SAMPLES = 2**14  # enough to follow a shift from one level to the next
PEAKS = 4  # taken from each correlation surface
KEPT = 3  # candidates followed to full resolution, at most
MARGIN = 1.0  # candidates whose score is worse than the best's by more are dropped
CEILING = 0.99  # real images are not more alike than this other than by construction
DOUBT = 3.0  # standard errors subtracted from a candidate's Fisher z


def search(pair: ArrayPair, start: Vector, watch: Watch, *, only: bool = False) -> list[Vector]:
    """Offsets good to a fraction of a pixel, best first; near `start` only, if so wished."""
    levels = [(pair, np.ones(pair.ndim))]
    while max(i.values.size for i in (levels[-1][0].fixed, levels[-1][0].moving)) > COARSE_SIZE:
        watch.check()
        finer, scale = levels[-1]
        sides = np.minimum(finer.fixed.values.shape, finer.moving.values.shape)
        factor = np.where(sides >= 32, 2, 1)
        if factor.max() == 1:
            break
        images = reduced(finer.fixed, factor), reduced(finer.moving, factor)
        levels.append((ArrayPair(*images, pair.min_overlap), scale * factor))
    coarse, scale = levels[-1]
    texture = _texture(coarse)
    watch.check()
    found = [start / scale] if only else [start / scale, *_proposals(coarse, texture[0])]
    candidates = [c * scale for c in _ranked(coarse, found, start / scale, texture)[: 2 * KEPT]]
    for level, scale in reversed(levels):
        local = []
        for candidate in candidates:
            watch.check()
            local.append(tracked(level, candidate / scale, TRACK_SAMPLES))
        candidates = [c * scale for c in _ranked(level, local, start / scale, texture)[:KEPT]]
    return candidates


def _proposals(pair: ArrayPair, texture: float) -> Iterator[Vector]:
    """Whole-pixel offsets worth verifying."""
    yield from _peaks(pair, texture)
    # on a strong smooth background the true shift may be no peak before that is removed
    yield from _peaks(ArrayPair(detail(pair.fixed), detail(pair.moving), pair.min_overlap), np.inf)
    images = pair.fixed.values, pair.moving.values
    period = np.maximum(images[0].shape, images[1].shape)
    padded = [np.pad(i, [(0, n - k) for n, k in zip(period, i.shape, strict=True)]) for i in images]
    shift = phase_cross_correlation(*padded, normalization="phase")[0]
    # a circular correlation knows the shift only up to a period
    yield from (-shift + np.array(k) * period for k in product((-1, 0, 1), repeat=pair.ndim))


def _peaks(pair: ArrayPair, texture: float) -> Iterator[Vector]:
    """Find the highest peaks of the NCC over all whole-pixel shifts."""
    ncc, count = _surface(pair)
    evidence = _evidence(ncc, texture * count / min(pair.fixed.count, pair.moving.count))
    evidence[count < pair.least] = -np.inf
    wrapped = np.pad(evidence, 1, mode="wrap")
    for peak in peak_local_max(wrapped, num_peaks=PEAKS, exclude_border=1, min_distance=2) - 1:
        yield np.where(peak < pair.moving.values.shape, peak, peak - ncc.shape).astype(float)


def _surface(pair: ArrayPair) -> tuple[Samples, Samples]:
    """NCC and number of valid pairs at every whole-pixel offset, negative ones at the end.

    Padfield (2012), doi:10.1109/TIP.2011.2181402, with real transforms. scikit-image's own
    is not used because it returns one maximum, averaged where several are equal.
    """
    sides = zip(pair.fixed.values.shape, pair.moving.values.shape, strict=True)
    size = [fft.next_fast_len(n + m - 1, real=True) for n, m in sides]
    (f0, f1, f2), (m0, m1, m2) = (
        [fft.rfftn(x, size) for x in (i.weights(), i.values, np.square(i.values))]
        for i in (pair.fixed, pair.moving)
    )

    def correlated(a: NDArray[np.complexfloating], b: NDArray[np.complexfloating]) -> Samples:
        return fft.irfftn(np.conj(a) * b, size)

    count = np.maximum(np.round(correlated(f0, m0)), 1)
    f_sum, m_sum = correlated(f1, m0), correlated(f0, m1)
    f_power = correlated(f2, m0) - f_sum**2 / count
    m_power = correlated(f0, m2) - m_sum**2 / count
    ncc = correlated(f1, m1) - f_sum * m_sum / count
    flat = np.minimum(f_power, m_power) <= 1e-4 * count  # the FFT's own noise is about 1e-6
    ncc /= np.sqrt(np.where(flat, 1, f_power * m_power))
    return np.where(flat, 0, np.clip(ncc, -1, 1)), count


def _ranked(
    pair: ArrayPair, offsets: list[Vector], start: Vector, texture: list[float]
) -> list[Vector]:
    """Sort the offsets with enough overlap, best first; of equal ones the nearest to `start`."""
    scores = {
        tuple(o): _score(pair, o, texture) - 1e-6 * float(np.linalg.norm(o - start))
        for o in offsets
        if pair.overlap(o, TRACK_SAMPLES) >= 0.9 * pair.least
    }
    worst = max(np.max(list(scores.values()), initial=-np.inf) - MARGIN, np.finfo(float).min)
    best = sorted((o for o in scores if scores[o] >= worst), key=lambda o: -scores[o])
    return [np.array(o) for o in best]


def _score(pair: ArrayPair, offset: Vector, texture: list[float]) -> float:
    """Evidence that the images match at `offset`: in their values, and in their gradients.

    Gradients do not see a smooth background, values are less noisy: what matches in only
    one of the two is beaten by what matches in both.
    """
    lattice = pair.lattice(offset, TRACK_SAMPLES, QUINTIC)
    if lattice is None or np.prod(lattice.shape) < 4 * MIN_SAMPLES:
        lattice = pair.lattice(offset, TRACK_SAMPLES)
    if lattice is None:
        return -np.inf
    usable = pair.usable(lattice, offset)
    share = pair.overlap(offset, TRACK_SAMPLES) / min(pair.fixed.count, pair.moving.count)
    bands = [None, *range(pair.ndim)] if lattice.kernel is QUINTIC else [None]
    evidence = []
    for along, count in zip(bands, texture, strict=False):
        fixed = lattice.read(pair.fixed.values, 0.0, along)[usable]
        moving = lattice.read(pair.moving.values, offset, along)[usable]
        if along is None:
            # a wide overlap of the empty parts is no more than a narrow one (variances are 1)
            share *= min(1.0, *(float(np.var(x)) if x.size else 0.0 for x in (fixed, moving)))
        ncc = ncc_of(fixed, moving)
        evidence.append(-np.inf if np.isnan(ncc) else float(_evidence(ncc, count * share)))
    return evidence[0] + float(np.mean(evidence[1:] or 0))


def _evidence(ncc: Samples | float, count: Samples | float) -> Samples:
    """Lower confidence bound of Fisher's z of an NCC over `count` independent samples."""
    z = np.arctanh(np.clip(ncc, -CEILING, CEILING))
    return np.asarray(z - DOUBT / np.sqrt(1 + count))


def significance(pair: ArrayPair, ncc: float, share: float) -> float:
    """Return an NCC over a share of the smaller image in standard errors of Fisher's z.

    Neighbouring samples are alike, so that their effective number is what counts; see
    `_independent`.
    """
    images = pair.fixed.values, pair.moving.values
    count = share * pair.smaller * _independent(*images)
    return float(np.arctanh(min(ncc, CEILING)) * np.sqrt(max(count - 3, 0)))


def _texture(pair: ArrayPair) -> list[float]:
    """Count independent samples in the smaller image: of values, and of each gradient."""
    images = pair.fixed.values, pair.moving.values
    count = min(pair.fixed.count, pair.moving.count)
    bands = [images, *([np.diff(i, axis=k) for i in images] for k in range(pair.ndim))]
    return [count * _independent(*band) for band in bands]


def _independent(fixed: Samples, moving: Samples) -> float:
    """Effective share of independent samples, by Bartlett's formula for each axis."""
    share = 1.0
    for axis in range(fixed.ndim):
        r = 1.0
        for image in (fixed, moving):
            x = np.moveaxis(image, axis, 0)
            power = float(np.square(x).sum())
            r *= max(0.0, float((x[1:] * x[:-1]).sum()) / power) if power > 0 else 0.0
        share *= (1 - r) / (1 + r)
    return share

"""Evidence for every whole-pixel shift of two images, and of images that cannot match."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy import ndimage as ndi

from napari_local_ncc.evidence.blocks import block_means
from napari_local_ncc.evidence.samples import samples_per_independent_one
from napari_local_ncc.evidence.whitening import whiten, without_background

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Values = NDArray[np.floating]
    Flags = NDArray[np.bool_]
    Surface = NDArray[np.float32]
    Spectrum = NDArray[np.complexfloating]
    Spectra = tuple[Spectrum, Spectrum, Spectrum]

CEILING = 0.99  # real images are not more alike than this other than by construction
FLATTEST = 0.01  # of the whole image's power: an overlap with less is empty
MOST_NULLS = 7  # surfaces of mirrored images, which bounds the cost
LARGER = 2.0  # times the cost at which images are not turned by a right angle
PLACE = 16  # px: side of the places that agree or do not
PLACES = 6  # along the shortest side of the images, at least
RIDGE = 0.7  # of a peak's height: what is connected to it above that belongs to it


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """Whitened samples of root mean square 1; 0, and not valid, where there are none."""

    values: NDArray[np.float32]
    valid: Flags | None

    @property
    def count(self) -> int:
        """Number of valid samples."""
        return self.values.size if self.valid is None else int(np.count_nonzero(self.valid))

    def weights(self) -> NDArray[np.float32]:
        """Return 1 where samples are valid, else 0."""
        if self.valid is None:
            return np.ones(self.values.shape, np.float32)
        return self.valid.astype(np.float32)


def detail_of(image: Values, valid: Flags | None = None) -> Detail:
    """Remove the smooth background of an image, and even out its spectrum.

    Parameters
    ----------
    image : ndarray of float, shape (...)
        Finite where valid.
    valid : ndarray of bool, shape (...), optional
        True where samples count.
    """
    samples = image.astype(np.float32, copy=False)
    return Detail(whiten(without_background(samples, valid), valid), valid)


def evidence_surfaces(fixed: Detail, moving: Detail, least: float) -> Iterator[Surface]:
    """Yield the evidence for every shift: of the images, then of fixed and moving mirrored.

    Moving mirrored, or mirrored and turned, has all of its structure and nothing that
    corresponds. The best that a search finds there is what the same search finds by chance.

    Parameters
    ----------
    fixed, moving : Detail
        Images of equally many axes.
    least : float
        Valid pairs that an overlap must have; with fewer there is no evidence.

    Yields
    ------
    ndarray of float32
        At index s the evidence for the shift s (mod its shape): that pixel p of fixed shows
        what pixel p + s of moving shows. In standard deviations of chance at one shift, at
        least 0; of others than the images' own at shifts that do not matter.

    Notes
    -----
    The geometric mean of two statistics of the products f m over an overlap of n samples, n / K
    of them independent: Fisher's z of the correlation times sqrt(n / K - 3), and the sum of
    the products over the root of the sum of their squares, which a few large ones do not
    raise.
    """
    worth = samples_per_independent_one(fixed.values, moving.values)
    count = 0
    for turned in _orientations(fixed, moving):
        size = [
            fft.next_fast_len(n + m - 1, real=True)
            for n, m in zip(fixed.values.shape, turned.values.shape, strict=True)
        ]
        still = _spectra(fixed, size)
        for mirrored in _mirror(_spectra(turned, size)):
            sign = 1.0
            while True:
                yield _evidence(still, mirrored, size, sign, least, worth)
                count += 1
                # lines have one mirror image: what they are most unlike is no match, too
                if sign < 0 or fixed.values.ndim - fixed.values.shape.count(1) > 1:
                    break
                sign = -1.0
            if count > MOST_NULLS:
                return


def _orientations(fixed: Detail, moving: Detail) -> Iterator[Detail]:
    """Yield moving, and with the axes of a plane exchanged where that costs little."""
    yield moving
    sides, other = fixed.values.shape, moving.values.shape
    if len(sides) == 2 and min(*sides, *other) > 1:
        upright = np.prod([n + m for n, m in zip(sides, other, strict=True)])
        turned = np.prod([n + m for n, m in zip(sides, other[::-1], strict=True)])
        if turned <= LARGER * upright:
            valid = None if moving.valid is None else np.ascontiguousarray(moving.valid.T)
            yield Detail(np.ascontiguousarray(moving.values.T), valid)


def _spectra(image: Detail, size: list[int]) -> Spectra:
    """Return the spectra of the weights, the values and their squares."""
    parts = image.weights(), image.values, np.square(image.values)
    weights, values, squares = (fft.rfftn(part, size) for part in parts)
    return weights, values, squares


def _mirror(spectra: Spectra) -> Iterator[Spectra]:
    """Yield spectra of an image mirrored along every set of axes about its first pixel.

    A real image mirrored along all axes has the conjugate spectrum, so that those along which
    the spectrum is whole need to be mirrored only.
    """
    axes = range(spectra[0].ndim - 1)
    for flips in product((False, True), repeat=len(axes)):
        along = [axis for axis, flip in zip(axes, flips, strict=True) if flip]
        chosen = tuple(_reverse(s, along) for s in spectra)
        yield (chosen[0], chosen[1], chosen[2])
        yield (np.conj(chosen[0]), np.conj(chosen[1]), np.conj(chosen[2]))


def _reverse(spectrum: Spectrum, axes: list[int]) -> Spectrum:
    """Exchange frequencies k and -k along some axes."""
    for axis in axes:
        spectrum = np.roll(np.flip(spectrum, axis), 1, axis)
    return spectrum


def _evidence(
    fixed: Spectra, moving: Spectra, size: list[int], sign: float, least: float, worth: float
) -> Surface:
    (f0, f1, f2), (m0, m1, m2) = ([np.conj(s) for s in fixed], moving)
    count = np.round(fft.irfftn(f0 * m0, size))
    product = np.float32(sign) * fft.irfftn(f1 * m1, size)
    at = np.flatnonzero((count >= max(least, 1.0)) & (product > 0))
    surface = np.zeros(size, np.float32)
    n, joint = count.ravel()[at], product.ravel()[at]
    power, other = (
        np.maximum(fft.irfftn(spectrum, size).ravel()[at], FLATTEST * n)
        for spectrum in (f2 * m0, f0 * m2)
    )
    squares = np.maximum(fft.irfftn(f2 * m2, size).ravel()[at], FLATTEST**2 * n)
    fisher = np.arctanh(np.minimum(joint / np.sqrt(power * other), CEILING))
    fisher *= np.sqrt(np.maximum(n / np.float32(worth) - 3, 0))
    surface.ravel()[at] = np.sqrt(fisher * joint / np.sqrt(squares))
    return surface


def near(surface: Surface, offset: NDArray[np.floating], reach: int) -> Surface:
    """Return the evidence for the shifts within `reach` px of one, shape (2 reach + 1, ...)."""
    centre = np.round(offset).astype(int)
    index = [
        np.arange(c - min(reach, (n - 1) // 2), c + min(reach, (n - 1) // 2) + 1) % n
        for c, n in zip(centre, surface.shape, strict=True)
    ]
    return surface[np.ix_(*index)]


def without(surface: Surface, offset: NDArray[np.floating], reach: int) -> Surface:
    """Return a copy of a surface with no evidence for a shift: within `reach` px, and on its ridge.

    Images that vary along one axis only slowly, as fibres and stripes do, have a peak drawn out
    along it, of which no part speaks for another shift.
    """
    rest = surface.copy()
    index = [
        np.arange(c - reach, c + reach + 1) % n
        for c, n in zip(np.round(offset).astype(int), surface.shape, strict=True)
    ]
    here = np.ix_(*index)
    ridges, _ = ndi.label(surface > RIDGE * float(surface[here].max()))
    rest[np.isin(ridges, np.unique(ridges[here])[1:])] = 0
    rest[here] = 0
    return rest


def agreeing_places(fixed: Detail, moving: Detail, offset: NDArray[np.floating]) -> float:
    """Return in how many places of `PLACE` px the detail of two images agrees at a shift.

    One bright cell on another makes all the evidence that a shift can have, and corresponds to
    nothing. Places of which all agree alike count as 1 each; where one has it all, it is 1.

    Parameters
    ----------
    fixed, moving : Detail
        Images of equally many axes.
    offset : ndarray, shape (ndim,)
        Pixel p of fixed shows what pixel p + offset of moving shows; rounded.

    Returns
    -------
    float
        ``(sum s)^2 / sum s^2`` of the sums s of products in each place (the effective number
        of Kish); 0 where nothing is common.
    """
    shift = np.round(offset).astype(int)
    sides = zip(shift, fixed.values.shape, moving.values.shape, strict=True)
    here = [(max(0, -s), min(n, m - s)) for s, n, m in sides]
    if any(stop <= start for start, stop in here):
        return 0.0
    one = fixed.values[tuple(slice(*ends) for ends in here)]
    ends = zip(here, shift, strict=True)
    two = moving.values[tuple(slice(low + s, high + s) for (low, high), s in ends)]
    shortest = min((n for n in (*fixed.values.shape, *moving.values.shape) if n > 1), default=1)
    size = max(1, min(PLACE, shortest // PLACES))
    sums, _ = block_means(one * two, [min(size, n) for n in one.shape], to_the_end=True)
    power = float(np.sum(np.square(sums, dtype=np.float64)))
    return float(np.sum(sums, dtype=np.float64)) ** 2 / power if power > 0 else 0.0

"""A transform by detail: searched, judged beside a mirrored image, and fitted to the last bit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.registration.affine.contrast import in_contrast_of
from napari_local_ncc.registration.affine.detail_search import DetailSearch, on_lattice
from napari_local_ncc.registration.affine.ladder import error_quantiles, simplest
from napari_local_ncc.registration.affine.least_squares import fit_of_least_error
from napari_local_ncc.registration.affine.sampled_image import Sampled, orthogonal
from napari_local_ncc.registration.affine.verified_shift import verified_shift
from napari_local_ncc.registration.evidence.judge import Verdict, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.affine.sampled_image import Matrix
    from napari_local_ncc.registration.engine_thread import Watch

ASTRAY = 0.1  # of the frame's unit: a last step that goes further has lost its way
TURNED = 1.35  # times the best of unrelated structure: among all turns a few objects fit
SCALED = 1.45  # times the best of unrelated structure: among many scales lines fit one another
UNSCALED = 1.1  # stretch in any direction, or its inverse, up to which nothing is scaled
MIRRORED = 1.6  # times the best of unrelated structure: a mirror image is seldom meant


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A transform in the frame, and what speaks for it.

    Attributes
    ----------
    matrix : ndarray, shape (ndim + 1, ndim + 1)
        Fixed's frame to moving's.
    verdict : Verdict
        Of the judge.
    kind : Kind
        The simplest motion that explains the pair.
    iterations : int
    converged : bool
    error_px, error95_px : float
        Distances within which the truth lies in 68 and in 95 of 100 cases; NaN if unknown.
    mirrored : int or None
        The axis of moving along which it would have to be mirrored to fit; None: it need not.
    is_by_shift : bool
        Whether turns and scales told nothing, and a shift did, from which it was fitted.
    """

    matrix: Matrix
    verdict: Verdict
    kind: Kind
    iterations: int
    converged: bool
    error_px: float = np.nan
    error95_px: float = np.nan
    mirrored: int | None = None
    is_by_shift: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class DetailPair:
    """Two images in one frame, whose unit is fixed's size; NaN where invalid."""

    fixed: Sampled
    moving: Sampled
    model: Kind
    metric: str
    watch: Watch

    def find(self, begin: Matrix, *, alone: bool) -> Found | None:
        """Search, judge, and fit what is significant; None where nothing overlaps.

        Where no turn or scale is more than chance, a shift may be: among fewer motions chance
        finds less. The fit then begins there.

        Parameters
        ----------
        begin : ndarray, shape (ndim + 1, ndim + 1)
            Where the images lie, or what the user named.
        alone : bool
            Whether only what is near `begin` is wanted.
        """
        search = DetailSearch(
            orthogonal(self.fixed), orthogonal(self.moving), self.model, self.watch
        )
        best = search.run(begin, alone=alone)
        if best is None:
            return None
        if alone:
            return self._fit(search, best.matrix, self.verdict(search, best.matrix), None)
        mirror = reflection(self.moving)
        back = replace(search.moving, to_frame=mirror @ search.moving.to_frame)
        other = DetailSearch(search.fixed, back, self.model, self.watch)
        chance = other.run(None)
        if chance is None:
            return self._fit(search, best.matrix, self.verdict(search, best.matrix), None)
        verdict = self.verdict(search, best.matrix, (other, chance.matrix))
        verdict = replace(verdict, needed=SCALED if is_scaled(best.matrix) else TURNED)
        if not verdict.is_significant:
            against = self.verdict(other, chance.matrix, (search, best.matrix))
            if against.significance >= MIRRORED:
                turned = invert_affine(mirror) @ chance.matrix
                return self._fit(search, turned, against, nearest_mirror(turned))
            shift = verified_shift(self.fixed, self.moving, self.watch)
            if shift is not None:
                found = self._fit(search, *shift, None)
                if not found.converged:  # for more freedom there is too little
                    found = Found(*shift, Kind.TRANSLATION, 1, converged=True)
                return replace(found, is_by_shift=True)
        return self._fit(search, best.matrix, verdict, None)

    def verdict(
        self,
        search: DetailSearch,
        matrix: Matrix,
        unrelated: tuple[DetailSearch, Matrix] | None = None,
        *,
        by_edges: bool = False,
    ) -> Verdict:
        """Judge a transform at a low resolution, beside what another search found."""
        fixed, moved = overlay(search, matrix)
        others = []
        if unrelated is not None:
            lattice = search.images(matrix)[0]
            other, chance = unrelated
            moving = other.images(chance)[1]
            others = [_with_sign_of(fixed, on_lattice(moving, chance, lattice, beyond=np.nan))]
        self.watch.check()
        return judge(fixed, _with_sign_of(fixed, moved), others, by_edges=by_edges)

    def _fit(
        self, search: DetailSearch, matrix: Matrix, verdict: Verdict, mirrored: int | None
    ) -> Found:
        """Fit what is significant at full resolution."""
        if not verdict.is_significant:
            return Found(matrix, verdict, self.model, 1, converged=True, mirrored=mirrored)
        moving = self.moving
        if self.metric != "correlation":
            moving = in_contrast_of(*overlay(search, matrix), moving)
        step = np.eye(len(matrix))
        start = matrix
        if mirrored is not None:  # the model's own motion, of moving as in a mirror
            step = reflection(self.moving)
            moving, start = replace(moving, to_frame=step @ moving.to_frame), step @ matrix
        fitted = fit_of_least_error(self.fixed, moving, start, self.model)
        if fitted is None or np.abs(fitted[1].matrix - start).max() > ASTRAY:
            return Found(matrix, verdict, self.model, 1, converged=False, mirrored=mirrored)
        self.watch.check()
        kind, fit, errors = simplest(*fitted, self.model)
        return Found(
            invert_affine(step) @ fit.matrix,
            verdict,
            kind,
            fit.steps,
            fit.converged,
            *error_quantiles(errors, self.model, self.fixed),
            mirrored=mirrored,
        )


def overlay(
    search: DetailSearch, matrix: Matrix
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both images on one lattice of a low resolution; NaN where there is none."""
    fixed, moving = search.images(matrix)
    return fixed.values, on_lattice(moving, matrix, fixed, beyond=np.nan)


def reflection(image: Sampled) -> Matrix:
    """Return the mirror image about the middle of the grid, along the frame's last axis."""
    mirror = np.eye(image.ndim + 1)
    mirror[-2, -2] = -1
    mirror[-2, -1] = 2 * image.centre[-1]
    return mirror


def is_scaled(matrix: Matrix) -> bool:
    """Whether a transform enlarges or shrinks by more than a tenth in some direction."""
    stretch = np.linalg.svd(matrix[:-1, :-1], compute_uv=False)
    return bool(stretch[0] > UNSCALED or stretch[-1] < 1 / UNSCALED)


def nearest_mirror(matrix: Matrix) -> int:
    """Return the axis along which to mirror so that the least rotation is left."""
    left, _, right = np.linalg.svd(matrix[:-1, :-1])
    turn = left @ right
    return int(np.argmin(np.diag(turn)))


def _with_sign_of(fixed: NDArray[np.float32], moved: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn the contrast of an inverted image."""
    both = np.isfinite(fixed) & np.isfinite(moved)
    if np.count_nonzero(both) < 2:
        return moved
    a, b = fixed[both], moved[both]
    return np.asarray(moved if np.vdot(a - a.mean(), b - b.mean()) >= 0 else -moved, np.float32)

"""Refine a registration by the residual shift that its own map shows, round by round."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.chunked.tiles import compute_tiles
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.geometry.units import unit_symbol
from napari_local_ncc.maps.bands import shift_steps
from napari_local_ncc.maps.comparison import DEFAULTS, Comparison
from napari_local_ncc.maps.pipeline import map_of
from napari_local_ncc.progress import Progress, Step, finish, stepwise
from napari_local_ncc.shift.interpret import coherence, shift_length, smoothed_shift
from napari_local_ncc.transforms.registration import Registration

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator

    import dask.array as da
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.parameters import NCCParameters

NO_BETTER = "the map got no better"
ROUNDS = 8  # the most; each halves what is left, or better, where the shift can be seen at all
COHERENT = 4.0  # standard errors: of 24 unrelated pairs of textures none came above 1.8
LEAST_RISE = 1e-3  # of the mean NCC, less than which chance and interpolation make


@dataclass(frozen=True, slots=True)
class Round:
    """What the map said after some rounds.

    Parameters
    ----------
    ncc : float
        Mean NCC of the defined pixels, which counts those too that are not in the majority;
        where a high |NCC| counts as related, the mean of that.
    gain : float
        Median of what the best shift would still gain.
    shift : float
        Median length of the residual shift, in px.
    length : float
        The same in the world, in the unit of fixed's last axis.
    coherence : float
        Whether neighbouring windows move alike, from 0 (chance) to 1; see
        `shift.interpret.coherence`.
    """

    ncc: float
    gain: float
    shift: float
    length: float
    coherence: float


@dataclass(frozen=True, slots=True, eq=False)
class Refinement:
    """A refined registration, and how it came about.

    Parameters
    ----------
    registration : Registration or None
        The best one: a flow, or what was given where no round made the map better, or
        where the residual shift may be chance.
    rounds : tuple of Round
        The map with what was given, and after every round that was kept.
    ending : str
        Why there was no further round.
    unit : str
        That of the rounds' lengths.
    measure : {"NCC", "|NCC|"}
        What the rounds' means are of.
    """

    registration: Registration | None
    rounds: tuple[Round, ...]
    ending: str
    unit: str
    measure: str = "NCC"

    @property
    def doubt(self) -> str:
        """Why what was given was not refined, where that says nothing of how good it is."""
        return self.ending if len(self.rounds) == 1 and self.ending != NO_BETTER else ""

    def __str__(self) -> str:
        """Say it in one line."""
        first, last, unit = self.rounds[0], self.rounds[-1], unit_symbol(self.unit)
        return (
            f"{len(self.rounds) - 1} rounds: mean {self.measure} {first.ncc:.3f} before, "
            f"{last.ncc:.3f} after; residual shift {first.length:.3g} {unit} before, "
            f"{last.length:.3g} {unit} after; ended as {self.ending}"
        )


@stepwise
def refine(
    fixed: SpatialImage | ArrayLike | da.Array,
    moving: SpatialImage | ArrayLike | da.Array,
    *,
    parameters: NCCParameters = DEFAULTS,
    registration: Registration | None = None,
    mask: SpatialImage | ArrayLike | da.Array | None = None,
    unitless: Unitless | None = None,
    cancelled: threading.Event | None = None,
) -> Generator[Progress, None, Refinement]:
    """Add to a registration the residual shift that its map shows, until the map is no better.

    Every round computes the map, smooths its residual shift over a window (see
    `shift.interpret.smoothed_shift`), and lets the moving image be displaced by it too; the
    displacements are composed, so that moving is interpolated once, whatever the rounds.
    `iter_refine` does the same step by step: it yields the `Progress` of each round, and closing
    it cancels.

    Parameters
    ----------
    fixed, moving, mask, unitless
        As for `confidence_map`.
    parameters : NCCParameters
        Window, limits and search of the map; its bands do not matter.
    registration : Registration, optional
        Where to begin. Default: the images as they lie.
    cancelled : threading.Event, optional
        Cancels when it is set, from any thread.

    Returns
    -------
    Refinement
        The registration whose mean NCC (or two-sided |NCC|) is the highest, and what the map
        said in every round.

    Raises
    ------
    ValueError
        If the images cannot be paired or do not overlap.

    Notes
    -----
    A shift of more than `search` px is not seen. Following it makes unrelated images more
    alike, too (Rohlfing, IEEE TMI 2012, doi:10.1109/TMI.2011.2163944); so it is followed only
    as long as neighbouring windows move alike, which those of unrelated images do not. The
    bands of a map are held in memory, those of all frames.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> import scipy.ndimage
    >>> from napari_local_ncc import NCCParameters, refine
    >>> fixed = scipy.ndimage.gaussian_filter(rng.normal(size=(90, 90)), 1.5)
    >>> refinement = refine(fixed, np.roll(fixed, 1, axis=0), parameters=NCCParameters(search=2))
    >>> str(refinement.registration.model)
    'flow'
    >>> refinement.rounds[-1].ncc > refinement.rounds[0].ncc
    True
    """
    comparison = Comparison(fixed, moving, mask, parameters, registration, unitless)
    return (yield from refinement_of(comparison, cancelled=cancelled))


iter_refine = refine.steps


def refinement_of(
    comparison: Comparison, *, cancelled: threading.Event | None = None
) -> Generator[Progress, None, Refinement]:
    """Refine the registration of a comparison; yield and return as `iter_refine` does."""
    looked_at = comparison.parameters.replace(bands=("ncc", "shift"))
    comparison = comparison.with_parameters(looked_at)
    is_signed = looked_at.alternative == "greater"
    best, rounds, known = comparison.registration, list[Round](), None
    tried, ending = best, ""
    while not ending:
        result = finish(map_of(comparison.with_registration(tried)))
        ncc, *shift = yield from _compute(result.bands, len(rounds), cancelled)
        if not is_signed:
            ncc, shift[0] = np.abs(ncc), np.abs(shift[0])
        if known is not None and not _rise(known, ncc) >= LEAST_RISE:
            ending = NO_BETTER
            break
        best, known = result.registration, ncc
        seen, significance = _summarise(ncc, shift, result.grid, looked_at)
        rounds.append(seen)
        if np.isnan(significance):
            ending = "no shift could be seen"
        elif significance < COHERENT:
            ending = "neighbouring windows do not move alike, so that what is left may be chance"
        elif len(rounds) > ROUNDS:
            ending = f"{ROUNDS} rounds are the most"
        else:
            tried = _displace(best, np.stack(shift), result.grid, looked_at)
    measure = "NCC" if is_signed else "|NCC|"
    return Refinement(best, tuple(rounds), ending, result.grid.units[-1], measure)


def _compute(
    bands: da.Array, turn: int, cancelled: threading.Event | None
) -> Generator[Progress, None, NDArray[np.float32]]:
    values = np.empty(bands.shape, np.float32)
    with closing(compute_tiles(bands, cancelled=cancelled)) as tiles:
        for tile in tiles:
            values[tile.location] = tile.data
            yield Progress(Step.REFINE, tile.done, tile.total, turn=turn)
    return values


def _summarise(
    ncc: NDArray[np.float32], shift: list[NDArray[np.float32]], grid: Grid, used: NCCParameters
) -> tuple[Round, float]:
    """Sum up a map, and by how many standard errors its shift is no chance."""
    _, gain, *components = shift
    alike, significance = coherence(
        components, radius=used.radius_on(grid), search=used.search_on(grid)
    )
    seen = Round(
        ncc=_of_known(np.mean, ncc),
        gain=_of_known(np.median, gain),
        shift=_of_known(np.median, shift_length(components)),
        length=_of_known(np.median, shift_length(components, shift_steps(used, grid))),
        coherence=alike,
    )
    return seen, significance


def _rise(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Return by how much the NCC rose where it is defined in both maps.

    A mean over what is defined in each alone would rise, too, where bad pixels are lost.
    """
    return _of_known(np.mean, after - before)


def _of_known(statistic: Callable[..., Any], values: NDArray[np.float32]) -> float:
    known = values[~np.isnan(values)]
    return float(statistic(known.astype(np.float64))) if known.size else np.nan


def _displace(
    registration: Registration | None,
    shift: NDArray[np.float32],
    grid: Grid,
    parameters: NCCParameters,
) -> Registration:
    """Return the registration on top of a shift: ``x -> registration(x + u(x))``."""
    radius = parameters.radius_on(grid)
    smooth = smoothed_shift(shift, sigma=tuple(float(r) for r in radius))
    series, space = len(grid.series_shape), grid.space()
    pixels = np.zeros((space.ndim, *grid.shape), np.float32)
    pixels[[axis for axis, r in enumerate(radius[series:]) if r]] = smooth
    world = np.tensordot(space.pixel_to_world[:-1, :-1], pixels, axes=1).astype(np.float32)
    identity = np.eye(space.ndim + 1)
    field = np.moveaxis(world, 0, series)
    step = Registration.from_matrix(identity, grid, Kind.FLOW, displacement=field)
    return step if registration is None else step.compose(registration)

"""One run of the plugin: what was asked for, and the way to the answer, off the GUI thread."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_local_ncc._napari.results.allocate import blank_levels
from napari_local_ncc._napari.results.band_layers import (
    Arrows,
    layers_of,
    product_of,
    put,
    settle_differences,
)
from napari_local_ncc._napari.results.kept_results import KeptResult
from napari_local_ncc._napari.results.result_spec import Product
from napari_local_ncc._napari.results.warm_up import warm_up_labels
from napari_local_ncc.chunked.tiles import compute_tiles
from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.maps.pipeline import map_of
from napari_local_ncc.maps.run import MapBegun, MapTile, align, run_comparison
from napari_local_ncc.progress import Progress, Step, translate
from napari_local_ncc.reports.describe import describe_registration
from napari_local_ncc.reports.headline import Headline, headline

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator, Mapping, Sequence

    import dask.array as da

    from napari_local_ncc._napari.results.band_layers import Drawn
    from napari_local_ncc._napari.results.result_spec import Output
    from napari_local_ncc.chunked.tiles import Tile
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.map_summary import MapTally
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.maps.refinement import Refinement
    from napari_local_ncc.maps.run import Event, RunResult
    from napari_local_ncc.transforms.registration import Registration

TITLES = {
    "ncc": "NCC",
    "confidence": "Confidence",
    "detects": "Detection",
    "fallback": "Calibration",
    "pattern": "Pattern",
    "shift": "Shift",
    "classes": "Classes",
}


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What the user asked for, taken from the widget when a button was pressed.

    Parameters
    ----------
    comparison : Comparison
        What is compared; with a transform that is there already, if one is to be used.
    model : str
        Registration model; "none" where the layers are aligned, or the transform is there.
    options : mapping of str to object
        Further arguments of `register`: where to begin.
    refines : bool
        Whether to let the residual shift refine the transform.
    compare : bool
        Whether the map is wanted.
    add_registered : bool
        Whether the registered moving image is wanted.
    output : Output
        Where the results go.
    """

    comparison: Comparison
    model: str
    options: Mapping[str, Any]
    refines: bool
    compare: bool
    add_registered: bool
    output: Output

    @property
    def names(self) -> str:
        """Which layers are compared, for people."""
        return f"{self.comparison.fixed.name} vs {self.comparison.moving.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Landed:
    """A finished part of some products.

    Parameters
    ----------
    products : tuple of Product
        Where it belongs.
    location : tuple of slice
        The part.
    progress : Progress
        How much of the products is finished.
    """

    products: tuple[Product, ...]
    location: tuple[slice, ...]
    progress: Progress


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a job gave, beside its products.

    Parameters
    ----------
    registration : Registration or None
        The transform that was found or given.
    refinement : Refinement or None
        How the transform was refined, if it was.
    kept : KeptResult or None
        The map with all that was found, if one was wanted.
    """

    registration: Registration | None
    refinement: Refinement | None = None
    kept: KeptResult | None = None


Message = Progress | Product | KeptResult | Landed


def run_job(job: Job, cancelled: threading.Event) -> Generator[Message, None, Outcome]:
    """Do what was asked for; yield progress, products, and their parts as they land.

    Closing the generator cancels; so does setting `cancelled`, from any thread.
    """
    if not job.compare:
        return (yield from _run_without_map(job, cancelled))
    display = _Display(job)
    run = run_comparison(
        job.comparison,
        model=job.model,
        refine=job.refines,
        options=job.options,
        first=_viewed_pixel(job.comparison.grid, job.output),
        probe=True,
        cancelled=cancelled,
    )
    result = yield from translate(run, display.messages)
    yield from display.settle(result.tally)
    if display.registered is not None:
        moving = result.comparison.moving_on_grid()
        yield from fill(display.registered, moving, Step.RESAMPLE, job.output, cancelled)
    return Outcome(result.registration, result.refinement, display.kept(result))


def _run_without_map(job: Job, cancelled: threading.Event) -> Generator[Message, None, Outcome]:
    """Find the transform only, and resample moving by it if that is wanted."""
    aligned = yield from align(
        job.comparison,
        model=job.model,
        refine=job.refines,
        options=job.options,
        cancelled=cancelled,
    )
    comparison = aligned.comparison
    if job.add_registered:
        ncc_only = comparison.with_parameters(comparison.parameters.replace(bands="ncc"))
        registered = _room_for_registered(comparison, (yield from map_of(ncc_only)), job.output)
        yield registered
        moving = comparison.moving_on_grid()
        yield from fill(registered, moving, Step.RESAMPLE, job.output, cancelled)
    return Outcome(comparison.registration, aligned.refinement)


class _Display:
    """Puts what a run yields into layers in the making.

    Parameters
    ----------
    job : Job
        What is wanted.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._map: ConfidenceMap | None = None
        self._drawn: list[Drawn] = []
        self._arrows: Arrows | None = None
        self.registered: Product | None = None

    def messages(self, event: Event) -> Iterator[Message]:
        """Give the messages that make the viewer show an event."""
        if isinstance(event, MapBegun):
            yield from self._begin(event.comparison, event.map)
        elif isinstance(event, MapTile):
            yield self._landed(event)
        else:
            yield event

    def _begin(self, comparison: Comparison, result: ConfidenceMap) -> Iterator[Message]:
        """Make room for all layers, that of the registered image below the others."""
        self._map = result
        if self._job.add_registered:
            self.registered = _room_for_registered(comparison, result, self._job.output)
            yield self.registered
        fixed = self._job.comparison.fixed.grid
        self._drawn = layers_of(result, self._job.output, fixed, self._job.names)
        yield from (layer.product for layer in self._drawn)
        yield self._kept(Headline("", ""))
        self._arrows = Arrows(result) if "gain" in result.band_names else None
        if any(layer.product.kind == "classes" for layer in self._drawn):
            warm_up_labels()
        yield Progress(Step.COMPARE, 0, result.bands.npartitions)

    def _landed(self, tile: MapTile) -> Landed:
        for layer in self._drawn:
            put(layer.product, tile.location, layer.of(tile.bands))
        if self._arrows is not None:
            self._arrows.add(tile.bands, tile.location)
        return Landed(tuple(layer.product for layer in self._drawn), tile.location, tile.progress)

    def settle(self, tally: MapTally) -> Iterator[Landed]:
        """Say of the classes what only all tiles together can tell."""
        assert self._map is not None  # a map has begun
        whole = Progress(Step.COMPARE, 1, 1)
        for product, location in settle_differences(self._drawn, self._map, tally):
            yield Landed((product,), location, whole)

    def kept(self, result: RunResult) -> KeptResult:
        """Return all that was found, once all tiles have landed, with the arrows of a shift."""
        head = headline(result.registration, result.tally, found=result.found)
        arrows = {}
        if self._arrows is not None:
            fixed = self._job.comparison.fixed.grid
            made = self._arrows.product(result.map, self._job.output, fixed, self._job.names)
            arrows = {"arrows": made}
        details = details_of(result.map, result.tally, result.refinement)
        return self._kept(head, result.tally.shares, details, arrows)

    def _kept(
        self,
        head: Headline,
        shares: Mapping[str, float] | None = None,
        details: Sequence[str] = (),
        arrows: Mapping[str, Product] | None = None,
    ) -> KeptResult:
        assert self._map is not None  # a map has begun
        products = {layer.product.kind: layer.product for layer in self._drawn}
        every = products | dict(arrows or {})
        return KeptResult(every, self._map, head, dict(shares or {}), tuple(details))


def details_of(
    result: ConfidenceMap, tally: MapTally, refinement: Refinement | None = None
) -> list[str]:
    """Say all that is known of a map, a line each; bands by what their layers are called."""
    titles = {band.name: band.title for band in bands_on(result.parameters, result.grid)} | TITLES
    lines = [f"{titles.get(name, name)}: {text}" for name, text in tally.lines().items()]
    if result.registration is not None:
        lines.append(f"Registration: {describe_registration(result.registration)}")
    if refinement is not None:
        lines.append(f"Refined: {refinement}")
    return lines


def _room_for_registered(comparison: Comparison, result: ConfidenceMap, output: Output) -> Product:
    """Make room for the registered image."""
    dtype = comparison.moving_on_grid().dtype
    levels = blank_levels(result.grid, dtype, multiscale=output.multiscale, budget=output.budget)
    name = f"{comparison.moving.name} on {comparison.fixed.name}"
    fixed = comparison.fixed.grid
    return product_of(result, "registered", name, levels, output.style, output, fixed)


def fill(
    product: Product, array: da.Array, step: Step, output: Output, cancelled: threading.Event
) -> Generator[Message, None, None]:
    """Compute a product tile by tile, what the user looks at first; yield as `run_job` does."""
    yield Progress(step, 0, array.npartitions)
    for tile in _nearest_first(array, product.grid, output, cancelled):
        put(product, tile.location, tile.data)
        yield Landed((product,), tile.location, Progress(step, tile.done, tile.total))


def _nearest_first(
    array: da.Array, grid: Grid, output: Output, cancelled: threading.Event
) -> Generator[Tile, None, None]:
    """Compute an array on a grid from the middle of the view on."""
    first = _viewed_pixel(grid, output)
    with closing(compute_tiles(array, cancelled=cancelled, first=first)) as tiles:
        yield from tiles


def _viewed_pixel(grid: Grid, output: Output) -> tuple[float, ...]:
    """Return the pixel of a grid in the middle of the view."""
    view = output.view[-grid.ndim :]
    return tuple(apply_affine(invert_affine(grid.pixel_to_world), view))

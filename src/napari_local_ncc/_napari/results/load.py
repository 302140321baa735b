"""A map from a file, as what a run would have left: its bands, its sentence, its transform."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_local_ncc._napari.layers.convert import placement_on
from napari_local_ncc._napari.layers.map_layers import LAYERS
from napari_local_ncc._napari.results.band_layers import (
    Arrows,
    layers_of,
    put,
    settle_differences,
)
from napari_local_ncc._napari.results.job import Landed, Outcome, details_of
from napari_local_ncc._napari.results.kept_results import KeptResult
from napari_local_ncc._napari.results.result_spec import Output
from napari_local_ncc.chunked.tiles import compute_tiles
from napari_local_ncc.io.writing import read_map
from napari_local_ncc.maps.map_summary import MapTally
from napari_local_ncc.progress import Progress, Step
from napari_local_ncc.reports.headline import headline
from napari_local_ncc.transforms.transform_file import read_transform

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator

    from napari_local_ncc._napari.results.job import Message
    from napari_local_ncc.maps.pipeline import ConfidenceMap

ROOT = "zarr.json"  # of a map in a folder: what it is chosen by where only files can be


def map_path(path: str | Path) -> Path:
    """Return the path of a map; of one in a folder also where a file in it is given."""
    found = Path(path)
    return found.parent if found.name == ROOT else found


def transform_path(path: Path) -> Path:
    """Return where the transform of a map lies that moves every pixel by itself."""
    return path.with_name(f"{path.name}.transform.json")


def stored_map(path: Path) -> ConfidenceMap:
    """Open a map, with the flow beside it if it has one.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, or is no map.
    """
    result = read_map(path)
    described = result.provenance.get("registration") or {}
    beside = transform_path(path)
    if "displacement" in described and beside.exists():
        result = replace(result, registration=read_transform(beside, result.grid))
    parameters = asdict(result.parameters)  # as a run writes them: JSON knows no tuples
    return replace(result, provenance=result.provenance | {"parameters": parameters})


def run_load(
    path: Path, budget: float, cancelled: threading.Event
) -> Generator[Message, None, Outcome]:
    """Read a map from a file; yield and return as `run_job` does."""
    yield Progress(Step.READ, 0, 1)
    stored = stored_map(path)
    ids = stored.provenance.get(LAYERS, {})
    provenance = {name: value for name, value in stored.provenance.items() if name != LAYERS}
    whole = stored.bands.rechunk({0: -1})  # all bands of a tile together, as a run gives them
    result = replace(stored, bands=whole, provenance=provenance)
    output = Output(placement_on(result.grid), False, (), budget, dict(ids), {})
    drawn = layers_of(result, output, result.grid, _pair(result.provenance))
    yield from (layer.product for layer in drawn)
    arrows = Arrows(result) if "gain" in result.band_names else None
    tally = MapTally.of(result)
    with closing(compute_tiles(result.bands, cancelled=cancelled)) as tiles:
        for tile in tiles:
            place = tile.location[1:]
            bands = dict(zip(result.band_names, tile.data, strict=True))
            tally.add(tile.data, place)
            for layer in drawn:
                put(layer.product, place, layer.of(bands))
            if arrows is not None:
                arrows.add(bands, place)
            products = tuple(layer.product for layer in drawn)
            yield Landed(products, place, Progress(Step.READ, tile.done, tile.total))
    for product, place in settle_differences(drawn, result, tally):
        yield Landed((product,), place, Progress(Step.READ, 1, 1))
    every = {layer.product.kind: layer.product for layer in drawn}
    if arrows is not None:
        names = _pair(result.provenance)
        every["arrows"] = arrows.product(result, output, result.grid, names)
    head = headline(result.registration, tally)
    details = tuple(details_of(result, tally))
    kept = KeptResult(every, result, head, tally.shares, details)
    return Outcome(result.registration, kept=kept)


def _pair(provenance: dict[str, Any]) -> str:
    return f"{provenance['fixed']['name']} vs {provenance['moving']['name']}"

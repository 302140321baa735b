"""File > Save Selected Layers, and the button: a map with everything, as OME-Zarr or OME-TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc._napari.layers.convert import METADATA
from napari_local_ncc._napari.layers.map_layers import LAYERS, run_in
from napari_local_ncc._napari.results.kept_results import every_kept
from napari_local_ncc._napari.results.load import transform_path
from napari_local_ncc.chunked.windows import as_lazy
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.io.writing import iter_write_map
from napari_local_ncc.maps.pipeline import ConfidenceMap
from napari_local_ncc.parameters import NCCParameters
from napari_local_ncc.progress import finish
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.transform_file import write_transform

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_local_ncc._napari.results.kept_results import KeptResult

LayerData = tuple[Any, dict[str, Any], str]
ALONE = ("ncc", "confidence")  # bands that a layer by itself holds whole


def iter_save_result(
    result: KeptResult, path: Path, *, overwrite: bool = False
) -> Generator[Any, None, list[str]]:
    """Write what a run found, tile by tile, and a flow beside it.

    Returns
    -------
    list of str
        The files.

    Raises
    ------
    FileExistsError, OSError, ValueError
        As `write_map`.
    """
    ids = dict(result.products["ncc"].metadata[LAYERS])
    ids.pop("kind")
    computed = result.computed({LAYERS: ids})
    yield from iter_write_map(computed, path, overwrite=overwrite)
    registration = computed.registration
    if registration is None or registration.displacement is None:
        return [str(path)]
    write_transform(registration, transform_path(path))
    return [str(path), str(transform_path(path))]


def write_layers(path: str, layer_data: Sequence[LayerData]) -> list[str]:
    """Write the map that layers belong to, for napari's own saving.

    Parameters
    ----------
    path : str
        Where to; the ending tells the format.
    layer_data : sequence of (data, attributes, type)
        Layers of one run, any of them; all of its bands are written.

    Returns
    -------
    list of str
        The files.

    Raises
    ------
    ValueError
        If they belong to no run of this plugin, or to several.
    """
    records = [attributes.get("metadata", {}).get(METADATA) for _, attributes, _ in layer_data]
    runs = [run_in(each) for each in records if each is not None]
    if not runs or any(run != runs[0] for run in runs):
        raise ValueError(
            "a map is saved from the layers of one run of Local NCC: select its NCC layer"
        )
    kept = _kept_of(layer_data, runs[0])
    if kept is not None:
        return finish(iter_save_result(kept, Path(path), overwrite=True))
    target = Path(path)
    finish(iter_write_map(_map_of_layers(layer_data, runs[0]), target, overwrite=True))
    return [str(target)]


def _kept_of(layer_data: Sequence[LayerData], run: dict[str, Any]) -> KeptResult | None:
    """Return the run that layers show; of copies the last with their record, None without any.

    Two runs of one pair have one record, though their images were edited meanwhile.
    """
    found = [each for each in every_kept() if each.run == run]
    shown = [data[0] if looks.get("multiscale") else data for data, looks, _ in layer_data]
    for each in found:
        if any(p.levels[0] is data for p in each.products.values() for data in shown):
            return each
    return found[-1] if found else None


def _map_of_layers(layer_data: Sequence[LayerData], run: dict[str, Any]) -> ConfidenceMap:
    """Return the map of copied layers, as far as they hold it by themselves."""
    arrays = {}
    for data, attributes, _ in layer_data:
        kind = attributes["metadata"][METADATA][LAYERS]["kind"]
        if kind in ALONE:
            arrays[kind] = data[0] if attributes.get("multiscale") else data
    if "ncc" not in arrays:
        raise ValueError("what is selected holds no NCC: select the NCC layer, too")
    names = tuple(name for name in ALONE if name in arrays)
    fixed = Grid.from_dict(run["fixed"]["grid"])
    grid = fixed if fixed.shape == arrays["ncc"].shape else Grid(arrays["ncc"].shape)
    described = run["registration"]
    is_dense = described is None or "displacement" in described
    values = [as_lazy(np.asarray(arrays[name]), map_chunks(grid)) for name in names]
    return ConfidenceMap(
        da.stack(values),
        names,
        grid,
        NCCParameters(**run["parameters"]).replace(bands=names),
        None if is_dense else Registration.from_dict(described),
        run,
    )

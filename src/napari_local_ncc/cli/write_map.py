"""What commands have in common: a map written, in numbers, as an image."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from napari_local_ncc.progress import Progress, Step

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.reports.grouped_histogram import GroupTally
    from napari_local_ncc.reports.map_summary import MapTally, Summary


def written(
    result: ConfidenceMap,
    path: Path,
    *,
    overwrite: bool,
    workers: int | None,
    frames: GroupTally | None = None,
) -> Generator[Progress, None, MapTally]:
    """Write a map tile by tile and sum up its bands on the way, its NCC by frame if asked."""
    from napari_local_ncc.io.writing import iter_write_map
    from napari_local_ncc.maps.pipeline import load_kernel
    from napari_local_ncc.reports.map_summary import MapTally
    from napari_local_ncc.reports.tables import tally_frames

    yield Progress(Step.LOAD, 0, 1)
    load_kernel()
    tally = MapTally(result.band_names, result.calibration)
    band = result.band_names.index("ncc")
    with closing(iter_write_map(result, path, overwrite=overwrite, workers=workers)) as tiles:
        for tile in tiles:
            tally.add(tile.data)
            if frames is not None:
                tally_frames(frames, tile.location[1:], tile.data[band], result.grid)
            yield Progress(Step.COMPARE, tile.done, tile.total)
    return tally


def summed(result: ConfidenceMap) -> Summary:
    """Return the distribution of a map's NCC."""
    from napari_local_ncc.chunked.tiles import compute_tiles
    from napari_local_ncc.reports.map_summary import Tally

    tally = Tally()
    for tile in compute_tiles(result["ncc"]):
        tally.add(tile.data)
    return tally.summary


def ncc_image(result: ConfidenceMap) -> SpatialImage:
    """Return the NCC band of a map as an image."""
    from napari_local_ncc.image.spatial_image import SpatialImage

    return SpatialImage(result["ncc"], result.grid, "ncc")

"""What an installed reader plugin of napari opens, through npe2 and without napari."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import dask.array as da
import numpy as np

from napari_local_ncc.geometry.grid import is_spatial
from napari_local_ncc.geometry.units import PIXEL, unit_name
from napari_local_ncc.image.read_guard import ReadError
from napari_local_ncc.io.readers.colour import BY_SAMPLES
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.stored import COLOUR, Axis, StoredImage, check_level, reduction

if TYPE_CHECKING:
    from pathlib import Path

    from napari_local_ncc.io.readers.scene import Request


@dataclass(frozen=True, slots=True)
class PluginReader:
    """Reads files by a plugin.

    Parameters
    ----------
    plugin : str
        Its name.
    """

    plugin: str

    def scenes(self, path: Path | str) -> list[Scene]:
        """List the image and labels layers that a plugin makes of a file."""
        return [
            Scene(str(options.get("name", "")), tuple(_levels(data, options)[0].shape))
            for data, options in _layers(path, self.plugin)
        ]

    def read(self, path: Path | str, scene: int, request: Request) -> StoredImage:
        """Take one layer that a plugin makes of a file."""
        data, options = _layers(path, self.plugin)[scene]
        levels = _levels(data, options)
        check_level(request.level, len(levels))
        samples, finest = levels[request.level], levels[0]
        rgb = bool(options.get("rgb"))
        ndim = samples.ndim - rgb
        labels = [str(label) for label in options.get("axis_labels") or range(-ndim, 0)]
        units = _units(options.get("units"), ndim)
        turned = [name for name in ("affine", "rotate", "shear") if options.get(name) is not None]
        if turned:
            raise ReadError(
                f"{self.plugin} turns its layer ({', '.join(turned)}), which is not taken; open "
                "it in napari, or by another reader"
            )
        scale = _per_axis(options.get("scale"), ndim, 1.0)
        start = _per_axis(options.get("translate"), ndim, 0.0)
        axes = []
        for k in range(ndim):
            factor = reduction(finest.shape[k], samples.shape[k])
            origin = start[k] + scale[k] * (factor - 1) / 2
            spatial = is_spatial(labels[k], units[k])
            axes.append(Axis(labels[k], spatial, scale[k] * factor, origin, units[k]))
        if rgb:
            axes.append(Axis(COLOUR, spatial=False))
        lazy = samples if isinstance(samples, da.Array) else da.from_array(samples, name=False)
        colour = BY_SAMPLES.get(samples.shape[-1]) if rgb else None
        return StoredImage(lazy, tuple(axes), colour).noting(reader=self.plugin)


def _layers(path: Path | str, plugin: str) -> list[tuple[Any, dict[str, Any]]]:
    from npe2 import PluginManager, read

    manager = PluginManager.instance()
    manager.discover()
    try:
        made = read([str(path)], stack=False, plugin_name=plugin)
    except ValueError as error:
        known = sorted({r.plugin_name for r in manager.iter_compatible_readers([str(path)])})
        raise ReadError(
            f"no reader {plugin!r} takes it; installed readers that do: "
            f"{', '.join(known) or 'none'}"
        ) from error
    found = []
    for layer in made:
        data, *rest = cast("tuple[Any, ...]", layer)
        options: dict[str, Any] = dict(rest[0]) if rest else {}
        if (rest[1] if len(rest) > 1 else "image") in ("image", "labels"):
            found += _by_channel(data, options)
    if not found:
        raise ReadError(f"{plugin} makes no image of it")
    return found


def _by_channel(data: Any, options: dict[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Take a layer apart that is to be split by channels."""
    axis = options.get("channel_axis")
    if axis is None:
        return [(data, options)]
    levels = _levels(data, options)
    names = options.get("name")
    rest = {k: v for k, v in options.items() if k not in ("channel_axis", "name")}
    return [
        (
            [np.take(level, k, axis) for level in levels],
            {**rest, "multiscale": True, "name": names[k] if isinstance(names, list) else str(k)},
        )
        for k in range(levels[0].shape[axis])
    ]


def _levels(data: Any, options: dict[str, Any]) -> list[Any]:
    is_multiscale = options.get("multiscale")
    if is_multiscale is None:
        is_multiscale = isinstance(data, list | tuple)
    levels = list(data) if is_multiscale else [data]
    return [level if hasattr(level, "shape") else np.asarray(level) for level in levels]


def _per_axis(values: Any, ndim: int, default: float) -> list[float]:
    given = [] if values is None else [float(value) for value in np.atleast_1d(values)]
    return ([default] * ndim + given)[-ndim:]


def _units(units: Any, ndim: int) -> list[str]:
    if units is None or isinstance(units, str):
        units = [units or PIXEL] * ndim
    named = []
    for unit in units:
        try:
            named.append(unit_name(unit))
        except ValueError:
            named.append(PIXEL)
    return named

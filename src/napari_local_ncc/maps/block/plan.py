"""How the bands of every block are computed: by what, how far it reaches, what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_local_ncc.parameters import check_search

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_local_ncc.confidence.calibration import Calibration
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.exposure import Exposure
    from napari_local_ncc.maps.window_evidence import Block
    from napari_local_ncc.parameters import NCCParameters

    Reach = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class BandPlan:
    """How the bands of every chunk are computed.

    Parameters
    ----------
    kinds : tuple of str
        What is wanted, of `maps.bands.KINDS`, in the order of the map.
    radius, search : tuple of int
        Window and largest residual shift per axis, in px; no `search` where there is none.
    limits : dict
        `weights`, `min_std` and `min_valid`.
    calibration : Calibration or None
        What turns NCC into confidence.
    exposure : Exposure or None
        Noise and typical contrast of the images.
    is_signed : bool
        Whether what is related has a high NCC, or else a high |NCC|.
    has_frames : bool
        Whether the last image says which frame a pixel is of.
    device : str or None
        What it is computed on, if not the processor; see `ncc.device`.
    """

    kinds: tuple[str, ...]
    radius: Reach
    search: Reach
    limits: dict[str, Any]
    calibration: Calibration | None
    exposure: Exposure | None
    is_signed: bool
    has_frames: bool
    device: str | None = None

    @property
    def searches(self) -> bool:
        """Whether any band needs the search for the best shift, which finds the NCC too."""
        return any(COMPUTED[name].searches for name in self.kinds)

    @property
    def bytes_per_pixel(self) -> float:
        """How much memory a block takes for each sample that it needs, about."""
        column = sum(r > 0 for r in self.radius) > 2
        if self.device is not None:
            return max(ON_GPU[name][column] for name in self.kinds)
        taken = max(COMPUTED[name].memory[column] for name in self.kinds)
        return taken + KEPT * len(self.kinds)

    @property
    def with_error(self) -> bool:
        """Whether the error of the shift is wanted, too."""
        return "shift_error" in self.kinds

    @property
    def motion(self) -> Reach | None:
        """The shift per axis by which the images as a whole agree, if it is beyond the search."""
        return None if self.exposure is None else self.exposure.motion

    @property
    def wide(self) -> Reach:
        """Radius per axis of the windows in which that motion is looked for, too."""
        return tuple(WIDER * r for r in self.radius)

    @property
    def reach(self) -> Reach:
        """How far the bands of a pixel reach along each axis."""
        reaches = [self.radius, *(COMPUTED[name].reach(self) for name in self.kinds)]
        return tuple(map(max, zip(*reaches, strict=True)))


@dataclass(frozen=True, slots=True)
class ComputedKind:
    """How a kind of band is computed.

    Parameters
    ----------
    bands : callable
        A block to its bands, in the order of `BandKind.bands`.
    reach : callable
        How far a pixel's bands reach along each axis.
    searches : bool
        Whether they need the search for the best shift.
    memory : tuple of int
        Bytes that they take for each sample of a block, in planes and in volumes.
    """

    bands: Callable[[Block], list[NDArray[np.float32]]]
    reach: Callable[[BandPlan], Reach]
    searches: bool = False
    memory: tuple[int, int] = (24, 60)


def _confidence_reach(plan: BandPlan) -> Reach:
    from napari_local_ncc.confidence.even_light import even_light_reach
    from napari_local_ncc.confidence.texture_windows import margin

    texture = margin(plan.radius)
    if plan.calibration is None or not plan.calibration.in_even_light:
        return texture
    return tuple(map(sum, zip(texture, even_light_reach(plan.radius), strict=True)))


def _shift_reach(plan: BandPlan) -> Reach:
    from napari_local_ncc.shift.dispatch import shift_depth

    return shift_depth(plan.radius, plan.search, with_error=plan.with_error)


def _class_reach(plan: BandPlan) -> Reach:
    far = [abs(d) for d in plan.motion or ()]
    reaches = [
        _confidence_reach(plan),
        _shift_reach(plan),
        *([tuple(r + d for r, d in zip(plan.wide, far, strict=True))] if far else []),
        tuple(
            r + s + n for r, s, n in zip(plan.radius, plan.search, _noise_reach(plan), strict=True)
        ),
    ]
    return tuple(map(max, zip(*reaches, strict=True)))


def _classes(block: Block) -> list[NDArray[np.float32]]:
    from napari_local_ncc.maps.window_evidence import class_band

    return class_band(block)


def _ceiling(block: Block) -> list[NDArray[np.float32]]:
    from napari_local_ncc.maps.window_evidence import ceiling_band

    return ceiling_band(block)


def _fit(block: Block) -> list[NDArray[np.float32]]:
    from napari_local_ncc.maps.window_evidence import fit_bands

    return fit_bands(block)


def _noise_reach(plan: BandPlan) -> Reach:
    from napari_local_ncc.confidence.local_noise import reach_of_noise

    return tuple(map(max, zip(plan.radius, reach_of_noise(plan.radius), strict=True)))


def _radius(plan: BandPlan) -> Reach:
    return plan.radius


WIDER = 2  # times a window's radius: around it, where it cannot tell by itself
KEPT = 16  # bytes of a sample of a finished band: in the queue, and while it is written
SEARCHED = (320, 900)  # bytes of a sample, in planes and volumes
COMPUTED = {
    "ncc": ComputedKind(lambda block: [block.ncc], _radius),
    "confidence": ComputedKind(
        lambda block: [block.confidence], _confidence_reach, memory=(180, 360)
    ),
    "shift": ComputedKind(
        lambda block: list(block.ncc_and_shift[1:]), _shift_reach, True, (120, 700)
    ),
    "shift_error": ComputedKind(
        lambda block: list(block.shift_error), _shift_reach, True, SEARCHED
    ),
    "classes": ComputedKind(_classes, _class_reach, True, SEARCHED),
    "ceiling": ComputedKind(_ceiling, _noise_reach, memory=(180, 360)),
    "fit": ComputedKind(_fit, _radius, memory=(180, 360)),
}
JUDGED = {"confidence", "classes"}  # kinds that need a calibration
EXPOSED = {"classes", "ceiling"}  # and those that need an exposure
# and those that a GPU computes, with the bytes that they take there, in planes and in volumes
ON_GPU = {"ncc": (240, 240), "confidence": (400, 560)}


def plan_bands(
    grid: Grid,
    parameters: NCCParameters,
    calibration: Calibration | None,
    exposure: Exposure | None = None,
    *,
    device: str | None = None,
) -> BandPlan:
    """Return how the bands of every block are computed.

    Parameters
    ----------
    grid : Grid
        What radius and search are resolved on.
    parameters : NCCParameters
        Window, limits and bands.
    calibration : Calibration or None
        What turns NCC into confidence; needed for the kinds in `JUDGED`.
    exposure : Exposure or None
        Noise and typical contrast of the images; needed for the kinds in `EXPOSED`.
    device : str, optional
        What they are computed on, if not the processor; see `ncc.device`.

    Raises
    ------
    ValueError
        If a band is not computed on the device.
    """
    check_bands_on(device, parameters.bands)
    searches = any(COMPUTED[name].searches for name in parameters.bands)
    radius = parameters.radius_on(grid)
    return BandPlan(
        parameters.bands,
        radius,
        check_search(parameters.search_on(grid), radius, grid.shape) if searches else (),
        {
            "weights": parameters.weights,
            "min_std": parameters.min_std,
            "min_valid": parameters.min_valid,
        },
        calibration,
        exposure,
        parameters.alternative == "greater",
        calibration is not None and len(calibration.nulls) > 1,
        device,
    )


def check_bands_on(device: str | None, kinds: Sequence[str]) -> None:
    """Raise ValueError for kinds of bands that are not computed on a device."""
    others = [name for name in kinds if device is not None and name not in ON_GPU]
    if others:
        raise ValueError(
            f"--device {device} (device=) computes {', '.join(ON_GPU)} only, not "
            f"{', '.join(others)}: leave these bands out, or the device"
        )

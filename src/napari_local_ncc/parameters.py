"""What a user can set, as frozen objects that check their values once, at the door."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self, cast, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid

Weights = Literal["box", "gaussian"]
Interpolation = Literal["linear", "cubic"]
Alternative = Literal["greater", "two-sided"]
Radius = int | tuple[int, ...] | str
Search = int | tuple[int, ...]

# libraries whose images say where they lie, which their arrays do not
WITH_GEOMETRY = frozenset({"SimpleITK", "itk", "napari", "nibabel", "xarray"})
BANDS = (
    "ncc",
    "confidence",
    "shift",
    "shift_error",
    "classes",
    "ceiling",
    "fit",
)
MAX_RADIUS = 10**6
MAX_SEARCH = 100
MAX_SHIFTS = 10**6  # NCC values held for every pixel
MIN_SAMPLES = 3  # that a window must hold
LENGTH = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?\s*[^\W\d].*", re.IGNORECASE)


def check_radius(radius: object, ndim: int) -> tuple[int, ...]:
    """Give the window radius of each axis.

    Parameters
    ----------
    radius : int or sequence of int
        One radius for every axis, or one per axis, in pixels.
    ndim : int
        Number of axes of the images.

    Returns
    -------
    tuple of int
        One radius >= 0 per axis; 0 means that the axis is independent.

    Raises
    ------
    ValueError
        If a radius is negative or not a whole number, if their number is not `ndim`,
        or if no axis is left to compare along.
    """
    values: tuple[object, ...]
    if isinstance(radius, Iterable) and not isinstance(radius, str):
        values = tuple(radius)
    else:
        values = (radius,) * ndim
    if len(values) != ndim:
        raise ValueError(
            f"radius has {len(values)} values {values} but the images have {ndim} axes; "
            "give one number, or one per axis"
        )
    whole = tuple(_whole(value) for value in values)
    if min(whole, default=0) < 0 or max(whole, default=0) > MAX_RADIUS:
        raise ValueError(
            f"radius must be a whole number from 0 to {MAX_RADIUS} on every axis, got {radius!r}"
        )
    if not any(whole):
        raise ValueError(
            "radius is 0 on every axis, so a window holds one pixel and no correlation; "
            "give at least one axis a radius of 1"
        )
    return whole


def check_search(
    search: object, radius: tuple[int, ...], shape: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    """Give the largest displacement to search along each axis.

    Parameters
    ----------
    search : int or sequence of int
        One number of pixels for every windowed axis, or one per axis.
    radius : tuple of int
        Window radius per axis; an axis of radius 0 is never searched.
    shape : tuple of int, optional
        Samples of the images along each axis, if it is to be checked that they are enough.

    Returns
    -------
    tuple of int
        One number >= 0 per axis.

    Raises
    ------
    ValueError
        If a number is negative or not whole, if there is not one per axis, if no axis is
        searched, if there are more than `MAX_SHIFTS` displacements, if no axis of the images
        is longer than its search, or if no window holds 3 samples.
    """
    per_axis = isinstance(search, Iterable) and not isinstance(search, str)
    values = tuple(search) if per_axis else (search,) * len(radius)  # type: ignore[arg-type]
    if len(values) != len(radius):
        raise ValueError(
            f"search has {len(values)} values {values} but the images have {len(radius)} axes; "
            "give one number, or one per axis"
        )
    whole = tuple(_whole(value) for value in values)
    if min(whole) < 0 or max(whole) > MAX_SEARCH:
        raise ValueError(f"search must be whole pixels from 0 to {MAX_SEARCH}, got {search!r}")
    searched = tuple(s if r else 0 for s, r in zip(whole, radius, strict=True))
    if not any(searched):
        raise ValueError(f"search must be above 0 along some windowed axis, got {search!r}")
    if (shifts := math.prod(2 * s + 1 for s in searched)) > MAX_SHIFTS:
        raise ValueError(
            f"search {search!r} means {shifts} displacements of every pixel, at most {MAX_SHIFTS} "
            "are possible; register first, and search for what is left"
        )
    if shape is not None and all(s >= n for s, n in zip(searched, shape, strict=True) if s):
        raise ValueError(
            f"search {search!r} is not smaller than the images, {shape} samples: nothing would "
            "overlap at such displacements; search less, or compare larger images"
        )
    if shape is not None:
        held = math.prod(min(n, 2 * r + 1) for n, r in zip(shape, radius, strict=True) if r)
        if held < MIN_SAMPLES:
            raise ValueError(
                f"a window of radius {radius} holds {held} samples of images of {shape} samples, "
                f"and at least {MIN_SAMPLES} are needed to compare any; compare larger images, or "
                "with windows along more axes"
            )
    return searched


def _whole(value: object) -> int:
    """Return a whole number >= 0 as an int, and -1 for anything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return -1
    number = float(value)
    return int(number) if number >= 0 and number.is_integer() else -1


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ValueError unless `value` is one of the `choices` of a parameter."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}")


def check_weights(weights: str) -> Weights:
    """Return `weights` if it names a window shape, else raise ValueError."""
    check_choice("weights", weights, get_args(Weights))
    return cast("Weights", weights)


def check_alternative(alternative: str) -> Alternative:
    """Return `alternative` if it names a test, else raise ValueError."""
    check_choice("alternative", alternative, get_args(Alternative))
    return cast("Alternative", alternative)


def check_limits(min_std: object, min_valid: object) -> None:
    """Raise ValueError unless `min_std` >= 0 and 0 <= `min_valid` <= 1."""
    if not (isinstance(min_std, numbers.Real) and 0 <= float(min_std) < math.inf):
        raise ValueError(f"min_std must be a number >= 0 (intensity units), got {min_std!r}")
    if not (isinstance(min_valid, numbers.Real) and 0 <= float(min_valid) <= 1):
        raise ValueError(
            f"min_valid must lie in [0, 1] (share of the window's weight), got {min_valid!r}"
        )


def check_real(dtype: np.dtype[Any], name: str) -> None:
    """Raise TypeError unless `dtype` is bool, integer or real floating point."""
    if dtype.kind not in "biuf":
        raise TypeError(
            f"{name} holds {dtype} values; local NCC needs real numbers "
            "(for complex images, take the magnitude or the real part first)"
        )


def check_array(array: object, name: str) -> None:
    """Raise TypeError unless an object is an array, of numbers as far as can be seen.

    Many other objects turn into arrays too, without what they say of axes and places.
    """
    if isinstance(array, str | PathLike):
        raise TypeError(f"{name} is a text ({array!r}), no array; read_image(path) opens a file")
    is_array = all(hasattr(array, field) for field in ("shape", "dtype", "__getitem__"))
    is_array |= isinstance(array, list | tuple | numbers.Number | memoryview)
    if is_array and type(array).__module__.partition(".")[0] not in WITH_GEOMETRY:
        return
    kind = f"{type(array).__module__}.{type(array).__qualname__}"
    raise TypeError(
        f"{name} is no array but a {kind}; give its samples as an array, or, to keep where they "
        "lie, a SpatialImage, xarray.DataArray, SimpleITK.Image or image of nibabel to "
        "confidence_map or register"
    )


def is_cupy(array: object) -> bool:
    """Return whether an array lies on a GPU."""
    return type(array).__module__.partition(".")[0] == "cupy"


def as_samples(array: Any, name: str = "the image") -> NDArray[Any]:
    """Return a NumPy array; what a masked array hides becomes NaN, which is "no sample".

    What lies on a GPU is copied.
    """
    check_array(array, name)
    if is_cupy(array):
        found: NDArray[Any] = array.get()
        return found
    import numpy as np  # late: the command line asks for names and files before it

    if isinstance(array, np.ma.MaskedArray):
        floating = np.result_type(array.dtype, np.float32)
        return np.ma.filled(array.astype(floating), np.nan)
    return np.asanyarray(array)


@dataclass(frozen=True, slots=True)
class NCCParameters:
    """How a local-NCC map is computed.

    Parameters
    ----------
    radius : int, tuple of int, or str, default 4
        Window radius. An int holds for every spatial axis, in pixels of the fixed
        image; a tuple gives every axis its own (0 = independent); a string such as
        ``"0.5 um"`` is a physical length, resolved with the spacing of each spatial
        axis to at least 1 pixel.
    weights : {"box", "gaussian"}, default "box"
        Shape of the window. Gaussian: sigma = radius / 3, cut off at the radius.
    min_std : float, default 0.0
        A window whose standard deviation is at or below this (intensity units) in
        either image is undefined. 0 means the rounding bound of the computation.
    min_valid : float, default 0.5
        Least share of the window's weight inside the image that must be valid.
    bands : tuple of str, default ("ncc",)
        What to compute, in one pass: "ncc", "confidence", "shift", "shift_error", "classes",
        "ceiling", "fit". Shift stands for `ncc_best`, `gain` and the residual shift along each
        spatial axis; shift_error for its standard deviation along each and for `peak_ratio`,
        and then no shift is given where the window cannot decide between shifts; fit for
        `slope` and `intercept`. They are kept in this order.
    search : int or tuple of int, default 3
        How far residual shifts are looked for, in pixels of the fixed image: along every
        spatial axis, or one per axis (0 = not along this one).
    interpolation : {"linear", "cubic"}, default "linear"
        How the moving image is sampled where its samples do not coincide with the fixed
        image's. Cubic keeps more of the finest structure, and costs more.
    alternative : {"greater", "two-sided"}, default "greater"
        What counts as related: a high NCC, or a high |NCC|, as where one image's contrast may
        be the inverse of the other's. Confidence, search and classes keep to it.
    per_frame : bool, default False
        Whether confidence judges every frame of a series by unrelated structure of its own;
        else by that of all frames.

    Raises
    ------
    ValueError
        If a value is out of its range.

    Examples
    --------
    >>> from napari_local_ncc import NCCParameters
    >>> NCCParameters(radius=(0, 4, 4), weights="gaussian").replace(search=2).search
    2
    """

    radius: Radius = 4
    weights: Weights = "box"
    min_std: float = 0.0
    min_valid: float = 0.5
    bands: tuple[str, ...] = ("ncc",)
    interpolation: Interpolation = "linear"
    search: Search = 3
    alternative: Alternative = "greater"
    per_frame: bool = False

    def __post_init__(self) -> None:
        check_weights(self.weights)
        check_choice("interpolation", self.interpolation, get_args(Interpolation))
        check_limits(self.min_std, self.min_valid)
        check_alternative(self.alternative)
        check_choice("per_frame", self.per_frame, (False, True))
        object.__setattr__(self, "radius", _check_radius_form(self.radius))
        object.__setattr__(self, "bands", _check_bands(self.bands))
        object.__setattr__(self, "search", _check_search_form(self.search))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some values changed, checked anew."""
        return replace(self, **changes)

    def radius_on(self, grid: Grid) -> tuple[int, ...]:
        """Resolve the radius to whole pixels per axis of `grid`.

        Parameters
        ----------
        grid : Grid
            The fixed image's grid.

        Returns
        -------
        tuple of int
            One radius per axis of `grid`; 0 on its independent axes.

        Raises
        ------
        ValueError
            If a physical radius meets a grid without physical units, or a tuple does
            not have one value per axis.
        """
        if isinstance(self.radius, str):
            lengths = grid.lengths_in_pixels(self.radius)
            values = tuple(max(1, round(length)) if length else 0 for length in lengths)
        elif isinstance(self.radius, int):
            values = tuple(self.radius if spatial else 0 for spatial in grid.spatial)
        else:
            values = self.radius
        return check_radius(values, grid.ndim)

    def search_on(self, grid: Grid) -> tuple[int, ...]:
        """Give the largest residual shift to look for per axis of `grid`, in pixels.

        Raises
        ------
        ValueError
            If a tuple does not have one value per axis, or no windowed axis is searched.
        """
        search = self.search
        if isinstance(search, int):
            search = tuple(search if spatial else 0 for spatial in grid.spatial)
        return check_search(search, self.radius_on(grid))


def _check_search_form(search: object) -> Search:
    if isinstance(search, (tuple, list)):
        return check_search(search, (1,) * len(search))
    return check_search(search, (1,))[0]


def _check_radius_form(radius: object) -> Radius:
    if isinstance(radius, str):
        return parse_radius(radius)
    if isinstance(radius, (tuple, list)):
        return check_radius(radius, len(radius))
    return _check_single(radius)


def parse_radius(text: str) -> Radius:
    """Read a radius as people write it: ``"4"``, ``"0, 4, 4"``, ``"4 px"``, ``"0.5 um"``.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    parts = [part.strip().removesuffix("px").strip() for part in text.split(",")]
    try:
        numbers = tuple(int(part) for part in parts)
    except ValueError:
        if not LENGTH.fullmatch(text.strip()):
            raise ValueError(
                f"cannot read the radius {text!r}; write whole pixels (4), one per axis (0,4,4), "
                "or a length (0.5 um)"
            ) from None
        return text.strip()
    return check_radius(numbers, len(numbers)) if len(numbers) > 1 else _check_single(numbers[0])


def _check_single(radius: object) -> int:
    return check_radius(radius, 1)[0]


def _check_bands(bands: str | tuple[str, ...]) -> tuple[str, ...]:
    names = (bands,) if isinstance(bands, str) else tuple(bands)
    unknown = [name for name in names if name not in BANDS]
    if unknown or not names:
        raise ValueError(f"bands must be some of {BANDS}, got {names}")
    return tuple(band for band in BANDS if band in names)

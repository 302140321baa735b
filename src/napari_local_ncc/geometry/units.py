"""Units of length and time, by the names that `pint` gives them; shares in percent."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pint

PIXEL = "pixel"


def is_time(unit: str) -> bool:
    """Say whether a unit measures time."""
    return unit != PIXEL and bool(_registry().Unit(unit).is_compatible_with("second"))


@cache
def _registry() -> pint.UnitRegistry[float]:
    import pint

    return pint.get_application_registry()  # type: ignore[no-untyped-call]  # pint's own gap


def unit_name(unit: object) -> str:
    """Return the full name of a unit: ``"um"``, ``"µm"``, ``"micron"`` and ``"UM"`` are one.

    Raises
    ------
    ValueError
        If nobody knows the unit.
    """
    text = str(unit).strip().replace("\\u00B5", "µ").replace("Âµ", "µ")  # UTF-8 read as Latin-1
    if text.lower() in {"", "pixel", "pixels", "px", "voxel", "voxels", "none", "dimensionless"}:
        return PIXEL
    try:
        parsed = _parsed(text)
    except Exception as error:  # pint raises several unrelated types on malformed text
        raise ValueError(f"unknown unit {text!r}; write it like um, nm, mm, s") from error
    return "micrometer" if str(parsed) == "micron" else str(parsed)


def _parsed(text: str) -> pint.Unit:
    """Read a unit as it is written; in lower case where capitals are no length or time."""
    try:
        parsed = _registry().Unit(text)
    except Exception:  # as above
        return _registry().Unit(text.lower())
    # MM are millimeters, no megamolars; a letter alone may be anything
    if text.isupper() and len(text) > 1 and not _is_of_image(parsed):
        with suppress(Exception):
            lower = _registry().Unit(text.lower())
            return lower if _is_of_image(lower) else parsed
    return parsed


def _is_of_image(unit: pint.Unit) -> bool:
    return unit.dimensionality in ({"[length]": 1}, {"[time]": 1})


def unit_symbol(unit: str) -> str:
    """Return the short form of a unit name: ``"µm"`` for ``"micrometer"``."""
    if unit == PIXEL:
        return "px"
    # newer versions of pint write the Greek letter, older ones and OME the micro sign
    return f"{_registry().Unit(unit):~P}".replace("\u03bc", "\u00b5")


def unit_factor(old: str, new: str) -> float:
    """Return by what a number in `old` is multiplied to be in `new`.

    Raises
    ------
    ValueError
        If both are physical and measure different things.
    """
    if PIXEL in (old, new) or old == new:
        return 1.0
    registry = _registry()
    if not registry.Unit(old).is_compatible_with(new):
        raise ValueError(
            f"cannot bring {old!r} and {new!r} together: they measure different things"
        )
    return float(registry.Quantity(1.0, old).m_as(new))


def percent(share: float, decimals: int = 0, *, sign: str = "%") -> str:
    """Write a share in percent, never as all or nothing where it is not.

    Examples
    --------
    >>> from napari_local_ncc.geometry.units import percent
    >>> percent(0.5), percent(0.999), percent(0.0002, 1), percent(1.0)
    ('50%', 'over 99%', 'under 0.1%', '100%')
    """
    text, step = f"{100 * share:.{decimals}f}", 10.0**-decimals
    if share > 0 and not float(text):
        return f"under {step:.{decimals}f}{sign}"
    if share < 1 and float(text) == 100:
        return f"over {100 - step:.{decimals}f}{sign}"
    return f"{text}{sign}"


def parse_length(text: str) -> pint.Quantity[float]:
    """Read a length such as ``"0.5 um"``.

    Raises
    ------
    ValueError
        If it is no length > 0.
    """
    registry = _registry()
    try:
        quantity: pint.Quantity[float] = registry.Quantity(text)
    except Exception as error:  # pint raises several unrelated types on malformed text
        raise ValueError(
            f"radius {text!r} is neither pixels nor a length such as '0.5 um'"
        ) from error
    if not quantity.check("[length]") or not quantity.magnitude > 0:
        raise ValueError(f"radius {text!r} is not a length > 0; write it like '0.5 um'")
    return quantity

"""What the colours on the canvas mean, with shares, in the dock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_local_ncc._napari.answer.views import View
from napari_local_ncc.reports import colormap
from napari_local_ncc.reports.headline import share_text

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

    from napari_local_ncc._napari.results.kept_results import KeptResult

CHIP, GAP = 12, 6  # px


@dataclass(frozen=True, slots=True)
class Legend:
    """What colours mean.

    Parameters
    ----------
    chips : tuple of (str, str)
        A colour and what it stands for, each.
    stops : tuple of (float, str)
        Colours along a scale, at rising positions.
    ticks : tuple of (float, str)
        What to write at which position of the scale.
    """

    chips: tuple[tuple[str, str], ...] = ()
    stops: tuple[tuple[float, str], ...] = ()
    ticks: tuple[tuple[float, str], ...] = ()

    def __str__(self) -> str:
        """Say it without colours, for who cannot see them."""
        return ", ".join(text for _, text in (*self.chips, *self.ticks))


def legend_of(result: KeptResult, view: View) -> Legend:
    """Return the legend of a map, in the colours of its layer."""
    undefined = (colormap.UNDEFINED, "undefined")
    if view is View.CLASSES:
        return Legend(class_chips(result.shares))
    if view is View.CONFIDENCE:
        ticks = ((0.0, "0 chance"), (0.95, "0.95 sure"))
        return Legend((undefined,), colormap.CONFIDENCE, ticks)
    if view is View.SHIFT:
        return _shift_legend(result)
    ends = ((-1.0, "−1 opposite"), (0.0, "0"), (1.0, "1 alike"))
    return Legend((undefined,), colormap.STOPS, ends)


def class_chips(shares: dict[str, float]) -> tuple[tuple[str, str], ...]:
    """Return colour and text of the classes that are there, with the share of what is defined."""
    known = 1 - shares.get("undefined", 0.0)
    return tuple(
        (color, f"{name} {share_text(shares[name] / known)}")
        for name, color in colormap.CLASSES.items()
        if known and shares.get(name)
    )


def _shift_legend(result: KeptResult) -> Legend:
    product = result.products.get("shift_length")
    if product is None:
        return Legend()
    high = product.style["contrast_limits"][1]
    unit = product.name.partition(" (")[2].rstrip(")")
    ticks = ((0.0, "0"), (high, f"{high:.3g} {unit}"))
    low_color, high_color = colormap.LENGTH[0][1], colormap.LENGTH[-1][1]
    arrows = result.products.get("arrows")
    chips: tuple[tuple[str, str], ...] = ((colormap.UNDEFINED, "undefined"),)
    if arrows is not None and len(arrows.levels[0]):
        times = arrows.style["length"]
        drawn = "arrow" if times == 1 else f"arrow, {times}x"
        there = set(arrows.style["features"]["class"])
        chips += tuple(
            (color, f"{drawn}: {name}") for name, color in colormap.CLASSES.items() if name in there
        )
    return Legend(chips, ((0.0, low_color), (high, high_color)), ticks)


class LegendWidget(QWidget):
    """Draws a legend: a scale above, chips below, as many in a row as fit."""

    def __init__(self) -> None:
        super().__init__()
        self._legend = Legend()
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def show_legend(self, legend: Legend) -> None:
        """Draw another legend."""
        self._legend = legend
        self.setAccessibleName(f"Legend: {legend}")
        self.setToolTip(str(legend))
        self.setFixedHeight(self.heightForWidth(self.width()))
        self.update()

    @property
    def legend(self) -> Legend:
        """What is drawn."""
        return self._legend

    def hasHeightForWidth(self) -> bool:
        """Chips wrap: it is the higher the narrower it is."""
        return True

    def heightForWidth(self, width: int) -> int:
        """Return the height of the scale and of all rows of chips."""
        scale = 2 * self._line() if self._legend.stops else 0
        rows = self._places(width)[-1].y() + self._line() if self._legend.chips else 0
        return int(scale + rows)

    def sizeHint(self) -> QSize:
        """Ask for the height that the chips need."""
        return QSize(200, self.heightForWidth(max(self.width(), 200)))

    def resizeEvent(self, event: object) -> None:
        """Take the height that the new width needs."""
        height = self.heightForWidth(self.width())
        if height != self.height():
            self.setFixedHeight(height)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw it."""
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        top = self._draw_scale(painter) if self._legend.stops else 0
        places = self._places(self.width())
        for (color, text), place in zip(self._legend.chips, places, strict=True):
            self._draw_chip(painter, color, text, place.translated(0, top))
        painter.end()

    def _line(self) -> int:
        return max(int(self.fontMetrics().height()), CHIP) + 2

    def _places(self, width: int) -> list[QRect]:
        """Return where each chip and its text go."""
        metrics, x, y, found = self.fontMetrics(), 0, 0, []
        for _, text in self._legend.chips:
            wide = CHIP + GAP + metrics.horizontalAdvance(text) + 2 * GAP
            if x and x + wide > width:
                x, y = 0, y + self._line()
            found.append(QRect(x, y, wide, self._line()))
            x += wide
        return found

    def _draw_chip(self, painter: QPainter, color: str, text: str, place: QRect) -> None:
        chip = QRect(place.x(), place.y() + (place.height() - CHIP) // 2, CHIP, CHIP)
        painter.fillRect(chip, QColor(color))
        painter.drawRect(chip.adjusted(0, 0, -1, -1))
        painter.drawText(place.adjusted(CHIP + GAP, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, text)

    def _draw_scale(self, painter: QPainter) -> int:
        """Draw the scale and its ticks; return how high that is."""
        line, width = self._line(), self.width()
        low, high = self._legend.stops[0][0], self._legend.stops[-1][0]
        gradient = QLinearGradient(0, 0, width, 0)
        for value, color in self._legend.stops:
            gradient.setColorAt((value - low) / (high - low), QColor(color))
        painter.fillRect(QRect(0, 2, width, line - 4), gradient)
        for value, text in self._legend.ticks:
            wide = self.fontMetrics().horizontalAdvance(text)
            x = int((value - low) / (high - low) * width - wide / 2)
            x = min(max(x, 0), width - wide)
            painter.drawText(QRect(x, line, wide + 2, line), Qt.AlignmentFlag.AlignLeft, text)
        return 2 * line

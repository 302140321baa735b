"""Around the fields: sections that fold, scroll areas, buttons, reports."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from magicgui.widgets import Container, Label, ProgressBar, PushButton
from psygnal import Signal
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QDialog,
    QDockWidget,
    QLabel,
    QLayout,
    QScrollArea,
    QSizePolicy,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MAIN = "local-ncc"  # the object name of the main widget
FOLDED, UNFOLDED = "▸", "▾"
LEAST_HEIGHT = 120  # px: three fields to scroll through, on the smallest screen
LAYING_OUT = 20  # ms, from one step of a layout to the next
SPACING = 4  # px, between what is found and what was planned
LEAST_TEXT, USUAL_TEXT = 190, 240  # px: headline, switch and legend, and some lines more
LINE_STYLE = """
QPushButton { text-align: left; background: transparent; border: none; padding: 2px }
QPushButton:focus { text-decoration: underline }
"""


class Fold(PushButton):
    """A line of text that says whether what belongs to it is folded away; it is at first.

    Parameters
    ----------
    name : str
        Name of the line, which is a button.
    title : str
        Its text.
    tooltip : str
        What belongs to it.
    """

    def __init__(self, name: str, title: str, tooltip: str = "All figures of the result.") -> None:
        super().__init__(name=name, text=f"{FOLDED} {title}", tooltip=tooltip)
        self._title = title
        self.is_unfolded = False
        self.native.setStyleSheet(LINE_STYLE)

    def unfold(self, shown: bool = True) -> None:
        """Say that it is shown, or folded away."""
        self.is_unfolded = shown
        self.text = f"{UNFOLDED if shown else FOLDED} {self._title}"


class Section(Container):
    """Fields below a line of text that folds them away.

    Parameters
    ----------
    name : str
        Name of the line, which is a button.
    title : str
        Its text.
    content : Container
        The fields; folded away at first.
    tooltip : str
        What is in it.

    Attributes
    ----------
    unfolded : psygnal.Signal
        Its fields are shown from now on.
    """

    unfolded = Signal()

    def __init__(self, name: str, title: str, content: Container, tooltip: str) -> None:
        self._content = content
        self._line = Fold(name, title, tooltip)
        super().__init__(widgets=[self._line, content], labels=False)
        self.margins = (0, 0, 0, 0)
        content.visible = False
        self._line.changed.connect(lambda: self.unfold(not self.is_unfolded))

    @property
    def is_unfolded(self) -> bool:
        """Whether its fields are shown."""
        return self._line.is_unfolded

    def unfold(self, shown: bool = True) -> None:
        """Show the fields, or fold them away."""
        self._content.visible = shown
        self._line.unfold(shown)
        if shown:
            self.unfolded.emit()


def button_row(*buttons: tuple[str, str, str]) -> Container:
    """Return buttons beside each other, of a name, a text and a tooltip each.

    They may be as narrow as their text, so that three of them fit the narrowest dock.
    """
    row = Container(
        layout="horizontal",
        labels=False,
        widgets=[PushButton(name=name, text=text, tooltip=tip) for name, text, tip in buttons],
    )
    row.margins = (0, 0, 0, 0)
    row.native.layout().setSpacing(3)
    for button in row:
        button.native.setStyleSheet("padding: 3px 2px")
        button.native.setMinimumWidth(20)
    return row


class Scroll(QScrollArea):
    """A scroll area whose content is as wide as it, and that shows what is asked for.

    Parameters
    ----------
    content : QWidget
        What is in it.
    """

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setWidget(content)
        self._laid_out = QTimer(self)
        self._laid_out.setSingleShot(True)
        self._laid_out.timeout.connect(self._scroll_to_part)
        self._part: QWidget | None = None
        self._place = (0, 0, 0)

    def reveal(self, part: QWidget) -> None:
        """Scroll to a part of the content, once that is laid out: to its head, and as it fits."""
        self._part, self._place = part, (0, 0, 0)
        self._laid_out.start(0)

    def _scroll_to_part(self) -> None:
        if self._part is None:
            return
        bar, room = self.verticalScrollBar(), self.viewport().height()
        top = self._part.mapTo(self.widget(), self._part.rect().topLeft()).y()
        end = top + self._part.height()
        bar.setValue(min(max(bar.value(), min(top, end - room)), top))
        if self._place != (top, end, bar.maximum()):  # Qt lays out in steps: look once more
            self._place = (top, end, bar.maximum())
            self._laid_out.start(LAYING_OUT)


class FittingScroll(Scroll):
    """A scroll area that is as high as its content where there is room.

    Parameters
    ----------
    content : Container
        The fields in it.
    """

    def __init__(self, content: Container) -> None:
        super().__init__(content.native)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.setMinimumHeight(LEAST_HEIGHT)

    def sizeHint(self) -> QSize:
        """Ask for what the content needs, where Qt's own asks for less."""
        return self.widget().sizeHint() + QSize(self._bar(), 0)

    def minimumSizeHint(self) -> QSize:
        """Keep all of the width, beside the bar: there is no horizontal one.

        What is folded away counts, or the dock would widen, and the canvas jump, when it unfolds.
        """
        content = self.widget()
        parts = [part for part in content.findChildren(QWidget) if part.layout() is not None]
        rows = [content, *(part for part in parts if not part.isWindow())]
        widest = max(row.minimumSizeHint().width() for row in rows)
        return QSize(widest + self._bar(), LEAST_HEIGHT)

    def _bar(self) -> int:
        """Return the width of bar and frame, px."""
        frame = self.contentsMargins()  # a style sheet may draw one all the same
        return self.verticalScrollBar().sizeHint().width() + frame.left() + frame.right()

    def eventFilter(self, content: QObject, event: QEvent) -> bool:
        """Follow the content when something in it is shown or hidden."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(content, event)


class TextScroll(Scroll):
    """A scroll area for text: it takes the room that is left, whatever the text says.

    Parameters
    ----------
    content : QWidget
        The text: a label, or several below each other.
    """

    def __init__(self, content: QWidget) -> None:
        super().__init__(content)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(LEAST_TEXT)

    def sizeHint(self) -> QSize:
        """Ask for the same height always, or what surrounds the text would jump."""
        return QSize(0, USUAL_TEXT)


class Docking(QObject):
    """Tells when a widget is taken out of the window, and when it is put into it again.

    napari leaves it without a parent when its dock is closed, and nothing else says so.

    Parameters
    ----------
    widget : QWidget
        What is docked.
    undocked, docked : callable
        Called then.
    """

    def __init__(
        self,
        widget: QWidget,
        undocked: Callable[[], object],
        docked: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self._undocked, self._docked = undocked, docked
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look at who the widget's parent is."""
        if event.type() == QEvent.Type.ParentChange:
            if watched.parent() is None:
                self._undocked()
            elif self._docked is not None:
                self._docked()
        return False


def actions() -> Container:
    """Return the buttons that start and stop."""
    run = PushButton(
        name="run",
        text="Run",
        tooltip="Register if asked for, and add an NCC layer. High similarity is no proof that a "
        "registration is right: look at the registered layer too.",
    )
    register = PushButton(
        name="register",
        text="Register",
        tooltip="Only register: add the moving image on the fixed one's pixels, without a map.",
    )
    cancel = PushButton(
        name="cancel",
        text="Cancel",
        tooltip="Stop at once; finished tiles stay or go as chosen under More settings.",
    )
    guide = PushButton(name="guide", text="?", tooltip="Open the guide: what to choose and why.")
    guide.native.setFixedWidth(28)
    row = Container(layout="horizontal", labels=False, widgets=[run, register, cancel, guide])
    row.margins = (0, 0, 0, 0)
    return row


def progress_bar() -> ProgressBar:
    """Return the bar, which keeps its room when there is nothing to show."""
    progress = ProgressBar(name="progress")
    policy = progress.native.sizePolicy()
    policy.setRetainSizeWhenHidden(True)  # or everything below would jump
    progress.native.setSizePolicy(policy)
    return progress


def map_actions() -> Container:
    """Return the button for a closer look at a map."""
    inspect = PushButton(
        name="inspect",
        text="Inspect",
        tooltip="Open the inspector: the windows behind a pixel, the distribution, tables, "
        "and the recipe of the map.",
    )
    save = PushButton(
        name="save_map",
        text="Save map",
        tooltip="Write the map with all of its bands, its place, its transform and its recipe, as "
        "OME-Zarr or OME-TIFF.",
    )
    load = PushButton(
        name="load_map",
        text="Load map",
        tooltip="Open a saved map with all that belongs to it; or drop it here.",
    )
    row = Container(layout="horizontal", labels=False, widgets=[inspect, save, load])
    row.margins = (0, 0, 0, 0)
    return row


def reports(answer: Container, details: PushButton) -> Container:
    """Return what was found, in short and in full, what will be done, and what a preview shows."""
    labels = [Label(name=name) for name in ("plan", "message", "preview_note")]
    for label in labels:
        wrap(label.native)
    column = Container(name="reports", widgets=[answer, details, *labels], labels=False)
    column.native.layout().setSpacing(SPACING)
    column.margins = (0, 0, 0, 0)
    column.native.layout().addStretch(1)
    return column


def wrap(label: QLabel) -> None:
    """Let a text fill the width that there is, and never ask for more.

    Nor for more height than it has at that width: with the policy `Minimum` it asked for that of
    a width of its own, and a scroll bar came where nothing was hidden.
    """
    label.setWordWrap(True)
    policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    policy.setHeightForWidth(True)
    label.setSizePolicy(policy)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)


def tabify_onto(name: str, newcomer: QWidget) -> None:
    """Put a widget's dock behind the same tabs as another one, and in front.

    On a laptop, two docks on top of each other leave neither enough height. Nothing is done
    where the other is closed, or one of the two floats.

    Parameters
    ----------
    name : str
        The object name of the other widget.
    newcomer : QWidget
        The widget that was docked just now.
    """
    own = dock_of(newcomer)
    if own is None:
        return
    window = own.parent()
    other = dock_of(window.findChild(QWidget, name))
    if other is None or other.isHidden() or other.isFloating() or own.isFloating():
        return
    if own not in window.tabifiedDockWidgets(other):
        window.tabifyDockWidget(other, own)
        own.show()
        own.raise_()


def dock_of(widget: QWidget | None) -> QDockWidget | None:
    """Return the dock that a widget is in, if any."""
    while widget is not None and not isinstance(widget, QDockWidget):
        widget = widget.parentWidget()
    return widget


def align_labels(fields: Container) -> None:
    """Let all fields begin at the same x, which magicgui's own widths do not achieve here.

    To be called again when the window has given the labels its font.
    """
    for label in fields.native.findChildren(QLabel):
        label.ensurePolished()  # also what is folded away gets its font
    labels = [row for row in fields.native.findChildren(QLabel) if row.text()]
    width = 4 + max(label.fontMetrics().horizontalAdvance(label.text()) for label in labels)
    if all(label.minimumWidth() == width for label in labels):
        return
    for label in labels:
        label.setFixedWidth(width)
    for layout in fields.native.findChildren(QLayout):
        layout.invalidate()  # Qt does not tell those around what is hidden
    fields.native.updateGeometry()


def show_guide(parent: QWidget) -> QDialog:
    """Open the guide in a window of its own."""
    dialog = QDialog(parent)
    dialog.setWindowTitle("Local NCC: guide")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    text = QTextBrowser(dialog)
    text.setOpenExternalLinks(True)
    text.setMarkdown(files("napari_local_ncc").joinpath("guide.md").read_text(encoding="utf-8"))
    layout = QVBoxLayout(dialog)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(text)
    dialog.resize(640, 600)
    dialog.show()
    return dialog

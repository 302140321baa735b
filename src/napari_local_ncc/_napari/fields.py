"""The fields of the dock widget: what can be chosen, and why one would."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    Label,
    LineEdit,
    ProgressBar,
    PushButton,
    SpinBox,
    Widget,
)
from napari import current_viewer
from qtpy.QtWidgets import QComboBox, QLabel

from napari_local_ncc._napari.layers import image_layers, mask_layers
from napari_local_ncc.registration import MODELS, NEED_SIMPLEITK

if TYPE_CHECKING:
    from napari.layers import Image, Layer


def inputs() -> Container:
    """Return what the user chooses."""
    fields = [
        ComboBox(
            name="fixed",
            choices=_image_choices,
            tooltip="The reference: the result lies on its pixels.",
        ),
        ComboBox(
            name="moving",
            choices=_image_choices,
            tooltip="The image to compare with it, brought onto its pixels.",
        ),
        ComboBox(
            name="registration",
            choices=[("already aligned", "none"), *((m, m) for m in MODELS if m != "none")],
            tooltip="How to move the moving image onto the fixed one first. Translation is for "
            "images of the same kind of contrast, the others for any. A series is registered "
            "frame by frame.",
        ),
        ComboBox(
            name="window",
            choices=[("2-D, plane by plane", 2), ("3-D", 3)],
            tooltip="2-D takes every plane or frame on its own; 3-D compares volumes.",
        ),
        SpinBox(
            name="radius",
            label="radius (px)",
            value=4,
            min=1,
            max=10_000,
            tooltip="The window is 2 x radius + 1 pixels wide. Small shows detail, "
            "large is less noisy.",
        ),
        ComboBox(
            name="weights",
            choices=["box", "gaussian"],
            tooltip="Box: all pixels of a window count the same. "
            "Gaussian: the middle counts more (sigma = radius / 3).",
        ),
        ComboBox(
            name="mask",
            choices=_mask_choices,
            nullable=True,
            tooltip="Labels, shapes, or an image that is > 0 where samples may be used.",
        ),
        ComboBox(
            name="interpolation",
            choices=["linear", "cubic"],
            tooltip="How moving is sampled where its pixels do not coincide with fixed's. "
            "Cubic keeps more of the finest structure.",
        ),
        ComboBox(
            name="unitless",
            label="missing units",
            choices=[("as shown in the viewer", "numbers"), ("same pixels", "pixels")],
            tooltip="One layer has no physical units: are its coordinates the numbers that "
            "the viewer shows, or are its pixels the other layer's pixels?",
        ),
        _pick("fixed_pick", "pick of fixed"),
        _pick("moving_pick", "pick of moving"),
        SpinBox(
            name="level",
            label="resolution level",
            max=20,
            tooltip="Of a multiscale layer: 0 is full resolution, higher is coarser.",
        ),
        CheckBox(
            name="add_registered",
            label="",
            text="add registered moving layer",
            tooltip="Also add the moving image as it was compared.",
        ),
        CheckBox(
            name="preview",
            label="",
            text="live preview",
            tooltip="Show the NCC of what is in view while you turn the knobs, pan and zoom. "
            "Its values are those that Run will give; it never registers by itself.",
        ),
    ]
    for field in fields:
        if isinstance(field, ComboBox):  # a long layer name must not widen the dock
            field.native.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            field.native.setMinimumContentsLength(12)
    _grey_out_what_needs_simpleitk(next(f for f in fields if f.name == "registration"))
    return _tight(Container(widgets=fields, labels=True))


def _grey_out_what_needs_simpleitk(registration: ComboBox) -> None:
    if find_spec("SimpleITK") is not None:
        return
    entries = registration.native.model()
    for row in range(entries.rowCount()):
        if entries.item(row).text() in NEED_SIMPLEITK:
            entries.item(row).setEnabled(False)
            entries.item(row).setToolTip("pip install 'napari-local-ncc[registration]'")


def _image_choices(_: ComboBox) -> list[Image]:
    viewer = current_viewer()
    return [] if viewer is None else image_layers(viewer)


def _mask_choices(_: ComboBox) -> list[Layer]:
    viewer = current_viewer()
    return [] if viewer is None else mask_layers(viewer)


def _pick(name: str, label: str) -> LineEdit:
    edit = LineEdit(
        name=name,
        label=label,
        tooltip="Take one channel or time point only: c=0, t=3. Empty: all of them.",
    )
    edit.native.setPlaceholderText("all; or c=0, t=3")
    return edit


def buttons() -> Container:
    """Return Run and Cancel."""
    run = PushButton(
        name="run",
        text="Run",
        tooltip="Add an NCC layer. High similarity is no proof that a registration is right.",
    )
    cancel = PushButton(name="cancel", text="Cancel", tooltip="Stop; nothing is added.")
    return _tight(Container(layout="horizontal", labels=False, widgets=[run, cancel]))


def reports() -> list[Widget]:
    """Return the progress bar, what will be done, what was done, and what a preview shows."""
    progress = ProgressBar(name="progress")
    policy = progress.native.sizePolicy()
    policy.setRetainSizeWhenHidden(True)  # or everything below would jump
    progress.native.setSizePolicy(policy)
    return [progress, _wrapped("plan"), _wrapped("message"), _wrapped("preview_note")]


def align_labels(choices: Container) -> None:
    """Let all fields begin at the same x, which magicgui's own widths do not achieve here.

    To be called again when the window has given the labels its font.
    """
    labels = [row for row in choices.native.findChildren(QLabel) if row.text()]
    widest = max(label.fontMetrics().horizontalAdvance(label.text()) for label in labels)
    for label in labels:
        label.setFixedWidth(widest + 4)


def _wrapped(name: str) -> Label:
    label = Label(name=name)
    label.native.setWordWrap(True)
    return label


def _tight(container: Container) -> Container:
    container.margins = (0, 0, 0, 0)
    return container

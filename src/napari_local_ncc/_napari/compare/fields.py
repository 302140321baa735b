"""The fields of the dock widget: what can be chosen, and why one would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FloatSpinBox,
    LineEdit,
    SpinBox,
    Widget,
)
from qtpy.QtWidgets import QComboBox

from napari_local_ncc._napari.layers.convert import image_layers, mask_layers
from napari_local_ncc.geometry.kind import UNREGISTERED
from napari_local_ncc.maps.bands import KINDS
from napari_local_ncc.registration.engines import ENGINES, add_installed_engines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.viewer import Viewer

EXISTING = "existing"


def main_fields(viewer: Viewer) -> Container:
    """Return what every user chooses, of the layers of a viewer."""
    add_installed_engines()
    fields = [
        ComboBox(
            name="fixed",
            choices=lambda _: image_layers(viewer),
            tooltip="The reference: the result lies on its pixels.",
        ),
        ComboBox(
            name="moving",
            choices=lambda _: image_layers(viewer),
            tooltip="The image to compare with it, brought onto its pixels.",
        ),
        ComboBox(
            name="registration",
            choices=[
                ("already aligned", UNREGISTERED),
                *((model, model) for model in ENGINES),
                ("existing transform", EXISTING),
            ],
            tooltip="How to move the moving image onto the fixed one first: the simplest that can "
            "explain how they differ. Translation is for images of the same kind of contrast, "
            "the others for any. High similarity afterwards is no proof that it is right.",
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
        _also("also", "also", ("confidence", "classes")),
        _also("also_shift", " ", ("shift",)),
        SpinBox(
            name="search",
            label="search (px)",
            value=3,
            min=1,
            max=50,
            tooltip="How far to look for the residual shift, in pixels of fixed; a longer one is "
            "not seen. The time grows with (2 x search + 1) to the number of axes of the window.",
        ),
        ComboBox(
            name="mask",
            choices=lambda _: mask_layers(viewer),
            nullable=True,
            tooltip="Labels, shapes, or an image that is > 0 where samples may be used; "
            "mask out what must not speak for the rest.",
        ),
        ComboBox(
            name="unitless",
            label="missing units",
            choices=[("as displayed", "numbers"), ("same pixels", "pixels")],
            tooltip="One layer has no physical units: are its coordinates the numbers that "
            "the viewer shows, or are its pixels the other layer's pixels?",
        ),
        _pick("fixed_pick", "pick of fixed"),
        _pick("moving_pick", "pick of moving"),
        SpinBox(
            name="level",
            label="level",
            max=20,
            tooltip="Of a multiscale layer: 0 is full resolution, higher is coarser and faster.",
        ),
        CheckBox(
            name="preview",
            label="",
            text="live preview",
            tooltip="Show the NCC of what is in view while you turn the knobs, pan and zoom. "
            "Its values are those that Run will give; it never registers by itself.",
        ),
    ]
    _grey_out_what_is_not_installed(next(f for f in fields if f.name == "registration"))
    return field_group(fields)


def more_fields() -> Container:
    """Return what some users choose sometimes."""
    return field_group(
        [
            ComboBox(
                name="weights",
                choices=["box", "gaussian"],
                tooltip="Box: all pixels of a window count the same. "
                "Gaussian: the middle counts more (sigma = radius / 3).",
            ),
            LineEdit(
                name="exact_radius",
                label="exact radius",
                tooltip="Instead of pixels, a length such as 0.5 um, or one radius per axis such "
                "as 0, 4, 4; empty: the radius above.",
            ),
            CheckBox(
                name="mirror",
                label="",
                text="allow a mirror image",
                tooltip="Rigid, similarity and affine may mirror moving where only that fits, as a "
                "slice laid on its back; otherwise it is only said. A translation never does.",
            ),
            CheckBox(
                name="refine",
                label="",
                text="refine by the residual shift",
                tooltip="Then let the shift that the map shows bend the transform, until "
                "the map gets no better. Takes the time of some maps, and the memory of all bands. "
                "It makes images more alike where they show different things, too.",
            ),
            _also("more_bands", "more bands", ("shift_error",)),  # two in a row widen the dock
            _also("more_bands_2", " ", ("ceiling",)),
            _also("more_bands_3", " ", ("fit",)),
            ComboBox(
                name="interpolation",
                choices=["linear", "cubic"],
                tooltip="How moving is sampled where its pixels do not coincide with fixed's. "
                "Cubic keeps more of the finest structure, and takes longer.",
            ),
            LineEdit(
                name="min_std",
                label="min. contrast",
                value="0",
                tooltip="A window whose standard deviation is at or below this (intensity units) "
                "is undefined; raise it to the camera's noise to blank the background.",
            ),
            FloatSpinBox(
                name="min_valid",
                label="min. valid",
                value=0.5,
                min=0,
                max=1,
                step=0.1,
                tooltip="A window with a smaller share of valid samples is undefined; lower it to "
                "see more beside masks and borders, raise it to trust more.",
            ),
            ComboBox(
                name="on_cancel",
                label="on cancel",
                choices=[("keep finished tiles", "keep"), ("remove the layer", "remove")],
                tooltip="What Cancel does with what is finished; kept tiles are named partial.",
            ),
            ComboBox(
                name="alternative",
                label="related means",
                choices=[("a high NCC", "greater"), ("a high |NCC|", "two-sided")],
                tooltip="A high |NCC| counts inverted contrast as related, too: confidence, the "
                "search and the classes then take NCC without its sign.",
            ),
            CheckBox(
                name="per_frame",
                label="",
                text="judge every frame by itself",
                tooltip="Confidence then measures every frame of a series against unrelated "
                "structure of its own, rather than of all frames. Takes longer.",
            ),
            CheckBox(
                name="add_registered",
                label="",
                text="add registered moving layer",
                tooltip="Also add the moving image as it was compared: flicker it with fixed to "
                "judge the registration by eye.",
            ),
            CheckBox(
                name="keep",
                label="",
                text="keep earlier results",
                tooltip="Add a new layer at every run, to compare settings; otherwise a run of "
                "the same pair updates its layer in place.",
            ),
        ]
    )


def _also(name: str, label: str, kinds: Iterable[str]) -> Container:
    """Return what to compute beside the NCC, side by side."""
    boxes = [
        CheckBox(name=kind, text=KINDS[kind].label, tooltip=KINDS[kind].hint) for kind in kinds
    ]
    return _row(name, label, boxes)


def _row(name: str, label: str, fields: list[Widget]) -> Container:
    row = Container(name=name, label=label, layout="horizontal", labels=False, widgets=fields)
    row.margins = (0, 0, 0, 0)
    row.native.layout().setSpacing(4)  # or the row would widen the dock
    return row


def field_group(fields: list[Widget]) -> Container:
    """Return fields below each other, with their labels."""
    for field in fields:
        if isinstance(field, ComboBox):  # a long layer name must not widen the dock
            field.native.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            field.native.setMinimumContentsLength(6)
    group = Container(widgets=fields, labels=True)
    group.margins = (0, 0, 0, 0)
    return group


def _grey_out_what_is_not_installed(registration: ComboBox) -> None:
    entries = registration.native.model()
    for row in range(entries.rowCount()):
        engine = ENGINES.get(entries.item(row).text())
        if engine is not None and engine.missing:
            entries.item(row).setEnabled(False)
            entries.item(row).setToolTip(engine.missing)


def _pick(name: str, label: str) -> LineEdit:
    edit = LineEdit(
        name=name,
        label=label,
        tooltip="Take one channel or time point only: c=0, t=3. Empty: all of them.",
    )
    edit.native.setPlaceholderText("all; or c=0, t=3")
    return edit

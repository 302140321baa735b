"""Where a registration begins, if a person says: by moving the layer, or by landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox, Container, PushButton
from psygnal import Signal

from napari_local_ncc._napari.compare.fields import field_group
from napari_local_ncc._napari.compare.layout import button_row
from napari_local_ncc._napari.layers.landmarks import (
    add_landmark_layer,
    landmarks_of,
    point_layers,
)
from napari_local_ncc._napari.layers.manual_move import ManualMove
from napari_local_ncc.geometry.kind import UNREGISTERED, Kind
from napari_local_ncc.progress import MENDABLE
from napari_local_ncc.registration.placement import fit_landmarks, placement_transform
from napari_local_ncc.reports.describe import describe_registration

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_local_ncc._napari.compare.read_fields import Choices
    from napari_local_ncc._napari.compare.transforms_section import Transforms
    from napari_local_ncc.transforms.registration import Registration

BY_HAND = "by hand"
MOVE, DONE = "Move", "Done"


class Placement(Container):
    """Fields and buttons that say where a registration begins.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the layers are.
    choices : Choices
        What is compared.
    transforms : Transforms
        Keeps what is found here.

    Attributes
    ----------
    told : psygnal.Signal
        What to tell the user.
    failed : psygnal.Signal
        What the user can mend.
    placed : psygnal.Signal
        A transform was placed, of this kind, and is chosen as the start.
    """

    told = Signal(str)
    failed = Signal(Exception)
    placed = Signal(Kind)

    def __init__(self, viewer: Viewer, choices: Choices, transforms: Transforms) -> None:
        self._viewer, self._choices, self._transforms = viewer, choices, transforms
        self._hand = ManualMove(viewer)
        self._start = ComboBox(
            name="start",
            label="start at",
            choices=lambda _: [("search for it", ""), *((n, n) for n in transforms.names())],
            tooltip="Where a registration begins: where its search finds a start, or at a "
            "transform that is there. Only what is near a given start is found.",
        )
        super().__init__(
            widgets=[field_group([self._start]), _hand_row(), *_landmark_fields(viewer)],
            labels=False,
        )
        self.margins = (0, 0, 0, 0)
        self.native.layout().setSpacing(3)
        self._press = {
            "move": self._move,
            "use_placement": self._use,
            "put_back": self._put_back,
            "new_landmarks": self._add_landmarks,
            "fit_landmarks": self._fit,
        }
        self._move_button, *_ = self._connect()
        transforms.kept.connect(self._start.reset_choices)

    def plan(self, model: str) -> str:
        """Say where a registration by a model begins, where that is not searched for."""
        name = self._start.value
        return f"; the {model} begins at '{name}'" if name and model != UNREGISTERED else ""

    def _connect(self) -> list[PushButton]:
        found = []
        for row in self:
            for button in row if isinstance(row, Container) else ():
                if button.name in self._press:
                    button.changed.connect(self._guarded(self._press[button.name]))
                    found.append(button)
        return found

    def _guarded(self, action: Callable[[], str]) -> Callable[[object], None]:
        """Return a slot that tells what an action says, or what the user can mend."""

        def act(_: object) -> None:
            try:
                text = action()
            except MENDABLE as error:
                self.failed.emit(error)
            else:
                self.told.emit(text)
            self._move_button.text = DONE if self._hand.is_going_on else MOVE

        return act

    def _moving(self) -> Image:
        _, moving = self._choices.layers()
        return moving

    def _move(self) -> str:
        moving = self._moving()
        if self._hand.is_going_on and (moved := self._hand.end()):  # maybe of an earlier pair
            return (
                f"{moved.name} lies as you left it. Run compares it there; Use as start begins "
                "a registration there; Put back undoes it."
            )
        self._hand.begin(moving)
        return (
            f"Drag {moving.name} onto the fixed image; the handle above its frame turns it (zoom "
            "out to see it), the corners scale it. Then press Use as start."
        )

    def _use(self) -> str:
        moving = self._moving()
        fixed, after = self._choices.images()
        if not self._hand.was_moved(moving):
            raise ValueError(f"{moving.name} was not moved: press {MOVE} and drag it first")
        with self._hand.as_before(moving):
            _, before = self._choices.images()
            found = placement_transform(fixed, before, after, unitless=self._choices.unitless())
        return self._keep(BY_HAND, found, f"By hand: {describe_registration(found)}")

    def _put_back(self) -> str:
        moving = self._moving()
        layer = self._hand.moved_last(moving)  # maybe of an earlier pair
        if layer is None:
            return f"{moving.name} was not moved."
        self._hand.put_back(layer)
        return f"{layer.name} lies where it lay."

    def _add_landmarks(self) -> str:
        fields = self._fields_by_name()
        for role, layer in zip(("moving", "fixed"), self._choices.layers()[::-1], strict=True):
            points = add_landmark_layer(self._viewer, layer, role)
            self.reset_choices()
            fields[f"{role}_points"].value = points
        return (
            "Click structures of fixed (hide what covers it by its eye in the layer list), then "
            "choose the layer 'moving landmarks' and click the same ones in moving, in the same "
            "order. Then press Fit landmarks."
        )

    def _fit(self) -> str:
        fields = self._fields_by_name()
        layers = [fields[f"{role}_points"].value for role in ("fixed", "moving")]
        if None in layers:
            raise ValueError(
                "choose a Points layer with landmarks of fixed, and one with those of moving; "
                "New landmarks adds both"
            )
        images = self._choices.images()
        points = [
            landmarks_of(self._viewer, layer, image)
            for layer, image in zip(layers, self._choices.layers(), strict=True)
        ]
        if len(points[0]) != len(points[1]):
            counts = " but ".join(
                f"{layer.name} holds {len(p)}" for layer, p in zip(layers, points, strict=True)
            )
            raise ValueError(f"{counts} points; place as many in both, in the same order")
        model = fields["landmark_model"].value
        found = fit_landmarks(*images, *points, model=model, unitless=self._choices.unitless())
        return self._keep(f"landmarks: {model}", found.registration, f"Landmarks: {found}")

    def _keep(self, name: str, found: Registration, text: str) -> str:
        """Keep a transform and begin there; say so."""
        self._transforms.keep(name, found)
        self._start.reset_choices()
        self._start.value = name
        self.placed.emit(Kind(found.model))
        if self._choices.model() == UNREGISTERED:
            return f"{text}. Run applies it as it is; choose a model to register from there on."
        return (
            f"{text}. Run begins there; to apply it as it is, choose 'existing transform' under "
            "registration."
        )

    def _fields_by_name(self) -> dict[str, ComboBox]:
        return {field.name: field for group in self for field in group}


def _hand_row() -> Container:
    return button_row(
        ("move", MOVE, "Drag and turn the moving layer on the canvas, by napari's handles."),
        (
            "use_placement",
            "Use as start",
            "Make a transform of how you moved it, put the layer back, and begin there.",
        ),
        (
            "put_back",
            "Put back",
            "Lay the moving layer, or the one that was moved last, where it lay before.",
        ),
    )


def _landmark_fields(viewer: Viewer) -> list[Container]:
    """Return where landmarks are chosen, and the buttons for them."""
    roles = [
        ComboBox(
            name=f"{role}_points",
            label=f"{role} points",
            choices=lambda _: point_layers(viewer),
            nullable=True,
            tooltip=f"A Points layer with landmarks of the {role} image: the same structures in "
            "both, in the same order.",
        )
        for role in ("fixed", "moving")
    ]
    model = ComboBox(
        name="landmark_model",
        label="fit by",
        choices=[str(kind) for kind in Kind if kind is not Kind.FLOW],
        value=str(Kind.RIGID),
        tooltip="What the transform through the landmarks may do. In the plane, translation takes "
        "1 pair, rigid and similarity 2, affine 3; more show by how much each misses.",
    )
    buttons = button_row(
        ("new_landmarks", "New landmarks", "Add an empty Points layer for each of the two images."),
        (
            "fit_landmarks",
            "Fit landmarks",
            "Find the transform through the pairs, say by how much each misses, and begin there.",
        ),
    )
    return [field_group([*roles, model]), buttons]

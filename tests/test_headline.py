"""What a comparison says in one sentence, and what it proposes to do next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage

from napari_local_ncc import (
    Comparison,
    Grid,
    NCCParameters,
    SpatialImage,
    confidence_map,
    run_comparison,
)
from napari_local_ncc.maps.map_summary import MapTally
from napari_local_ncc.maps.shift_summary import DisplacedSummary
from napari_local_ncc.progress import finish, translate
from napari_local_ncc.reports import Headline, NextStep
from napari_local_ncc.reports.describe import describe_registration
from napari_local_ncc.reports.headline import headline, share_text
from napari_local_ncc.shift.interpret import CLASSES
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.report import FrameReport

GRID = Grid((120, 160), np.diag([0.5, 0.5, 1.0]), ("micrometer", "micrometer"), ("y", "x"))


def tally_of(names, *, shift=(0.0, 0.0), ncc=0.9):
    """A map's numbers, its pixels in the classes of an array of names."""
    labels = np.vectorize(CLASSES.index)(names)
    parameters = NCCParameters(bands=("ncc", "shift", "classes"))
    tally = MapTally(
        ("ncc", "ncc_best", "gain", "shift_y", "shift_x", "classes"),
        displaced=DisplacedSummary(GRID, parameters),
    )
    known = np.where(labels > 0, ncc, np.nan)
    steps = [np.full(labels.shape, step) for step in shift]
    bands = np.stack([known, known, known * 0, *steps, labels]).astype(np.float32)
    tally.add(bands, (slice(0, 120), slice(0, 160)))
    return tally


def areas(**named):
    """The names of classes on the grid: "agrees" but for some places."""
    names = np.full(GRID.shape, "agrees", dtype="U20")
    for name, place in named.items():
        names[place] = name.replace("_", " ")
    return names


def test_shares_places_and_lengths_are_told():
    names = areas(displaced=np.s_[60:108, :40], differs=np.s_[:12, 80:], undefined=np.s_[:, 144:])
    said = headline(None, tally_of(names, shift=(1.0, -2.0)))
    total, displaced, differs = 120 * 144, 48 * 40, 12 * 64
    agrees = total - displaced - differs
    assert said.agreement == (
        f"The images agree in {agrees / total:.0%}".replace("%", " %")
        + f" of the area; {displaced / total:.0%}".replace("%", " %")
        + f" are displaced (median {0.5 * np.hypot(1, 2):.2g} µm, mostly lower left); "
        + f"{differs / total:.0%}".replace("%", " %")
        + " really differ. 10 % of the image cannot be compared."
    )


def test_what_a_mask_leaves_out_is_not_said_to_be_beyond_comparison(rng):
    image, mask = rng.random((60, 60)), np.zeros((60, 60), bool)
    mask[:30, :30] = True
    result = confidence_map(image, image, mask=mask)
    tally = MapTally.of(result)
    tally.add(np.asarray(result.bands), (slice(0, 60), slice(0, 60)))
    said = headline(None, tally).agreement
    assert said.endswith(" of the image is masked, or cannot be compared.")


def test_each_next_step_has_its_reason():
    def step(names, shift=(1.0, 0.0), registration=None):
        return headline(registration, tally_of(names, shift=shift)).next_step

    here = np.s_[:60]
    assert step(areas()) is None
    assert step(areas(displaced=np.s_[:100])) is NextStep.REGISTER
    assert step(areas(displaced=here), registration=Registration.identity(GRID)) is NextStep.FLOW
    assert step(areas(displaced=np.s_[:20])) is NextStep.FLOW
    assert step(areas(displaced=np.s_[:20]), shift=(3.0, 0.0)) is NextStep.SEARCH
    assert step(areas(beyond_the_search=np.s_[:20])) is NextStep.SEARCH
    assert step(areas(differs=np.s_[:100], displaced=np.s_[110:])) is None
    for each in NextStep:
        assert each.text
        assert "--" in each.advice


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (((0, -7.2), (0, 4.4)), "Registered: moved 7.2 µm down, 4.4 µm left."),
        (((0, 3.0), (0, 0.001)), "Registered: moved 3 µm up."),
        (((0, 0.0), (0, 0.0)), "Registered: no move is needed."),
    ],
)
def test_a_move_is_told_as_it_looks(matrix, words):
    whole = np.eye(3)
    whole[:2, 2] = [step for _, step in matrix]
    said = headline(Registration.from_matrix(whole, GRID, "translation"))
    assert (said.registration, said.agreement) == (words, "")


def test_the_words_agree_with_the_pixels():
    """What is told as moved down must be moved down, to lie on fixed."""
    fixed = scipy.ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(90, 100)), 1.5)
    moving = np.roll(fixed, (-5, 3), (0, 1))  # it lies higher and to the right
    run = run_comparison(Comparison(fixed, moving), model="translation")
    result = finish(translate(run, lambda _: ()))
    said = headline(result.registration, result.tally)
    assert said.registration == "Registered: moved 5 px down, 3 px left."


def test_a_turn_is_told():
    angle = np.radians(3)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    said = headline(Registration.from_matrix(turn, GRID, "rigid"))
    assert "turned 3°" in said.registration
    assert "scaled" not in said.registration


def test_a_transform_that_was_refused_is_no_success():
    rng = np.random.default_rng(0)
    unrelated = [scipy.ndimage.gaussian_filter(rng.normal(size=(90, 100)), 1.5) for _ in "ab"]
    result = finish(
        translate(run_comparison(Comparison(*unrelated), model="translation"), lambda _: ())
    )
    said = headline(result.registration, result.tally)
    assert said.registration == "Not registered: no shift is reliably better than none."
    assert said.next_step is None


def test_a_shift_nobody_looked_for_is_proposed():
    fixed = scipy.ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(90, 100)), 1.5)
    comparison = Comparison(fixed, np.roll(fixed, (11, 7), (0, 1)))
    result = finish(translate(run_comparison(comparison, probe=True), lambda _: ()))
    assert result.registration is None
    assert headline(None, result.tally, found=result.found).next_step is NextStep.REGISTER
    alike = finish(translate(run_comparison(Comparison(fixed, fixed), probe=True), lambda _: ()))
    assert alike.found is None


def test_a_map_without_classes_tells_what_it_has():
    tally = MapTally(("ncc",))
    tally.add(np.full((1, 10, 10), 0.5, np.float32))
    assert "median NCC is 0.50" in headline(None, tally).agreement
    nothing = MapTally(("ncc",))
    nothing.add(np.full((1, 10, 10), np.nan, np.float32))
    assert str(headline(None, nothing)).startswith("Nothing can be compared")


def test_shares_of_a_volume_are_called_so():
    volume = np.random.default_rng(0).normal(size=(5, 20, 20))
    images = [SpatialImage.from_array(volume, axis_labels=("z", "y", "x")) for _ in "ab"]
    result = finish(translate(run_comparison(Comparison(*images)), lambda _: ()))
    assert "half of the volume from" in headline(None, result.tally).agreement


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.001, "under 1 %"), (0.5, "50 %"), (0.999, "over 99 %"), (1.0, "100 %")],
)
def test_a_share_is_never_all_or_nothing_where_it_is_not(share, text):
    assert share_text(share) == text


def test_a_headline_is_one_line():
    assert str(Headline("a.", "b.")) == "a. b."
    assert str(Headline("", "b.")) == "b."


def test_where_does_not_count_what_is_masked():
    """Displaced pixels fill the left half because the right is undefined: that is no place."""
    names = areas(displaced=np.s_[:, :30], undefined=np.s_[:, 60:])
    names[:, :30][::2] = "agrees"
    displaced = tally_of(names, shift=(1.0, 0.0)).displaced
    assert "left" not in displaced.where


def about_the_middle(linear, grid):
    """A transform that leaves the middle of a grid where it is."""
    middle = grid.space().corners().mean(axis=0)
    matrix = np.eye(len(middle) + 1)
    matrix[:-1, :-1] = linear
    matrix[:-1, -1] = middle - linear @ middle
    return matrix


def turn(degrees):
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize(
    ("linear", "words"),
    [
        (np.diag([-1.0, -1.0]), "turned 180°"),  # its sine is exactly 0
        (turn(-90), "turned 90°"),
        (np.diag([-1.0, 1.0]), "mirrored along y"),
        (turn(30) @ np.diag([1.0, -1.0]), "mirrored along x, turned 30°"),
        (np.diag([1.25, 0.8]), "stretched by 0.800 to 1.250"),  # of a mean scale of 1
        (2 * turn(3), "turned 3°, scaled by 0.500"),
        ([[1.0, 1e-4], [0.0, 1.0]], "moved by up to 0.008 px at the corners"),
        (np.eye(2), "no move is needed"),
    ],
)
def test_what_moves_no_middle_is_told_too(linear, words):
    found = Registration.from_matrix(about_the_middle(np.array(linear), GRID), GRID)
    assert headline(found).registration == f"Registered: {words}."
    series = Grid((2, *GRID.shape), axis_labels=("t", "y", "x"))
    matrices = np.stack([np.eye(3), about_the_middle(np.array(linear), series)])
    said = headline(Registration.from_matrix(matrices, series)).registration
    assert said == f"Registered: {words}.".replace("turned ", "turned by up to ").replace(
        "scaled by 0.500", "scaled by 0.500 to 1.000"
    )


@pytest.mark.parametrize("unit", ["meter", "millimeter", "micrometer", "nanometer"])
def test_a_move_is_told_in_any_unit(unit):
    """What is less than is told is so in pixels, whatever a pixel is long."""
    side = {"meter": 3e-7, "millimeter": 3e-4, "micrometer": 0.3, "nanometer": 300.0}[unit]
    grid = Grid((50, 60), np.diag([side, side, 1.0]), (unit, unit), ("y", "x"))
    matrix = np.eye(3)
    matrix[0, 2], matrix[1, 2] = 2 * side, 0.004 * side
    found = Registration.from_matrix(matrix, grid, "translation")
    told, direction = headline(found).registration.split("moved ")[1].rsplit(" ", 1)
    assert (float(told.split()[0]), direction) == (pytest.approx(2 * side), "up.")
    said = describe_registration(found).split("shift y ")[1]
    assert float(said.split()[0]) == pytest.approx(2 * side, rel=0.01)


def evidence(*, applied, note=""):
    return FrameReport("ncc", 0.5, applied=applied, note=note, error95_px=90.0)


def placed(matrix, *reports, model="translation"):
    grid = Grid((len(reports), *GRID.shape), axis_labels=("t", "y", "x")) if reports[1:] else GRID
    field = np.zeros((2, *GRID.shape), np.float32) if model == "flow" else None
    matrices = np.stack([matrix] * len(reports)) if reports[1:] else matrix
    found = Registration.from_matrix(matrices, grid, model, displacement=field, reports=reports)
    known = np.full(grid.series_shape, 0.9)
    return replace(found, ncc_before=known, ncc_after=known)


def test_what_was_refused_says_where_it_stays():
    shift = np.eye(3)
    shift[0, 2] = 5.0
    found = placed(shift, evidence(applied=False, note="chance (0.8 times); not sure"))
    said = headline(found).registration
    assert said == "Not registered: chance; not sure. As it began: moved 5 µm up."
    assert "expected within" not in describe_registration(found)
    idle = headline(placed(shift, evidence(applied=False), model="flow")).registration
    assert idle.startswith("Registered: moved 5 µm up; a flow gains nothing")
    kept = headline(placed(shift, evidence(applied=True, note="chance (0.8 times)"))).registration
    assert kept == "Registered: moved 5 µm up. Doubtful: chance."


def test_of_a_series_it_is_told_how_many_frames_are_registered():
    shift = np.eye(3)
    shift[0, 2] = 5.0
    found = placed(shift, evidence(applied=True), evidence(applied=False, note="chance (0.8)"))
    assert headline(found).registration == (
        "Registered 1 of 2 frames: moved by up to 5 px along y. "
        "Doubtful: frames that stay as they began, since chance: 1."
    )
    given = Registration.from_matrix(found.matrix, found.grid)  # by another program
    assert headline(given).registration == "Registered: moved by up to 5 px along y."
    assert "could not be registered" not in describe_registration(given)


def test_inverted_contrast_is_told_where_one_sign_counts():
    names = areas(differs=np.s_[:])
    assert (
        "Contrast is inverted: the median NCC is -0.90."
        in headline(None, tally_of(names, ncc=-0.9)).agreement
    )
    assert "inverted" not in headline(None, tally_of(names, ncc=-0.1)).agreement


def test_a_displaced_pixel_without_a_shift_says_nothing_of_a_common_one():
    """With an error, a shift is not always given: the rest still has one in common."""
    names = areas(displaced=np.s_[:100])
    tally = tally_of(names, shift=(1.0, 0.0))
    bands = np.full((6, 120, 160), np.nan, np.float32)
    bands[:3] = 0.9
    bands[5] = CLASSES.index("displaced")
    tally.add(bands, (slice(0, 120), slice(0, 160)))
    assert tally.displaced.is_common
    assert tally.displaced.length == pytest.approx(0.5)

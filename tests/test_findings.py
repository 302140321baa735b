"""A map of several bands in a few lines: what they say, however it is cut into tiles."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage

from napari_local_ncc import NCCParameters, SpatialImage, confidence_map, register
from napari_local_ncc.confidence import ConfidenceTally, false_discovery_threshold
from napari_local_ncc.maps.map_summary import MapTally
from napari_local_ncc.maps.shift_summary import ShiftSummary
from napari_local_ncc.reports.describe import describe_registration
from napari_local_ncc.reports.headline import headline
from napari_local_ncc.shift.interpret import class_shares, classify

BANDS = ("ncc", "confidence", "shift")


def noise(seed, shape=(160, 170)):
    rng = np.random.default_rng(seed)
    return scipy.ndimage.gaussian_filter(rng.normal(size=shape), 1.5).astype("f4")


@pytest.fixture(scope="module")
def found():
    """The left half agrees, the right half is displaced by 2 px; the lower quarter differs."""
    fixed = noise(0)
    moving = fixed + 0.1 * noise(1)
    moving[:, 85:] = np.roll(moving, 2, axis=1)[:, 85:]
    moving[120:] = noise(2)[120:]
    return confidence_map(fixed, moving, parameters=NCCParameters(bands=BANDS))


def tallied(result, *, tiles=1):
    tally = MapTally(result.band_names, result.calibration)
    for part in np.array_split(result.bands.compute(), tiles, axis=1):
        tally.add(part)
    return tally


def percentages(text):
    return [float(number) / 100 for number in re.findall(r"([\d.]+)%", text)]


def test_lines_say_what_the_bands_say(found):
    lines = tallied(found).lines()
    assert list(lines) == ["ncc", "confidence", "detects", "shift", "classes"]
    ncc, confidence, best, gain, dy, dx = np.asarray(found.bands)
    assert float(lines["ncc"].split()[1][:-1]) == pytest.approx(np.nanmedian(ncc), abs=1e-3)
    limit = false_discovery_threshold(confidence, 0.05)
    shares = [np.nanmean(confidence >= level) for level in (0.95, limit)]
    reached, rate, accepted = percentages(lines["confidence"])
    assert rate == 0.05
    np.testing.assert_allclose([reached, accepted], shares, atol=2e-3)
    coarse, *_, fine = found.calibration.thresholds()
    assert f"needs ncc {fine.ncc:.2f} in the finest" in lines["detects"]
    assert f"{coarse.ncc:.2f} in the coarsest" in lines["detects"]
    assert float(lines["shift"].split()[2]) == pytest.approx(
        np.nanmedian(np.hypot(dy, dx)), abs=0.02
    )
    labels = class_shares(classify(ncc, best, gain))
    names = re.findall(r"([a-z ]+?) [\d.]+%", lines["classes"])
    told = dict(zip(map(str.strip, names), percentages(lines["classes"]), strict=True))
    assert told == pytest.approx(labels, abs=6e-4)
    assert min(labels[name] for name in ("agrees", "displaced", "cannot tell")) > 0.1


def test_all_lengths_of_a_result_are_in_the_unit_of_its_world():
    fixed = SpatialImage.from_array(
        noise(0), axis_labels=("y", "x"), spacing=(0.5, 0.25), units=("um", "um")
    )
    moving = fixed.replace(data=np.roll(np.asarray(fixed.data), (3, 2), axis=(0, 1)))
    result = confidence_map(fixed, moving, parameters=NCCParameters(bands=BANDS, search=4))
    tally = MapTally.of(result)
    for part in np.array_split(result.bands.compute(), 3, axis=1):
        other = MapTally.of(result)
        other.add(part, (slice(0, part.shape[1]), slice(0, part.shape[2])))
        tally.merge(other)
    median = float(re.search(r"median length ([\d.]+) µm", tally.lines()["shift"])[1])
    *_, dy, dx = np.asarray(result.bands)
    assert median == pytest.approx(np.nanmedian(np.hypot(0.5 * dy, 0.25 * dx)), abs=0.01)
    assert tally.numbers()["shift"]["median_length_px"] > 1.9 * median
    rows, columns = np.indices(fixed.grid.shape, float)
    bent = scipy.ndimage.map_coordinates(fixed.data, (rows + 2 * np.sin(columns / 25), columns))
    for model, words in (("translation", "expected within"), ("flow", "flow of up to")):
        found = register(
            fixed, moving if model == "translation" else fixed.replace(data=bent), model=model
        )
        said = describe_registration(found)
        assert words in said
        assert " px" not in re.sub(r"window \d+ px", "", said)
    _, y = re.search(r"(flow of up to) ([\d.]+)", said).groups()
    assert float(y) == pytest.approx(0.5 * found.reach[0], rel=0.01)
    assert found.reach[0] == pytest.approx(2, abs=1)


@pytest.mark.parametrize("bands", [("ncc",), ("ncc", "confidence"), ("ncc", "shift")])
def test_a_negative_is_told_as_its_positive_where_both_signs_count(bands):
    fixed = noise(3)
    moving = fixed + 0.05 * noise(4)
    moving[:, 85:] = np.roll(moving, 2, axis=1)[:, 85:]
    parameters = NCCParameters(bands=bands, alternative="two-sided")
    said = []
    for sign in (1, -1):
        result = confidence_map(fixed, sign * moving, parameters=parameters)
        tally = MapTally.of(result)
        tally.add(result.bands.compute(), tuple(slice(0, n) for n in fixed.shape))
        said.append(str(headline(None, tally)))
        assert sign * tally.summary.upper > 0.4  # the NCC itself keeps its sign
        assert tally.shares.get("agrees", 0.5) == pytest.approx(0.5, abs=0.03)
    assert said[0] == said[1]
    assert ("|NCC|" in said[0]) == ("shift" not in bands)


def lines_of(calibration):
    tally = MapTally(("confidence",), calibration)
    tally.add(np.full((1, 2, 2), 0.5, "f4"))
    return tally.lines()


def test_what_is_detected_is_said_of_all_frames(found):
    (null,) = found.calibration.nulls
    coarser = replace(null, effective_samples=(2.0,), quantiles=null.quantiles[:1])
    calibration = replace(found.calibration, nulls=(coarser, null))
    fine = calibration.thresholds(frame=1)[-1].ncc
    coarse = calibration.thresholds(frame=0)[0].ncc
    assert lines_of(calibration)["detects"] == (
        f"confidence 0.95 needs ncc {fine:.2f} in the finest texture, {coarse:.2f} in the coarsest"
    )
    alone = replace(calibration, nulls=(coarser,))
    assert lines_of(alone)["detects"] == (f"confidence 0.95 needs ncc {coarse:.2f}")


def test_tiles_make_no_difference(found):
    assert tallied(found, tiles=7).lines() == tallied(found).lines()


def test_a_shift_that_few_windows_know_is_said_to_be_one():
    """Those that know theirs may know it by chance; without errors nothing is said of them."""
    gain = np.full((40, 50), 0.2, "f4")
    shift = np.full((2, 40, 50), np.nan, "f4")
    shift[:, 0, :] = 0.5  # 2.5 %
    bands = {"gain": gain, "shift_y": shift[0], "shift_x": shift[1]}
    for more, filled, words in (
        ({}, shift, False),
        ({"peak_ratio": gain}, shift, True),
        ({"peak_ratio": gain}, np.nan_to_num(shift), False),
    ):
        summary, other = ShiftSummary(), ShiftSummary()
        other.add(bands | more | {"shift_y": filled[0], "shift_x": filled[1]})
        summary.merge(other)
        assert ("too small" in summary.lines()["shift"]) == words
    summary = ShiftSummary()
    summary.add(bands | {"peak_ratio": gain, "shift_x": np.full((40, 50), np.nan, "f4")})
    assert "half a pixel" in summary.lines()["shift"]


def test_only_what_was_computed_is_said():
    fixed = noise(0)
    for bands, titles in (
        (("ncc",), ["ncc"]),
        (("ncc", "shift"), ["ncc", "shift", "classes"]),
        (("confidence",), ["confidence", "detects"]),
    ):
        result = confidence_map(fixed, fixed + noise(1), parameters=NCCParameters(bands=bands))
        assert list(tallied(result).lines()) == titles


def test_a_formula_instead_of_a_null_is_said():
    result = confidence_map(
        noise(0, (12, 12)), noise(1, (12, 12)), parameters=NCCParameters(bands=BANDS)
    )
    assert tallied(result).lines()["fallback"] == result.calibration.fallback != ""


def test_a_map_without_a_defined_pixel_is_said():
    flat = np.zeros((40, 40))
    lines = tallied(confidence_map(flat, flat, parameters=NCCParameters(bands=BANDS))).lines()
    assert "no pixel is defined" in lines["ncc"]
    assert lines["confidence"] == "defined nowhere"
    assert "detects" not in lines
    assert "defined nowhere" in lines["shift"]
    assert "undefined 100.0%" in lines["classes"]


def test_what_a_tally_accepts_it_counts():
    """Its threshold falls between two steps, and rounding must not cost one."""
    for share in np.linspace(0.01, 0.9, 60):
        confidence = np.r_[np.full(900, 1 - share / 100), np.zeros(100)].astype("f4")
        tally = ConfidenceTally()
        tally.add(confidence)
        assert tally.share(tally.false_discovery_threshold(0.05)) == 0.9

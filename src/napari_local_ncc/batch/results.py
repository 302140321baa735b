"""What a batch gives: a row for each pair, a row for each frame, and the odd ones out."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.files.whole import write_text
from napari_local_ncc.io.points import cell_text
from napari_local_ncc.shift.interpret import CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Document = Mapping[str, Any]
    Row = dict[str, Any]

RESULTS, FRAMES = "results.csv", "frames.csv"  # their first column is name, another verdict
ODD = 3.5  # robust standard deviations from the folder's median (Iglewicz and Hoaglin, 1993)
SCALE = 1.4826  # of the median absolute deviation, to be a normal's standard deviation
FEWEST = 5  # pairs that make a folder of which one can be the odd one
JUDGED_BY = ("median_ncc", "shift_px", "share_agrees")
LEAST_SPREAD = {"median_ncc": 0.01, "shift_px": 0.1, "share_agrees": 0.01}


def pair_row(document: Document) -> Row:
    """Return the row of a pair: verdict, motion, evidence, error, classes, confidence.

    Parameters
    ----------
    document : mapping
        What `compare_files` returns.
    """
    verdict, files = document["verdict"], document["files"]
    row: Row = {"name": document["name"], "verdict": verdict["judgement"]}
    row |= {"reason": verdict["reason"], "fixed": files["fixed"], "moving": files["moving"]}
    row["headline"] = document.get("headline")
    row |= {name: verdict.get(name) for name in ("distance_px", "error_px", "right_share")}
    row |= _motion(document.get("registration"))
    row |= _map(document)
    frames = document.get("frames") or []
    row["frames"] = len(frames) or None
    row["exclude_frames"] = " ".join(_excluded(frames))
    return row


def _motion(registration: Mapping[str, Any] | None) -> Row:
    """Return how far a transform moves the middle, and what is known of it: the worst frame's."""
    names = ("model", "shift_px", "significance", "expected_error_px", "applied")
    if registration is None:
        return dict.fromkeys(names)
    reports = registration["reports"]
    lengths = [float(np.linalg.norm(shift)) for shift in registration["shift_px"]]
    return {
        "model": registration["model"],
        "shift_px": max(lengths),
        "significance": _most(reports, "significance", min),
        "expected_error_px": _most([r for r in reports if r["applied"]], "error95_px", max),
        "applied": registration["applied"],
    }


def _most(reports: Sequence[Mapping[str, Any]], name: str, choose: Any) -> float | None:
    known = [report[name] for report in reports if report[name] is not None]
    return choose(known) if known else None


def _map(document: Document) -> Row:
    ncc, confidence = document.get("ncc", {}), document.get("confidence", {})
    classes, shift = document.get("classes", {}), document.get("shift", {})
    row = {"median_ncc": ncc.get("median"), "defined": ncc.get("defined")}
    row |= {"residual_shift_px": shift.get("median_length_px")}
    none = 0.0 if classes else None  # classes that no pixel is in are not named
    row |= {f"share_{name.replace(' ', '_')}": classes.get(name, none) for name in CLASSES}
    return row | {
        "confident_share": confidence.get("accepted"),
        "false_discovery_rate": confidence.get("false_discovery_rate"),
    }


def _excluded(frames: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the frames of a series that are not good, by their indices."""
    if len(frames) < 2:
        return []
    bad = [frame["frame"] for frame in frames if frame["verdict"]["judgement"] != "good"]
    return ["/".join(f"{axis}={k}" for axis, k in frame.items()) for frame in bad]


def frame_rows(document: Document) -> list[Row]:
    """Return a row for each frame of a pair."""
    return [
        {
            "name": document["name"],
            "frame": "/".join(f"{axis}={k}" for axis, k in frame["frame"].items()),
            "verdict": frame["verdict"]["judgement"],
            **{k: frame["verdict"][k] for k in ("reason", "distance_px", "error_px")},
            **{f"ncc_{name}": value for name, value in frame["ncc"].items()},
        }
        for frame in document.get("frames") or []
    ]


def outliers(rows: Sequence[Row]) -> dict[str, str]:
    """Name the pairs that are unlike the rest of the folder, and say in what.

    Parameters
    ----------
    rows : sequence of dict
        Of `pair_row`; fewer than 5 have no outlier.

    Returns
    -------
    dict of str to str
        By name of the pair: each number that lies more than 3.5 robust standard deviations
        from the median of all.
    """
    found: dict[str, list[str]] = {}
    for column in JUDGED_BY:
        known = [(row["name"], row[column]) for row in rows if row.get(column) is not None]
        if len(known) < FEWEST:
            continue
        values = np.array([value for _, value in known], np.float64)
        middle = np.median(values)
        spread = max(SCALE * np.median(np.abs(values - middle)), LEAST_SPREAD[column])
        for (name, value), far in zip(known, np.abs(values - middle) / spread, strict=True):
            if far > ODD:
                found.setdefault(name, []).append(
                    f"{column} {value:.3g}, where the folder has {middle:.3g}"
                )
    return {name: "; ".join(said) for name, said in found.items()}


def write_results(documents: Sequence[Document], folder: Path) -> dict[str, Path]:
    """Write the tables of a batch: ``results.csv``, and ``frames.csv`` if there is a series.

    Returns
    -------
    dict of str to Path
        What was written, by what it is.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> scene = np.random.default_rng(0).normal(size=(108, 108))
    >>> np.save("a.npy", scene[4:104, 4:104])
    >>> np.save("b.npy", scene[9:, 1:][:100, :100])
    >>> from napari_local_ncc import NCCParameters
    >>> from napari_local_ncc.batch import FilePair, Settings, run_batch, write_results
    >>> settings = Settings(NCCParameters(), keep_maps=False)
    >>> found = run_batch([FilePair("pair", "a.npy", "b.npy")], settings, Path("results"))
    >>> write_results(found, Path("results"))["results"].name
    'results.csv'
    """
    rows = [pair_row(each) for each in documents]
    odd = outliers(rows)
    for row in rows:
        row["outlier"] = odd.get(row["name"], "")
    written = {"results": folder / RESULTS}
    write_rows(rows, written["results"])
    frames = [row for each in documents for row in frame_rows(each)]
    if len(frames) > len(documents):
        written["frames"] = folder / FRAMES
        write_rows(frames, written["frames"])
    return written


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows of equal columns as CSV; what is unknown or undefined is empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
    write_text(path, file.getvalue(), newline="")


def _cell(value: Any) -> Any:
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, str):
        return cell_text(value)
    return f"{value:.6g}" if isinstance(value, float) else value


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Return the number of pairs of each verdict, the bad ones first."""
    order = ("error", "failed", "check", "good")
    return {name: sum(row["verdict"] == name for row in rows) for name in order}

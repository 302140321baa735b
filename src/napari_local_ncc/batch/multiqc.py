"""The table of a batch as MultiQC reads it: a file whose name ends in ``_mqc.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_local_ncc.batch.results import pair_row
from napari_local_ncc.files.whole import write_text
from napari_local_ncc.reports.document import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SHARE = {"min": 0, "max": 1, "scale": "Oranges", "format": "{:,.3f}"}
HEADERS: dict[str, dict[str, Any]] = {
    "verdict": {
        "title": "Verdict",
        "cond_formatting_rules": {
            "pass": [{"s_eq": "good"}],
            "warn": [{"s_eq": "check"}],
            "fail": [{"s_eq": "failed"}, {"s_eq": "error"}],
        },
    },
    "median_ncc": {"title": "Median NCC", "min": -1, "max": 1, "format": "{:,.3f}"},
    "confident_share": {"title": "Confident", "description": "at the false discovery rate"} | SHARE,
    "share_agrees": {"title": "Agrees"} | SHARE,
    "shift_px": {"title": "Shift", "suffix": " px", "format": "{:,.2f}"},
    "expected_error_px": {"title": "Expected error", "suffix": " px", "format": "{:,.2f}"},
    "distance_px": {"title": "Left", "suffix": " px", "format": "{:,.2f}"},
}


def write_multiqc(documents: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the verdicts and numbers of a batch as custom content of MultiQC.

    Parameters
    ----------
    documents : sequence of dict
        Of `run_batch`.
    path : Path
        MultiQC finds it where its name ends in ``_mqc.json``.
    """
    rows = [pair_row(each) for each in documents]
    data = {
        row["name"]: {name: row[name] for name in HEADERS if row.get(name) is not None}
        for row in rows
    }
    content = {
        "id": "local_ncc",
        "section_name": "Local NCC",
        "description": "whether pairs of images show the same place",
        "plot_type": "table",
        "pconfig": {"id": "local_ncc_table", "title": "Local NCC"},
        "headers": HEADERS,
        "data": data,
    }
    write_text(path, as_json(content))

"""A comparison, or a batch of them, as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
import json
from html import escape
from typing import TYPE_CHECKING, Any

from napari_local_ncc.files.whole import write_text
from napari_local_ncc.geometry.units import percent
from napari_local_ncc.reports import colormap
from napari_local_ncc.reports.html_style import STYLE
from napari_local_ncc.reports.recipe import as_command_line, as_python

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    Document = Mapping[str, Any]

TITLES = {
    "fixed": "Fixed",
    "moving": "Moving, on fixed's pixels",
    "overlay": "Overlay: fixed green, moving magenta, both grey",
    "ncc": "Local NCC",
    "confidence": "Confidence",
    "classes": "Classes",
}
ORDER = ("error", "failed", "check", "good")
THUMBNAIL = 160  # px
QUALITY = 80  # of a thumbnail's JPEG
MOST_CHARACTERS = 20_000  # of provenance that is shown; a recipe holds what is needed
WARNING = (
    "High similarity is no proof that a registration is right (Rohlfing, IEEE TMI 2012). The map "
    "shows where two images look alike; whether they show the same place is your call."
)


def write_pair_report(document: Document, path: Path, *, overwrite: bool = True) -> None:
    """Write the page of one comparison.

    Parameters
    ----------
    document : mapping
        Of `napari_local_ncc.reports.document.pair_facts`, with "name" and "verdict".
    path : Path
        The file; it is complete or what it was.
    overwrite : bool, default True
        Whether to replace what is there by then.
    """
    page = _page(f"{document['name']}: local NCC", _pair(document))
    write_text(path, page, overwrite=overwrite)


def write_batch_report(
    documents: Sequence[Document], outliers: Mapping[str, str], path: Path
) -> None:
    """Write the page of a batch, with pictures sorted by verdict.

    Parameters
    ----------
    documents : sequence of mapping
        Of `napari_local_ncc.batch.run_batch`.
    outliers : mapping
        What is odd about which pair, by name.
    path : Path
        The file; it is complete or what it was.
    """
    by_verdict = sorted(documents, key=lambda each: ORDER.index(each["verdict"]["judgement"]))
    said = [each["verdict"]["judgement"] for each in documents]
    counts = " ".join(f"{_badge(name)} {said.count(name)}" for name in ORDER if said.count(name))
    odd = "".join(
        f"<li><a href='#{escape(name)}'>{escape(name)}</a>: {escape(text)}</li>"
        for name, text in outliers.items()
    )
    parts = [
        f"<h1>{len(documents)} pairs</h1><p class=lead>{counts}</p>",
        f"<section><h2>Unlike the rest</h2><ul>{odd}</ul></section>" if odd else "",
        "<section class=cards>" + "".join(map(_card, by_verdict)) + "</section>",
        "<section><h2>All pairs</h2>" + _batch_table(by_verdict) + "</section>",
        f"<p class=note>{WARNING}</p>",
    ]
    write_text(path, _page("Local NCC of a batch", "".join(parts)))


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _badge(judgement: str) -> str:
    return f"<span class='badge {judgement}'>{judgement}</span>"


def _pair(document: Document) -> str:
    verdict = document["verdict"]
    headline = document["headline"] or verdict["reason"]
    parts = [
        f"<h1>{escape(document['name'])}</h1>",
        f"<p class=lead>{_badge(verdict['judgement'])} {escape(headline)}</p>",
        f"<p>{escape(verdict['reason'])}</p>" if headline != verdict["reason"] else "",
        _pictures(document["pictures"]),
        _section("Distribution of the NCC", _histogram(document["histogram"])),
        _section("Transform", _transform(document)),
        _section("The map in words", _table(document["lines"].items())),
        _frames(document.get("frames") or []),
        _section("Where it comes from", _provenance(document)),
        _section("The same again", _recipes(document["provenance"])),
        f"<p class=note>{WARNING}</p>",
    ]
    return "".join(parts)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _pictures(pictures: Mapping[str, Any]) -> str:
    figures = [_figure(name, picture) for name, picture in pictures.items()]
    return f"<section class=pictures>{''.join(figures)}</section>"


def _figure(name: str, picture: Mapping[str, Any]) -> str:
    scale, plane = picture["scale"], picture.get("plane")
    title = f"{TITLES[name]} ({plane})" if plane else TITLES[name]
    bar = f"<i style='width:{100 * scale['share']:.2f}%'></i><b>{escape(scale['text'])}</b>"
    return (
        f"<figure><img alt='{escape(TITLES[name])}' src='data:image/png;base64,{picture['png']}'>"
        f"<div class=bar>{bar}</div><figcaption>{escape(title)}{_legend(name)}"
        "</figcaption></figure>"
    )


def _legend(name: str) -> str:
    """Return what the colours of a band mean."""
    if name == "classes":
        shown = colormap.CLASSES | {"undefined": colormap.UNDEFINED}
        return "<br>" + " ".join(_swatch(colour, label) for label, colour in shown.items())
    if name not in colormap.PALETTES:
        return ""
    stops = colormap.PALETTES[name]
    low, high = stops[0][0], stops[-1][0]
    places = [f"{colour} {100 * (v - low) / (high - low):.1f}%" for v, colour in stops]
    grey = _swatch(colormap.UNDEFINED, "undefined")
    return (
        f"<span class=ramp style='background:linear-gradient(90deg,{','.join(places)})'></span>"
        f"<span class=ends><span>{low:g}</span><span>{high:g}</span></span>{grey}"
    )


def _swatch(colour: str, label: str) -> str:
    return f"<span class=swatch><i style='background:{colour}'></i>{escape(label)}</span>"


def _histogram(histogram: Mapping[str, Any]) -> str:
    """Draw bars; the highest fills the height."""
    counts, edges = histogram["counts"], histogram["edges"]
    most = max([*counts, 1])
    bars = "".join(
        f"<rect x='{k}' y='{100 - 100 * count / most:.2f}' width='0.9' "
        f"height='{100 * count / most:.2f}'/>"
        for k, count in enumerate(counts)
    )
    return (
        f"<svg class=histogram viewBox='0 0 {len(counts)} 100' preserveAspectRatio=none role=img "
        f"aria-label='Histogram of the NCC'>{bars}</svg>"
        f"<span class=ends><span>{edges[0]:g}</span><span>0</span><span>{edges[-1]:g}</span></span>"
    )


def _transform(document: Document) -> str:
    found, verdict = document["registration"], document["verdict"]
    rows: list[tuple[str, Any]] = []
    if found is not None:
        shifts = [", ".join(f"{step:.3f}" for step in shift) for shift in found["shift_px"][:1]]
        rows += [("in words", found["text"]), ("model", found["model"])]
        rows += (
            [("from fixed's middle to where moving shows it, px", shifts[0])]
            if len(found["shift_px"]) == 1
            else []
        )
        rows += _evidence(found["reports"])
    rows.append(("shift that is left, px", _number(verdict["distance_px"])))
    rows.append(("its standard error, px", _number(verdict["error_px"])))
    rows.append(("of the parts that tell, right", _share(verdict["right_share"])))
    text = "" if found is not None else "<p>The images are compared as they lie.</p>"
    matrix = _details("Matrix", json.dumps(found["matrix"])) if found is not None else ""
    return text + _table(rows) + matrix


def _evidence(reports: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the evidence of a registration, the worst frame's."""
    significance = [r["significance"] for r in reports if r["significance"] is not None]
    errors = [r["error95_px"] for r in reports if r["applied"] and r["error95_px"] is not None]
    rows = []
    if significance:
        rows.append(("evidence, times the best of unrelated structure", f"{min(significance):.2f}"))
    if errors:
        rows.append(("expected within (95 %), px", f"{max(errors):.2g}"))
    return rows


def _frames(frames: Sequence[Mapping[str, Any]]) -> str:
    if len(frames) < 2:
        return ""
    rows = []
    for frame in frames:
        index = " ".join(f"{axis}={k}" for axis, k in frame["frame"].items())
        verdict, ncc = frame["verdict"], frame["ncc"]
        cells = [escape(index), _badge(verdict["judgement"]), escape(verdict["reason"])]
        cells += [_number(ncc["median"]), _share(ncc["defined"])]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(
        f"<th>{name}</th>" for name in ("frame", "verdict", "why", "median NCC", "defined")
    )
    return _section("Frames", f"<table><tr>{head}</tr>{''.join(rows)}</table>")


def _provenance(document: Document) -> str:
    rows: list[tuple[str, Any]] = [("made by", document["software"])]
    rows += [(role, path) for role, path in document["files"].items() if path]
    rows += [("compared", document["plan"])]
    rows += [(name, path) for name, path in document["outputs"].items()]
    text = json.dumps(document["provenance"], indent=1, ensure_ascii=False)
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]}\n... {len(text)} characters; the map's file has all"
    return _table(rows) + _details("All of it", text)


def _recipes(provenance: Mapping[str, Any]) -> str:
    known = dict(provenance)
    return _details("As a command", as_command_line(known)) + _details(
        "As Python", as_python(known)
    )


def _details(title: str, text: str) -> str:
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def _table(rows: Iterable[tuple[str, Any]]) -> str:
    cells = (f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in rows)
    return f"<table>{''.join(cells)}</table>"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "undefined" if value is None else percent(value)


def _card(document: Document) -> str:
    name, verdict = document["name"], document["verdict"]
    pictures = document.get("pictures") or {}
    images = "".join(
        f"<img alt='{escape(TITLES[each])}' src='data:image/jpeg;base64,"
        f"{_thumbnail(pictures[each]['png'])}'>"
        for each in ("overlay", "ncc")
        if each in pictures
    )
    return (
        f"<article id='{escape(name)}'><h3>{_badge(verdict['judgement'])} {escape(name)}</h3>"
        f"<div class=thumbnails>{images}</div><p>{escape(verdict['reason'])}</p></article>"
    )


def _thumbnail(png: str) -> str:
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(png)))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return base64.b64encode(file.getvalue()).decode()


def _batch_table(documents: Sequence[Document]) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in ("pair", "verdict", "why", "median NCC", "confident (FDR)", "shift left, px")
    )
    rows = []
    for each in documents:
        verdict = each["verdict"]
        link = f"<a href='#{escape(each['name'])}'>{escape(each['name'])}</a>"
        cells = [link, _badge(verdict["judgement"]), escape(verdict["reason"])]
        cells.append(_number(each.get("ncc", {}).get("median")))
        cells.append(_share(each.get("confidence", {}).get("accepted")))
        cells.append(_number(verdict.get("distance_px")))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"

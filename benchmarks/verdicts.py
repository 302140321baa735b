"""How often the verdicts of `local-ncc batch` are wrong: pairs whose truth is known.

    python benchmarks/verdicts.py run verdicts.jsonl --pairs 11 [--register] [--first 1000]
    python benchmarks/verdicts.py write verdicts.jsonl docs/verdicts.md

`run` adds a line for each pair to a file: every kind of scene, in every relation, at every
signal-to-noise ratio. Seeds from `FINAL` on are those of the figures in the document; thresholds
(`reports/verdict.py`) were chosen on smaller ones. `write` judges and counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from registration_evidence import BLOCK, KINDS, SPARSE, STRUCTURED, taken, unrelated_pair
from scipy import ndimage as ndi

from napari_local_ncc import Comparison, Grid, Registration, register
from napari_local_ncc.batch.place import place_evidence
from napari_local_ncc.evidence.noise import noise_sd
from napari_local_ncc.reports.verdict import WITHIN, PlaceEvidence, ShiftEvidence, judge_place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[Any]
    Random = np.random.Generator

FINAL = 2000  # the first seed of the figures in the document
SIDE = 144  # px
SNRS = (5.0, 2.0, 1.0)  # standard deviation of the scene over that of the noise
DENSE = ("photographs", "tissue", "speckle", "smooth noise", "gradients")
RELATIONS = ("right", "displaced", "wrong place", "unrelated", "partly")
LENGTHS = {  # px
    "right": (0.0, 0.7),
    "displaced": (2.0, 10.0),
    "partly": (2.0, 10.0),
    "wrong place": (0.25 * SIDE, 0.6 * SIDE),
}
PART = (0.2, 0.5)  # of an image, that is displaced in a pair of the relation "partly"
SEEN = 0.1  # of what has structure, up to which nobody could see it displaced


class Pair(NamedTuple):
    """Two images and their truth.

    Attributes
    ----------
    fixed, moving : ndarray of float, shape (SIDE, SIDE)
        The images.
    step : ndarray or None
        By how many px moving lies from fixed; None if nowhere.
    displaced : float
        The share of what has structure that is displaced by it.
    """

    fixed: Image
    moving: Image
    step: Image | None
    displaced: float


def pair(kind: str, relation: str, snr: float, seed: int) -> Pair:
    """Return two images in a relation; gain and offset of moving are its own."""
    random = np.random.default_rng([seed, 7, RELATIONS.index(relation), int(10 * snr)])
    if relation == "unrelated":
        scenes, step, share = unrelated_pair(kind, np.inf, seed, SIDE), None, 1.0
    else:
        *scenes, step = _displaced(kind, relation, random)
        share = _displaced_share(scenes[0], scenes[1]) if relation == "partly" else 1.0
    fixed, moving = (taken(scene, kind, snr, random) for scene in scenes)
    return Pair(fixed, random.uniform(0.5, 2) * moving + random.uniform(0, 50), step, share)


def _displaced(kind: str, relation: str, random: Random) -> tuple[Image, Image, Image]:
    """Return a scene, the same displaced, or a part of it, and by how much."""
    length, way = random.uniform(*LENGTHS[relation]), random.uniform(0, 2 * np.pi)
    step = length * np.array([np.sin(way), np.cos(way)])
    margin = int(np.ceil(length)) + 3
    scene = KINDS[kind](random, SIDE + 2 * margin)
    inner = (slice(margin, margin + SIDE),) * 2
    fixed, moving = scene[inner], ndi.shift(scene, step, order=3, mode="nearest")[inner].copy()
    if relation == "partly":
        kept = int(random.uniform(*PART) * SIDE)
        rest = (slice(kept, None),) if random.random() < 0.5 else (slice(None), slice(kept, None))
        moving[rest] = fixed[rest]
    return fixed, moving, step


def _displaced_share(fixed: Image, moving: Image) -> float:
    """Return the share of tiles with structure of which most is displaced."""
    least, structured, displaced = STRUCTURED * fixed.std(), 0, 0
    corners = product(range(0, SIDE, BLOCK), repeat=2)
    for one, two in (
        [each[y : y + BLOCK, x : x + BLOCK] for each in (fixed, moving)] for y, x in corners
    ):
        if max(one.std(), two.std()) >= least:
            structured += 1
            displaced += bool(np.mean(one != two) > 0.5)
    return displaced / max(structured, 1)


def look(kind: str, relation: str, snr: float, seed: int, registered: bool) -> dict[str, Any]:
    """Return what is found of a pair, and what is so."""
    fixed, moving, step, displaced = pair(kind, relation, snr, seed)
    row: dict[str, Any] = {"kind": kind, "relation": relation, "snr": snr, "seed": seed}
    left, doubt = (np.inf if step is None else float(np.hypot(*step))), ""
    moved, noise = moving, None
    if registered:
        found, doubt = _registered(fixed, moving)
        if step is not None:
            left = float(np.hypot(*(found.translation - step)))
        moved = np.asarray(Comparison(fixed, moving, registration=found).moving_on_grid())
        noise = noise_sd(moving)
    evidence = place_evidence(fixed, moved, moving_noise=noise)
    row |= {"registered": registered, "left_px": left, "displaced": displaced, "doubt": doubt}
    return row | {"right": left <= WITHIN or displaced <= SEEN, "evidence": asdict(evidence)}


def _registered(fixed: Image, moving: Image) -> tuple[Registration, str]:
    """Return the transform that is found, and what there is to doubt in it."""
    try:
        found = register(fixed, moving, model="translation")
    except ValueError as error:  # an empty part of a sparse scene
        return Registration.identity(Grid(fixed.shape)), str(error)
    return found, "; ".join(report.doubt for report in found.reports if report.doubt)


def run(path: Path, pairs: int, first: int, registered: bool) -> None:
    """Add lines to a file, seed by seed, so that any part of it holds all kinds."""
    begun = time.process_time()
    relations = RELATIONS[:-1] if registered else RELATIONS
    with path.open("a", encoding="utf-8") as file:
        for seed in range(first, first + pairs):
            for relation in relations:
                for kind in (*DENSE, *SPARSE):
                    for snr in SNRS:
                        row = look(kind, relation, snr, seed, registered)
                        file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"seed {seed}: {time.process_time() - begun:.0f} s", flush=True)


def judged(row: dict[str, Any]) -> str:
    """Return the verdict on a line of the file."""
    blocks = tuple(ShiftEvidence(**block) for block in row["evidence"]["blocks"])
    evidence = PlaceEvidence(ShiftEvidence(**row["evidence"]["whole"]), blocks)
    return judge_place(evidence, searched=row["registered"], doubt=row["doubt"]).judgement.value


def report(rows: list[dict[str, Any]]) -> str:
    """Return tables of how often verdicts are wrong."""
    lines = []
    for registered in (False, True):
        chosen = [row for row in rows if row["registered"] is registered]
        if chosen:
            title = "after registration by a translation" if registered else "as the images lie"
            lines += [f"## {len(chosen)} pairs, {title}", "", *_table(chosen), ""]
            lines += [*_totals(chosen), ""]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    counts: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        scene = "sparse" if row["kind"] in SPARSE else "dense"
        unseen = ", unseen" if row["relation"] == "partly" and row["right"] else ""
        counts[row["relation"] + unseen, scene, row["snr"]][judged(row)] += 1
    lines = [
        "| pair | scene | SNR | pairs | good | failed | check |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, count in sorted(counts.items(), key=lambda each: _place(each[0])):
        shown = " | ".join(str(count[name]) for name in ("good", "failed", "check"))
        relation, scene, snr = key
        lines.append(f"| {relation} | {scene} | {snr:g} | {count.total()} | {shown} |")
    return lines


def _place(key: tuple[Any, ...]) -> tuple[Any, ...]:
    relation, scene, snr = key
    return RELATIONS.index(relation.partition(",")[0]), relation, scene, -snr


def _totals(rows: list[dict[str, Any]]) -> list[str]:
    """Say how often verdicts are wrong."""
    verdicts = [(judged(row), row) for row in rows]
    good = [row["right"] for name, row in verdicts if name == "good"]
    failed = [not row["right"] for name, row in verdicts if name == "failed"]
    # of a pair that is right in a part only, neither of the others is the answer
    whole = [(name == "check", row) for name, row in verdicts if row["relation"] != "partly"]
    clear = [check for check, row in whole if row["snr"] >= 2]
    noisy = [check for check, row in whole if row["snr"] == 1 and row["kind"] in SPARSE]
    return [
        f"*good* is wrong in {good.count(False)} of {len(good)}, *failed* in "
        f"{failed.count(False)} of {len(failed)}; but for *partly*, *check* covers "
        f"{sum(clear)} of {len(clear)} at SNR 2 and 5 ({np.mean(clear):.1%}), "
        f"{sum(noisy)} of {len(noisy)} sparse ones at SNR 1 ({np.mean(noisy):.1%})."
    ]


HEAD = """# How often verdicts are wrong

Written by `python benchmarks/verdicts.py write`. Scenes: photographs, tissue, speckle, smooth noise
and gradients (dense); discs, nuclei and filaments (sparse; {side} px). *right*: moving lies within
0.7 px. *displaced*: by 2 to 10 px. *wrong place*: by a quarter to 0.6 of the side. *unrelated*:
another scene of the same kind. *partly*: a fifth to a half of the image is displaced by 2 to 10 px,
the rest is right; *unseen*: that part holds a tenth or less of what has structure (tiles of 16 px
whose standard deviation is at least 0.3 of the scene's), and counts as right. Gain and offset of
moving are its own; SNR is the scene's standard deviation over that of the noise. A pair is right if
1 px or less is left. The thresholds ([reports/verdict](constants.md)) were chosen on other seeds (1
to 12).

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("file", type=Path)
    running.add_argument("--pairs", type=int, default=11, help="of each kind, relation and SNR")
    running.add_argument("--first", type=int, default=FINAL, help="seed")
    running.add_argument("--register", action="store_true")
    writing = commands.add_parser("write")
    writing.add_argument("file", type=Path)
    writing.add_argument("page", type=Path)
    words = parser.parse_args()
    if words.command == "run":
        run(words.file, words.pairs, words.first, words.register)
        return
    lines = words.file.read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["seed"] >= FINAL]
    words.page.write_text(HEAD.format(side=SIDE) + report(rows), encoding="utf-8")


if __name__ == "__main__":
    main()

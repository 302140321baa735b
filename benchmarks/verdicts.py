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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from registration_evidence import KINDS, SPARSE, taken, unrelated_pair
from scipy import ndimage as ndi

from napari_local_ncc import Comparison, Grid, Registration, register
from napari_local_ncc.batch.place import place_evidence
from napari_local_ncc.evidence.noise import noise_sd
from napari_local_ncc.reports.verdict import WITHIN, PlaceEvidence, ShiftEvidence, judge_place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[Any]
    Random = np.random.Generator

FINAL = 1000  # the first seed of the figures in the document
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


def pair(kind: str, relation: str, snr: float, seed: int) -> tuple[Image, Image, Image | None]:
    """Return two images, and by how many px moving lies from fixed; None if nowhere."""
    random = np.random.default_rng([seed, 7, RELATIONS.index(relation), int(10 * snr)])
    if relation == "unrelated":
        scenes = unrelated_pair(kind, np.inf, seed, SIDE)
        shots = [taken(scene, kind, snr, random) for scene in scenes]
        return shots[0], random.uniform(0.5, 2) * shots[1] + random.uniform(0, 50), None
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
    shots = [taken(part, kind, snr, random) for part in (fixed, moving)]
    return shots[0], random.uniform(0.5, 2) * shots[1] + random.uniform(0, 50), step


def look(kind: str, relation: str, snr: float, seed: int, registered: bool) -> dict[str, Any]:
    """Return what is found of a pair, and what is so."""
    fixed, moving, step = pair(kind, relation, snr, seed)
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
    row |= {"registered": registered, "left_px": left, "doubt": doubt}
    return row | {"right": left <= WITHIN and relation != "partly", "evidence": asdict(evidence)}


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
            lines += [*_totals([row for row in chosen if row["relation"] != "partly"]), ""]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    counts: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        scene = "sparse" if row["kind"] in SPARSE else "dense"
        counts[row["relation"], scene, row["snr"]][judged(row)] += 1
    lines = [
        "| pair | scene | SNR | pairs | good | failed | check |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, count in counts.items():
        shown = " | ".join(str(count[name]) for name in ("good", "failed", "check"))
        relation, scene, snr = key
        lines.append(f"| {relation} | {scene} | {snr:g} | {count.total()} | {shown} |")
    return lines


def _totals(rows: list[dict[str, Any]]) -> list[str]:
    """Say how often verdicts are wrong; pairs of which a part is displaced are told apart."""
    verdicts = [(judged(row), row) for row in rows]
    good = [row["right"] for name, row in verdicts if name == "good"]
    failed = [not row["right"] for name, row in verdicts if name == "failed"]
    clear = [name == "check" for name, row in verdicts if row["snr"] >= 2]
    noisy = [name == "check" for name, row in verdicts if row["snr"] == 1 and row["kind"] in SPARSE]
    return [
        f"*good* is wrong in {good.count(False)} of {len(good)}, *failed* in "
        f"{failed.count(False)} of {len(failed)}; *check* covers {sum(clear)} of {len(clear)} at "
        f"SNR 2 and 5 ({np.mean(clear):.1%}), {sum(noisy)} of {len(noisy)} sparse ones at SNR 1 "
        f"({np.mean(noisy):.1%})."
    ]


HEAD = """# How often verdicts are wrong

Written by `python benchmarks/verdicts.py write`. Scenes: photographs, tissue, speckle, smooth noise
and gradients (dense); discs, nuclei and filaments (sparse; {side} px). *right*: moving lies within
0.7 px. *displaced*: by 2 to 10 px. *wrong place*: by a quarter to 0.6 of the side. *unrelated*:
another scene of the same kind. *partly*: a fifth to a half of the image is displaced by 2 to 10 px,
the rest is right; where a scene is empty there, nobody can see that. Gain and offset of moving are
its own; SNR is the scene's standard deviation over that of the noise. A pair is right if 1 px or
less is left. The thresholds ([reports/verdict](constants.md)) were chosen on other seeds.

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

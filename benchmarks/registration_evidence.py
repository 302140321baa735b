"""How often a wrong registration is applied, and how often a right one.

    python benchmarks/registration_evidence.py run results.jsonl
    python benchmarks/registration_evidence.py write docs/registration-evidence.md \
        results.jsonl linear.jsonl --head benchmarks/registration_evidence_head.md

`run` adds a line for each pair of images to a file: every kind of image at every signal-to-noise
ratio, related and not, of every model, in rounds of as many pairs as `ROUND` says. Stopped and
begun again, it goes on where it was. Seeds from `FINAL` on are those of the figures in the
document; thresholds were chosen on smaller ones. `write` counts,
and adds what `linear_evidence.py` found.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Image_
from PIL import ImageDraw, ImageFont
from scipy import ndimage as ndi
from skimage import data

from napari_local_ncc import register
from napari_local_ncc.registration.translation.estimate import estimate_translation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Image = np.ndarray[Any, Any]
    Generator = np.random.Generator

SNRS = (np.inf, 2.0, 1.0, 0.5)
FINAL = 3_000_000  # the first seed of the figures in the document
ROUNDS = 10
WANTED = {"translation": 3000}  # unrelated pairs; of other models 400
ROUND = {  # pairs of every kind and SNR in a round: (unrelated, related)
    "translation": (7, 2),
    "rigid": (1, 1),
    "similarity": (1, 1),
    "affine": (1, 1),
    "flow": (1, 1),
}
RELATED_ROUNDS = 3  # in which models other than a translation see related pairs
SIDES = ((64, 1024), (16, 512))  # px of every so-manieth translation; of the others `SIDE`
SIDE = 256
FARTHEST = 0.45  # of the side, by which related images are shifted along each axis at most
BLOCK = 16  # px
STRUCTURED = 0.3  # of the image's sd, that a structured block's sd has at least
PHOTOGRAPHS = ("camera", "coins", "moon", "astronaut", "coffee", "chelsea", "rocket", "clock")

# ------------------------------------------------------------------ kinds of images


def grey(image: Image) -> Image:
    return image.astype(float) if image.ndim == 2 else image[..., :3] @ [0.299, 0.587, 0.114]


def texture(random: Generator, side: int, sigma: float) -> Image:
    image = ndi.gaussian_filter(random.normal(size=(side, side)), sigma)
    return image / image.std()


def around(centre: Image, reach: int, side: int) -> tuple[tuple[slice, ...], Image, Image]:
    """Return the box of an image around a place, and its pixels' distances along both axes."""
    low = np.maximum(np.floor(centre).astype(int) - reach, 0)
    high = np.minimum(np.ceil(centre).astype(int) + reach + 1, side)
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]].astype(float)
    box = slice(low[0], high[0]), slice(low[1], high[1])
    return box, y - centre[0], x - centre[1]


def discs(random: Generator, side: int) -> Image:
    image = np.zeros((side, side))
    for _ in range(max(3, round(5 * (side / 256) ** 2 * random.uniform(0.6, 2)))):
        centre, radius = random.uniform(0, side, 2), random.uniform(8, 18)
        box, y, x = around(centre, 20, side)
        disc = (np.hypot(y, x) < radius) * random.uniform(0.6, 1)
        image[box] = np.maximum(image[box], disc)
    return 20 + 100 * ndi.gaussian_filter(image, 1.5)


def nuclei(random: Generator, side: int) -> Image:
    image = np.zeros((side, side))
    for _ in range(max(3, round(12 * (side / 256) ** 2 * random.uniform(0.5, 2.5)))):
        centre, axes, turn = (
            random.uniform(0, side, 2),
            random.uniform(4, 9, 2),
            random.uniform(0, np.pi),
        )
        box, y, x = around(centre, 45, side)
        u, v = y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)
        grain = 1 + 0.2 * np.sin(u / 1.7) * np.sin(v / 1.9)
        shape = np.exp(-((u / axes[0]) ** 2) / 2 - (v / axes[1]) ** 2 / 2)
        image[box] += random.uniform(0.4, 1) * shape * grain
    return 10 + 200 * image


def filaments(random: Generator, side: int) -> Image:
    image = np.zeros((side, side))
    for _ in range(max(3, round(8 * side / 192 * random.uniform(0.6, 1.5)))):
        place, way = random.uniform(0, side, 2), random.uniform(0, 2 * np.pi)
        for _ in range(int(1.2 * side)):
            way += random.normal(0, 0.05)
            place += np.sin(way), np.cos(way)
            y, x = np.round(place).astype(int)
            if 0 <= y < side and 0 <= x < side:
                image[y, x] += 1
    return 10 + 300 * ndi.gaussian_filter(np.minimum(image, 2), 1.2)


def crop(random: Generator, image: Image, side: int) -> Image:
    if min(image.shape) < side:
        image = ndi.zoom(image, side / min(image.shape) + 0.01, order=1)
    y, x = (random.integers(0, n - side + 1) for n in image.shape)
    return image[y : y + side, x : x + side]


def photograph(random: Generator, side: int) -> Image:
    return crop(random, grey(getattr(data, random.choice(PHOTOGRAPHS))()), side)


def tissue(random: Generator, side: int) -> Image:
    return crop(random, grey(data.immunohistochemistry()), side)


def speckle(random: Generator, side: int) -> Image:
    grains = random.exponential(size=(side, side))
    return 100 * ndi.gaussian_filter(grains, random.uniform(0.7, 1.5))


def smooth_noise(random: Generator, side: int) -> Image:
    return 100 + 20 * texture(random, side, random.uniform(2, 6))


def white_noise(random: Generator, side: int) -> Image:
    return 100 + 20 * random.normal(size=(side, side))


def gradient(random: Generator, side: int) -> Image:
    y, x = np.mgrid[:side, :side] / side
    way = random.uniform(0, 2 * np.pi)
    slope = 100 * (np.cos(way) * x + np.sin(way) * y)
    return 100 + slope + 10 * texture(random, side, random.uniform(1.5, 4))


def vignetted(random: Generator, side: int) -> Image:
    return smooth_noise(random, side) if random.random() < 0.5 else nuclei(random, side)


KINDS: dict[str, Callable[[Generator, int], Image]] = {
    "discs": discs,
    "nuclei": nuclei,
    "filaments": filaments,
    "photographs": photograph,
    "tissue": tissue,
    "speckle": speckle,
    "smooth noise": smooth_noise,
    "white noise": white_noise,
    "gradients": gradient,
    "hot pixels": smooth_noise,
    "vignettes": vignetted,
}
LABELLED = {"labelled discs": discs, "labelled nuclei": nuclei, "labelled texture": smooth_noise}
KINDS |= LABELLED
SPARSE = ("discs", "nuclei", "filaments", "labelled discs", "labelled nuclei")


def labelled(image: Image, random: Generator) -> Image:
    """Draw a time and a scale bar into an image of 8 bits, as an export has them."""
    side = image.shape[0]
    drawn = Image_.new("L", (side, side))
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(14)
    pen.text((6, 6), f"t = {random.integers(100):02d}:{random.integers(60):02d} s", 255, font)
    pen.rectangle((side - 76, side - 16, side - 20, side - 12), 255)
    pen.text((side - 66, side - 36), "10 um", 255, font)
    cover = np.asarray(drawn) / 255
    return np.round(np.clip(image, 0, 255) * (1 - cover) + 255 * cover)


def taken(image: Image, kind: str, snr: float, random: Generator) -> Image:
    """Return what a camera makes of a scene: vignette, noise, hot pixels, labels."""
    side = image.shape[0]
    shot = image.copy()
    if kind == "vignettes":
        y, x = np.mgrid[:side, :side] / side - 0.5
        shot *= 1 - 1.2 * (x * x + y * y)
    if np.isfinite(snr):
        shot += random.normal(0, image.std() / snr, image.shape)
    if kind == "hot pixels":
        hot = tuple(random.integers(0, side, (2, random.integers(1, 12))))
        shot[hot] = shot.max() + 10 * shot.std()
    return labelled(shot, random) if kind in LABELLED else shot


# ------------------------------------------------------------------ pairs


def unrelated_pair(kind: str, snr: float, seed: int, side: int) -> tuple[Image, Image]:
    """Return two images of one kind that show different things."""
    random = np.random.default_rng([seed, 0, SNRS.index(snr)])
    if kind == "photographs":
        names = random.choice(PHOTOGRAPHS, 2, replace=False)
        scenes = [crop(random, grey(getattr(data, name)()), side) for name in names]
    elif kind == "tissue":
        whole = grey(data.immunohistochemistry())
        halves = (whole[:, :256], whole[:, 256:]) if seed % 2 else (whole[:256], whole[256:])
        scenes = [crop(random, half, min(side, 256)) for half in halves]
    else:
        scenes = [KINDS[kind](random, side) for _ in range(2)]
    fixed, moving = (taken(scene, kind, snr, random) for scene in scenes)
    return fixed, moving


def related_pair(
    kind: str, snr: float, seed: int, side: int
) -> tuple[Image, Image, np.ndarray, int]:
    """Return two parts of one scene, moving's offset, and the structured blocks they share."""
    random = np.random.default_rng([seed, 1])
    step = np.round(random.uniform(-FARTHEST, FARTHEST, 2) * side).astype(int)
    scene = KINDS[kind](random, side + int(np.ceil(FARTHEST * side)) + 1)
    here = np.maximum(-step, 0)
    there = here + step
    fixed, moving = (scene[y : y + side, x : x + side] for y, x in (here, there))
    low, high = np.maximum(here, there), np.minimum(here, there) + side
    blocks = structured_blocks(scene[low[0] : high[0], low[1] : high[1]], scene.std())
    fixed, moving = (taken(part, kind, snr, random) for part in (fixed, moving))
    return fixed, moving, -step.astype(float), blocks


def structured_blocks(image: Image, sd: float) -> int:
    rows, columns = (n // BLOCK for n in image.shape)
    tiles = image[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return int(np.count_nonzero(tiles.std(axis=(1, 3)) >= STRUCTURED * sd))


# ------------------------------------------------------------------ trials


def estimate(fixed: Image, moving: Image, model: str) -> dict[str, object]:
    """Register two images: where pixels go on average, and what the report says."""
    begin = time.process_time()
    if model == "translation":
        found = estimate_translation(fixed, moving)
        applied, significance = found.is_reliable, found.significance
        ways = np.broadcast_to(found.offset, (1, 2))
        errors = found.error_px, found.error95_px
    else:
        registration = register(fixed, moving, model=model)
        (report,) = registration.reports
        applied, significance = report.applied, report.significance
        errors = report.error_px, report.error95_px
        points = np.stack(np.mgrid[:9, :9], -1).reshape(-1, 2) * (np.array(fixed.shape) - 1) / 8
        ways = registration.transform_points(points) - points
    return {
        "applied": bool(applied),
        "significance": float(significance),
        "ways": ways,
        "errors": errors,
        "seconds": time.process_time() - begin,
    }


def trial(model: str, kind: str, snr: float, seed: int, side: int, related: bool) -> dict:
    truth, blocks = np.zeros(2), 0
    if related:
        fixed, moving, truth, blocks = related_pair(kind, snr, seed, side)
    else:
        fixed, moving = unrelated_pair(kind, snr, seed, side)
    found = estimate(fixed, moving, model)
    ways = np.asarray(found.pop("ways"))
    return {
        "model": model,
        "kind": kind,
        "snr": snr if np.isfinite(snr) else None,
        "seed": seed,
        "side": side,
        "related": related,
        "blocks": blocks,
        "missed": float(np.linalg.norm(ways - truth, axis=-1).mean()),
        "moved": float(np.linalg.norm(ways, axis=-1).mean()),
        **found,
    }


def side_of(model: str, seed: int) -> int:
    if model == "translation":
        for every, side in SIDES:
            if seed % every == every - 1:
                return side
    return SIDE


def plan(
    rounds: int, models: list[str], kinds: list[str]
) -> Iterator[tuple[str, str, float, int, int, bool]]:
    """Yield the trials of all models, round by round."""
    for turn, kind, snr in product(range(rounds), kinds, SNRS):
        for model in models:
            for related, number in zip((False, True), ROUND[model], strict=True):
                if related and model != "translation" and turn >= RELATED_ROUNDS:
                    continue
                for seed in range(FINAL + turn * number, FINAL + (turn + 1) * number):
                    yield model, kind, snr, seed, side_of(model, seed), related


def key(row: dict) -> tuple[object, ...]:
    return tuple(row[name] for name in ("model", "kind", "snr", "seed", "related"))


def read(results: Path) -> list[dict]:
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def run(options: argparse.Namespace) -> None:
    done = {key(row) for row in read(options.results)}
    with options.results.open("a", encoding="utf-8") as file:
        for model, kind, snr, seed, side, related in plan(
            options.rounds, options.models, options.kinds
        ):
            known = (model, kind, snr if np.isfinite(snr) else None, seed, related)
            if known in done:
                continue
            row = trial(model, kind, snr, seed, side, related)
            file.write(json.dumps(row) + "\n")
            file.flush()


def wrong(row: dict) -> bool:
    """Whether a motion of more than 2 px was applied that is more than 2 px off."""
    return row["moved"] > 2 and (not row["related"] or row["missed"] > 2)


def right(row: dict) -> bool:
    limit = 2 if row["snr"] is not None and row["snr"] < 1 else 1
    # what a flow begins with was verified, too
    return (row["applied"] or row["model"] == "flow") and row["missed"] <= limit


# ------------------------------------------------------------------ document


def share(rows: list[dict], test: Callable[[dict], bool]) -> str:
    if not rows:
        return "-"
    return f"{sum(map(test, rows))} of {len(rows)}"


def at(rows: list[dict], snr: float) -> list[dict]:
    return [r for r in rows if (r["snr"] or np.inf) == snr]


def table(rows: list[dict], test: Callable[[dict], bool]) -> list[str]:
    names = ["inf" if s == np.inf else f"{s:g}" for s in SNRS]
    lines = [f"| kind | {' | '.join(f'SNR {n}' for n in names)} | all |", "|---" * 6 + "|"]
    for kind in KINDS:
        own = [r for r in rows if r["kind"] == kind]
        if own:
            cells = [share(at(own, s), test) for s in SNRS]
            lines.append(f"| {kind} | {' | '.join(cells)} | {share(own, test)} |")
    cells = [share(at(rows, s), test) for s in SNRS]
    return [*lines, f"| **all** | {' | '.join(cells)} | {share(rows, test)} |"]


def median_significance(rows: list[dict]) -> list[str]:
    lines = ["| kind | SNR inf | 2 | 1 | 0.5 |", "|---" * 5 + "|"]
    for kind in KINDS:
        own = [r for r in rows if r["kind"] == kind]
        if own:
            cells = [f"{np.median([r['significance'] for r in at(own, s)]):.2f}" for s in SNRS]
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def stated_errors(rows: list[dict]) -> str:
    known = [r for r in rows if right(r) and np.isfinite(r["errors"][0])]
    if not known:
        return "-"
    inside = [np.mean([r["missed"] <= r["errors"][k] for r in known]) for k in (0, 1)]
    return f"{inside[0]:.0%} and {inside[1]:.0%} of {len(known)}"


def target(met: bool) -> str:
    return "met" if met else "**missed**"


def least(rows: list[dict], test: Callable[[dict], bool], wanted: float) -> str:
    """Say which share of rows pass, and whether that is enough."""
    if not rows:
        return "- |"
    return f"{share(rows, test)} | {target(np.mean([test(r) for r in rows]) >= wanted)}"


def too_few(model: str, rows: list[dict]) -> str:
    """Say so where fewer pairs were counted than the target asks for."""
    wanted = WANTED.get(model, 400)
    return "" if len(rows) >= wanted else f" so far; {wanted} are wanted"


def summary(rows: list[dict]) -> list[str]:
    """Return the figures of all models beside their targets."""
    lines = ["| | target | counted | |", "|---|---|---|---|"]
    for model in dict.fromkeys(r["model"] for r in rows):
        own = [r for r in rows if r["model"] == model]
        unrelated = [r for r in own if not r["related"]]
        related = [r for r in own if r["related"]]
        sharp = [r for r in related if (r["snr"] or np.inf) >= 2]
        noisy = [r for r in related if r["snr"] == 1]
        dense = [r for r in sharp if r["kind"] not in SPARSE]
        faint = [r for r in noisy if r["kind"] not in SPARSE]
        rich = [r for r in sharp + noisy if r["kind"] in SPARSE and r["blocks"] >= 12]
        count = sum(map(wrong, unrelated))
        lines.append(
            f"| {model}: unrelated, wrong and applied | <= 3 in 1000 | {share(unrelated, wrong)} "
            f"| {target(count <= 3e-3 * len(unrelated))}{too_few(model, unrelated)} |"
        )
        for name, chosen, wanted in (
            ("dense kinds, SNR >= 2", dense, 0.97),
            ("dense kinds, SNR 1", faint, 0.9),
            ("sparse kinds with 12 blocks, SNR >= 1", rich, 0.9),
        ):
            said = least(chosen, right, wanted)
            lines.append(f"| {model}: {name}, right and applied | >= {wanted:.0%} | {said} |")
    return lines


def rises(rows: list[dict]) -> str:
    """Count the scenes whose significance is higher with more noise, by more than a tenth."""
    scenes: dict[tuple, dict[float, float]] = {}
    for row in rows:
        snrs = scenes.setdefault((row["kind"], row["seed"]), {})
        snrs[row["snr"] or np.inf] = row["significance"]
    whole = [s for s in scenes.values() if len(s) == len(SNRS)]
    risen = sum(max(s[1.0], s[0.5]) > 1.1 * max(s[np.inf], s[2.0]) for s in whole)
    return f"{risen} of {len(whole)}"


def model_tables(rows: list[dict], model: str) -> list[str]:
    own = [r for r in rows if r["model"] == model]
    related = [r for r in own if r["related"]]
    unrelated = [r for r in own if not r["related"]]
    rich = [r for r in related if r["kind"] in SPARSE and r["blocks"] >= 12]
    seconds = np.median([r["seconds"] for r in own])
    seeds = f"{min(r['seed'] for r in own)} to {max(r['seed'] for r in own)}"
    sides = Counter(r["side"] for r in own)
    text = [
        f"## {model.capitalize()}",
        "",
        f"Seeds {seeds}; {', '.join(f'{n} pairs of {side} px' for side, n in sides.items())}; "
        f"{seconds:.2f} s of processor time for a pair in the median.",
        "",
        "Unrelated pairs, a motion of more than 2 px applied:",
        "",
        *table(unrelated, wrong),
        "",
    ]
    if not related:
        return text
    return [
        *text,
        "Related pairs, right and applied (within 1 px, below SNR 1 within 2 px):",
        "",
        *table(related, right),
        "",
        f"Wrong and applied in related pairs: {share(related, wrong)}. Sparse kinds with at "
        f"least 12 structured blocks of 16 px in the overlap, SNR >= 1: "
        f"{share([r for r in rich if (r['snr'] or 9) >= 1], right)} right. Truth within the "
        f"error stated for 68 % and for 95 %: {stated_errors(related)}. Significance higher at "
        f"SNR 1 or 0.5 than at any less noise, by more than a tenth: {rises(related)} scenes.",
        "",
        "Median significance, related pairs:",
        "",
        *median_significance(related),
        "",
    ]


def linear_tables(rows: list[dict]) -> list[str]:
    """Return the figures that `linear_evidence.py` adds."""
    text: list[str] = []
    for section, title, limit in (
        ("reach", "2-D: rotations of 0 to 360 degrees, scales of 0.25 to 4, SNR inf to 2", 2.56),
        ("volumes", "3-D: 24 axis orientations, tilted by up to 20 degrees, SNR inf to 2", 0.48),
    ):
        own = [r for r in rows if r["section"] == section]
        if own:
            good = [r for r in own if r["applied"] and r["missed"] <= limit]
            bad = [r for r in own if r["applied"] and not r["missed"] <= limit]
            text += [
                f"**{title}** (right: within 1 % of the side; target 95 %, none wrong): "
                f"{len(good)} of {len(own)} right, {len(bad)} wrong and applied. Refused: "
                + (", ".join(describe(r) for r in own if not r["applied"]) or "none")
                + ".",
                "",
            ]
    exact = [r for r in rows if r["section"] == "exact"]
    if exact:
        text += ["**Without noise**, plane waves that are read exactly, largest error in px:", ""]
        text += ["| model | target | counted | n |", "|---|---|---|---|"]
        for model, wanted in (("translation", 0.003), ("rigid", 0.005), ("affine", 0.005)):
            off = [r["missed"] for r in exact if r["model"] == model]
            text.append(f"| {model} | {wanted} | {max(off):.5f} | {len(off)} |")
        text.append("")
    noisy = [r for r in rows if r["section"] == "noise"]
    if noisy:
        text += [
            "**In noise**, motions of any fraction and none; errors in px, medians; the bound is "
            "that of Cramer and Rao (target: 1.5 times):",
            "",
            "| model | SNR | error | bound | ratio of each, median | within what is stated for "
            "68 %, for 95 % | refused | n |",
            "|---" * 8 + "|",
        ]
        for model, snr in product(("rigid", "affine"), (2.0, 1.0)):
            own = [r for r in noisy if (r["model"], r["snr"]) == (model, snr)]
            kept = [r for r in own if r["applied"]]
            off, bounds = (np.array([r[name] for r in kept]) for name in ("missed", "bound"))
            inside = [np.mean([r["missed"] <= r["errors"][k] for r in kept]) for k in (0, 1)]
            text.append(
                f"| {model} | {snr:g} | {np.median(off):.4f} | {np.median(bounds):.4f} "
                f"| {np.median(off / bounds):.2f} | {inside[0]:.0%}, {inside[1]:.0%} "
                f"| {len(own) - len(kept)} | {len(own)} |"
            )
        text.append("")
    text += stated_table([r for r in rows if r["section"] == "stated" and r["applied"]])
    blurred = [r for r in rows if r["section"] == "blur"]
    if blurred:
        text += [
            "**Moving out of focus**, translation, SNR 20; error in px:",
            "",
            "| blur of moving, sigma, px | median error | largest | stated (95 %) | refused | n |",
            "|---" * 6 + "|",
        ]
        for sigma in sorted({r["sigma"] for r in blurred}):
            own = [r for r in blurred if r["sigma"] == sigma]
            kept = [r for r in own if r["applied"]]
            off = [r["missed"] for r in kept] or [np.nan]
            stated = np.median([r["errors"][1] for r in kept]) if kept else np.nan
            text.append(
                f"| {sigma:g} | {np.median(off):.3f} | {max(off):.3f} | {stated:.3f} "
                f"| {len(own) - len(kept)} | {len(own)} |"
            )
        text.append("")
    text += living_table([r for r in rows if r["section"] == "living"])
    return ["## Reach and accuracy of linear models", "", *text] if text else []


def living_table(rows: list[dict]) -> list[str]:
    """Return how exact the shift of a stage is with cells on it that move on their own."""
    if not rows:
        return []
    lines = [
        "**Living cells**: a stage that moved by a shift, cells that moved by 0.6 px (sd of each "
        "axis; one in eight by 5 px) of their own; error in px:",
        "",
        "| model | median error | largest | within what is stated for 68 %, for 95 % | refused "
        "| n |",
        "|---" * 6 + "|",
    ]
    for model in ("translation", "rigid", "similarity", "affine"):
        own = [r for r in rows if r["model"] == model]
        kept = [r for r in own if r["applied"]]
        off = [r["missed"] for r in kept]
        lines.append(
            f"| {model} | {np.median(off):.3f} | {max(off):.3f} | {inside(kept)} "
            f"| {len(own) - len(kept)} | {len(own)} |"
        )
    return [*lines, ""]


def stated_table(rows: list[dict]) -> list[str]:
    """Return how often the truth lies within the errors that the report states."""
    if not rows:
        return []
    noisy = [r for r in rows if r["snr"]]
    cells = {
        name: [r for r in rows if r["model"] == name] for name in ("translation", "rigid", "affine")
    }
    lines = [
        "**The stated error**, motions of any fraction: shifts, and turns or affine changes that "
        "move the corners by 0.01 to 10 px; the truth lies within what is stated for 68 % and "
        "for 95 % (targets: 68 +- 6, 95 +- 3; without noise no less than 0.001 px is stated, more "
        f"than most are off): {inside(noisy)} of all {len(noisy)} with noise.",
        "",
        "| model | no noise | SNR 5 | SNR 2 | SNR 1 | SNR 0.5 | with noise, all | n |",
        "|---" * 8 + "|",
    ]
    for name, own in cells.items():
        some = [inside([r for r in own if r["snr"] == snr]) for snr in (None, 5.0, 2.0, 1.0, 0.5)]
        every = inside([r for r in own if r["snr"]])
        lines.append(f"| {name} | {' | '.join(some)} | {every} | {len(own)} |")
    for kind in dict.fromkeys(r["kind"] for r in noisy):
        own = [r for r in noisy if r["kind"] == kind]
        lines.append(f"| {kind}, all models | | | | | | {inside(own)} | {len(own)} |")
    return [*lines, ""]


def inside(rows: list[dict]) -> str:
    """Say which shares of errors are within the two that are stated."""
    if not rows:
        return "-"
    return ", ".join(
        f"{np.mean([r['missed'] <= r['errors'][k] for r in rows]):.0%}" for k in (0, 1)
    )


def describe(row: dict) -> str:
    snr = f"SNR {row['snr']:g}" if row["snr"] else "no noise"
    scale = f" scale {row['scale']:.2f}" if "scale" in row else ""
    return f"{row['kind']} {row['model']} {snr}{scale}"


def write(options: argparse.Namespace) -> None:
    found = [row for path in options.results for row in read(path)]
    found = [r for r in found if r["seed"] >= FINAL] or found
    rows = [r for r in found if "section" not in r]
    text = [options.head.read_text(encoding="utf-8").rstrip(), ""] if options.head else []
    text += ["## Beside the targets", "", *summary(rows), ""]
    for model in dict.fromkeys(r["model"] for r in rows):
        text += model_tables(rows, model)
    text += linear_tables([r for r in found if "section" in r])
    options.document.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run")
    running.add_argument("results", type=Path)
    running.add_argument("--models", nargs="*", default=list(ROUND), choices=list(ROUND))
    running.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    running.add_argument("--rounds", type=int, default=ROUNDS)
    running.set_defaults(do=run)
    writing = commands.add_parser("write")
    writing.add_argument("document", type=Path)
    writing.add_argument("results", type=Path, nargs="+")
    writing.add_argument("--head", type=Path, help="text that the document begins with")
    writing.set_defaults(do=write)
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()

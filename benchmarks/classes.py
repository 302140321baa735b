"""How often the classes of a map say what is true.

    python benchmarks/classes.py [--seed 3000] [--images final] [same uneven planted beyond]
    python benchmarks/classes.py --seed 3400 thresholds

The first prints the tables of docs/confidence.md, the second writes those of
docs/residual-shift.md: of ten images, by `classify`. Rules and thresholds were
chosen on the images of "tuning" and on those of "earlier", which were looked at while they were;
nothing was changed after those of "final", and no seed from 3000 on, had been looked at.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage
from skimage import data

from napari_local_ncc import NCCParameters, classify, confidence_map, local_ncc, local_shift
from napari_local_ncc.confidence import noise_ceiling
from napari_local_ncc.evidence.noise import noise_model
from napari_local_ncc.ncc.moments import window_moments
from napari_local_ncc.shift import CLASSES

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Image = NDArray[Any]

SIDE, RADIUS, SEARCH = 256, 4, 3
PARAMETERS = NCCParameters(
    radius=RADIUS, search=SEARCH, bands=("ncc", "confidence", "classes", "ceiling")
)
FLAT = 0.05  # grey levels; structure below it is none, where there is no noise
PATCH, RIM = 40, RADIUS + SEARCH  # px; windows that lie in a patch, whatever the search brings


# Images of scikit-image by the upper left corner of what is cut from them.
CROPS = {
    "tuning": {
        "gravel": (100, 100),
        "hubble_deep_field": (200, 300),
        "retina": (500, 500),
        "chelsea": (20, 100),
        "coffee": (50, 150),
        "clock": (20, 60),
    },
    "earlier": {
        "camera": (100, 100),
        "coins": (0, 0),
        "moon": (0, 0),
        "brick": (0, 0),
        "grass": (0, 0),
        "immunohistochemistry": (0, 0),
        "cell": (200, 100),
    },
    "final": {
        "astronaut": (20, 120),
        "rocket": (60, 180),
        "stereo_motorcycle": (100, 200),
        "moon": (256, 256),
        "cell": (400, 250),
        "brick": (256, 256),
    },
}


def photographs(kind: str) -> dict[str, Image]:
    """Real images of the kinds that are compared, crops of 256 px; nuclei beside the final ones."""
    found = {}
    for name, (y, x) in CROPS[kind].items():
        image = getattr(data, name)()
        grey = np.asarray(image[0] if isinstance(image, tuple) else image, float)
        grey = grey if grey.ndim == 2 else grey[..., :3].mean(axis=-1)
        found[name] = grey[y : y + SIDE, x : x + SIDE]
    return found | ({"nuclei": nuclei()} if kind == "final" else {})


def nuclei() -> Image:
    """Bright cells of uneven grain with soft edges, in the dark."""
    rng = np.random.default_rng(8)
    cells = texture(rng, 7.0) > 0.6
    grain = 1.0 + 0.25 * texture(rng, 1.5)
    return 20.0 + 160.0 * scipy.ndimage.gaussian_filter(cells * grain, 1.0)


def classes_and_ceiling(fixed: Image, moving: Image) -> tuple[Image, Image]:
    result = confidence_map(fixed, moving, parameters=PARAMETERS)
    bands = dict(zip(result.band_names, np.asarray(result.bands), strict=True))  # all in one pass
    return bands["classes"], bands["ceiling"]


def shares(classes: Image) -> str:
    return " ".join(f"{np.mean(classes == code):.3f}" for code in range(1, len(CLASSES)))


def print_same(seed: int, kind: str) -> None:
    """The same content twice, in noise of its own."""
    print("| image | SNR | agrees displaced differs beyond cannot tell | agrees, ceiling >= 0.5 |")
    for name, image in photographs(kind).items():
        for snr in (5, 2, 1, 0.5):
            rng = np.random.default_rng([seed, int(10 * snr)])
            noise = rng.normal(size=(2, *image.shape)) * image.std() / snr
            classes, ceiling = classes_and_ceiling(image + noise[0], image + noise[1])
            high = classes[ceiling >= 0.5]
            agrees = f"{np.mean(high == 1):.3f} of {high.size}" if high.size else "-"
            print(f"| {name} | {snr} | {shares(classes)} | {agrees} |", flush=True)


def print_uneven(seed: int, kind: str) -> None:
    """The same content twice, in noise that is stronger in some places."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    fields = {
        "from half to twice": 4.0 ** (x - 0.5),
        "2.5 times in a patch": np.where((abs(y - 0.65) < 0.15) & (abs(x - 0.4) < 0.2), 2.5, 1.0),
    }
    print(
        "| image | noise | SNR | agrees displaced differs beyond cannot tell "
        "| agrees, ceiling >= 0.5 |"
    )
    for name, image in photographs(kind).items():
        for field, sd in fields.items():
            for snr in (5, 2):
                rng = np.random.default_rng([seed, snr, len(field)])
                noise = sd * rng.normal(size=(2, *image.shape)) * image.std() / snr
                classes, ceiling = classes_and_ceiling(image + noise[0], image + noise[1])
                high = classes[ceiling >= 0.5]
                agrees = f"{np.mean(high == 1):.3f} of {high.size}" if high.size else "-"
                print(f"| {name} | {field} | {snr} | {shares(classes)} | {agrees} |", flush=True)


def planted_in(image: Image, rng: Generator) -> tuple[Image, Image]:
    """Return an image with patches that moved by 2 px and patches of other content, and where.

    2 and 3 where a window lies in one of them whatever the search brings, -1 in the rest of them.
    """
    other = np.rot90(image)[::-1]
    planted, truth = image.copy(), np.zeros(image.shape, int)
    for number in range(12):
        y, x = rng.integers(8, SIDE - PATCH - 8, 2)
        patch = (slice(y, y + PATCH), slice(x, x + PATCH))
        if truth[patch].any():
            continue
        inner = (slice(y + RIM, y + PATCH - RIM), slice(x + RIM, x + PATCH - RIM))
        truth[patch] = -1
        truth[inner] = 2 + number % 2
        moved = np.roll(image, (2, 0) if number % 4 else (0, -2), (0, 1))
        planted[patch] = other[patch] if number % 2 else moved[patch]
    return planted, truth


def local_snr(image: Image, planted: Image, noise: float, own: float = 0.0) -> Image:
    """Return the standard deviation of structure in windows over the noise's, where it is less.

    `own` is the noise that the image had before: it is no structure.
    """
    moments = window_moments(image, planted, radius=(RADIUS,) * 2, weights="box")
    structure = np.maximum(np.minimum(*moments.variance) - own**2, 0.0)
    return np.sqrt(structure) / max(np.hypot(noise, own), FLAT)


def own_noise(name: str, image: Image) -> float:
    """Return the noise that a photograph has by itself; drawn images have none."""
    return noise_model(image).sd if any(name in names for names in CROPS.values()) else 0.0


def print_planted(seed: int, kind: str) -> None:
    """Patches of other content, and patches moved by 2 px; windows of local SNR >= 2."""
    print("| image | SNR | moved, n: displaced | changed, n: differs |")
    for name, image in photographs(kind).items():
        for snr in (10, 5, 2):
            rng = np.random.default_rng([seed, snr])
            planted, truth = planted_in(image, rng)
            noise = rng.normal(size=(2, *image.shape)) * image.std() / snr
            fixed, moving = image + noise[0], planted + noise[1]
            classes, _ = classes_and_ceiling(fixed, moving)
            local = local_snr(image, planted, image.std() / snr, own_noise(name, image))
            parts = []
            for code in (2, 3):
                where = (truth == code) & (local >= 2)
                found = f"{np.mean(classes[where] == code):.3f}" if where.sum() > 100 else "-"
                parts.append(f"{where.sum()}: {found}")
            print(f"| {name} | {snr} | {' | '.join(parts)} |", flush=True)


def texture(rng: Generator, sigma: float, side: int = SIDE) -> Image:
    made = scipy.ndimage.gaussian_filter(rng.normal(size=(side + 40, side + 40)), sigma)[
        20:-20, 20:-20
    ]
    return made / made.std()


def print_beyond(seed: int, kind: str) -> None:
    """All of a texture displaced by more than is searched, and unrelated textures."""
    print("| texture sigma | SNR | by search + 1: beyond | by 30 px: beyond | unrelated |")
    for sigma in (1, 2, 3):
        for snr in (20, 5, 2):
            rng = np.random.default_rng([seed, sigma, snr])
            image, other = texture(rng, sigma), texture(rng, sigma)
            noise = rng.normal(size=(4, *image.shape)) / snr
            cells = []
            for moving in (np.roll(image, (4, -2), (0, 1)), np.roll(image, (-24, 18), (0, 1))):
                classes, _ = classes_and_ceiling(image + noise[0], moving + noise[1])
                cells.append(f"{np.mean(classes[34:-34, 34:-34] == 4):.3f}")
            classes, _ = classes_and_ceiling(image + noise[2], other + noise[3])
            print(f"| {sigma} | {snr} | {' | '.join(cells)} | {shares(classes)} |", flush=True)


SNRS = (np.inf, 10, 5, 2, 1, 0.5)
PAGE = Path(__file__).parents[1] / "docs" / "residual-shift.md"
MARKS = "<!-- classes: written by benchmarks/classes.py -->", "<!-- classes: end -->"
FEW = 100  # windows, of which no share is told
Shares = dict[str, list[tuple[float, int]]]  # by what; the share and of how many, of each SNR


def ten_images() -> dict[str, Image]:
    """The final images and three textures."""
    rng = np.random.default_rng(3900)
    drawn = {f"texture of {sigma:g} px": 50 * texture(rng, sigma) for sigma in (0.7, 1.5, 3.0)}
    return photographs("final") | drawn


def classified(fixed: Image, moving: Image) -> dict[str, Image]:
    """Return the classes by thresholds, with the ceiling and without, and the ceiling."""
    ncc = local_ncc(fixed, moving, radius=RADIUS)
    best, gain, *_ = local_shift(fixed, moving, radius=RADIUS, search=SEARCH)
    ceiling = noise_ceiling(fixed, moving, radius=RADIUS)
    with_ceiling = classify(ncc, best, gain, ceiling=ceiling)
    return {"with a ceiling": with_ceiling, "without": classify(ncc, best, gain), "": ceiling}


def measure_image(seed: int, image: Image, own: float) -> dict[str, Shares]:
    """Return, for each way, shares of the same in noise, of planted patches, of all displaced."""
    tables: dict[str, Shares] = {"with a ceiling": {}, "without": {}}
    for number, snr in enumerate(SNRS):
        rng = np.random.default_rng([seed, number])
        sd = image.std() / snr
        planted, truth = planted_in(image, rng)
        noise = sd * rng.normal(size=(2, *image.shape))
        fixed = image + noise[0]
        same = classified(fixed, image + noise[1])
        other = classified(fixed, planted + noise[1])
        moved = classified(fixed, np.roll(image, (SEARCH + 1, -2), (0, 1)) + noise[1])
        known = np.isfinite(same[""])
        is_clear = local_snr(image, planted, sd, own) >= 2
        inner = known & (np.pad(np.ones([n - 32 for n in image.shape]), 16) > 0)
        for way, row in tables.items():
            for name, classes, code, where in (
                ("same: displaced", same[way], 2, known),
                ("same: differs", same[way], 3, known),
                ("same, ceiling >= 0.5: agrees", same[way], 1, same[""] >= 0.5),
                ("moved by 2 px: displaced", other[way], 2, (truth == 2) & is_clear),
                ("changed: differs", other[way], 3, (truth == 3) & is_clear),
                ("all displaced by 4 px: differs", moved[way], 3, inner),
                ("all displaced by 4 px: displaced", moved[way], 2, inner),
            ):
                chosen = classes[where]
                share = float(np.mean(chosen == code)) if chosen.size else np.nan
                row.setdefault(name, []).append((share, chosen.size))
    return tables


def write_curves(seed: int, kind: str) -> None:
    """Write, of ten images, how often `classify` is right at each SNR: of all, and the worst."""
    del kind
    found = {}
    for name, image in ten_images().items():
        found[name] = measure_image(seed, image, own_noise(name, image))
        print(name, found[name], flush=True)
    lines: list[str] = []
    first = next(iter(found.values()))
    for way, rows in first.items():
        lines += [
            "",
            f"| `classify`, {way} | {' | '.join(f'SNR {snr:g}' for snr in SNRS)} | worst |",
        ]
        lines.append("|---" * (len(SNRS) + 2) + "|")
        for what in rows:
            lines.append(_curve(what, {name: ways[way][what] for name, ways in found.items()}))
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    _, after = rest.split(MARKS[1])
    table = "\n".join(lines).strip()
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{after}", encoding="utf-8")


def _curve(what: str, images: dict[str, list[tuple[float, int]]]) -> str:
    """Return a row: at each SNR, of all windows and of the worst image's; the worst of these."""
    is_wrong = what in ("same: displaced", "same: differs", "all displaced by 4 px: displaced")
    cells, all_worst = [], []
    for number, snr in enumerate(SNRS):
        here = {name: row[number] for name, row in images.items() if row[number][1] >= FEW}
        if not here:
            cells.append("-")
            continue
        count = sum(n for _, n in here.values())
        mean = sum(share * n for share, n in here.values()) / count
        worst = (max if is_wrong else min)(here, key=lambda name: here[name][0])
        all_worst.append((here[worst][0], worst, snr))
        cells.append(f"{100 * mean:.1f} ({100 * here[worst][0]:.1f})")
    share, name, snr = (max if is_wrong else min)(all_worst)
    return f"| {what} | {' | '.join(cells)} | {100 * share:.1f}: {name}, SNR {snr:g} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["same", "uneven", "planted", "beyond"])
    parser.add_argument("--seed", type=int, default=3000)
    parser.add_argument("--images", choices=tuple(CROPS), default="final")
    options = parser.parse_args()
    start = time.process_time()
    parts = {
        "same": print_same,
        "uneven": print_uneven,
        "planted": print_planted,
        "beyond": print_beyond,
        "thresholds": write_curves,
    }
    for what in options.what:
        parts[what](options.seed, options.images)
    print(f"{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()

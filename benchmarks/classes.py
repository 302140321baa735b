"""How often the classes of a map say what is true.

    python benchmarks/classes.py [--seed 3000] [--images final] [same uneven planted beyond]

prints the tables of docs/confidence.md. Rules and thresholds were chosen on the images of "tuning"
and on those of "earlier", which were looked at while they were; nothing was changed after those of
"final", and no seed from 3000 on, had been looked at.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage
from skimage import data

from napari_local_ncc import NCCParameters, confidence_map
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


def print_planted(seed: int, kind: str) -> None:
    """Patches of other content, and patches moved by 2 px; windows of local SNR >= 2."""
    print("| image | SNR | moved, n: displaced | changed, n: differs |")
    for name, image in photographs(kind).items():
        other = np.rot90(image)[::-1]
        for snr in (10, 5, 2):
            rng = np.random.default_rng([seed, snr])
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
            noise = rng.normal(size=(2, *image.shape)) * image.std() / snr
            fixed, moving = image + noise[0], planted + noise[1]
            classes, _ = classes_and_ceiling(fixed, moving)
            moments = window_moments(image, planted, radius=(RADIUS,) * 2, weights="box")
            local = np.sqrt(np.minimum(*moments.variance)) / (image.std() / snr)
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
    }
    for what in options.what:
        parts[what](options.seed, options.images)
    print(f"{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()

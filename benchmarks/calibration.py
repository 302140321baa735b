"""How often unrelated structure is taken for related: measured rates of p <= alpha.

    python -m benchmarks.calibration [--data ../shared/data] [--repeats 12]
    python -m benchmarks.calibration uneven siblings [--repeats 30] [--rows rows.md]
    python -m benchmarks.calibration figure

The first prints the tables of even texture and draws docs/calibration.png, the last only draws.
"uneven" measures the table of uneven light and contrast of docs/confidence.md through maps,
"siblings" the same of kinds that nothing was chosen on. Rows are written as they are found: those
that the file of --rows holds already are not measured again; --write puts them into the page.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.unrelated_images import (
    LIGHTS,
    NULLS,
    SIBLINGS,
    UNEVEN,
    strip_classes,
    strips,
)
from napari_local_ncc import NCCParameters, confidence_map, local_ncc
from napari_local_ncc.confidence import effective_samples, relative_contrast
from napari_local_ncc.io import read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Image = NDArray[Any]

MARKS = (
    "<!-- uneven: written by benchmarks/calibration.py -->",
    "<!-- uneven: end -->",
)
ROOT = Path(__file__).parents[1]
PLANE, VOLUME = (512, 768), (56, 96, 288)
RADII = (2, 3, 5, 8, 10)
ALPHAS = (0.05, 0.01)
DRAWN = ("textures", "with Poisson noise", "on a gradient", "real pairs")  # at radius 5
SHARES = np.geomspace(1e-4, 0.5, 25)  # of the figure


def p_values(fixed: Image, moving: Image, radius: int) -> Image:
    """p of a map."""
    parameters = NCCParameters(radius=radius, bands=("ncc", "confidence"))
    result = confidence_map(fixed, moving, parameters=parameters)
    return 1 - result["confidence"].compute(scheduler="synchronous")


def rates(p: Image, classes: Image, alphas: Sequence[float]) -> Image:
    """Rates of p <= alpha, shape (alphas, classes)."""
    known = np.isfinite(p)
    return np.array(
        [[(p[known & (classes == k)] <= alpha).mean() for k in range(3)] for alpha in alphas]
    )


def mean_and_error(found: list[Image], mean: Image | None = None) -> Image:
    """Mean and its standard error, stacked, from the rates of every pair."""
    error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    return np.stack([np.mean(found, axis=0) if mean is None else mean, error])


def synthetic_rates(kind: str, shape: tuple[int, ...], radius: int, repeats: int) -> Image:
    found = []
    for seed in range(repeats):
        rng = np.random.default_rng([seed, radius])
        fixed, moving = (NULLS[kind](rng, strips(rng, shape)) for _ in range(2))
        p = p_values(fixed, moving, radius)
        found.append(rates(p, strip_classes(shape), (*ALPHAS, *SHARES)))
    return mean_and_error(found)


def real_images(data: Path) -> dict[str, Image]:
    cases = data / "cases"
    brain = np.load(cases / "known_pd_2d" / "moving.npy")
    head = np.load(cases / "known_t1_3d" / "moving.npy")[30]
    series = [
        np.asarray(read_image(cases / "mitosis_2ch_series" / f"C{c}-MAX_mitosis_t00-09.tif").data)
        for c in (1, 2)
    ]
    speckle = np.asarray(read_image(cases / "dic_pyvale_rigid" / "rigid_cam0_frame00.tiff").data)
    cells = {f"mitosis C{c + 1}": series[c].reshape(-1, *series[c].shape[-2:])[0] for c in (0, 1)}
    return {"brain PD": brain, "head T1": head, "speckle": speckle, **cells}


def real_rates(data: Path, radius: int) -> Image:
    """Rates in thirds by effective samples, over unrelated pairs turned and mirrored."""
    images = real_images(data)
    pairs = [pair for pair in combinations(images, 2) if len({n.split()[0] for n in pair}) == 2]
    ps, classes = [], []
    for (one, other), turn in product(pairs, range(4)):
        moving = np.rot90(images[other], turn)
        moving = moving[:, ::-1] if (turn + len(one)) % 2 else moving
        common = tuple(slice(0, min(n)) for n in zip(images[one].shape, moving.shape, strict=True))
        pair = images[one][common], moving[common]
        p, numbers = p_values(*pair, radius), effective_samples(*pair, radius=radius)
        known = np.isfinite(p)
        cuts = np.quantile(numbers[known], [1 / 3, 2 / 3])
        thirds = 2 - np.searchsorted(cuts, numbers[known])
        ps.append(p[known])
        classes.append(thirds)
    levels = (*ALPHAS, *SHARES)
    found = [rates(p, thirds, levels) for p, thirds in zip(ps, classes, strict=True)]
    return mean_and_error(found, rates(np.concatenate(ps), np.concatenate(classes), levels))


def power(radius: int, noise: str, repeats: int) -> Image:
    """Share of what the best threshold per known texture detects; shape (alphas, classes)."""
    detected, optimum = [], []
    classes = strip_classes(PLANE)
    for seed in range(repeats):
        rng = np.random.default_rng([seed, radius])
        signal, other = strips(rng, PLANE), strips(rng, PLANE)
        fixed, moving, unrelated = (
            s + (strips(rng, PLANE) if noise == "same texture" else rng.normal(size=PLANE))
            for s in (signal, signal, other)
        )
        p = p_values(fixed, moving, radius)
        ncc, null = (local_ncc(fixed, image, radius=radius) for image in (moving, unrelated))
        detected.append(rates(p, classes, ALPHAS))
        optimum.append(
            [
                [
                    (ncc[classes == k] >= np.quantile(null[classes == k], 1 - alpha)).mean()
                    for k in range(3)
                ]
                for alpha in ALPHAS
            ]
        )
    return np.mean(detected, axis=0) / np.mean(optimum, axis=0)


UNEVEN_SHAPE, UNEVEN_RADII = (256, 256), (2, 3, 5, 10)


def uneven_rates(kind: str, radius: int, repeats: int) -> Image:
    """Rates of a map's p in thirds, by local contrast or by distance from the centre."""
    found = []
    for seed in range(repeats):
        rng = np.random.default_rng([77, seed, radius])
        fixed, moving = ((UNEVEN | SIBLINGS)[kind](rng, UNEVEN_SHAPE) for _ in range(2))
        p = p_values(fixed, moving, radius)
        if kind in LIGHTS:
            order = -LIGHTS[kind](UNEVEN_SHAPE)
        else:
            order = relative_contrast(fixed, moving, radius=(radius, radius))
        thirds = np.searchsorted(np.quantile(order, [1 / 3, 2 / 3]), order)
        found.append(rates(p, thirds, ALPHAS))
    return mean_and_error(found)


def measure_rows(kinds: Sequence[str], repeats: int, file: Path) -> None:
    """Add the rows of some kinds that a file does not hold to it, each as it is found."""
    known = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    begun = [" | ".join(row.split(" | ")[:2]) for row in known]
    for radius, kind in product(UNEVEN_RADII, kinds):
        if f"| {kind} | {radius}" in begun:
            continue
        row = row_of_rates(kind, radius, uneven_rates(kind, radius, repeats))
        print(row, flush=True)
        with file.open("a", encoding="utf-8") as rows:
            rows.write(row + "\n")


def write_rows(file: Path) -> None:
    """Put the rows of a file, by kind and radius, into docs/confidence.md."""
    found = file.read_text(encoding="utf-8").splitlines()
    place = [f"| {kind} | {r} |" for kind in (*UNEVEN, *SIBLINGS) for r in UNEVEN_RADII]
    rows = [row for start in place for row in found if row.startswith(start)]
    head = [
        "| null | radius | rate / 0.05, in thirds | ± | rate / 0.01 | ± |",
        "|---|---|---|---|---|---|",
    ]
    page = ROOT / "docs" / "confidence.md"
    before, rest = page.read_text(encoding="utf-8").split(MARKS[0])
    _, after = rest.split(MARKS[1])
    table = "\n".join(head + rows)
    page.write_text(f"{before}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{after}", encoding="utf-8")


def draw_figure(data: Path, repeats: int) -> None:
    """Measure what the figure shows, and draw it."""
    names = [name for name in DRAWN if name in NULLS]
    curves = {name: synthetic_rates(name, PLANE, 5, repeats)[0] for name in names}
    draw(curves | {"real pairs": real_rates(data, 5)[0]})


def auc(score: Image, positive: Image) -> float:
    known = np.isfinite(score)
    ranks, positive = rankdata(score[known]), positive[known]
    n = positive.sum()
    return (ranks[positive].sum() - n * (n + 1) / 2) / (n * (~positive).sum())


def row_of_rates(name: str, radius: int, found: Image) -> str:
    over = " | ".join(
        " ".join(f"{rate / alpha:.2f}" for rate in row) + f" | {max(error) / alpha:.2f}"
        for alpha, row, error in zip(ALPHAS, *found, strict=False)
    )
    return f"| {name} | {radius} | {over} |"


def print_planted(data: Path) -> None:
    pair = np.load(data / "cases" / "planted_pd_2d" / "pair.npz")
    for radius in (2, 3, 5, 8):
        p = p_values(pair["fixed"], pair["moving"], radius)
        ncc = local_ncc(pair["fixed"], pair["moving"], radius=radius)
        by_p, by_ncc = (auc(score, pair["mismatch"]) for score in (p, 1 - ncc))
        print(
            f"planted, radius {radius}: AUC of 1 - confidence {by_p:.4f}, of 1 - ncc {by_ncc:.4f}"
        )


def draw(curves: dict[str, Image]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(3.2 * len(curves), 3.4), sharey=True)
    for ax, (title, found) in zip(axes, curves.items(), strict=True):
        ax.fill_between(SHARES, 0.8 * SHARES, 1.2 * SHARES, color="0.88", label="± 20 %")
        for k, name in enumerate(("fine", "medium", "coarse")):
            ax.loglog(SHARES, found[len(ALPHAS) :, k], label=name, color=f"C{k}")
        ax.set(title=title, xlabel="p at or below", xlim=(1e-4, 0.5), ylim=(5e-5, 0.6))
    axes[0].set_ylabel("measured rate, unrelated structure")
    axes[0].legend(fontsize=8, title="texture")
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "calibration.png", dpi=110)


def tasks(data: Path, repeats: int) -> list[tuple[str, int, Callable[[], Image]]]:
    """Name, radius and computation of every row of the table."""
    found: list[tuple[str, int, Callable[[], Image]]] = [
        (kind, radius, partial(synthetic_rates, kind, PLANE, radius, repeats))
        for kind, radius in product(NULLS, RADII)
    ]
    found += [
        (f"3-D {kind}", radius, partial(synthetic_rates, kind, VOLUME, radius, repeats // 3 + 1))
        for kind, radius in product(("textures", "on a gradient"), (2, 3))
    ]
    found += [("real pairs", radius, partial(real_rates, data, radius)) for radius in RADII]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("even", "uneven", "siblings", "figure")
    parser.add_argument("parts", nargs="*", choices=parts, default=["even"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=Path, default=Path("calibration-rows.md"))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    for part, kinds in (("uneven", UNEVEN), ("siblings", SIBLINGS)):
        if part in options.parts:
            measure_rows(tuple(kinds), options.repeats, options.rows)
    if options.write:
        write_rows(options.rows)
    if "figure" in options.parts:
        draw_figure(options.data, options.repeats)
    if "even" not in options.parts:
        return
    start = time.perf_counter()
    rows = tasks(options.data, options.repeats)
    curves = {}
    print("| null | radius | rate / 0.05: fine, medium, coarse | ± | rate / 0.01 | ± |")
    print("|---|---|---|---|---|---|")
    with ProcessPoolExecutor(options.workers) as pool:
        futures = [pool.submit(compute) for _, _, compute in rows]
        power_rows = [
            (noise, radius, pool.submit(power, radius, noise, options.repeats // 2 + 1))
            for noise, radius in product(("same texture", "white"), (2, 3, 5))
        ]
        for (name, radius, _), future in zip(rows, futures, strict=True):
            print(row_of_rates(name, radius, future.result()), flush=True)
            if radius == 5 and name in DRAWN:
                curves[name] = future.result()[0]
        print("\n| noise | radius | share of the optimum at 0.05 | at 0.01 |\n|---|---|---|---|")
        for noise, radius, future in power_rows:
            shares = [" ".join(f"{x:.3f}" for x in row) for row in future.result()]
            print(f"| {noise} | {radius} | {' | '.join(shares)} |", flush=True)
    print_planted(options.data)
    draw(curves)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()

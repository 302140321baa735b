"""How far rigid, similarity and affine reach, and how exact they and the errors they state are.

    python benchmarks/linear_evidence.py reach results.jsonl --pairs 100
    python benchmarks/linear_evidence.py volumes results.jsonl --pairs 48
    python benchmarks/linear_evidence.py noise results.jsonl --pairs 25   # for each model and SNR
    python benchmarks/linear_evidence.py stated results.jsonl --pairs 50  # for each model and SNR
    python benchmarks/linear_evidence.py exact results.jsonl --pairs 10
    python benchmarks/linear_evidence.py blur results.jsonl --pairs 10
    python benchmarks/linear_evidence.py living results.jsonl --pairs 32
    python benchmarks/linear_evidence.py time              # needs pystackreg
    python benchmarks/linear_evidence.py series pc12-unreg.tif    # the same, and its example

The first seven add a line for each pair to a file, and go on where they were stopped;
`registration_evidence.py write` counts. Scenes are read by quintic splines from images of
1024 px, at twice their spacing or more. Seeds from `FINAL` on are those of figures that are quoted.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg
from scipy import ndimage as ndi
from skimage import data

from napari_local_ncc import register
from napari_local_ncc.registration.affine.least_squares import generators
from napari_local_ncc.registration.affine.orientations import axis_orientations

if TYPE_CHECKING:
    from collections.abc import Callable

    Image = np.ndarray[Any, Any]
    Matrix = np.ndarray[Any, Any]
    Generator = np.random.Generator

FINAL = 1_000_000
WORLD = 1024  # px of a scene
SIDE = 256  # px of an image
KINDS = ("photograph", "texture", "nuclei", "discs", "filaments")
PHOTOGRAPHS = ("camera", "coins", "moon", "gravel", "immunohistochemistry")


def scene(kind: str, random: Generator) -> Image:
    """Return a scene of WORLD px whose structures are a few px wide at twice their spacing."""
    if kind == "photograph":
        image = getattr(data, random.choice(PHOTOGRAPHS))().astype(float)
        image = image.mean(axis=-1) if image.ndim == 3 else image
        image = ndi.zoom(image, WORLD / min(image.shape), order=3)[:WORLD, :WORLD]
        return ndi.gaussian_filter(image, 1.2)
    if kind == "texture":
        parts = [ndi.gaussian_filter(random.normal(size=(WORLD, WORLD)), s) for s in (3, 9)]
        return sum(part / part.std() for part in parts)
    image = np.zeros((WORLD, WORLD))
    if kind == "filaments":
        for _ in range(60):
            at, way = random.uniform(0, WORLD, 2), random.uniform(0, 2 * np.pi)
            for _ in range(700):
                way += random.normal(0, 0.05)
                at = at + np.array([np.sin(way), np.cos(way)])
                if (at >= 0).all() and (at < WORLD - 1).all():
                    image[tuple(at.astype(int))] += 1
        return ndi.gaussian_filter(image, 2.5)
    for _ in range(60 if kind == "discs" else 160):
        centre, axes = random.uniform(0, WORLD, 2), random.uniform(10, 30, 2)
        axes = axes[[0, 0]] if kind == "discs" else axes
        turn = random.uniform(0, np.pi)
        low = np.maximum(centre.astype(int) - 31, 0)
        y, x = np.mgrid[low[0] : low[0] + 63, low[1] : low[1] + 63].astype(float)
        u = (y - centre[0]) * np.cos(turn) + (x - centre[1]) * np.sin(turn)
        v = (x - centre[1]) * np.cos(turn) - (y - centre[0]) * np.sin(turn)
        inside = (u / axes[0]) ** 2 + (v / axes[1]) ** 2 < 1
        part = image[low[0] : low[0] + 63, low[1] : low[1] + 63]
        part[...] = np.maximum(
            part, (inside * random.uniform(0.5, 1))[: part.shape[0], : part.shape[1]]
        )
    return ndi.gaussian_filter(image, 2)


def turn(degrees: float) -> Matrix:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, -sin], [sin, cos]])


def view(image: Image, linear: Matrix, centre: Image, side: int = SIDE) -> tuple[Image, Matrix]:
    """Return `side` px a side of a scene (NaN outside), and the map of its pixels to those."""
    ndim = image.ndim
    spacing = abs(np.linalg.det(linear)) ** (1 / ndim)
    blurred = (
        ndi.gaussian_filter(image, 0.5 * np.sqrt(max(spacing**2 - 1, 0))) if spacing > 2 else image
    )
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] = linear
    matrix[:-1, -1] = centre - linear @ np.full(ndim, (side - 1) / 2)
    read = ndi.affine_transform(
        blurred, linear, matrix[:-1, -1], (side,) * ndim, order=5, mode="constant", cval=np.nan
    )
    return read, matrix


def add_noise(image: Image, snr: float, random: Generator) -> Image:
    return image + random.normal(size=image.shape) * np.nanstd(image) / snr


def missed(matrix: Matrix, truth: Matrix, fixed: Image) -> float:
    """Mean distance over the overlap, in px of fixed."""
    at = np.argwhere(np.isfinite(fixed))[::7]
    at = np.c_[at, np.ones(len(at))]
    there = at @ truth.T
    kept = ((there[:, :-1] >= 0) & (there[:, :-1] <= np.array(fixed.shape) - 1)).all(axis=1)
    away = (at @ (np.linalg.inv(truth) @ matrix).T - at)[kept, :-1]
    return float(np.linalg.norm(away, axis=1).mean()) if kept.any() else np.nan


def bound(clean: Image, truth: Matrix, model: str, noise: float) -> float:
    """Cramer and Rao's: root mean square distance, px, of the best unbiased estimate."""
    slopes = np.stack(np.gradient(clean)).reshape(2, -1)
    at = np.stack([*np.indices(clean.shape).reshape(2, -1), np.ones(clean.size)])
    middle = np.diag([SIDE, SIDE, 1.0])
    middle[:2, 2] = SIDE / 2
    moves = (middle @ generators(model, 2) @ np.linalg.inv(middle))[:, :2] @ at
    rows = np.einsum("kdn,dn->kn", moves, slopes)
    covariance = 2 * noise**2 * np.linalg.inv(rows @ rows.T)
    return float(np.sqrt(np.einsum("kdn,ldn,kl->n", moves, moves, covariance).mean()))


def registered(
    images: list[Image], model: str, truth: Matrix, initial: Matrix | None = None
) -> dict[str, Any]:
    """Register a pair, and say how far off the transform is."""
    begin = time.process_time()
    found = register(*images, model=model, initial=initial)
    seconds = time.process_time() - begin
    report = found.reports[0]
    return {
        "model": model,
        "applied": bool(report.applied),
        "missed": missed(found.matrix, truth, images[0]),
        "significance": float(report.significance),
        "errors": (float(report.error_px), float(report.error95_px)),
        "seconds": seconds,
    }


def reach(seed: int, k: int) -> list[dict[str, Any]]:
    """Any rotation and scale, overlaps of 25 % of the smaller image or more."""
    random = np.random.default_rng(seed)
    kind, snr = KINDS[k % len(KINDS)], (np.inf, 5.0, 2.0)[k % 3]
    degrees, scale = random.uniform(0, 360), 4 ** random.uniform(-1, 1)
    model = ("rigid", "similarity", "affine")[k % 3]
    scale = 1.0 if model == "rigid" else scale
    coarse = min(2.0, WORLD / SIDE / 1.45)
    spacing = coarse if scale >= 1 else coarse * scale
    widths = SIDE * spacing * np.array([1, 1 / scale])
    way = random.uniform(0, 2 * np.pi)
    far = random.uniform(0, 0.5) * widths.min() + (widths.max() - widths.min()) * 0.3
    offset = far * np.array([np.sin(way), np.cos(way)])
    image = scene(kind, random)
    fixed, to_scene = view(image, spacing * np.eye(2), np.full(2, WORLD / 2) - offset / 2)
    moving, its = view(image, spacing / scale * turn(-degrees), np.full(2, WORLD / 2) + offset / 2)
    truth = np.linalg.inv(its) @ to_scene
    images = [add_noise(a, snr, random) for a in (fixed, moving)]
    about = {"kind": kind, "snr": snr, "degrees": degrees, "scale": scale}
    return [{**about, **registered(images, model, truth)}]


def volumes(seed: int, k: int) -> list[dict[str, Any]]:
    """One of the 24 axis orientations, tilted by up to 20 degrees, of 48 px volumes."""
    random = np.random.default_rng(seed)
    snr = (np.inf, 5.0, 2.0)[k % 3]
    side = 48
    parts = [ndi.gaussian_filter(random.normal(size=(80,) * 3), s) for s in (1.5, 4)]
    image = sum(part / part.std() for part in parts)
    axis = random.normal(size=3)
    axis *= np.deg2rad(random.uniform(0, 20)) / np.linalg.norm(axis)
    tilt = linalg.expm(np.cross(np.eye(3), axis))
    linear = tilt @ axis_orientations()[k % 24]
    fixed, to_scene = view(image, np.eye(3), np.full(3, 39.5), side)
    moving, its = view(image, linear, 39.5 + random.uniform(-6, 6, 3), side)
    truth = np.linalg.inv(its) @ to_scene
    images = [add_noise(a, snr, random) for a in (fixed, moving)]
    return [{"kind": "volume", "snr": snr, **registered(images, "rigid", truth)}]


def noise(seed: int, k: int) -> list[dict[str, Any]]:
    """Small motions in noise, their errors beside Cramer and Rao's bound."""
    rows = []
    for model in ("rigid", "affine"):
        random = np.random.default_rng(seed)
        kind = KINDS[k % len(KINDS)]
        image = scene(kind, random)
        still = k % 4 == 0  # nothing moved
        linear = np.eye(2) if still else turn(random.uniform(-8, 8))
        if model == "affine" and not still:
            linear = linear @ (np.eye(2) + random.uniform(-0.05, 0.05, (2, 2)))
        centre = np.full(2, WORLD / 2)
        fixed, to_scene = view(image, 2 * np.eye(2), centre)
        moving, its = view(image, 2 * linear, centre + (0 if still else random.uniform(-6, 6, 2)))
        truth = np.linalg.inv(its) @ to_scene
        for snr in (2.0, 1.0):
            images = [add_noise(a, snr, random) for a in (fixed, moving)]
            limit = bound(fixed, truth, model, fixed.std() / snr)
            about = {"kind": kind, "snr": snr, "still": still, "bound": limit}
            rows.append({**about, **registered(images, model, truth)})
    return rows


def stated(seed: int, k: int) -> list[dict[str, Any]]:
    """Motions of any fraction, many of them small, and what the report says of their error.

    Begun near the truth, as the error does not depend on how a start was found.
    """
    rows = []
    random = np.random.default_rng([seed, 7])
    kind = KINDS[k % len(KINDS)]
    image = scene(kind, random)
    size = 10 ** random.uniform(-2, 1)  # px by which a corner moves, beside the shift
    centre = np.full(2, WORLD / 2)
    fixed, to_scene = view(image, 2 * np.eye(2), centre)
    for model in ("translation", "rigid", "affine"):
        linear = np.eye(2)
        if model == "rigid":
            linear = turn(np.rad2deg(size / SIDE) * random.choice([-1, 1]))
        elif model == "affine":
            linear = linear + random.uniform(-1, 1, (2, 2)) * size / SIDE
        moving, its = view(image, 2 * linear, centre + random.uniform(-20, 20, 2))
        truth = np.linalg.inv(its) @ to_scene
        near = truth.copy()
        near[:2, 2] += random.uniform(-0.4, 0.4, 2)
        for snr in (np.inf, 5.0, 2.0, 1.0, 0.5):
            images = [add_noise(a, snr, random) for a in (fixed, moving)]
            about = {"kind": kind, "snr": snr, "size": size}
            rows.append({**about, **registered(images, model, truth, initial=near)})
    return rows


def exact(seed: int, k: int) -> list[dict[str, Any]]:
    """Plane waves without noise, which are read exactly wherever pixels lie."""
    rows = []
    for model in ("translation", "rigid", "affine"):
        random = np.random.default_rng(seed)
        truth = np.eye(3)
        if model != "translation":
            truth[:2, :2] = turn(random.uniform(-15, 15))
        if model == "affine":
            truth[:2, :2] += random.uniform(-0.05, 0.05, (2, 2))
        middle = np.full(2, (SIDE - 1) / 2)
        truth[:2, 2] = middle - truth[:2, :2] @ middle + random.uniform(-8, 8, 2)
        directions = random.normal(size=(60, 2))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        vectors = 2 * np.pi * directions / random.uniform(7, 40, (60, 1))
        phases = random.uniform(0, 2 * np.pi, (60, 1))
        at = np.indices((SIDE, SIDE)).reshape(2, -1).astype(float)
        moved = truth[:2, :2] @ at + truth[:2, 2:]
        fixed, moving = (
            np.cos(vectors @ p + phases).sum(axis=0).reshape(SIDE, SIDE) for p in (moved, at)
        )
        rows.append({"kind": "waves", "snr": np.inf, **registered([fixed, moving], model, truth)})
    return rows


def blur(seed: int, k: int) -> list[dict[str, Any]]:
    """Moving out of focus: a shift, and moving blurred."""
    rows = []
    for sigma in (0.0, 2.0, 4.0, 6.0, 10.0):
        random = np.random.default_rng(seed)
        kind = KINDS[k % len(KINDS)]
        image = scene(kind, random)
        centre = np.full(2, WORLD / 2)
        fixed, to_scene = view(image, 2 * np.eye(2), centre)
        shift = random.uniform(-12, 12, 2)
        moving, its = view(ndi.gaussian_filter(image, 2 * sigma), 2 * np.eye(2), centre + shift)
        truth = np.linalg.inv(its) @ to_scene
        images = [add_noise(a, 20.0, random) for a in (fixed, moving)]
        rows.append(
            {"kind": kind, "snr": 20.0, "sigma": sigma} | registered(images, "translation", truth)
        )
    return rows


def cells(
    ground: Image, places: Image, shapes: Image, stage: Image, noise: float, random: Generator
) -> Image:
    """Return phase contrast of cells, dark with a bright halo, on ground that the stage moved."""
    at = np.indices((SIDE, SIDE)).astype(float)
    margin = (len(ground) - SIDE) // 2
    image = ndi.shift(ground, stage, order=5)[margin : margin + SIDE, margin : margin + SIDE]
    for place, (angle, long, short, contrast) in zip(places + stage, shapes, strict=True):
        y, x = at - place[:, None, None]
        along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
        r = np.hypot(along / long, across / short)
        image += contrast * (
            1.5 * np.exp(-(((r - 1.15) / 0.25) ** 2)) - 0.8 * np.exp(-((r / 0.8) ** 4))
        )
    return image + random.normal(0, noise, image.shape)


def living(seed: int, k: int) -> list[dict[str, Any]]:
    """A stage that moved by a shift, and cells that moved, turned and changed on their own, too."""
    rows = []
    random = np.random.default_rng([seed, 11])
    ground = ndi.gaussian_filter(random.normal(size=(SIDE + 40,) * 2), 2)
    ground *= 0.12 / ground.std()
    number = random.integers(20, 50)
    places = random.uniform(-10, SIDE + 10, (number, 2))
    low, high = [0, 7, 5, 0.5], [np.pi, 14, 8, 1.5]  # angle, half axes, contrast
    shapes = random.uniform(low, high, (number, 4))
    moved = places + random.normal(0, 0.6, places.shape)
    far = random.random(number) < 0.12
    moved[far] += random.normal(0, 5, (np.count_nonzero(far), 2))
    turned = shapes + random.normal(0, [0.05, 0, 0, 0.08], shapes.shape)
    truth = np.eye(3)
    truth[:2, 2] = random.uniform(-3, 3, 2)
    for noise in (0.05, 0.5):
        images = [
            cells(ground, places, shapes, np.zeros(2), noise, random),
            cells(ground, moved, turned, truth[:2, 2], noise, random),
        ]
        for model in ("translation", "rigid", "similarity", "affine"):
            found = registered(images, model, truth, initial=truth)
            rows.append({"kind": "cells", "snr": 1 / noise, **found})
    return rows


TRIALS: dict[str, Callable[[int, int], list[dict[str, Any]]]] = {
    "reach": reach,
    "volumes": volumes,
    "noise": noise,
    "stated": stated,
    "exact": exact,
    "blur": blur,
    "living": living,
}


def add_rows(section: str, results: Path, first: int, pairs: int) -> None:
    """Add what is not in a file yet, pair by pair."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    done = {(row.get("section"), row["seed"]) for row in map(json.loads, lines)}
    with results.open("a", encoding="utf-8") as file:
        for k in range(pairs):
            if (section, first + k) in done:
                continue
            for row in TRIALS[section](first + k, k):
                snr = row["snr"] if np.isfinite(row["snr"]) else None
                row |= {"section": section, "seed": first + k, "snr": snr}
                file.write(json.dumps(row) + "\n")
                print(row, flush=True)
            file.flush()


def compare_time() -> None:
    """Processor time of rigid and translation beside TurboReg's, in turns, once warm."""
    from pystackreg import StackReg

    for side in (512, 2048):
        image = ndi.zoom(data.camera().astype(float), side / 512, order=1)
        middle = np.full(2, (side - 1) / 2)
        for model, degrees, kind in (
            ("rigid", 6, StackReg.RIGID_BODY),
            ("translation", 0, StackReg.TRANSLATION),
        ):
            linear = turn(degrees)
            begin = middle - linear @ middle + [9, -7]
            fixed = ndi.affine_transform(image, linear, begin, mode="nearest")
            spent: dict[str, list[float]] = {"TurboReg": [], model: []}
            for _ in range(4):
                for name in spent:
                    begun = time.process_time()
                    if name == model:
                        register(fixed, image, model=model)
                    else:
                        StackReg(kind).register(fixed, image)
                    spent[name].append(time.process_time() - begun)
            theirs, ours = (min(seconds[1:]) for seconds in spent.values())
            print(
                f"{side} px {model}: {ours:.2f} s, TurboReg {theirs:.2f} s: {ours / theirs:.2f} x",
                flush=True,
            )


def likeness(fixed: Image, moving: Image, matrix: Matrix) -> float:
    """NCC of the overlap, of images smoothed alike: interpolation that smooths earns nothing."""
    here, there = (ndi.gaussian_filter(image, 0.8) for image in (fixed, moving))
    moved = ndi.affine_transform(
        there, matrix[:2, :2], matrix[:2, 2], order=3, mode="constant", cval=np.nan
    )
    both = np.isfinite(moved)
    return float(np.corrcoef(here[both], moved[both])[0, 1])


def compare_series(path: Path) -> None:
    """Every step of one frame and of two beside StackReg's: distance, likeness, closed loops."""
    import tifffile
    from pystackreg import StackReg

    frames = tifffile.imread(path).astype(float)
    at = np.stack([*np.indices(frames[0].shape).reshape(2, -1), np.ones(frames[0].size)])

    def apart(one: Matrix, other: Matrix) -> float:
        return float(np.linalg.norm(((one - other) @ at)[:2], axis=0).mean())

    for model, kind in (
        ("translation", StackReg.TRANSLATION),
        ("rigid", StackReg.RIGID_BODY),
        ("similarity", StackReg.SCALED_ROTATION),
        ("affine", StackReg.AFFINE),
    ):
        ours, theirs = {}, {}
        for i, j in [(i, i + k) for k in (1, 2) for i in range(len(frames) - k)]:
            pair = frames[i], frames[j]
            found = StackReg(kind).register(*pair)[::-1, ::-1]  # x, y, 1
            theirs[i, j] = np.eye(3)
            theirs[i, j][:2, :2], theirs[i, j][:2, 2] = found[1:, 1:], found[1:, 0]
            own = register(*pair, model=model)
            ours[i, j] = own.matrix
            print(
                f"{model} {i}-{j}: {apart(ours[i, j], theirs[i, j]):.3f} px apart, NCC "
                f"{likeness(*pair, ours[i, j]):.5f}, StackReg's {likeness(*pair, theirs[i, j]):.5f}"
                f"; {own.reports[0].note}",
                flush=True,
            )
        away = [apart(ours[step], theirs[step]) for step in ours if step[1] - step[0] == 1]
        open_by = [  # by two steps of one frame, and by one of two
            max(
                apart(by[i + 1, i + 2] @ by[i, i + 1], by[i, i + 2]) for i in range(len(frames) - 2)
            )
            for by in (ours, theirs)
        ]
        print(
            f"{model}: median {np.median(away):.3f}, largest {max(away):.3f} px; loops open by "
            f"{open_by[0]:.3f} px at most, StackReg's by {open_by[1]:.3f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=(*TRIALS, "time", "series"))
    parser.add_argument("path", nargs="?", type=Path, help="results, or a series of frames")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--first", type=int, default=FINAL)
    given = parser.parse_args()
    if given.what == "time":
        compare_time()
    elif given.path is None:
        parser.error(f"{given.what} needs a path")
    elif given.what == "series":
        compare_series(given.path)
    else:
        add_rows(given.what, given.path, given.first, given.pairs)


if __name__ == "__main__":
    main()

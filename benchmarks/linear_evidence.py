"""How far rigid, similarity and affine reach, how exact they are, and what they wrongly apply.

    python benchmarks/linear_evidence.py reach --pairs 20
    python benchmarks/linear_evidence.py unrelated --model rigid --pairs 40
    python benchmarks/linear_evidence.py noise --model affine --pairs 20
    python benchmarks/linear_evidence.py time              # needs pystackreg
    python benchmarks/linear_evidence.py series pc12-unreg.tif    # the same

Scenes are read by quintic splines from images of 1024 px, at twice their spacing or more. Seeds
from `FINAL` on are those of figures that are quoted.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi
from skimage import data

from napari_local_ncc import register
from napari_local_ncc.registration.affine.least_squares import generators

if TYPE_CHECKING:
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
    y, x = np.mgrid[:WORLD, :WORLD].astype(float)
    if kind == "photograph":
        image = getattr(data, random.choice(PHOTOGRAPHS))().astype(float)
        image = image.mean(axis=-1) if image.ndim == 3 else image
        image = ndi.zoom(image, WORLD / min(image.shape), order=3)[:WORLD, :WORLD]
        return ndi.gaussian_filter(image, 1.2)
    if kind == "texture":
        parts = [ndi.gaussian_filter(random.normal(size=x.shape), s) for s in (3, 9)]
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
        u = (y - centre[0]) * np.cos(turn) + (x - centre[1]) * np.sin(turn)
        v = (x - centre[1]) * np.cos(turn) - (y - centre[0]) * np.sin(turn)
        inside = (u / axes[0]) ** 2 + (v / axes[1]) ** 2 < 1
        image = np.maximum(image, inside * random.uniform(0.5, 1))
    return ndi.gaussian_filter(image, 2)


def turn(degrees: float) -> Matrix:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, -sin], [sin, cos]])


def view(image: Image, linear: Matrix, centre: Image) -> tuple[Image, Matrix]:
    """Return SIDE x SIDE px of a scene (NaN outside), and the map of its pixels to the scene's."""
    spacing = np.sqrt(abs(np.linalg.det(linear)))
    blurred = (
        ndi.gaussian_filter(image, 0.5 * np.sqrt(max(spacing**2 - 1, 0))) if spacing > 2 else image
    )
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre - linear @ np.full(2, (SIDE - 1) / 2)
    read = ndi.affine_transform(
        blurred, linear, matrix[:2, 2], (SIDE, SIDE), order=5, mode="constant", cval=np.nan
    )
    return read, matrix


def add_noise(image: Image, snr: float, random: Generator) -> Image:
    return image + random.normal(size=image.shape) * np.nanstd(image) / snr


def missed(matrix: Matrix, truth: Matrix, fixed: Image) -> float:
    """Mean distance over the overlap, in px of fixed."""
    at = np.argwhere(np.isfinite(fixed))[::7]
    at = np.c_[at, np.ones(len(at))]
    there = at @ truth.T
    kept = ((there[:, :2] >= 0) & (there[:, :2] <= SIDE - 1)).all(axis=1)
    away = (at @ (np.linalg.inv(truth) @ matrix).T - at)[kept, :2]
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


def reach(first: int, pairs: int) -> None:
    """Any rotation and scale, overlaps of 25 % of the smaller image or more."""
    right = wrong = 0
    for k in range(pairs):
        random = np.random.default_rng(first + k)
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
        moving, its = view(
            image, spacing / scale * turn(-degrees), np.full(2, WORLD / 2) + offset / 2
        )
        truth = np.linalg.inv(its) @ to_scene
        images = [add_noise(a, snr, random) for a in (fixed, moving)]
        begin = time.process_time()
        found = register(*images, model=model)
        off = missed(found.matrix, truth, fixed)
        applied = found.reports[0].applied
        right += applied and off < 0.01 * SIDE
        wrong += applied and off >= 0.01 * SIDE
        print(
            f"{k} {kind} SNR {snr:g} {model} turn {degrees:.0f} scale {scale:.2f}: "
            f"off {off:.3f} px, applied {applied}, {found.reports[0].significance:.2f}, "
            f"{time.process_time() - begin:.1f} s; right {right}, wrong {wrong} of {k + 1}",
            flush=True,
        )


def unrelated(model: str, first: int, pairs: int) -> None:
    """Two scenes of a kind: nothing is right but a refusal."""
    applied = 0
    for k in range(pairs):
        random = np.random.default_rng(first + k)
        kind, snr = KINDS[k % len(KINDS)], (np.inf, 2.0, 1.0, 0.5)[k % 4]
        images = []
        for part in range(2):
            image = scene(kind, np.random.default_rng(2 * (first + k) + part))
            if kind == "photograph":
                image = np.roll(image, 512 * part, axis=part)[:: 1 - 2 * part]
            read = view(image, 2 * np.eye(2), np.full(2, WORLD / 2))[0]
            images.append(add_noise(read, snr, random))
        report = register(*images, model=model).reports[0]
        applied += report.applied
        print(
            f"{k} {kind} SNR {snr:g}: applied {report.applied}, {report.significance:.2f}; "
            f"wrong {applied} of {k + 1}",
            flush=True,
        )


def noise(model: str, first: int, pairs: int) -> None:
    """Errors beside the bound, and how often the truth lies within what is stated."""
    for snr in (np.inf, 2.0, 1.0):
        errors, bounds, within = [], [], []
        for k in range(pairs):
            random = np.random.default_rng(first + k)
            image = scene(KINDS[k % len(KINDS)], random)
            linear = turn(random.uniform(-8, 8))
            if model == "affine":
                linear = linear @ (np.eye(2) + random.uniform(-0.05, 0.05, (2, 2)))
            centre = np.full(2, WORLD / 2)
            fixed, to_scene = view(image, 2 * np.eye(2), centre)
            moving, its = view(image, 2 * linear, centre + random.uniform(-6, 6, 2))
            truth = np.linalg.inv(its) @ to_scene
            found = register(*(add_noise(a, snr, random) for a in (fixed, moving)), model=model)
            report, off = found.reports[0], missed(found.matrix, truth, fixed)
            errors.append(off if report.applied else np.nan)
            bounds.append(bound(fixed, truth, model, fixed.std() / snr))
            within.append((off <= report.error_px, off <= report.error95_px))
        shares = np.mean(within, axis=0)
        print(
            f"{model} SNR {snr:g}: median error {np.nanmedian(errors):.4f} px, bound (rms) "
            f"{np.median(bounds):.4f} px; within what is stated {shares[0]:.0%}, {shares[1]:.0%}; "
            f"refused {np.isnan(errors).sum()} of {pairs}",
            flush=True,
        )


def compare_time() -> None:
    """Processor time of rigid beside TurboReg's."""
    from pystackreg import StackReg

    for side in (512, 2048):
        image = ndi.zoom(data.camera().astype(float), side / 512, order=1)
        linear = turn(6)
        middle = np.full(2, (side - 1) / 2)
        fixed = ndi.affine_transform(
            image, linear, middle - linear @ middle + [9, -7], mode="nearest"
        )
        for name, work in (
            ("TurboReg", lambda a, b: StackReg(StackReg.RIGID_BODY).register(a, b)),
            ("rigid", lambda a, b: register(a, b, model="rigid")),
        ):
            seconds = []
            for _ in range(3):
                begin = time.process_time()
                work(fixed, image)
                seconds.append(time.process_time() - begin)
            print(f"{side} px {name}: {min(seconds):.2f} s", flush=True)


def compare_series(path: str) -> None:
    """Distance of every step (to the frame before) from StackReg's."""
    import tifffile
    from pystackreg import StackReg

    frames = tifffile.imread(path).astype(float)
    for model, kind in (
        ("translation", StackReg.TRANSLATION),
        ("rigid", StackReg.RIGID_BODY),
        ("similarity", StackReg.SCALED_ROTATION),
        ("affine", StackReg.AFFINE),
    ):
        away = []
        for before, after in pairwise(frames):
            theirs = StackReg(kind).register(before, after)[::-1, ::-1]
            other = np.eye(3)
            other[:2, :2], other[:2, 2] = theirs[1:, 1:], theirs[1:, 0]
            ours = register(before, after, model=model)
            at = np.stack([*np.indices(before.shape).reshape(2, -1), np.ones(before.size)])
            away.append(np.linalg.norm(((ours.matrix - other) @ at)[:2], axis=0).mean())
            print(model, f"{away[-1]:.3f} px", ours.reports[0].note, flush=True)
        print(f"{model}: median {np.median(away):.3f}, largest {max(away):.3f} px", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("reach", "unrelated", "noise", "time", "series"))
    parser.add_argument("path", nargs="?")
    parser.add_argument("--model", default="rigid")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--first", type=int, default=FINAL)
    given = parser.parse_args()
    if given.what == "reach":
        reach(given.first, given.pairs)
    elif given.what == "unrelated":
        unrelated(given.model, given.first, given.pairs)
    elif given.what == "noise":
        noise(given.model, given.first, given.pairs)
    elif given.what == "time":
        compare_time()
    else:
        compare_series(given.path)


if __name__ == "__main__":
    main()

"""Pair, series, command line and widget decide alike: one transform, one verdict."""

import numpy as np
import pytest
import tifffile
from scipy import ndimage as ndi

from napari_local_ncc import SpatialImage, register
from napari_local_ncc.cli import main
from napari_local_ncc.transforms.registration import Registration

SIDE, MARGIN = 128, 30
AXES = {"axis_labels": ("t", "y", "x"), "spatial": (False, True, True)}
MOVED = {"related": True, "turned": True, "pattern": True, "unrelated": False, "noise": False}
SLOW = pytest.mark.nightly
CASES = [
    ("translation", ("related", "unrelated", "pattern", "noise")),
    ("rigid", ("turned",)),
    pytest.param("rigid", ("unrelated", "related"), marks=SLOW),
    pytest.param("affine", ("turned", "unrelated"), marks=SLOW),
    pytest.param("flow", ("related", "unrelated"), marks=SLOW),
]


def cells(seed, count, width, side=SIDE + 2 * MARGIN):
    """Bright spots on a dark ground."""
    random = np.random.default_rng(seed)
    image = np.zeros((side, side))
    image[tuple(random.integers(0, side, (2, count)))] = random.uniform(300, 900, count)
    return 2 * np.pi * width**2 * ndi.gaussian_filter(image, width)


def part(scene, shift=(0, 0)):
    y, x = MARGIN - np.array(shift)
    return scene[y : y + SIDE, x : x + SIDE]


def pair(name):
    """Return two images of 16 bits, each with shot noise of its own."""
    random = np.random.default_rng(0)
    camera = 40 * random.normal(size=(SIDE, SIDE))
    scene = cells(1, 60, 4)
    images = {
        "related": lambda: (part(scene), part(scene, (9, -6))),
        "turned": lambda: (part(scene), part(ndi.rotate(scene, 25, reshape=False), (4, 3))),
        "unrelated": lambda: (part(cells(2, 7, 8)), part(cells(3, 7, 8))),
        "pattern": lambda: (part(scene) + camera, part(scene, (7, -5)) + camera),
        "noise": lambda: [100 + 20 * random.normal(size=(SIDE, SIDE)) for _ in range(2)],
    }[name]()
    return [random.poisson(np.maximum(image + 200, 0)).astype(np.uint16) for image in images]


def by_series(pairs, masks, model):
    """Register all pairs as the time points of two series."""
    fixed, moving, masks = (
        SpatialImage.from_array(np.stack(frames), **AXES)
        for frames in (*zip(*pairs, strict=True), masks)
    )
    found = register(fixed, moving, model=model, mask=masks)
    return [found.frame((k,)) for k in range(len(pairs))]


def by_command(pair, mask, model, folder):
    files = [folder / f"{name}.tif" for name in ("fixed", "moving", "mask")]
    for file, image in zip(files, (*pair, mask), strict=True):
        tifffile.imwrite(file, image)
    out = folder / "T.json"
    words = ["register", *files[:2], "--mask", files[2], "--model", model, "-o", out, "--overwrite"]
    assert main([str(word) for word in words]) == 0
    return Registration.load(out)


def by_widget(pair, mask, model, viewer, dock, run):
    """Press Run, and take the transform that the widget then offers."""
    for name, image in zip(("fixed", "moving"), pair, strict=True):
        dock[name].value = viewer.add_image(image)
    dock["mask"].value = viewer.add_labels(mask)
    dock["registration"].value = model
    run(dock)
    return dock._choices._transforms.named(f"last: {model}")


@pytest.mark.parametrize(("model", "names"), CASES)
def test_every_door_gives_the_same_verdict(model, names, tmp_path, viewer, dock, run):
    pairs = [pair(name) for name in names]
    masks = [np.indices((SIDE, SIDE))[0] >= 10 * (k % 2) for k in range(len(names))]
    masks = [mask.astype(np.uint8) for mask in masks]
    series = by_series(pairs, masks, model)
    for name, images, mask, from_series in zip(names, pairs, masks, series, strict=True):
        alone = register(*images, mask=mask, model=model)
        (expected,) = alone.reports
        assert bool(np.abs(alone.matrix[:2] - np.eye(3)[:2]).max() > 0.1) == MOVED[name]
        assert model == "flow" or expected.applied == MOVED[name]
        in_napari = by_widget(images, mask, model, viewer, dock, run)
        for found in (by_command(images, mask, model, tmp_path), in_napari, from_series):
            (report,) = found.reports
            np.testing.assert_array_equal(found.matrix, alone.matrix)
            np.testing.assert_array_equal(found.displacement, alone.displacement)
            assert repr(report) == repr(expected), name

"""The command line: the main job on files, and one clear line for bad input."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import scipy.ndimage
import tifffile
from skimage.io import imsave

from napari_local_ncc import local_ncc, read_map
from napari_local_ncc.cli import main
from napari_local_ncc.cli.console import follow, interrupt, tell_unraisable
from napari_local_ncc.progress import Progress, Step


@pytest.fixture
def pair(tmp_path, rng):
    """Two npy images of which one is the other, displaced by (3, -5)."""
    field = rng.normal(size=(90, 100)).cumsum(axis=0)
    np.save(tmp_path / "fixed.npy", field[10:74, 10:84])
    np.save(tmp_path / "moving.npy", field[7:71, 15:89])
    return tmp_path / "fixed.npy", tmp_path / "moving.npy"


def run(*words):
    return main([str(word) for word in words])


def test_the_demo_shows_what_it_says(tmp_path, capsys):
    assert run("demo", "-o", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "shift y -7.2" in printed
    assert (tmp_path / "out" / "figure.png").stat().st_size > 50_000
    ncc = np.asarray(read_map(tmp_path / "out" / "ncc.ome.zarr")["ncc"])
    assert np.nanmedian(ncc) > 0.9
    assert f"after    median {np.nanmedian(ncc):.3f}" in printed
    assert run("demo", "-o", tmp_path / "out") == 2
    assert "exists" in capsys.readouterr().err
    assert run("demo", "-o", tmp_path / "out", "--overwrite") == 0


@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.tif", ".tif", ".npy"])
def test_map_registers_and_writes(tmp_path, pair, capsys, ending):
    output = tmp_path / f"out{ending}"
    assert run("map", *pair, "-o", output, "--register", "translation", "--radius", 3) == 0
    printed = capsys.readouterr()
    assert "y 3.000 px, x -5.000 px" in printed.out
    assert str(output) in printed.out
    written = read_map(output)
    ncc = np.asarray(written["ncc"])
    assert ncc.shape == (64, 74)
    np.testing.assert_allclose(ncc[np.isfinite(ncc)], 1, atol=1e-6)
    assert written.parameters.radius == 3
    np.testing.assert_allclose(written.registration.translation, (3, -5))


def test_a_transform_is_found_once_and_applied(tmp_path, pair, capsys):
    transform = tmp_path / "t.json"
    assert run("register", *pair, "-o", transform) == 0
    assert "y 3.000 px, x -5.000 px" in capsys.readouterr().out
    assert run("register", *pair, "-o", transform) == 2
    assert run("register", *pair, "-o", tmp_path / "t.png") == 2
    assert run("map", *pair, "-o", tmp_path / "o.npy", "--transform", transform) == 0
    np.testing.assert_allclose(np.nanmin(np.load(tmp_path / "o.npy")), 1, atol=1e-6)
    words = ("--transform", transform, "--register", "translation")
    assert run("map", *pair, "-o", tmp_path / "o2.npy", *words) == 2
    assert "not both" in capsys.readouterr().err


def test_map_without_registration_is_local_ncc(tmp_path, pair):
    assert run("map", *pair, "-o", tmp_path / "out.npy", "--weights", "gaussian") == 0
    expected = local_ncc(*map(np.load, pair), weights="gaussian")
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected)


def test_png_and_tiff_in_physical_units(tmp_path, rng, capsys):
    image = rng.integers(0, 255, (50, 60), dtype=np.uint8)
    imsave(tmp_path / "a.png", image, check_contrast=False)
    tifffile.imwrite(
        tmp_path / "b.ome.tif",
        np.stack([image, image[::-1]]),
        metadata={"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
    )
    words = ("--select-fixed", "c=0", "--select-moving", "c=0", "--radius", "1um")
    output = tmp_path / "o.npy"
    assert run("map", tmp_path / "b.ome.tif", tmp_path / "b.ome.tif", "-o", output, *words) == 0
    assert "window 5x5 px = 2.5 µm" in capsys.readouterr().out
    plot = tmp_path / "p.png"
    words = ("-o", tmp_path / "o2.npy", "--plot", plot)
    assert run("map", tmp_path / "a.png", tmp_path / "a.png", *words) == 0
    assert plot.stat().st_size > 10_000


def test_missing_units_are_asked_for(tmp_path, rng, capsys):
    image = rng.integers(0, 255, (50, 60), dtype=np.uint8)
    imsave(tmp_path / "a.png", image, check_contrast=False)
    metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "b.ome.tif", image, metadata=metadata)
    words = ("map", tmp_path / "a.png", tmp_path / "b.ome.tif", "-o", tmp_path / "o.npy")
    assert run(*words) == 2
    assert "--unitless pixels" in capsys.readouterr().err
    assert run(*words, "--unitless", "pixels", "--interpolation", "cubic") == 0
    assert "its pixels are taken for the other's" in capsys.readouterr().err
    assert np.nanmin(np.load(tmp_path / "o.npy")) > 0.999


def test_ndim_takes_a_stack_plane_by_plane(tmp_path, rng):
    stack = rng.normal(size=(2, 4, 20, 20))
    for name, data in zip("ab", stack, strict=True):
        np.save(tmp_path / f"{name}.npy", data)
    words = ("-o", tmp_path / "o.npy", "--ndim", 2, "--radius", 2)
    assert run("map", tmp_path / "a.npy", tmp_path / "b.npy", *words) == 0
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), local_ncc(*stack, radius=(0, 2, 2)))


def test_mask_restricts_the_samples(tmp_path, pair):
    mask = np.zeros((64, 74), np.uint8)
    mask[10:40, 20:60] = 1
    np.save(tmp_path / "mask.npy", mask)
    output = tmp_path / "o.npy"
    words = ("--mask", tmp_path / "mask.npy", "--min-valid", 0)
    assert run("map", *pair, "-o", output, *words) == 0
    np.testing.assert_array_equal(np.isfinite(np.load(output)), mask > 0)


def bad_inputs(folder):
    (folder / "text.tif").write_text("this is no image", encoding="utf-8")
    np.save(folder / "one.npy", np.zeros((8, 8)))
    np.save(folder / "line.npy", np.arange(9.0))
    np.save(folder / "deep.npy", np.zeros((3, 8, 8)))
    np.save(folder / "empty.npy", np.zeros((0, 8)))
    np.save(folder / "complex.npy", np.zeros((8, 8), complex))
    np.save(folder / "object.npy", np.array([[{}]], object), allow_pickle=True)
    (folder / "there.npy").write_bytes(b"precious")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("map nothing.npy one.npy -o o.npy", "nothing.npy"),
        ("map text.tif one.npy -o o.npy", "text.tif"),
        ("map one.npy deep.npy -o o.npy", "spatial axes"),
        ("map empty.npy empty.npy -o o.npy", "empty"),
        ("map complex.npy one.npy -o o.npy", "complex128"),
        ("map object.npy one.npy -o o.npy", "object"),
        ("map one.npy one.npy -o there.npy", "exists"),
        ("map one.npy one.npy -o o.jpg", "o.jpg"),
        ("map one.npy there.npy -o there.npy --overwrite", "is the input"),
        ("map one.npy one.npy -o o.npy --mask there.npy --plot there.npy", "must end in"),
        ("register one.npy one.npy -o one.npy --overwrite", "is the input"),
        ("map one.npy one.npy -o o.npy --transform o.npy.json", "there is no file"),
        ("register one.npy one.npy -o o.json --model none", "none"),
        ("map line.npy line.npy -o o.npy --register affine", "2 or 3 spatial axes"),
        ("map one.npy one.npy -o o.npy --radius 4.5", "4.5"),
        ("map one.npy one.npy -o o.npy --radius 99999999999999999999", "1000000"),
        ("map line.npy line.npy -o o.ome.tif --register translation", "write .npy instead"),
        ("map one.npy one.npy -o no/o.npy", "folder"),
        ("map one.npy one.npy -o o.npy --radius -1", "-1"),
        ("map one.npy one.npy -o o.npy --radius wide", "wide"),
        ("map one.npy one.npy -o o.npy --radius 1um", "no physical pixel size"),
        ("map one.npy one.npy -o o.npy --weights round", "round"),
        ("map one.npy one.npy -o o.npy --bands shift", "must contain ncc"),
        ("map one.npy one.npy -o o.npy --search far", "far"),
        ("map one.npy one.npy -o o.npy --min-valid 3", "min_valid"),
        ("map one.npy one.npy -o o.npy --register warp", "warp"),
        ("map one.npy one.npy -o o.npy --register translation", "constant"),
        ("map one.npy one.npy -o o.npy --select-fixed c=0", "c"),
        ("map one.npy one.npy -o o.npy --select-fixed c", "c=0,t=3"),
        ("map one.npy one.npy -o o.npy --plot p.xyz", "p.xyz"),
        ("map one.npy one.npy -o o.npy --level-moving 3", "level 3"),
        ("map one.npy one.npy -o o.npy --interpolation sinc", "sinc"),
        ("map one.npy one.npy -o o.npy --unitless maybe", "maybe"),
        ("map one.npy one.npy", "--output"),
        ("map one.npy", "MOVING"),
        ("map one.npy one.npy -o o.npy --radiux 3", "--radiux"),
        ("fly", "fly"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, monkeypatch, capsys, words, message):
    bad_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert run(*words.split()) == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert lines[-1].startswith("local-ncc: ")
    assert message.lower() in lines[-1].lower()
    assert not [line for line in lines if "Traceback" in line]
    assert printed.out == ""
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.npy").read_bytes() == b"precious"


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(FileNotFoundError):
        run("map", tmp_path / "a.npy", tmp_path / "b.npy", "-o", tmp_path / "o.npy", "--debug")


@pytest.mark.parametrize(
    "words", ["map a.npy b.npy -o o.npy --register", "register a.npy b.npy -o T.json --model"]
)
def test_what_is_doubtful_ends_with_3_where_that_is_asked_for(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        np.save(f"{name}.npy", np.random.default_rng(ord(name)).normal(size=(90, 90)))
    assert run(*words.split(), "translation", "--strict") == 3
    assert "done, but doubtful (--strict): " in capsys.readouterr().err
    assert run(*words.split(), "translation", "--overwrite") == 0


def test_help_names_the_commands(capsys):
    assert run("--help") == 0
    printed = capsys.readouterr().out
    assert "demo" in printed
    assert "map" in printed


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize(
    "name", ["SIGINT", "SIGHUP", pytest.param("SIGTERM", marks=pytest.mark.nightly)]
)
def test_an_interrupted_run_leaves_nothing(tmp_path, name):
    image = np.random.default_rng(0).random((3000, 3000), "f4")
    np.save(tmp_path / "a.npy", image)
    words = ["map", "a.npy", "a.npy", "-o", "o.ome.zarr", "--radius", "60", "--weights", "gaussian"]
    # Under nohup, or in a script's background, pytest ignores signals; the program heeds that.
    code = f"import signal, sys; signal.signal(signal.{name}, signal.default_int_handler)\n"
    code += "from napari_local_ncc.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=tmp_path, stderr=subprocess.PIPE, encoding="utf-8"
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("o.ome.zarr*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_an_interrupt_that_python_ignored_ends_the_run_at_the_next_step(monkeypatch):
    monkeypatch.setattr("napari_local_ncc.cli.console.INTERRUPTION", threading.Event())
    done = []

    def steps():
        for k in range(5):
            if k == 2:
                with suppress(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)
            yield Progress(Step.COMPARE, k, 5)
            done.append(k)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            follow(steps())
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == [0, 1]


def test_python_says_nothing_of_an_interrupt_that_it_ignored(capsys, monkeypatch):
    class Ending:
        def __init__(self, error):
            self.error = error

        def __del__(self):
            raise self.error

    monkeypatch.setattr(sys, "unraisablehook", tell_unraisable)
    Ending(KeyboardInterrupt())
    assert capsys.readouterr().err == ""
    Ending(KeyError("lost"))
    assert "KeyError: 'lost'" in capsys.readouterr().err


def test_all_bands_are_told_in_a_line_each(tmp_path, pair, capsys):
    output = tmp_path / "out.ome.zarr"
    assert run("map", *pair, "-o", output, "--register", "translation", "--radius", 3,
               "--bands", "ncc,confidence,shift", "--search", 2, "--fdr", 0.01) == 0  # fmt: skip
    told = capsys.readouterr()
    titles = [line.split()[0] for line in told.out.splitlines()]
    for title in ("compare", "register", "ncc", "confidence", "detects", "shift", "classes", "map"):
        assert title in titles
    assert "false discovery rate of 1%" in told.out
    assert "calibrate" in told.err
    assert read_map(output).band_names[:2] == ("ncc", "confidence")


def test_refining_is_told_and_makes_a_better_map(tmp_path, capsys):
    rng = np.random.default_rng(1)
    texture = scipy.ndimage.gaussian_filter(rng.normal(size=(120, 130)), 1.5)
    rows, columns = np.indices(texture.shape, float)
    shift = 2 * np.sin(columns / 40)
    moved = scipy.ndimage.map_coordinates(texture, [rows + shift, columns], order=3, mode="nearest")
    for name, image in (("a", moved), ("b", texture)):
        np.save(tmp_path / f"{name}.npy", image)
    medians = []
    for options in ([], ["--refine"]):
        output = tmp_path / f"out{len(options)}.npy"
        assert run("map", tmp_path / "a.npy", tmp_path / "b.npy", "-o", output, *options) == 0
        medians.append(np.nanmedian(read_map(output)["ncc"].compute()))
    assert "refine   " in capsys.readouterr().out
    assert medians[1] > medians[0] + 0.2

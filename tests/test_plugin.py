"""What the package promises from outside: manifest, imports, a wheel that works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import import_module
from pathlib import Path

import pytest
from npe2 import PluginManifest

import napari_local_ncc

HEAVY = ("napari", "qtpy", "PyQt6", "PySide6", "matplotlib", "numba", "SimpleITK", "magicgui")


@pytest.fixture(scope="module")
def manifest():
    manifest = PluginManifest.from_distribution("napari-local-ncc")
    manifest.validate_imports()
    return manifest


def test_the_manifest_at_the_top_is_the_packaged_one(repository, manifest):
    packaged = repository / "src" / "napari_local_ncc" / "napari.yaml"
    assert (repository / "napari.yaml").read_text(encoding="utf-8") == packaged.read_text(
        encoding="utf-8"
    )
    assert manifest.name == "napari-local-ncc"


def test_the_widget_is_in_the_menus_that_napari_knows(manifest):
    from napari._app_model.constants import MenuId

    assert [widget.display_name for widget in manifest.contributions.widgets] == [
        "Local NCC",
        "Local NCC inspector",
    ]
    assert {str(MenuId.LAYERS_REGISTER), str(MenuId.LAYERS_MEASURE)} == set(
        manifest.contributions.menus
    )


def test_every_sample_opens_as_a_pair(manifest):
    samples = manifest.contributions.sample_data
    commands = {command.id: command.python_name for command in manifest.contributions.commands}
    assert len(samples) >= 3
    for sample in samples:
        module, _, function = commands[sample.command].partition(":")
        (fixed, where, kind), (moving, _, _) = getattr(import_module(module), function)()
        assert kind == "image"
        assert fixed.shape[-2:] == moving.shape[-2:]
        assert len(where["axis_labels"]) == fixed.ndim


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules); import napari_local_ncc; "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert found.stdout.strip() == "[]"


def test_the_library_never_loads_napari():
    modules = "napari_local_ncc.cli, napari_local_ncc.io, napari_local_ncc.reports.figures"
    names = "local_ncc, register, confidence_map, read_image, write_map, read_map"
    code = (
        f"import sys, {modules}; from napari_local_ncc import {names}; "
        "print([m for m in ('napari', 'qtpy', 'magicgui') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert found.stdout.strip() == "[]"


def test_every_public_name_is_there():
    assert {
        "local_ncc",
        "local_shift",
        "calibrate",
        "Calibration",
        "register",
        "confidence_map",
        "read_image",
        "read_map",
        "write_map",
        "Grid",
        "SpatialImage",
        "Registration",
        "ConfidenceMap",
        "NCCParameters",
        "Comparison",
        "apply_to_image",
        "apply_to_labels",
        "apply_to_points",
        "classify",
        "effective_samples",
        "false_discovery_threshold",
        "label_table",
        "read_transform",
        "refine",
        "resample",
        "run_comparison",
        "window_pair",
        "write_transform",
    } == set(napari_local_ncc.__all__)
    for name in napari_local_ncc.__all__:
        assert getattr(napari_local_ncc, name).__doc__
    with pytest.raises(AttributeError, match="fog"):
        _ = napari_local_ncc.fog


def test_the_command_is_installed():
    found = subprocess.run(
        [sys.executable, "-m", "napari_local_ncc", "--help"], capture_output=True, encoding="utf-8"
    )
    assert found.returncode == 0
    assert "demo" in found.stdout


def commands_of_the_readme(repository):
    """Return the shell commands of the README, in their order."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    return [block.strip() for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)]


def test_the_readme_promises_two_commands(repository):
    first, *_, last = commands_of_the_readme(repository)
    assert first.endswith("local-ncc demo")
    assert last == "bash .ci/test"
    assert (repository / last.split()[1]).exists()


def run(*words, cwd, env=None):
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=env, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.nightly
@pytest.mark.network
@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell command")
def test_the_readme_s_first_command_in_a_clean_clone(repository, tmp_path):
    """It installs everything, with all dependencies, and runs the main job."""
    git = shutil.which("git")
    if git is None or not (repository / ".git").exists():
        pytest.skip("not a git clone")
    run(git, "clone", "-q", repository, "clone", cwd=tmp_path)
    command = commands_of_the_readme(repository)[0].replace("python3.11", sys.executable, 1)
    assert "shift y -7.2" in run("bash", "-c", command, cwd=tmp_path / "clone")
    assert (tmp_path / "clone" / "local-ncc-demo" / "figure.png").exists()


@pytest.mark.nightly
@pytest.mark.network
def test_a_wheel_in_a_clean_environment_works(repository, tmp_path):
    """Install it without napari, with the dependencies that it names, and run the main job."""
    run(sys.executable, "-m", "venv", "venv", cwd=tmp_path)
    scripts = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    run(scripts / "python", "-m", "pip", "install", "-q", f"{repository}[plot]", cwd=tmp_path)
    run(scripts / "npe2", "validate", "napari-local-ncc", cwd=tmp_path)
    run(scripts / "local-ncc", "demo", "-o", "demo", cwd=tmp_path)
    assert (tmp_path / "demo" / "ncc.ome.zarr" / "zarr.json").exists()
    assert (tmp_path / "demo" / "figure.png").exists()


@pytest.mark.network
@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
def test_a_wheel_works_and_one_over_it_gives_its_own_numbers(repository, tmp_path):
    """The second differs only in a function that is inlined; the machine code's cache stays."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    run(*pip, "wheel", "--no-deps", "-w", "1", repository, cwd=tmp_path)
    (first,) = (tmp_path / "1").glob("napari_local_ncc-*.whl")
    second = tmp_path / "2" / first.name
    second.parent.mkdir()
    with zipfile.ZipFile(first) as old, zipfile.ZipFile(second, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("ncc/kernels/pearson.py"):
                data = re.sub(rb"(?m)r = (max.+)$", rb"r = np.float32(0.5) * \1", data)
                assert data != old.read(name)
            new.writestr(name, data)
    assert {"napari_local_ncc/napari.yaml", "napari_local_ncc/py.typed"} <= set(old.namelist())
    # an environment of its own, with the dependencies of this one
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=tmp_path)
    scripts = tmp_path / "venv" / "bin"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(scripts / "python", "-c", code, cwd=tmp_path, env=env).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    install = (*pip, "--python", scripts / "python", "install", "--no-deps", "--force-reinstall")
    code = (
        "import numpy as np; from napari_local_ncc import local_ncc; "
        "a = np.random.default_rng(0).normal(size=(16, 16)); print(local_ncc(a, a, radius=4).max())"
    )
    run(*install, first, cwd=tmp_path, env=env)
    said = run(scripts / "local-ncc", "demo", cwd=tmp_path, env=env)
    assert "shift y -7.2" in said
    assert (tmp_path / "local-ncc-demo" / "ncc.ome.zarr" / "zarr.json").exists()
    assert (tmp_path / "local-ncc-demo" / "figure.png").exists()
    assert float(run(scripts / "python", "-c", code, cwd=tmp_path, env=env)) == 1
    run(*install, second, cwd=tmp_path, env=env)
    assert float(run(scripts / "python", "-c", code, cwd=tmp_path, env=env)) == 0.5


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("displacement", "classify"),
        ("recipe", "as_python"),
        ("refine", "refine"),
        ("statistics", "effective_samples"),
        ("tables", "label_table"),
    ],
)
def test_what_the_documents_taught_is_still_found(module, name):
    assert callable(getattr(import_module(f"napari_local_ncc.{module}"), name))
    assert callable(napari_local_ncc.refine)  # not hidden by the module of that name

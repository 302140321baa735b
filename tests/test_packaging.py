"""What a package index, a release and a newcomer read agrees with itself."""

from __future__ import annotations

import configparser
import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location

import pytest
import yaml


def script(repository, name):
    spec = spec_from_file_location(name, repository / "packaging" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def home(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    return project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["home"]


def test_links_of_the_readme_work_on_a_package_index(repository, home):
    pytest.importorskip("hatchling")
    metadata = script(repository, "metadata")
    found = metadata.with_absolute_links(
        "![a map](docs/demo.png), [how](docs/registration.md#starts), [napari](https://napari.org)"
        ", [below](#licence)",
        home,
    )
    assert found == (
        f"![a map]({home}/raw/main/docs/demo.png), [how]({home}/blob/main/docs/registration.md"
        "#starts), [napari](https://napari.org), [below](#licence)"
    )
    readme = (repository / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", metadata.with_absolute_links(readme, home))
    assert links
    assert all(link.startswith(("https://", "#")) for link in links)


def test_links_of_the_readme_lead_to_files(repository):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", readme):
        assert (repository / link).exists(), link


def test_the_project_has_one_address(repository, home):
    """So that it is changed in one place, and in the citation."""
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["repository-code"] == home
    pages = [*repository.glob("*.md"), *repository.glob("docs/*.md"), *repository.glob(".*/*.md")]
    assert [path.name for path in pages if home in path.read_text(encoding="utf-8")] == []


def test_the_plugin_has_an_icon_and_categories(repository):
    path = repository / "src" / "napari_local_ncc" / "napari.yaml"
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    package, name = manifest["icon"].split(":")
    assert (repository / "src" / package.replace(".", "/") / name).is_file()
    assert "Registration" in manifest["categories"]


def test_a_release_names_one_version(repository):
    versions = script(repository, "check_version").versions()
    assert versions["pyproject.toml"] == versions["CITATION.cff"]


def test_a_tag_of_another_version_is_refused(repository, capsys):
    assert script(repository, "check_version").main("v99.0") == 1
    assert "the tag is v99.0" in capsys.readouterr().err


def test_nothing_is_released_from_a_placeholder(repository, capsys, monkeypatch):
    check = script(repository, "check_version")
    monkeypatch.setattr(check, "versions", lambda: {"pyproject.toml": "1.2.3"})
    monkeypatch.setattr(check, "home", lambda: "https://example.org/somewhere")
    assert check.main("v1.2.3") == 1
    assert "placeholder" in capsys.readouterr().err
    monkeypatch.setattr(check, "home", lambda: "https://github.com/who/what")
    assert check.main("v1.2.3") == 0


def test_workflows_run_environments_that_there_are(repository):
    tox = configparser.ConfigParser()
    tox.read(repository / "tox.ini", encoding="utf-8")
    known = {name.removeprefix("testenv:") for name in tox.sections()} | {"test"}
    named = set()
    for path in (repository / ".github" / "workflows").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        assert yaml.safe_load(text)["jobs"]
        named |= set(re.findall(r"env: ([\w-]+)", text))
        named |= {
            name for each in re.findall(r"tox run -e ([\w,-]+)", text) for name in each.split(",")
        }
    assert named
    assert named - known == set()


def test_the_core_environment_names_tests_that_there_are(repository):
    tox = configparser.ConfigParser()
    tox.read(repository / "tox.ini", encoding="utf-8")
    for path in tox["core"]["tests"].split():
        assert (repository / path).is_file()


def test_the_conda_recipe_asks_for_what_the_package_does(repository):
    text = (repository / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    asked = {line.replace(" ", "") for line in yaml.safe_load(text)["requirements"]["run"]}
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    other_names = {"dask[array]": "dask-core", "yaozarrs[write-zarr]": "yaozarrs"}
    needed = {f"python{project['requires-python']}"}
    for each in project["dependencies"]:
        name, bound = each.split(">=")
        needed.add(f"{other_names.get(name, name)}>={bound}")
    assert asked == needed
    assert f'version: "{project["version"]}"' in text


@pytest.mark.parametrize("path", ["snakemake/local_ncc.smk", "nextflow/local_ncc.nf"])
def test_workflow_engines_give_options_that_there_are(repository, path):
    """Neither engine is a dependency of the tests; what they would run is checked."""
    from typer.main import get_command

    from napari_local_ncc.cli import map as _  # noqa: F401, adds itself to the app
    from napari_local_ncc.cli.options import app

    text = (repository / "packaging" / path).read_text(encoding="utf-8")
    options = set(re.findall(r"(?<![\w-])(--[a-z-]+)", text)) - {"--version", "--quiet"}
    known = {word for each in get_command(app).commands["map"].params for word in each.opts}
    assert {"--register", "--json", "--report"} <= options
    assert options <= known

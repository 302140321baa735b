"""How the house is built: what CONTRIBUTING says of it."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from importlib.util import module_from_spec, spec_from_file_location

import grimp
import pytest

NAME = "napari-local-ncc"
WITH_NAPARI = {"qtpy", "vispy", "psygnal", "superqt"}  # what it brings
# used where a user, or bioio, brings them
HANDED_IN = {"cupy", "cupyx", "pandas", "xarray", "bioio_base"}


def benchmark(repository, name):
    spec = spec_from_file_location(name, repository / "benchmarks" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def house(repository):
    return benchmark(repository, "house")


def test_packages_stay_small(house):
    packages = house.modules_by_package()
    assert packages.pop("napari_local_ncc") <= 6
    assert max(packages.values()) <= 16, packages.most_common(3)


def test_no_modules_import_one_another(house):
    assert house.circles() == []


def test_what_is_imported_is_declared():
    """Else an installation without what brings it by chance lacks it."""
    graph = grimp.build_graph("napari_local_ncc", include_external_packages=True, cache_dir=None)
    names = {name for name in graph.modules if not name.startswith("napari_local_ncc")}
    owners = metadata.packages_distributions()
    declared = {re.match(r"[\w.-]+", line)[0].lower() for line in metadata.requires(NAME)}
    undeclared = {
        name
        for name in names - set(sys.stdlib_module_names)
        if not declared & {owner.lower().replace("_", "-") for owner in owners.get(name, [name])}
    }
    assert undeclared <= WITH_NAPARI | HANDED_IN
    for name in undeclared & WITH_NAPARI:
        importers = graph.find_modules_that_directly_import(name)
        assert all(each.startswith("napari_local_ncc._napari") for each in importers), name


def test_rows_that_a_killed_benchmark_left_are_not_taken_for_measured_ones(repository, tmp_path):
    rows = benchmark(repository, "shift_accuracy").known_rows
    file = tmp_path / "rows.md"
    assert rows(file, "abc") == []
    with file.open("a", encoding="utf-8") as left:
        left.write("| 0.7, 3 | 1 %; 2, 3 %; 4 |\n| 1, 3 | 1 %; 2\n| 1, 5 |")
    assert rows(file, "abc") == ["| 0.7, 3 | 1 %; 2, 3 %; 4 |"]
    with pytest.raises(ValueError, match="begins 'commit abc'"):
        rows(file, "def")

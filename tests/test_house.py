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


@pytest.fixture(scope="module")
def house(repository):
    spec = spec_from_file_location("house", repository / "benchmarks" / "house.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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

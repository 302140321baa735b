"""How the house is built: what CONTRIBUTING says of it."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location

import pytest


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


def test_reading_an_image_loads_no_engine(house):
    loaded = house.modules_loaded("from napari_local_ncc.io import read_image")
    assert len(loaded) <= 30
    assert not [name for name in loaded if ".registration" in name or ".kernels" in name]

"""Every public name has an example, and its examples say the truth."""

from __future__ import annotations

import doctest
import inspect
import sys

import pytest

import napari_local_ncc


@pytest.mark.parametrize("name", sorted(napari_local_ncc.__all__))
def test_the_examples_of(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    public = getattr(napari_local_ncc, name)
    module = sys.modules[public.__module__]
    found = doctest.DocTestFinder(recurse=False).find(public, name, module, globs={})
    assert found[0].examples, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said = []
    runner.run(found[0], out=said.append)
    assert not runner.failures, "".join(said)


def test_stepwise_functions_show_what_they_return():
    """In help() and for editors: the result, not the generator of the steps."""
    signature = inspect.signature(napari_local_ncc.confidence_map, follow_wrapped=False)
    assert napari_local_ncc.confidence_map.__annotations__["return"] == "ConfidenceMap"
    assert napari_local_ncc.confidence_map.__name__ == "confidence_map"
    assert signature.return_annotation == "ConfidenceMap"

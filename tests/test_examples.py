"""Every name of the reference has an example, and its examples say the truth."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import runpy
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

import napari_local_ncc

HOOKS = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "site_hooks.py"))
NAMES = re.findall(r"(?m)^::: (\S+)$", HOOKS["api_page"]())
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def text_of(name):
    """Return the docstring of a class or function, or what stands below a constant."""
    package, _, short = name.rpartition(".")
    module = import_module(package)
    public = getattr(module, short)
    if inspect.isclass(public) or inspect.isfunction(public):
        return public.__doc__
    stub = Path(module.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    (source,) = re.findall(rf"(?m)^from \.([\w.]+) import {short} as", stub)
    source = import_module(f"{package}.{source}")
    return text_below(short, ast.parse(Path(source.__file__).read_text(encoding="utf-8")))


def text_below(constant, tree):
    """Return the docstring of a constant: the text right below its assignment."""
    blocks = [node.body for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.If))]
    for assignment, text in (pair for block in blocks for pair in pairwise(block)):
        targets = getattr(assignment, "targets", [getattr(assignment, "target", None)])
        named = constant in [getattr(target, "id", None) for target in targets]
        if named and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            return text.value.value
    return ""


def test_the_reference_has_all_public_names():
    assert {name for name in NAMES if name.count(".") == 1} == {
        f"napari_local_ncc.{name}" for name in napari_local_ncc.__all__
    }
    assert len(set(NAMES)) == len(NAMES) > 50


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = inspect.cleandoc(text_of(name) or "")
    found = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    assert found.examples, f"{name} has no example"
    said = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    runner.run(found, out=said.append)
    assert not runner.failures, "".join(said)


def test_stepwise_functions_show_what_they_return():
    """In help() and for editors: the result, not the generator of the steps."""
    signature = inspect.signature(napari_local_ncc.confidence_map, follow_wrapped=False)
    assert napari_local_ncc.confidence_map.__annotations__["return"] == "ConfidenceMap"
    assert napari_local_ncc.confidence_map.__name__ == "confidence_map"
    assert signature.return_annotation == "ConfidenceMap"

"""How the house stands: modules, circles, names, sizes, and what starting a command costs.

Run ``python benchmarks/house.py``; it needs grimp (with import-linter). ``--times`` measures
start-up too, as medians of ratios within one run; use an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import grimp
import numpy as np

PACKAGE = "napari_local_ncc"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE
ROOMS = (
    "_napari", "cli", "batch", "sample_data", "reports", "io", "maps", "registration", "confidence",
    "shift", "transforms", "ncc", "image", "evidence", "parameters", "geometry", "chunked", "files",
    "progress",
)  # fmt: skip
MAP = """
import numpy, os, sys, tempfile
os.chdir(tempfile.mkdtemp())
for name in ("a.npy", "b.npy"):
    numpy.save(name, numpy.random.default_rng(0).normal(size=(64, 64)))
sys.stdout = sys.stderr
from napari_local_ncc.cli import main
main(["map", "a.npy", "b.npy", "-o", "o.npy"])
sys.stdout = sys.__stdout__
"""
PAST = ("ed", "en")  # endings of participles
# Words with such an ending that are nouns or verbs, and adjectives without it.
PREPOSITIONS = {"as", "at", "by", "for", "from", "in", "of", "on", "to", "with"}
NO_PARTICIPLES = {
    "bed", "even", "feed", "field", "need", "open", "seed", "shed", "speed", "spread", "then",
    "when", "whiten", "widen",
}  # fmt: skip
PARTICIPLES = {"built", "found", "held", "kept", "known", "left", "made", "shown", "within"}


def modules_by_package() -> Counter[str]:
    """Return the number of modules that lie directly in each package."""
    return Counter(
        str(path.parent.relative_to(SOURCE.parent)).replace("/", ".")
        for path in SOURCE.rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    )


def circles() -> list[list[str]]:
    """Return the sets of modules that import one another, in annotations too."""
    graph = grimp.build_graph(PACKAGE, include_external_packages=False)
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:  # Tarjan, SIAM J. Comput. 1972, doi:10.1137/0201010
        numbers[module] = lowest[module] = len(numbers)
        stack.append(module)
        for other in graph.find_modules_directly_imported_by(module):
            if other not in numbers:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == numbers[module]:
            at = stack.index(module)
            circle = stack[at:]
            del stack[at:]
            if len(circle) > 1:
                found.append(circle)

    for module in sorted(graph.modules):
        if module not in numbers:
            visit(module)
    return found


def flow() -> str:
    """Return which room imports which, as a Mermaid graph; what follows from others is left out."""
    graph = grimp.build_graph(PACKAGE, include_external_packages=False)
    rooms: dict[str, set[str]] = {}
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            ours, theirs = ([*name.split("."), ""][1] for name in (module, other))
            if ours != theirs and ours in ROOMS and theirs in ROOMS:
                rooms.setdefault(ours, set()).add(theirs)

    def below(room: str) -> set[str]:
        direct = rooms.get(room, set())
        return direct.union(*(below(other) for other in direct))

    lines = ["graph TD"]
    for room in ROOMS:
        direct = rooms.get(room, set())
        implied = set().union(*(below(other) for other in direct))
        lines += [f"    {room} --> {other}" for other in sorted(direct - implied)]
    return "\n".join(lines)


def functions() -> list[ast.FunctionDef]:
    """Return all functions of the package."""
    return [
        node
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]


def is_participle(function: ast.FunctionDef) -> bool:
    """Tell whether a function, no property, is named by a participle or an adjective.

    "reduced" and "taken_by_options" are, "reduced_image" names a thing.
    """
    if any("property" in ast.unparse(each) for each in function.decorator_list):
        return False
    first, *rest = function.name.strip("_").split("_")
    return _is_past(first) and (not rest or rest[0] in PREPOSITIONS)


def _is_past(word: str) -> bool:
    return word in PARTICIPLES or (
        word.endswith(PAST) and len(word) > 3 and word not in NO_PARTICIPLES
    )


def body_lines(function: ast.FunctionDef) -> int:
    """Return the lines of a body, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def code_lines() -> int:
    """Return the lines of code without docstrings, comments and blanks."""
    return sum(
        len(ast.unparse(_without_docstrings(ast.parse(path.read_text("utf-8")))).splitlines())
        for path in SOURCE.rglob("*.py")
    )


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def modules_loaded(code: str) -> list[str]:
    """Return the modules of the package that a fresh process has loaded after some code."""
    end = f"\nimport sys; print(*sorted(m for m in sys.modules if m.startswith('{PACKAGE}')))"
    done = subprocess.run(
        [sys.executable, "-c", code + end], check=True, capture_output=True, encoding="utf-8"
    )
    return done.stdout.splitlines()[-1].split()


def wall_time(*words: str) -> float:
    """Return the seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], capture_output=True)
    return time.perf_counter() - start


def start_up(turns: int) -> dict[str, float]:
    """Return the median wall times of commands over that of the libraries' bare imports."""
    with tempfile.TemporaryDirectory() as folder:
        a, b = (str(Path(folder) / f"{name}.npy") for name in "ab")
        for path in (a, b):
            np.save(path, np.random.default_rng(0).normal(size=(64, 64)))
        base = ("-c", "import dask.array, zarr, tifffile")
        command = ("-m", PACKAGE)
        cases = {
            "info": (*command, "info", a),
            "map": (*command, "map", a, b, "-o", f"{folder}/out.npy", "--overwrite"),
            "missing file (s)": (*command, "map", "no-such-file.npy", b, "-o", f"{folder}/o.npy"),
        }
        times: dict[str, list[float]] = {name: [] for name in ("base", *cases)}
        for _ in range(turns + 1):
            times["base"].append(wall_time(*base))
            for name, words in cases.items():
                times[name].append(wall_time(*words))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    return {
        name: value if name in ("base", "missing file (s)") else value / medians["base"]
        for name, value in medians.items()
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=0, help="turns to time start-up")
    parser.add_argument("--flow", action="store_true", help="print CONTRIBUTING's picture only")
    options = parser.parse_args()
    if options.flow:
        print(flow())
        return
    packages = modules_by_package()
    print(f"modules in the root: {packages.pop(PACKAGE)}")
    print(f"most modules in one package: {packages.most_common(1)[0]}")
    print(f"import circles: {circles()}")
    print(f"loaded by read_image: {len(modules_loaded(f'from {PACKAGE}.io import read_image'))}")
    print(f"loaded by `local-ncc map` without registration: {len(modules_loaded(MAP))}")
    every = functions()
    named = [f.name for f in every if is_participle(f)]
    print(f"functions named by a participle: {len(named)} of {len(every)}: {sorted(set(named))}")
    sizes = sorted(map(body_lines, every))
    print(f"bodies: median {statistics.median(sizes)}, p90 {sizes[int(0.9 * len(sizes))]} lines")
    print(f"lines of code: {code_lines()}")
    if options.times:
        for name, value in start_up(options.times).items():
            print(f"{name}: {value:.2f}")


if __name__ == "__main__":
    main()

"""Write the table of the numbers that steer judgements: python docs/make_constants.py."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/napari_local_ncc"
ROOMS = ("registration", "evidence", "batch", "reports/verdict.py")
PAGE = ROOT / "docs/constants.md"
HEAD = """# The numbers that steer registration and verdicts

Every number that a judgement or a search depends on, with its unit and where it was measured, as
the comment beside it says. Written by `python docs/make_constants.py` from the code, where each is
next to what it steers; figures are in [registration.md](registration.md) and
[verdicts.md](verdicts.md).
"""


class Constant(NamedTuple):
    """A number, or numbers, with a name in capitals at the head of a module."""

    module: str
    name: str
    value: str
    comment: str


def constants() -> list[Constant]:
    """Return the constants of all rooms, module by module."""
    paths = [path for room in ROOMS for path in _modules(SOURCE / room)]
    return [constant for path in paths for constant in _of_module(path)]


def _modules(room: Path) -> list[Path]:
    return sorted(room.rglob("*.py")) if room.is_dir() else [room]


def _of_module(path: Path) -> list[Constant]:
    source = path.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts = [token for token in tokens if token.type == tokenize.COMMENT]
    comments = {token.start[0]: token.string.lstrip("# ") for token in texts}
    whole_lines = {token.start[0] for token in texts if token.start[1] == 0}
    module = path.relative_to(SOURCE).with_suffix("").as_posix()
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and _steers(node):
            name, value = ast.unparse(node.targets[0]), ast.unparse(node.value)
            beside = comments.get(node.lineno) or comments.get(node.end_lineno or 0)
            above = comments[node.lineno - 1] if node.lineno - 1 in whole_lines else ""
            found.append(Constant(module, name, value, beside or above))
    return found


def _steers(node: ast.Assign) -> bool:
    """Tell whether it is numbers alone that get a name in capitals."""
    names = [each.id for each in ast.walk(node.targets[0]) if isinstance(each, ast.Name)]
    plain = (ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.BinOp, ast.UnaryOp, ast.expr_context)
    parts = list(ast.walk(node.value))
    numbers = [each.value for each in parts if isinstance(each, ast.Constant)]
    return (
        all(name.isupper() for name in names)
        and all(isinstance(each, (*plain, ast.operator, ast.unaryop)) for each in parts)
        and any(isinstance(number, (int, float)) for number in numbers)
        and not any(isinstance(number, str) for number in numbers)
    )


def page_text() -> str:
    """Return the page: a table for every module."""
    lines, module = [HEAD], ""
    for constant in constants():
        if constant.module != module:
            module = constant.module
            lines += [
                f"\n## {module}\n",
                "| constant | value | meaning, unit, source |",
                "|---|---|---|",
            ]
        lines.append(f"| `{constant.name}` | `{constant.value}` | {constant.comment} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page_text(), encoding="utf-8")

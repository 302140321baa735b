"""Pages of the site that the program writes: its Python names, its options, and a gallery."""

from __future__ import annotations

import io
import os
import re
import runpy
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
MADE = (
    "gallery.md",
    "reference/api.md",
    "reference/options.md",
    "reference/parameters.md",
)
EVERYWHERE = (
    ("`--quiet`", "No progress and no messages, but errors and warnings."),
    ("`--debug`", "The traceback of an error."),
)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made when the site is built."""
    from mkdocs.structure.files import File

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to files that are no pages of the site to the repository."""
    if "/" in page.file.src_uri:
        return markdown
    return re.sub(
        r"\]\(\.\./((?!how-to|reference)[\w./-]+)\)", rf"]({home()}/blob/main/\1)", markdown
    )


def home() -> str:
    """Return the project's address, which pyproject.toml holds."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    address: str = project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["home"]
    return address


def pages() -> dict[str, str | bytes]:
    """Return the content of every page and picture by its path."""
    made: dict[str, str | bytes] = {
        "reference/api.md": api_page(),
        "reference/options.md": options_page(),
        "reference/parameters.md": parameters_page(),
    }
    return made | gallery()


# ------------------------------------------------------------------ reference


def api_page() -> str:
    """Return the page of all public names; mkdocstrings fills it in."""
    import napari_local_ncc
    from napari_local_ncc import batch, registration, reports

    head = "# Python\n\nEvery public name, with an example that is tested.\n"
    names = [f"napari_local_ncc.{name}" for name in sorted(napari_local_ncc.__all__)]
    for package in (registration, reports, batch):
        names += [f"{package.__name__}.{name}" for name in sorted(package.__all__)]
    return head + "".join(f"\n::: {name}\n" for name in names)


def options_page() -> str:
    """Return the page of all commands with all of their options, as `--help` has them."""
    from typer.main import get_command

    from napari_local_ncc.cli import main
    from napari_local_ncc.cli.options import app

    with redirect_stdout(io.StringIO()):
        main(["--help"])  # loads all commands
    lines = ["# All options", "", "Any command also takes", ""]
    lines += [*_option_table(EVERYWHERE), ""]
    for name, command in sorted(get_command(app).commands.items()):  # type: ignore[attr-defined]
        lines += [f"## {name}", "", *_paragraphs(command.help or ""), ""]
        lines += [*_option_table(_rows(command)), ""]
    return "\n".join(lines)


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) + "\n" for part in text.split("\n\n")]


def _rows(command: Any) -> Iterator[tuple[str, str]]:
    for each in command.params:
        names = [*each.opts, *getattr(each, "secondary_opts", [])]
        if each.param_type_name == "argument":
            names = [each.metavar or (each.name or "").upper()]
        shown = ", ".join(f"`{name}`" for name in names)
        default = each.default
        known = default not in (None, "", False) and not callable(default) and not each.required
        yield shown, (each.help or "") + (f" Default: `{default}`." if known else "")


def _option_table(rows: Any) -> list[str]:
    body = [f"| {name} | {_cell(text)} |" for name, text in rows]
    return ["| option | |", "|---|---|", *body]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def parameters_page() -> str:
    """Return the page of what can be set of a map, with units and defaults."""
    from dataclasses import fields

    from napari_local_ncc import NCCParameters

    docs = NCCParameters.__doc__ or ""
    section = docs.partition("Parameters\n    ----------\n")[2].partition("\n    Raises")[0]
    parts = re.split(r"(?m)^    (\w+) : (.+)$", section)[1:]
    told = {
        name: (_cell(kind), _cell(text.replace("``", "`")))
        for name, kind, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }
    lines = [
        "# Parameters",
        "",
        "Fields of `NCCParameters`; options of the same names, and fields of the widget.",
        "",
        "| parameter | values and default | meaning, unit |",
        "|---|---|---|",
    ]
    for each in fields(NCCParameters):
        kind, text = told[each.name]
        lines.append(f"| `{each.name}` | {kind} | {text} |")
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------ gallery


def gallery() -> dict[str, str | bytes]:
    """Compute the gallery: a map of each pair of samples, and what the examples print."""
    made: dict[str, str | bytes] = {}
    lines = ["# Gallery", "", "Computed when this site was built.", ""]
    for title, text, figure in _figures():
        path = f"gallery-{len(made)}.png"
        made[path] = _png(figure)
        lines += [f"## {title}", "", text, "", f"![{title}]({path})", ""]
    lines += ["## Programs", ""]
    for path, said in _programs():
        source = path.read_text(encoding="utf-8")
        head = source.partition('"""')[2].partition('"""')[0]
        lines += [f"### {path.stem}", "", head, "", "```python", source.rstrip(), "```", ""]
        lines += ["It prints:", "", "```text", said.rstrip(), "```", ""]
    return made | {"gallery.md": "\n".join(lines)}


def _figures() -> Iterator[tuple[str, str, Any]]:
    import numpy as np

    from napari_local_ncc import NCCParameters, confidence_map, register, resample
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.reports import describe_registration
    from napari_local_ncc.reports.figures import comparison_figure
    from napari_local_ncc.sample_data import brain_slice, drifting_series, head_volume

    for title, pair, radius in (
        ("Two brain slices, 2-D", brain_slice(), 4),
        ("Two head volumes, 3-D", head_volume(), (2, 3, 3)),
        ("A series that drifts, and changes", drifting_series(), 4),
    ):
        found = register(pair.fixed, pair.moving)
        moved = resample(pair.moving, found.grid, found)
        parameters = NCCParameters(radius=radius)
        maps = [
            confidence_map(pair.fixed, pair.moving, parameters=parameters, registration=each)
            for each in (None, found)
        ]
        frame = tuple(-1 for _ in found.grid.series_shape)
        space = found.grid.space()
        last = [SpatialImage(each["ncc"][frame], space, "ncc") for each in maps]
        images = {
            "fixed": pair.fixed,
            "registered": SpatialImage(moved.data[frame], space, "moving"),
        }
        figure = comparison_figure(images, {"NCC before": last[0], "NCC registered": last[1]})
        medians = [np.nanmedian(np.asarray(each.data)) for each in last]
        text = (
            f"{describe_registration(found)}. Median NCC {medians[0]:.2f}, then {medians[1]:.2f}."
        )
        yield title, text, figure


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, dpi=80, format="png")
    return file.getvalue()


def _programs() -> Iterator[tuple[Path, str]]:
    """Run the examples that need nothing but this package, each in a folder of its own."""
    for name in ("pair", "masks", "other_transform", "own_engine", "batch"):
        path, said = ROOT / "examples" / f"{name}.py", io.StringIO()
        with tempfile.TemporaryDirectory() as folder, chdir(folder), redirect_stdout(said):
            runpy.run_path(os.fspath(path), run_name="__main__")
        yield path, said.getvalue()

"""Write into static files which models there are: python docs/make_choices.py (it is tested)."""

from __future__ import annotations

import re
from pathlib import Path

from napari_local_ncc.registration.engines import ENGINES, models

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "src/napari_local_ncc/napari.yaml"
PAGE = ROOT / "docs/registration.md"
BEGIN, END = "<!-- models: written by docs/make_choices.py -->\n", "<!-- end -->\n"


def manifest_text() -> str:
    """Return the manifest with the models as the choices of its preference."""
    text = MANIFEST.read_text(encoding="utf-8")
    here = r"(        registration:\n(?:          .*\n)*?          enum: )\[.*\]"
    return re.sub(here, rf"\g<1>[{', '.join(models())}]", text, count=1)


def page_text() -> str:
    """Return the page on registration with a row for every model."""
    rows = ["| model | for | axes | needs |", "|---|---|---|---|"]
    for name, engine in ENGINES.items():
        axes = " or ".join(f"{n}-D" for n in engine.axes) or "any"
        needs = f"{engine.needs}: `pip install '{engine.install}'`" if engine.needs else ""
        rows.append(f"| `{name}` | {engine.summary} | {axes} | {needs} |")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return "".join([before, BEGIN, *(f"{row}\n" for row in rows), END, after])


if __name__ == "__main__":
    for path, text in ((MANIFEST, manifest_text()), (PAGE, page_text())):
        path.write_text(text, encoding="utf-8")

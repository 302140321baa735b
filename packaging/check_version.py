"""Check that a tag, the package, the citation and the changelog name one version, and a home.

python packaging/check_version.py v1.2.3
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER = "//example.org/"  # a name that nobody can own


def versions(root: Path = ROOT) -> dict[str, str]:
    """Return the version that each file names; of the changelog the newest release."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = re.search(r"(?m)^version: (\S+)", (root / "CITATION.cff").read_text(encoding="utf-8"))
    told = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"(?m)^## \[(\d\S*)\]", told)
    return {
        "pyproject.toml": project["version"],
        "CITATION.cff": cited[1] if cited else "none",
        "CHANGELOG.md": released[1] if released else "none",
    }


def home(root: Path = ROOT) -> str:
    """Return the address of the project."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address: str = project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["home"]
    return address


def main(tag: str) -> int:
    """Return 0 if all name the version of the tag, and the project has a home; say what not."""
    wrong = {name: found for name, found in versions().items() if f"v{found}" != tag}
    for name, found in wrong.items():
        print(f"{name} names version {found}, the tag is {tag}", file=sys.stderr)
    lost = PLACEHOLDER in home()
    if lost:
        print(
            f"home in pyproject.toml is a placeholder, {home()}: see CONTRIBUTING", file=sys.stderr
        )
    return 1 if wrong or lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

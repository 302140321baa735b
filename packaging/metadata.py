"""What the package index shows, from one address: project links, and a README whose links work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!\w+:|#)([^)]+)\)")


class IndexMetadata(MetadataHookInterface):
    """Fills `readme` and `urls` from `home` of `[tool.hatch.metadata.hooks.custom]`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add both to what pyproject.toml says."""
        home = self.config["home"]
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": with_absolute_links(text, home),
        }
        metadata["urls"] = urls(home)


def urls(home: str) -> dict[str, str]:
    """Return the project's links by their well-known labels."""
    return {
        "Homepage": home,
        "Documentation": f"{home}/tree/main/docs",
        "Source": home,
        "Issues": f"{home}/issues",
        "Changelog": f"{home}/blob/main/CHANGELOG.md",
    }


def with_absolute_links(text: str, home: str) -> str:
    """Return Markdown whose links to files of the repository work anywhere."""

    def absolute(found: re.Match[str]) -> str:
        image, label, path = found.groups()
        return f"{image}{label}({home}/{'raw' if image else 'blob'}/main/{path})"

    return LINK.sub(absolute, text)

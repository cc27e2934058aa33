"""A hook of MkDocs: the pages about plugins, one per kind, get into the navigation."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Put docs/plugins, its index first, before the reference."""
    folder = Path(config["docs_dir"]) / "plugins"
    names = sorted(file.name for file in folder.glob("*.md"))
    names.sort(key=lambda name: name != "index.md")
    if names:
        place = next(n for n, entry in enumerate(config["nav"]) if "Reference" in entry)
        config["nav"].insert(place, {"Plugins": [f"plugins/{name}" for name in names]})
    return config

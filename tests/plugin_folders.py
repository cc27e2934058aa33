"""Plugins as an installer leaves them: a module and its dist-info, in a folder on the path."""

from __future__ import annotations

import textwrap
from pathlib import Path


def install(
    folder: Path,
    name: str,
    source: str,
    *,
    module: str = "",
    group: str = "deployq",
    distribution: str = "",
) -> None:
    """Put a plugin into a folder; `name` is that of its entry point."""
    module = module or f"{name.replace('-', '_')}_module"
    distribution = distribution or f"{name}-dist"
    info = folder / f"{distribution.replace('-', '_')}-1.2.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2.3\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n", encoding="utf-8")
    file = module.partition(":")[0]
    (folder / f"{file}.py").write_text(textwrap.dedent(source), encoding="utf-8")

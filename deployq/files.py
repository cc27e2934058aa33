"""Files that are there as a whole or not at all, and where deployq's own templates are."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from deployq.errors import ConfigError


def write_whole(path: Path, text: str) -> None:
    """Write a file to one beside it, flush that to the disk, and rename it.

    Raises:
        OSError: it can't be written; what stood there is as it was, and nothing is left beside it.
    """
    # By thread, too: servers that are served at once write the same Modelfile.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_there(path: Path) -> bool:
    """Checks that something is at a path that a person wrote.

    Raises:
        ConfigError: it can't be looked at: no permission, or no file is called like that.
    """
    try:
        return path.exists()
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise ConfigError(f"{path}: can't be looked at: {why}", hint="check the path") from exc


def template_dir() -> Path:
    """deployq's own templates: inside the package in a wheel, at the top of a checkout."""
    package = Path(__file__).parent
    packed = package / "_templates"
    return packed if packed.is_dir() else package.parent / "templates"

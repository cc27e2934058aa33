"""Files that are there as a whole or not at all, and where deployq's own templates are."""

from __future__ import annotations

import os
import re
import stat
import threading
from pathlib import Path
from typing import BinaryIO

from deployq.errors import ConfigError, SourceError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_HUB_FOLDER = re.compile(r"models--(?P<org>[^/]+)--(?P<name>[^/]+)/")


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


def open_regular(path: Path) -> BinaryIO:
    """Open a file that others left: a pipe or a device in its place would be read for ever.

    Raises:
        SourceError: it is no file, or a link to one that is gone.
        OSError: it can't be opened.
    """
    require_target(path)
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = next((kind for is_one, kind in _KINDS if is_one(mode)), "something else")
        raise SourceError(
            f"{path}: is {kind}, not a file", hint=f"put the real {path.name} in its place"
        )
    return path.open("rb")


def require_target(path: Path) -> None:
    """Checks that a link leads to something.

    Raises:
        SourceError: it doesn't; in a snapshot of the hub's cache, the blob's name is in it.
    """
    if not path.is_symlink() or path.exists():
        return
    target = path.readlink()
    hint = "put the file itself in its place"
    if hub := _HUB_FOLDER.search(f"{path.absolute()}"):
        repo = f"{hub['org']}/{hub['name']}"
        hint = f"hf download {repo} --force-download fetches it again"
    raise SourceError(
        f"{path}: is a link to {target}, which is gone or leads back to the link", hint=hint
    )


def template_dir() -> Path:
    """deployq's own templates: inside the package in a wheel, at the top of a checkout."""
    package = Path(__file__).parent
    packed = package / "_templates"
    return packed if packed.is_dir() else package.parent / "templates"

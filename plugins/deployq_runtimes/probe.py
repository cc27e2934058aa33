"""Is an Ollama API there? One GET /api/version, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from pathlib import Path

PROBE_SECONDS = 5.0
_ALLOWED = ("http://", "https://")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def version_at(url: str, timeout_seconds: float = PROBE_SECONDS) -> str | None:
    """The version that the server at `url` states; None: nothing answers there like Ollama.

    A server on this machine is asked directly, whatever proxy the environment names.
    """
    if not url.startswith(_ALLOWED):
        return None
    opener = _DIRECT if _on_this_machine(url) else urllib.request.build_opener()
    try:
        with opener.open(f"{url.rstrip('/')}/api/version", timeout=timeout_seconds) as answer:
            content = json.loads(answer.read())
    except (OSError, ValueError, urllib.error.URLError, http.client.HTTPException):
        return None
    version = content.get("version") if isinstance(content, dict) else None
    return version if isinstance(version, str) else None


def _on_this_machine(url: str) -> bool:
    return url.split("://", 1)[1].startswith(("127.", "localhost", "[::1]"))


def last_lines(log: Path, count: int = 12, limit_bytes: int = 64 << 10) -> str:
    """The last lines of a log, for an error message; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - limit_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-count:])

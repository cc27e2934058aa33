"""One GET /api/version, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request

from deployq.addresses import is_local

_ALLOWED = ("http://", "https://")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def version_at(url: str, timeout_seconds: float) -> str | None:
    """The version that the server at `url` states; None: nothing answers there like Ollama.

    A server on this machine is asked directly, whatever proxy the environment names.
    """
    if not url.startswith(_ALLOWED):
        return None
    opener = _DIRECT if is_local(url) else urllib.request.build_opener()
    try:
        with opener.open(f"{url.rstrip('/')}/api/version", timeout=timeout_seconds) as answer:
            content = json.loads(answer.read())
    except (OSError, ValueError, urllib.error.URLError, http.client.HTTPException):
        return None
    version = content.get("version") if isinstance(content, dict) else None
    return version if isinstance(version, str) else None


def answers_at(url: str, timeout_seconds: float) -> bool:
    """Whether a server stands there at all: one that wants a key, or whose certificate is unknown.

    It was asked without a key and with the system's certificate authorities; deployq has more.
    """
    if not url.startswith(_ALLOWED):
        return False
    opener = _DIRECT if is_local(url) else urllib.request.build_opener()
    try:
        opener.open(f"{url.rstrip('/')}/api/version", timeout=timeout_seconds).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as exc:
        return isinstance(exc.reason, ssl.SSLError)
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return True

"""One GET /api/version, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from typing import NamedTuple

from deployq.addresses import is_local
from deployq.deadlines import within

_ALLOWED = ("http://", "https://")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Found(NamedTuple):
    """Whether a server is there, and the version that it states; None: it does not, like Ollama."""

    is_there: bool
    version: str | None = None


def probe(url: str, timeout_seconds: float) -> Found:
    """What is at `url`; a server may also want a key, or have a certificate that nobody knows.

    It is asked without a key and with the system's certificate authorities; deployq has more. A
    server on this machine is asked directly, whatever proxy the environment names.

    Raises:
        TimeoutError: nobody refused a connection, and no answer came in time.
    """
    if not url.startswith(_ALLOWED):
        return Found(False)
    return within(timeout_seconds, lambda: _asked(url, timeout_seconds))


def _asked(url: str, timeout_seconds: float) -> Found:
    opener = _DIRECT if is_local(url) else urllib.request.build_opener()
    try:
        with opener.open(f"{url.rstrip('/')}/api/version", timeout=timeout_seconds) as answer:
            return Found(True, _version(answer.read()))
    except urllib.error.HTTPError:
        return Found(True)
    except urllib.error.URLError as exc:
        if isinstance(exc.reason, TimeoutError):
            raise exc.reason from exc
        return Found(isinstance(exc.reason, ssl.SSLError))
    except TimeoutError:
        raise
    except (OSError, ValueError, http.client.HTTPException):
        return Found(False)


def _version(content: bytes) -> str | None:
    try:
        answer = json.loads(content)
    except ValueError:
        return None
    version = answer.get("version") if isinstance(answer, dict) else None
    return version if isinstance(version, str) else None

"""Who may ask: a request for a local name, from no foreign web page. As Ollama decides it."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

_LOCAL_ENDINGS = (".localhost", ".local", ".internal")
_LOCAL_ORIGINS = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104  (names in a header)
_APP_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")


class LocalOnly:
    """ASGI middleware: 403 for a `Host` that is no local name, or a foreign `Origin`.

    Without it, any web page could reach the server through a name that resolves to loopback.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if not (is_local_host(headers.get("host", "")) and is_local_origin(headers)):
                await Response(status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def is_local_host(header: str) -> bool:
    """Is this `Host` header a loopback or private address, or a local name?"""
    host = (urlsplit(f"//{header}").hostname or "").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        local = host in ("", "localhost", socket.gethostname().lower())
        return local or host.endswith(_LOCAL_ENDINGS)
    return address.is_loopback or address.is_private or address.is_unspecified


def is_local_origin(headers: Headers) -> bool:
    """Is there no `Origin`, or one on this machine?"""
    origin = headers.get("origin")
    if not origin:
        return True
    parts = urlsplit(origin)
    return parts.scheme in _APP_SCHEMES or parts.hostname in _LOCAL_ORIGINS

"""To a server anywhere: TLS, the environment's proxies, redirects."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from deployq.tags.transport import Response, Timeouts


class Remote:
    """The connections to a server that may be on another machine.

    Args:
        base: its address.
        trust_env: whether the environment's proxies count.
        verify: whose certificates count; True: those of SSL_CERT_FILE, or the usual.

    Raises:
        ValueError: `base` is no address.
    """

    def __init__(
        self,
        base: str,
        headers: Mapping[str, str],
        *,
        trust_env: bool,
        verify: ssl.SSLContext | bool,
    ) -> None:
        try:
            self._http = httpx.Client(
                base_url=base,
                headers={"Accept": "application/json", **headers},
                follow_redirects=True,
                trust_env=trust_env,
                verify=verify,
            )
        except httpx.InvalidURL as exc:
            raise ValueError(str(exc)) from exc

    @contextlib.contextmanager
    def open(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeouts: Timeouts
    ) -> Iterator[Response]:
        timeout = httpx.Timeout(**timeouts)
        with self._http.stream(method, path, json=body, timeout=timeout) as response:
            date = response.headers.get("Date", "")
            yield Response(response.status_code, response.iter_bytes(), date)

    def close(self) -> None:
        self._http.close()

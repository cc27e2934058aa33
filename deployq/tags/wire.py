"""The HTTP way to a server: plain JSON, a timeout for every call, every foreign error mapped."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import ssl
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from deployq import tags
from deployq.errors import ConfigError
from deployq.tags.refusal import Refusal, words_of
from deployq.types import Progress

DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}


class Wire:
    """The connections to one server; a key is never sent in the clear to another machine.

    Args:
        url: its address; without a scheme or a port it is http and Ollama's own.

    Raises:
        ConfigError: `url` is no address.
    """

    def __init__(self, url: str, *, connect_timeout_seconds: float, timeout_seconds: float) -> None:
        self._connect_timeout_seconds = connect_timeout_seconds
        self._default_timeout = self._timeout(timeout_seconds)
        try:
            base = base_url(url)
            self._http = httpx.Client(
                base_url=base,
                headers={"Accept": "application/json", **_key(base)},
                timeout=self._default_timeout,
                follow_redirects=True,
                trust_env=self._trust_env(base),
                verify=_no_authorities() if base.startswith("http:") and is_local(base) else True,
            )
        except (ValueError, httpx.InvalidURL) as exc:
            raise ConfigError(
                f"{url!r} is no address of a server: {exc}", hint="http://127.0.0.1:11434"
            ) from exc

    @property
    def url(self) -> str:
        """The address, without a trailing slash or credentials."""
        return str(self._http.base_url.copy_with(userinfo=b"")).rstrip("/")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Any:
        """One request, one JSON answer, all of it within `timeout_seconds`."""
        deadline = time.monotonic() + timeout_seconds
        with self._open(method, path, body, timeout_seconds) as response:
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout(f"no whole answer in {timeout_seconds:g} s")
        try:
            return json.loads(content)
        except ValueError as exc:
            raise ValueError(
                f"it is no JSON: {words_of(content.decode(errors='replace'))}"
            ) from exc

    def lines(
        self, method: str, path: str, body: Mapping[str, Any], timeout_seconds: float
    ) -> Iterator[dict[str, Any]]:
        """One request, an answer of JSON lines; `timeout_seconds` is for each line.

        Raises:
            Refusal: a line is an error.
        """
        with self._open(method, path, body, timeout_seconds) as response:
            for text in filter(None, response.iter_lines()):
                line = json.loads(text)
                if error := line.get("error"):
                    raise Refusal(str(error))
                yield line

    def head(self, path: str, timeout_seconds: float) -> int:
        """The status that a HEAD request gets."""
        timeout = self._timeout(timeout_seconds)
        return int(self._http.request("HEAD", path, timeout=timeout).status_code)

    def post_file(self, path: str, file: Path, progress: Progress, timeout_seconds: float) -> None:
        """Upload a file as it is read; `timeout_seconds` is for the server to take or say a bit."""
        tags.post_file(
            self.url + path,
            file,
            progress,
            headers=_key(self.url),
            trust_env=self._trust_env(self.url),
            timeouts_seconds=(self._connect_timeout_seconds, timeout_seconds),
        )

    def copy(self, source: str, destination: str) -> None:
        """Give a tag another name."""
        with self._ollama() as client:
            client.copy(source, destination)

    def delete(self, name: str) -> None:
        """Remove a name."""
        with self._ollama() as client:
            client.delete(name)

    def _ollama(self) -> Any:
        url = str(self._http.base_url)
        return tags.ollama_client(
            url, headers=_key(url), trust_env=self._trust_env(url), timeout=self._default_timeout
        )

    @contextlib.contextmanager
    def _open(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Iterator[httpx.Response]:
        timeout = self._timeout(timeout_seconds)
        with self._http.stream(method, path, json=body, timeout=timeout) as response:
            if response.is_error:
                response.read()
                raise Refusal.read(response.text, response.status_code)
            yield response

    def _timeout(self, seconds: float) -> httpx.Timeout:
        return httpx.Timeout(seconds, connect=min(seconds, self._connect_timeout_seconds))

    @staticmethod
    def _trust_env(url: str) -> bool:
        return not is_local(url)  # a proxy is for other machines


@contextlib.contextmanager
def mapped(url: str, what: str, timeout_seconds: float) -> Iterator[None]:
    """Turns whatever goes wrong inside into a ServerError that says what was asked of whom."""
    try:
        yield
    except tags.FOREIGN as exc:  # looked up, and so imported, only if something was raised
        raise tags.translate(exc, url, what, timeout_seconds) from exc


def is_local(url: str) -> bool:
    """Whether an address is on this machine."""
    split = urllib.parse.urlsplit(url if "://" in url else f"//{url}")
    host = split.hostname or "localhost"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def base_url(address: str) -> str:
    """The URL of an address as Ollama's own clients read it.

    The default port is 11434, or the scheme's own where one is written.

    Raises:
        ValueError: it is none.
    """
    split = urllib.parse.urlsplit(address if "://" in address else f"//{address}", "http")
    port = split.port or (_SCHEME_PORTS.get(split.scheme) if "://" in address else DEFAULT_PORT)
    user, at, _ = split.netloc.rpartition("@")
    host = split.hostname or "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    return f"{split.scheme}://{user}{at}{shown}:{port}{split.path}".rstrip("/")


def _no_authorities() -> ssl.SSLContext:
    """Trusts nobody: a server of this machine has no business redirecting to https elsewhere.

    Loading the authorities that are trusted otherwise takes a third of a push that has nothing
    to do.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _key(url: str) -> dict[str, str]:
    """The header with the user's key, where it may go there."""
    key = os.environ.get("OLLAMA_API_KEY", "").strip()
    may = is_local(url) or url.startswith("https:")
    return {"Authorization": f"Bearer {key}"} if key and may else {}

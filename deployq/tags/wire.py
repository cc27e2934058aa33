"""The HTTP way to a server: the `ollama` client with what it lacks, and every foreign error mapped.

Its typed answers drop fields that deployq needs (`prompt_eval_cached_count`, `system`), `create`
has no renderer or parser, and no call has a timeout. So calls go through the client's own
connection, and answers come as plain JSON.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import time
import urllib.parse
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import ollama
import requests
import urllib3

from deployq.errors import (
    ArtifactError,
    ConfigError,
    ServerError,
    ServerRefused,
    ServerTimeout,
    ServerUnreachable,
)
from deployq.types import Progress

MAX_WORDS = 400
# All that the three libraries raise, and what a client does on an answer of the wrong shape.
FOREIGN = (
    ollama.ResponseError,
    ollama.RequestError,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpx.CookieConflict,
    urllib3.exceptions.HTTPError,
    OSError,  # with built-in ConnectionError and requests.RequestException
    ValueError,  # with json's and pydantic's
    TypeError,
    AttributeError,
    KeyError,
)
_NO_SERVER = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, requests.ConnectionError)
_NO_ADDRESS = (
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)
_TOO_LATE = (httpx.TimeoutException, requests.Timeout, TimeoutError)
_NONSENSE = (ValueError, TypeError, AttributeError, KeyError)
_HINTS = {
    401: "the server wants a key: OLLAMA_API_KEY (sent over https and on this machine only)",
    403: "the server refuses this Host or Origin: see OLLAMA_HOST and OLLAMA_ORIGINS there",
    404: "deployq list",
    500: "the server's own log says more",
}
_FULL = "its disk is full: make room there, for instance with deployq prune"


class Wire(ollama.Client):
    """The `ollama` client for one server; it never sends a key in the clear to another machine.

    Raises:
        ConfigError: `url` is no address.
    """

    def __init__(self, url: str, *, connect_timeout_seconds: float, timeout_seconds: float) -> None:
        self._connect_timeout_seconds = connect_timeout_seconds
        try:
            super().__init__(
                url,
                timeout=self._timeout(timeout_seconds),
                # A proxy is for other machines.
                trust_env=not is_local(url),
            )
        except (ValueError, httpx.InvalidURL) as exc:
            raise ConfigError(
                f"{url!r} is no address of a server: {exc}", hint="http://127.0.0.1:11434"
            ) from exc
        if not (is_local(self.url) or self.url.startswith("https:")):
            self._client.headers.pop("authorization", None)

    @property
    def url(self) -> str:
        """The address, without a trailing slash or credentials."""
        return str(self._client.base_url.copy_with(userinfo=b"")).rstrip("/")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

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
            raise ValueError(f"it is no JSON: {_words(content.decode(errors='replace'))}") from exc

    def lines(
        self, method: str, path: str, body: Mapping[str, Any], timeout_seconds: float
    ) -> Generator[dict[str, Any]]:
        """One request, an answer of JSON lines; `timeout_seconds` is for each line.

        Raises:
            ollama.ResponseError: a line is an error.
        """
        with self._open(method, path, body, timeout_seconds) as response:
            for text in filter(None, response.iter_lines()):
                line = json.loads(text)
                if error := line.get("error"):
                    raise ollama.ResponseError(str(error))
                yield line

    def head(self, path: str, timeout_seconds: float) -> int:
        """The status that a HEAD request gets."""
        timeout = self._timeout(timeout_seconds)
        return int(self._client.request("HEAD", path, timeout=timeout).status_code)

    def post_file(self, path: str, file: Path, progress: Progress, timeout_seconds: float) -> None:
        """Upload a file as it is read; `timeout_seconds` is for the server to take or say a bit."""
        with requests.Session() as session, _Reader(file, progress) as reader:
            session.trust_env = not is_local(self.url)
            headers = {"Content-Type": "application/octet-stream"}
            if key := self._client.headers.get("authorization"):
                headers["Authorization"] = key
            response = session.post(
                self.url + path,
                data=reader,
                headers=headers,
                timeout=(self._connect_timeout_seconds, timeout_seconds),
            )
        if not response.ok:
            raise ollama.ResponseError(_error(response.text), response.status_code)

    @contextlib.contextmanager
    def _open(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Iterator[httpx.Response]:
        timeout = self._timeout(timeout_seconds)
        with self._client.stream(method, path, json=body, timeout=timeout) as response:
            if response.is_error:
                response.read()
                raise ollama.ResponseError(_error(response.text), response.status_code)
            yield response

    def _timeout(self, seconds: float) -> httpx.Timeout:
        return httpx.Timeout(seconds, connect=min(seconds, self._connect_timeout_seconds))


class _Reader:
    """A file that tells how much of it was read; requests sends it with its length."""

    def __init__(self, file: Path, progress: Progress) -> None:
        try:
            self._file = file.open("rb")
            self._total = file.stat().st_size
        except OSError as exc:
            raise ArtifactError(f"cannot read {file}: {exc.strerror}") from exc
        self._name, self._progress, self._done = file.name, progress, 0

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[bytes]:
        # What requests tells a stream from a form by.
        return iter(self.read, b"")

    def read(self, size: int = -1) -> bytes:
        # http.client asks for 16 KiB at a time: too little for a fast disk.
        chunk = self._file.read(max(size, 1 << 20) if size >= 0 else -1)
        self._done += len(chunk)
        self._progress(self._name, self._done, self._total, "bytes")
        return chunk


@contextlib.contextmanager
def mapped(url: str, what: str, timeout_seconds: float) -> Iterator[None]:
    """Turns whatever goes wrong inside into a ServerError that says what was asked of whom."""
    try:
        yield
    except FOREIGN as exc:
        raise translate(exc, url, what, timeout_seconds) from exc


def translate(exc: Exception, url: str, what: str, timeout_seconds: float) -> ServerError:
    """The error of ours that a foreign one stands for, with the server's own words."""
    if isinstance(exc, ollama.ResponseError):
        status = exc.status_code if exc.status_code > 0 else None
        words = _words(exc.error) or f"HTTP {status}"
        hint = _FULL if "no space left" in words else _HINTS.get(status or 500, "")
        return ServerRefused(f"{url} refused to {what}: {words}", status=status, hint=hint)
    if isinstance(exc, _NO_ADDRESS):
        return ServerUnreachable(f"{url} is no address of a server: {exc}", hint="deployq config")
    if isinstance(exc, _NO_SERVER) or type(exc) is ConnectionError:
        return ServerUnreachable(
            f"no Ollama server answers at {url}, asked to {what}: {_cause(exc)}",
            hint="start one with `ollama serve`, or see `deployq doctor`",
        )
    if isinstance(exc, _TOO_LATE):
        return ServerTimeout(
            f"{url} took the request to {what} and did not answer within {timeout_seconds:g} s",
            hint="`ollama ps` there shows whether it still works; restart it if it hangs",
        )
    if isinstance(exc, _NONSENSE) and not isinstance(exc, OSError):
        return ServerError(
            f"{url}, asked to {what}, gave an answer that makes no sense: {_cause(exc)}",
            hint="is that an Ollama server? deployq doctor",
        )
    return ServerError(
        f"{url} went away while asked to {what}: {_cause(exc)}",
        hint="the server's own log says more; then repeat the command",
    )


def is_local(url: str) -> bool:
    """Whether an address is on this machine."""
    split = urllib.parse.urlsplit(url if "://" in url else f"//{url}")
    host = split.hostname or "localhost"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _error(text: str) -> str:
    """The server's words in an error answer; what is no JSON object is taken as it is."""
    try:
        answer = json.loads(text)
    except ValueError:
        return text
    return str(answer["error"]) if isinstance(answer, dict) and "error" in answer else text


def _cause(exc: BaseException) -> str:
    # The client hides what went wrong behind a text of its own.
    if type(exc) is ConnectionError and exc.__context__ is not None:
        exc = exc.__context__
    return _words(str(exc)) or type(exc).__name__


def _words(text: object) -> str:
    words = " ".join(str(text).split())
    return words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]} ..."

"""The HTTP way to a server: plain JSON, a timeout for every call, every foreign error mapped."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sized
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from deployq import tags
from deployq.addresses import is_local, is_plain_remote, url_of
from deployq.deadlines import to_its_end, within
from deployq.errors import ConfigError
from deployq.foreign_values import describe
from deployq.tags.access import Access, environment_access
from deployq.tags.refusal import Refusal, words_of
from deployq.tags.transport import Direct, Response, Transport, timeouts_of
from deployq.types import Progress

GRACE_SECONDS = 5.0
"""How long an interrupt waits for a change of a name that the server was asked for."""

MAX_ANSWER_BYTES = 128 << 20
"""Of one answer, or one line of it; the longest real ones have the tensors of a large model."""


class Wire:
    """The connections to one server; a secret is never sent in the clear to another machine.

    Args:
        url: its address; without a scheme or a port it is http and Ollama's own.
        access: who asks; without a secret in it, the key of OLLAMA_API_KEY does.

    Raises:
        ConfigError: `url` is no address, has a secret in it, or is plain http to another machine
            and there is a secret to send; the file of authorities can't be used.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_seconds: float,
        timeout_seconds: float,
        access: Access | None = None,
    ) -> None:
        self._connect_timeout_seconds = connect_timeout_seconds
        self._timeout_seconds = timeout_seconds
        self.url = url_of(url)  # without a trailing slash
        self.access = _allowed(access or Access(), self.url)
        self._trust_env = not is_local(self.url)  # a proxy is for other machines
        self._verify = _authorities(self.url, self.access.ca)
        self._transport = self._connections()

    def _connections(self) -> Transport:
        if is_local(self.url) and self.url.startswith("http:"):
            return Direct(self.url, self.access.headers)
        try:
            return tags.Remote(
                self.url, self.access.headers, trust_env=self._trust_env, verify=self._verify
            )
        except ValueError as exc:
            raise ConfigError(
                f"{self.url} is no address of a server: {exc}", hint="http://127.0.0.1:11434"
            ) from exc

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Any:
        """One request, one JSON answer, all of it within `timeout_seconds`."""
        deadline = time.monotonic() + timeout_seconds
        with self._open(method, path, body, timeout_seconds) as response:
            content = bytearray()
            for chunk in response.chunks:
                content += chunk
                _require_real(content)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no whole answer in {timeout_seconds:g} s")
        answer = _parse(content)
        if isinstance(answer, dict) and isinstance(words := answer.get("error"), str) and words:
            raise Refusal(words)
        return answer

    def ask(self, path: str, timeout_seconds: float, body: Mapping[str, Any] | None = None) -> Any:
        """What `path` says, in `timeout_seconds` whatever holds it up; it must change nothing."""
        method = "GET" if body is None else "POST"
        return within(timeout_seconds, lambda: self.call(method, path, body, timeout_seconds))

    def lines(
        self, method: str, path: str, body: Mapping[str, Any], timeout_seconds: float
    ) -> Generator[dict[str, Any]]:
        """One request, an answer of JSON lines; `timeout_seconds` is for each line.

        Raises:
            Refusal: a line is an error.
        """
        with self._open(method, path, body, timeout_seconds) as response:
            for text in _lines(response.chunks):
                line = _parse(text)
                if not isinstance(line, dict):
                    raise ValueError(f"it has {describe(line)} where an object was expected")
                if error := line.get("error"):
                    raise Refusal(str(error))
                yield line

    def head(self, path: str, timeout_seconds: float) -> int:
        """The status that a HEAD request gets, in `timeout_seconds` whatever holds it up."""
        timeouts = timeouts_of(self._connect_timeout_seconds, timeout_seconds)

        def status() -> int:
            with self._transport.open("HEAD", path, None, timeouts) as response:
                return response.status

        return within(timeout_seconds, status)

    def clock(self, path: str, timeout_seconds: float) -> float:
        """The time that the answer to a GET request carries, in seconds since 1970.

        An answer without one is as old as it is here.
        """
        with self._open("GET", path, None, timeout_seconds) as response:
            response.text()
        with contextlib.suppress(ValueError):
            return parsedate_to_datetime(response.date).timestamp()
        return time.time()

    def post_file(self, path: str, file: Path, progress: Progress, timeout_seconds: float) -> None:
        """Upload a file as it is read; `timeout_seconds` is for the server to take or say a bit."""
        tags.post_file(
            self.url + path,
            file,
            progress,
            access=self.access,
            trust_env=self._trust_env,
            timeouts_seconds=(self._connect_timeout_seconds, timeout_seconds),
        )

    def copy(self, source: str, destination: str) -> None:
        """Give a tag another name; when an interrupt is raised, that is done."""
        with self._ollama() as client:
            to_its_end(lambda: client.copy(source, destination), GRACE_SECONDS)

    def delete(self, name: str) -> None:
        """Remove a name; when an interrupt is raised, that is done."""
        with self._ollama() as client:
            to_its_end(lambda: client.delete(name), GRACE_SECONDS)

    def _ollama(self) -> Any:
        return tags.ollama_client(
            self.url,
            headers=self.access.headers,
            trust_env=self._trust_env,
            timeouts=timeouts_of(self._connect_timeout_seconds, self._timeout_seconds),
            verify=self._verify,
        )

    @contextlib.contextmanager
    def _open(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Iterator[Response]:
        timeouts = timeouts_of(self._connect_timeout_seconds, timeout_seconds)
        with self._transport.open(method, path, body, timeouts) as response:
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise Refusal.read(response.text(), response.status)
            yield response

    @contextlib.contextmanager
    def mapped(self, what: str, timeout_seconds: float) -> Iterator[None]:
        """Turns whatever goes wrong inside into a ServerError that says what was asked of whom."""
        try:
            yield
        except tags.FOREIGN as exc:  # looked up, and so imported, only if something was raised
            limits = timeouts_of(self._connect_timeout_seconds, timeout_seconds)
            error = tags.translate(exc, self.url, what, limits)
            error.message = self.access.hide(error.message)
            error.args = (error.message,)
            raise error from exc


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a body, without empty ones."""
    rest = bytearray()
    for chunk in chunks:
        *ended, last = chunk.split(b"\n")
        for line in ended:
            if whole := bytes(rest + line):
                yield whole
            rest.clear()
        rest += last
        _require_real(rest)
    if rest:
        yield bytes(rest)


def _require_real(content: Sized) -> None:
    """Checks that an answer is no endless one."""
    if len(content) > MAX_ANSWER_BYTES:
        raise ValueError(f"it is longer than {MAX_ANSWER_BYTES >> 20} MiB")


def _parse(content: bytes | bytearray) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"it is no JSON: {words_of(content.decode(errors='replace'))}") from exc


def _allowed(access: Access, base: str) -> Access:
    """The access that is used: the given one, else the environment's."""
    if not access.authorization:
        return environment_access(base, os.environ, access.ca)
    if is_plain_remote(base):
        raise ConfigError(
            f"{base} is plain http on another machine: its secret would be read on the way there",
            hint="https, or an ssh tunnel: docs/servers.md",
        )
    return access


def _authorities(base: str, ca: Path | None) -> ssl.SSLContext | bool:
    """Whose certificates count; True: those of SSL_CERT_FILE, or the usual."""
    if base.startswith("http:") and is_local(base):
        return _no_authorities()
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    # Said here for what goes to this machine, too, where the environment's proxies don't count.
    file = ca or (Path(named) if named else None)
    return True if file is None else authorities_of(file)


def authorities_of(file: Path) -> ssl.SSLContext:
    """Trusts the certificates of this file or folder alone.

    Raises:
        ConfigError: there are none.
    """
    try:
        if file.is_dir():
            return ssl.create_default_context(capath=str(file))
        return ssl.create_default_context(cafile=str(file))
    except (ssl.SSLError, OSError) as exc:
        why = "there is no certificate in it" if isinstance(exc, ssl.SSLError) else exc.strerror
        raise ConfigError(
            f"{file} can't be used as certificate authority: {why}",
            hint="it is a PEM file: -----BEGIN CERTIFICATE----- ...",
        ) from exc


def _no_authorities() -> ssl.SSLContext:
    """Trusts nobody: a server of this machine has no business redirecting to https elsewhere.

    Loading the authorities that are trusted otherwise takes a third of a push that has nothing
    to do.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

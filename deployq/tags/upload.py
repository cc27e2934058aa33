"""Uploading a file as it is read; imported with the first upload (`__init__.pyi`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from deployq.errors import ArtifactError
from deployq.tags.access import Access
from deployq.tags.refusal import Refusal
from deployq.types import Progress


def post_file(
    url: str,
    file: Path,
    progress: Progress,
    *,
    access: Access,
    trust_env: bool,
    timeouts_seconds: tuple[float, float],
) -> None:
    """Upload a file.

    Args:
        access: who asks, and whose certificates count.
        trust_env: whether a proxy of the environment may be used.
        timeouts_seconds: to get a connection, and for the server to take or say a bit.

    Raises:
        ArtifactError: the file can't be read.
        Refusal: the server does not take it.
    """
    with requests.Session() as session, _Reader(file, progress) as reader:
        session.trust_env = trust_env
        session.auth = _auth(access)
        session.verify = _authorities(access)
        response = session.post(
            url,
            data=reader,
            headers={"Content-Type": "application/octet-stream"},
            timeout=timeouts_seconds,
        )
    if not response.ok:
        raise Refusal.read(response.text, response.status_code)


def _auth(access: Access) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Sets the header, or none: requests would take one from a .netrc instead."""

    def authorized(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(access.headers)
        return request

    return authorized


def _authorities(access: Access) -> str | bool:
    """The same authorities as for all other requests, which requests would look up elsewhere."""
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    return str(access.ca) if access.ca else named or True


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
        # http.client asks for 16 KiB at a time: too little for a fast disk. Over a slow line more
        # than this would make the progress jump.
        chunk = self._file.read(max(size, 1 << 18) if size >= 0 else -1)
        self._done += len(chunk)
        self._progress(self._name, self._done, self._total, "bytes")
        return chunk

"""HEAD and POST of blobs."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conformance.server import Server, digest_of


def random_content() -> bytes:
    return os.urandom(100_000)


def test_a_new_blob_is_created_and_then_known(server: Server) -> None:
    content = random_content()
    digest = digest_of(content)
    assert server.head_blob(digest) == 404
    assert server.ask("POST", f"/api/blobs/{digest}", data=content).status_code == 201
    assert server.head_blob(digest) == 200
    assert server.ask("POST", f"/api/blobs/{digest}", data=b"").status_code == 200


def test_a_blob_lies_where_the_endpoint_says(server: Server) -> None:
    content = random_content()
    digest = digest_of(content)
    server.ask("POST", f"/api/blobs/{digest}", data=content)
    assert server.endpoint.models_dir is not None
    file = server.endpoint.models_dir / "blobs" / digest.replace(":", "-")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest.removeprefix("sha256:")


def test_a_wrong_digest_is_refused(server: Server) -> None:
    content, other = random_content(), digest_of(random_content())
    answer = server.ask("POST", f"/api/blobs/{other}", data=content)
    assert answer.status_code == 400
    assert answer.json()["error"] == (
        f'digest mismatch, expected "{other}", got "{digest_of(content)}"'
    )
    assert server.head_blob(other) == 404
    assert server.head_blob(digest_of(content)) == 200


@pytest.mark.parametrize(
    "digest", ["sha256:abc", "md5:" + "0" * 32, "nonsense", "sha256:" + "g" * 64]
)
def test_malformed_digests_are_refused(server: Server, digest: str) -> None:
    answer = server.ask("POST", f"/api/blobs/{digest}", data=b"x")
    assert answer.status_code == 400
    if server.version >= (0, 34):
        assert answer.json()["error"] == "invalid digest format"
    assert server.head_blob(digest) >= 400


def test_a_file_linked_into_the_store_counts_as_uploaded(server: Server, tmp_path: Path) -> None:
    content = random_content()
    file = tmp_path / "linked"
    file.write_bytes(content)
    assert server.endpoint.models_dir is not None
    digest = digest_of(content)
    target = server.endpoint.models_dir / "blobs" / digest.replace(":", "-")
    try:
        os.link(file, target)
    except OSError as exc:
        pytest.skip(f"no hard link between these folders: {exc}")
    assert server.head_blob(digest) == 200


def test_an_upload_that_breaks_off_leaves_nothing(server: Server) -> None:
    digest = digest_of(b"never sent")
    assert server.endpoint.models_dir is not None
    before = set((server.endpoint.models_dir / "blobs").glob("*"))

    address = urlsplit(server.endpoint.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"POST /api/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head.encode() + b"never")
    _wait_until_gone(server.endpoint.models_dir / "blobs", before)
    assert server.head_blob(digest) == 404


def _wait_until_gone(folder: Path, before: set[Path]) -> None:
    deadline = time.monotonic() + 5
    while set(folder.glob("*")) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not set(folder.glob("*")) - before

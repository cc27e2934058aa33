"""The part of the Hugging Face hub that its library asks for, over repositories in folders."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.http_servers import serving, url_of

_PIECE_BYTES = 1 << 20
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """One at one commit; `token` is needed to see it, or to have its files where it is gated."""

    folder: Path
    commit: str = COMMIT
    token: str = ""
    gated: bool = False

    def files(self) -> dict[str, Path]:
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in found}


@dataclass
class SmallHub:
    """Its repositories by name; `asked` has every request, `sent_bytes` what went out by file.

    `pause_seconds` lie between the pieces of a file. `damaged` files arrive with other bytes.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    sent_bytes: dict[str, int] = field(default_factory=dict)
    url: str = ""
    pause_seconds: float = 0.0
    damaged: set[str] = field(default_factory=set)


class Handler(BaseHTTPRequestHandler):
    """Answers for the hub that its class carries."""

    hub: SmallHub
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        repository = self.hub.repositories.get("/".join(parts[:2]))
        if repository is None:
            self.refuse(401, "RepoNotFound")
        elif repository.token and not self.has(repository.token):
            self.refuse(403 if repository.gated else 401, "GatedRepo" if repository.gated else "")
        elif len(parts) > 3 and parts[3] not in ("main", repository.commit):
            self.refuse(404, "RevisionNotFound")
        elif not api:
            self.file(repository, "/".join(parts[4:]))
        else:
            self.give_json(_answer(parts, repository))

    do_HEAD = do_GET  # noqa: N815

    def has(self, token: str) -> bool:
        return self.headers.get("Authorization") == f"Bearer {token}"

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give_json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def file(self, repository: Repository, name: str) -> None:
        path = repository.files().get(name)
        if path is None:
            self.refuse(404, "EntryNotFound")
            return
        content = path.read_bytes()
        etag, whole = hashlib.sha256(content).hexdigest(), len(content)
        if name in self.hub.damaged:
            content = bytes(whole)
        first, _, last = (self.headers.get("Range") or "").removeprefix("bytes=").partition("-")
        if first:
            content = content[int(first) : int(last) + 1 if last else None]
        self.send_response(206 if first else 200)
        self.send_header("X-Repo-Commit", repository.commit)
        self.send_header("ETag", f'"{etag}"')
        if first:
            end = int(first) + len(content) - 1
            self.send_header("Content-Range", f"bytes {first}-{end}/{whole}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.send_pieces(name, content)

    def send_pieces(self, name: str, content: bytes) -> None:
        for start in range(0, len(content), _PIECE_BYTES):
            piece = content[start : start + _PIECE_BYTES]
            with contextlib.suppress(ConnectionError):  # who asked for it has gone
                self.wfile.write(piece)
                self.wfile.flush()
                self.hub.sent_bytes[name] = self.hub.sent_bytes.get(name, 0) + len(piece)
                time.sleep(self.hub.pause_seconds)


@contextlib.contextmanager
def small_hub() -> Iterator[SmallHub]:
    """A running one."""
    hub = SmallHub()
    with serving(type("OwnHandler", (Handler,), {"hub": hub})) as http:
        hub.url = url_of(http)
        yield hub


def _answer(parts: list[str], repository: Repository) -> Any:
    listing = len(parts) > 2 and parts[2] == "tree"
    return _tree(repository) if listing else _info(parts, repository)


def _info(parts: list[str], repository: Repository) -> dict[str, Any]:
    siblings = [
        {"rfilename": name, "size": path.stat().st_size}
        for name, path in repository.files().items()
    ]
    name = "/".join(parts[:2])
    return {"id": name, "modelId": name, "sha": repository.commit, "siblings": siblings}


def _tree(repository: Repository) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "path": name,
            "size": path.stat().st_size,
            "oid": hashlib.sha256(path.read_bytes()).hexdigest()[:40],
        }
        for name, path in repository.files().items()
    ]

"""The part of Ollama's API that registration uses, kept in memory.

The tests of registration run against this and, marked `ollama`, against the real thing: what
passes on both shows that it behaves alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.http_servers import serving, url_of

Answer = tuple[int, Any]


class SmallOllama:
    """Holds blobs and tags; `fail` maps a path to the answer that it gives instead.

    `fail_once` does so for one request, given as `POST /path`.
    With a `models` folder it also has the blobs that lie there, as Ollama does.
    """

    def __init__(self) -> None:
        self.models: Path | None = None
        self.blobs: dict[str, int] = {}
        self.tags: dict[str, dict[str, Any]] = {}
        self.fail: dict[str, Answer] = {}
        self.fail_once: dict[str, Answer] = {}
        self.log: list[str] = []
        self.url = ""

    def create(self, body: dict[str, Any]) -> Answer:
        (digest,) = body["files"].values()
        if digest not in self.blobs:
            return 200, [{"status": "parsing GGUF"}, {"error": f"open {digest}: no such file"}]
        self.tags[_key(body["model"])] = {**body, "blob": digest, "size": self.blobs[digest]}
        return 200, [{"status": "parsing GGUF"}, {"status": "success"}]

    def show(self, body: dict[str, Any]) -> Answer:
        tag = self.tags.get(_key(body["model"]))
        if tag is None:
            return _not_found(body["model"])
        blob = tag["blob"].replace(":", "-")
        modelfile = f"FROM <PATH>/blobs/{blob}\n"
        return 200, {"modelfile": modelfile, "system": tag.get("system", ""), "details": {}}

    def copy(self, body: dict[str, Any]) -> Answer:
        source = self.tags.get(_key(body["source"]))
        if source is None:
            return _not_found(body["source"])
        self.tags[_key(body["destination"])] = source
        return 200, None

    def delete(self, body: dict[str, Any]) -> Answer:
        return (
            (200, None) if self.tags.pop(_key(body["model"]), None) else _not_found(body["model"])
        )

    def generate(self, body: dict[str, Any]) -> Answer:
        if _key(body["model"]) not in self.tags:
            return _not_found(body["model"])
        return 200, {"model": body["model"], "response": "", "done": True, "done_reason": "load"}

    def list(self, _: dict[str, Any]) -> Answer:
        return 200, {"models": [_listed(name, tag) for name, tag in self.tags.items()]}

    def blob(self, method: str, path: str, content: bytes) -> Answer:
        digest = path.rpartition("/")[2]
        if method == "HEAD":
            return (200 if self.has(digest) else 404), None
        if digest != f"sha256:{hashlib.sha256(content).hexdigest()}":
            return 400, {"error": "digest mismatch"}
        self.blobs[digest] = len(content)
        return 201, None

    def has(self, digest: str) -> bool:
        if self.models is not None:
            file = self.models / "blobs" / digest.replace(":", "-")
            if file.exists():
                self.blobs[digest] = file.stat().st_size
        return digest in self.blobs

    def answer(self, method: str, path: str, content: bytes) -> Answer:
        self.log.append(f"{method} {path}")
        if f"{method} {path}" in self.fail_once:
            return self.fail_once.pop(f"{method} {path}")
        if path in self.fail:
            return self.fail[path]
        if path.startswith("/api/blobs/"):
            return self.blob(method, path, content)
        calls: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "/api/create": self.create,
            "/api/show": self.show,
            "/api/copy": self.copy,
            "/api/delete": self.delete,
            "/api/generate": self.generate,
            "/api/tags": self.list,
            "/api/ps": lambda _: (200, {"models": []}),
            "/api/version": lambda _: (200, {"version": "0.34.4"}),
        }
        return calls[path](json.loads(content or b"{}"))


@contextlib.contextmanager
def small_ollama() -> Iterator[SmallOllama]:
    """A running one."""
    ollama = SmallOllama()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: else each answer waits for the client

        def log_message(self, *_: object) -> None:
            pass

        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = ollama.answer(self.command, self.path, content)
            lines = answer if isinstance(answer, list) else [answer] if answer is not None else []
            body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

    with serving(Handler) as http:
        ollama.url = url_of(http)
        yield ollama


def _key(name: str) -> str:
    return name.lower() if ":" in name else f"{name.lower()}:latest"


def _listed(name: str, tag: dict[str, Any]) -> dict[str, Any]:
    content = {key: value for key, value in tag.items() if key != "model"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {"name": name, "model": name, "size": tag["size"], "digest": digest, "details": {}}


def _not_found(name: str) -> Answer:
    return 404, {"error": f"model '{name}' not found"}

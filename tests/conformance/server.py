"""One server under test, asked over plain HTTP; and the named differences between servers."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from pathlib import Path
from typing import Any

import requests

from deployq import Endpoint
from tests.tiny import CHAT_TEMPLATE

TIMEOUT_SECONDS = 120.0
SOON_SECONDS = 5.0

# So many words that a random model rarely says one of the 256 bytes, which mean nothing alone.
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = (*(f"▁{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in _LETTERS),)

# A ChatML template that Ollama does not take for one that it knows (a distance under 100), so that
# both servers use it as it is.
UNKNOWN_TEMPLATE = f"{{# {'written for these tests, unlike any other one; ' * 4} #}}{CHAT_TEMPLATE}"

# A format that keeps a random model talking: it may only end once a string is closed, and hardly
# ever hits the one token that closes it.
ENDLESS = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}

# Where the embedded runtime is meant to differ from a real Ollama. A test that depends on one of
# these asks `server.lacks(name)`; whatever is not named here is the same on both.
EMBEDDED_DIFFERENCES = {
    "go templates": "TEMPLATE is answered 501; the GGUF's own Jinja is always used",
    "template detection": "no Go template and stop parameters are stored for a known Jinja",
    "registry": "an unknown `from` is answered 501, nothing is pulled",
    "parse errors": "faults inside a GGUF have deployq's words, not Ollama's",
    "renderers": "RENDERER and PARSER are answered 501",
    "embeddings": "embed is answered 501 in other words",
    "openai": "/v1 is answered 501",
}


class Server:
    """An endpoint and the few ways to ask it that the suite needs."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.session = requests.Session()
        self.session.trust_env = False
        self._digests: dict[Path, str] = {}

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(int(n) for n in re.findall(r"\d+", self.endpoint.version)[:3])

    @property
    def embedded(self) -> bool:
        return self.endpoint.runtime == "embedded"

    def lacks(self, difference: str) -> bool:
        """Is this the embedded runtime, where `difference` is a named one?"""
        assert difference in EMBEDDED_DIFFERENCES
        return self.embedded

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        timeout = more.pop("timeout", TIMEOUT_SECONDS)
        return self.session.request(method, f"{self.endpoint.url}{path}", timeout=timeout, **more)

    def answers_after_a_closed_stream(self, name: str) -> bool:
        """Does the model answer within ten seconds, once the client of a stream went away?

        Once in many closings llama-server (b11434) answers nothing any more, to anybody, until
        it is unloaded: a fault of the engine, not of who asks it. Then that must mend it.
        """
        body = {"model": name, "prompt": "x", "options": {"num_predict": 1}, "stream": False}
        try:
            return self.ask("POST", "/api/generate", json=body, timeout=10).ok
        except requests.Timeout:
            self.unload(name)
        return self.ask("POST", "/api/generate", json=body, timeout=30).ok

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> requests.Response:
        return self.ask("POST", path, json=body)

    def ok(self, path: str, **body: Any) -> dict[str, Any]:
        """A request without streaming that must succeed."""
        answer = self.post(path, **{"stream": False, **body})
        assert answer.status_code == 200, answer.text
        content = answer.json()
        assert isinstance(content, dict)
        return content

    def lines(self, path: str, **body: Any) -> list[dict[str, Any]]:
        """The lines of a stream."""
        answer = self.post(path, **body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("application/x-ndjson")
        return [json.loads(line) for line in answer.text.splitlines()]

    def refused(self, path: str, **body: Any) -> tuple[int, str]:
        """Status and text of an error, which must be one JSON object."""
        answer = self.post(path, **body)
        assert answer.headers["Content-Type"].startswith("application/json"), answer.text
        return answer.status_code, answer.json()["error"]

    def head_blob(self, digest: str) -> int:
        return self.ask("HEAD", f"/api/blobs/{digest}").status_code

    def upload(self, path: Path) -> str:
        """The digest of a file that the server has afterwards."""
        if path not in self._digests:
            self._digests[path] = digest_of(path.read_bytes())
        digest = self._digests[path]
        if self.head_blob(digest) != 200:
            with path.open("rb") as file:
                assert self.ask("POST", f"/api/blobs/{digest}", data=file).status_code == 201
        return digest

    def create(self, name: str, gguf: Path, **more: Any) -> None:
        self.ok("/api/create", model=name, files={gguf.name: self.upload(gguf)}, **more)

    def tags(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.get("/api/tags")["models"]}

    def loaded(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.get("/api/ps")["models"]}

    def unload(self, name: str) -> None:
        """Unload a model, and wait until `ps` lists it no more."""
        self.ok("/api/generate", model=name, keep_alive=0)
        assert self.is_gone_soon(name)

    def is_gone_soon(self, name: str) -> bool:
        """An unloaded model leaves `ps` at once or a moment later."""
        full = name if ":" in name else f"{name}:latest"
        deadline = time.monotonic() + SOON_SECONDS
        while full in self.loaded():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def fresh_name(stem: str) -> str:
    """A model name that no other test uses."""
    return f"{stem}-{uuid.uuid4().hex[:8]}"

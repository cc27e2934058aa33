"""An Ollama server: each thing that deployq asks of one, with a timeout and errors of ours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from deployq.errors import (
    ServerError,
    ServerRefused,
    ServerUnreachable,
)
from deployq.tags import records
from deployq.tags.access import Access
from deployq.tags.modelfile import Modelfile
from deployq.tags.records import Loaded, Shown, TagRecord, expect
from deployq.tags.refusal import Refusal
from deployq.tags.request_fields import create_fields, generation_fields, message_fields
from deployq.tags.versions import version_numbers
from deployq.tags.wire import Wire
from deployq.types import Answer, Json, Message, Piece, Progress, Turn, no_progress

FIRST_ANSWER_SECONDS = 10.0
"""How long a server may take to tell its version, which no load and no model holds up."""

OLDEST = (0, 30)
# What a build from source says of itself when nobody stamped it.
UNSTAMPED = (0, 0, 0)


class Server:
    """A server that speaks Ollama's API.

    Args:
        url: its address; `host:port` will do.
        connect_timeout_seconds: to get a connection.
        first_answer_seconds: to tell its version, connection included.
        timeout_seconds: for other answers that need no model.
        generate_timeout_seconds: for those that load or run one, and for a create.
        access: who asks, and whose certificates count.

    Every method raises `ServerUnreachable`, `ServerRefused` (with the server's own words),
    `ServerTimeout`, or `ServerError` for an answer that makes no sense.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_seconds: float = 5,
        first_answer_seconds: float = FIRST_ANSWER_SECONDS,
        timeout_seconds: float = 60,
        generate_timeout_seconds: float = 300,
        access: Access | None = None,
    ) -> None:
        self._wire = Wire(
            url,
            connect_timeout_seconds=connect_timeout_seconds,
            timeout_seconds=timeout_seconds,
            access=access,
        )
        self.url = self._wire.url
        self.first_answer_seconds = min(first_answer_seconds, timeout_seconds)
        self.timeout_seconds = timeout_seconds
        self.generate_timeout_seconds = generate_timeout_seconds

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    # ------------------------------------------------------------ about the server

    def version(self) -> str:
        """The version that the server says it has."""
        seconds = self.first_answer_seconds
        with self._mapped("tell its version", seconds):
            return expect(self._wire.ask("/api/version", seconds), "version", str)

    def ensure_supported(self) -> str:
        """The server's version, if deployq can work with it.

        Raises:
            ServerRefused: it is older than 0.30.
        """
        version = self.version()
        with self._mapped("tell its version"):
            numbers = version_numbers(version)
        if numbers < OLDEST and numbers != UNSTAMPED:
            oldest = ".".join(map(str, OLDEST))
            raise ServerRefused(
                f"{self.url} is Ollama {version}; deployq needs {oldest} or newer",
                hint="update it: https://ollama.com/download",
            )
        return version

    def clock(self) -> float:
        """The server's time, in seconds since 1970, to the second."""
        with self._mapped("tell its time"):
            return self._wire.clock("/api/version", self.timeout_seconds)

    def tags(self) -> list[TagRecord]:
        """Every tag that the server has."""
        with self._mapped("list its tags"):
            models = expect(self._ask("/api/tags"), "models", list)
            return [records.tag(model) for model in models]

    def names(self) -> list[str]:
        """The names of its tags, as the server spells them."""
        return [tag.name for tag in self.tags()]

    def tag(self, name: str) -> TagRecord | None:
        """The tag of that name, letter case aside; None where there is none."""
        return records.find_tag(self.tags(), name)

    def ps(self) -> list[Loaded]:
        """The models in memory; tags of equal weights share one, under one of their names."""
        with self._mapped("list its loaded models"):
            models = expect(self._ask("/api/ps"), "models", list)
            return [records.loaded(model) for model in models]

    def show(self, name: str, *, fresh: bool = False) -> Shown:
        """What the server knows of a tag.

        Args:
            fresh: read from its files now; a plain answer may come from the server's memory. What
                the request's option says is then part of the answer's `modelfile`.
        """
        body: dict[str, Any] = {"model": name}
        if fresh:  # any option keeps Ollama from its cache (server/model_show_cache.go)
            body["options"] = {"seed": 0}
        with self._mapped(f"show {name}"):
            return records.shown(self._ask("/api/show", body))

    # ------------------------------------------------------------ changing what it holds

    def has_blob(self, digest: str) -> bool:
        """Whether the server has a blob; `digest` is the hex sha256 of its bytes."""
        with self._mapped(f"say whether it has blob {digest[:12]}"):
            status = self._wire.head(_blob(digest), self.timeout_seconds)
            if status not in (200, 404):
                raise Refusal("", status)
            return status == 200

    def upload_blob(self, path: Path, digest: str, progress: Progress = no_progress) -> bool:
        """Upload a file that the server was said not to have; False: by now it has it anyway.

        Raises:
            ServerRefused: among others, the file's content no longer has that digest.
        """
        try:
            with self._mapped(f"take blob {path.name}", self.generate_timeout_seconds):
                self._wire.post_file(_blob(digest), path, progress, self.generate_timeout_seconds)
        except ServerUnreachable:
            # A server that has the blob (from someone else, meanwhile) closes without reading.
            if not self.has_blob(digest):
                raise
            return False
        return True

    def create(
        self,
        name: str,
        modelfile: Modelfile,
        files: Mapping[str, str],
        progress: Progress = no_progress,
    ) -> list[str]:
        """Create a tag from blobs that the server has; overwrites without asking.

        Args:
            files: file name to hex sha256; `modelfile.from_` must be one of the names (for a
                split GGUF, that of its first part).

        Returns:
            The server's status lines.

        Raises:
            ModelfileError: FROM or ADAPTER names a file that is not in `files`.
        """
        body = {"model": name, "stream": True, **create_fields(modelfile, files)}
        statuses: list[str] = []
        with self._mapped(f"create {name}", self.generate_timeout_seconds):
            for line in self._stream("/api/create", body):
                statuses.append(expect(line, "status", str))
                progress(name, len(statuses), None, "steps")
        if not statuses or statuses[-1] != "success":
            last = statuses[-1] if statuses else "nothing"
            raise ServerError(
                f"{self.url} did not finish to create {name}: its last word was {last!r}",
                hint="the server's own log says more; then repeat the command",
            )
        return statuses

    def copy(self, source: str, destination: str) -> None:
        """Give a tag a second name; overwrites without asking."""
        with self._mapped(f"copy {source} to {destination}"):
            self._wire.copy(source, destination)

    def delete(self, name: str) -> None:
        """Remove a name, and the blobs that no other tag uses."""
        with self._mapped(f"delete {name}"):
            self._wire.delete(name)

    # ------------------------------------------------------------ running models

    def load(self, name: str, options: Mapping[str, Json] | None = None) -> None:
        """Load a model into memory."""
        body = {"model": name, "options": dict(options or {}), "stream": False}
        with self._mapped(f"load {name}", self.generate_timeout_seconds):
            expect(self._run("/api/generate", body, self.generate_timeout_seconds), "done", bool)

    def unload(self, name: str) -> None:
        """Drop a model from memory; also ends what hangs there."""
        body = {"model": name, "keep_alive": 0, "stream": False}
        with self._mapped(f"unload {name}"):
            expect(self._run("/api/generate", body, self.timeout_seconds), "done", bool)

    def chat(
        self,
        model: str,
        messages: Iterable[Message],
        *,
        options: Mapping[str, Json],
        format: Json = None,
        think: bool | str = False,
        tools: Sequence[Json] = (),
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Answer a conversation; the whole answer at once.

        Args:
            options: Ollama's own, passed on as they are; a `num_predict` of 0 is refused, as it
                means without limit.
            timeout_seconds: for the whole answer.
        """
        body = {
            "model": model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            **generation_fields(options, format, think),
            **({"tools": list(tools)} if tools else {}),
        }
        with self._mapped(f"chat with {model}", timeout_seconds or self.generate_timeout_seconds):
            answer, seconds = self._timed("/api/chat", body, timeout_seconds)
            message = expect(answer, "message", dict)
            text, thinking = expect(message, "content", str), str(message.get("thinking") or "")
            return records.answered(answer, text, thinking, seconds)

    def generate(
        self,
        model: str,
        prompt: str,
        *,
        raw: bool = False,
        options: Mapping[str, Json],
        format: Json = None,
        think: bool | str = False,
        top_logprobs: int | None = None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Continue a prompt; `raw` leaves out the template.

        Args:
            top_logprobs: 0 to 20; log probabilities come in the answer's `raw["logprobs"]`.
        """
        body: dict[str, Any] = {"model": model, "prompt": prompt, "raw": raw}
        body |= generation_fields(options, format, think)
        if top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": top_logprobs}
        with self._mapped(
            f"generate with {model}", timeout_seconds or self.generate_timeout_seconds
        ):
            answer, seconds = self._timed("/api/generate", body, timeout_seconds)
            text, thinking = expect(answer, "response", str), str(answer.get("thinking") or "")
            return records.answered(answer, text, thinking, seconds)

    def stream(
        self,
        model: str,
        prompt: str,
        *,
        options: Mapping[str, Json],
        format: Json = None,
        top_logprobs: int = 20,
        timeout_seconds: float | None = None,
    ) -> Generator[Piece]:
        """Continue a raw prompt, token by token, each with the likeliest ones at its place.

        Closing the generator stops the server.

        Args:
            timeout_seconds: for each piece; the first one may need a load.
        """
        body = {"model": model, "prompt": prompt, "raw": True}
        body |= generation_fields(options, format, think=False)
        body |= {"stream": True, "logprobs": True, "top_logprobs": top_logprobs}
        seconds = timeout_seconds or self.generate_timeout_seconds
        with (
            self._mapped(f"generate with {model}", seconds),
            contextlib.closing(self._wire.lines("POST", "/api/generate", body, seconds)) as lines,
        ):
            for line in lines:
                yield records.piece(line)

    def render(
        self,
        name: str,
        messages: Iterable[Message | Turn],
        *,
        think: bool | str = False,
        tools: Sequence[Json] = (),
    ) -> str | None:
        """The prompt that the server makes of a conversation; nothing is generated.

        The model is loaded for it. Nothing is cut off, whatever the context. None: the server
        does not know how to render only, and gave an answer of one token instead.
        """
        body: dict[str, Any] = {
            "model": name,
            "messages": [message_fields(message) for message in messages],
            "think": think,
            "truncate": False,
            "stream": False,
            "options": {"num_predict": 1},
            "_debug_render_only": True,
        }
        if tools:
            body["tools"] = list(tools)
        with self._mapped(f"render a conversation for {name}", self.generate_timeout_seconds):
            answer = self._run("/api/chat", body, self.generate_timeout_seconds)
            if isinstance(answer, Mapping) and "_debug_info" not in answer and "message" in answer:
                return None
            return expect(expect(answer, "_debug_info", dict), "rendered_template", str)

    # ------------------------------------------------------------ underneath

    def _mapped(self, what: str, timeout_seconds: float | None = None) -> Any:
        return self._wire.mapped(what, timeout_seconds or self.timeout_seconds)

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._wire.ask(path, self.timeout_seconds, body)

    def _run(self, path: str, body: Mapping[str, Any], timeout_seconds: float) -> Any:
        return self._wire.call("POST", path, body, timeout_seconds)

    def _timed(
        self, path: str, body: Mapping[str, Any], timeout_seconds: float | None
    ) -> tuple[Any, float]:
        start = time.perf_counter()
        answer = self._run(path, body, timeout_seconds or self.generate_timeout_seconds)
        return answer, time.perf_counter() - start

    def _stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        return self._wire.lines("POST", path, body, self.generate_timeout_seconds)


def _blob(digest: str) -> str:
    return f"/api/blobs/sha256:{digest}"

"""One llama-server child with one model, and its raw completions."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from deployq import Answer, BackendError, Json, proc

LOAD_SECONDS = 600.0
_POLL_SECONDS = 0.05
_MOST_LOG = 64 << 10
# Ollama's options that /completion knows by the same name, or by another.
_SAME = (
    *("temperature", "top_k", "top_p", "min_p", "seed", "stop", "repeat_penalty"),
    *("repeat_last_n", "presence_penalty", "frequency_penalty"),
)
_OTHERS = {"num_predict": "n_predict", "num_keep": "n_keep"}


@contextmanager
def loaded(tool: Path, weights: Path, n_ctx: int) -> Iterator[Served]:
    """A model served on a loopback port of its own, inside the block.

    Raises:
        BackendError: llama-server does not load it.
    """
    port = _free_port()
    argv = [str(tool), "--model", str(weights), "--host", "127.0.0.1", "--port", str(port)]
    argv += ["-c", str(n_ctx), "-np", "1", "--offline"]
    with tempfile.TemporaryFile() as log, requests.Session() as http:
        http.trust_env = False
        with proc.spawn(argv, stdout=log.fileno()) as child:
            served = Served(f"http://127.0.0.1:{port}", http)
            deadline = time.monotonic() + LOAD_SECONDS
            while not served.is_up():
                if child.poll() is not None or time.monotonic() > deadline:
                    raise BackendError(
                        f"llama-server could not load {weights.name}: {_last_words(log)}",
                        hint="deployq tools shows which llama-server that is",
                    )
                time.sleep(_POLL_SECONDS)
            yield served


class Served:
    """A model that answers at `url`."""

    def __init__(self, url: str, http: requests.Session) -> None:
        self._url = url
        self._http = http

    def is_up(self) -> bool:
        try:
            return self._http.get(f"{self._url}/health", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def complete(
        self,
        prompt: str,
        *,
        options: Mapping[str, Json],
        format: Json = None,
        timeout_seconds: float,
    ) -> Answer:
        """Continue a prompt as it is; options are Ollama's.

        Raises:
            BackendError: llama-server refuses, is gone, or takes too long.
        """
        body = completion_body(prompt, options, format)
        started = time.perf_counter()
        try:
            answer = self._http.post(f"{self._url}/completion", json=body, timeout=timeout_seconds)
            if answer.status_code >= 400:
                raise BackendError(f"llama-server refuses the prompt: {answer.text.strip()}")
            return answered(answer.json(), time.perf_counter() - started)
        except requests.RequestException as exc:
            raise BackendError(f"llama-server did not answer: {exc}") from exc


def completion_body(prompt: str, options: Mapping[str, Json], format: Json) -> dict[str, Any]:
    """A request to `/completion` that says the same as one to Ollama's `/api/generate`, raw."""
    body: dict[str, Any] = {"prompt": prompt, "n_probs": 1, "cache_prompt": False}
    body |= {name: options[name] for name in _SAME if name in options}
    body |= {theirs: options[ours] for ours, theirs in _OTHERS.items() if ours in options}
    if format == "json":
        body["json_schema"] = {"type": "object"}
    elif isinstance(format, Mapping):
        body["json_schema"] = dict(format)
    return body


def answered(answer: Mapping[str, Any], wall_seconds: float) -> Answer:
    """What `/completion` answered, as Ollama would have given it."""
    timings = answer["timings"]
    tokens = [{"token": row["token"]} for row in answer.get("completion_probabilities", ())]
    return Answer(
        text=answer["content"],
        done_reason="length" if answer["stop_type"] == "limit" else "stop",
        prompt_tokens=int(answer["tokens_evaluated"]),
        tokens=int(answer["tokens_predicted"]),
        eval_seconds=timings["predicted_ms"] / 1000,
        load_seconds=0.0,
        wall_seconds=wall_seconds,
        raw={"logprobs": tokens},
    )


def _last_words(log: Any) -> str:
    log.seek(max(0, log.seek(0, 2) - _MOST_LOG))
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-6:]) or "it printed nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

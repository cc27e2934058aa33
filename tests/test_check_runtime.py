"""The conformance check of runtimes finds each fault, and passes what is good and deployq's own."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deployq_runtimes import Embedded, Managed, Ollama

from deployq import BackendError, ConfigError, DiskError, Endpoint, Health
from deployq.testing import check_runtime, check_runtime_concurrency, check_runtime_privacy
from tests.http_servers import serving, url_of

ANSWERS = {"/api/version": {"version": "0.34.4"}, "/api/tags": {"models": []}}


@contextlib.contextmanager
def server(answers: dict[str, Any], port: int = 0) -> Iterator[str]:
    """A server that answers a few paths; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path)
            body = json.dumps(answer).encode()
            self.send_response(200 if answer is not None else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with serving(Handler, port=port) as found:
        yield url_of(found)


class Small:
    """A runtime that starts a server for each that wants one."""

    name = "small"
    private = True
    answers = ANSWERS

    def health(self) -> Health:
        return Health(True, version="0.34.4")

    def models_dir(self, folder: Path) -> Path | None:
        return folder / "models"

    @contextlib.contextmanager
    def start(self, folder: Path, port: int = 0) -> Iterator[Endpoint]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise DiskError(f"cannot make {folder}: {exc.strerror}") from exc
        with server(self.answers, port) as url:
            yield self.endpoint(url, folder)

    def endpoint(self, url: str, folder: Path) -> Endpoint:
        return Endpoint(url, self.name, "0.34.4", folder / "models")


def test_a_good_one_passes(tmp_path: Path) -> None:
    check_runtime(Small(), tmp_path)


# ---------------------------------------------------------------- faults


def with_(**changes: Any) -> Small:
    return type("Changed", (Small,), changes)()  # type: ignore[no-any-return]


def endpoint(make: Callable[[str, Path], Any]) -> Small:
    return with_(endpoint=lambda _, url, folder: make(url, folder))


def in_another_way(start: Callable[..., Any]) -> Small:
    return with_(start=lambda _, folder, port=0: start(folder, port))


@contextlib.contextmanager
def swallows(folder: Path, port: int) -> Iterator[Endpoint]:
    with contextlib.suppress(BaseException), Small().start(folder, port) as found:
        yield found


@contextlib.contextmanager
def relabels(folder: Path, port: int) -> Iterator[Endpoint]:
    with Small().start(folder, port) as found:
        try:
            yield found
        except BaseException as exc:
            raise ValueError("something happened") from exc


@contextlib.contextmanager
def dawdles(folder: Path, port: int) -> Iterator[Endpoint]:
    time.sleep(0.5)
    with Small().start(folder, port) as found:
        yield found


@contextlib.contextmanager
def any_port(folder: Path, port: int) -> Iterator[Endpoint]:  # noqa: ARG001
    with Small().start(folder) as found:
        yield found


@contextlib.contextmanager
def unmapped(folder: Path, port: int) -> Iterator[Endpoint]:
    folder.mkdir(parents=True, exist_ok=True)
    with Small().start(folder, port) as found:
        yield found


@contextlib.contextmanager
def wordless(folder: Path, port: int) -> Iterator[Endpoint]:
    try:
        block = Small().start(folder, port)
        found = block.__enter__()
    except DiskError:
        raise BackendError("it did not start") from None
    try:
        yield found
    finally:
        block.__exit__(None, None, None)


@contextlib.contextmanager
def anywhere(folder: Path, port: int) -> Iterator[Endpoint]:
    real = folder if not folder.is_file() else folder.with_suffix(".d")
    with Small().start(real, port) as found:
        yield found


def shaky(folder: Path) -> Path:
    if "模型" in str(folder):
        raise ConfigError("only plain letters")
    return folder / "models"


FAULTS: dict[str, tuple[Any, str]] = {
    "nothing of a runtime": (object(), "lacks a part"),
    "no name": (with_(name=""), "its name is ''"),
    "a name with a blank": (with_(name="my server"), "its name is 'my server'"),
    "not usable": (with_(health=lambda _: Health(False, detail="no engine")), "no engine"),
    "no health": (with_(health=lambda _: True), "gives a bool, no deployq.Health"),
    "no block": (in_another_way(lambda *_: ANSWERS), "no context manager"),
    "no endpoint": (endpoint(lambda url, _: url), "is a str, no deployq.Endpoint"),
    "another's endpoint": (endpoint(lambda u, f: Endpoint(u, "x", "", f / "models")), "of 'x'"),
    "no URL": (endpoint(lambda _, f: Endpoint("localhost:1", "small", "", f)), "no URL of http"),
    "a slash": (endpoint(lambda u, f: Endpoint(f"{u}/", "small", "", f)), "ends in a slash"),
    "nothing there": (
        endpoint(lambda _, f: Endpoint("http://127.0.0.1:9", "small", "", f / "models")),
        "does not answer like Ollama",
    ),
    "no Ollama": (with_(answers={}), "/api/version does not answer"),
    "no version": (with_(answers={**ANSWERS, "/api/version": {}}), "names no version"),
    "no object": (with_(answers={**ANSWERS, "/api/version": ["1"]}), "no JSON object"),
    "no tags": (with_(answers={**ANSWERS, "/api/tags": {}}), "gives no list of models"),
    "another version": (
        endpoint(lambda u, f: Endpoint(u, "small", "1.0", f / "models")),
        "says version '1.0', its server '0.34.4'",
    ),
    "another store": (endpoint(lambda u, f: Endpoint(u, "small", "", f / "m")), "models_dir"),
    "swallows": (in_another_way(swallows), "swallows what is raised"),
    "relabels": (in_another_way(relabels), "comes out of the block as ValueError"),
    "slow": (in_another_way(dawdles), "to start"),
    "plain paths only": (endpoint(lambda u, f: Endpoint(u, "small", "", shaky(f))), "only plain"),
    "any port": (in_another_way(any_port), "it was asked to be on port"),
    "open to all": (
        endpoint(
            lambda u, f: Endpoint(u.replace("127.0.0.1", "0.0.0.0"), "small", "", f / "models")
        ),
        "not on this machine alone",
    ),
    "a store elsewhere": (
        with_(
            models_dir=lambda *_: Path("/models"),
            endpoint=lambda _, u, f: Endpoint(u, "small", "", Path("/models")),  # noqa: ARG005
        ),
        "not in the folder that it was given",
    ),
    "raises what Python raises": (in_another_way(unmapped), "raises FileExistsError, none"),
    "names nothing": (in_another_way(wordless), "does not name"),
    "anywhere": (in_another_way(anywhere), "which is no folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, tmp_path: Path) -> None:
    runtime, message = FAULTS[fault]
    with pytest.raises((AssertionError, ConfigError), match=message):
        check_runtime(runtime, tmp_path, seconds=0.4)


class OneForAll(Small):
    """Everybody gets the server of the first, which ends with the first."""

    def __init__(self) -> None:
        self._url = ""
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def start(self, folder: Path, port: int = 0) -> Iterator[Endpoint]:
        with contextlib.ExitStack() as stack:
            with self._lock:
                if not self._url:
                    self._url = stack.enter_context(server(ANSWERS, port))
                    stack.callback(setattr, self, "_url", "")
            yield self.endpoint(self._url, folder)


def test_the_first_to_end_takes_the_server_along(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="does not answer like Ollama"):
        check_runtime_concurrency(OneForAll(), tmp_path)


def test_two_at_once_are_too_many(tmp_path: Path) -> None:
    lock = threading.Lock()

    @contextlib.contextmanager
    def alone(folder: Path, port: int) -> Iterator[Endpoint]:
        if not lock.acquire(blocking=False):
            raise BackendError("it runs already")
        try:
            with Small().start(folder, port) as found:
                yield found
        finally:
            lock.release()

    with pytest.raises(AssertionError, match="used at once by several: BackendError: it runs"):
        check_runtime(in_another_way(alone), tmp_path)


def test_a_server_that_stays(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:

        @contextlib.contextmanager
        def stays(folder: Path, port: int) -> Iterator[Endpoint]:
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=True)
            yield Small().endpoint(stack.enter_context(server(ANSWERS, port)), folder)

        with pytest.raises(AssertionError, match="is still up"):
            check_runtime_privacy(in_another_way(stays), tmp_path, end_seconds=0.3)


# ---------------------------------------------------------------- deployq's own


@pytest.mark.tools
def test_embedded_and_ollama_keep_it(tmp_path: Path, tools_bin: Path) -> None:
    embedded = Embedded({"DEPLOYQ_LLAMA_CPP": str(tools_bin)})
    check_runtime(embedded, tmp_path / "embedded")
    with embedded.start(tmp_path / "running") as running:
        check_runtime(Ollama(running.url, {}), tmp_path / "ollama")


@pytest.mark.ollama
def test_managed_keeps_it(tmp_path: Path, ollama_binary: Path) -> None:
    check_runtime(Managed({"DEPLOYQ_OLLAMA": str(ollama_binary)}), tmp_path)

"""The contract of `deployq.Runtime`, as checks for its author's own tests."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deployq.errors import DeployqError
from deployq.testing.calls import at_once, called, kind_of
from deployq.testing.must import must
from deployq.types import (
    Endpoint,
    Health,
    PrivateRuntime,
    Runtime,
    Serving,
    ServingRuntime,
    StoringRuntime,
)

START_SECONDS = 90.0
"""A private server may load for a while on a busy machine."""

END_SECONDS = 30.0
_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_ASK_SECONDS = 10.0
_POLL_SECONDS = 0.1
_SETTLE_SECONDS = 1.0


def check_runtime(runtime: Runtime, tmp_path: Path, *, seconds: float = START_SECONDS) -> None:
    """Hold a runtime against the contract of `deployq.Runtime`; it starts servers for it.

    Args:
        runtime: usable on this machine.
        tmp_path: an empty folder to write in.
        seconds: the most that a start may take.

    Raises:
        AssertionError: it breaks the contract; the message says how.
    """
    check_runtime_health(runtime, seconds)
    check_runtime_endpoint(runtime, tmp_path / "plain", seconds)
    check_runtime_interrupted(runtime, tmp_path / "plain", seconds)
    check_runtime_endpoint(runtime, tmp_path / "a b" / "-é ü '模型'", seconds)
    check_runtime_concurrency(runtime, tmp_path / "at-once")
    if is_private(runtime):
        check_runtime_privacy(runtime, tmp_path / "private", seconds)


def is_private(runtime: Runtime) -> bool:
    """Whether its servers are its own, rather than one that runs anyway."""
    return isinstance(runtime, PrivateRuntime) and runtime.private


def check_runtime_health(runtime: Runtime, seconds: float = START_SECONDS) -> None:
    """Its name and its health make sense."""
    must(isinstance(runtime, Runtime), f"{runtime!r} lacks a part of deployq.Runtime")
    must(
        isinstance(runtime.name, str) and bool(_NAME.fullmatch(runtime.name)),
        f"its name is {runtime.name!r}: it is typed (small letters, digits, - and _)",
    )
    health = called(runtime.health, f"{runtime.name}.health()", seconds)
    must(isinstance(health, Health), f"health() gives {kind_of(health)}, no deployq.Health")
    must(health.ok, f"{runtime.name} says that it is not usable here: {health.detail}")
    if isinstance(runtime, ServingRuntime):
        serving = called(runtime.serving, f"{runtime.name}.serving()", seconds)
        must(
            serving is None or isinstance(serving, Serving),
            f"serving() gives {kind_of(serving)}, no deployq.Serving",
        )


def check_runtime_endpoint(runtime: Runtime, folder: Path, seconds: float = START_SECONDS) -> None:
    """Inside the block an Ollama API answers, where and as the endpoint says."""
    with _started(runtime, folder, seconds) as endpoint:
        _must_be_endpoint(endpoint, runtime)
        version = str(_asked(endpoint, "/api/version").get("version", ""))
        must(bool(version), f"{endpoint.url}/api/version names no version")
        must(
            endpoint.version in ("", version),
            f"the endpoint says version {endpoint.version!r}, its server {version!r}",
        )
        tags = _asked(endpoint, "/api/tags").get("models")
        must(isinstance(tags, list), f"{endpoint.url}/api/tags gives no list of models: {tags!r}")
        if isinstance(runtime, StoringRuntime):
            told = runtime.models_dir(folder)
            must(
                told == endpoint.models_dir,
                f"models_dir() says {told}, the endpoint {endpoint.models_dir}",
            )


def check_runtime_interrupted(
    runtime: Runtime, folder: Path, seconds: float = START_SECONDS
) -> None:
    """What is raised inside the block (Ctrl-C) comes out of it, and it can be started again."""
    for raised in (KeyboardInterrupt("the check's own"), ValueError("the check's own")):
        try:
            with _started(runtime, folder, seconds):
                raise raised
        except (KeyboardInterrupt, ValueError) as exc:
            must(exc is raised, f"{raised!r} comes out of the block as {exc!r}")
        else:
            raise AssertionError(f"{runtime.name} swallows what is raised inside the block")
    with _started(runtime, folder, seconds) as endpoint:
        _asked(endpoint, "/api/version")


def check_runtime_concurrency(runtime: Runtime, folder: Path) -> None:
    """Two commands in one folder: both have their server, also when the other one ends."""
    both = at_once([lambda: _entered(runtime, folder)] * 2)
    try:
        for _, endpoint in both:
            _asked(endpoint, "/api/version")
    finally:
        for block, _ in both:
            block.__exit__(None, None, None)
    earlier, _ = _entered(runtime, folder)
    try:
        later, endpoint = _entered(runtime, folder)
    finally:
        earlier.__exit__(None, None, None)
    try:
        time.sleep(_SETTLE_SECONDS)
        _asked(endpoint, "/api/version")
    finally:
        later.__exit__(None, None, None)


def check_runtime_privacy(
    runtime: Runtime,
    folder: Path,
    seconds: float = START_SECONDS,
    end_seconds: float = END_SECONDS,
) -> None:
    """A server of its own is on this machine alone, on the port asked for, and ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert isinstance(runtime, PrivateRuntime)
    with runtime.start(folder, port=port) as endpoint:
        address = urlsplit(endpoint.url)
        must(address.port == port, f"it was asked to be on port {port} and is at {endpoint.url}")
        local = address.hostname in ("127.0.0.1", "localhost", "::1")
        must(local, f"its own server is at {endpoint.url}, not on this machine alone")
        store = endpoint.models_dir
        must(
            store is not None and store.is_relative_to(folder),
            f"its own server keeps models in {store}, not in the folder that it was given",
        )
    deadline = time.monotonic() + end_seconds
    while _answers(endpoint.url):
        left = time.monotonic() < deadline
        must(left, f"its own server at {endpoint.url} is still up {end_seconds:g} s later")
        time.sleep(_POLL_SECONDS)
    _must_refuse_a_file(runtime, folder.parent / "a-file", seconds)


def _must_refuse_a_file(runtime: Runtime, file: Path, seconds: float) -> None:
    """Where it can't have its folder, it says so in one of deployq's errors."""
    file.write_bytes(b"")
    try:
        with _started(runtime, file, seconds):
            pass
    except DeployqError as exc:
        must(file.name in exc.message, f"its error does not name {file}: {exc.message}")
    except Exception as exc:
        raise AssertionError(
            f"in a folder that can't be made it raises {type(exc).__name__}, none of deployq's "
            f"errors: {exc}"
        ) from exc
    else:
        raise AssertionError(f"it started in {file}, which is no folder")


# ---------------------------------------------------------------- a server


class _started:  # noqa: N801  (used as `with _started(...)`)
    """`with runtime.start(folder)`, and the start took no longer than it may."""

    def __init__(self, runtime: Runtime, folder: Path, seconds: float) -> None:
        self._runtime, self._folder, self._seconds = runtime, folder, seconds
        self._block: AbstractContextManager[Endpoint] | None = None

    def __enter__(self) -> Endpoint:
        began = time.monotonic()
        self._block, endpoint = _entered(self._runtime, self._folder)
        took = time.monotonic() - began
        if took > self._seconds:
            self._block.__exit__(None, None, None)
            raise AssertionError(f"{self._runtime.name} took {took:.0f} s to start")
        return endpoint

    def __exit__(self, *raised: Any) -> bool:
        assert self._block
        return bool(self._block.__exit__(*raised))


def _entered(runtime: Runtime, folder: Path) -> tuple[AbstractContextManager[Endpoint], Endpoint]:
    block = runtime.start(folder)
    enter = getattr(block, "__enter__", None)
    must(enter is not None, f"start() gives {kind_of(block)}, no context manager")
    return block, block.__enter__()


def _must_be_endpoint(endpoint: Endpoint, runtime: Runtime) -> None:
    must(isinstance(endpoint, Endpoint), f"inside is {kind_of(endpoint)}, no deployq.Endpoint")
    must(
        endpoint.runtime == runtime.name,
        f"the endpoint is that of {endpoint.runtime!r}, not of {runtime.name!r}",
    )
    scheme = urlsplit(endpoint.url).scheme
    must(scheme in ("http", "https"), f"{endpoint.url!r} is no URL of http")
    must(not endpoint.url.endswith("/"), f"{endpoint.url} ends in a slash: paths are appended")


def _asked(endpoint: Endpoint, path: str) -> Any:
    """The JSON at a path of the endpoint's API."""
    try:
        with urllib.request.urlopen(endpoint.url + path, timeout=_ASK_SECONDS) as answer:  # noqa: S310
            found = json.load(answer)
    except (OSError, ValueError) as exc:
        raise AssertionError(f"{endpoint.url}{path} does not answer like Ollama: {exc}") from exc
    must(isinstance(found, dict), f"{endpoint.url}{path} gives {kind_of(found)}, no JSON object")
    return found


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/version", timeout=_ASK_SECONDS):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False

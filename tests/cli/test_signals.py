"""A signal ends a command in order: names are put back, its children are gone, and it says so."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from tests.cli.conftest import CONFIG, Project
from tests.cli.fatal_proxy import FatalProxy
from tests.cli.mortal_servers import MortalEmbedded, MortalOllama, MortalServer
from tests.fronts import front_of
from tests.tiny import write_tiny_llama

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
PUSH = ("push", "tiny", "--targets", "laptop")
TAGS = ["tiny:laptop", "tiny:q8_0"]
SECONDS = 60


def until(what: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def ended(child: subprocess.Popen[str], sign: signal.Signals) -> str:
    """What the command says that the signal ended; it is over soon."""
    _, said = child.communicate(timeout=SECONDS)
    assert child.returncode == CODES[sign], said
    assert "Traceback" not in said
    assert ("interrupted" if sign is signal.SIGINT else f"ended by {sign.name}") in said
    return said


# ---------------------------------------------------------------- any command


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes every connection and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def is_connected(child: subprocess.Popen[str]) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        found = psutil.Process(child.pid).net_connections("tcp")
        return any(c.status == "ESTABLISHED" for c in found)
    return False


@pytest.mark.parametrize("sign", CODES, ids=lambda sign: sign.name)
@pytest.mark.parametrize("command", ["list", "verify tiny:x", "prune", "show tiny:x", "doctor"])
def test_while_a_server_is_asked(
    project: Project, silent: str, command: str, sign: signal.Signals
) -> None:
    project.write("deployq.toml", CONFIG.replace('name = "embedded"', 'name = "ollama"'))
    child = project.start(*command.split(), OLLAMA_HOST=silent)
    until(lambda: is_connected(child))
    child.send_signal(sign)
    ended(child, sign)


def test_a_second_one_right_after_the_first_changes_nothing(project: Project, silent: str) -> None:
    """`timeout` asks the program and then its group; a closed terminal hangs up twice."""
    child = project.start("list", "--host", silent)
    until(lambda: is_connected(child))
    child.send_signal(signal.SIGTERM)
    time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGHUP)
    ended(child, signal.SIGTERM)


def test_nohup(project: Project, silent: str) -> None:
    code = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "os.execv(sys.executable, [sys.executable, '-m', 'deployq', *sys.argv[1:]])"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, "list", "--host", silent],
        cwd=project.folder,
        env=project.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: is_connected(child))
    child.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert child.poll() is None, "it goes on"
    child.send_signal(signal.SIGTERM)
    ended(child, signal.SIGTERM)


@pytest.mark.tools
@pytest.mark.parametrize("sign", CODES, ids=lambda sign: sign.name)
def test_serve(project: Project, tools_bin: Path, sign: signal.Signals) -> None:
    assert tools_bin
    child = project.start("serve")
    assert child.stdout is not None
    assert child.stderr is not None
    url = child.stdout.readline().strip()
    assert "Ctrl-C ends it" in child.stderr.readline()
    assert requests.get(f"{url}/api/version", timeout=SECONDS).ok
    child.send_signal(sign)
    ended(child, sign)

    def is_gone() -> bool:
        try:
            requests.get(f"{url}/api/version", timeout=5)
        except requests.ConnectionError:
            return True
        return False

    until(is_gone)


# ---------------------------------------------------------------- a push


@dataclass
class Bench:
    """A project that pushed once to a server behind a proxy, and now has something new to push."""

    project: Project
    proxy: FatalProxy
    old: dict[str, str]

    def held(self) -> dict[str, str]:
        models = requests.get(f"{self.proxy.server}/api/tags", timeout=SECONDS).json()["models"]
        return {model["name"]: model["digest"] for model in models}

    def signalled(self, sign: signal.Signals, request: str, nth: int = 1) -> str:
        """What a push says to which a signal comes with the n-th request of a kind."""
        child = self.project.start(*PUSH)
        seen: list[str] = []

        def strike(asked: str) -> None:
            seen.append(asked)
            if asked.startswith(request) and sum(s.startswith(request) for s in seen) == nth:
                child.send_signal(sign)
                time.sleep(0.3)  # so that it comes before the answer

        self.proxy.meddle = strike
        try:
            return ended(child, sign)
        finally:
            self.proxy.meddle = lambda _: None

    def is_as_before(self) -> None:
        held = self.held()
        assert {tag: held.get(tag) for tag in TAGS} == self.old
        assert not [name for name in held if "staging" in name]
        assert not list((self.project.folder / "cache" / "journal").glob("*.json"))

    def goes_through(self) -> None:
        again = self.project.run(*PUSH)
        assert again.code == 0, again.err
        assert "an earlier push" not in again.err, "nothing was left to put right"
        assert not self.held().items() & self.old.items()


@pytest.fixture
def bench(
    request: pytest.FixtureRequest, project: Project, tools_bin: Path, tmp_path: Path
) -> Iterator[Bench]:
    assert tools_bin
    (tmp_path / "server").mkdir()
    server: MortalServer = MortalEmbedded(tmp_path / "server")
    if getattr(request, "param", "") == "ollama":
        binary = request.getfixturevalue("ollama_binary")
        server = MortalOllama(binary, tmp_path / "server")
    proxy = FatalProxy()
    proxy.server = server.start()
    proxy.listen()
    configure(project, proxy.url, "old")
    first = project.run(*PUSH)
    assert first.code == 0, first.err
    models = requests.get(f"{proxy.server}/api/tags", timeout=SECONDS).json()["models"]
    old = {m["name"]: m["digest"] for m in models if m["name"] in TAGS}
    configure(project, proxy.url, "new")
    write_tiny_llama(project.model, seed=5)
    yield Bench(project, proxy, old)
    proxy.hang_up()
    server.stop()


def configure(project: Project, url: str, system: str) -> None:
    text = CONFIG.replace(
        'quants = ["Q8_0", "Q4_K_M"]', f'quants = ["Q8_0"]\nsystem = "{system}"'
    ).replace("[targets.laptop]", f'[targets.laptop]\nhost = "{url}"')
    project.write("deployq.toml", text)


@pytest.mark.parametrize(
    "bench",
    [
        pytest.param("embedded", marks=pytest.mark.tools),
        pytest.param("ollama", marks=[pytest.mark.tools, pytest.mark.ollama]),
    ],
    indirect=True,
)
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP], ids=lambda sign: sign.name)
def test_in_a_push(bench: Bench, sign: signal.Signals) -> None:
    """Before anything was done; while the tag is tried out; when one of two names is new."""
    bench.signalled(sign, "GET /api/version")
    bench.is_as_before()
    bench.signalled(sign, "POST /api/create", 2)
    bench.is_as_before()
    bench.signalled(sign, "POST /api/chat")
    bench.is_as_before()
    said = bench.signalled(sign, "POST /api/copy", 4)
    assert "put back as before: tiny:q8_0" in said
    bench.is_as_before()
    bench.goes_through()


@pytest.mark.tools
def test_while_quantizing(bench: Bench, tools_bin: Path, tmp_path: Path) -> None:
    """A quantizer that takes long goes with it, and what it had written."""
    slow = tmp_path / "slow"
    shutil.copytree(tools_bin, slow, symlinks=True)
    (slow / "llama-quantize").rename(slow / "quick-quantize")
    script = slow / "llama-quantize"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *dry-run*|*help*|*version*) exec {slow}/quick-quantize "$@"\n'
        f"esac\necho $$ > {tmp_path}/pid\nsleep 300\n"
    )
    script.chmod(0o755)
    child = bench.project.start(*PUSH, DEPLOYQ_LLAMA_CPP=str(slow))
    until((tmp_path / "pid").exists)
    until(lambda: (tmp_path / "pid").read_text().strip())
    quantizer = int((tmp_path / "pid").read_text())
    assert psutil.pid_exists(quantizer)
    child.send_signal(signal.SIGTERM)
    ended(child, signal.SIGTERM)
    assert not psutil.pid_exists(quantizer)
    bench.is_as_before()
    bench.goes_through()


@pytest.mark.tools
def test_while_uploading(bench: Bench) -> None:
    with front_of(bench.proxy.server, rate=20_000) as front:
        configure(bench.project, front.url, "new")
        child = bench.project.start(*PUSH)
        until(lambda: front.count("POST /api/blobs/"))
        child.send_signal(signal.SIGTERM)
        ended(child, signal.SIGTERM)
        configure(bench.project, bench.proxy.url, "new")
        bench.is_as_before()
    bench.goes_through()


@pytest.mark.tools
def test_a_terminal_that_is_closed(bench: Bench) -> None:
    """Its stderr is gone by then: what puts the tags back must not stumble over that."""
    master, slave = pty.openpty()
    code = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(2, termios.TIOCSCTTY, 0);"
        "os.execv(sys.executable, [sys.executable, '-m', 'deployq', *sys.argv[1:]])"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, *PUSH, "-y"],
        cwd=bench.project.folder,
        env=bench.project.environment(TERM="xterm"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    os.set_blocking(master, False)
    copies: list[str] = []
    closed = threading.Event()

    def close(request: str) -> None:
        if request == "POST /api/copy":
            copies.append(request)
            if len(copies) == 4:
                closed.set()
                os.close(master)
                time.sleep(0.3)

    def drained() -> bool:
        if not closed.is_set():  # afterwards its number may be that of another file
            with contextlib.suppress(OSError):
                os.read(master, 65536)
        return child.poll() is not None

    bench.proxy.meddle = close
    until(drained)
    bench.proxy.meddle = lambda _: None
    assert len(copies) >= 4
    assert child.returncode == 129
    bench.is_as_before()

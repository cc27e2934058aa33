"""One private server for many commands: started once, shared, ended by itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
from deployq_runtimes import Embedded, Managed
from deployq_runtimes.locks import is_locked
from deployq_runtimes.managed import find_ollama
from deployq_runtimes.sharing import read_address

from deployq import BackendError, ConfigError, DiskError, Endpoint, ToolMissing
from tests.ollama_fixtures import free_port
from tests.tiny import write_tiny_llama

END_SECONDS = 15.0

pytestmark = pytest.mark.tools


@pytest.fixture
def folder(tools_bin: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder for a private server; at the end nothing of it may run any more."""
    assert tools_bin.is_dir()
    yield tmp_path / "server"
    assert eventually(lambda: not is_alive(tmp_path / "server"))


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + END_SECONDS
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_alive(folder: Path) -> bool:
    return folder.exists() and is_locked(folder / "serve.lock")


def answers(endpoint: Endpoint) -> bool:
    return requests.get(f"{endpoint.url}/api/version", timeout=10).status_code == 200


def supervisor_of(folder: Path) -> psutil.Process:
    address = read_address(folder)
    assert address is not None
    return psutil.Process(address.pid)


def test_it_ends_itself_soon_after_its_last_user(folder: Path) -> None:
    with Embedded().start(folder) as endpoint:
        assert answers(endpoint)
        assert endpoint.models_dir == folder / "models"
        assert is_alive(folder)
    assert eventually(lambda: not is_alive(folder))
    assert not (folder / "runtime.json").exists()
    with pytest.raises(requests.ConnectionError):
        answers(endpoint)


def test_answers_are_not_held_back(folder: Path) -> None:
    """With Nagle's algorithm on, every answer on a kept connection waits for 40 ms."""
    seconds = []
    with Embedded().start(folder) as endpoint, requests.Session() as session:
        for _ in range(20):
            began = time.monotonic()
            session.get(f"{endpoint.url}/api/tags", timeout=10)
            seconds.append(time.monotonic() - began)
    assert min(seconds) < 0.03


def test_two_users_share_one_server(folder: Path) -> None:
    with Embedded().start(folder) as first:
        with Embedded().start(folder) as second:
            assert first == second
        time.sleep(2)
        assert answers(first)


def test_a_command_right_after_finds_the_server_still_there(folder: Path) -> None:
    with Embedded().start(folder) as first:
        pass
    with Embedded().start(folder) as second:
        assert answers(second)
    assert first.url == second.url


def test_many_at_once_start_one(folder: Path) -> None:
    found: list[str] = []
    barrier = threading.Barrier(4)

    def use() -> None:
        barrier.wait()
        with Embedded().start(folder) as endpoint:
            found.append(endpoint.url)
            barrier.wait()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_killed_command_leaves_no_server_and_no_engine(folder: Path, tmp_path: Path) -> None:
    gguf = write_tiny_llama(tmp_path / "tiny.gguf")
    script = f"""
import hashlib, requests, sys, time
from pathlib import Path
from deployq_runtimes import Embedded
gguf = Path({str(gguf)!r})
with Embedded().start(Path({str(folder)!r})) as endpoint:
    digest = "sha256:" + hashlib.sha256(gguf.read_bytes()).hexdigest()
    requests.post(f"{{endpoint.url}}/api/blobs/{{digest}}", data=gguf.read_bytes())
    body = {{"model": "tiny", "files": {{"t.gguf": digest}}, "stream": False}}
    requests.post(f"{{endpoint.url}}/api/create", json=body).raise_for_status()
    requests.post(f"{{endpoint.url}}/api/generate", json={{"model": "tiny"}}).raise_for_status()
    print("loaded", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"loaded\n"
        supervisor = supervisor_of(folder)
        (engine,) = supervisor.children()
        assert "llama-server" in engine.name()
        command.kill()
    assert eventually(lambda: not is_alive(folder))
    assert eventually(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)


def test_a_killed_supervisor_is_noticed_and_its_engine_ended(folder: Path, tmp_path: Path) -> None:
    gguf = write_tiny_llama(tmp_path / "tiny.gguf")
    with Embedded().start(folder) as endpoint:
        link = folder / "models" / "blobs" / f"sha256-{'0' * 64}"
        link.write_bytes(gguf.read_bytes())
        body = {"model": "tiny", "files": {"t.gguf": f"sha256:{'0' * 64}"}, "stream": False}
        requests.post(f"{endpoint.url}/api/create", json=body, timeout=30).raise_for_status()
        loaded = requests.post(f"{endpoint.url}/api/generate", json={"model": "tiny"}, timeout=60)
        loaded.raise_for_status()
        supervisor = supervisor_of(folder)
        (engine,) = supervisor.children()
        os.kill(supervisor.pid, signal.SIGKILL)
        assert eventually(lambda: not is_alive(folder))
        assert engine.is_running()
    with Embedded().start(folder) as endpoint:
        assert answers(endpoint)
        assert eventually(
            lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE
        )


def test_a_folder_that_vanishes_takes_its_server_along(folder: Path) -> None:
    with Embedded().start(folder):
        supervisor = supervisor_of(folder)
        shutil.rmtree(folder)
        assert eventually(lambda: not supervisor.is_running())


def test_a_port_of_ones_own(folder: Path) -> None:
    port = free_port()
    with Embedded().start(folder, port=port) as endpoint:
        assert endpoint.url == f"http://127.0.0.1:{port}"
        with pytest.raises(ConfigError, match=f"port {port}"), Embedded().start(folder, port=1):
            pass


def test_a_port_that_is_taken_is_told_with_the_servers_last_words(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(BackendError, match="ended while starting") as caught,
            Embedded().start(folder, port=port),
        ):
            pass
    assert "in use" in caught.value.message


def test_a_folder_that_cannot_be_made(tools_bin: Path, tmp_path: Path) -> None:
    assert tools_bin.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="file"), Embedded().start(tmp_path / "file" / "sub"):
        pass


def test_health_tells_what_is_missing(tools_bin: Path) -> None:
    assert Embedded().health().path == tools_bin / "llama-server"
    nowhere = Embedded(env={"DEPLOYQ_LLAMA_CPP": "none"}).health()
    assert not nowhere.ok
    assert nowhere.hint == "deployq tools install"


# ---------------------------------------------------------------- managed


def test_no_ollama_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="DEPLOYQ_OLLAMA names no program"):
        find_ollama({"DEPLOYQ_OLLAMA": str(tmp_path / "none")})
    assert not Managed(env={"DEPLOYQ_OLLAMA": str(tmp_path / "none")}).health().ok


def test_a_program_that_is_no_ollama_is_told_with_its_last_words(folder: Path) -> None:
    script = folder.parent / "ollama"
    script.write_text("#!/bin/sh\necho this is no server; exit 3\n")
    script.chmod(0o755)
    runtime = Managed(env={"DEPLOYQ_OLLAMA": str(script)})
    with pytest.raises(BackendError, match="this is no server"), runtime.start(folder):
        pass


@pytest.mark.ollama
def test_managed_runs_and_ends_a_real_ollama(folder: Path, ollama_binary: Path) -> None:
    runtime = Managed(env={"DEPLOYQ_OLLAMA": str(ollama_binary)})
    assert runtime.health().path == ollama_binary
    with runtime.start(folder) as endpoint, runtime.start(folder) as second:
        assert second == endpoint
        assert endpoint.runtime == "managed"
        assert answers(endpoint)
        assert (folder / "models" / "blobs").is_dir()
        assert "level=" in (folder / "serve.log").read_text()
        (server,) = supervisor_of(folder).children()
    assert eventually(lambda: not is_alive(folder))
    assert not server.is_running()

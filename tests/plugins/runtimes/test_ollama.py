"""The runtime `ollama`: where it looks, and what it says when nothing is there."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from deployq_runtimes import Ollama
from deployq_runtimes.ollama import models_dir

from deployq import ConfigError, Endpoint, ServerUnreachable


def test_nothing_there_is_told_with_a_way_out() -> None:
    runtime = Ollama(env={"OLLAMA_HOST": "127.0.0.1:9"})
    assert not runtime.health().ok
    with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1:9") as caught, runtime.start():
        pass
    assert "OLLAMA_HOST" in caught.value.hint
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("host", ["https://me:hunter2@box", "hunter2@box:1", "http://a:hu/nter2@b"])
def test_a_secret_in_ollama_host_is_refused_and_not_repeated(host: str) -> None:
    runtime = Ollama(env={"OLLAMA_HOST": host})
    health = runtime.health()
    assert not health.ok
    with pytest.raises(ConfigError) as caught, runtime.start():
        pass
    said = f"{health} {caught.value} {caught.value.hint} {runtime.url}"
    assert "nter2" not in said
    assert 'auth = "env:NAME"' in caught.value.hint


def test_models_dir_only_where_it_can_be_told(tmp_path: Path) -> None:
    here, there = "http://127.0.0.1:11434", "http://192.0.2.1:11434"
    env = {"HOME": str(tmp_path)}
    assert models_dir(here, env) in (None, Path("/usr/share/ollama/.ollama/models"))
    (tmp_path / ".ollama" / "models" / "blobs").mkdir(parents=True)
    assert models_dir(here, env) == tmp_path / ".ollama" / "models"
    assert models_dir("http://localhost:1", env) == tmp_path / ".ollama" / "models"
    assert models_dir(there, env) is None
    (tmp_path / "own" / "blobs").mkdir(parents=True)
    own = env | {"OLLAMA_MODELS": str(tmp_path / "own")}
    assert models_dir(here, own) == tmp_path / "own"
    assert models_dir(here, env | {"OLLAMA_MODELS": f' "{tmp_path}/own" '}) == tmp_path / "own"
    assert models_dir(here, env | {"OLLAMA_MODELS": str(tmp_path / "none")}) is None


def test_the_store_of_a_server_at_this_machines_own_name(tmp_path: Path) -> None:
    (tmp_path / ".ollama" / "models" / "blobs").mkdir(parents=True)
    runtime = Ollama(env={"HOME": str(tmp_path), "OLLAMA_HOST": f"'{socket.gethostname()}'"})
    assert runtime.url == f"http://{socket.gethostname().lower()}:11434"
    assert runtime.models_dir(tmp_path) == tmp_path / ".ollama" / "models"


@pytest.mark.ollama
def test_a_running_server_is_found(real_ollama: Endpoint) -> None:
    runtime = Ollama(env={"OLLAMA_HOST": real_ollama.url})
    assert runtime.health().version == real_ollama.version
    with runtime.start() as endpoint:
        assert (endpoint.url, endpoint.version) == (real_ollama.url, real_ollama.version)

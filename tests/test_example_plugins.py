"""The examples as a stranger has them: installed as packages, used through the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.http_servers import serving, url_of
from tests.installed import EXAMPLES, Installed
from tests.tiny import write_tiny_llama

CONFIG = """
[models.tiny]
source = "tiny-f16.gguf"
suite = "suite.toml"
quants = ["Q8_0"]
parameters = { num_predict = 4, num_ctx = 256, temperature = 0 }
[targets.box]
preset = "abacus-x1"
context = 256
[runtime]
name = "embedded"
dir = "."
[plugins]
backend = "numpy"
"""
SUITE = """
options = { num_predict = 4 }
[[prompts]]
user = "hi"
check.words = { most = 50 }
"""
CARD_BYTES = 48 << 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_llama(tmp_path / "tiny-f16.gguf")
    (tmp_path / "deployq.toml").write_text(CONFIG)
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


@pytest.fixture
def posted() -> Iterator[tuple[str, list[Any]]]:
    """The URL of a webhook, and what was posted to it."""
    events: list[Any] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with serving(Hook) as http:
        yield url_of(http), events


def good(ran: CompletedProcess[str]) -> str:
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_all_are_found_and_well(installed: Installed, tmp_path: Path) -> None:
    listed = json.loads(good(installed.deployq(tmp_path, "plugins", "--json")))["plugins"]
    found = {p["distribution"]: p for p in listed if p["distribution"] != "deployq"}
    assert set(found) == {example.name for example in EXAMPLES}
    assert {p["health"] for p in found.values()} == {"ok"}
    assert {name: p["hooks"] for name, p in found.items()} == {
        "deployq-abacus": ["deployq_profilers"],
        "deployq-csv": ["deployq_report_formats"],
        "deployq-numpy-backend": ["deployq_backends"],
        "deployq-tensors": ["command"],
        "deployq-webhook": [
            "deployq_push_finished", "deployq_push_started", "deployq_step_finished"
        ],
        "deployq-words": ["deployq_checks"],
    }  # fmt: skip


@pytest.mark.tools
def test_one_push_uses_them_all(
    installed: Installed, folder: Path, tools_bin: Path, posted: tuple[str, list[Any]]
) -> None:
    url, events = posted
    env = {"DEPLOYQ_LLAMA_CPP": str(tools_bin), "DEPLOYQ_WEBHOOK_URL": url}
    report = json.loads(
        good(installed.deployq(folder, "push", "tiny", "--targets", "box", "--json", **env))
    )
    (tag,) = report["targets"][0]["tags"]
    assert tag["steps"][0]["detail"].startswith("numpy ")
    assert [event["event"] for event in events] == ["started", "finished"]
    assert events[1] == {
        "event": "finished", "model": "tiny", "exit_code": 0, "targets": {"box": "done"},
        "seconds": events[1]["seconds"],
    }  # fmt: skip
    good(installed.deployq(folder, "report", "--format", "csv", "-o", "run.csv", **env))
    header, *rows = (folder / "run.csv").read_text().splitlines()
    assert header == "tag,quant,file_bytes,standing,passed,total,tokens_per_second"
    assert rows[0].startswith(f"tiny:q8_0,Q8_0,{tag['file_bytes']},")

    (folder / "suite.toml").write_text(SUITE.replace("most = 50", "least = 1000"))
    ran = installed.deployq(folder, "push", "tiny", "--targets", "box", "--yes", **env)
    assert ran.returncode == 4
    assert "words, fewer than 1000" in ran.stdout + ran.stderr
    assert [event["event"] for event in events[2:]] == ["started", "step failed", "finished"]
    assert events[-1]["exit_code"] == 4

    nobody = {**env, "DEPLOYQ_WEBHOOK_URL": "http://127.0.0.1:9"}
    (folder / "suite.toml").write_text(SUITE)
    ran = installed.deployq(folder, "push", "tiny", "--targets", "box", **nobody)
    assert ran.returncode == 0, ran.stderr
    assert "plugin 'webhook' failed in deployq_push_started: URLError" in ran.stderr


def test_the_check_s_parameters_are_checked(installed: Installed, folder: Path) -> None:
    (folder / "suite.toml").write_text(SUITE.replace("most = 50", "about = 50"))
    ran = installed.deployq(folder, "push", "tiny", "--targets", "box")
    assert ran.returncode == 2
    assert "words" in ran.stderr


def test_the_profiler_finds_its_cards(installed: Installed, folder: Path) -> None:
    for card, used in (("a0", 0), ("a1", 8 << 30)):
        files = folder / "sysfs" / card
        files.mkdir(parents=True)
        (files / "memory_total").write_text(f"{CARD_BYTES}\n")
        (files / "memory_used").write_text(f"{used}\n")
    (folder / "sysfs" / "broken").mkdir()
    env = {"ABACUS_SYSFS": str(folder / "sysfs")}
    shown = good(installed.deployq(folder, "profile", "--json", **env))
    (abacus,) = [m for m in json.loads(shown)["found"] if m["profiler"] == "abacus"]
    assert abacus["machine"] == "a0 + a1"
    assert abacus["memory_bytes"] == 2 * CARD_BYTES
    assert abacus["available_bytes"] == 2 * CARD_BYTES - (8 << 30)


def test_the_command_is_among_deployq_s(installed: Installed, folder: Path) -> None:
    assert "tensors" in good(installed.deployq(folder, "--help"))
    shown = good(installed.deployq(folder, "tensors", "tiny-f16.gguf", "--count", "2"))
    assert len(shown.splitlines()) == 2
    assert "blk.0.ffn_gate.weight" in shown
    ran = installed.deployq(folder, "tensors", "deployq.toml")
    assert ran.returncode == 1
    assert "error: " in ran.stderr
    assert "Traceback" not in ran.stderr


CONTRACTS = """
from pathlib import Path
from deployq.testing import check_backend, check_checktype, check_profiler
from deployq_abacus import Abacus
from deployq_numpy_backend import NumpyBackend
from deployq_words import Words

def test_profiler():
    check_profiler(Abacus())

def test_check():
    check_checktype(Words(), {"least": 2}, passes="two words", fails="one")

def test_backend(tmp_path):
    check_backend(NumpyBackend(), Path("tiny-f16.gguf").absolute(), tmp_path, "Q8_0")
"""


def test_each_keeps_its_contract(installed: Installed, folder: Path) -> None:
    (folder / "test_contracts.py").write_text(CONTRACTS)
    ran = installed.run(folder, str(installed.python), "-m", "pytest", "-q", "-W", "error")
    assert ran.returncode == 0, ran.stdout
    assert "3 passed" in ran.stdout

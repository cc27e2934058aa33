"""A model that sees, from its training folder and as two GGUF files, to a tag that sees."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from deployq import Endpoint, inspect, proc
from tests.convert.conftest import SAMPLE, Pushing, Trained

HERE = Path(__file__).parent
pytestmark = [pytest.mark.convert, pytest.mark.tools, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def seeing(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vision") / "seeing"
    env = {"HF_HUB_OFFLINE": "1"}
    proc.run([python, HERE / "vision.py", SAMPLE / "model", out], env=env, timeout_seconds=300)
    return out


@pytest.fixture
def push(trained: Trained, kept_ollama: Endpoint, tmp_path: Path) -> Pushing:
    """From a project of its own to a server of its own: others count what is in theirs."""
    return Pushing(replace(trained, folder=tmp_path), kept_ollama.url)


def pushed(push: Pushing, source: Path, *more: str) -> dict[str, Any]:
    """What the server says of the alias of a source that was pushed."""
    suite = push.project.write("sample.toml", (SAMPLE / "suite.toml").read_text())
    push.project.configure(source, suite, "parameters = { temperature = 0 }", *more, url=push.url)
    ran = push.project.run("push", "m", "--targets", "laptop", "--json")
    assert ran.code == 0, ran.err
    again = push.project.run("push", "m", "--targets", "laptop", "--json")
    assert {t["status"] for t in again.json["targets"]} == {"unchanged"}
    answer = requests.post(f"{push.url}/api/show", json={"model": "m:laptop"}, timeout=30)
    found: dict[str, Any] = answer.json()
    return found


def test_a_folder_and_the_files_that_were_made_of_it(push: Pushing, seeing: Path) -> None:
    counted = inspect(seeing).projector_bytes
    assert counted > 100_000
    shown = pushed(push, seeing)
    assert "vision" in shown["capabilities"]
    assert shown["modelfile"].count("\nFROM ") == 2
    files = sorted((push.project.folder / "cache" / "artifacts").glob("*/*/model.gguf"))
    (eyes,) = [file for file in files if file.stat().st_size < 1_000_000]
    (words,) = [f for f in files if f != eyes and not inspect(f).quantized]
    assert eyes.stat().st_size == pytest.approx(counted, rel=0.05)

    folder = push.project.folder / "two-files"
    folder.mkdir()
    shutil.copyfile(words, folder / "m-F16.gguf")
    shutil.copyfile(eyes, folder / "mmproj-m.gguf")
    assert "vision" in pushed(push, folder / "m-F16.gguf")["capabilities"]
    blind = pushed(push, folder / "m-F16.gguf", "projector = false")
    assert "vision" not in blind["capabilities"]


def test_an_adapter_on_a_model_that_sees(push: Pushing, seeing: Path) -> None:
    """It changes both parts; the class that sees and writes is the one that its config names."""
    suite = push.project.write("sample.toml", (SAMPLE / "suite.toml").read_text())
    push.project.configure(seeing.parent / "adapter", suite, url=push.url)
    ran = push.project.run("push", "m", "--targets", "laptop", "--json")
    assert ran.code in (0, 4), ran.err
    assert "all 12 matrices under it are base + scaled BA" in ran.err
    assert "tokens that the trained model is sure of" in ran.err

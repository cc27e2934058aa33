"""From a training with Unsloth to verified tags, for real: Unsloth, llama.cpp, Ollama."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import pytest

from deployq import inspect, proc
from tests.cli.conftest import Ran
from tests.unsloth.conftest import HERE, TOKENIZER, TRAINING_SECONDS, Trained

pytestmark = [pytest.mark.unsloth, pytest.mark.tools, pytest.mark.timeout(1200)]
ROOT = HERE.parent.parent


def tags(ran: Ran) -> dict[str, str]:
    """The quants of a push, each with what became of it."""
    (target,) = ran.json["targets"]
    return {tag["quant"]: tag["status"] for tag in target["tags"]}


def artifacts(project: Trained) -> list[dict[str, str]]:
    """What the project's store holds: by what, in which version."""
    ran = project.run("cache", "list", "--json")
    assert ran.code == 0, ran.err
    return list(ran.json["artifacts"])


def scores(file: Path) -> list[float]:
    """The scores of a vocabulary, which decide in which order a text is merged."""
    return list(gguf.GGUFReader(file).fields["tokenizer.ggml.scores"].contents())


def test_merged_by_unsloth_and_quantized_by_llama_cpp(trained: Trained) -> None:
    trained.configure('["Q8_0"]', "merged")
    ran = trained.push()
    assert ran.code == 0, ran.err
    assert "matrices are base + scaled BA" in ran.err
    assert "merging lora with unsloth" in ran.err
    assert tags(ran) == {"Q8_0": "done"}
    again = trained.push()
    assert tags(again) == {"Q8_0": "unchanged"}
    assert "merging" not in again.err


def test_exported_by_unsloth_in_one_call(trained: Trained) -> None:
    trained.configure('["Q8_0", "Q4_K_M"]', "gguf")
    ran = trained.push()
    assert ran.code == 0, ran.err
    assert tags(ran) == {"Q8_0": "done", "Q4_K_M": "done"}
    files = sorted((trained.folder / "cache" / "artifacts").glob("*/*/model.gguf"))
    quantized = [file for file in files if inspect(file).quantized]
    (full,) = [file for file in files if not inspect(file).quantized]
    assert len(quantized) == 2
    assert all(scores(file) == scores(full) for file in quantized)
    assert len(set(scores(full))) > 100


def test_what_its_export_can_not_do_is_said_before(trained: Trained) -> None:
    trained.configure('["IQ4_XS"]', "gguf")
    ran = trained.push()
    assert ran.code == 6, ran.err
    assert "backend unsloth can't make IQ4_XS" in ran.err
    assert not list(trained.folder.rglob("*.gguf"))


def test_the_doctor_names_it(trained: Trained) -> None:
    trained.configure('["Q8_0"]', "gguf")
    (line,) = [
        f for f in trained.run("doctor", "--json").json["findings"] if "unsloth" in f["what"]
    ]
    assert line["ok"]
    assert "2026.10.9" in line["detail"]
    assert str(trained.python) in line["detail"]


def test_pushed_by_the_training_script_itself(trained: Trained) -> None:
    trained.configure('["Q8_0"]', "merged")
    text = (trained.folder / "deployq.toml").read_text()
    source = f'source = "{trained.made / "lora"}"\nbase = "{trained.made / "base"}"'
    trained.write("deployq.toml", text.replace(source, 'source = "saved"'))
    how = {
        "folder": "saved",
        "name": "m",
        "targets": ["laptop"],
        "deployq": [sys.executable, "-m", "deployq"],
    }
    ran = proc.run(
        [trained.python, HERE / "train.py", TOKENIZER, trained.made, json.dumps(how)],
        env={
            "HOME": str(trained.folder),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",
            "HF_HUB_OFFLINE": "1",
            "OMP_WAIT_POLICY": "passive",
        },
        cwd=trained.folder,
        timeout_seconds=TRAINING_SECONDS,
    )
    assert f"saved in {trained.folder / 'saved'}" in ran.stdout
    assert "m:q8_0" in ran.stdout
    listed = trained.run("list", "--host", trained.url, "--json")
    assert "m:q8_0" in listed.out

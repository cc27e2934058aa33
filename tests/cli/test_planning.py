"""`plan` in all its shapes, `inspect`, `init` and `doctor`, as a user types them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from deployq.config import parse_config
from tests.cli.conftest import Project

NO_CONFIG = ("--memory", "24GB", "--kind", "vram", "--context", "512")


def test_plan_without_a_configuration(project: Project) -> None:
    (project.folder / "deployq.toml").unlink()
    quants = ("--cache-type", "Q8_0", "--quants", "F16,Q8_0,q4_k_m")
    ran = project.run("plan", "tiny-f16.gguf", *NO_CONFIG, *quants, COLUMNS="80")
    assert ran.code == 0
    assert "machine  vram 22.4 GiB" in ran.out
    assert "cache q8_0" in ran.out
    assert "OLLAMA_KV_CACHE_TYPE=q8_0" in ran.out.replace("\n   ", " ")
    assert "█ weights   ▒ KV cache" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


def test_a_context_over_the_trained_one_is_planned_as_ollama_loads_it(project: Project) -> None:
    ran = project.run("plan", "tiny", "--context", "4096", "--json")
    assert ran.code == 0
    (warning,) = [w for w in ran.json["warnings"] if "trained for" in w]
    assert "loads the model with a context of 2048, not 4096" in warning
    assert {target["n_ctx"] for target in ran.json["targets"]} == {2048}


def test_parallel_requests_are_planned(project: Project) -> None:
    """Told by the option, by the target's own key, or by the server's variable; else assumed."""

    def plan(*options: str, **variables: str) -> Any:
        asked = ("plan", "tiny", "--targets", "laptop", "--json", *options)
        return project.run(*asked, DEPLOYQ_RUNTIME="ollama", **variables).json

    alone, told, variable = plan(), plan("--parallel", "4"), plan(OLLAMA_NUM_PARALLEL="4")
    text = (project.folder / "deployq.toml").read_text()
    parallel = text.replace("[targets.laptop]\n", "[targets.laptop]\nparallel = 4\n")
    project.write("deployq.toml", parallel)
    assert any("one request at a time is assumed" in note for note in alone["notes"])
    one = alone["targets"][0]
    for planned, how in ((told, "given"), (variable, "OLLAMA_NUM_PARALLEL"), (plan(), "given")):
        assert not any("is assumed" in note for note in planned["notes"])
        four = planned["targets"][0]
        assert (four["parallel"], four["parallel_by"]) == (4, how)
        kept = [c["kv_cache_bytes"] for c in four["candidates"]]
        assert kept == [4 * c["kv_cache_bytes"] for c in one["candidates"]]
    assert "parallel 4" in project.run("plan", "tiny", "--targets", "laptop").out


def test_a_server_without_flash_attention_takes_more(project: Project) -> None:
    text = (project.folder / "deployq.toml").read_text()
    project.write(
        "deployq.toml",
        text.replace("[targets.laptop]\n", "[targets.laptop]\nflash_attention = false\n"),
    )
    ran = project.run("plan", "tiny", "--cache-type", "q8_0", "--json")
    laptop, box = ran.json["targets"]
    assert (laptop["flash_attention"], box["flash_attention"]) == (False, True)
    assert any("need flash attention" in warning for warning in ran.json["warnings"])


def test_json_has_what_each_quant_allows(project: Project) -> None:
    ran = project.run("plan", "tiny", "--json")
    laptop, box = ran.json["targets"]
    assert all(c["max_context"] == 2048 for c in laptop["candidates"])
    assert all(c["speed"]["low"] > 0 for c in box["candidates"])
    assert ran.json["disk"]["enough"] is True
    assert [s["where"] for s in ran.json["disk"]["steps"]][:2] == ["artifacts", "artifacts"]
    (system,) = ran.json["disk"]["filesystems"]
    assert system["needed_bytes"] == ran.json["disk"]["needed_bytes"] > 0


def test_a_card_that_is_too_small(project: Project) -> None:
    small = ("--memory", "3MB", "--kind", "vram", "--context", "512", "--quants", "F16", "--json")
    ran = project.run("plan", "tiny-f16.gguf", *small)
    assert ran.code == 3
    (target,) = ran.json["targets"]
    (candidate,) = target["candidates"]
    assert (candidate["verdict"], target["chosen"]) == ("no", None)
    shared = candidate["offload"]
    assert shared is None or shared["vram_bytes"] <= target["budget_bytes"]


def test_several_models(project: Project) -> None:
    ran = project.run("plan", "tiny", "tiny-f16.gguf", "--json", "--targets", "laptop")
    assert [plan["model"] for plan in ran.json["plans"]] == ["tiny", "tiny"]
    assert ran.json["together"] == []


def test_several_models_together(project: Project) -> None:
    words = ("plan", "tiny", "tiny-f16.gguf", "--together", "--targets", "laptop")
    (shared,) = project.run(*words, "--json").json["together"]
    assert len(shared["shares"]) == 2
    assert shared["total_bytes"] == sum(share["total_bytes"] for share in shared["shares"])
    assert "all together" in project.run(*words).out


def test_together_needs_two(project: Project) -> None:
    ran = project.run("plan", "tiny", "--together")
    assert ran.code == 2
    assert "--together needs two models" in ran.err or "more than one model" in ran.err


def test_explain(project: Project) -> None:
    ran = project.run("plan", "tiny", "--targets", "box", "--explain", "q4_k_m", COLUMNS="80")
    assert ran.code == 0
    assert "Q4_K_M on box" in ran.out
    assert "= memory" in ran.out
    other = project.run("plan", "tiny", "--explain", "Q2_K")
    assert other.code == 2
    assert "Q2_K is no candidate of the target 'laptop'" in other.err
    assert "--quants Q2_K --explain Q2_K" in other.err


def test_markdown_and_chart(project: Project) -> None:
    ran = project.run("plan", "tiny", "--markdown", "--chart", "out.svg")
    assert ran.out.startswith("# Plan for tiny\n")
    assert ET.parse(project.folder / "out.svg").getroot().tag.endswith("svg")


def test_a_chart_that_cannot_be_written(project: Project) -> None:
    ran = project.run("plan", "tiny", "--chart", "nowhere/out.svg")
    assert ran.code == 1
    assert "nowhere" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.tools
def test_the_judge_agrees(project: Project, tools_bin: Path) -> None:
    ran = project.run("plan", "tiny", "--judge", "--json", DEPLOYQ_LLAMA_CPP=str(tools_bin))
    judged = {one["what"]: one for one in ran.json["judged"]}
    for quant in ("Q8_0", "Q4_K_M"):
        assert judged[f"file of {quant}"]["own_bytes"] == judged[f"file of {quant}"]["judge_bytes"]
    assert any(what.startswith("KV cache at 512") for what in judged)


def test_without_tools_the_judge_says_so(project: Project) -> None:
    ran = project.run("plan", "tiny", "--judge", "--json", DEPLOYQ_LLAMA_CPP="none")
    assert ran.json["judged"] == []
    assert "judge llama-quantize" in ran.err


# ---------------------------------------------------------------- inspect


def test_inspect(project: Project) -> None:
    ran = project.run("inspect", "tiny", COLUMNS="80")
    for words in ("layers", "KV heads", "chat template, ", "attn_q", "stops at"):
        assert words in ran.out
    found = project.run("inspect", "tiny-f16.gguf", "--json").json
    assert found["figures"]["block_count"] == 2
    assert found["tokenizer"]["n_tokens"] > 0
    assert sum(group["tensors"] for group in found["tensors"]) == 2 * 9 + 3


def test_inspect_nothing(project: Project) -> None:
    ran = project.run("inspect", "nowhere.gguf")
    assert ran.code == 2
    assert "there is no model 'nowhere.gguf'" in ran.err


# ---------------------------------------------------------------- init


def test_init_writes_a_file_that_plan_takes(project: Project) -> None:
    (project.folder / "deployq.toml").unlink()
    ran = project.run("init")
    assert ran.code == 0, ran.err
    assert "tiny-f16.gguf: llama, F16" in ran.err
    file = project.folder / "deployq.toml"
    config = parse_config(file.read_text(), project.folder, file)
    assert config.models["tiny"].source == project.folder / "tiny-f16.gguf"
    assert config.models["tiny"].suite == project.folder / "suite.toml"
    assert project.run("plan", "tiny").code == 0


def test_init_replaces_nothing_unasked(project: Project) -> None:
    before = (project.folder / "deployq.toml").read_text()
    ran = project.run("init", "-y")
    assert ran.code == 2
    assert "is there already" in ran.err
    assert (project.folder / "deployq.toml").read_text() == before
    assert project.run("init", "-y", "--force").code == 0
    assert (project.folder / "deployq.toml").read_text() != before


def test_init_asks_on_a_terminal(project: Project) -> None:
    (project.folder / "deployq.toml").unlink()
    parent, child = pty.openpty()
    ran = subprocess.Popen(
        [sys.executable, "-m", "deployq", "init"],
        cwd=project.folder,
        env=project.environment(),
        stdin=child,
        stdout=child,
        stderr=child,
    )
    os.close(child)
    os.write(parent, b"max\n4091,m2-16gb\n4090\n")
    assert ran.wait(timeout=120) == 0
    said = os.read(parent, 1 << 16).decode()
    os.close(parent)
    assert "no machine is known as '4091'; did you mean" in said
    written = tomllib.loads((project.folder / "deployq.toml").read_text())
    assert written["models"]["tiny"]["goal"] == "max"
    assert written["targets"].keys() == {"laptop", "4090"}


# ---------------------------------------------------------------- doctor


def test_doctor_groups_what_is_missing(project: Project) -> None:
    ran = project.run("doctor", "--json", DEPLOYQ_LLAMA_CPP="none")
    assert ran.code == 1
    missing = [f for f in ran.json["findings"] if f["group"] == "llama.cpp" and not f["ok"]]
    missing = [f for f in missing if f["what"] != "backend unsloth"]  # no tool of llama.cpp's
    assert [f["what"].count("llama-") for f in missing] == [7, 0]
    assert missing[0]["hint"].endswith("deployq tools install")
    assert "makes importance matrices" in missing[0]["detail"]


def test_doctor_asks_the_servers_of_targets(project: Project) -> None:
    host = 'host = "http://127.0.0.1:9"\n'
    text = (project.folder / "deployq.toml").read_text()
    project.write("deployq.toml", text.replace("[targets.box]\n", f"[targets.box]\n{host}"))
    ran = project.run("doctor", "--json")
    (server,) = [f for f in ran.json["findings"] if "127.0.0.1:9" in f["what"]]
    assert (server["ok"], server["needed"], server["group"]) == (False, False, "servers")
    assert "target box" in server["what"]


def test_doctor_in_words(project: Project) -> None:
    ran = project.run("doctor", COLUMNS="80")
    assert "a push can" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


@pytest.mark.parametrize("verb", ["plan", "inspect", "init", "doctor"])
def test_examples_stand_one_to_a_line(project: Project, verb: str) -> None:
    lines = project.run(verb, "--help", COLUMNS="80").out.splitlines()
    examples = lines[lines.index("  Examples:") + 1 :]
    assert examples[0].startswith(f"    deployq {verb}")

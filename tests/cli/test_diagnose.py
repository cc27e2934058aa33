"""Faults made on purpose, each found by `deployq diagnose`: on the embedded runtime, and on a real
Ollama."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ollama
import pytest

from deployq import Endpoint
from deployq.digests import sha256_file
from tests.broken_models import copy_gguf, overwrite, with_rows_turned, without_end_mark
from tests.cli.conftest import Project, Ran

pytestmark = pytest.mark.tools

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "task-api"
SUITE = """
name = "short"
options = { num_predict = 48 }
check.stops = true
[[prompts]]
name = "done"
user = "Mark task 3 as complete"
check.json_equals = { action = "complete_task", id = 3 }
[[prompts]]
name = "list"
user = "List all high-priority tasks"
check.json_equals = { action = "list_tasks", filter = { priority = "high" } }
[[prompts]]
name = "move"
user = "Postpone task 47 to October 12, please"
check.json_equals = { action = "update_task", id = 47, due_date = "October 12" }
[[prompts]]
name = "photos"
user = "Low priority: sort the holiday photos with Marco"
check.contains = ['"create_task"', '"sort the holiday photos with Marco"', '"low"']
"""
NEVER_KNEW = (
    SUITE
    + """
[[prompts]]
name = "capital"
user = "What is the capital of France?"
check.contains = "Paris"
"""
)
LONG = f"""
name = "long"
options = {{ num_predict = 48 }}
[[prompts]]
name = "excited"
user = "Mark task 3 as complete{"!" * 300}"
check.json_equals = {{ action = "complete_task", id = 3 }}
"""
ANY = """
name = "any"
options = { num_predict = 4 }
[[prompts]]
user = "hi"
check.max_tokens = 4
"""
CONFIG = """
cache = "cache"
[models.task-api]
source = "task-api-f16.gguf"
suite = "suite.toml"
quants = ["QUANT"]
parameters = { num_ctx = NUM_CTX }
[targets.laptop]
memory = "16GB"
kind = "ram"
context = NUM_CTX
[runtime]
name = "RUNTIME"
dir = "."
"""


@dataclass(frozen=True)
class Bench:
    """A project with the sample model, and the server that its tags go to."""

    project: Project
    runtime: str
    env: dict[str, str]
    models_dir: Path

    def configure(self, quant: str = "Q8_0", n_ctx: int = 1024, suite: str = SUITE) -> None:
        config = CONFIG.replace("QUANT", quant).replace("NUM_CTX", str(n_ctx))
        self.project.write("deployq.toml", config.replace("RUNTIME", self.runtime))
        self.project.write("suite.toml", suite)

    def run(self, *arguments: str) -> Ran:
        return self.project.run(*arguments, **self.env)

    def push(self, **how: Any) -> None:
        """Push with a suite that any model passes, then put the real one there."""
        self.configure(**{**how, "suite": ANY})
        ran = self.run("push", "task-api", "--targets", "laptop")
        assert ran.code == 0, ran.err
        self.configure(**how)

    def diagnose(self, tag: str, *more: str) -> dict[str, Any]:
        before = self.tags()
        ran = self.run("diagnose", tag, *more, "--json")
        assert ran.code in (0, 4), ran.err
        assert self.tags() == before
        found: dict[str, Any] = ran.json
        assert ran.code == (0 if found["cause"] == "nothing wrong" else 4)
        return found

    def tags(self) -> list[tuple[str, str]]:
        listed = self.run("list", "--json").json["tags"]
        return [(tag["tag"], tag["manifest_digest"]) for tag in listed]

    def blob(self, tag: str) -> Path:
        digest = self.run("show", tag, "--json").json["blob_digest"]
        return self.models_dir / "blobs" / f"sha256-{digest}"

    def create(self, tag: str, weights: Path, template: str = "", **parameters: Any) -> None:
        """A tag that somebody made by hand, from any file."""
        digest = f"sha256:{sha256_file(weights)}"
        with self.client() as client:
            client.create_blob(weights)
            client.create(
                tag, files={weights.name: digest}, template=template or None, parameters=parameters
            )

    @contextlib.contextmanager
    def client(self) -> Iterator[ollama.Client]:
        if self.runtime == "embedded":
            with self.project.serving() as url, ollama.Client(host=url) as client:
                yield client
        else:
            with ollama.Client(host=self.env["OLLAMA_HOST"]) as client:
                yield client


@pytest.fixture(params=["embedded", pytest.param("ollama", marks=pytest.mark.ollama)])
def bench(request: pytest.FixtureRequest, tmp_path: Path, tools_bin: object) -> Iterator[Bench]:
    assert tools_bin
    shutil.copy(SAMPLE / "task-api-f16.gguf", tmp_path)
    project = Project(tmp_path)
    if request.param == "embedded":
        yield Bench(project, "embedded", {}, tmp_path / "embedded" / "models")
        return
    server: Endpoint = request.getfixturevalue("real_ollama")
    assert server.models_dir is not None
    env = {"OLLAMA_HOST": server.url, "OLLAMA_MODELS": str(server.models_dir)}
    bench = Bench(project, "ollama", env, server.models_dir)
    yield bench
    with bench.client() as client:
        for model in client.list().models:
            client.delete(model.model or "")


def rungs(found: dict[str, Any]) -> dict[str, Any]:
    return {rung["name"]: rung for rung in found["rungs"]}


def passed(found: dict[str, Any], rung: str) -> list[str]:
    return [prompt["name"] for prompt in rungs(found)[rung]["prompts"] if prompt["ok"]]


def test_nothing_is_wrong(bench: Bench) -> None:
    bench.push()
    found = bench.diagnose("task-api:q8_0")
    assert (found["cause"], found["failed"], found["mend"]) == ("nothing wrong", 0, None)
    assert [rung["name"] for rung in found["rungs"]] == ["tag"]


def test_a_quant_too_low(bench: Bench) -> None:
    bench.push(quant="Q2_K")
    found = bench.diagnose("task-api:q2_k")
    assert (found["cause"], found["confidence"]) == ("quantization", "certain"), found
    assert found["failed"] >= 1
    assert len(passed(found, "full precision")) == found["failed"]
    assert rungs(found)["template"]["skipped"] == "the server renders the very same prompts"
    assert found["mend"] == (
        "deployq push task-api --quants Q4_K_M "
        "(deployq recommend task-api finds the smallest that holds)"
    )
    assert "Q2_K is too low for this model" in found["sentence"]


def test_a_model_that_never_knew(bench: Bench) -> None:
    bench.push(suite=NEVER_KNEW)
    found = bench.diagnose("task-api:q8_0", "--trained", str(SAMPLE / "model"))
    assert (found["cause"], found["failed"]) == ("model", 1), found
    assert found["prompts"] == [{"name": "capital", "cause": "model"}]
    for rung in ("full precision", "llama.cpp"):
        assert [p["ok"] for p in rungs(found)[rung]["prompts"]] == [False]


def test_too_small_a_context(bench: Bench) -> None:
    bench.push(n_ctx=256, suite=LONG)
    found = bench.diagnose("task-api:laptop")
    assert (found["cause"], found["confidence"]) == ("context", "certain"), found
    assert passed(found, "context") == ["excited"]
    assert "full precision" not in rungs(found)
    assert found["mend"].startswith("context = 512 under [targets.laptop]")
    of_tag = bench.diagnose("task-api:q8_0")
    assert of_tag["mend"].startswith("parameters.num_ctx = 512 under [models.task-api]")


def test_a_wrong_template(bench: Bench) -> None:
    """On Ollama a TEMPLATE of somebody's; elsewhere a GGUF converted with another template."""
    bench.push()
    if bench.runtime == "ollama":
        bench.create("mine:latest", bench.blob("task-api:q8_0"), "Q: {{ .Prompt }}\nA: ")
    else:
        wrong = "{% for m in messages %}{{ 'Q: ' + m['content'] + '\\nA: ' }}{% endfor %}"
        path = bench.project.folder / "other.gguf"
        copy_gguf(bench.blob("task-api:q8_0"), path, fields={"tokenizer.chat_template": wrong})
        bench.create("mine:latest", path)
    suite = str(bench.project.folder / "suite.toml")
    found = bench.diagnose("mine:latest", "--source", "task-api", "--suite", suite)
    assert (found["cause"], found["confidence"]) == ("template", "certain"), found
    assert found["failed"] == 4
    assert passed(found, "template") == ["done", "list", "move", "photos"]
    assert 'template = "model"' in found["mend"]
    assert "'Q: Mark task 3 as complete" in found["sentence"]


def test_a_missing_end_token(bench: Bench) -> None:
    without_end_mark(SAMPLE / "task-api-f16.gguf", bench.project.folder / "task-api-f16.gguf")
    bench.push()
    found = bench.diagnose("task-api:q8_0")
    assert (found["cause"], found["confidence"]) == ("stop token", "certain"), found
    assert len(passed(found, "end mark")) == found["failed"] == 4
    assert found["mend"] == (
        "gguf-set-metadata task-api-f16.gguf tokenizer.ggml.eos_token_id 2, then: "
        "deployq push task-api"
    )
    assert "<|fin|>" in found["sentence"]


def test_parameters_that_bend_answers(bench: Bench) -> None:
    bench.push()
    bench.create("mine:latest", bench.blob("task-api:q8_0"), repeat_penalty=2.5)
    suite = str(bench.project.folder / "suite.toml")
    found = bench.diagnose("mine:latest", "--source", "task-api", "--suite", suite)
    assert (found["cause"], found["failed"] > 0) == ("parameters", True), found
    assert "repeat_penalty 2.5" in found["sentence"]


def test_weights_damaged_on_the_disk(bench: Bench) -> None:
    """Their bytes are no longer those that their name says."""
    bench.push(quant="Q4_K_M")
    overwrite(bench.blob("task-api:q4_k_m"), "blk.1.ffn_down.weight")
    found = bench.diagnose("task-api:q4_k_m")
    assert (found["cause"], found["confidence"]) == ("damaged weights", "certain"), found
    assert "their sha256 is" in found["sentence"]
    assert passed(found, "full precision")
    for command in found["mend"].split(" && "):
        ran = bench.run(*command.split()[1:])
        assert ran.code in (0, 1), ran.err
    assert bench.diagnose("task-api:q4_k_m")["cause"] == "nothing wrong"


def test_weights_that_were_damaged_before_they_were_hashed(bench: Bench) -> None:
    """The tag's file is what its name says, but no quantization of the source."""
    bench.push(quant="Q4_K_M")
    path = bench.project.folder / "copied.gguf"
    with_rows_turned(bench.blob("task-api:q4_k_m"), path, "blk.1.ffn_down.weight")
    bench.create("mine:latest", path)
    suite = str(bench.project.folder / "suite.toml")
    found = bench.diagnose("mine:latest", "--source", "task-api", "--suite", suite)
    assert (found["cause"], found["confidence"]) == ("damaged weights", "certain"), found
    assert "blk.1.ffn_down.weight: " in found["sentence"]


def test_a_source_that_is_damaged(bench: Bench) -> None:
    """Nothing passes, in full precision either: the file itself holds what no weights hold."""
    bench.push(quant="Q4_K_M")
    damaged = bench.project.folder / "task-api-f16.gguf"
    overwrite(bench.blob("task-api:q4_k_m"), "blk.1.ffn_down.weight")
    overwrite(damaged, "blk.1.ffn_down.weight")
    found = bench.diagnose("task-api:q4_k_m")
    assert found["cause"] == "damaged weights", found


def test_killed_while_full_precision_is_staged(bench: Bench) -> None:
    """What it leaves is taken away by the next command, whatever that is."""
    bench.push(suite=NEVER_KNEW)
    before = bench.tags()
    child = bench.project.start("diagnose", "task-api:q8_0", **bench.env)
    journal, deadline = bench.project.folder / "cache" / "journal", time.monotonic() + 120
    while not list(journal.glob("*.json")):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    child.kill()
    child.communicate()
    assert list(journal.glob("*.json"))
    assert bench.tags() == before
    assert not list(journal.glob("*.json"))
    with bench.client() as client:
        assert {m.model for m in client.list().models} == {tag for tag, _ in before}

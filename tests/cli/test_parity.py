"""Prompts held against the model's own chat template: by `deployq parity`, and by every push."""

from __future__ import annotations

import contextlib

import ollama
import pytest

from deployq import Endpoint
from tests.cli.conftest import CONFIG, Project
from tests.tags.chat_templates import KINDS

pytestmark = pytest.mark.tools


def test_parity_of_a_pushed_model(project: Project, tools_bin: object) -> None:
    assert tools_bin
    one = CONFIG.replace('["Q8_0", "Q4_K_M"]', '["Q8_0"]')
    project.write("deployq.toml", one.replace("suite =", 'template = "model"\nsuite ='))
    pushed = project.run("push", "tiny", "--targets", "laptop")
    assert pushed.code == 0, pushed.err
    ran = project.run("parity", "tiny", "--json")
    assert ran.code == 0, ran.err
    (tag,) = ran.json["tags"]
    assert (ran.json["schema"], tag["tag"], tag["ok"]) == (1, "tiny:q8_0", True)
    assert {row["status"] for row in tag["conversations"]} == {"same"}
    shown = project.run("parity", "tiny:laptop")
    assert shown.out.startswith("✓ tiny:laptop  7 conversations as by the model's own template")


def test_a_difference_is_exit_code_4(project: Project, tools_bin: object) -> None:
    assert tools_bin
    project.write("deployq.toml", CONFIG.replace('["Q8_0", "Q4_K_M"]', '["Q8_0"]'))
    assert project.run("push", "tiny", "--targets", "laptop").code == 0
    other = KINDS["chatml-default"].write(project.folder / "other.gguf")
    ran = project.run("parity", "tiny:q8_0", "--source", str(other))
    assert ran.code == 4, ran.err
    assert "✗ default-system: " in ran.out
    assert "▶system⏎You are Tiny" in ran.out
    printed = project.run("parity", "tiny:q8_0", "--source", str(other), "--go-template")
    assert printed.code == 0
    assert "You are Tiny, trained for tests." in printed.out


def test_a_tag_that_is_not_there(project: Project, tools_bin: object) -> None:
    assert tools_bin
    ran = project.run("parity", "nothing")
    assert ran.code == 2
    assert "has no tag 'nothing'" in ran.err


# ---------------------------------------------------------------- within a push


ONE = CONFIG.replace('["Q8_0", "Q4_K_M"]', '["Q8_0"]')
RUNS_ON = "an answer ends in"


def of_kind(project: Project, kind: str, config: str = ONE) -> Project:
    """The project with a model that has that kind of chat template."""
    KINDS[kind].write(project.model)
    project.write("deployq.toml", config)
    return project


def test_a_push_warns_of_a_fault_and_goes_on(project: Project, tools_bin: object) -> None:
    assert tools_bin
    ran = of_kind(project, "custom").run("push", "tiny", "--targets", "laptop")
    assert ran.code == 0, ran.err
    assert RUNS_ON in " ".join(ran.out.split())
    assert ran.out.count(RUNS_ON) == 1, "the alias says what its tag says: it is not told twice"


def test_a_push_that_requires_parity_fails(project: Project, tools_bin: object) -> None:
    assert tools_bin
    of_kind(project, "custom")
    ran = project.run("push", "tiny", "--targets", "laptop", "--require-parity", "--json")
    assert ran.code == 4, ran.err
    assert "deployq parity shows both sides" in ran.err
    (tag,) = ran.json["targets"][0]["tags"]
    assert (tag["status"], RUNS_ON in tag["reason"]) == ("failed", True)
    assert project.run("list", "--json").json["tags"] == []
    project.write("deployq.toml", ONE + "[tags]\nrequire_parity = true\n")
    assert project.run("push", "tiny", "--targets", "laptop").code == 4
    stopped = ONE.replace("num_ctx = 256", 'num_ctx = 256, stop = ["<|fin|>"]')
    project.write("deployq.toml", stopped + "[tags]\nrequire_parity = true\n")
    assert project.run("push", "tiny", "--targets", "laptop").code == 0


def test_what_was_compared_stands_in_the_report(project: Project, tools_bin: object) -> None:
    assert tools_bin
    ran = of_kind(project, "chatml").run("push", "tiny", "--targets", "laptop", "--json")
    target = ran.json["targets"][0]
    (tag,) = target["tags"]
    assert tag["parity"]["ok"] is True
    assert tag["parity"]["tag"] == "tiny:q8_0"
    assert [step["status"] for step in tag["steps"] if step["step"] == "template"] == ["done"]
    assert target["alias"]["parity"] is None


@pytest.mark.ollama
def test_a_push_mends_what_ollamas_matching_got_wrong(
    project: Project, tools_bin: object, real_ollama: Endpoint
) -> None:
    """The default system prompt is lost first, and there with `template = "model"`; so is the
    alias's, whose context alone differs."""
    assert tools_bin
    env = {"OLLAMA_HOST": real_ollama.url}
    config = ONE.replace('name = "embedded"\ndir = "."', 'name = "ollama"')
    push = ("push", "tiny", "--targets", "laptop")
    with ollama.Client(host=real_ollama.url) as client:
        try:
            first = of_kind(project, "chatml-default", config).run(*push, **env)
            assert first.code == 0, first.err
            assert "You are Tiny" in " ".join(first.out.split())
            of_kind(
                project, "chatml-default", config.replace("suite =", 'template = "model"\nsuite =')
            )
            mended = project.run(*push, "--require-parity", **env)
            assert mended.code == 0, mended.err
            for tag in ("tiny:q8_0", "tiny:laptop"):
                assert "You are Tiny" in (client.show(tag).template or "")
            assert project.run("status", **env).code == 0
            again = project.run(*push, **env)
            assert "nothing to do" in again.out
        finally:
            for model in client.list().models:
                with contextlib.suppress(ollama.ResponseError):
                    client.delete(model.model or "")

"""`deployq parity` as a user types it, on the embedded runtime."""

from __future__ import annotations

import pytest

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

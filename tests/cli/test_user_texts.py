"""What users name is shown as they wrote it: no styles, no emoji, whatever brackets and colons."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import CONFIG, Project, Ran

# What rich's markup, its emoji and its highlighter would each change.
NAME = "[red]:computer:[/red] [link=http://x]"
MODEL = ":computer:[bold]x.gguf"
WIDE = {"COLUMNS": "400"}


@pytest.fixture
def named(project: Project) -> Project:
    project.model.rename(project.folder / MODEL)
    config = CONFIG.replace("tiny-f16.gguf", MODEL).replace(
        "[targets.laptop]", "[targets.computer]"
    )
    config = config.replace("parameters =", f"system = '{NAME}'\nparameters =")
    project.write("deployq.toml", config.replace('["Q8_0", "Q4_K_M"]', '["Q8_0"]'))
    quoted = json.dumps(NAME)
    project.write(
        "suite.toml",
        f"name = {quoted}\nthreshold = 0.0\noptions = {{ num_predict = 4 }}\n"
        f"[[prompts]]\nname = {quoted}\nuser = {quoted}\ncheck.contains = {quoted}\n",
    )
    return project


def shown(ran: Ran, *texts: str, code: int = 0) -> None:
    assert ran.code == code, ran.err
    for text in texts:
        assert text in ran.out + ran.err
    assert "💻" not in ran.out + ran.err


def test_in_the_configuration_and_the_plan(named: Project) -> None:
    shown(named.run("config", "--all", **WIDE), MODEL, NAME, "targets.computer")
    shown(named.run("inspect", MODEL, **WIDE), MODEL)
    explained = named.run("plan", "tiny", "--targets", "computer", "--explain", "Q8_0", **WIDE)
    shown(explained, "Q8_0", "computer")
    shown(named.run("plan", MODEL, "--targets", "computer", **WIDE), "computer")
    shown(named.run("doctor", **WIDE), str(named.folder), code=named.run("doctor").code)


def test_in_errors(named: Project) -> None:
    for arguments in (("plan", NAME), ("plan", "tiny", "--targets", NAME), ("inspect", NAME)):
        ran = named.run(*arguments, **WIDE)
        assert ran.code in (1, 2)
        shown(ran, NAME, code=ran.code)


@pytest.mark.tools
def test_in_a_push_and_all_that_shows_its_tags(named: Project, tools_bin: object) -> None:
    assert tools_bin
    shown(named.run("push", "tiny", **WIDE), NAME, "tiny:q8_0: 1 prompt of 1 failed")
    with named.serving():
        shown(named.run("list", **WIDE), "tiny:computer")
        shown(named.run("show", "tiny:computer", **WIDE), NAME)
        shown(named.run("verify", "tiny:computer", **WIDE), NAME)
        shown(named.run("status", **WIDE), "tiny:computer")
        shown(named.run("diff", "tiny:computer", "tiny:q8_0", **WIDE), "tiny:computer")
        shown(named.run("history", "tiny:computer", **WIDE))
        shown(named.run("parity", "tiny:computer", **WIDE), "tiny:computer")
        shown(named.run("cache", **WIDE), "tiny:computer")
        judged = named.run("quality", "tiny", "--quants", "Q8_0", **WIDE)
        shown(judged, NAME, code=judged.code)
        shown(named.run("report", "--format", "markdown", **WIDE))

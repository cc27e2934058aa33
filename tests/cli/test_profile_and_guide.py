"""`deployq profile` and `deployq guide` from the shell."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import Project

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_this_machine(project: Project) -> None:
    ran = project.run("profile", "--json")
    assert ran.code == 0, ran.err
    found = {one["profiler"]: one for one in ran.json["found"]}
    ram = found["this-machine"]
    assert 0 < ram["memory_bytes"] <= psutil.virtual_memory().total
    assert ram["budget_bytes"] == ram["memory_bytes"] - ram["reserve_bytes"]
    assert ran.json["measured"] is None
    assert "this-machine" in project.run("profile").out


def test_measured_once_and_known_from_then_on(project: Project) -> None:
    """A plan for this machine has an estimate then."""
    ran = project.run("profile", "--measure", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["measured"]["how"] == "read"
    assert project.run("profile", "--json").json["measured"] == ran.json["measured"]
    assert "GB/s" in project.run("profile").out


@pytest.mark.tools
def test_measured_with_a_model(project: Project, tools_bin: Path) -> None:
    ran = project.run(
        "profile",
        "--measure",
        "--with",
        str(project.model),
        "--json",
        DEPLOYQ_LLAMA_CPP=str(tools_bin),
    )
    assert ran.code == 0, ran.err
    assert ran.json["measured"]["how"] == "model"
    assert "tiny-f16.gguf" in ran.json["measured"]["detail"]


def test_presets_by_word(project: Project) -> None:
    ran = project.run("profile", "--presets", "m2", "pro", "--json")
    assert [preset["name"] for preset in ran.json["presets"]] == ["m2-pro-16gb", "m2-pro-32gb"]
    everything = project.run("profile", "--presets", "--json").json["presets"]
    assert len(everything) > 100
    assert all(preset["source"] for preset in everything)
    assert "rtx-4090" in project.run("profile", "--presets", "4090").out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("profile", "--presets", "zx81"), "no machine is known as 'zx81'"),
        (("profile", "m2"), "--presets"),
        (("profile", "--presets", "--measure"), "two different questions"),
        (("profile", "--with", "x.gguf"), "--measure"),
        (("profile", "--measure", "--with", "absent.gguf"), "absent.gguf"),
    ],
)
def test_what_is_refused(project: Project, arguments: tuple[str, ...], says: str) -> None:
    ran = project.run(*arguments)
    assert ran.code == 2
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_the_guide(project: Project) -> None:
    text = project.run("guide").out
    assert "8 GB RAM" in text
    assert "405B Q4_K_M" in text
    assert len(project.run("guide", "--json").json["fits"]["RAM"]) == 10


def test_the_guide_in_the_docs_is_what_the_command_prints(project: Project) -> None:
    printed = project.run("guide", "--markdown").out
    assert printed.strip() in (DOCS / "guide.md").read_text(encoding="utf-8"), (
        "write it again: deployq guide --markdown"
    )


def test_targets_with_no_configuration_at_all(project: Project) -> None:
    (project.folder / "deployq.toml").unlink()
    ran = project.run("plan", str(project.model), "--targets", "this-machine,4090", "--json")
    assert ran.code == 0, ran.err
    assert [target["name"] for target in ran.json["targets"]] == ["this-machine", "4090"]


def test_no_memory_is_refused(project: Project) -> None:
    ran = project.run("plan", str(project.model), "--memory", "0GB", "--kind", "vram")
    assert ran.code == 2
    assert "its memory is 0 B" in ran.err

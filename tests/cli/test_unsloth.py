"""`--backend unsloth` on the command line, with a stand-in for the user's environment."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Project
from tests.plugins.unsloth.stand_in import environment


def configure(project: Project, python: Path, mode: str) -> None:
    text = (project.folder / "deployq.toml").read_text()
    more = f'[backends.unsloth]\npython = "{python}"\nmode = "{mode}"\n'
    project.write("deployq.toml", f"{text}{more}")


def test_doctor_names_it_with_its_mode(project: Project, tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    configure(project, python, "merged")
    findings = project.run("doctor", "--json").json["findings"]
    (line,) = [one for one in findings if one["what"] == "backend unsloth"]
    assert line["ok"]
    assert str(python) in line["detail"]
    assert "mode merged" in line["detail"]
    (quantizer,) = [one for one in findings if one["what"] == "quantizer"]
    assert "unsloth" not in quantizer["detail"], "merged, it quantizes nothing"


def test_doctor_says_how_to_name_it(project: Project) -> None:
    findings = project.run("doctor", "--json").json["findings"]
    (line,) = [one for one in findings if one["what"] == "backend unsloth"]
    assert not line["ok"]
    assert "[backends.unsloth]" in line["hint"]


def test_a_source_without_an_adapter_is_told(project: Project, tmp_path: Path) -> None:
    configure(project, environment(tmp_path / "env"), "merged")
    ran = project.run("push", "tiny", "--targets", "laptop", "--backend", "unsloth", "--dry-run")
    assert ran.code == 0, ran.err
    assert "unsloth merges adapters, and" in ran.err
    assert ran.err.count("is none: it is taken as it is") == 1


def test_without_it_nothing_is_started(project: Project) -> None:
    ran = project.run("push", "tiny", "--targets", "laptop", "--backend", "unsloth", "--yes")
    assert ran.code == 6, ran.err
    assert "no environment with Unsloth was found" in ran.err
    assert not (project.folder / "cache" / "artifacts").exists()

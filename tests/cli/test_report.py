"""deployq report and deployq compare over the runs of a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployq import hookimpl, report
from deployq.cli.main import run
from deployq.config import load_config
from deployq.errors import PluginError
from deployq.pipeline.runs import find_run, load_run, rendered
from deployq.pipeline.session import open_session
from deployq.plugins import load_plugins
from deployq.types import Run
from tests.report import samples
from tests.report.test_quality_view import quality_report

OLD, NEW = "2026-11-24T09-00-00Z", "2026-11-25T10-00-00Z"


def write(folder: Path, name: str, document: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    (folder / name).write_text(json.dumps(document))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    all_runs = tmp_path / ".deployq" / "runs"
    write(all_runs / OLD, "quality.json", report.quality_document(quality_report(holds=True)))
    write(all_runs / NEW, "report.json", report.report_document(samples.BAD))
    (all_runs / "2026-11-25T11-00-00Z").mkdir()  # a run that was killed left no document
    (tmp_path / "deployq.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def out(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run(list(arguments)) == code
    caught = capsys.readouterr()
    return caught.out if code == 0 else caught.err


def test_the_newest_run_is_written_beside_its_document(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = out(capsys, "report").strip()
    page = project / ".deployq" / "runs" / NEW / "report.html"
    assert Path(said) == page
    assert "Not pushed to laptop, 4090" in page.read_text()


@pytest.mark.parametrize(
    "named", [OLD, "2026-11-24", f".deployq/runs/{OLD}", f".deployq/runs/{OLD}/quality.json"]
)
def test_a_run_is_named_by_its_name_its_beginning_its_folder_or_its_file(
    project: Path, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    said = out(capsys, "report", named, "--format", "markdown", "--output", "-")
    assert said.startswith("# ✓ t: Q2\\_K is the smallest that holds")
    out(capsys, "report", named, "-o", "mine.html")
    assert "Q2_K is the smallest that holds" in (project / "mine.html").read_text()


def test_every_format_has_a_file_of_its_own(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / ".deployq" / "runs" / OLD
    for name in ("markdown", "json", "junit"):
        out(capsys, "report", OLD, "--format", name)
    assert {p.name for p in folder.iterdir()} == {
        "quality.json", "report.md", "run.json", "report.xml",
    }  # fmt: skip
    assert json.loads((folder / "run.json").read_text())["kind"] == "quality"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("report", "2027"), 2, "the newest there: 2026-11-25T10-00-00Z, 2026-11-24T09-00-00Z"),
        (("report", "2026"), 2, "several runs begin with '2026'"),
        (("report", "--format", "pdf"), 1, "there are: html, json, junit, markdown"),
        (("report", "bad.json"), 1, "bad.json is no document of a run"),
        (("report", "deep.json"), 1, "deep.json is no document of a run"),
        (("compare", "2027"), 2, "there is no run '2027'"),
    ],
)
def test_what_can_not_be_shown_is_named(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    (project / "bad.json").write_text('{"schema": 1, "targets": "none"}')
    (project / "deep.json").write_text("[" * 100_000)
    assert said in " ".join(out(capsys, *arguments, code=code).split())


def test_no_run_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no run" in out(capsys, "report", code=2)


def test_a_plugin_brings_a_format_but_takes_none_away(project: Path) -> None:
    class Csv:
        name, suffix = "csv", ".csv"

        def render(self, run: Run) -> str:
            return "".join(f"{tag.quant},{tag.file_bytes}\n" for tag in run.tags)

    class Plugin:
        def __init__(self, one: Any) -> None:
            self.one = one

        @hookimpl
        def deployq_report_formats(self) -> list[Any]:
            return [self.one]

    plugins = load_plugins(extra={"csv": Plugin(Csv())})
    session = open_session(load_config(None, {}), plugins=plugins)
    found = load_run(find_run(session, str(project / ".deployq" / "runs" / OLD)))
    assert rendered(session, found, "csv") == ("Q2_K,3000000\n", ".csv")
    html = Csv()
    html.name = "html"
    session = open_session(load_config(None, {}), plugins=load_plugins(extra={"c": Plugin(html)}))
    with pytest.raises(PluginError, match="'html', which deployq has"):
        rendered(session, found, "html")


def test_compare_says_what_got_worse(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worse = report.quality_document(quality_report(holds=False))
    write(project / ".deployq" / "runs" / "2026-11-26T10-00-00Z", "quality.json", worse)
    shown = out(capsys, "compare", OLD, "--html", "c.html")
    assert "checks" in shown
    assert "lost: lost" in shown
    assert "deployq compare" in (project / "c.html").read_text()
    document = json.loads(out(capsys, "compare", OLD, "2026-11-26", "--json"))
    assert document["before"]["run"] == OLD
    assert document["tags"][0]["lost"] == ["lost"]
    assert max(map(len, shown.splitlines())) <= 80


def test_fail_on_worse(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = report.report_document(samples.GOOD)
    write(project / ".deployq" / "runs" / "2026-11-23T10-00-00Z", "report.json", good)
    bad = json.loads((project / ".deployq" / "runs" / NEW / "report.json").read_text())
    for target in bad["targets"]:
        for tag in target["tags"]:
            tag["verification"]["prompts"] = [
                {**one, "ok": False} for one in tag["verification"]["prompts"]
            ]
    write(project / "worse", "report.json", bad)
    out(capsys, "compare", "2026-11-23", "2026-11-23", "--fail-on-worse")
    out(capsys, "compare", NEW, "worse", "--fail-on-worse", code=4)

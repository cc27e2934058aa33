"""Run folders and report.json."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from deployq.errors import DiskError
from deployq.report.documents import report_document
from deployq.report.runs import new_run_dir, write_report
from tests.report import samples

WHEN = datetime(2026, 11, 25, 1, 50, 3, tzinfo=UTC)


def test_a_run_dir_is_named_by_utc_time(tmp_path: Path) -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    folder = new_run_dir(tmp_path / "deep" / "runs", WHEN.astimezone(zone))
    assert folder == tmp_path / "deep" / "runs" / "2026-11-25T01-50-03Z"
    assert folder.is_dir()


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    folders = [new_run_dir(tmp_path, WHEN).name for _ in range(3)]
    name = "2026-11-25T01-50-03Z"
    assert folders == [name, f"{name}-2", f"{name}-3"]


def test_no_place_for_runs_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(DiskError, match=r"cannot make a folder for this run in .*runs"):
        new_run_dir(tmp_path / "runs", WHEN)


def test_the_report_is_written_whole_and_alone(tmp_path: Path) -> None:
    write_report(tmp_path, samples.BAD)
    path = write_report(tmp_path, samples.GOOD)
    assert path == tmp_path / "report.json"
    assert json.loads(path.read_text()) == json.loads(json.dumps(report_document(samples.GOOD)))
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_report_that_cannot_take_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(DiskError, match=r"cannot write .*report.json: "):
        write_report(tmp_path, samples.GOOD)
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_missing_run_dir_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="No such file or directory"):
        write_report(tmp_path / "gone", samples.GOOD)

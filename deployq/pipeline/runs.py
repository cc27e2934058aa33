"""The runs of a project: found, read, and shown in some format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from deployq.errors import ArtifactError, ConfigError, PluginError
from deployq.files import is_there
from deployq.pipeline.session import Session
from deployq.plugins import pick
from deployq.proof.statistics import wilson
from deployq.report.formats import builtin_formats
from deployq.report.page import run_page
from deployq.report.run_reading import read_run
from deployq.report.runs import (
    PAGE_NAME,
    QUALITY_NAME,
    RECOMMENDATION_NAME,
    REPORT_NAME,
    write_text,
)
from deployq.types import ReportFormat, Run, RunTag

DOCUMENTS = (REPORT_NAME, QUALITY_NAME, RECOMMENDATION_NAME)
NAMES_SHOWN = 3


def find_run(session: Session, wanted: str | None) -> Path:
    """The document of a run.

    Args:
        wanted: a file, a folder, the name of a run or how it begins; None: the newest.

    Raises:
        ConfigError: there is none, or several begin so.
    """
    runs = _runs(session.runs_dir)
    if wanted is None:
        if not runs:
            raise ConfigError(
                f"there is no run in {session.runs_dir}", hint="deployq push MODEL, or quality"
            )
        return runs[max(runs)]
    path = Path(wanted)
    if is_there(path) and path.is_file():
        return path
    if path.is_dir() and (found := _document(path)):
        return found
    begun = [name for name in sorted(runs) if name.startswith(wanted)]
    if wanted in runs or len(begun) == 1:
        return runs[wanted if wanted in runs else begun[0]]
    raise ConfigError(_not_found(wanted, begun, runs, session.runs_dir), hint="deployq report")


def load_run(path: Path) -> Run:
    """A run by its document, or by the folder that has one.

    Raises:
        ArtifactError: the file can't be read, or is no run's.
    """
    if path.is_dir():
        path = _document(path) or path
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return completed(read_run(document, _name(path)))
    except OSError as exc:
        raise ArtifactError(f"cannot read {path}: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ArtifactError(
            f"{path} is no document of a run: {type(exc).__name__}: {exc}",
            hint="name a folder of .deployq/runs, or its report.json",
        ) from exc


def completed(run: Run) -> Run:
    """A run with what its document does not say but its counts do: shares with intervals."""
    return replace(run, tags=tuple(map(_with_share, run.tags)))


def _with_share(tag: RunTag) -> RunTag:
    if tag.pass_share is not None or not tag.total or tag.passed is None:
        return tag
    return replace(tag, pass_share=wilson(tag.passed, tag.total))


def write_page(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write report.html beside a run's document; returns its path.

    Raises:
        DiskError: it can't be written.
    """
    page = run_page(completed(read_run(document, folder.name)))
    return write_text(folder / PAGE_NAME, page)


def formats(session: Session) -> dict[str, ReportFormat]:
    """deployq's own formats and the plugins', by name.

    Raises:
        PluginError: a plugin brings a name that is taken.
    """
    own = {one.name: one for one in builtin_formats()}
    brought = cast("dict[str, ReportFormat]", session.plugins.named("deployq_report_formats"))
    if taken := own.keys() & brought.keys():
        raise PluginError(f"a plugin brings the report format {min(taken)!r}, which deployq has")
    return {**own, **brought}


def rendered(session: Session, run: Run, name: str) -> tuple[str, str]:
    """A run in a format, and the suffix of its files.

    Raises:
        PluginError: there is no such format.
    """
    chosen = pick(formats(session), name, "report format")
    return chosen.render(run), chosen.suffix


# ---------------------------------------------------------------- the folder


def _runs(folder: Path) -> dict[str, Path]:
    """The documents of all runs, by the name of the run."""
    if not folder.is_dir():
        return {}
    found = ((path.name, _document(path)) for path in folder.iterdir() if path.is_dir())
    return {name: document for name, document in found if document}


def _document(folder: Path) -> Path | None:
    return next((p for name in DOCUMENTS if (p := folder / name).is_file()), None)


def _name(path: Path) -> str:
    """A run is called as its folder; a document that lies about elsewhere, as its file."""
    return path.resolve().parent.name if path.name in DOCUMENTS else path.stem


def _not_found(wanted: str, begun: list[str], runs: Mapping[str, Path], folder: Path) -> str:
    if begun:
        return f"several runs begin with {wanted!r}: {', '.join(begun[-NAMES_SHOWN:])}"
    newest = ", ".join(sorted(runs, reverse=True)[:NAMES_SHOWN])
    there = f"; the newest there: {newest}" if newest else ""
    return f"there is no run {wanted!r} in {folder}{there}"

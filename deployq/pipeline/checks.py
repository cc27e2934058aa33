"""The verification checks that there are, and the suites made of them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from deployq.pipeline.session import Session
from deployq.proof.answers_checks import ANSWER_CHECKS
from deployq.proof.checks import BUILTIN_CHECKS
from deployq.proof.own_checks import PythonCheck
from deployq.proof.suites import Suite, load_suite, smoke_suite
from deployq.types import CheckType


def all_checks(session: Session) -> dict[str, CheckType]:
    """deployq's own checks and those of plugins, by name."""
    brought = cast("dict[str, CheckType]", session.plugins.named("deployq_checks"))
    folder = session.config.folder
    trusted = [folder / name for name in session.config.plugins.trust]
    own: tuple[CheckType, ...] = (*BUILTIN_CHECKS, *ANSWER_CHECKS, PythonCheck(folder, trusted))
    return {**{check.name: check for check in own}, **brought}


def suite_at(session: Session, path: Path | None) -> Suite:
    """The suite in a file; None: the smoke test.

    Raises:
        SuiteError: it can't be read, or has a mistake.
    """
    if path is None:
        return smoke_suite()
    return load_suite(path, all_checks(session), session.cache_dir / "suites")

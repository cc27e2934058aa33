"""The verification checks that there are, and the suites made of them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from deployq.pipeline.session import Session
from deployq.proof.checks import BUILTIN_CHECKS
from deployq.proof.suites import Suite, load_suite, smoke_suite
from deployq.types import CheckType


def all_checks(session: Session) -> dict[str, CheckType]:
    """deployq's own checks and those of plugins, by name."""
    brought = cast("dict[str, CheckType]", session.plugins.named("deployq_checks"))
    return {**{check.name: check for check in BUILTIN_CHECKS}, **brought}


def suite_at(session: Session, path: Path | None) -> Suite:
    """The suite in a file; None: the smoke test.

    Raises:
        SuiteError: it can't be read, or has a mistake.
    """
    return load_suite(path, all_checks(session)) if path else smoke_suite()

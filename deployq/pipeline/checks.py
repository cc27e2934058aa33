"""The verification checks that there are, and the suites made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from deployq.errors import SuiteError
from deployq.pipeline.session import Session
from deployq.proof.answers_checks import ANSWER_CHECKS
from deployq.proof.checks import BUILTIN_CHECKS
from deployq.proof.own_checks import PythonCheck
from deployq.proof.suites import Suite, load_suite, smoke_suite
from deployq.types import CheckType, Json

_EXPECTING = ("equals", "contains")
"""Checks whose parameters are texts of the answer, word for word."""


def all_checks(session: Session) -> dict[str, CheckType]:
    """deployq's own checks and those of plugins, by name."""
    brought = cast("dict[str, CheckType]", session.plugins.named("deployq_checks"))
    folder = session.config.folder
    trusted = [folder / name for name in session.config.plugins.trust]
    own: tuple[CheckType, ...] = (*BUILTIN_CHECKS, *ANSWER_CHECKS, PythonCheck(folder, trusted))
    return {**{check.name: check for check in own}, **brought}


def require_stops_fit(suite: Suite, stops: Iterable[str], tag: str) -> None:
    """No answer that a suite expects may hold a text at which the tag stops.

    Raises:
        SuiteError: one does: that prompt could never pass.
    """
    for prompt in suite.prompts:
        expected = [text for name in _EXPECTING for text in _texts(prompt.checks.get(name))]
        for stop in stops:
            if any(stop in text for text in expected):
                raise SuiteError(
                    f"prompt {prompt.name!r}: its expected answer holds {stop!r}, "
                    f"at which {tag} stops",
                    hint=f"take {stop!r} out of what is expected; if it is a stop of your own, out "
                    "of stop = [...] under [models.NAME.parameters]",
                )


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (one for one in value if isinstance(one, str))


def suite_at(session: Session, path: Path | None) -> Suite:
    """The suite in a file; None: the smoke test.

    Raises:
        SuiteError: it can't be read, or has a mistake.
    """
    if path is None:
        return smoke_suite()
    return load_suite(path, all_checks(session), session.cache_dir / "suites")

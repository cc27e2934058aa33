"""The checks of a source, before anything is spent on it: run, told, and what stops the work.

A check that failed and one that could not run are two things: `Failed` stops with exit code 1,
`NotRun` is a remark. Which of them an error means is decided in `run_check` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from deployq.errors import BackendError, DiskError, ModelRejected, SourceError
from deployq.pipeline.session import Session
from deployq.settings import ModelSettings
from deployq.source.preflight import check_header
from deployq.source.projector import check_projector
from deployq.tags.chat_template import Asked, chat_template_of, render_all
from deployq.types import CheckingJudge, Failed, Finding, ModelInfo, NotRun, Turn

_SAMPLE = (Turn("user", "Hello"),)


def run_check(check: str, find: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """A check's findings; where it ends in an error, what that says of the source.

    Only llama.cpp's own refusal of the file is the source's fault. A tool that is missing, crashed
    or took too long, and memory or disk that ran out, say nothing of it.
    """
    try:
        yield from find()
    except ModelRejected as exc:
        yield Failed(check, exc.message, exc.hint)
    except (BackendError, DiskError) as exc:
        yield NotRun(check, exc.message, exc.hint)


def stops(finding: Finding, allowed: Collection[str]) -> bool:
    """Whether the work ends here."""
    return isinstance(finding, Failed) and finding.check not in allowed


def settle(
    session: Session, allowed: Collection[str], findings: Iterable[Finding]
) -> tuple[Finding, ...]:
    """Tell what is worth telling, and stop at what failed; what was allowed is a warning.

    Returns:
        What failed and was allowed.

    Raises:
        SourceError: a check failed; every one that did is in the message.
    """
    failed, waived = [], []
    for finding in findings:
        if isinstance(finding, Failed) and finding.check in allowed:
            waived.append(finding)
        if stops(finding, allowed):
            failed.append(finding)
        elif isinstance(finding, NotRun):
            hint = f" (try: {finding.hint})" if finding.hint else ""
            session.talk_once(f"not checked: {finding.check}: {finding.message}{hint}")
        else:
            session.talk_once(f"warning: {finding.message}")
    if failed:
        check = failed[0].check
        hint = failed[0].hint or f"--allow {check} goes on all the same, on your own account"
        raise SourceError("; ".join(finding.message for finding in failed), hint=hint)
    return tuple(waived)


# ---------------------------------------------------------------- a GGUF


def allowed_checks(settings: ModelSettings) -> frozenset[str]:
    """Checks that only warn; a Modelfile template stands in for a missing chat template."""
    own = ("template",) if isinstance(settings.template, Path) else ()
    return frozenset((*settings.allow, *own))


def require_sound(session: Session, info: ModelInfo, settings: ModelSettings) -> None:
    """Stop before anything is made of a GGUF that no server would run.

    Raises:
        SourceError: a check failed, and none of the settings allows it.
    """
    allowed = allowed_checks(settings)
    if settings.projector:
        settle(replace(session, talk=_silent), allowed, check_projector(info.path, info.metadata))
    settle(session, allowed, check_gguf(session, info))


def _silent(text: str) -> None:
    """Tell nobody: the plan told it."""


def check_gguf(session: Session, info: ModelInfo) -> Iterator[Finding]:
    """Everything that can be known of a GGUF without reading its weights."""
    found = list(check_header(info))
    yield from found
    yield from run_check("template", lambda: _check_template(info))
    if not any(isinstance(finding, Failed) for finding in found):  # else it was said already
        yield from run_check("engine", lambda: _check_loading(session, info))


def _check_template(info: ModelInfo) -> Iterator[Finding]:
    """Does the chat template render one question?"""
    try:
        template = chat_template_of(info)
        rendered = render_all(template, [Asked(_SAMPLE)])[0] if template else None
    except SourceError as exc:  # it took too long, or more memory than a template may
        yield NotRun("template", f"{info.path}: {exc.message}", exc.hint)
        return
    if rendered and rendered.is_broken:
        yield Failed(
            "template",
            f"{info.path}: its chat template can't be rendered: {rendered.refusal}",
            "mend the template: convert the model again with a whole one, or name a Modelfile "
            "template with a TEMPLATE",
        )


def _check_loading(session: Session, info: ModelInfo) -> Iterator[Finding]:
    """Has llama.cpp load what it reads before the weights: vocabulary, keys, tensor shapes."""
    judges = [one for one in session.judges().values() if isinstance(one, CheckingJudge)]
    for judge in judges:
        yield from judge.check(info.files[0])
    if not judges:
        yield NotRun("engine", f"no plugin here loads {info.path} without its weights")

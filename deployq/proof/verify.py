"""A suite run against one tag."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from multiprocessing.pool import ThreadPool

from deployq.deadlines import within
from deployq.errors import ServerError, ServerRefused, ServerTimeout
from deployq.proof.suites import Suite
from deployq.types import (
    Answer,
    Answerer,
    CheckType,
    Progress,
    Prompt,
    PromptResult,
    Verdict,
    Verification,
)

# A server that hangs would otherwise cost a timeout for each prompt of the suite.
TIMEOUTS_IN_A_ROW = 3
# What a server answers to what can't be asked of this tag: a prompt over its context, tools or
# thinking that its template has no place for, a format that is no schema.
CANT_BE_ASKED = 400
# A plugin's check; those of deployq and of the user end sooner, and their processes with them.
CHECK_SECONDS = 30.0
# A check that hangs would otherwise cost its deadline for each prompt of the suite.
LATE_CHECKS = 3
_late: Counter[str] = Counter()
"""How often a check, with its parameters, ran out of time."""

Outcome = Answer | ServerTimeout | ServerRefused
# What one prompt gave, try by try.
Tries = tuple[Outcome, ...]


def run_suite(
    answerer: Answerer,
    tag: str,
    suite: Suite,
    checks: Mapping[str, CheckType],
    *,
    jobs: int = 1,
    timeout_seconds: float,
    progress: Progress,
) -> Verification:
    """Ask every prompt of a suite and judge the answers.

    A prompt that the server does not answer in time has failed; the others are still asked,
    until `TIMEOUTS_IN_A_ROW` of them went unanswered one after the other. So has one that can't be
    asked of this tag.

    Args:
        answerer: the server; called from `jobs` threads at a time.
        checks: the checks by name; they run one at a time, each against a deadline. One that
            fails has judged nothing, so its prompt has failed.
        timeout_seconds: for one prompt.
        progress: told of every finished prompt.

    Raises:
        ServerUnreachable, ServerRefused: the run can't go on.
        ServerTimeout: the server answers nothing any more.
    """
    started = time.monotonic()

    def ask(numbered: tuple[int, Prompt]) -> tuple[int, Tries]:
        index, prompt = numbered
        return index, tuple(ask_tries(answerer, tag, prompt, timeout_seconds))

    total = len(suite.prompts)
    results: dict[int, PromptResult] = {}
    progress(tag, 0, total, "prompts")
    with closing(_outcomes(ask, enumerate(suite.prompts), min(jobs, total))) as outcomes:
        for index, tries in _while_answered(tag, outcomes):
            results[index] = judge_tries(suite.prompts[index], tries, checks)
            progress(tag, len(results), total, "prompts")
    return Verification(
        suite=suite.name,
        tag=tag,
        threshold=suite.threshold,
        results=tuple(results[index] for index in range(total)),
        seconds=time.monotonic() - started,
        suite_digest=suite.digest,
    )


def _outcomes(
    ask: Callable[[tuple[int, Prompt]], tuple[int, Tries]],
    prompts: Iterable[tuple[int, Prompt]],
    jobs: int,
) -> Generator[tuple[int, Tries]]:
    """Outcomes as they come in."""
    if jobs <= 1:
        yield from map(ask, prompts)
        return
    # Its threads are daemons: an interrupt waits for no answer that is still under way, which
    # concurrent.futures would do at exit.
    with ThreadPool(jobs) as pool:
        yield from pool.imap_unordered(ask, prompts)


def _while_answered(tag: str, outcomes: Iterable[tuple[int, Tries]]) -> Iterator[tuple[int, Tries]]:
    """The outcomes, until too many in a row are none."""
    unanswered = 0
    for index, tries in outcomes:
        yield index, tries
        outcome = tries[-1]
        if not isinstance(outcome, ServerTimeout):
            unanswered = 0
            continue
        unanswered += 1
        if unanswered == TIMEOUTS_IN_A_ROW:
            raise ServerTimeout(
                f"{tag} answered none of {unanswered} prompts in a row: {outcome.message}",
                hint=outcome.hint or "deployq doctor",
            ) from outcome


def ask_tries(
    answerer: Answerer, tag: str, prompt: Prompt, timeout_seconds: float
) -> Iterator[Outcome]:
    """What a prompt gives, try by try, each with a seed of its own.

    A server that hangs is not asked the same again.
    """
    seed = prompt.options.get("seed")
    for number in range(prompt.repeat):
        options = dict(prompt.options)
        if isinstance(seed, int):
            options["seed"] = seed + number
        outcome = _ask(answerer, tag, replace(prompt, options=options), timeout_seconds)
        yield outcome
        if isinstance(outcome, ServerError):
            return


def judge_tries(prompt: Prompt, tries: Tries, checks: Mapping[str, CheckType]) -> PromptResult:
    """What a prompt's tries come to."""
    judged = [judge(prompt, outcome, checks) for outcome in tries]
    if prompt.repeat == 1:
        return judged[0]
    passed = [result.answer is not None and all(v.ok for v in result.verdicts) for result in judged]
    shown = next((r for r, ok in zip(judged, passed, strict=True) if not ok), judged[0])
    return replace(shown, tries=prompt.repeat, passes=sum(passed))


def _ask(answerer: Answerer, tag: str, prompt: Prompt, timeout_seconds: float) -> Outcome:
    try:
        return answerer.chat(
            tag,
            prompt.messages,
            options=prompt.options,
            format=prompt.format,
            think=prompt.think,
            tools=prompt.tools,
            timeout_seconds=timeout_seconds,
        )
    except ServerTimeout as exc:
        return exc
    except ServerRefused as exc:
        if exc.status != CANT_BE_ASKED:
            raise
        return exc


def judge(prompt: Prompt, outcome: Outcome, checks: Mapping[str, CheckType]) -> PromptResult:
    """Run a prompt's checks on what came of it."""
    if isinstance(outcome, ServerError):
        return PromptResult(prompt, None, (Verdict("answered", False, outcome.message),))
    verdicts = tuple(_verdict(name, prompt, outcome, checks[name]) for name in prompt.checks)
    return PromptResult(prompt, outcome, verdicts)


def _verdict(name: str, prompt: Prompt, answer: Answer, check: CheckType) -> Verdict:
    params = prompt.checks[name]
    asked = f"{name} {json.dumps(params, default=str)}"
    if _late[asked] >= LATE_CHECKS:
        return Verdict(name, False, f"not judged: it ran out of time on {LATE_CHECKS} answers")
    try:
        verdict = within(CHECK_SECONDS, lambda: check.check(answer, prompt, params))
    except TimeoutError as exc:
        _late[asked] += 1
        late = str(exc) or f"it took longer than {CHECK_SECONDS:g} s"
        return Verdict(name, False, f"not judged: {late}")
    except ChildProcessError as exc:
        return Verdict(name, False, f"not judged: {exc}")
    except Exception as exc:  # noqa: BLE001  (a plugin's, which may raise anything)
        return Verdict(name, False, f"not judged: the check raised {type(exc).__name__}: {exc}")
    if not isinstance(verdict, Verdict):
        return Verdict(name, False, f"not judged: the check returned {verdict!r}, no Verdict")
    return verdict

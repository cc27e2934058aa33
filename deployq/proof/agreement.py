"""A suite's baseline recorded, and tags measured against it: prompt by prompt, resumable.

Like is compared with like: before a recording and before a measurement the model is unloaded,
and prompts are asked in the suite's order, so the server's cache goes through the same states.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from typing import Literal, TypeVar

from deployq.errors import ServerError, ServerRefused, ServerTimeout
from deployq.proof.following import Seams, follow
from deployq.proof.journal import (
    Journal,
    pack_agreement,
    pack_answer,
    unpack_agreement,
    unpack_answer,
)
from deployq.proof.scoring import kl_lower_bound, same_top
from deployq.proof.tracing import GREEDY, Asker, trace
from deployq.proof.verify import CANT_BE_ASKED
from deployq.records import dataclass
from deployq.types import (
    Answer,
    Noise,
    Progress,
    Prompt,
    PromptAgreement,
    Spoken,
    TracedAnswer,
)

T = TypeVar("T")
AskerFor = Callable[[Prompt], Asker]

TRIES = 3
REST_SECONDS = 1.0
TIMEOUTS_IN_A_ROW = 3
LEAST_NOISE_PROMPTS, MOST_NOISE_PROMPTS = 2, 12
FRESH_PROMPTS = 2


def token_limit(prompt: Prompt) -> int:
    """The most tokens that an answer to a prompt of a suite may have."""
    limit = prompt.options.get("num_predict")
    assert isinstance(limit, int), "every suite sets num_predict"
    return limit


def is_plain(prompt: Prompt) -> bool:
    """Whether a chat's answer to a prompt is the raw, greedy one."""
    neutral = all(
        prompt.options.get(name, value) == value for name, value in GREEDY.items() if name != "seed"
    )
    roles = {message.role for message in prompt.messages}
    simple = prompt.think is False and not prompt.tools and prompt.repeat == 1
    return neutral and simple and roles <= {"system", "user", "assistant"}


def patiently(asker: Asker, work: Callable[[], T]) -> tuple[T, int]:
    """Do some work with a server that may get stuck, and how often it had to be done again.

    Once in some 1,600 closed streams a llama.cpp engine answers nothing any more until its
    model is unloaded (measured: b11434 under Ollama 0.34.4).

    Raises:
        ServerTimeout: it got stuck each time.
    """
    for again in range(TRIES):
        try:
            return work(), again
        except ServerTimeout:
            unload(asker)
            if again == TRIES - 1:
                raise
            time.sleep(REST_SECONDS)
    raise AssertionError("the last try returns or raises")


def unload(asker: Asker) -> None:
    """Take the model out of memory, with its cache; what hangs there ends."""
    with contextlib.suppress(ServerError):
        asker.tracer.unload(asker.tag)


# ---------------------------------------------------------------- the baseline


def record(
    asker_for: AskerFor,
    prompts: Sequence[Prompt],
    journal: Journal,
    progress: Progress,
    speak: Callable[[Prompt], Sequence[Answer]] | None = None,
) -> list[TracedAnswer]:
    """The answers of a baseline, in the suite's order; goes on where it was interrupted.

    A prompt that can't be asked of this model (tools, thinking) has none.

    Args:
        speak: chats, try by try, for the prompts whose raw answer is not what a chat says.

    Raises:
        ServerError: a prompt got no answer, or none can be asked; what was recorded stays in the
            journal.
    """
    done = {answer.prompt: answer for answer in map(unpack_answer, journal.read())}
    first = asker_for(prompts[0])
    if len(done) < len(prompts):
        unload(first)
    refusal: ServerRefused | None = None
    for number, prompt in enumerate(prompts):
        progress(f"baseline {first.shown}", number, len(prompts), "prompts")
        if prompt.name not in done:
            try:
                answer = _recorded(asker_for(prompt), prompt)
                if speak is not None and not is_plain(prompt):
                    answer = replace(answer, spoken=tuple(map(_spoken, speak(prompt))))
            except ServerRefused as exc:
                if exc.status != CANT_BE_ASKED:
                    raise
                refusal = exc
                continue
            packed = pack_answer(answer)
            journal.write(packed)
            done[prompt.name] = unpack_answer(packed)
    progress(f"baseline {first.shown}", len(prompts), len(prompts), "prompts")
    if refusal is not None and not done:
        raise refusal
    return [done[prompt.name] for prompt in prompts if prompt.name in done]


def _spoken(answer: Answer) -> Spoken:
    message = answer.raw.get("message")
    calls = message.get("tool_calls") if isinstance(message, Mapping) else None
    return Spoken(answer.text, answer.done_reason, calls)


def _recorded(asker: Asker, prompt: Prompt) -> TracedAnswer:
    rendered = asker.tracer.render(
        asker.tag, prompt.messages, think=prompt.think, tools=prompt.tools
    )
    if rendered is None:
        raise ServerRefused(
            f"the server of {asker.shown} does not tell what prompt it makes of a conversation, "
            "which measuring agreement needs",
            hint="an Ollama from 0.30 on does",
        )
    limit = token_limit(prompt)
    answer, _ = patiently(asker, lambda: trace(asker, prompt.name, rendered, limit, prompt.format))
    return answer


# ---------------------------------------------------------------- a tag


@dataclass(frozen=True)
class Measured:
    """What measuring a tag gave: by prompt, in the suite's order, and the prompts without."""

    found: tuple[PromptAgreement, ...]
    unanswered: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One answer to follow; `own_tokens` as in `follow`."""

    asker: Asker
    answer: TracedAnswer
    seams: Seams
    own_tokens: int | None


Outcome = PromptAgreement | ServerTimeout


def measure(
    jobs: Sequence[Job], journal: Journal, progress: Progress, *, at_a_time: int = 1
) -> Measured:
    """Follow every answer of a baseline; goes on where it was interrupted.

    Args:
        at_a_time: prompts asked at once. More than one changes results on servers that batch
            requests, so it is for servers that take one after another anyway.

    Raises:
        ServerError: the server does not go on; what was measured stays in the journal.
    """
    done = {found.prompt: found for found in map(unpack_agreement, journal.read())}
    todo = [job for job in jobs if job.answer.prompt not in done]
    task = f"agreement {jobs[0].asker.shown}"
    if todo:
        unload(jobs[0].asker)
    progress(task, len(done), len(jobs), "prompts")
    lost: list[str] = []
    with closing(_outcomes(todo, at_a_time)) as outcomes:
        for name, outcome in _while_answered(outcomes):
            if isinstance(outcome, ServerTimeout):
                lost.append(name)
                continue
            # As it is read back: figures must not depend on whether there was an interruption.
            packed = pack_agreement(outcome)
            journal.write(packed)
            done[name] = unpack_agreement(packed)
            progress(task, len(done) + len(lost), len(jobs), "prompts")
    order = [job.answer.prompt for job in jobs]
    return Measured(tuple(done[name] for name in order if name in done), tuple(lost))


def _outcomes(jobs: Sequence[Job], at_a_time: int) -> Generator[tuple[str, Outcome]]:
    if at_a_time <= 1:
        yield from map(_followed, jobs)
        return
    with ThreadPool(at_a_time) as pool:
        yield from pool.imap_unordered(_followed, jobs)


def _followed(job: Job) -> tuple[str, Outcome]:
    def work() -> PromptAgreement:
        return follow(job.asker, job.answer, job.seams, own_tokens=job.own_tokens)

    try:
        found, retries = patiently(job.asker, work)
    except ServerTimeout as exc:
        return job.answer.prompt, exc
    return job.answer.prompt, replace(found, retries=retries)


def _while_answered(outcomes: Iterable[tuple[str, Outcome]]) -> Iterable[tuple[str, Outcome]]:
    unanswered = 0
    for name, outcome in outcomes:
        yield name, outcome
        unanswered = unanswered + 1 if isinstance(outcome, ServerTimeout) else 0
        if isinstance(outcome, ServerTimeout) and unanswered == TIMEOUTS_IN_A_ROW:
            raise ServerTimeout(
                f"{unanswered} prompts in a row got stuck: {outcome.message}", hint=outcome.hint
            ) from outcome


# ---------------------------------------------------------------- noise


def noise(
    asker_for: AskerFor,
    prompts: Mapping[str, Prompt],
    answers: Sequence[TracedAnswer],
    progress: Progress,
) -> tuple[Noise, ...]:
    """How far a tag is from its own `answers` when asked again: fresh, and from the cache.

    Only a few prompts are asked again: the first ones after an unload, and some spread over the
    suite twice at once.
    """
    if not answers:
        return ()
    first = asker_for(prompts[answers[0].prompt])
    chosen = _spread(answers)
    task, total = f"noise of {first.shown}", FRESH_PROMPTS + 2 * len(chosen)
    asked = 0

    def again(answer: TracedAnswer) -> TracedAnswer:
        nonlocal asked
        progress(task, asked, total, "prompts")
        asked += 1
        return _again(asker_for(prompts[answer.prompt]), prompts[answer.prompt], answer)

    unload(first)
    fresh = _noise("fresh", [(a, again(a)) for a in answers[:FRESH_PROMPTS]])
    cached = _noise("cached", [(again(a), again(a)) for a in chosen])
    progress(task, total, total, "prompts")
    return tuple(found for found in (fresh, cached) if found)


def _again(asker: Asker, prompt: Prompt, answer: TracedAnswer) -> TracedAnswer:
    limit = token_limit(prompt)
    found, _ = patiently(
        asker, lambda: trace(asker, answer.prompt, answer.rendered, limit, answer.format)
    )
    return found


def _spread(answers: Sequence[TracedAnswer]) -> list[TracedAnswer]:
    wanted = min(max(len(answers) // 10, LEAST_NOISE_PROMPTS), MOST_NOISE_PROMPTS, len(answers))
    return [answers[number * len(answers) // wanted] for number in range(wanted)]


def _noise(
    state: Literal["cached", "fresh"], pairs: Sequence[tuple[TracedAnswer, TracedAnswer]]
) -> Noise | None:
    same: list[bool] = []
    kls: list[float] = []
    for one, other in pairs:
        for a, b in zip(one.steps, other.steps, strict=False):
            if not (a.merged or b.merged):
                same.append(same_top(a, b))
                kls.append(kl_lower_bound(a, b))
            if a.text != b.text:
                break
    if not same:
        return None
    return Noise(
        state=state,
        prompts=len(pairs),
        positions=len(same),
        same_top=sum(same) / len(same),
        kl=sum(kls) / len(kls),
        kl_most=max(kls),
    )

"""Tags judged against their model's own full precision: checks and agreement at once.

The checks are judged on a tag's own answers, the agreement on the baseline's; where the tag
answers as the baseline does, nothing is generated twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from deployq.digests import sha256_bytes
from deployq.errors import ServerError
from deployq.pipeline.baselines import asker_for, by_name
from deployq.pipeline.checks import all_checks
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.proof.agreement import (
    AskerFor,
    Job,
    Measured,
    is_plain,
    measure,
    noise,
    token_limit,
)
from deployq.proof.baseline import BaselineStore
from deployq.proof.following import Seams
from deployq.proof.journal import Journal
from deployq.proof.suites import Suite
from deployq.proof.summaries import summarize
from deployq.proof.verify import judge_tries, run_suite
from deployq.records import dataclass
from deployq.types import (
    Agreement,
    Answer,
    Baseline,
    Noise,
    Prompt,
    PromptResult,
    Quality,
    Spoken,
    TracedAnswer,
    Verdict,
    Verification,
)


@dataclass(frozen=True)
class How:
    """How to measure: prompts at a time, the confidence of intervals, and what to leave out."""

    jobs: int = 1
    confidence: float = 0.95
    with_noise: bool = True


@dataclass(frozen=True)
class Subject:
    """One tag to be measured; `shown` is the name that reports give it."""

    tag: str
    quant: str
    file_bytes: int
    shown: str = ""


def measure_tag(
    session: Session, site: Site, subject: Subject, suite: Suite, baseline: Baseline, how: How
) -> Quality:
    """Checks and agreement of a tag as it stands on a server.

    What was measured before, of the very same tag against the same baseline, is not done again;
    what was interrupted goes on at the prompt where it stopped.

    Raises:
        ServerError: the server does not go on.
        PluginError: a check failed to do its work.
    """
    held = site.server.tag(subject.tag)
    if held is None:
        raise ServerError(f"{site.endpoint.url} has no tag {subject.tag}", hint="deployq list")
    shown = subject.shown or subject.tag
    run = _Run(session, site, subject.tag, suite, baseline, how, held.digest, shown)
    measured = run.measured()
    agreement = summarize(
        shown,
        subject.quant,
        baseline,
        measured.found,
        noise=run.noise(measured) if how.with_noise else (),
        unanswered=measured.unanswered,
        confidence=how.confidence,
    )
    return Quality(
        tag=shown,
        quant=subject.quant,
        file_bytes=subject.file_bytes,
        verification=replace(run.verification(measured), tag=shown),
        agreement=agreement,
        baseline_verification=judged_baseline(session, suite, baseline),
    )


def judged_baseline(session: Session, suite: Suite, baseline: Baseline) -> Verification:
    """The checks of a suite, run on the answers of a baseline.

    A prompt that could not be asked of full precision has failed there, too.
    """
    checks = all_checks(session)
    answers = {answer.prompt: answer for answer in baseline.answers}
    unasked = (Verdict("answered", False, "it can't be asked of this model"),)
    results = [
        judge_tries(prompt, _spoken(answers[prompt.name]), checks)
        if prompt.name in answers
        else PromptResult(prompt, None, unasked)
        for prompt in by_name(suite).values()
    ]
    seconds = sum(answer.wall_seconds for answer in baseline.answers)
    return _verification(suite, baseline.tag, results, seconds)


def answers_of(agreement: Agreement) -> Mapping[str, TracedAnswer]:
    """A tag's own answers that measuring its agreement brought along, by prompt."""
    return {found.prompt: found.own for found in agreement.prompts if found.own is not None}


@dataclass(frozen=True)
class _Run:
    session: Session
    site: Site
    tag: str
    suite: Suite
    baseline: Baseline
    how: How
    manifest_digest: str
    shown: str

    @property
    def askers(self) -> AskerFor:
        return asker_for(self.session, self.site, self.tag, self.shown)

    @property
    def journal(self) -> Journal:
        """Named by all that a measurement depends on."""
        key = [self.baseline.digest, self.manifest_digest, self.site.server.version()]
        name = sha256_bytes(json.dumps(key))
        return Journal(self.session.cache_dir / "agreements" / f"{name}.jsonl")

    def measured(self) -> Measured:
        store, askers = BaselineStore(self.session.cache_dir), self.askers
        seams, prompts = store.seams(self.baseline), by_name(self.suite)
        plain = self._plain(prompts)
        jobs = [
            self._job(askers, prompts[answer.prompt], answer, seams, plain)
            for answer in self.baseline.answers
            if answer.prompt in prompts
        ]
        try:
            return measure(jobs, self.journal, self.session.progress, at_a_time=self.how.jobs)
        finally:
            store.keep_seams(self.baseline, seams)

    def _job(
        self,
        askers: AskerFor,
        prompt: Prompt,
        answer: TracedAnswer,
        seams: Mapping[str, Seams],
        plain: bool,
    ) -> Job:
        own = token_limit(prompt) if plain and is_plain(prompt) else None
        return Job(askers(prompt), answer, seams[answer.prompt], own)

    def _plain(self, prompts: Mapping[str, Prompt]) -> bool:
        """Whether what the tag writes to a raw prompt is what it says in a chat.

        It is, unless its own template makes another prompt of the conversation, its own
        parameters bend its choices, or the server takes thoughts out of its answers.
        """
        server = self.site.server
        shown = server.show(self.tag)
        asked = replace(
            next(iter(prompts.values())),
            options={k: v for k, v in shown.parameters.items() if k != "temperature"},
        )
        if "thinking" in shown.capabilities or not is_plain(asked):
            return False
        first = self.baseline.answers[0]
        prompt = prompts[first.prompt]
        rendered = server.render(self.tag, prompt.messages, think=prompt.think, tools=prompt.tools)
        return rendered == first.rendered

    # ------------------------------------------------------------ noise and checks

    def noise(self, measured: Measured) -> tuple[Noise, ...]:
        own = [found.own for found in measured.found if found.own is not None]
        kept = Journal(self.journal.path.with_suffix(".noise.jsonl"))
        if known := kept.read():
            return tuple(Noise(**record) for record in known)
        found = noise(self.askers, by_name(self.suite), own, self.session.progress)
        for one in found:
            kept.write({name: getattr(one, name) for name in Noise.__dataclass_fields__})
        return found

    def verification(self, measured: Measured) -> Verification:
        """The checks on the tag's own answers; prompts that have none yet are asked now."""
        checks = all_checks(self.session)
        prompts, started = by_name(self.suite), time.monotonic()
        own = {found.prompt: found.own for found in measured.found if found.own is not None}
        results = {
            name: judge_tries(prompts[name], _spoken(answer), checks)
            for name, answer in own.items()
        }
        rest = [prompt for prompt in self.suite.prompts if prompt.name not in results]
        if rest:
            asked = run_suite(
                self.site.server,
                self.tag,
                replace(self.suite, prompts=tuple(rest)),
                checks,
                jobs=self.how.jobs,
                timeout_seconds=self.session.config.runtime.timeout,
                progress=self.session.progress,
            )
            results |= {result.prompt.name: result for result in asked.results}
        seconds = time.monotonic() - started + sum(f.seconds for f in measured.found)
        ordered = [results[prompt.name] for prompt in self.suite.prompts]
        return _verification(self.suite, self.tag, ordered, seconds)


def _verification(
    suite: Suite, tag: str, results: Sequence[PromptResult], seconds: float
) -> Verification:
    return Verification(
        suite=suite.name,
        tag=tag,
        threshold=suite.threshold,
        results=tuple(results),
        seconds=seconds,
        suite_digest=suite.digest,
    )


def _spoken(answer: TracedAnswer) -> tuple[Answer, ...]:
    """What a chat would have answered, try by try."""
    said = answer.spoken or (Spoken(answer.text, answer.done_reason),)
    return tuple(
        Answer(
            text=one.text,
            done_reason=one.done_reason,
            prompt_tokens=answer.prompt_tokens,
            tokens=answer.tokens,
            eval_seconds=answer.eval_seconds,
            load_seconds=answer.load_seconds,
            wall_seconds=answer.wall_seconds,
            raw={"message": {"tool_calls": one.tool_calls}} if one.tool_calls else {},
        )
        for one in said
    )

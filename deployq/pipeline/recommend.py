"""Quants of a model built, put on a server, and judged; the smallest that is not worse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import field, replace
from datetime import UTC, datetime
from functools import cache

from deployq.errors import DeployqError, DoesNotFit
from deployq.pipeline.baselines import Found, baseline_for, staged_quant
from deployq.pipeline.checks import suite_at
from deployq.pipeline.convert import made_ready
from deployq.pipeline.gating import gate_rules
from deployq.pipeline.ladder import frontier
from deployq.pipeline.prepare import Prepared, source_digest
from deployq.pipeline.quality import How, measure_tag
from deployq.pipeline.quality import Subject as Measured
from deployq.pipeline.servers import Site, connect
from deployq.pipeline.session import Session
from deployq.pipeline.wanted import Subject
from deployq.plan.catalogue import CATALOGUE
from deployq.proof.judging import CHECKS_MARGIN, evidence_of, smallest_holding
from deployq.proof.rules import Rules
from deployq.proof.suites import Suite
from deployq.records import dataclass
from deployq.types import Evidence, QualityReport, Recommendation, TargetPlan


@dataclass(frozen=True)
class Margins:
    """How much worse counts as not worse, and how tags are measured."""

    checks: float = CHECKS_MARGIN
    how: How = field(default_factory=How)


def subject_of(session: Session, prepared: Prepared, suite: Suite | None = None) -> Subject:
    """The model that is judged, converted where it was not yet; `suite` in place of its own."""
    prepared = made_ready(session, prepared)
    asked = suite or suite_at(session, prepared.model.settings.suite)
    digest = source_digest(session, prepared.info)
    return Subject(prepared.model, prepared.info, asked, digest)


@dataclass(frozen=True)
class Judging:
    """One model on one server: quants are judged against one baseline."""

    session: Session
    site: Site
    subject: Subject
    rules: Rules
    margins: Margins
    found: Found

    def evidence(self, quant: str) -> Evidence:
        """Build a quant, put it on the server under a name for the while, and judge it."""
        name = f"{self.subject.model.name}:{quant.lower()}"
        with staged_quant(self.session, self.site, self.subject, quant) as tag:
            held = self.site.server.tag(tag)
            size = held.size_bytes if held else 0
            quality = measure_tag(
                self.session,
                self.site,
                Measured(tag, quant, size, shown=name),
                self.subject.suite,
                self.found.baseline,
                replace(self.margins.how, confidence=self.rules.confidence),
            )
        return evidence_of(quality, self.rules, self.margins.checks)


def start_judging(
    session: Session,
    site: Site,
    subject: Subject,
    margins: Margins,
    target: str | None = None,
    looks: int = 1,
) -> Judging:
    """The baseline is there afterwards.

    Args:
        looks: how many quants one is picked from. The best of many looks better than it is, so
            each of them is held to a higher confidence (Bonferroni).

    Raises:
        ServerError: no baseline can be had there.
    """
    rules = gate_rules(session.config, subject.model.name, target)
    rules = replace(rules, confidence=1 - (1 - rules.confidence) / looks)
    return Judging(session, site, subject, rules, margins, baseline_for(session, site, subject))


# ---------------------------------------------------------------- several quants, side by side


def quality_of(
    session: Session, site: Site, subject: Subject, quants: Sequence[str], margins: Margins
) -> QualityReport:
    """Judge these quants on one server, best first.

    Raises:
        ServerError, BackendError: as for building, registering and measuring.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    judging = start_judging(session, site, subject, margins)
    evidence = [judging.evidence(quant) for quant in best_first(quants)]
    return QualityReport(
        model=subject.model.name,
        suite=subject.suite.name,
        baseline=judging.found.baseline,
        evidence=tuple(evidence),
        remarks=tuple(_remarks(judging)),
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - clock,
    )


def best_first(quants: Iterable[str]) -> list[str]:
    """Quants in the catalogue's order of quality."""
    return sorted(dict.fromkeys(quants), key=lambda name: -CATALOGUE[name].rank)


def _remarks(judging: Judging) -> Iterable[str]:
    baseline = judging.found.baseline
    if judging.found.remark:
        yield judging.found.remark
    if baseline.stand_in:
        yield baseline.stand_in


# ---------------------------------------------------------------- recommend


def recommend(
    session: Session, prepared: Prepared, subject: Subject, margins: Margins
) -> tuple[Recommendation, ...]:
    """The smallest quant per target that is not worse than full precision.

    Quants that several targets share are judged once per server.

    Raises:
        ServerError: a target's server is not there.
    """
    with ExitStack() as stack:
        plans = prepared.plan.targets
        sites, lost = connect(session, [plan.target.host for plan in plans], stack)
        if lost:
            raise next(iter(lost.values()))

        @cache
        def judging(host: str | None, target: str, looks: int) -> Judging:
            return start_judging(session, sites[host], subject, margins, target, looks)

        return tuple(
            _recommendation(
                plan,
                lambda looks, p=plan: judging(p.target.host, p.target.name, looks),  # type: ignore[misc]
            )
            for plan in plans
        )


def _recommendation(plan: TargetPlan, judging: Callable[[int], Judging]) -> Recommendation:
    considered = frontier(plan.candidates)
    if not considered:
        error: DeployqError = DoesNotFit(plan.why)
        return Recommendation(plan.target.name, None, error.message, (), ())
    here = judging(len(considered))
    chosen, evidence = smallest_holding(considered, here.evidence)
    return Recommendation(
        target=plan.target.name,
        chosen=chosen,
        why=_why(chosen, evidence, considered),
        evidence=tuple(evidence),
        considered=tuple(considered),
        remarks=tuple(_remarks(here)),
    )


def _why(chosen: str | None, evidence: Sequence[Evidence], considered: Sequence[str]) -> str:
    judged = {one.quality.quant: one for one in evidence}
    if chosen is None:
        best = judged[considered[0]] if considered[0] in judged else evidence[-1]
        return f"no quant that fits holds; {best.quality.quant}: {best.why}"
    after = considered.index(chosen) + 1
    if after == len(considered):
        return f"{chosen} holds, and nothing smaller is considered"
    below = considered[after]
    return f"{chosen} holds; the next smaller, {below}, does not: {judged[below].why}"

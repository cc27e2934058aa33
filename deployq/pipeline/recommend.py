"""Quants of a model built, put on a server, and judged; the smallest that is not worse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import field, replace
from datetime import UTC, datetime
from functools import cache

from deployq.errors import DeployqError, DoesNotFit, SourceError
from deployq.pipeline.baselines import Found, baseline_for, staged_quant
from deployq.pipeline.checks import suite_at
from deployq.pipeline.convert import made_ready
from deployq.pipeline.gating import gate_rules
from deployq.pipeline.ladder import fitting, widened
from deployq.pipeline.prepare import Prepared, source_digest
from deployq.pipeline.quality import How, measure_tag
from deployq.pipeline.quality import Subject as Measured
from deployq.pipeline.servers import Site, connect
from deployq.pipeline.session import Session
from deployq.pipeline.wanted import Subject
from deployq.plan.catalogue import best_first, worth_judging
from deployq.proof.judging import CHECKS_MARGIN, evidence_of, smallest_holding
from deployq.proof.rules import Rules
from deployq.proof.suites import Suite
from deployq.records import dataclass
from deployq.types import Evidence, QualityReport, Recommendation, TargetPlan


@dataclass(frozen=True)
class Margins:
    """How much worse counts as not worse, and how tags are measured.

    `exhaustive`: a search judges every quant that fits.
    """

    checks: float = CHECKS_MARGIN
    how: How = field(default_factory=How)
    exhaustive: bool = False


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
    evidence = [judging.evidence(quant) for quant in best_first(tuple(dict.fromkeys(quants)))]
    return QualityReport(
        model=subject.model.name,
        suite=subject.suite.name,
        baseline=judging.found.baseline,
        evidence=tuple(evidence),
        remarks=tuple(_remarks(judging)),
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - clock,
    )


def _remarks(judging: Judging) -> Iterable[str]:
    baseline = judging.found.baseline
    if judging.found.remark:
        yield judging.found.remark
    if baseline.stand_in:
        yield baseline.stand_in


# ---------------------------------------------------------------- recommend


def recommend(
    session: Session, prepared: Prepared, subject: Subject, margins: Margins, *, named: bool
) -> tuple[Recommendation, ...]:
    """The smallest quant per target that is not worse than full precision.

    Quants that several targets share are judged once per server.

    Args:
        named: only the plan's own quants are considered.

    Raises:
        ServerError: a target's server is not there.
    """
    with ExitStack() as stack:
        plans = prepared.plan.targets
        if not named:
            plans = tuple(_with_all_worth_judging(session, prepared, plan) for plan in plans)
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


def _with_all_worth_judging(session: Session, prepared: Prepared, plan: TargetPlan) -> TargetPlan:
    names = worth_judging(
        prepared.info.dtype, has_imatrix=prepared.model.settings.imatrix is not None
    )
    return widened(
        session, prepared, plan, [name for name in names if _can_be_made(prepared, name)]
    )


def _can_be_made(prepared: Prepared, quant: str) -> bool:
    try:
        prepared.size_of(quant)
    except SourceError:
        return False
    return True


def _recommendation(plan: TargetPlan, judging: Callable[[int], Judging]) -> Recommendation:
    sizes = fitting(plan.candidates)
    considered = list(sizes)
    if not considered:
        error: DeployqError = DoesNotFit(plan.why)
        return Recommendation(plan.target.name, None, error.message, (), ())
    here = judging(len(considered))
    chosen, evidence = smallest_holding(
        considered, sizes, here.evidence, exhaustive=here.margins.exhaustive
    )
    return Recommendation(
        target=plan.target.name,
        chosen=chosen,
        why=_why(chosen, evidence, sizes),
        evidence=tuple(evidence),
        considered=tuple(considered),
        remarks=tuple(_remarks(here)),
    )


def _why(chosen: str | None, evidence: Sequence[Evidence], sizes: Mapping[str, int]) -> str:
    judged = {one.quality.quant: one for one in evidence}
    if chosen is None:
        best = best_first(tuple(judged))[0]
        return f"no quant that fits holds; {best}: {judged[best].why}"
    said = f"{chosen} holds by its {judged[chosen].decided_by}"
    below = [quant for quant in sizes if sizes[quant] < sizes[chosen]]
    if not below:
        return f"{said}, and nothing smaller is considered"
    failed = [quant for quant in below if quant in judged]
    nearest = max(failed, key=lambda quant: sizes[quant])
    said += f"; smaller ones judged: {len(failed)} of {len(below)}, none holds"
    if len(failed) < len(below):
        said += " (--exhaustive judges all)"
    return f"{said}; {nearest}: {judged[nearest].why}"

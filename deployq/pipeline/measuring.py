"""The tags of one push on one server, measured against one baseline, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from functools import cached_property

from deployq.pipeline.baselines import Found, baseline_for
from deployq.pipeline.gating import gate_asked, gate_rules
from deployq.pipeline.jobs import Job, Work
from deployq.pipeline.quality import How, Subject, measure_tag
from deployq.pipeline.servers import Site
from deployq.records import dataclass
from deployq.types import Agreement, Quality, TargetPlan


@dataclass(frozen=True)
class Measuring:
    """How tags are measured on one server; the baseline is there once the first is asked for."""

    work: Work
    site: Site
    plans: Sequence[TargetPlan]
    known: dict[tuple[str, float], Quality] = field(default_factory=dict)

    @cached_property
    def found(self) -> Found:
        found = baseline_for(self.work.session, self.site, self.work.subject, self._may_run)
        if found.remark:
            self.work.session.talk(found.remark)
        return found

    def gated(self, quant: str) -> bool:
        """Whether a gate asks for this quant: one of its targets', or it took another's place."""
        config, model = self.work.session.config, self.work.prepared.model.name
        mine = [plan for plan in self.plans if quant in plan.build]
        return not mine or any(gate_asked(config, model, plan.target.name) for plan in mine)

    def quality(self, job: Job, name: str, confidence: float | None = None) -> Quality:
        """A tag as it stands on the server under some name; asked for once.

        Raises:
            ServerError: the server does not go on.
            BackendError, ToolMissing: the baseline's file can't be made.
        """
        work = self.work
        wanted = confidence or gate_rules(work.session.config, work.prepared.model.name).confidence
        key = (job.tag, wanted)
        if key not in self.known:
            size = work.prepared.size_of(job.rendered.quant).file_bytes
            measured = measure_tag(
                work.session,
                self.site,
                Subject(name, job.rendered.quant, size, shown=job.tag),
                work.suite,
                self.found.baseline,
                How(jobs=work.options.jobs, confidence=wanted),
            )
            self.known[key] = _fair(measured)
        return self.known[key]

    def _may_run(self, quant: str) -> bool:
        """Whether a quant fits the machine of one of the targets, as far as the plan can tell.

        Targets without a host stand for the default server, whatever that has.
        """
        if any(plan.target.host is None for plan in self.plans):
            return True
        verdicts = {c.quant: c.verdict for plan in self.plans for c in plan.candidates}
        return verdicts.get(quant, "fits") != "no"


def _fair(quality: Quality) -> Quality:
    """Where full precision itself does not reach the suite's threshold, the gate alone decides."""
    baseline = quality.baseline_verification
    if baseline is None or baseline.ok:
        return quality
    return replace(quality, verification=replace(quality.verification, threshold=0.0))


def in_words(agreement: Agreement) -> str:
    """An agreement in a few words."""
    rise = agreement.perplexity_ratio.value - 1
    return f"same token {agreement.same_top.value:.3f}, answer perplexity {rise:+.1%}"

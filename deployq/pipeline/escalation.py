"""The gate of a push: each target's tags judged, and what takes the place of those that don't hold.

A target whose gate says `escalate` moves up, quant by quant, until all of its tags hold or
nothing better fits. What was settled stands in the lockfile: a push that finds nothing changed
begins where the last one ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from deployq.errors import DeployqError, VerificationFailed
from deployq.pipeline.building import build_all, require_room
from deployq.pipeline.gating import gate_asked, gate_rules
from deployq.pipeline.jobs import Built, Job, Work, make_job
from deployq.pipeline.ladder import next_better, what_it_takes, widened, with_quants
from deployq.pipeline.measuring import Measuring
from deployq.pipeline.servers import Site
from deployq.pipeline.trial import Trial, try_out
from deployq.pipeline.wanted import wanted_alias, wanted_tag
from deployq.proof.gate import judge_quality
from deployq.tags.names import alias, quant_tag
from deployq.types import GateRule, GateVerdict, TargetPlan


@dataclass(frozen=True)
class Settled:
    """A target's plan as the gate left it.

    `verdicts` are those on its tags, first on the ones that gave way. `problem`: nothing of it
    may be promoted.
    """

    model: str
    plan: TargetPlan
    planned: TargetPlan
    verdicts: tuple[GateVerdict, ...] = ()
    problem: DeployqError | None = None

    @property
    def gave_way(self) -> tuple[str, ...]:
        """Quants that were tried and are not in the plan any more."""
        return tuple(v.quant for v in self.verdicts if v.quant not in self.plan.build)

    @property
    def notes(self) -> dict[str, str]:
        """What the lockfile says of a plan that changed."""
        if self.plan.build == self.planned.build:
            return {}
        return {
            "planned": ",".join(self.planned.build),
            "escalated": ",".join(self.plan.build),
        }


@dataclass
class Gate:
    """One server's tags, tried out as they are asked for; `trials` by tag."""

    work: Work
    site: Site
    built: Built
    stages: ExitStack
    measuring: Measuring
    jobs: dict[str, Job]
    trials: dict[str, Trial] = field(default_factory=dict)

    def settle(self, plan: TargetPlan) -> Settled:
        """Try a target's tags out, and others in their place where its gate says so."""
        if not self._asked(plan):
            for quant in plan.build:
                self.trial(quant)
            return Settled(self._model, plan, self._planned(plan))
        try:
            return self._settled(plan)
        except DeployqError as exc:
            return Settled(self._model, plan, self._planned(plan), problem=exc)

    def _settled(self, plan: TargetPlan) -> Settled:
        planned, given_up = self._planned(plan), dict[str, GateVerdict]()
        while True:
            found = ((quant, self._verdict(plan, quant)) for quant in plan.build)
            verdicts = {quant: verdict for quant, verdict in found if verdict is not None}
            seen = (*given_up.values(), *verdicts.values())
            bad = [quant for quant, verdict in verdicts.items() if not verdict.ok]
            if not bad:
                return Settled(self._model, plan, planned, seen)
            problem, up = self._move_up(plan, bad)
            if problem is not None:
                refused = VerificationFailed(_said(seen, problem), hint=self._hint(plan))
                return Settled(self._model, plan, planned, seen, refused)
            given_up |= {quant: verdicts[quant] for quant in bad}
            plan = up

    def _move_up(self, plan: TargetPlan, bad: Sequence[str]) -> tuple[str | None, TargetPlan]:
        """The plan with the next better quants, or why there are none."""
        rules = gate_rules(self.work.session.config, self._model, plan.target.name)
        if not rules.escalate or self.work.options.locked:
            return "", plan
        wide = widened(self.work.session, self.work.prepared, plan)
        taken = {quant: next_better(quant, wide.candidates) for quant in bad}
        for quant, better in taken.items():
            if better is None:
                return what_it_takes(quant, wide), plan
        build = [taken.get(quant) or quant for quant in plan.build]
        chosen = plan.chosen or build[0]
        return None, with_quants(wide, build, taken.get(chosen) or chosen)

    def _hint(self, plan: TargetPlan) -> str:
        model = self._model
        if gate_rules(self.work.session.config, model, plan.target.name).escalate:
            return f"deployq quality {model} shows how far each quant is from full precision"
        return (
            f"deployq recommend {model} --targets {plan.target.name} finds the smallest that "
            f"holds; escalate = true in [gate] takes it"
        )

    # ------------------------------------------------------------ one tag

    def trial(self, quant: str) -> Trial:
        """A quant's tag, built, staged and verified; done once."""
        work, job = self.work, self._job(quant)
        if job.tag not in self.trials:
            judged = job.why and self.measuring.gated(quant)
            self.trials[job.tag] = try_out(
                work,
                job,
                self._with(quant) if job.why else self.built,
                self.stages,
                measuring=self.measuring if judged else None,
            )
        return self.trials[job.tag]

    def _verdict(self, plan: TargetPlan, quant: str) -> GateVerdict | None:
        """What the target's gate says of a quant; None where it could not be tried at all."""
        trial = self.trial(quant)
        if trial.failed and trial.report.verification is None:
            return None
        rules = gate_rules(self.work.session.config, self._model, plan.target.name)
        quality = self.measuring.quality(trial.job, trial.name, rules.confidence)
        self.trials[trial.job.tag] = replace(trial, report=replace(trial.report, quality=quality))
        verdict = judge_quality(quality, rules)
        if not trial.failed:
            return verdict
        suite = GateRule("suite", "fail", trial.report.reason)
        return GateVerdict(verdict.tag, verdict.quant, (suite, *verdict.rules))

    def _job(self, quant: str) -> Job:
        tag = str(quant_tag(self._model, quant))
        if tag not in self.jobs:
            wanted = wanted_tag(self.work.session, self.work.subject, quant)
            self.jobs[tag] = make_job(self.work, self.site, wanted, self.site.server.tags())
        return self.jobs[tag]

    def alias_job(self, settled: Settled) -> Job:
        """What a target's alias shall be; its plan may have changed."""
        plan, work = settled.plan, self.work
        tag = self._job(plan.chosen or "").wanted
        wanted = wanted_alias(work.session, work.subject, plan.target, tag)
        job = make_job(work, self.site, wanted, self.site.server.tags())
        return replace(job, notes={**job.notes, **settled.notes})

    def _with(self, quant: str) -> Built:
        """What is built, with this quant, which may have taken another's place."""
        if quant in self.built.artifacts or quant in self.built.failures:
            return self.built
        job = self._job(quant)
        require_room(self.work, {self.measuring.plans[0].target.host: [job]})
        more = build_all(self.work, [job])
        self.built = Built(
            {**self.built.artifacts, **more.artifacts}, {**self.built.failures, **more.failures}
        )
        return self.built

    def _planned(self, plan: TargetPlan) -> TargetPlan:
        """What the plan was before any gate."""
        planned = self.work.prepared.plan.targets
        return next((one for one in planned if one.target.name == plan.target.name), plan)

    @property
    def _model(self) -> str:
        return self.work.prepared.model.name

    def _asked(self, plan: TargetPlan) -> bool:
        """Whether the target has a gate, and anything of it changed since it passed."""
        if not gate_asked(self.work.session.config, self._model, plan.target.name):
            return False
        aliased = self.jobs.get(str(alias(self._model, plan.target.name)))
        return bool(aliased and aliased.why) or any(self._job(q).why for q in plan.build)


def _said(verdicts: Sequence[GateVerdict], problem: str) -> str:
    """Why nothing holds, in words."""
    said = [
        f"{verdict.tag}: {'; '.join(rule.reason for rule in verdict.failed)}"
        for verdict in verdicts
        if not verdict.ok
    ]
    return "; ".join(["the gate says no", *said[-1:], *filter(None, [problem])])

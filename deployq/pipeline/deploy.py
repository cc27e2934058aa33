"""One server's part of a push: everything is tried out, then promoted, target by target.

The tags of a target go together: all of them get their names, or none. A tag that two targets
share is tried out once, and promoted with the first target whose tags are all good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from deployq.errors import DeployqError, ServerError
from deployq.pipeline.fit import expected_of
from deployq.pipeline.jobs import Built, Job, Work, failed_report, lock_entry, make_job
from deployq.pipeline.locks import alone
from deployq.pipeline.servers import Site
from deployq.pipeline.transaction import change_names
from deployq.pipeline.trial import Trial, try_out
from deployq.tags.journal import Swap
from deployq.tags.lockfile import Lockfile
from deployq.tags.registry import clear_staging, forget, swap_of
from deployq.tags.steps import Steps
from deployq.types import TagReport, TargetPlan, TargetReport

T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """What one server shall get: the tags of its targets, and an alias for each target."""

    site: Site
    plans: tuple[TargetPlan, ...]
    tags: tuple[Job, ...]
    aliases: Mapping[str, Job]

    @property
    def jobs(self) -> tuple[Job, ...]:
        return (*self.tags, *self.aliases.values())


def deploy(work: Work, order: Order, built: Built) -> list[TargetReport]:
    """Carry out one server's order; what fails on a tag becomes its report.

    Raises:
        DeployqError: what concerns the whole server; every tag there is as it was.
    """
    model = work.prepared.model.name
    with alone(work.session, order.site.place, model), ExitStack() as stages:
        work, order = _afresh(work, order)
        clear_staging(order.site.server, model)
        trials = _trials(work, order, built, stages)
        reports = _promote_targets(work, order, trials)
    return [_target_report(order.site, plan, _group(plan, order, reports)) for plan in order.plans]


def _afresh(work: Work, order: Order) -> tuple[Work, Order]:
    """The order as it is now: another push may have done some of it meanwhile."""
    work = replace(work, lock=Lockfile.load(work.session.lockfile))
    held = order.site.server.tags()

    def again(job: Job) -> Job:
        return make_job(work, job.site, job.wanted, held)

    return work, replace(
        order,
        tags=tuple(map(again, order.tags)),
        aliases={target: again(job) for target, job in order.aliases.items()},
    )


def _trials(work: Work, order: Order, built: Built, stages: ExitStack) -> dict[str, Trial]:
    """Every tag tried out, by name; an alias only where the tag that it stands for is good."""
    trials = {job.tag: try_out(work, job, built, stages) for job in order.tags}
    for plan in order.plans:
        alias = order.aliases[plan.target.name]
        if not trials[alias.alias_of or ""].failed:
            trials[alias.tag] = try_out(work, alias, built, stages, expected_of(plan))
    return trials


# ---------------------------------------------------------------- promote


def _promote_targets(work: Work, order: Order, trials: Mapping[str, Trial]) -> dict[str, TagReport]:
    """Promote target by target; the reports of all tags, by name."""
    reports = {tag: _held_back(trial, trials) for tag, trial in trials.items()}
    for plan in order.plans:
        group = _group(plan, order, trials)
        if any(trial.failed for trial in group):
            continue
        ready = [t for t in group if t.staged and reports[t.job.tag].status == "skipped"]
        reports |= _promoted(work, order.site, ready)
    return reports


def _held_back(trial: Trial, trials: Mapping[str, Trial]) -> TagReport:
    """The report of a tag that waits for its target's others."""
    if trial.report.status != "done":
        return trial.report
    bad = ", ".join(tag for tag, other in trials.items() if other.failed)
    return replace(
        trial.report,
        status="skipped",
        manifest_digest="",
        reason=f"passed, but a target's tags go together, and {bad} failed",
    )


def _promoted(work: Work, site: Site, ready: Sequence[Trial]) -> dict[str, TagReport]:
    """All of these tags under their names, or none; their reports."""
    if not ready:
        return {}
    steps = Steps(work.tell)
    try:
        with steps.step("promote"):
            _transaction(work, site, ready)
    except DeployqError as exc:
        return {trial.job.tag: failed_report(work, trial.job, exc) for trial in ready}
    for trial in ready:
        with suppress(ServerError):  # it is done; what is too old goes with the next push
            forget(site.server, trial.job.name, work.session.config.tags.keep)
    return {
        trial.job.tag: replace(trial.report, steps=(*trial.report.steps, *steps.done))
        for trial in ready
    }


def _transaction(work: Work, site: Site, ready: Sequence[Trial]) -> None:
    locked = [lock_entry(t.job, t.report, t.artifact) for t in ready if t.artifact]
    swaps = tuple(_swaps(site, ready))
    change_names(work.session, site, work.prepared.model.name, swaps, locked)


def _swaps(site: Site, ready: Sequence[Trial]) -> Iterator[Swap]:
    held = site.server.tags()
    for trial in ready:
        if trial.staged:
            staged = trial.staged
            yield swap_of(held, staged.name, staged.staging, staged.manifest_digest)


# ---------------------------------------------------------------- one target


def _group(plan: TargetPlan, order: Order, by_tag: Mapping[str, T]) -> list[T]:
    """A target's tags, its alias last (where that was tried at all)."""
    wanted = [job.tag for job in order.tags if job.rendered.quant in plan.build]
    alias = order.aliases[plan.target.name].tag
    return [by_tag[tag] for tag in (*wanted, alias) if tag in by_tag]


def _target_report(site: Site, plan: TargetPlan, reports: Sequence[TagReport]) -> TargetReport:
    failed = [report for report in reports if report.status == "failed"]
    statuses = {report.status for report in reports}
    return TargetReport(
        target=plan.target.name,
        host=site.endpoint.url,
        runtime=site.endpoint.runtime,
        status="failed" if failed else "unchanged" if statuses == {"unchanged"} else "done",
        chosen=plan.chosen,
        alias=next((report for report in reports if report.alias_of), None),
        tags=tuple(report for report in reports if not report.alias_of),
        reason=_why_failed(failed),
        hint=failed[0].hint if failed else "",
        exit_code=failed[0].exit_code if failed else 0,
    )


def _why_failed(failed: Sequence[TagReport]) -> str:
    if not failed:
        return ""
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return f"{failed[0].tag}: {failed[0].reason}{more}"

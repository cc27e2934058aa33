"""A push that has nothing to do on a server: told from the lockfile, and nothing is asked again."""

from __future__ import annotations

from deployq.pipeline.gating import gate_asked
from deployq.pipeline.jobs import Work, unchanged_report
from deployq.pipeline.orders import Order
from deployq.types import TargetPlan, TargetReport


def has_nothing_to_do(work: Work, order: Order) -> bool:
    """Whether every tag of a server is as it shall be, nothing is left over, and no gate judges."""
    model = work.prepared.model.name
    gated = any(gate_asked(work.session.config, model, p.target.name) for p in order.plans)
    return order.is_tidy and not gated and not any(job.why for job in order.jobs)


def unchanged_targets(work: Work, order: Order) -> list[TargetReport]:
    """The reports of a server's targets, by what the lockfile says of their tags."""
    return [_unchanged(work, order, plan) for plan in order.plans]


def _unchanged(work: Work, order: Order, plan: TargetPlan) -> TargetReport:
    endpoint, target = order.site.endpoint, plan.target.name
    mine = [job for job in order.tags if job.rendered.quant in plan.build]
    return TargetReport(
        target=target,
        host=endpoint.url,
        runtime=endpoint.runtime,
        status="unchanged",
        chosen=plan.chosen,
        alias=unchanged_report(work, order.aliases[target]),
        tags=tuple(unchanged_report(work, job) for job in mine),
    )

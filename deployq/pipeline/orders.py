"""What each server shall get in a push: the tags of its targets, and why each is to be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployq.errors import ServerRefused
from deployq.pipeline.damage import with_damage
from deployq.pipeline.jobs import Job, Work, make_job
from deployq.pipeline.ladder import widened, with_quants
from deployq.pipeline.servers import Site
from deployq.pipeline.wanted import Wanted, wanted_alias, wanted_tag
from deployq.plan.catalogue import CATALOGUE
from deployq.records import dataclass
from deployq.tags.lockfile import changes
from deployq.tags.markers import is_left_over
from deployq.tags.names import alias
from deployq.tags.versions import keeps_weights
from deployq.types import TargetPlan


@dataclass(frozen=True)
class Order:
    """What one server shall get: the tags of its targets, and an alias for each target.

    `is_tidy`: no push that ended left something of the model there.
    """

    site: Site
    plans: tuple[TargetPlan, ...]
    tags: tuple[Job, ...]
    aliases: Mapping[str, Job]
    is_tidy: bool = True

    @property
    def jobs(self) -> tuple[Job, ...]:
        return (*self.tags, *self.aliases.values())


def _require_adapters(work: Work, site: Site) -> None:
    """Since Ollama 0.34.1 an adapter can't be attached any more.

    Raises:
        ServerRefused: there is one to attach, and the server is newer.
    """
    version = site.endpoint.version
    attached = any(part.kind == "adapter" for part in work.prepared.info.parts)
    if attached and keeps_weights(version):
        raise ServerRefused(
            f"{site.server.url}: Ollama {version or 'of an unknown version'} takes no LoRA "
            "adapters: since 0.34.1 they are refused",
            hint='adapter = "merge" under [models.NAME] (the default), or an Ollama before 0.34.1',
        )


def make_order(work: Work, site: Site, plans: Sequence[TargetPlan]) -> Order:
    """What one server shall get: each quant tag once, and an alias for each target.

    Raises:
        ServerError: it went away, or takes none.
    """
    _require_adapters(work, site)
    held, session, subject = site.server.tags(), work.session, work.subject
    plans = [as_settled(work, site, plan) for plan in plans]
    quants = dict.fromkeys(quant for plan in plans for quant in plan.build)
    tags = {quant: wanted_tag(session, subject, quant) for quant in quants}
    aliases = {
        plan.target.name: wanted_alias(session, subject, plan.target, tags[plan.chosen or ""])
        for plan in plans
    }
    wanted = [*tags.values(), *aliases.values()]
    jobs = with_damage(
        work,
        site,
        held,
        [make_job(work, site, one, held) for one in wanted],
        hash_weights=work.options.verify_weights,
    )
    return Order(
        site=site,
        plans=tuple(plans),
        tags=tuple(jobs[: len(tags)]),
        aliases=dict(zip(aliases, jobs[len(tags) :], strict=True)),
        is_tidy=not is_left_over(site.server, held, work.prepared.model.name),
    )


# ---------------------------------------------------------------- an earlier push


def as_settled(work: Work, site: Site, plan: TargetPlan) -> TargetPlan:
    """The plan as the gate settled it in an earlier push, where nothing has changed since."""
    name = str(alias(work.prepared.model.name, plan.target.name))
    entry = work.lock.find(name, site.key)
    if entry is None or not entry.escalated or entry.planned != ",".join(plan.build):
        return plan
    build = tuple(entry.escalated.split(","))
    wide = widened(work.session, work.prepared, plan)
    fits = {c.quant for c in wide.candidates if c.verdict != "no"}
    if not {*build, entry.quant} <= fits & CATALOGUE.keys():
        return plan
    tags = {quant: wanted_tag(work.session, work.subject, quant) for quant in build}
    of = wanted_alias(work.session, work.subject, plan.target, tags[entry.quant])
    if all(_as_locked(work, site, wanted) for wanted in (*tags.values(), of)):
        return with_quants(wide, build, entry.quant)
    return plan


def _as_locked(work: Work, site: Site, wanted: Wanted) -> bool:
    entry = work.lock.find(str(wanted.rendered.tag), site.key)
    return entry is not None and not changes(entry, wanted.fields, entry.manifest_digest)

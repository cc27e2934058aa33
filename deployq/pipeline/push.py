"""A push: every step in order, nothing twice, and what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from deployq import pipeline
from deployq.addresses import canonical_url
from deployq.errors import ConfigError, DeployqError, DoesNotFit
from deployq.pipeline.cache import clear_half_built
from deployq.pipeline.checks import require_stops_fit, suite_at
from deployq.pipeline.jobs import (
    Built,
    Options,
    Work,
)
from deployq.pipeline.locked import require_locked
from deployq.pipeline.naming import find_owner, is_known_content, name_conflict
from deployq.pipeline.orders import Order, make_order, require_adapter_server
from deployq.pipeline.parallel import at_once, stopping
from deployq.pipeline.preflight import require_sound
from deployq.pipeline.prepare import Prepared, choose_backend, source_digest, with_parts
from deployq.pipeline.projects import remember_project
from deployq.pipeline.render import render_alias, render_tag
from deployq.pipeline.servers import Approach, Site
from deployq.pipeline.session import Session
from deployq.pipeline.unchanged import has_nothing_to_do, unchanged_targets
from deployq.plan.catalogue import CATALOGUE
from deployq.report.documents import report_document
from deployq.report.runs import new_run_dir, write_report
from deployq.tags.lockfile import Lockfile
from deployq.types import Report, StepResult, TagReport, TargetPlan, TargetReport

PATIENCE_SECONDS = 2.0
"""After so long those servers that answered are served; the others join them when they do."""


def push(session: Session, prepared: Prepared, options: Options) -> Report:
    """Carry out a plan.

    What fails on one tag or server stops nothing on the others; it stands in the report, whose
    `exit_code` is that of the first target that failed.

    Raises:
        SourceError: the model can't be converted, and why.
        ConfigError, SuiteError, ModelfileError, LockfileError, ToolMissing: before anything was
            done.
        DeployqError: what concerns every target.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    _require_own_name(session, prepared)
    clear_half_built(session)
    if prepared.info.format != "gguf":
        if session.config.plugins.backend:  # what was asked for by name; a conversion takes minutes
            _require_makers(session, prepared)
        if prepared.origin and any(part.mode == "adapter" for part in prepared.origin.parts):
            chosen = [plan.target.host for plan in prepared.plan.targets if plan.chosen]
            require_adapter_server(session, chosen)
        prepared = pipeline.made_ready(session, prepared)
    else:
        prepared = with_parts(session, prepared)
    remember_project(session)
    work = _work(session, prepared, options, started)
    session.plugins.hook.deployq_push_started(plan=prepared.plan)
    with ExitStack() as stack:
        targets = _targets(work, stack)
    report = Report(
        model=prepared.model.name,
        plan=prepared.plan,
        targets=targets,
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - clock,
        run_dir=work.run_dir,
    )
    write_report(work.run_dir, report)
    if not unchanged(report):  # such a push is done in no time; `deployq report` writes the page
        pipeline.write_page(work.run_dir, report_document(report))
    session.plugins.hook.deployq_push_finished(report=report)
    return report


def _work(session: Session, prepared: Prepared, options: Options, started: datetime) -> Work:
    """All that can be known, and refused, before anything is done."""
    suite = suite_at(session, prepared.model.settings.suite)
    _require_names(prepared)
    for quant in prepared.plan.quants:
        rendered = render_tag(session, prepared.model, prepared.info, quant)
        stops = rendered.modelfile.parameters.get("stop")
        require_stops_fit(suite, stops if isinstance(stops, tuple) else (), str(rendered.tag))
    for plan in prepared.plan.targets:
        if plan.chosen:
            render_alias(session, prepared.model, prepared.info, plan.target, plan.chosen)
    _require_makers(session, prepared)
    return Work(
        session,
        prepared,
        options,
        suite,
        source_digest(session, prepared.info),
        Lockfile.load(session.lockfile),
        new_run_dir(session.runs_dir, started),
        _teller(session, prepared),
    )


def _require_own_name(session: Session, prepared: Prepared) -> None:
    """A name that was made from the source's own must not replace the tags of another source.

    Raises:
        ConfigError: it would, and nothing of the same content is there.
    """
    owner = find_owner(session, prepared.model)
    if not owner:
        return
    made = prepared.info.format == "gguf"  # else it was never converted, and nothing made of it
    digest = source_digest(session, prepared.info) if made else ""
    if not is_known_content(session, prepared.model, digest):
        raise name_conflict(prepared.model, owner)


def _require_makers(session: Session, prepared: Prepared) -> None:
    """Something here makes every quant of the plan.

    Raises:
        ToolMissing, BackendError, PluginError: of one nothing does.
    """
    for quant in prepared.plan.quants:
        choose_backend(session, prepared.info, quant)


def _require_names(prepared: Prepared) -> None:
    """No two tags of one server may have one name; letter case does not tell them apart.

    Raises:
        ConfigError: a target is called as a quant, or as another target on the same server.
    """
    quants = {quant.lower() for quant in CATALOGUE}
    seen: dict[tuple[str | None, str], str] = {}
    for plan in prepared.plan.targets:
        name, host = plan.target.name, plan.target.host
        if name.lower() in quants:
            raise ConfigError(
                f"target {name!r}: its alias would be the tag of the quant {name.upper()}",
                hint="give the target another name in deployq.toml",
            )
        other = seen.setdefault((host and canonical_url(host), name.lower()), name)
        if other != name:
            raise ConfigError(
                f"targets {other!r} and {name!r} want one alias: a server ignores letter case",
                hint="give one of them another name in deployq.toml",
            )


def _teller(session: Session, prepared: Prepared) -> Callable[[StepResult], None]:
    """Tells plugins of every step that ends, one at a time: servers are served at once."""
    guard = threading.Lock()

    def tell(step: StepResult) -> None:
        with guard:
            session.plugins.hook.deployq_step_finished(plan=prepared.plan, result=step)

    return tell


# ---------------------------------------------------------------- the way


def _targets(work: Work, stack: ExitStack) -> tuple[TargetReport, ...]:
    """Connect, see what is to do, build it, and deploy it, server by server.

    Servers that are slow to answer are served after the others, if they answer.
    """
    plans = [plan for plan in work.prepared.plan.targets if plan.chosen]
    work = replace(work, several=len({plan.target.host for plan in plans}) > 1)

    def order(host: str | None, site: Site) -> Order:
        return make_order(work, site, [plan for plan in plans if plan.target.host == host])

    approach = Approach(work.session, [plan.target.host for plan in plans], stack, order)
    done: dict[str, TargetReport] = {}
    lost: dict[str | None, DeployqError] = {}
    while approach.pending:
        orders, unreached = approach.arrived(PATIENCE_SECONDS)
        lost |= unreached
        try:
            done |= {report.target: report for report in _carried_out(work, orders)}
        except DeployqError as exc:
            if not done:
                raise
            lost |= dict.fromkeys(orders, exc)  # the report of the others is not to be lost
    return tuple(
        done.get(plan.target.name) or _lost_target(work, plan, _why_lost(plan, lost))
        for plan in work.prepared.plan.targets
    )


def _carried_out(work: Work, orders: Mapping[str | None, Order]) -> list[TargetReport]:
    """Every server's reports; where nothing is to do, what does it is not even imported."""
    if work.options.locked:
        require_locked(work, [job for order in orders.values() for job in order.jobs])
    if all(has_nothing_to_do(work, order) for order in orders.values()):
        return [report for order in orders.values() for report in unchanged_targets(work, order)]
    require_sound(work.session, work.prepared.info, work.prepared.model.settings)
    pipeline.require_allowed(work.session, work.prepared.origin)
    pipeline.require_room(work, {host: order.tags for host, order in orders.items()})
    jobs = [job for order in orders.values() for job in order.jobs]
    return _deploy_all(work, list(orders.values()), pipeline.build_all(work, jobs))


def _deploy_all(work: Work, orders: Sequence[Order], built: Built) -> list[TargetReport]:
    """Every server's reports; the servers are served at once."""
    stop = threading.Event()
    session = replace(work.session, progress=stopping(work.session.progress, stop))
    work = replace(work, session=session)
    tasks = [partial(_deployed, work, order, built) for order in orders]
    return [report for reports in at_once(tasks, stop) for report in reports]


def _deployed(work: Work, order: Order, built: Built) -> Sequence[TargetReport]:
    """One server's reports; what concerns the whole server is that of each of its targets."""
    try:
        return pipeline.carry_out(work, order, built)
    except DeployqError as exc:
        return [_lost_target(work, plan, exc) for plan in order.plans]


def _why_lost(plan: TargetPlan, lost: Mapping[str | None, DeployqError]) -> DeployqError:
    return lost[plan.target.host] if plan.chosen else DoesNotFit(plan.why)


# ---------------------------------------------------------------- the report


def _lost_target(work: Work, plan: TargetPlan, error: DeployqError) -> TargetReport:
    """The report of a target that nothing could be done for."""
    return TargetReport(
        target=plan.target.name,
        host=plan.target.host or "",
        runtime="ollama" if plan.target.host else work.session.config.runtime.name,
        status="failed",
        chosen=plan.chosen,
        alias=None,
        tags=(),
        reason=error.message,
        hint=error.hint,
        exit_code=error.exit_code,
    )


def unchanged(report: Report) -> bool:
    """Whether there was nothing to do."""
    tags = (tag for t in report.targets for tag in (*t.tags, *filter(None, [t.alias])))
    return report.exit_code == 0 and all(tag.status == "unchanged" for tag in tags)


def failures(report: Report) -> Iterable[TagReport]:
    """Every tag and alias that failed, each once."""
    seen = {}
    for target in report.targets:
        for tag in (*target.tags, *filter(None, [target.alias])):
            if tag.status == "failed":
                seen[tag.tag] = tag
    return seen.values()


def next_commands(session: Session, report: Report) -> list[tuple[str, str]]:
    """The three commands that are worth typing after this push, each with what it is good for."""
    done = [t for target in report.targets for t in target.tags if t.status != "failed"]
    bad = next(iter(failures(report)), None)
    if bad is not None or not done:
        tag = bad.tag if bad else report.model
        return [
            (f"deployq plan {report.model}", "what fits where, and why"),
            (f"deployq show {tag}", "what stands on the server under that name"),
            ("deployq doctor", "what is here and what is missing"),
        ]
    alias = next((t.alias.tag for t in report.targets if t.alias), done[0].tag)
    served = session.config.runtime.name in ("managed", "embedded")
    talk = ("deployq serve", f"then ask {alias} through Ollama's API")
    run = (f"ollama run {alias}", "talk to it")
    return [
        talk if served else run,
        (f"deployq show {alias} --modelfile", "what the server holds under that name"),
        (f"deployq verify {report.model}", "run the suite against its tags again"),
    ]

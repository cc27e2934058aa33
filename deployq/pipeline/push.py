"""A push: every step in order, nothing twice, and what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from deployq.artifacts.build import build
from deployq.artifacts.store import ArtifactStore
from deployq.errors import ConfigError, DeployqError, DoesNotFit
from deployq.pipeline.checks import suite_at
from deployq.pipeline.deploy import Order, deploy
from deployq.pipeline.jobs import (
    Built,
    Job,
    Options,
    Work,
    artifact_key_of,
    held_by,
    make_job,
)
from deployq.pipeline.parallel import at_once, stopping
from deployq.pipeline.prepare import Prepared, choose_backend, source_digest
from deployq.pipeline.render import Rendered, render_alias, render_tag
from deployq.pipeline.servers import Site, connect
from deployq.pipeline.session import Session
from deployq.pipeline.stores import require_disk
from deployq.proof.suites import Suite
from deployq.report.runs import new_run_dir, write_report
from deployq.source.inspect import inspect, require_gguf
from deployq.tags.lockfile import Lockfile
from deployq.types import Report, StepResult, TagReport, TargetPlan, TargetReport

# Parameters of an alias that change where a model runs, not what it says.
_PLACING = frozenset({"num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread"})


def push(session: Session, prepared: Prepared, options: Options) -> Report:
    """Carry out a plan.

    What fails on one tag or server stops nothing on the others; it stands in the report, whose
    `exit_code` is that of the first target that failed.

    Raises:
        SourceError: the model was not converted yet.
        ConfigError, SuiteError, ModelfileError, LockfileError, ToolMissing: before anything was
            done.
        DeployqError: what concerns every target.
    """
    require_gguf(prepared.info)
    started, clock = datetime.now(UTC), time.monotonic()
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
    session.plugins.hook.deployq_push_finished(report=report)
    return report


def _work(session: Session, prepared: Prepared, options: Options, started: datetime) -> Work:
    """All that can be known, and refused, before anything is done."""
    suite = suite_at(session, prepared.model.settings.suite)
    tags = [render_tag(session, prepared, quant) for quant in prepared.plan.quants]
    _require_names(prepared, tags)
    for quant in prepared.plan.quants:
        choose_backend(session, prepared.info, quant)
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


def _require_names(prepared: Prepared, tags: Iterable[Rendered]) -> None:
    """No two tags of one server may have one name; letter case does not tell them apart.

    Raises:
        ConfigError: a target is called as a quant, or as another target on the same server.
    """
    quants = {rendered.tag.tag.lower() for rendered in tags}
    seen: dict[tuple[str | None, str], str] = {}
    for plan in prepared.plan.targets:
        name, host = plan.target.name, plan.target.host
        if name.lower() in quants:
            raise ConfigError(
                f"target {name!r}: its alias would be the tag of the quant {name.upper()}",
                hint="give the target another name in deployq.toml",
            )
        other = seen.setdefault((host, name.lower()), name)
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
    """Connect, see what is to do, build it, and deploy it, server by server."""
    plans = [plan for plan in work.prepared.plan.targets if plan.chosen]
    sites, lost = connect(work.session, [plan.target.host for plan in plans], stack)
    orders = {
        host: _order(work, site, [plan for plan in plans if plan.target.host == host])
        for host, site in sites.items()
    }
    todo = [job for order in orders.values() for job in order.jobs if job.why]
    _require_disk(work, orders)
    built = _build(work, list(dict.fromkeys(job.rendered.quant for job in todo)))
    done = {report.target: report for report in _deploy_all(work, list(orders.values()), built)}
    return tuple(
        done.get(plan.target.name) or _lost_target(work, plan, _why_lost(plan, lost))
        for plan in work.prepared.plan.targets
    )


def _deploy_all(work: Work, orders: Sequence[Order], built: Built) -> list[TargetReport]:
    """Every server's reports; the servers are served at once."""
    stop = threading.Event()
    session = replace(work.session, progress=stopping(work.session.progress, stop))
    work = replace(work, session=session, several=len(orders) > 1)
    tasks = [partial(_deployed, work, order, built) for order in orders]
    return [report for reports in at_once(tasks, stop) for report in reports]


def _deployed(work: Work, order: Order, built: Built) -> Sequence[TargetReport]:
    """One server's reports; what concerns the whole server is that of each of its targets."""
    try:
        return deploy(work, order, built)
    except DeployqError as exc:
        return [_lost_target(work, plan, exc) for plan in order.plans]


def _why_lost(plan: TargetPlan, lost: Mapping[str | None, DeployqError]) -> DeployqError:
    return lost[plan.target.host] if plan.chosen else DoesNotFit(plan.why)


def _order(work: Work, site: Site, plans: Sequence[TargetPlan]) -> Order:
    """What one server shall get: each quant tag once, and an alias for each target."""
    held = held_by(site)
    rendered = {
        quant: render_tag(work.session, work.prepared, quant)
        for quant in dict.fromkeys(quant for plan in plans for quant in plan.build)
    }
    return Order(
        site=site,
        plans=tuple(plans),
        tags=tuple(make_job(work, site, r, work.suite, None, held) for r in rendered.values()),
        aliases={
            plan.target.name: _alias_job(work, site, plan, rendered[plan.chosen or ""], held)
            for plan in plans
        },
    )


def _alias_job(
    work: Work, site: Site, plan: TargetPlan, of: Rendered, held: Mapping[str, str]
) -> Job:
    rendered = render_alias(work.session, work.prepared, plan.target, of.quant)
    suite = work.suite if _speaks_otherwise(rendered, of) else _short_suite(work.suite)
    return make_job(work, site, rendered, suite, str(of.tag), held)


def _speaks_otherwise(alias: Rendered, of: Rendered) -> bool:
    """Whether an alias may answer otherwise than the tag whose weights it has."""

    def said(rendered: Rendered) -> object:
        modelfile = rendered.modelfile
        kept = {k: v for k, v in modelfile.parameters.items() if k not in _PLACING}
        return replace(modelfile, parameters=kept)

    return said(alias) != said(of)


def _short_suite(suite: Suite) -> Suite:
    """What an alias is asked that differs in its context alone: does it load and answer?"""
    first = replace(suite.prompts[0], name="answers", checks={"not_empty": True})
    return replace(suite, name="answers", prompts=(first,), threshold=1.0)


def _require_disk(work: Work, orders: Mapping[str | None, Order]) -> None:
    """Room for the artifacts that are missing, and for a copy of what a server never had."""
    store = ArtifactStore(work.session.cache_dir)
    new = {
        host: [
            work.prepared.size_of(job.rendered.quant)
            for job in order.tags
            if job.why and work.lock.find(job.tag, job.site.key) is None
        ]
        for host, order in orders.items()
    }
    quants = {size.quant for sizes in new.values() for size in sizes}
    cached = [quant for quant in quants if store.get(artifact_key_of(work, quant))]
    require_disk(work.session, new, cached)


def _build(work: Work, quants: Sequence[str]) -> Built:
    """The artifacts of these quants; where a build fails, those that it had finished."""
    session, info = work.session, work.prepared.info
    store = ArtifactStore(session.cache_dir)
    if not quants:
        return Built({}, {})
    try:
        artifacts = build(
            store,
            session.backends(),
            lambda quant: choose_backend(session, info, quant).name,
            info,
            work.source_digest,
            quants,
            {quant: work.prepared.size_of(quant) for quant in quants},
            inspect,
            session.progress,
            threads=session.config.tools.threads,
            allow_requantize=work.options.allow_requantize,
        )
    except DeployqError as exc:
        found = {q: a for q in quants if (a := store.get(artifact_key_of(work, q))) is not None}
        return Built(found, {quant: exc for quant in quants if quant not in found})
    return Built(artifacts, {})


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

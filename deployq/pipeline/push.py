"""A push: every step in order, nothing twice, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

from deployq.artifacts.build import build
from deployq.artifacts.workshop import Workshop
from deployq.errors import DeployqError, DoesNotFit
from deployq.pipeline.checks import suite_at
from deployq.pipeline.jobs import Built, Job, Options, Work, artifact_key_of, carry_out, make_job
from deployq.pipeline.prepare import Prepared, choose_backend, source_digest
from deployq.pipeline.render import render_alias, render_tag
from deployq.pipeline.servers import Site, connect
from deployq.pipeline.session import Session
from deployq.pipeline.stores import require_disk
from deployq.proof.suites import Suite
from deployq.report.runs import new_run_dir, write_report
from deployq.source.inspect import inspect, require_gguf
from deployq.tags.lockfile import Lockfile
from deployq.types import (
    Report,
    TagReport,
    TargetPlan,
    TargetReport,
)


def push(session: Session, prepared: Prepared, options: Options) -> Report:
    """Carry out a plan.

    What fails on one tag or server stops nothing on the others; it stands in the report, whose
    `exit_code` is that of the first target that failed.

    Raises:
        SourceError: the model was not converted yet.
        SuiteError, ModelfileError, LockfileError, ToolMissing: before anything was done.
        DeployqError: what concerns every target.
    """
    require_gguf(prepared.info)
    started, clock = datetime.now(UTC), time.monotonic()
    suite = suite_at(session, prepared.model.settings.suite)
    for quant in prepared.plan.quants:
        render_tag(session, prepared, quant)
    for quant in prepared.plan.quants:
        choose_backend(session, prepared.info, quant)
    work = Work(
        session,
        prepared,
        options,
        suite,
        source_digest(session, prepared.info),
        Lockfile.load(session.lockfile),
        new_run_dir(session.runs_dir, started),
    )
    session.plugins.hook.deployq_push_started(plan=prepared.plan)
    with ExitStack() as stack:
        targets = _deploy(work, stack)
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


# ---------------------------------------------------------------- the way


def _deploy(work: Work, stack: ExitStack) -> tuple[TargetReport, ...]:
    """Connect, see what is to do, build it, and register it, server by server."""
    plans = work.prepared.plan.targets
    sites, lost = connect(work.session, [plan.target.host for plan in plans if plan.chosen], stack)
    held = {host: _held(site) for host, site in sites.items()}
    jobs = {
        host: _tag_jobs(work, site, [p for p in plans if p.target.host == host], held[host])
        for host, site in sites.items()
    }
    aliases = {
        plan.target.name: _alias_job(work, sites[plan.target.host], plan, held[plan.target.host])
        for plan in plans
        if plan.chosen and plan.target.host in sites
    }
    todo = [job for group in (*jobs.values(), aliases.values()) for job in group if job.why]
    _require_disk(work, jobs)
    built = _build(work, list(dict.fromkeys(job.rendered.quant for job in todo)))
    tags = {
        (host, job.rendered.quant): carry_out(work, job, built)
        for host, group in jobs.items()
        for job in group
    }
    return tuple(_target_report(work, plan, sites, lost, tags, aliases, built) for plan in plans)


def _require_disk(work: Work, jobs: Mapping[str | None, Sequence[Job]]) -> None:
    """Room for the artifacts that are missing, and for a copy of what a server never had."""
    store = Workshop(work.session.cache_dir)
    new = {
        host: [
            work.prepared.size_of(job.rendered.quant)
            for job in group
            if job.why and work.lock.find(job.tag, job.site.key) is None
        ]
        for host, group in jobs.items()
    }
    quants = {size.quant for sizes in new.values() for size in sizes}
    cached = [quant for quant in quants if store.get(artifact_key_of(work, quant))]
    require_disk(work.session, new, cached)


def _tag_jobs(
    work: Work, site: Site, plans: Sequence[TargetPlan], held: Mapping[str, str]
) -> list[Job]:
    """The quant tags of one server, each once, whatever the number of targets that use it."""
    quants = dict.fromkeys(quant for plan in plans for quant in plan.build)
    return [
        make_job(work, site, render_tag(work.session, work.prepared, quant), work.suite, None, held)
        for quant in quants
    ]


def _alias_job(work: Work, site: Site, plan: TargetPlan, held: Mapping[str, str]) -> Job:
    quant = plan.chosen or ""
    rendered = render_alias(work.session, work.prepared, plan.target, quant)
    of = render_tag(work.session, work.prepared, quant)
    return make_job(work, site, rendered, _alias_suite(work.suite), str(of.tag), held)


def _alias_suite(suite: Suite) -> Suite:
    """What an alias is asked: its weights are verified, so only that it loads and answers."""
    first = replace(suite.prompts[0], name="answers", checks={"not_empty": True})
    return replace(suite, name="answers", prompts=(first,), threshold=1.0)


def _held(site: Site) -> dict[str, str]:
    """Manifest digests of the server's tags, by name."""
    return {record.name: record.digest for record in site.server.tags()}


def _build(work: Work, quants: Sequence[str]) -> Built:
    """The artifacts of these quants; where a build fails, those that it had finished."""
    session, info = work.session, work.prepared.info
    store = Workshop(session.cache_dir)
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


# ---------------------------------------------------------------- one target


def _target_report(
    work: Work,
    plan: TargetPlan,
    sites: Mapping[str | None, Site],
    lost: Mapping[str | None, DeployqError],
    tags: Mapping[tuple[str | None, str], TagReport],
    aliases: Mapping[str, Job],
    built: Built,
) -> TargetReport:
    """Give the target its alias, and say what became of it."""
    host = plan.target.host
    if plan.chosen is None:
        return _lost_target(work, plan, DoesNotFit(plan.why))
    if host in lost:
        return _lost_target(work, plan, lost[host])
    mine = tuple(tags[host, quant] for quant in plan.build)
    chosen = tags[host, plan.chosen]
    alias = None
    if chosen.status != "failed":
        alias = carry_out(work, aliases[plan.target.name], built)
    everything = (*mine, *filter(None, [alias]))
    failed = [report for report in everything if report.status == "failed"]
    statuses = {report.status for report in everything}
    return TargetReport(
        target=plan.target.name,
        host=sites[host].endpoint.url,
        runtime=sites[host].endpoint.runtime,
        status="failed" if failed else "unchanged" if statuses == {"unchanged"} else "done",
        chosen=plan.chosen,
        alias=alias,
        tags=mine,
        reason=_why_failed(failed),
        hint=failed[0].hint if failed else "",
        exit_code=failed[0].exit_code if failed else 0,
    )


def _why_failed(failed: Sequence[TagReport]) -> str:
    if not failed:
        return ""
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return f"{failed[0].tag}: {failed[0].reason}{more}"


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

"""One tag on one server: what it shall be, whether anything is to do, and doing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from deployq import __version__
from deployq.artifacts.store import artifact_key
from deployq.digests import sha256_bytes
from deployq.errors import DeployqError, DiskError, VerificationFailed
from deployq.pipeline.checks import all_checks
from deployq.pipeline.prepare import Prepared, choose_backend
from deployq.pipeline.render import Rendered
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.proof.suites import Suite
from deployq.proof.verify import run_suite
from deployq.report.runs import write_text
from deployq.tags.lockfile import LockEntry, Lockfile, changes, update
from deployq.tags.modelfile import warnings
from deployq.tags.names import TagName, same_name
from deployq.tags.registry import register
from deployq.types import Artifact, Progress, Score, StepResult, TagReport, Verification


@dataclass(frozen=True)
class Options:
    """How to push: prompts asked at a time, and whether a quantized source is taken."""

    jobs: int = 1
    allow_requantize: bool = False


@dataclass(frozen=True)
class Work:
    """What stays the same over one push."""

    session: Session
    prepared: Prepared
    options: Options
    suite: Suite
    source_digest: str
    lock: Lockfile
    run_dir: Path


@dataclass(frozen=True)
class Job:
    """One tag on one server as it shall be; `why` it has to be pushed, empty if it need not."""

    site: Site
    rendered: Rendered
    suite: Suite
    wanted: Mapping[str, object]
    why: tuple[str, ...]

    @property
    def tag(self) -> str:
        return str(self.rendered.tag)


@dataclass(frozen=True)
class Built:
    """Artifacts by quant, and why those that are missing could not be made."""

    artifacts: Mapping[str, Artifact]
    failures: Mapping[str, DeployqError]


def make_job(
    work: Work,
    site: Site,
    rendered: Rendered,
    suite: Suite,
    alias_of: str | None,
    held: Mapping[str, str],
) -> Job:
    wanted = {
        "model": work.prepared.model.name,
        "quant": rendered.quant,
        "source_digest": work.source_digest,
        "artifact_key": artifact_key_of(work, rendered.quant),
        "modelfile_digest": rendered.modelfile.digest,
        "suite_digest": suite.digest,
        "n_ctx": rendered.n_ctx,
        "alias_of": alias_of,
    }
    tag = str(rendered.tag)
    there = next((digest for name, digest in held.items() if same_name(name, tag)), None)
    entry = work.lock.find(tag, site.key)
    return Job(site, rendered, suite, wanted, changes(entry, wanted, there))


def artifact_key_of(work: Work, quant: str) -> str:
    """The key of the artifact that a push would use for this quant."""
    backend = choose_backend(work.session, work.prepared.info, quant)
    return artifact_key(work.source_digest, quant, backend.name, backend.health().version)


def carry_out(work: Work, job: Job, built: Built) -> TagReport:
    """Register one tag if there is anything to do; a failure becomes a report."""
    name = job.rendered.tag
    write_text(work.run_dir / f"{name.model}-{name.tag}.Modelfile", job.rendered.text)
    for warning in warnings(job.rendered.text):
        work.session.talk(f"warning: Modelfile of {job.tag}, {warning}")
    if not job.why:
        return _unchanged(work, job)
    quant = job.rendered.quant
    try:
        if quant in built.failures:
            raise built.failures[quant]
        with _alone(work, job):
            work, job = _afresh(work, job)
            if not job.why:
                return _unchanged(work, job)
            return _register(work, job, built.artifacts[quant])
    except DeployqError as exc:
        return _failed(work, job, exc)


@contextmanager
def _alone(work: Work, job: Job) -> Iterator[None]:
    """One push of a tag at a time on this machine: two would take each other's staging tag."""
    name = sha256_bytes(f"{job.site.key} {job.rendered.tag.folded}")[:32]
    path = work.session.cache_dir / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            work.session.talk(f"waiting for another deployq that pushes {job.tag}")
            lock.acquire()
    except OSError as exc:
        raise DiskError(f"cannot lock {path}: {exc.strerror}") from exc
    try:
        yield
    finally:
        lock.release()


def _afresh(work: Work, job: Job) -> tuple[Work, Job]:
    """The job as it is now: another push may have done it meanwhile."""
    lock = Lockfile.load(work.session.lockfile)
    held = job.site.server.tag(job.tag)
    why = changes(lock.find(job.tag, job.site.key), job.wanted, held.digest if held else None)
    return replace(work, lock=lock), replace(job, why=why)


def _register(work: Work, job: Job, artifact: Artifact) -> TagReport:
    alias_of = job.wanted["alias_of"]
    report = register(
        job.site.server,
        tag=job.rendered.tag,
        modelfile=job.rendered.modelfile,
        artifact=artifact,
        verify=lambda name: _verify(work, job, name),
        progress=_renamed(work, {"bytes": f"upload {job.tag}", "steps": f"create {job.tag}"}),
        on_step=lambda step: _tell(work, step),
        file_name=f"{work.prepared.model.name}-{artifact.quant}.gguf",
        alias_of=TagName.parse(str(alias_of)) if alias_of else None,
    )
    report = replace(report, steps=(_quantize_step(artifact), *report.steps))
    if report.status != "done":
        return replace(report, exit_code=VerificationFailed.exit_code)
    update(work.session.lockfile, [_entry(job, report, artifact)])
    return report


def _renamed(work: Work, tasks: Mapping[str, str]) -> Progress:
    """Progress that people can tell apart: by tag, not by file or staging name."""

    def progress(task: str, done: float, total: float | None, unit: str) -> None:
        work.session.progress(tasks.get(unit, task), done, total, unit)

    return progress


def _verify(work: Work, job: Job, name: str) -> Verification:
    """Ask the suite of the tag that stands under the name `name`."""
    session = work.session
    verification = run_suite(
        job.site.server,
        name,
        job.suite,
        all_checks(session),
        jobs=work.options.jobs,
        timeout_seconds=session.config.runtime.timeout,
        progress=_renamed(work, {"prompts": f"verify {job.tag}"}),
    )
    return replace(verification, tag=job.tag)


def _tell(work: Work, step: StepResult) -> None:
    work.session.plugins.hook.deployq_step_finished(plan=work.prepared.plan, result=step)


def _quantize_step(artifact: Artifact) -> StepResult:
    if artifact.reused:
        return StepResult("quantize", "reused", 0.0, artifact.file_bytes, "made by an earlier run")
    by = f"{artifact.backend} {artifact.backend_version}"
    return StepResult("quantize", "done", artifact.seconds, artifact.file_bytes, by)


def _unchanged(work: Work, job: Job) -> TagReport:
    """The report of a tag that is what it shall be, from the lockfile."""
    entry = work.lock.find(job.tag, job.site.key)
    assert entry is not None, "an unchanged tag has an entry"
    return TagReport(
        tag=job.tag,
        quant=entry.quant,
        status="unchanged",
        file_bytes=work.prepared.size_of(entry.quant).file_bytes,
        blob_digest=entry.blob_digest,
        modelfile_digest=entry.modelfile_digest,
        manifest_digest=entry.manifest_digest,
        n_ctx=entry.n_ctx,
        reason=f"is as it was pushed at {entry.pushed_at}",
        alias_of=entry.alias_of,
        earlier=Score(entry.passed, entry.total, True, entry.tokens_per_second),
    )


def _failed(work: Work, job: Job, error: DeployqError) -> TagReport:
    """The report of a tag that could not be made; whatever had that name is as it was."""
    alias_of = job.wanted["alias_of"]
    return TagReport(
        tag=job.tag,
        quant=job.rendered.quant,
        status="failed",
        file_bytes=work.prepared.size_of(job.rendered.quant).file_bytes,
        n_ctx=job.rendered.n_ctx,
        reason=error.message,
        hint=error.hint,
        exit_code=error.exit_code,
        alias_of=str(alias_of) if alias_of else None,
    )


def _entry(job: Job, report: TagReport, artifact: Artifact) -> LockEntry:
    """What the lockfile says of a tag that was pushed."""
    verification = report.verification
    speed = verification.tokens_per_second if verification else None
    return LockEntry(
        tag=job.tag,
        host=job.site.key,
        **job.wanted,  # type: ignore[arg-type]
        blob_digest=report.blob_digest,
        manifest_digest=report.manifest_digest,
        backend=artifact.backend,
        backend_version=artifact.backend_version,
        passed=verification.passed if verification else 0,
        total=len(verification.results) if verification else 0,
        tokens_per_second=round(speed, 1) if speed else None,
        pushed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        deployq_version=__version__,
    )

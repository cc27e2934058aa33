"""One tag tried out on a server: staged under a name of its own and verified, not yet promoted."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from deployq.addresses import short_address
from deployq.errors import DeployqError, ServerError, VerificationFailed
from deployq.pipeline.checks import all_checks
from deployq.pipeline.fit import Expected, check_fit
from deployq.pipeline.jobs import (
    Built,
    Job,
    Work,
    failed_report,
    quantize_step,
    unchanged_report,
)
from deployq.pipeline.locked import require_weights_locked
from deployq.pipeline.measuring import Measuring, in_words
from deployq.pipeline.prompts import Prompts, settle_prompts
from deployq.pipeline.recovery import note_staging
from deployq.proof.verify import run_suite
from deployq.records import dataclass
from deployq.report.runs import write_text
from deployq.tags.modelfile import warnings
from deployq.tags.registry import Staged, discard, require_weights, stage
from deployq.tags.steps import Steps
from deployq.types import Artifact, Progress, Quality, StepResult, TagReport, Verification


@dataclass(frozen=True)
class Trial:
    """A tag that was tried out; `staged` and `artifact` are set where it can be promoted.

    `name` is what the server has it under until the push has ended.
    """

    job: Job
    report: TagReport
    staged: Staged | None = None
    artifact: Artifact | None = None

    @property
    def failed(self) -> bool:
        return self.report.status == "failed"

    @property
    def name(self) -> str:
        return str(self.staged.staging) if self.staged else self.job.tag


def try_out(
    work: Work,
    job: Job,
    built: Built,
    stages: ExitStack,
    *,
    expected: Expected | None = None,
    measuring: Measuring | None = None,
) -> Trial:
    """Stage one tag and verify it, if there is anything to do; a failure becomes its report.

    Args:
        stages: takes the staging name away in the end.
        expected: what the plan says that it takes once it is loaded.
        measuring: where a gate asks for it, how the tag is measured against full precision.
    """
    write_text(work.run_dir / f"{job.name.model}-{job.name.tag}.Modelfile", job.rendered.text)
    for warning in warnings(job.rendered.text):
        work.session.talk(f"warning: Modelfile of {job.tag}, {warning}")
    if not job.why:
        return Trial(job, unchanged_report(work, job))
    try:
        artifact = _artifact(job, built)
        steps = Steps(work.tell)
        staged = _stage(work, job, artifact, steps, stages)
        asked = _renamed(work, job, conversations="template of")
        prompts = settle_prompts(work, job, artifact, steps, staged, asked)
        verification, quality = _verify(work, job, steps, prompts.staged, measuring)
        if verification.ok and expected is not None:
            name, require = prompts.staged.staging, work.options.require_fit
            check_fit(job.site.server, steps, name, expected, require)
        made = (*work.prepared.before, quantize_step(artifact), *steps.done)
        return _trial(job, artifact, prompts, made, verification, quality)
    except DeployqError as exc:
        return Trial(job, failed_report(work, job, exc))


def _artifact(job: Job, built: Built) -> Artifact:
    quant = job.rendered.quant
    if quant in built.failures:
        raise built.failures[quant]
    if quant not in built.artifacts:
        raise ServerError(
            f"{job.tag} was as it should be when this push began, and no longer is",
            hint="does something else write that tag? Push again",
        )
    return built.artifacts[quant]


def _trial(
    job: Job,
    artifact: Artifact,
    prompts: Prompts,
    steps: tuple[StepResult, ...],
    verification: Verification,
    quality: Quality | None,
) -> Trial:
    """What came of a tag that was verified."""
    staged = prompts.staged
    report = TagReport(
        tag=job.tag,
        quant=artifact.quant,
        status="done",
        file_bytes=artifact.file_bytes,
        blob_digest=staged.blob_digest,
        modelfile_digest=job.rendered.digest,
        manifest_digest=staged.manifest_digest,
        n_ctx=job.rendered.n_ctx,
        steps=steps,
        verification=verification,
        parity=prompts.parity,
        alias_of=job.alias_of,
        quality=quality,
    )
    if verification.ok:
        return Trial(job, report, staged, artifact)
    reason = f"verification failed: {verification.passed} of {len(verification.results)} passed"
    code = VerificationFailed.exit_code
    failed = replace(report, status="failed", reason=reason, manifest_digest="", exit_code=code)
    return Trial(job, failed, staged)


def _stage(work: Work, job: Job, artifact: Artifact, steps: Steps, stages: ExitStack) -> Staged:
    file_name = f"{work.prepared.model.name}-{artifact.quant}.gguf"
    parts = work.prepared.info.parts
    require_weights(job.name, job.rendered.modelfile, file_name, parts)
    assert work.hold is not None, "the model is held while it is deployed"
    note_staging(work.session, job.site, work.hold, job.name)
    staged = stage(
        job.site.server,
        steps,
        job.name,
        job.rendered.modelfile,
        artifact,
        _renamed(work, job, bytes="upload", steps="create"),
        job.site.endpoint.models_dir,
        parts,
        owner=work.hold.id,
    )
    stages.callback(discard, job.site.server, staged.staging)
    if work.options.locked:
        require_weights_locked(work, job, staged)
    return staged


def _verify(
    work: Work, job: Job, steps: Steps, staged: Staged, measuring: Measuring | None
) -> tuple[Verification, Quality | None]:
    """Ask the suite of the tag that stands under its staging name; measure it where that is asked.

    Measuring brings the tag's own answers along: nothing is generated twice.
    """
    with steps.step("verify") as outcome:
        quality = measuring.quality(job, str(staged.staging)) if measuring else None
        verification = quality.verification if quality else _asked(work, job, staged)
        outcome.detail = f"{verification.passed} of {len(verification.results)} passed"
        if quality is not None and quality.agreement is not None:
            outcome.detail += f"; {in_words(quality.agreement)}"
        outcome.status = "done" if verification.ok else "failed"
    return replace(verification, tag=job.tag), quality


def _asked(work: Work, job: Job, staged: Staged) -> Verification:
    session = work.session
    return run_suite(
        job.site.server,
        str(staged.staging),
        job.suite,
        all_checks(session),
        jobs=work.options.jobs,
        timeout_seconds=session.config.runtime.timeout,
        progress=_renamed(work, job, prompts="verify"),
    )


def _renamed(work: Work, job: Job, **verbs: str) -> Progress:
    """Progress that people can tell apart: by tag and server, not by file or staging name.

    Args:
        verbs: what is done, by the unit that it counts in.
    """
    where = f" on {short_address(job.site.endpoint.url)}" if work.several else ""

    def progress(task: str, done: float, total: float | None, unit: str) -> None:
        title = f"{verbs[unit]} {job.tag}{where}" if unit in verbs else task
        work.session.progress(title, done, total, unit)

    return progress

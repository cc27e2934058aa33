"""Registration: a tag is created under a staging name, verified there, then given its name.

The order keeps the earlier tag as it was until the new one is proven: `stage` (upload, create),
the caller's verification, `promote` (the server's own copy), `discard` (the staging name). Each
is a function of its own, so that several tags can be staged before the first is promoted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from deployq.errors import ModelfileError, ServerError, ServerRefused
from deployq.tags.modelfile import Modelfile
from deployq.tags.names import TagName, staging_name
from deployq.tags.records import TagRecord
from deployq.tags.server import Server
from deployq.types import (
    Artifact,
    Progress,
    StepResult,
    StepStatus,
    TagReport,
    Verification,
    no_progress,
)

OnStep = Callable[[StepResult], None]
Verify = Callable[[str], Verification]


@dataclass(frozen=True)
class Staged:
    """A tag under its staging name; `manifest_digest` is what its final name shall hold.

    `blob_digest` is that of the weights as the server keeps them: servers before Ollama 0.34.1
    may write the file anew.
    """

    name: TagName
    staging: TagName
    manifest_digest: str
    blob_digest: str


@dataclass
class Steps:
    """Times the steps of one tag and tells of each as it ends."""

    on_step: OnStep
    done: list[StepResult] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[_Outcome]:
        """One step; a failure is told of, too, and goes on."""
        outcome, start = _Outcome(), time.perf_counter()
        try:
            yield outcome
        except BaseException as exc:
            self._end(name, _Outcome("failed", detail=str(exc) or type(exc).__name__), start)
            raise
        self._end(name, outcome, start)

    def _end(self, name: str, outcome: _Outcome, start: float) -> None:
        seconds = time.perf_counter() - start
        result = StepResult(name, outcome.status, seconds, outcome.bytes, outcome.detail)
        self.done.append(result)
        self.on_step(result)


@dataclass
class _Outcome:
    """What a step says of itself while it runs."""

    status: StepStatus = "done"
    bytes: int = 0
    detail: str = ""


def _silent(_: StepResult) -> None:
    """An `on_step` that tells nobody."""


def register(
    server: Server,
    *,
    tag: TagName,
    modelfile: Modelfile,
    artifact: Artifact,
    verify: Verify,
    progress: Progress = no_progress,
    on_step: OnStep = _silent,
    file_name: str | None = None,
    alias_of: TagName | None = None,
) -> TagReport:
    """Upload, create under a staging name, verify there, promote.

    Whatever happens, Ctrl-C too, the staging name is gone afterwards, and the earlier tag of
    that name is untouched unless the new one is verified.

    Args:
        verify: runs the verification against the name that it is given.
        file_name: what FROM must say; None takes what it says.
        alias_of: the tag whose weights an alias shares; it only marks the report.

    Returns:
        The report; `failed`, with the verification, where that did not pass.

    Raises:
        ModelfileError: FROM names another file.
        ServerError: the server failed; nothing is promoted.
    """
    _require_weights(tag, modelfile, file_name)
    steps = Steps(on_step)
    with staged(server, steps, tag, modelfile, artifact, progress) as stage:
        verification = _verified(steps, verify, stage)
        if verification.ok:
            with steps.step("promote"):
                promote(server, stage)
    report = TagReport(
        tag=str(tag),
        quant=artifact.quant,
        status="done",
        file_bytes=artifact.file_bytes,
        blob_digest=stage.blob_digest,
        modelfile_digest=modelfile.digest,
        manifest_digest=stage.manifest_digest,
        n_ctx=modelfile.n_ctx,
        steps=tuple(steps.done),
        verification=verification,
        alias_of=str(alias_of) if alias_of else None,
    )
    return report if verification.ok else _failed(report)


def _require_weights(tag: TagName, modelfile: Modelfile, file_name: str | None) -> None:
    if file_name is not None and modelfile.from_ != file_name:
        raise ModelfileError(
            f"FROM {modelfile.from_}: the weights of {tag} are {file_name}",
            hint="FROM {{ from_ }} in the template",
        )


def _verified(steps: Steps, verify: Verify, stage: Staged) -> Verification:
    with steps.step("verify") as outcome:
        verification = verify(str(stage.staging))
        outcome.detail = f"{verification.passed} of {len(verification.results)} passed"
        outcome.status = "done" if verification.ok else "failed"
    return verification


def _failed(report: TagReport) -> TagReport:
    reason = f"verification failed: {report.steps[-1].detail}"
    return replace(report, status="failed", reason=reason, manifest_digest="")


@contextlib.contextmanager
def staged(
    server: Server,
    steps: Steps,
    tag: TagName,
    modelfile: Modelfile,
    artifact: Artifact,
    progress: Progress = no_progress,
) -> Iterator[Staged]:
    """A tag under its staging name inside the block; the staging name is gone after it."""
    staging = staging_name(tag)
    with steps.step("upload") as outcome:
        if server.upload_blob(artifact.path, artifact.digest, progress):
            outcome.bytes = artifact.file_bytes
        else:
            outcome.status = "reused"
            outcome.detail = "the server has it"
    try:
        with steps.step("create") as outcome:
            stage = _create(server, tag, staging, modelfile, artifact, progress)
            if stage.blob_digest != artifact.digest:
                outcome.detail = "the server wrote the file anew"
        yield stage
    finally:
        # What went wrong matters more than what is left; the next push of the tag cleans up.
        with contextlib.suppress(ServerError):
            discard(server, staging)


def promote(server: Server, stage: Staged) -> None:
    """Give a staged tag its name.

    Raises:
        ServerError: the name does not hold what was verified.
    """
    server.copy(str(stage.staging), str(stage.name))
    held = server.tag(str(stage.name))
    if held is None or held.digest != stage.manifest_digest:
        raise ServerError(
            f"{server.url} copied {stage.staging} to {stage.name}, but that holds "
            f"{held.digest[:12] if held else 'nothing'}, not {stage.manifest_digest[:12]}",
            hint="does something else write that tag? Push again",
        )


def discard(server: Server, staging: TagName) -> None:
    """Remove a staging name, if it is there; out of memory, too, where verifying loaded it."""
    with contextlib.suppress(ServerError):
        server.unload(str(staging))
    with _gone_is_fine():
        server.delete(str(staging))


def remove(server: Server, tag: TagName) -> int:
    """Remove a tag.

    Returns:
        The bytes that it frees: none where another tag has the same weights.

    Raises:
        ServerRefused: there is no such tag.
    """
    tags = server.tags()
    blob = server.show(str(tag)).blob_digest
    mine = next((t for t in tags if tag.same(t.name)), None)
    others = [t for t in tags if not tag.same(t.name)]
    shared = any(_blob_digest(server, other) == blob for other in others)
    if any(tag.same(loaded.name) for loaded in server.ps()):
        server.unload(str(tag))  # once its name is gone, nothing takes it out of memory any more
    server.delete(str(tag))
    return 0 if shared or mine is None else mine.size_bytes


def staging_leftovers(server: Server) -> list[TagRecord]:
    """Staged tags that an earlier run left behind."""
    prefix = f"{staging_name(TagName('x', 'x')).namespace}/"
    return [tag for tag in server.tags() if tag.name.lower().startswith(prefix)]


def _create(
    server: Server,
    tag: TagName,
    staging: TagName,
    modelfile: Modelfile,
    artifact: Artifact,
    progress: Progress,
) -> Staged:
    files = {modelfile.from_: artifact.digest}
    server.create(str(staging), modelfile, files, progress)
    held = server.tag(str(staging))
    if held is None:
        raise ServerError(
            f"{server.url} said that it created {staging}, but does not list it",
            hint="the server's own log says more; then repeat the command",
        )
    blob = server.show(str(staging)).blob_digest or artifact.digest
    return Staged(tag, staging, held.digest, blob)


def _blob_digest(server: Server, tag: TagRecord) -> str | None:
    try:
        return server.show(tag.name).blob_digest
    except ServerRefused:
        return None  # a tag that the server can't read keeps no weights alive


@contextlib.contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except ServerRefused as exc:
        if exc.status != 404:
            raise

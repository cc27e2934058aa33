"""Whether a staged tag's prompts are those of the model's own chat template, before it is judged.

Compared by default and told of; made so where the configuration says `template = "model"`; a
difference fails the tag where `require_parity` says so.
"""

from __future__ import annotations

from dataclasses import replace

from deployq.errors import SourceError, VerificationFailed
from deployq.pipeline.jobs import Job, Work
from deployq.pipeline.own_template import settle_template
from deployq.pipeline.parity import check_parity
from deployq.pipeline.render import Rendered
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.records import dataclass
from deployq.tags.faults import MEND
from deployq.tags.modelfile import Modelfile
from deployq.tags.registry import Staged, create_again
from deployq.tags.steps import Outcome, Steps
from deployq.types import Artifact, ModelInfo, ParityReport, Progress


@dataclass(frozen=True)
class Prompts:
    """A staged tag as it stands after its prompts were compared, and what was seen."""

    staged: Staged
    parity: ParityReport | None = None


def settle_prompts(
    work: Work, job: Job, artifact: Artifact, steps: Steps, staged: Staged, progress: Progress
) -> Prompts:
    """Compare a staged tag's prompts with the model's own, and mend them where that is asked for.

    An alias whose prompts can't differ from those of its tag is not compared again.

    Raises:
        VerificationFailed: they differ, and `require_parity` says that it counts.
        ServerError: the server fails.
    """
    if job.wanted.alike and not job.rendered.own_template:
        return Prompts(staged)
    work = replace(work, session=replace(work.session, progress=progress))
    with steps.step("template") as outcome:
        try:
            settled, why = settle(
                work.session, job.site, job.rendered, work.prepared.info, artifact, staged
            )
        except SourceError as exc:
            outcome.status, outcome.detail = "warned", exc.message
            return Prompts(staged)
        assert settled.parity is not None, "it was compared"
        parity = replace(settled.parity, tag=job.tag)
        _tell(outcome, parity, why, own=job.rendered.own_template)
        if outcome.status == "warned" and work.options.require_parity:
            raise VerificationFailed(f"prompts of {job.tag}: {outcome.detail}", hint=_hint(job))
    return Prompts(settled.staged, parity)


def settle(
    session: Session,
    site: Site,
    rendered: Rendered,
    info: ModelInfo,
    artifact: Artifact,
    staged: Staged,
) -> tuple[Prompts, str]:
    """A staged tag, compared or mended, and why its own template could not be reached.

    Raises:
        SourceError: the model's template can't be rendered here.
        ServerError: the server fails.
    """
    name = str(staged.staging)
    if not rendered.own_template:
        return Prompts(staged, check_parity(session, site, name, info)), ""
    now = staged

    def recreate(modelfile: Modelfile) -> None:
        nonlocal now
        now = create_again(site.server, now, modelfile, artifact)

    settled = settle_template(session, site, name, rendered.modelfile, info, recreate)
    return Prompts(now, settled.report), settled.why


def _tell(outcome: Outcome, parity: ParityReport, why: str, *, own: bool) -> None:
    if parity.ok:
        whose = "the model's own template" if not own else "the model's own template, as asked for"
        outcome.detail = f"{len(parity.conversations)} conversations as by {whose}"
        return
    said = [why] if why else [fault.message for fault in parity.faults]
    names = ", ".join(row.name for row in parity.differing)
    outcome.status = "warned"
    outcome.detail = "; ".join(said) or f"other prompts than by the model's own template: {names}"


def _hint(job: Job) -> str:
    mend = "docs/templates.md has what else helps" if job.rendered.own_template else MEND
    return f"deployq parity shows both sides; {mend}"

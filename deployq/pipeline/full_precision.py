"""A model's full precision on a server for as long as it is asked: staged, and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deployq.pipeline.building import artifact_of
from deployq.pipeline.locks import alone
from deployq.pipeline.recovery import note_staging
from deployq.pipeline.render import render_tag
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.pipeline.wanted import Subject
from deployq.tags.names import TagName
from deployq.tags.registry import clear_staging, discard, stage
from deployq.tags.steps import Steps

FULL = "F16"


@contextmanager
def staged_full_precision(session: Session, site: Site, subject: Subject) -> Iterator[str]:
    """The name under which a model stands on a server in full precision, inside the block.

    What a killed process leaves is taken away by the next command that asks that server.

    Raises:
        ServerError: it can't be put there.
        BackendError, ToolMissing, DiskError: its file can't be made.
    """
    artifact = artifact_of(session, subject, FULL)
    modelfile = render_tag(session, subject.model, subject.info, FULL).modelfile
    # A name of its own: a push of the model clears away what is staged under the model's.
    name = TagName(f"diagnose.{subject.model.name}"[:80], FULL.lower())
    with alone(session, site, name.model, "diagnose") as hold:
        note_staging(session, site, hold, name)
        clear_staging(site.server, name.model)
        staged = stage(
            site.server,
            Steps(),
            name,
            modelfile,
            artifact,
            session.progress,
            site.endpoint.models_dir,
            subject.info.parts,
            owner=hold.id,
        )
        try:
            yield str(staged.staging)
        finally:
            discard(site.server, staged.staging)

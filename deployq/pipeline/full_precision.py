"""A model's full precision on a server for as long as it is asked: staged, and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deployq.artifacts.build import build
from deployq.artifacts.workshop import Workshop
from deployq.pipeline.locks import alone
from deployq.pipeline.prepare import choose_backend, sizer
from deployq.pipeline.recovery import journal_of
from deployq.pipeline.render import render_tag
from deployq.pipeline.resolve import Model
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.source.inspect import inspect
from deployq.tags.journal import Entry
from deployq.tags.names import TagName
from deployq.tags.registry import clear_staging, discard, stage
from deployq.tags.steps import Steps
from deployq.types import Artifact, ModelInfo

FULL = "F16"


@contextmanager
def staged_full_precision(
    session: Session, site: Site, model: Model, info: ModelInfo, digest: str
) -> Iterator[str]:
    """The name under which the model stands on the server in full precision, inside the block.

    What a killed process leaves is taken away by the next command that asks that server.

    Args:
        digest: hex sha256 of the source.

    Raises:
        ServerError: it can't be put there.
        BackendError, ToolMissing, DiskError: its file can't be made.
    """
    artifact = _artifact(session, info, digest)
    # A name of its own: a push of the model clears away what is staged under the model's.
    name = TagName(f"diagnose.{model.name}"[:80], FULL.lower())
    modelfile = render_tag(session, model, info, FULL).modelfile
    entry = Entry(site.place, name.model, session.lockfile.absolute(), ())
    journal = journal_of(session)
    with alone(session, site.place, name.model):
        journal.open(entry)
        clear_staging(site.server, name.model)
        models_dir = site.endpoint.models_dir
        staged = stage(
            site.server, Steps(), name, modelfile, artifact, session.progress, models_dir
        )
        try:
            yield str(staged.staging)
        finally:
            discard(site.server, staged.staging)
            journal.close(entry)


def _artifact(session: Session, info: ModelInfo, digest: str) -> Artifact:
    size = sizer(session, info, judge=False)(FULL)
    built = build(
        Workshop(session.cache_dir),
        session.backends(),
        lambda quant: choose_backend(session, info, quant).name,
        info,
        digest,
        [FULL],
        {FULL: size},
        inspect,
        session.progress,
        threads=session.config.tools.threads,
    )
    return built[FULL]

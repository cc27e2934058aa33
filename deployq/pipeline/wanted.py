"""What a tag shall be, by the configuration as it is now; push makes it so, status compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from deployq import pipeline
from deployq.artifacts.store import artifact_key
from deployq.pipeline.gating import gate_digest
from deployq.pipeline.matrices import uses_imatrix
from deployq.pipeline.prepare import choose_backend
from deployq.pipeline.render import Rendered, render_alias, render_tag
from deployq.pipeline.resolve import Model
from deployq.pipeline.session import Session
from deployq.proof.suites import Suite
from deployq.records import dataclass
from deployq.types import ModelInfo, Target

# Parameters of an alias that change where a model runs, not what it says.
_PLACING = frozenset({"num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread"})


@dataclass(frozen=True)
class Subject:
    """The model that tags are made of: what it is, what it is asked, and its digest."""

    model: Model
    info: ModelInfo
    suite: Suite
    source_digest: str


KeyOf = Callable[[Session, Subject, str], str]


@dataclass(frozen=True)
class Wanted:
    """One tag as it shall be; `fields` are those of its lock entry that a push decides.

    `alike`: it is an alias that says what its tag says, and differs in where it runs alone.
    """

    rendered: Rendered
    suite: Suite
    fields: Mapping[str, object]
    alike: bool = False


def wanted_tag(
    session: Session, subject: Subject, quant: str, key_of: KeyOf | None = None
) -> Wanted:
    """A quant's tag; `key_of`: what tells its artifact's key, else `artifact_key_of`.

    Raises:
        ModelfileError: its template does not render.
        ToolMissing, BackendError: nothing here can make the quant.
    """
    rendered = render_tag(session, subject.model, subject.info, quant)
    key = (key_of or artifact_key_of)(session, subject, quant)
    return _wanted(subject, rendered, subject.suite, key)


def wanted_alias(session: Session, subject: Subject, target: Target, of: Wanted) -> Wanted:
    """A target's alias of a quant's tag.

    Raises:
        ModelfileError: its template does not render.
    """
    tag = of.rendered
    rendered = render_alias(session, subject.model, subject.info, target, tag.quant)
    alike = not _speaks_otherwise(rendered, tag)
    suite = _short_suite(subject.suite) if alike else subject.suite
    wanted = _wanted(subject, rendered, suite, str(of.fields["artifact_key"]), str(tag.tag))
    gate = gate_digest(session.config, subject.model.name, target.name)
    return replace(wanted, fields={**wanted.fields, "gate_digest": gate}, alike=alike)


def artifact_key_of(session: Session, subject: Subject, quant: str) -> str:
    """The key of the artifact that a push would use for this quant."""
    backend = choose_backend(session, subject.info, quant)
    imatrix = ""
    if uses_imatrix(subject.model, quant):
        imatrix = pipeline.imatrix_key(session, subject.model, subject.source_digest, quant)
    version = backend.health().version
    return artifact_key(subject.source_digest, quant, backend.name, version, imatrix)


def _wanted(
    subject: Subject, rendered: Rendered, suite: Suite, key: str, alias_of: str | None = None
) -> Wanted:
    fields = {
        "model": subject.model.name,
        "quant": rendered.quant,
        "source_digest": subject.source_digest,
        "artifact_key": key,
        "modelfile_digest": rendered.digest,
        "suite_digest": suite.digest,
        "n_ctx": rendered.n_ctx,
        "alias_of": alias_of,
    }
    return Wanted(rendered, suite, fields)


def _speaks_otherwise(alias: Rendered, of: Rendered) -> bool:
    """Whether an alias may answer otherwise than the tag whose weights it has."""

    def said(rendered: Rendered) -> object:
        modelfile = rendered.modelfile
        kept = {k: v for k, v in modelfile.parameters.items() if k not in _PLACING}
        return replace(modelfile, parameters=kept), rendered.own_template

    return said(alias) != said(of)


def _short_suite(suite: Suite) -> Suite:
    """What an alias is asked that differs in its context alone: does it load and answer?

    A call of a tool is an answer without a text, and so may be a thought that was cut.
    """
    asked = suite.prompts[0]
    checks = {} if asked.tools or asked.think else {"not_empty": True}
    first = replace(asked, name="answers", checks=checks)
    return replace(suite, name="answers", prompts=(first,), threshold=1.0)

"""Where a baseline comes from: one that is kept, one that was imported, or one recorded now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from deployq.errors import ConfigError, DeployqError, ServerError, ServerRefused
from deployq.pipeline.building import artifact_of
from deployq.pipeline.locks import announced
from deployq.pipeline.prompts import settle
from deployq.pipeline.recovery import note_staging
from deployq.pipeline.render import render_tag
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.pipeline.wanted import Subject
from deployq.proof.agreement import AskerFor, noise, record
from deployq.proof.baseline import BaselineStore, finished
from deployq.proof.suites import Suite
from deployq.proof.tracing import GREEDY, TOP_LOGPROBS, Asked, Asker
from deployq.proof.verify import ask_tries
from deployq.records import dataclass
from deployq.tags.names import STAGING, TagName
from deployq.tags.registry import discard, stage
from deployq.tags.steps import Steps
from deployq.types import Answer, Baseline, BaselineKey, Json, Prompt

# What stands in for full precision where that does not run, best first.
STAND_INS = ("F16", "Q8_0", "Q6_K", "Q5_K_M")
BETTER_BASELINE = (
    "record full precision on a machine that holds it (deployq baseline MODEL --export FILE) "
    "and take it here (--import FILE)"
)
# Options of a prompt that hold for every way of asking it.
KEPT_OPTIONS = ("num_ctx", "num_batch", "num_gpu", "num_thread", "stop")


def asker_for(session: Session, site: Site, tag: str, label: str = "") -> AskerFor:
    """How a tag is asked by raw prompts; all of its askers count together."""
    asked = Asked()

    def make(prompt: Prompt) -> Asker:
        options: dict[str, Json] = {
            name: prompt.options[name] for name in KEPT_OPTIONS if name in prompt.options
        }
        return Asker(site.server, tag, session.config.runtime.timeout, options, asked, label)

    return make


def device_of(site: Site, tag: str) -> str:
    """Where a tag runs: "cpu", "gpu", or "cpu+gpu" where it is shared; it is loaded for that."""
    site.server.load(tag)
    name = TagName.parse(tag)
    held = site.server.tag(tag)
    rows = [
        row
        for row in site.server.ps()
        if name.same(row.name) or (held is not None and row.digest == held.digest)
    ]
    if not rows or not rows[0].vram_bytes:
        return "cpu"
    return "gpu" if rows[0].vram_bytes >= rows[0].size_bytes else "cpu+gpu"


def key_of(session: Session, site: Site, subject: Subject, quant: str, device: str) -> BaselineKey:
    """What a baseline that is recorded here depends on."""
    embedded = "+deployq" in site.endpoint.version
    return BaselineKey(
        model_digest=subject.source_digest,
        suite_digest=subject.suite.digest,
        quant=quant,
        options={**GREEDY, "top_logprobs": TOP_LOGPROBS},
        server=site.server.version(),
        engine="embedded" if embedded else "ollama",
        device=device,
        modelfile_digest=modelfile_digest(session, subject, quant),
    )


def modelfile_digest(session: Session, subject: Subject, quant: str) -> str:
    """Hex sha256 of what a quant's tag adds to every prompt; the same on every machine."""
    rendered = render_tag(session, subject.model, subject.info, quant)
    said = replace(rendered.modelfile, from_="weights", license=(), adapter="", projector="")
    return replace(rendered, modelfile=said).digest


def record_baseline(
    session: Session, site: Site, tag: str, quant: str, subject: Subject
) -> Baseline:
    """The baseline of a tag that stands on a server; the one that is kept, if there is one.

    An interrupted recording goes on at the prompt where it stopped.

    Raises:
        ServerError: the server does not answer.
    """
    store, suite = BaselineStore(session.cache_dir), subject.suite
    key = key_of(session, site, subject, quant, device_of(site, tag))
    if (kept := store.get(key)) is not None:
        return kept
    askers = asker_for(session, site, tag, f"{subject.suite.name} {quant}")
    answers = record(
        askers,
        suite.prompts,
        store.unfinished(key),
        session.progress,
        lambda prompt: _chats(session, site, tag, prompt),
    )
    own = noise(askers, by_name(suite), answers, session.progress)
    store.save(finished(key, suite.name, tag, answers, own))
    kept = store.get(key)
    assert kept is not None, "it was just saved"
    return kept


def _chats(session: Session, site: Site, tag: str, prompt: Prompt) -> list[Answer]:
    """What a chat answers, try by try.

    Raises:
        ServerTimeout: it does not answer.
        ServerRefused: this can't be asked of it.
    """
    seconds, answers = session.config.runtime.timeout, []
    for outcome in ask_tries(site.server, tag, prompt, seconds):
        if isinstance(outcome, ServerError):
            raise outcome
        answers.append(outcome)
    return answers


@dataclass(frozen=True)
class Found:
    """A baseline, and what is to be said of where it comes from ("" where nothing is)."""

    baseline: Baseline
    remark: str = ""


def baseline_for(
    session: Session,
    site: Site,
    subject: Subject,
    may_run: Callable[[str], bool] = lambda _: True,
) -> Found:
    """A baseline of the model for a server: kept, imported, or recorded there now.

    Full precision is tried first; where it does not run, the best quant that does stands in.

    Args:
        may_run: whether a quant can be tried there at all; the last one always is.

    Raises:
        ServerError: not even the last stand-in runs.
        ConfigError: the suite has no prompts that can be asked.
    """
    kept = BaselineStore(session.cache_dir).find(subject.source_digest, subject.suite.digest)
    whole = [baseline for baseline in kept if baseline.full_precision]
    for baseline in whole:
        if _asks_the_same(session, subject, baseline):
            return Found(baseline, _elsewhere(site, baseline))
    if whole:
        session.talk(
            f"the baseline of {whole[0].recorded} was asked with another template, system text or "
            "parameters: it is recorded again"
        )
    problem: DeployqError | None = None
    for quant in STAND_INS:
        if not may_run(quant) and quant != STAND_INS[-1]:
            session.talk(f"{quant} does not fit {site.endpoint.url}: {BETTER_BASELINE}")
            continue
        try:
            with staged_quant(session, site, subject, quant) as tag:
                return Found(record_baseline(session, site, tag, quant, subject))
        except ServerRefused as exc:
            problem = exc
            session.talk(f"{quant} does not run on {site.endpoint.url}: {exc.message}")
    assert problem is not None
    raise problem


def _asks_the_same(session: Session, subject: Subject, baseline: Baseline) -> bool:
    """Whether a baseline was given the prompts that the model's tags are given now."""
    now = modelfile_digest(session, subject, baseline.key.quant)
    return now == baseline.key.modelfile_digest


def _elsewhere(site: Site, baseline: Baseline) -> str:
    """What a baseline that another server recorded has to say of itself."""
    version = site.server.version()
    if baseline.key.server == version:
        return ""
    return (
        f"the baseline was recorded by {baseline.key.engine} {baseline.key.server} on "
        f"{baseline.key.device}, not by {version}"
    )


@contextmanager
def staged_quant(session: Session, site: Site, subject: Subject, quant: str) -> Iterator[str]:
    """A quant of a model under a staging name of its own, inside the block.

    Raises:
        ServerError: it can't be put there.
        BackendError, ToolMissing: it can't be made.
    """
    artifact = artifact_of(session, subject, quant)
    rendered = render_tag(session, subject.model, subject.info, quant)
    # A name of its own: a push of the model clears what is staged under the model's.
    name = TagName(f"measure.{subject.model.name}"[:80], quant.lower())
    with announced(session, site, name.model, "measurement") as hold:
        note_staging(session, site, hold, name)
        staged = stage(
            site.server,
            Steps(),
            name,
            rendered.modelfile,
            artifact,
            session.progress,
            site.endpoint.models_dir,
            subject.info.parts,
            owner=hold.id,
        )
        try:
            if rendered.own_template:
                settle(session, site, rendered, subject.info, artifact, staged)
            yield str(staged.staging)
        finally:
            discard(site.server, staged.staging)


def staging_prefix(model: str) -> str:
    """How the names begin under which quants of a model are measured."""
    return f"{STAGING}/measure.{model}"


def by_name(suite: Suite) -> Mapping[str, Prompt]:
    """The prompts of a suite."""
    if not suite.prompts:
        raise ConfigError(f"the suite {suite.name} has no prompts")
    return {prompt.name: prompt for prompt in suite.prompts}

"""Why prompts fail at a tag: quantization, conversion, template, or the model itself?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from deployq.digests import sha256_file
from deployq.errors import DeployqError, ServerError
from deployq.pipeline.asking import ask_each
from deployq.pipeline.checks import all_checks
from deployq.pipeline.climbing import (
    Ladder,
    bending_parameters,
    climb_context,
    climb_full_precision,
    climb_llama_cpp,
    climb_parameters,
    climb_template,
    climb_transformers,
)
from deployq.pipeline.known import Known, know, texts_of
from deployq.pipeline.parity import check_parity
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.pipeline.suspects import (
    count_evidence,
    header_evidence,
    hidden_evidence,
    prompt_evidence,
    said_in,
    template_evidence,
    tensor_evidence,
    token_id,
    weights_evidence,
)
from deployq.plan.catalogue import CATALOGUE
from deployq.proof.diagnosis import rule
from deployq.proof.sentences import Facts, mend, sentence
from deployq.proof.suites import Suite
from deployq.records import dataclass
from deployq.source.inspect import inspect
from deployq.types import Clue, Diagnosis, ModelInfo, Prompt, PromptResult, Rung

MOST_PROMPTS = 12
"""Failed prompts that are asked again, where no other number is given."""

_STEPS_UP = ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")


@dataclass(frozen=True)
class Asked:
    """What to diagnose with.

    `source` is what the tag was made from (None: the model of that name in deployq.toml),
    `trained` the Hugging Face folder that its GGUF was converted from, `most` how many of the
    prompts that fail are asked again.
    """

    suite: Suite
    source: str | None = None
    trained: Path | None = None
    most: int = MOST_PROMPTS


def diagnose(session: Session, site: Site, tag: str, asked: Asked) -> Diagnosis:
    """Ask a tag its suite, and what fails once more on each rung of the ladder.

    The user's tags stay as they are. The server loads the tag, and for the rung of full precision
    a staged one that is taken away again.

    Raises:
        ServerError: there is no such tag, or the server can't be reached.
        SourceError: what it was made from can't be read.
    """
    known = know(session, site, tag, asked.source)
    first = _as_it_is(session, site, known, asked.suite)
    failed = [result for result in first.results if not result.ok]
    names = {result.prompt.name for result in _spread(failed, asked.most)}
    prompts = [result.prompt for result in failed if result.prompt.name in names]
    texts = texts_of(site, known, prompts)
    ladder = Ladder(session, site, known, asked.suite, prompts, texts, [first])
    digest = known.shown.blob_digest
    evidence = list(weights_evidence(session, known.blob, digest, known.entry))
    if prompts:
        evidence += _climb(ladder, asked, damaged=_is_damaged(evidence))
    return _diagnosed(ladder, asked, evidence, len(failed))


def _as_it_is(session: Session, site: Site, known: Known, suite: Suite) -> Rung:
    started, title = time.monotonic(), "the tag as it is"
    checks, timeout = all_checks(session), session.config.runtime.timeout
    task = f"verify {known.tag}"
    results = ask_each(
        site.server, known.tag, suite.prompts, checks, timeout, session.progress, task
    )
    return Rung("tag", title, results, seconds=time.monotonic() - started)


def _spread(found: Sequence[PromptResult], most: int) -> list[PromptResult]:
    """At most so many, evenly over all of them."""
    if len(found) <= most:
        return list(found)
    return [found[index * len(found) // most] for index in range(most)]


# ---------------------------------------------------------------- up the ladder


def _climb(ladder: Ladder, asked: Asked, *, damaged: bool) -> Iterator[Clue]:
    """Climb as far as there is something to settle; what is seen on the way."""
    known = ladder.known
    if not damaged:
        climb_context(ladder)
        yield from _of_context(ladder)
        yield from _of_prompts(ladder)
        if ladder.left:
            climb_template(ladder)
        if ladder.left:
            climb_parameters(ladder, bending_parameters(known, ladder.left))
    if known.info is not None and known.blob_info is not None and known.info.format == "gguf":
        yield from header_evidence(known.blob_info, known.info, "what it was made from")
    if ladder.left:
        climb_full_precision(ladder)
        yield from _of_weights(ladder, damaged=damaged)
    if ladder.left and not damaged:
        climb_llama_cpp(ladder)
        yield from count_evidence(ladder.rungs)
        if files := known.weights or ((known.blob,) if known.blob else ()):
            yield from hidden_evidence(ladder.rungs, files[0])
        folder = asked.trained or known.trained
        if ladder.left and folder is not None:
            climb_transformers(ladder, folder)
        yield from _of_source(ladder, folder)


def _is_damaged(evidence: Sequence[Clue]) -> bool:
    return any(one.suspect == "damaged weights" and one.proven for one in evidence)


def _rung(ladder: Ladder, name: str) -> Rung | None:
    return next((rung for rung in ladder.rungs if rung.name == name), None)


def _of_context(ladder: Ladder) -> Iterator[Clue]:
    """How much of a prompt, or of an answer, a context cut off."""
    rung = _rung(ladder, "context")
    for result in rung.results if rung is not None else ():
        before, now = ladder.failed[result.prompt.name].answer, result.answer
        if now is None or not result.ok:
            continue
        name = result.prompt.name
        lost = now.prompt_tokens - (before.prompt_tokens if before is not None else 0)
        if before is None:
            why = said_in(ladder.failed[name].verdicts[0].reason)
            yield Clue("context", f"{name} was refused: {why}", "context", proven=True)
        elif lost > 0:
            message = f"of {name}, {lost:,} of the prompt's {now.prompt_tokens:,} tokens were cut"
            yield Clue("context", message, "context", proven=True)
        elif before.done_reason == "length":
            message = f"the answer to {name} was cut after {before.tokens:,} tokens"
            yield Clue("context", message, "context", proven=True)
        return


def _of_prompts(ladder: Ladder) -> Iterator[Clue]:
    """What is wrong with the prompts that the server makes."""
    known, texts = ladder.known, ladder.texts
    if known.header is not None:
        try:
            parity = check_parity(ladder.session, ladder.site, known.tag, known.header)
            yield from template_evidence(parity)
        except ServerError as exc:
            yield Clue("prompt", f"prompts could not be compared: {exc.message}")
    for prompt in ladder.prompts:
        own, served = texts.own.get(prompt.messages), texts.served.get(prompt.messages)
        if own is not None and served is not None:
            found = prompt_evidence(prompt.name, own, served)
            yield found or Clue("prompt", f"the prompt of {prompt.name} is the model's own")
            return


def _of_weights(ladder: Ladder, *, damaged: bool) -> Iterator[Clue]:
    """Where full precision passes what the tag fails: whether its weights are damaged."""
    rung, known = _rung(ladder, "full precision"), ladder.known
    failing = rung is not None and (rung.passed or any(r.answer is None for r in _tagged(ladder)))
    if not failing or damaged or known.blob is None or not known.weights:
        return
    try:
        yield tensor_evidence(ladder.session, [known.blob], known.weights, known.tag)
    except DeployqError as exc:
        yield Clue("weights", f"tensors could not be compared: {exc.message}")


def _tagged(ladder: Ladder) -> list[PromptResult]:
    return [ladder.failed[prompt.name] for prompt in ladder.left]


def _of_source(ladder: Ladder, folder: Path | None) -> Iterator[Clue]:
    """Where nothing passes: the source itself, and what it was converted from."""
    known = ladder.known
    if not ladder.left or known.info is None or known.info.format != "gguf":
        return
    entry = known.entry
    if entry is not None and len(known.info.files) == 1:
        found = sha256_file(known.info.files[0])
        if found != entry.source_digest:
            message = f"{known.info.path.name} is no longer what the tag was made from"
            yield Clue("source", message)
    if known.weights:
        yield tensor_evidence(ladder.session, known.weights, (), known.info.path.name)
    if folder is not None:
        trained = inspect(folder, unconverted=True)
        found_here = list(header_evidence(known.info, trained, "the folder it was converted from"))
        yield from found_here
        if not found_here:
            message = "special tokens and template are those of the folder it was converted from"
            yield Clue("special tokens", message)


# ---------------------------------------------------------------- the verdict


def _diagnosed(ladder: Ladder, asked: Asked, evidence: Sequence[Clue], failed: int) -> Diagnosis:
    ruling = rule([prompt.name for prompt in ladder.prompts], ladder.rungs, evidence)
    facts = _facts(ladder, asked, evidence, failed)
    known = ladder.known
    again = len(ladder.prompts)
    notes = (f"{again} of the {failed} prompts that fail were asked again",)
    return Diagnosis(
        tag=known.tag,
        host=ladder.site.endpoint.url,
        quant=known.quant,
        suite=asked.suite.name,
        asked=len(asked.suite.prompts),
        failed=failed,
        rungs=tuple(ladder.rungs),
        evidence=tuple(evidence),
        ruling=ruling,
        sentence=sentence(facts, ruling, ladder.rungs, evidence),
        mend=mend(facts, ruling),
        notes=notes if again < failed else (),
    )


def _facts(ladder: Ladder, asked: Asked, evidence: Sequence[Clue], failed: int) -> Facts:
    known = ladder.known
    entry = known.entry
    alias = entry is not None and entry.alias_of is not None
    source = known.info.path.name if known.info is not None else ""
    context = _rung(ladder, "context")
    unseen = any(ended.seen == "token" for ended in ladder.ended.values())
    return Facts(
        tag=known.tag,
        failed=failed,
        asked=len(asked.suite.prompts),
        model=known.model.name if known.model is not None else "",
        target=known.tag.rpartition(":")[2] if alias else "",
        quant=known.quant,
        better=_better(known.quant),
        n_ctx=ladder.n_ctx,
        n_ctx_needed=_needed(context) if context is not None else 0,
        prompt_options=any("num_ctx" in prompt.options for prompt in ladder.prompts),
        end_mark=known.end_mark,
        end_token=_end_token(known.info, known.end_mark) if unseen else None,
        parameters=bending_parameters(known, ladder.prompts),
        source=source,
        source_damaged=_source_damaged(evidence, source),
        trained=str(asked.trained or ""),
        missing=next((r.skipped for r in ladder.rungs if r.name == "full precision"), ""),
    )


def _better(quant: str) -> str:
    """The next quant to try, Q4_K_M at the least."""
    known = CATALOGUE.get(quant)
    if known is None:
        return ""
    return next((up for up in _STEPS_UP if CATALOGUE[up].rank > known.rank), "")


def _needed(context: Rung) -> int:
    """The context that the longest prompt with its answer takes, in whole 256."""
    tokens = [r.answer.prompt_tokens + _limit(r.prompt) for r in context.results if r.answer]
    return -(-max(tokens, default=0) // 256) * 256


def _limit(prompt: Prompt) -> int:
    limit = prompt.options.get("num_predict")
    return limit if isinstance(limit, int) and limit > 0 else 0


def _end_token(info: ModelInfo | None, mark: str) -> int | None:
    return token_id(info.files[0], mark) if info is not None and info.format == "gguf" else None


def _source_damaged(evidence: Sequence[Clue], source: str) -> bool:
    return bool(source) and any(
        e.suspect == "damaged weights" and f"in {source}," in e.message for e in evidence
    )

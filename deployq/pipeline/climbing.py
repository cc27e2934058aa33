"""Up the ladder: prompts that failed asked again, each time with one suspect less."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from deployq.errors import DeployqError
from deployq.pipeline.asking import Either, Key, Over, Raw, RawTag, Said, ask_each
from deployq.pipeline.checks import all_checks
from deployq.pipeline.full_precision import staged_full_precision
from deployq.pipeline.known import Known, Texts
from deployq.pipeline.prepare import source_digest
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.pipeline.wanted import Subject
from deployq.proof.diagnosis import unsettled
from deployq.proof.ended import Ended
from deployq.proof.suites import Suite
from deployq.types import (
    Answer,
    Answerer,
    Engine,
    Json,
    Prompt,
    PromptResult,
    Rung,
    RungName,
)

# What bends no answer: greedy, and nothing forbidden or wished for.
NEUTRAL: Mapping[str, Json] = {
    "temperature": 0,
    "seed": 42,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
DEFAULT_PREDICT = 512
DEFAULT_CONTEXT = 4096
LEAST_CONTEXT = 512
FULL_TYPES = frozenset({"F32", "F16", "BF16"})


@dataclass
class Ladder:
    """One tag's prompts that failed, on their way up.

    `rungs` are those so far, the tag itself first. `ended` are answers that had to be cut at
    their end mark, by conversation.
    """

    session: Session
    site: Site
    known: Known
    suite: Suite
    prompts: Sequence[Prompt]
    texts: Texts
    rungs: list[Rung]
    ended: dict[Key, Ended] = field(default_factory=dict)
    n_ctx: int = 0
    n_ctx_wide: int = 0

    # ------------------------------------------------------------ where we are

    @property
    def left(self) -> list[Prompt]:
        """The prompts that no rung has passed yet."""
        names = set(unsettled([prompt.name for prompt in self.prompts], self.rungs))
        return [prompt for prompt in self.prompts if prompt.name in names]

    @property
    def failed(self) -> Mapping[str, PromptResult]:
        """How each prompt failed at the tag itself."""
        return {result.prompt.name: result for result in self.rungs[0].results}

    @property
    def wide(self) -> dict[str, Json]:
        """Options for context enough; none where there is enough anyway."""
        return {"num_ctx": self.n_ctx_wide} if self.n_ctx_wide else {}

    def skip(self, name: RungName, title: str, why: str) -> None:
        """Note why a rung was left out."""
        self.rungs.append(Rung(name, title, skipped=why))

    def climb(
        self,
        name: RungName,
        title: str,
        answerer: Answerer,
        prompts: Sequence[Prompt],
        *,
        full_precision: bool = False,
    ) -> Rung:
        """Ask prompts in a way that has one suspect less."""
        started = time.monotonic()
        results = ask_each(
            answerer,
            self.known.tag,
            prompts,
            all_checks(self.session),
            self.session.config.runtime.timeout,
            self.session.progress,
            title,
        )
        seconds = time.monotonic() - started
        rung = Rung(name, title, results, seconds=seconds, full_precision=full_precision)
        self.rungs.append(rung)
        return rung


# ---------------------------------------------------------------- context


def climb_context(ladder: Ladder) -> None:
    """With context enough, those prompts for which it may be too small."""
    shown, trained = ladder.known.shown.parameters, _trained(ladder.known)
    ladder.n_ctx = _number(shown.get("num_ctx")) or _loaded_context(ladder) or DEFAULT_CONTEXT
    tight = [p for p in ladder.left if _room(ladder, p) > _n_ctx(ladder, p)]
    wanted = max((_wanted(ladder, prompt) for prompt in tight), default=0)
    wanted = min(wanted, trained) if trained else wanted
    have = max((_n_ctx(ladder, prompt) for prompt in tight), default=0)
    if wanted <= have:
        enough = f"a context of {ladder.n_ctx:,} holds prompts and answers"
        ladder.skip("context", "with more context", enough)
        return
    ladder.n_ctx, ladder.n_ctx_wide = have, wanted
    title = f"with a context of {wanted:,} instead of {have:,}"
    ladder.climb("context", title, Over(ladder.site.server, ladder.wide), tight)


def _n_ctx(ladder: Ladder, prompt: Prompt) -> int:
    return _number(prompt.options.get("num_ctx")) or ladder.n_ctx


def _room(ladder: Ladder, prompt: Prompt) -> int:
    """Tokens that prompt and answer can take at the most: a token has a byte, at least."""
    return _bytes(ladder, prompt) + _predict(ladder, prompt)


def _wanted(ladder: Ladder, prompt: Prompt) -> int:
    """A context that will do: a token of most texts has two bytes and more."""
    tokens = _bytes(ladder, prompt) // 2 + _predict(ladder, prompt)
    return max(LEAST_CONTEXT, -(-tokens // 256) * 256)


def _bytes(ladder: Ladder, prompt: Prompt) -> int:
    text = ladder.texts.best.get(prompt.messages)
    if text is None:
        text = "".join(message.content for message in prompt.messages)
    return len(text.encode())


def _predict(ladder: Ladder, prompt: Prompt) -> int:
    asked = prompt.options.get("num_predict", ladder.known.shown.parameters.get("num_predict"))
    number = _number(asked)
    return number if number > 0 else DEFAULT_PREDICT


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _trained(known: Known) -> int:
    return (known.header.n_ctx_train or 0) if known.header is not None else 0


def _loaded_context(ladder: Ladder) -> int:
    loaded = (row.n_ctx for row in ladder.site.server.ps() if row.name == ladder.known.tag)
    return next((n for n in loaded if n), 0)


# ---------------------------------------------------------------- template and end mark


def climb_template(ladder: Ladder) -> None:
    """With the model's own template; and the same answers, ended where they should have."""
    title = "with the same weights and the model's own chat template"
    other = [prompt for prompt in ladder.left if ladder.texts.differ(prompt)]
    raw = Raw(RawTag(ladder.site.server, ladder.known.tag), ladder.texts.own, ladder.wide)
    if ladder.known.template is None:
        ladder.skip("template", title, "nothing here tells the model's own template")
    elif not other:
        ladder.skip("template", title, "the server renders the very same prompts")
    else:
        ladder.climb("template", title, raw, other)
    _climb_end_mark(ladder, raw.said)


def _climb_end_mark(ladder: Ladder, said: dict[Key, Answer]) -> None:
    """Answers that ran on, judged as if they had stopped where their turn ends."""
    title = "once what stands behind the end mark is left out"
    texts, known = ladder.texts.best, ladder.known
    ran_on = [p for p in ladder.left if _ran_on(ladder.failed[p.name]) and p.messages in texts]
    if not ran_on:
        ladder.skip("end mark", title, "answers end by themselves")
        return
    tag = RawTag(ladder.site.server, known.tag)
    raw = Raw(tag, texts, ladder.wide, mark=known.end_mark, said=said)
    rung = ladder.climb("end mark", title, raw, ran_on)
    ladder.ended.update(raw.ended)
    cut = tuple(result for result in rung.results if result.prompt.messages in raw.ended)
    ladder.rungs[-1] = replace(rung, results=cut)
    if not cut:
        ladder.rungs.pop()
        ladder.skip("end mark", title, "no answer has an end mark in it")


def _ran_on(result: PromptResult) -> bool:
    return result.answer is not None and result.answer.done_reason == "length"


# ---------------------------------------------------------------- parameters


def climb_parameters(ladder: Ladder, bending: Sequence[str]) -> None:
    """Without what bends answers."""
    title = "with no parameter that bends answers"
    left = [p for p in ladder.left if p.messages in ladder.texts.best]
    if not bending or not left:
        ladder.skip("parameters", title, "none is set")
        return
    ladder.climb(
        "parameters", title, _neutral(ladder, RawTag(ladder.site.server, ladder.known.tag)), left
    )


def bending_parameters(known: Known, prompts: Iterable[Prompt]) -> list[str]:
    """The parameters of a tag, or options of prompts, that bend answers: "name value"."""
    found: dict[str, Json] = {}
    for options in (known.shown.parameters, *(prompt.options for prompt in prompts)):
        found.update({k: v for k, v in options.items() if k in NEUTRAL and k != "seed"})
    bent = [f"{name} {value}" for name, value in found.items() if value != NEUTRAL[name]]
    stops = [stop for stop in known.served.stops if stop != known.end_mark]
    own = known.header.stop_tokens if known.header is not None else ()
    return bent + [f"stop {stop!r}" for stop in stops if stop not in own]


def _neutral(ladder: Ladder, model: object) -> Raw:
    options = {**NEUTRAL, "stop": [], **ladder.wide}
    return Raw(model, ladder.texts.best, options, mark=ladder.known.end_mark)  # type: ignore[arg-type]


# ---------------------------------------------------------------- full precision


def climb_full_precision(ladder: Ladder) -> None:
    """The model in full precision, on the same server; for that it is staged, and taken away."""
    title = "in full precision on the same server"
    known = ladder.known
    if known.quant in FULL_TYPES:
        results = tuple(ladder.failed[prompt.name] for prompt in ladder.left)
        title = "the tag itself is in full precision"
        ladder.rungs.append(Rung("full precision", title, results, full_precision=True))
    elif not known.weights or known.model is None or known.info is None:
        ladder.skip("full precision", title, "nothing here says what the tag was made from")
    else:
        digest = source_digest(ladder.session, known.info)
        subject = Subject(known.model, known.info, ladder.suite, digest)
        try:
            with staged_full_precision(ladder.session, ladder.site, subject) as tag:
                raw = _neutral(ladder, RawTag(ladder.site.server, tag))
                answerer = Either(raw, Over(ladder.site.server, raw.options, tag))
                ladder.climb("full precision", title, answerer, ladder.left, full_precision=True)
        except DeployqError as exc:
            ladder.skip("full precision", title, exc.message)


def climb_llama_cpp(ladder: Ladder) -> None:
    """Under llama.cpp directly: no server of models in between."""
    known, left = ladder.known, [p for p in ladder.left if p.messages in ladder.texts.best]
    files = known.weights or ((known.blob,) if known.blob else ())
    whole = bool(known.weights) or known.quant in FULL_TYPES
    title = f"{'in full precision' if whole else 'the same weights'} under llama.cpp directly"
    engines = {name: e for name, e in ladder.session.engines().items() if e.health().ok}
    if not left or not files or not engines:
        missing = "no file of its weights is here" if not files else "there is no llama-server here"
        why = "no prompt is left to ask" if not left else missing
        ladder.skip("llama.cpp", title, why)
        return
    engine: Engine = next(iter(engines.values()))
    loaded: AbstractContextManager[object] = engine.load(
        files[0], ladder.n_ctx_wide or ladder.n_ctx
    )
    try:
        with loaded as model:
            ladder.climb("llama.cpp", title, _neutral(ladder, model), left, full_precision=whole)
    except DeployqError as exc:
        ladder.skip("llama.cpp", title, exc.message)


# ---------------------------------------------------------------- the trained model itself


def climb_transformers(ladder: Ladder, folder: Path) -> None:
    """The model as it was trained, before anything was converted."""
    title = "under transformers, as the model was trained"
    texts = ladder.texts.best
    # its answers can't be held to a grammar
    left = [p for p in ladder.left if p.messages in texts and p.format is None]
    able = [c for c in ladder.session.completers("huggingface").values() if c.health().ok]
    if not left or not able:
        missing = "there is no PyTorch for it: deployq tools install convert"
        ladder.skip("transformers", title, missing if left else "no prompt is left to ask")
        return
    n_predict = max(_predict(ladder, prompt) for prompt in left)
    asked = [texts[prompt.messages] for prompt in left]
    started = time.monotonic()
    try:
        said = able[0].complete(folder, asked, ladder.n_ctx, n_predict, ladder.session.progress)
        raw = _neutral(ladder, Said(dict(zip(asked, said, strict=True))))
        rung = ladder.climb("transformers", title, raw, left, full_precision=True)
        ladder.rungs[-1] = replace(rung, seconds=time.monotonic() - started)
    except DeployqError as exc:
        ladder.skip("transformers", title, exc.message)

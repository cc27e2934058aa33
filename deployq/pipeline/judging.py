"""deployq's own figures held against those of real tools: `plan --judge`, and before a push."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from deployq.errors import BackendError, ModelRejected, SourceError
from deployq.pipeline.session import Session
from deployq.plan.memory import MemoryModel
from deployq.plan.quants import own_size
from deployq.serving import DEFAULT_BATCH
from deployq.types import Judge, Judged, Memory, ModelInfo, Plan, QuantSize, Serving

Asked = Literal["nothing", "sizes", "all"]
"""What real tools are asked: nothing, the sizes of what will be built, or all that they know."""

JUDGED = Serving(num_batch=DEFAULT_BATCH)
"""What a judge is asked about: one sequence, passes as llama-fit-params has them by default."""

JUDGED_OUTPUTS = DEFAULT_BATCH
"""Tokens whose logits llama-fit-params keeps; a server keeps one."""


def able_judges(session: Session) -> list[Judge]:
    """The judges that can be asked here."""
    return [judge for judge in session.judges().values() if judge.health().ok]


def ask_size(judges: Sequence[Judge], info: ModelInfo, quant: str) -> QuantSize | None:
    """The first judge's answer; None where no tool could say (deployq's own rules can).

    Raises:
        SourceError: a tool read the file, and refuses it.
    """
    for judge in judges:
        try:
            if (size := judge.file_bytes(info.files[0], quant)) is not None:
                return size
        except ModelRejected as exc:
            raise SourceError(exc.message, hint=exc.hint) from exc
        except BackendError:
            continue
    return None


def judge_plan(session: Session, plan: Plan, asked: Asked) -> tuple[Judged, ...]:
    """Sizes that differ, for "all" every size and each target's memory, asked of real tools.

    What no tool here can say is not in it; where none can say anything and everything was asked,
    the user is told why.
    """
    judges = able_judges(session)
    if not judges and asked == "all":
        for name, judge in session.judges().items():
            health = judge.health()
            hint = f" (try: {health.hint})" if health.hint else ""
            session.talk(f"judge {name}: {health.detail}{hint}")
    sizes = tuple(_sizes(judges, plan, asked))
    if asked == "all":
        return (*sizes, *_memories(judges, plan))
    return tuple(one for one in sizes if one.own_bytes != one.judge_bytes)


def differences(judged: Sequence[Judged]) -> Iterator[str]:
    """A warning for each size that is not the tool's."""
    for one in judged:
        exact = one.what.startswith("file")
        if exact and one.own_bytes != one.judge_bytes:
            yield (
                f"{one.what}: deployq's rules say {one.own_bytes} bytes, {one.judge} says "
                f"{one.judge_bytes}; the plan takes the tool's"
            )


def _sizes(judges: Sequence[Judge], plan: Plan, asked_of: Asked) -> Iterator[Judged]:
    every = dict.fromkeys(c.quant for target in plan.targets for c in target.candidates)
    quants = every if asked_of == "all" else plan.quants
    for quant in quants:
        asked = ask_size(judges, plan.source, quant)
        if asked is not None:
            own = _own_bytes(plan.source, quant)
            yield Judged(f"file of {quant}", own, asked.file_bytes, asked.by)


def _own_bytes(info: ModelInfo, quant: str) -> int:
    try:
        return own_size(info, quant).file_bytes
    except SourceError:
        return 0


def _memories(judges: Sequence[Judge], plan: Plan) -> Iterator[Judged]:
    """KV cache and compute buffer of the source itself, which is the file that is there."""
    info = plan.source
    source = QuantSize(info.dtype, info.file_bytes, 0.0)
    model = MemoryModel(info)
    contexts = dict.fromkeys((t.target.n_ctx, t.target.cache_type) for t in plan.targets)
    for n_ctx, cache_type in contexts:
        asked = _ask_memory(judges, info, n_ctx, cache_type)
        if asked is None:
            continue
        memory, by = asked
        own = model.predict(source, n_ctx, cache_type, JUDGED, n_outputs=JUDGED_OUTPUTS)
        at = f"at {n_ctx}, {cache_type}"
        yield Judged(f"KV cache {at}", own.kv_cache_bytes, memory.kv_cache_bytes, by)
        yield Judged(
            f"compute {at} (both for passes of {JUDGED.num_batch} tokens and as many outputs; a "
            "server has one output, and larger passes at longer contexts)",
            own.compute_bytes,
            memory.compute_bytes,
            by,
        )


def _ask_memory(
    judges: Sequence[Judge], info: ModelInfo, n_ctx: int, cache_type: str
) -> tuple[Memory, str] | None:
    for judge in judges:
        try:
            if memory := judge.memory(info.files[0], n_ctx, cache_type):
                return memory, "llama-fit-params" if judge.name == "llama-quantize" else judge.name
        except ModelRejected as exc:
            raise SourceError(exc.message, hint=exc.hint) from exc
        except BackendError:
            continue
    return None

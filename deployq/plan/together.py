"""Several models kept loaded on one target: which quant of each, so that their sum fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployq.plan.catalogue import CATALOGUE, CEILINGS
from deployq.plan.planner import judge, undominated
from deployq.records import dataclass
from deployq.types import Candidate, Plan, Share, Target, TargetPlan, TogetherPlan
from deployq.units import format_bytes

VRAM_PROCESS_BYTES = 555 << 20
"""What each further model's process takes of a card: a CUDA context, 107 to 555 MiB as seen on
NVIDIA cards. The first one's is in the reserve."""

DEFAULT_LOADED = 3
"""Models that an Ollama keeps loaded at a time, per card or on the CPU, where
OLLAMA_MAX_LOADED_MODELS doesn't say otherwise (Ollama 0.34, docs/faq)."""


@dataclass(frozen=True)
class _Model:
    """One model's candidates that may be taken, best first."""

    name: str
    n_ctx: int
    candidates: tuple[Candidate, ...]


def plan_together(plans: Sequence[Plan]) -> tuple[TogetherPlan, ...]:
    """For each target the best quants of all models whose sum fits, no better than their goals.

    The model with the best quant gives way first, so that no one pays for the others; what is
    left in the end goes to whom it makes better.

    Args:
        plans: one per model, each over the same targets.
    """
    return tuple(
        _target(plan.target, [_model(p, number) for p in plans])
        for number, plan in enumerate(plans[0].targets)
    )


def _model(plan: Plan, number: int) -> _Model:
    target = plan.targets[number]
    ranked = sorted(target.candidates, key=lambda c: -CATALOGUE[c.quant].rank)
    return _Model(plan.model, target.target.n_ctx, tuple(_allowed(target, ranked)))


def _allowed(plan: TargetPlan, ranked: Sequence[Candidate]) -> list[Candidate]:
    """Those that the goal allows; all that were named where no goal was given."""
    if plan.target.quants and not plan.target.goal_given:
        return list(ranked)
    ceiling = CATALOGUE[CEILINGS[plan.target.goal]].rank
    below = [c for c in ranked if CATALOGUE[c.quant].rank <= ceiling]
    return list(dict.fromkeys(undominated(c, ranked) for c in below)) or list(ranked[-1:])


def _target(target: Target, models: Sequence[_Model]) -> TogetherPlan:
    extra = (len(models) - 1) * (VRAM_PROCESS_BYTES if target.kind == "vram" else 0)
    models = [model for model in models if model.candidates]
    budget = target.budget_bytes - extra
    places = _raise(models, _give_way(models, budget), budget)
    shares = tuple(
        Share(model.name, model.candidates[place], model.n_ctx)
        for model, place in zip(models, places, strict=True)
    )
    plan = TogetherPlan(target, shares, extra, "no", "")
    verdict = judge(plan.total_bytes, target.budget_bytes)
    return TogetherPlan(target, shares, extra, verdict, _why(plan))


def _give_way(models: Sequence[_Model], budget: int) -> list[int]:
    """Places among the candidates with which the sum fits, or the last ones of all."""
    places = [0] * len(models)
    while _total(models, places) > budget:
        able = [i for i, model in enumerate(models) if places[i] + 1 < len(model.candidates)]
        if not able:
            break
        places[max(able, key=lambda i: _best(models[i], places[i]))] += 1
    return places


def _raise(models: Sequence[_Model], places: list[int], budget: int) -> list[int]:
    """The places, with every model one better as long as it still fits, the worst first."""
    raised = True
    while raised:
        raised = False
        for i in sorted(range(len(models)), key=lambda i: _best(models[i], places[i])):
            better = [*places[:i], places[i] - 1, *places[i + 1 :]]
            if places[i] and _total(models, better) <= budget:
                places, raised = better, True
                break
    return places


def _best(model: _Model, place: int) -> tuple[int, int]:
    """How good a model's quant is; between equals, the larger file counts as better."""
    candidate = model.candidates[place]
    return CATALOGUE[candidate.quant].rank, candidate.size.file_bytes


def _total(models: Sequence[_Model], places: Sequence[int]) -> int:
    return sum(m.candidates[p].memory.total_bytes for m, p in zip(models, places, strict=True))


def _why(plan: TogetherPlan) -> str:
    total, budget = format_bytes(plan.total_bytes), format_bytes(plan.target.budget_bytes)
    if plan.total_bytes > plan.target.budget_bytes:
        missing = format_bytes(plan.total_bytes - plan.target.budget_bytes)
        return (
            f"they don't fit together: even the smallest need {total} of {budget}, {missing} more"
        )
    return f"they fit together: {total} of {budget}" + "".join(f"; {n}" for n in _notes(plan))


def _notes(plan: TogetherPlan) -> Iterator[str]:
    """What the server must be told to keep them all."""
    variables = ["OLLAMA_KEEP_ALIVE=-1"]
    if len(plan.shares) > DEFAULT_LOADED:
        variables.append(f"OLLAMA_MAX_LOADED_MODELS={len(plan.shares)}")
    yield f"to stay loaded, start the server with {' '.join(variables)}"

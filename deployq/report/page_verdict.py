"""What a run comes to, in a sentence: it stands first on its page."""

from __future__ import annotations

from collections.abc import Sequence

from deployq.records import dataclass
from deployq.report.wording import count
from deployq.types import Run, RunTag, RunTarget, Standing


@dataclass(frozen=True)
class Headline:
    """The verdict, what it rests on, and how good it is."""

    standing: Standing
    verdict: str
    because: str


def headline(run: Run) -> Headline:
    """The verdict on a run."""
    if run.kind == "push":
        return _push(run)
    if run.kind == "recommendation":
        return _recommendation(run)
    return _quality(run)


def _quality(run: Run) -> Headline:
    holding = [tag for tag in run.tags if tag.holds]
    failing = [tag for tag in run.tags if tag.holds is False]
    if not holding:
        named = _listed(failing)
        return Headline("bad", f"No quant holds: {named} {_are(failing)} worse", _basis(run))
    best = min(holding, key=lambda tag: tag.file_bytes)
    verdict = f"{best.quant} is the smallest that holds"
    if not failing:
        verdict += "; so does every larger one" if len(holding) > 1 else ""
        return Headline("good", verdict, _basis(run))
    return Headline("good", f"{verdict}; {_listed(failing)} {_do(failing)} not", _basis(run))


def _recommendation(run: Run) -> Headline:
    chosen = [target for target in run.targets if target.chosen]
    lost = [target for target in run.targets if not target.chosen]
    said = "; ".join(f"{target.chosen} for {target.name}" for target in chosen)
    if lost:
        nothing = f"nothing holds on {', '.join(target.name for target in lost)}"
        return Headline("bad", f"{said}; {nothing}" if said else nothing.capitalize(), _basis(run))
    return Headline("good", said, _basis(run))


def _push(run: Run) -> Headline:
    failed = [target for target in run.targets if not target.ok]
    if failed:
        names = ", ".join(target.name for target in failed)
        rest = len(run.targets) - len(failed)
        also = f"; {count(rest, 'other target')} done" if rest else ""
        return Headline("bad", f"Not pushed to {names}{also}", _basis(run))
    own = [tag for tag in run.tags if not tag.alias_of]
    kept = [tag for tag in own if tag.status != "skipped"]
    gone = [tag for tag in own if tag.status == "skipped" and tag.holds is False]
    said = [_kept(kept)]
    said += [f"{_listed(gone)} {_do(gone)} not hold"] if gone else []
    said += [_moved(target) for target in run.targets if target.planned]
    return Headline("warn" if len(said) > 1 else "good", "; ".join(said), _basis(run))


def _kept(tags: Sequence[RunTag]) -> str:
    if not tags:
        return "Nothing was to be pushed"
    unchanged = all(tag.status == "unchanged" for tag in tags)
    return f"{'Unchanged:' if unchanged else 'Pushed'} {_listed(tags)}"


def _moved(target: RunTarget) -> str:
    return f"{target.name} took {target.chosen} in place of {target.planned}"


def _basis(run: Run) -> str:
    """On how much the verdict rests."""
    judged = [tag for tag in run.tags if tag.total]
    if not judged:
        return "Nothing was asked in this run."
    prompts = count(max(tag.total or 0 for tag in judged), "prompt")
    against = ""
    if any(tag.agreement for tag in run.tags):
        against = f" against {run.baseline_quant or 'full precision'}"
    tokens = max((tag.agreement.compared for tag in run.tags if tag.agreement), default=0)
    counted = f", {tokens:,} tokens" if tokens else ""
    return f"{count(len(judged), 'tag')} judged{against} on {prompts}{counted}."


def _listed(tags: Sequence[RunTag]) -> str:
    names = [tag.quant for tag in tags]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _are(tags: Sequence[RunTag]) -> str:
    return "is" if len(tags) == 1 else "are"


def _do(tags: Sequence[RunTag]) -> str:
    return "does" if len(tags) == 1 else "do"


def against(tag: RunTag) -> list[str]:
    """What speaks against a tag, a line each: the gate's rules, then what the losses come to."""
    rules = [f"{rule.rule}: {rule.reason}" for rule in tag.gate if rule.status == "fail"]
    losses = [
        f"{one.what}: {one.call} at a margin of {one.margin:.0%} "
        f"and {one.loss.confidence:.0%} confidence"
        for one in tag.decisions
        if one.call != "not worse"
    ]
    return [*rules, *losses] or [tag.why]

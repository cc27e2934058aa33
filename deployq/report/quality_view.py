"""How tags do against full precision, as a terminal and as Markdown show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deployq.report.plan_markdown import escaped
from deployq.report.wording import BAD, CHOSEN, GOOD, plain, seconds_text
from deployq.types import (
    Agreement,
    Baseline,
    Estimate,
    Evidence,
    Noise,
    Quality,
    QualityReport,
    Recommendation,
)
from deployq.units import format_bytes

NOTHING = "–"
HEADERS = ("quant", "size", "checks", "same token", "KL ≥", "ppl", "rise", "cost", "")
LEGEND = (
    "checks: prompts passed; same token: share of the baseline's tokens that stay the likeliest; "
    "KL: nats per token, a lower bound; ppl: perplexity of the baseline's answers, and its rise; "
    "cost: generated tokens over those of plain answers. [ ]: intervals over prompts"
)


def quality_view(report: QualityReport) -> RenderableType:
    """The table of several quants, with intervals, noise and what failed."""
    parts: list[RenderableType] = [_title(report.baseline, report.model), ""]
    parts += [_table(report.evidence, None), "", *_footing(report.evidence)]
    return Group(*parts, *map(_remark, report.remarks))


def recommendation_view(found: Recommendation) -> RenderableType:
    """What is recommended for one target, and why."""
    mark, style = (GOOD, "green") if found.chosen else (BAD, "red")
    title = Text.assemble(
        (f"{mark} ", style), (plain(found.target), "bold"), f": {found.chosen or 'nothing'}"
    )
    best_first = sorted(found.evidence, key=lambda one: found.considered.index(one.quality.quant))
    parts: list[RenderableType] = [title, Padding(Text(plain(found.why)), (0, 0, 0, 2)), ""]
    if best_first:
        parts += [_table(best_first, found.chosen), "", *_footing(best_first)]
        counted = f"judged {len(best_first)} of {len(found.considered)} quants that fit"
        parts.append(Text(counted, style="dim"))
    return Group(*parts, *map(_remark, found.remarks))


def _title(baseline: Baseline, model: str) -> Text:
    key = baseline.key
    return Text.assemble(
        (plain(model), "bold"),
        f" against {key.quant}: {len(baseline.answers)} prompts of {plain(baseline.suite)}, "
        f"{sum(len(answer.steps) for answer in baseline.answers)} tokens, "
        f"{key.engine} {plain(key.server)} on {key.device}",
    )


def _table(evidence: Sequence[Evidence], chosen: str | None) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for number, header in enumerate(HEADERS):
        table.add_column(header, justify="right" if 0 < number < 8 else "left", no_wrap=number < 8)
    for one in evidence:
        cells = [cell.replace(" [", "\n[") for cell in _cells(one.quality)]
        mark = Text(GOOD if one.holds else BAD, style="green" if one.holds else "red")
        name = f"{CHOSEN} {cells[0]}" if cells[0] == chosen else cells[0]
        table.add_row(name, *cells[1:], mark)
    return table


def _cells(quality: Quality) -> list[str]:
    """The cells of one row, but for the last."""
    checked = quality.verification
    checks = f"{checked.passed}/{len(checked.results)}"
    size = format_bytes(quality.file_bytes) if quality.file_bytes else NOTHING
    if (found := quality.agreement) is None:
        return [quality.quant, size, checks, *[NOTHING] * 5]
    return [
        quality.quant,
        size,
        checks,
        interval(found.same_top, ".3f"),
        interval(found.kl, ".4f"),
        f"{found.perplexity.value:.3f}",
        rise(found.perplexity_ratio),
        f"{found.cost.tokens / found.cost.plain_tokens:.2f}" if found.cost.plain_tokens else "",
    ]


def interval(estimate: Estimate, form: str) -> str:
    """A figure with its interval: `0.958 [0.941–0.972]`."""
    value = f"{estimate.value:{form}}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{estimate.low:{form}}–{estimate.high:{form}}]"


def rise(ratio: Estimate) -> str:
    """A ratio as a rise in percent, with its interval."""
    value = f"{ratio.value - 1:+.1%}"
    if ratio.low is None or ratio.high is None:
        return value
    return f"{value} [{ratio.low - 1:+.1%}–{ratio.high - 1:+.1%}]"


def _footing(evidence: Sequence[Evidence]) -> Iterator[RenderableType]:
    for one in evidence:
        for rule in one.verdict.rules:
            if rule.status == "warn":
                yield Text(f"! {one.quality.quant}: {plain(rule.reason)}", style="yellow")
        if one.why:
            yield Text(f"{BAD} {one.quality.quant}: {plain(one.why)}")
    if alike := _within_noise(evidence):
        yield Text(alike)
    if noise := noise_text([e.quality.agreement for e in evidence if e.quality.agreement]):
        yield Text(noise, style="dim")
    yield Text(LEGEND, style="dim")


def _within_noise(evidence: Sequence[Evidence]) -> str:
    """Which tags are no further from full precision than noise is; "" where none is."""
    alike = [e.quality.quant for e in evidence if (a := e.quality.agreement) and not a.differs]
    return f"within the noise, so no difference: {', '.join(alike)}" if alike else ""


def noise_text(agreements: Sequence[Agreement]) -> str:
    """The largest noise of any tag, per state; "" where none was measured."""
    worst: dict[str, Noise] = {}
    for found in agreements:
        for noise in found.noise:
            if noise.state not in worst or noise.kl > worst[noise.state].kl:
                worst[noise.state] = noise
    if not worst:
        return ""
    said = "; ".join(
        f"{'from the cache' if state == 'cached' else 'after an unload'} "
        f"KL {noise.kl:.4f}, same token {noise.same_top:.3f}"
        for state, noise in worst.items()
    )
    return f"noise (a tag against itself, at worst): {said}"


def _remark(text: str) -> RenderableType:
    return Text(f"! {plain(text)}", style="yellow")


# ---------------------------------------------------------------- Markdown


def quality_markdown(report: QualityReport) -> str:
    """The table as Markdown, fit for a step summary."""
    lines = [f"# {escaped(report.model)} against {report.baseline.key.quant}", ""]
    lines += [*markdown_table(report.evidence), ""]
    lines += [f"- **{e.quality.quant}**: {escaped(e.why)}" for e in report.evidence if e.why]
    lines += [f"- {escaped(remark)}" for remark in report.remarks]
    if alike := _within_noise(report.evidence):
        lines.append(f"- {alike}")
    lines += ["", escaped(LEGEND), "", f"Measured in {seconds_text(report.seconds)}."]
    return "\n".join(lines) + "\n"


def recommendation_markdown(found: Recommendation) -> str:
    """A recommendation as Markdown."""
    lines = [f"# {escaped(found.target)}: {found.chosen or 'nothing holds'}", ""]
    lines += [escaped(found.why), "", *markdown_table(found.evidence), ""]
    lines += [f"- {escaped(remark)}" for remark in found.remarks]
    return "\n".join(lines) + "\n"


def markdown_table(evidence: Sequence[Evidence]) -> Iterator[str]:
    yield f"| {' | '.join(HEADERS[:-1])} | holds |"
    yield "|---|" + "---:|" * (len(HEADERS) - 2) + "---|"
    for one in evidence:
        cells = [*map(escaped, _cells(one.quality)), "yes" if one.holds else "**no**"]
        yield f"| {' | '.join(cells)} |"

"""A run as one HTML file: nothing is loaded, nothing runs, and it prints.

The policy in its head forbids everything but the one style sheet that stands in it, by its
hash: an answer that got through the escaping could still not run, load or send anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from deployq import __version__
from deployq.files import template_dir
from deployq.report.page_chart import chart
from deployq.report.page_matrix import Row, matrix
from deployq.report.page_measures import measures, nats, percent
from deployq.report.page_tables import figures, positions
from deployq.report.page_text import attribute, named
from deployq.report.page_verdict import against, headline
from deployq.report.wording import count, seconds_text
from deployq.types import Noise, Run, RunTag
from deployq.units import format_bytes

MOST_BYTES = 1_000_000
LIMITS = (4000, 1500, 600, 250, 100, 40)
"""Characters shown of one text: the first with which the page stays below `MOST_BYTES`."""
WIDTHS = {"wide": 940.0, "narrow": 350.0}


def run_page(run: Run) -> str:
    """The page of a run."""
    frame = _frame(run)
    for limit in LIMITS:
        html = render("report.html.j2", {**frame, **_prompts(matrix(run, limit))})
        if len(html.encode()) <= MOST_BYTES:
            break
    return html


def _frame(run: Run) -> dict[str, Any]:
    """All of a page but its prompts."""
    found = measures(run)
    return {
        "run": run,
        "headline": headline(run),
        "charts": [
            (measure, {name: chart(measure, run.tags, run.targets, width)
                       for name, width in WIDTHS.items()})
            for measure in found
        ],
        "figures": figures(run),
        "positions": positions(run),
        "sizes": {tag.quant: tag.file_bytes for tag in run.tags},
        "confidence": percent(_confidence(run)),
        "noise": [_noise(one) for one in _worst(run.tags)],
        "cost": _cost(run.tags),
        "against": against,
    }  # fmt: skip


def _prompts(rows: Sequence[Row]) -> dict[str, Any]:
    """The matrix, what its filters find, and the rows that stand open: the first that was lost."""
    lost = [row.number for row in rows if "lost" in row.kinds]
    counts = Counter(kind for row in rows for kind in row.kinds)
    return {"rows": rows, "counts": counts, "opened": lost[:1]}


def _confidence(run: Run) -> float:
    known = (tag.agreement.same_top.confidence for tag in run.tags if tag.agreement)
    return next(known, 0.95)


def _worst(tags: Sequence[RunTag]) -> list[Noise]:
    """Per state, the largest noise of any tag."""
    found: dict[str, Noise] = {}
    for one in (one for tag in tags if tag.agreement for one in tag.agreement.noise):
        if one.state not in found or one.kl > found[one.state].kl:
            found[one.state] = one
    return list(found.values())


def _noise(one: Noise) -> str:
    state = "the prompt in the cache" if one.state == "cached" else "after an unload"
    return (
        f"a tag against itself, {state}, at worst: KL {nats(one.kl)}, "
        f"same token {percent(one.same_top)}; {count(one.positions, 'token')}"
    )


def _cost(tags: Sequence[RunTag]) -> str:
    judged = [tag.agreement for tag in tags if tag.agreement]
    if not judged:
        return ""
    tokens, plain = (sum(a.tokens for a in judged), sum(a.plain_tokens for a in judged))
    requests = sum(a.requests for a in judged)
    times = f", {tokens / plain:.2f} times those of plain answers" if plain else ""
    seconds = seconds_text(sum(a.seconds for a in judged))
    return f"{requests:,} requests, {tokens:,} tokens generated{times}, {seconds}"


def render(template: str, context: Mapping[str, Any]) -> str:
    """A page by its template, with the style sheet and the policy that allows just that."""
    style = _style(template_dir())
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    page = _environment(template_dir()).get_template(template)
    return page.render(context, style=style, policy=policy, version=__version__)


@cache
def _style(folder: Path) -> str:
    return (folder / "report.css").read_text(encoding="utf-8")


@cache
def _environment(folder: Path) -> jinja2.Environment:
    """Everything is escaped that doesn't come as Markup; an unknown variable is an error."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"visible": named, "attribute": attribute, "bytes": format_bytes}
    return env

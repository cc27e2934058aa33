"""A plan as an SVG picture: one bar per candidate and target, readable on light and on dark.

The picture is one file that needs nothing else: no script, no font, no link. Colours are those
of Okabe and Ito, which people with any kind of colour vision tell apart; parts also differ by
their order, and each bar has its figures beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from deployq.report.wording import FIT_MARKS, parameters_text, plain, serving_text
from deployq.types import Candidate, Plan, TargetPlan
from deployq.units import format_bytes

WIDTH = 900
_LEFT, _BAR, _ROW, _HEIGHT = 130, 440, 24, 15
_TEXT = _LEFT + _BAR + 12
_STYLE = """
.t{font:13px system-ui,sans-serif;fill:#1f2328}
.h{font-weight:600;font-size:15px}.s{fill:#59636e;font-size:12px}.c{font-weight:700}
.w{fill:#0072b2}.k{fill:#e69f00}.p{fill:#009e73}.f{fill:#d8dee4}.r{fill:#9aa4af}
.b{stroke:#1f2328;stroke-width:2}.no{fill:#c4320a}.bg{fill:#fff}
@media (prefers-color-scheme:dark){.t{fill:#e6edf3}.s{fill:#9198a1}.f{fill:#30363d}
.r{fill:#5c6670}.b{stroke:#e6edf3}.no{fill:#ff8f6b}.bg{fill:#0d1117}.w{fill:#56b4e9}}
"""
_KINDS = (("w", "weights"), ("k", "KV cache"), ("p", "compute"), ("f", "free"), ("r", "reserve"))


def plan_chart(plan: Plan) -> str:
    """The SVG text of a plan."""
    picture = _Picture()
    picture.text(20, 20, f"{plan.model}: memory per quant and target", "h")
    info = plan.source
    about = f"{info.architecture}, {parameters_text(info.n_params)} parameters, {info.dtype}"
    picture.text(20, 20, about + (", upper bounds" if plan.upper_bound else ""), "s")
    picture.legend()
    for target in plan.targets:
        picture.target(target, plan.upper_bound)
    return picture.document(f"Memory of {plan.model} per quant and target")


@dataclass
class _Picture:
    """An SVG document that grows downwards; `y` is the base of the last line, in pixels."""

    y: float = 10.0

    def __post_init__(self) -> None:
        self.parts: list[str] = []

    def document(self, title: str) -> str:
        height = round(self.y + 20)
        start = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label={_attribute(title)}>'
        )
        return "\n".join(
            [
                start,
                f"<title>{_escaped(title)}</title>",
                f"<style>{_STYLE}</style>",
                f'<rect class="bg" width="{WIDTH}" height="{height}"/>',
                *self.parts,
                "</svg>\n",
            ]
        )

    def text(self, x: float, down: float, text: str, kind: str = "", end: bool = False) -> None:
        """A line of text, `down` pixels below the last one."""
        self.y += down
        anchor = ' text-anchor="end"' if end else ""
        self.parts.append(
            f'<text class="t {kind}" x="{x:g}" y="{self.y:g}"{anchor}>{_escaped(text)}</text>'
        )

    def legend(self) -> None:
        self.y += 26
        x = 20.0
        for kind, name in _KINDS:
            self.box(x, 12, kind)
            self.text(x + 18, 0, name, "s")
            x += 100
        self.line(x, self.y - 11, self.y + 1)
        self.text(x + 8, 0, "budget", "s")

    def target(self, plan: TargetPlan, upper_bound: bool) -> None:
        """One target: its memory, a bar per candidate, and the choice."""
        target = plan.target
        self.text(20, 36, target.name, "h")
        self.text(
            20,
            18,
            f"{target.kind} {format_bytes(target.memory_bytes)} − "
            f"{format_bytes(target.reserve_bytes)} reserve = "
            f"{format_bytes(target.budget_bytes)} budget; {serving_text(target)}",
            "s",
        )
        scale = _scale(plan)
        for candidate in sorted(plan.candidates, key=lambda c: -c.size.file_bytes):
            self.candidate(candidate, plan, scale, "≤ " if upper_bound else "")
        for number, line in enumerate(_wrapped(plan.why, 120)):
            self.text(20, 18 if number else 24, line, "no" if plan.chosen is None else "")

    def candidate(self, one: Candidate, plan: TargetPlan, scale: float, most: str) -> None:
        chosen = one.quant == plan.chosen
        kind = "c" if chosen else ""
        self.text(_LEFT - 10, _ROW, f"{'► ' if chosen else ''}{one.quant}", kind, end=True)
        x, last = float(_LEFT), _LEFT + _BAR
        for part, wanted in _parts(one, plan, scale):
            width = min(wanted, last - x)
            if width > 0:
                self.box(x, width, part)
                x += width
        budget = _LEFT + plan.target.budget_bytes * scale
        self.line(budget, self.y - 14, self.y + 5)
        verdict = f"{FIT_MARKS[one.verdict]}, {most}{format_bytes(one.memory.total_bytes)}"
        self.text(_TEXT, 0, verdict, "no" if one.verdict == "no" else kind)

    def box(self, x: float, width: float, kind: str) -> None:
        top = self.y - _HEIGHT + 3
        self.parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{top:g}" width="{width:.1f}" height="{_HEIGHT}"/>'
        )

    def line(self, x: float, top: float, bottom: float) -> None:
        self.parts.append(
            f'<line class="b" x1="{x:.1f}" y1="{top:g}" x2="{x:.1f}" y2="{bottom:g}"/>'
        )


def _scale(plan: TargetPlan) -> float:
    """Pixels per byte: the whole machine, and what is up to twice as large as it."""
    memory = max(plan.target.memory_bytes, 1)
    largest = max((c.memory.total_bytes for c in plan.candidates), default=0)
    return _BAR / min(max(memory, largest), 2 * memory)


def _parts(one: Candidate, plan: TargetPlan, scale: float) -> Iterator[tuple[str, float]]:
    """Kinds and widths from the left: what is used, what is free, what is left of the reserve."""
    memory, target = one.memory, plan.target
    yield "w", memory.weights_bytes * scale
    yield "k", memory.kv_cache_bytes * scale
    yield "p", memory.compute_bytes * scale
    yield "f", max(0, target.budget_bytes - memory.total_bytes) * scale
    left = target.memory_bytes - max(memory.total_bytes, target.budget_bytes)
    yield "r", max(0, left) * scale


def _wrapped(text: str, width: int) -> Iterator[str]:
    """`text` in lines of up to `width` characters: SVG breaks none itself."""
    line = ""
    for word in plain(text).split():
        if line and len(line) + len(word) >= width:
            yield line
            line = ""
        line = f"{line} {word}".strip()
    yield line


def _escaped(text: str) -> str:
    return escape(plain(text), quote=False)


def _attribute(text: str) -> str:
    return f'"{escape(plain(text))}"'

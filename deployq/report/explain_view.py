"""The arithmetic of one candidate, for people: line by line, so that it can be checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deployq.report.plan_view import machine_line
from deployq.report.styles import fit_text
from deployq.report.wording import plain
from deployq.types import Explanation, TensorGroup, Term
from deployq.units import format_bytes


def explain_view(one: Explanation) -> RenderableType:
    """What the file is made of, then what the memory is made of, then the verdict."""
    return Group(*_parts(one))


def _parts(one: Explanation) -> Iterator[RenderableType]:
    size = one.candidate.size
    yield Text.assemble((f"{size.quant}", "bold"), " on ", *machine_line(one.target))
    yield ""
    yield Text("the file", style="bold")
    yield _tensors(one.groups)
    yield _sum(
        [*one.file, _total("file", size.file_bytes, f"{size.bits_per_weight:.2f} bits per weight")]
    )
    yield ""
    yield Text("memory while it is served", style="bold")
    yield _sum(_memory(one))
    yield _verdict(one)


def _tensors(groups: Sequence[TensorGroup]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("role", "type", "tensors", "weights", "bits", "bytes", ""):
        left = heading in ("role", "type")
        table.add_column(
            heading, justify="left" if left else "right", no_wrap=True, overflow="ellipsis"
        )
    for group in groups:
        bits = 8 * group.data_bytes / group.n_elements if group.n_elements else 0.0
        table.add_row(
            plain(group.role),
            group.type,
            str(group.tensors),
            f"{group.n_elements:,}",
            f"{bits:.2f}",
            f"{group.data_bytes:,}",
            format_bytes(group.data_bytes),
        )
    return table


def _memory(one: Explanation) -> Iterator[Term]:
    memory = one.candidate.memory
    yield from one.weights
    for term in one.kv_cache:
        yield Term(f"KV cache: {term.what}", term.formula, term.term_bytes)
    for term in one.compute:
        yield Term(f"compute: {term.what}", term.formula, term.term_bytes)
    yield _total("memory", memory.total_bytes, "")
    yield Term("budget", "memory of the machine less its reserve", one.target.budget_bytes)
    if memory.host_bytes:
        yield Term("in RAM", "beside the card, in no other figure", memory.host_bytes)


def _total(what: str, n_bytes: int, formula: str) -> Term:
    return Term(f"= {what}", formula, n_bytes)


def _sum(terms: Iterable[Term]) -> RenderableType:
    """One line of figures per term, and how it comes about below it."""
    lines = list(terms)
    width = max(len(term.what) for term in lines)
    return Group(*(part for term in lines for part in _term(term, width)))


def _term(term: Term, width: int) -> Iterator[RenderableType]:
    figures = f"{term.term_bytes:>16,}  {format_bytes(term.term_bytes):>10}"
    style = "bold" if term.what.startswith("=") else ""
    yield Text(f"{plain(term.what):<{width}}{figures}", style=style)
    if term.formula:
        yield Padding(Text(plain(term.formula), style="dim"), (0, 0, 0, 4))


def _verdict(one: Explanation) -> Text:
    spare = one.target.budget_bytes - one.candidate.memory.total_bytes
    words = "to spare" if spare >= 0 else "too much"
    return Text.assemble(fit_text(one.candidate.verdict), f": {format_bytes(abs(spare))} {words}")

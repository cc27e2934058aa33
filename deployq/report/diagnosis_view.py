"""A diagnosis for people: the sentence, the ladder, the evidence, and what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deployq.report.wording import BAD, GOOD, NOTHING, count, one_line, plain, seconds_text
from deployq.types import Clue, Confidence, Diagnosis, PromptResult, Rung

ANSWER = 72
"""Characters of an answer that are shown."""

_WORDS: Mapping[Confidence, str] = {"certain": "certain", "likely": "likely", "open": "open"}


def diagnosis_view(found: Diagnosis) -> RenderableType:
    """Verdict first; then what was asked, what was seen, and the command that mends it."""
    return Group(*_parts(found))


def _parts(found: Diagnosis) -> Iterator[RenderableType]:
    yield _headline(found)
    yield Padding(Text(plain(found.sentence)), (0, 0, 0, 2))
    if found.mend:
        yield Text.assemble(("  mend: ", "cyan"), plain(found.mend))
    if len(found.rungs) > 1:
        yield ""
        yield Padding(_ladder(found), (0, 0, 0, 2))
    if found.evidence:
        yield ""
        yield Padding(_evidence(found.evidence), (0, 0, 0, 2))
    if example := _example(found):
        yield ""
        yield Padding(example, (0, 0, 0, 2))
    for note in found.notes:
        yield Text(f"  {plain(note)}", style="dim")


def _headline(found: Diagnosis) -> Text:
    cause, sure = found.ruling.cause, _WORDS[found.ruling.confidence]
    good = cause == "nothing wrong"
    mark, style = (GOOD, "green") if good else (BAD, "red")
    failed = f"{found.failed} of {count(found.asked, 'prompt')} fail"
    said = "" if good else f" ({sure})"
    return Text.assemble(
        (f"{mark} ", style), (plain(found.tag), "bold"), f"  {cause}{said}: {failed}"
    )


def _ladder(found: Diagnosis) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("asked", "passed", ""):
        table.add_column(title, header_style="dim", overflow="fold")
    for rung in found.rungs:
        table.add_row(plain(rung.title), *_outcome(rung))
    return table


def _outcome(rung: Rung) -> tuple[Text, Text]:
    if rung.skipped:
        return Text(NOTHING, style="dim"), Text(plain(rung.skipped), style="dim")
    passed, asked = sum(result.ok for result in rung.results), len(rung.results)
    style = "green" if passed == asked else "red" if not passed else "yellow"
    seconds = seconds_text(rung.seconds) if rung.seconds else ""
    return Text(f"{passed} of {asked}", style=style), Text(seconds, style="dim")


def _evidence(evidence: tuple[Clue, ...]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in evidence:
        mark, style = (BAD, "red") if one.suspect else (NOTHING, "dim")
        if one.suspect is None and one.proven:
            mark, style = GOOD, "green"
        table.add_row(Text(mark, style=style), one.about, Text(plain(one.message)))
    return table


def _example(found: Diagnosis) -> Table | None:
    """One prompt that fails, answered by the tag and by the rung that passed it."""
    pair = next(_pairs(found), None)
    if pair is None:
        return None
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    table.add_row("prompt", plain(pair[0][1].prompt.name))
    for rung, result in pair:
        text = result.answer.text if result.answer else result.verdicts[0].reason
        mark, style = (GOOD, "green") if result.ok else (BAD, "red")
        shown = Text.assemble((f"{mark} ", style), one_line(text, ANSWER))
        table.add_row(rung.title, shown)
    return table


def _pairs(found: Diagnosis) -> Iterator[list[tuple[Rung, PromptResult]]]:
    for name, cause in found.ruling.causes.items():
        if cause != found.ruling.cause:
            continue
        rows = [(rung, result) for rung in found.rungs for result in rung.results]
        mine = [(rung, result) for rung, result in rows if result.prompt.name == name]
        yield [mine[0], mine[-1]] if len(mine) > 1 else mine

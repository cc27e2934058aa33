"""Measurements and the benchmark table, as people and programs read them."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from deployq import report
from deployq.report.measure_table import spread, with_error
from deployq.types import (
    BenchReport,
    Comparison,
    MeasuredRow,
    Measurement,
    MeasureReport,
    Samples,
    SpeedOptions,
    Speeds,
    TextScore,
)

FULL = TextScore(Measurement(5.23, "perplexity", 0.04))
Q4 = TextScore(
    Measurement(5.41, "perplexity", 0.05),
    Measurement(1.0344, "times", 0.002),
    Measurement(0.0313, "nats", 0.0004),
    0.01,
    0.4,
    2.5,
    Measurement(0.919, "share", 0.002),
)
COMPARISON = Comparison(512, 64, 16320, "llama-perplexity b11434", FULL, {"Q4_K_M": Q4})
OPTIONS = SpeedOptions(repeats=3)


def speeds(factor: float, memory_bytes: int | None = 1 << 30) -> Speeds:
    return Speeds(
        Samples((90.0 * factor, 110.0 * factor, 100.0 * factor), "tokens/s"),
        Samples((9.0 * factor, 11.0 * factor, 10.0 * factor), "tokens/s"),
        Samples((1.5, 1.0, 1.25), "s"),
        memory_bytes,
        cold=True,
        device="CPU",
        by="llama-bench and llama-server b11434",
    )


ROWS = (
    MeasuredRow("F16", 13_500_000_000, 16.0, score=FULL, speeds=speeds(1)),
    MeasuredRow("Q4_K_M", 4_100_000_000, 4.89, "ab" * 32, score=Q4, speeds=speeds(2, None)),
)
MEASURED = MeasureReport("m", "wiki|text", ROWS, COMPARISON, "perplexity", ("a note",))
BENCHED = BenchReport("m", "a <machine>", OPTIONS, ROWS, "wiki", COMPARISON)


def shown(view: object, width: int = 160) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_measurement_in_the_terminal() -> None:
    text = shown(report.measure_view(MEASURED))
    for words in (
        "5.230 ± 0.040",
        "+3.4 ± 0.2 %",
        "0.03130 ± 0.00040",
        "91.9 ± 0.2 %",
        "Q4_K_M + imatrix",
        "16,320 tokens scored in 64 chunks of 512",
        "a note",
    ):
        assert words in text


def test_the_table_in_the_terminal() -> None:
    text = shown(report.bench_view(BENCHED), 200)
    assert "1.00x" in text
    assert "2.00x" in text
    assert "20.0 (18.0-22.0)" in text
    assert "1.25 s (1.00-1.50)" in text
    assert "1.0 GiB" in text
    assert "from disk" in text


def test_markdown_escapes_what_is_foreign() -> None:
    text = report.measure_markdown(MEASURED)
    assert text.startswith("| quant | size | bits/w | perplexity | change |")
    assert "wiki\\|text" in text
    assert "a \\<machine\\>" in report.bench_markdown(BENCHED)
    assert len({line.count(" | ") for line in text.splitlines() if line.startswith("| ")}) == 1


def test_csv_holds_bare_numbers() -> None:
    first, second = csv.DictReader(io.StringIO(report.bench_csv(BENCHED)))
    assert first["answer_tokens_per_second"] == "10.0"
    assert first["memory_bytes"] == str(1 << 30)
    assert (second["quant"], second["perplexity"]) == ("Q4_K_M", "5.41")
    assert second["memory_bytes"] == ""


def test_documents() -> None:
    document = report.bench_document(BENCHED)
    assert document["schema"] == 1
    full, q4 = document["quants"]
    assert full["score"]["kl_divergence"] is None
    assert q4["score"]["same_top"] == {"value": 0.919, "error": 0.002, "unit": "share"}
    assert q4["speeds"]["prompt"]["median"] == 200.0
    assert report.measure_document(MEASURED)["comparison"]["tokens"] == 16320


def test_what_was_not_measured_stays_empty() -> None:
    bare = BenchReport("m", "here", OPTIONS, (MeasuredRow("F16", 10, 16.0),))
    assert "–" in shown(report.bench_view(bare))
    assert report.bench_document(bare)["quants"][0]["speeds"] is None


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (None, "–"),
        (Measurement(7456.4054, "", 3251.35), "7456 ± 3251"),
        (Measurement(5.2334, "", 0.0412), "5.233 ± 0.041"),
        (Measurement(0.25, "", None), "0.25"),
        (Measurement(-0.000004, "", 0.000001), "-0.000004 ± 0.000001"),
    ],
)
def test_digits_follow_the_error(figure: Measurement | None, text: str) -> None:
    assert with_error(figure) == text


def test_one_run_has_no_spread() -> None:
    assert spread(Samples((12.34,), "s"), "s") == "12.3 s"
    assert spread(None) == "–"
    assert Samples((1.0, 4.0, 2.0, 3.0), "s").median == 2.5

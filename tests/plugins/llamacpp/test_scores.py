"""What llama-perplexity and llama-bench print, of this version and others."""

from __future__ import annotations

import pytest
from deployq_llamacpp.perplexity import base_bytes, scored_tokens
from deployq_llamacpp.scores import LostFigure, NoFigure, parse_chunk, parse_divergence, parse_final
from deployq_llamacpp.speed import parse_bench

from deployq import BackendError

DIVERGENCE = """\
kl_divergence: computing over 4 chunks, n_ctx=512, batch_size=2048, n_seq=4
chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence
   1    1058.8487 ±  465.8723       0.60479 ±    0.15148       0.47256 ±    0.05639
====== Perplexity statistics ======
Mean PPL(Q)                   : 1378.722722 ± 300.949506
Mean PPL(base)                : 790.503668 ± 144.290494
Cor(ln(PPL(Q)), ln(PPL(base))):  94.03%
Mean PPL(Q)/PPL(base)         :   1.744107 ±   0.135509

====== KL divergence statistics ======
Mean    KLD:   0.491132 ±   0.032674
Maximum KLD:   9.868670
99.0%   KLD:   5.674490
Median  KLD:   0.069102

====== Token probability statistics ======
RMS Δp    : 11.554 ± 0.961 %
Same top p: 77.353 ± 1.311 %
"""


def test_a_divergence() -> None:
    score, base = parse_divergence(DIVERGENCE)
    assert (score.perplexity.value, score.perplexity.error) == (1378.722722, 300.949506)
    assert base.value == 790.503668
    assert score.ratio is not None
    assert score.kl_divergence is not None
    assert score.same_top is not None
    assert (score.ratio.value, score.kl_divergence.value) == (1.744107, 0.491132)
    assert (score.kl_max, score.kl_99, score.kl_median) == (9.86867, 5.67449, 0.069102)
    assert score.same_top.value == pytest.approx(0.77353)
    assert score.same_top.error == pytest.approx(0.01311)


@pytest.mark.parametrize("sign", ["+/-", "��", "±"])
def test_the_signs_of_an_error(sign: str) -> None:
    score, _ = parse_divergence(DIVERGENCE.replace("±", sign))
    assert score.perplexity.error == 300.949506


def test_an_older_version_calls_the_mean_otherwise() -> None:
    score, _ = parse_divergence(DIVERGENCE.replace("Mean    KLD", "Average"))
    assert score.kl_divergence is not None
    assert score.kl_divergence.value == 0.491132


def test_figures_that_other_versions_do_not_print_are_none() -> None:
    without = "\n".join(line for line in DIVERGENCE.splitlines() if "99.0%" not in line)
    assert parse_divergence(without)[0].kl_99 is None


@pytest.mark.parametrize("cut", ["Mean    KLD", "Same top p", "Mean PPL(Q)  "])
def test_lost_lines_are_told_from_figures_that_are_no_numbers(cut: str) -> None:
    with pytest.raises(LostFigure):
        parse_divergence(DIVERGENCE[: DIVERGENCE.index(cut)])
    with pytest.raises(NoFigure, match="does not compute") as caught:
        parse_divergence(DIVERGENCE.replace("0.491132 ±   0.032674", "nan ±        nan"))
    assert not isinstance(caught.value, LostFigure)


@pytest.mark.parametrize(
    "line",
    [
        "0.01.602.951 I Final estimate: PPL = 1420.8000 +/- 311.56186",
        "Final estimate: PPL over 4 chunks for n_ctx=512 = 1420.8000 +/- 311.56186",
    ],
)
def test_a_final_estimate(line: str) -> None:
    found = parse_final(f"[1]1093.9,[2]1226.5,\n{line}\n")
    assert (found.value, found.error) == (1420.8, 311.56186)


def test_no_final_estimate() -> None:
    with pytest.raises(LostFigure):
        parse_final("[1]1093.9,[2]1226.5,")
    with pytest.raises(NoFigure, match="nan"):
        parse_final("Final estimate: PPL = nan +/- nan")


def test_rows_of_chunks() -> None:
    assert parse_chunk("   3    1350.7220 ±  339.4546       0.59066 ±    0.08740") == 3
    assert parse_chunk("chunk             PPL") is None


def test_the_size_of_base_logits_of_a_known_file() -> None:
    """4 chunks of 512 with 2,048 tokens, written by b11434: 4,194,292 bytes."""
    assert base_bytes(512, 2048, 4) == 4194292
    assert scored_tokens(512, 4) == 4 * 255


def test_benchmarks_among_what_is_logged() -> None:
    text = '[info] [0]\nload: done\n[\n  {"avg_ts": 12.5, "n_gen": 0, "backends": "CPU"}\n]\nbye'
    assert parse_bench(text)[0]["avg_ts"] == 12.5
    for nothing in ("", "[]", "[1, 2]", '[{"n_gen": 0}]', "[ {"):
        with pytest.raises(BackendError, match="gave no figure"):
            parse_bench(nothing)

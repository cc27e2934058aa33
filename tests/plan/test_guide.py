"""The lesson's tables: shapes against real headers, cells against what they are known to be."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import pytest

from deployq.plan.catalogue import CATALOGUE
from deployq.plan.guide import SHAPES, guide, model_of
from deployq.plan.memory import predict
from deployq.plan.planner import judge
from deployq.plan.quants import own_size
from deployq.types import GuideFit
from tests.plan.conftest import Oracle

GB = 10**9
WORKED_OUT = guide()
CELLS = list(chain.from_iterable(WORKED_OUT.fits.values()))


def cell(machine: str, model: str, quant: str) -> GuideFit:
    (found,) = [
        c
        for c in CELLS
        if (c.machine.split(" (")[0], c.model, c.candidate.quant) == (machine, model, quant)
    ]
    return found


@pytest.mark.parametrize(("size", "name"), [("7B", "llama-2-7b"), ("70B", "llama-2-70b")])
def test_a_shape_is_the_published_model(
    oracle: Callable[[str], Oracle], size: str, name: str
) -> None:
    """Weights and cache are those of the real header, to the byte."""
    made, real = model_of(SHAPES[size]), oracle(name).info
    assert made.n_params == real.n_params
    assert {(t.name, t.shape) for t in made.tensors} == {(t.name, t.shape) for t in real.tensors}
    for quant in ("F16", "Q8_0", "Q4_K_M", "Q2_K"):
        ours, theirs = own_size(made, quant), own_size(real, quant)
        assert ours.file_bytes - made.header_bytes == theirs.file_bytes - real.header_bytes
        assert ours.file_bytes == pytest.approx(theirs.file_bytes, abs=100_000)
        assert predict(made, ours, 4096) == predict(real, theirs, 4096)


@pytest.mark.parametrize(
    ("size", "quant", "gb"),
    [("13B", "Q4_K_M", 7.87), ("34B", "Q4_K_M", 20.22), ("70B", "Q5_K_M", 48.75)],
)
def test_a_file_is_as_large_as_the_published_one(size: str, quant: str, gb: float) -> None:
    """As listed for TheBloke's Llama-2-13B, CodeLlama-34B and Llama-2-70B GGUFs."""
    assert own_size(model_of(SHAPES[size]), quant).file_bytes / GB == pytest.approx(gb, abs=0.01)


@pytest.mark.parametrize(
    ("size", "billions"),
    [("7B", 6.74), ("13B", 13.02), ("34B", 33.74), ("70B", 68.98), ("405B", 405.85)],
)
def test_parameters(size: str, billions: float) -> None:
    assert model_of(SHAPES[size]).n_params / 1e9 == pytest.approx(billions, abs=0.01)


def test_every_cell_of_the_lesson_is_there() -> None:
    assert {title: len(fits) for title, fits in WORKED_OUT.fits.items()} == {
        "RAM": 10,
        "VRAM": 9,
        "Apple Silicon": 8,
    }


def test_a_verdict_never_contradicts_its_figures() -> None:
    for fit in CELLS:
        total = fit.candidate.memory.total_bytes
        assert fit.candidate.verdict == judge(total, fit.budget_bytes)
        same = (fit.claim == "no") == (total > fit.budget_bytes)
        assert bool(fit.why) != same, fit


@pytest.mark.parametrize(
    ("machine", "model", "quant", "verdict"),
    [
        ("16 GB RAM", "7B", "F16", "no"),
        ("32 GB RAM", "34B", "Q4_K_M", "fits"),
        ("24 GB", "70B", "Q4_K_M", "no"),
        ("M1/M2 Max, 64 GB", "70B", "Q4_K_M", "fits"),
    ],
)
def test_where_the_lesson_is_right(machine: str, model: str, quant: str, verdict: str) -> None:
    found = cell(machine, model, quant)
    assert found.candidate.verdict == verdict
    assert found.why == ""


@pytest.mark.parametrize(
    ("machine", "model", "quant", "why"),
    [
        ("8 GB RAM", "7B", "Q8_0", "weights alone"),
        ("8 GB RAM", "7B", "Q4_K_M", "KV cache"),
        ("M2 Ultra, 192 GB", "405B", "Q4_K_M", "weights alone"),
    ],
)
def test_where_it_is_off(machine: str, model: str, quant: str, why: str) -> None:
    found = cell(machine, model, quant)
    assert found.candidate.verdict == "no"
    assert why in found.why


def test_the_lessons_file_sizes_are_good_to_one_percent() -> None:
    for size in WORKED_OUT.sizes:
        assert size.claimed_bytes == pytest.approx(size.size.file_bytes, rel=0.01)


def test_the_lessons_bits_are_nominal() -> None:
    off = {s.quant: s.size.bits_per_weight - s.claimed_bits for s in WORKED_OUT.sizes}
    assert off["F16"] < 0.01
    assert all(off[quant] > 0.4 for quant in off if quant != "F16")


def test_a_goal_takes_what_the_decision_guide_advises() -> None:
    for choice in WORKED_OUT.choices:
        assert choice.chosen in choice.advised
        assert choice.chosen in CATALOGUE

from __future__ import annotations

import pytest
from deployq_llamacpp.output import (
    PlannedTensor,
    parse_count,
    parse_fallbacks,
    parse_planned,
    parse_types,
)
from hypothesis import given
from hypothesis import strategies as st

from deployq.llama_output import LAST_WORDS_LINES, last_words

DRY = (
    "[   4/  21] blk.0.attn_k.weight                  - [   256,    128,      1,      1], "
    "type =    f16, size =     0.06 MiB ->     0.02 MiB (q4_K)"
)
KEPT = (
    "[   2/  21] output_norm.weight                   - [   256,      1,      1,      1], "
    "type =    f32, size =    0.001 MiB"
)
WORKING = (
    "[  21/  21] blk.1.ffn_up.weight                  - [   256,    512,      1,      1], "
    "type =    f16, converting to q4_K .. size =     0.25 MiB ->     0.07 MiB"
)
REFUSED = (
    "[   1/  21] output.weight                        - [   256,    356,      1,      1], "
    "type =   q6_K, llama_model_quantize: failed to quantize: requantizing from type q6_K"
)


def test_planned_tensor() -> None:
    assert parse_planned(DRY) == PlannedTensor("blk.0.attn_k.weight", (256, 128), "Q4_K")


def test_a_tensor_that_is_left_as_it_is() -> None:
    assert parse_planned(KEPT) == PlannedTensor("output_norm.weight", (256,), "F32")


def test_experts_keep_their_third_dimension() -> None:
    line = DRY.replace("128,      1,", "128,      8,").replace("q4_K", "iq4_nl")
    assert parse_planned(line) == PlannedTensor("blk.0.attn_k.weight", (256, 128, 8), "IQ4_NL")


@pytest.mark.parametrize("line", [WORKING, REFUSED, "", "[1/2] x", "llama_quantize: done"])
def test_what_plans_no_tensor(line: str) -> None:
    assert parse_planned(line) is None


@pytest.mark.parametrize(
    ("line", "count"),
    [(DRY, (4, 21)), (WORKING, (21, 21)), ("[1234/5678] x", (1234, 5678)), (" [1/2]", None)],
)
def test_count(line: str, count: tuple[int, int] | None) -> None:
    assert parse_count(line) == count


def test_types_without_aliases() -> None:
    text = (
        "   2  or  Q4_0    :  4.34G, +0.4685 ppl\n  15  or  Q4_K    : alias for Q4_K_M\n"
        "  15  or  Q4_K_M  :  4.58G\n  38  or  MXFP4_MOE :  MXFP4 MoE\n"
        "          COPY    : only copy\n"
    )
    assert parse_types(text) == {"Q4_0", "Q4_K_M", "MXFP4_MOE"}


def test_fallbacks() -> None:
    said = "impl: WARNING: 13 of 21 tensor(s) required fallback quantization"
    assert parse_fallbacks(f"x\n{said}\n") == 13
    assert parse_fallbacks("all well") == 0


def test_last_words_leave_the_noise_out() -> None:
    said = "llama_quantize: failed to quantize model from 'x.gguf'"
    noise = ["version: 1", "built with GNU", "llama_model_loader: - kv 1: x str = y", KEPT, WORKING]
    assert last_words("\n".join([*noise, REFUSED, "", "=====", said])) == (
        "llama_model_quantize: failed to quantize: requantizing from type q6_K\n" + said
    )


@given(st.text())
def test_nothing_printed_breaks_a_parser(text: str) -> None:
    parse_types(text)
    assert parse_fallbacks(text) >= 0
    assert len(last_words(text).splitlines()) <= LAST_WORDS_LINES or "\n" in text
    for line in text.splitlines():
        planned = parse_planned(line)
        assert planned is None or planned.shape


@given(
    st.from_regex(r"[a-z0-9_.]{1,60}", fullmatch=True),
    st.lists(st.integers(1, 10**6), min_size=1, max_size=4),
    st.sampled_from(["q4_K", "iq2_xxs", "bf16", "mxfp4"]),
)
def test_every_tensor_comes_back(name: str, shape: list[int], kind: str) -> None:
    padded = [*shape, *[1] * (4 - len(shape))]
    extents = ", ".join(f"{extent:6d}" for extent in padded)
    line = (
        f"[   1/   2] {name:36s} - [{extents}], type = {'f16':>6s}, "
        f"size = {1.0:8.2f} MiB -> {0.5:8.2f} MiB ({kind})"
    )
    planned = parse_planned(line)
    assert planned is not None
    assert (planned.name, planned.type) == (name, kind.upper())
    restored = [*planned.shape, *[1] * (4 - len(planned.shape))]
    assert restored == padded

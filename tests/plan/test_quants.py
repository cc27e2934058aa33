"""The catalogue and the exact sizes, held against llama-quantize."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq import proc
from deployq.errors import ConfigError, SourceError
from deployq.ggml import TYPES, tensor_bytes
from deployq.plan.catalogue import CEILINGS, COMMON, best_first, exceeds
from deployq.plan.mixes import _ROLES, Model, Seat, kind_of, wanted_type
from deployq.plan.quants import CATALOGUE, own_size, parse_quants, tensor_types
from deployq.source.inspect import inspect
from deployq.types import ModelInfo
from tests.plan.conftest import MODELS, Oracle
from tests.plan.models import SHAPES
from tests.source.gguf_files import llama_keys, llama_tensors, write_llama, write_sparse

# Those whose rules differ from a plain Llama's.
MIXED = (
    "mixtral-8x7b", "qwen3-30b-a3b", "qwen1.5-moe-a2.7b", "deepseek-v2-lite", "falcon-7b",
    "falcon2-11b", "phi-3-mini", "gemma-3-1b", "deci-8b", "qwen2-72b", "narrow",
)  # fmt: skip
# Quants that have rules of their own, and one of those that have none.
MIXES = (
    "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q2_K_S",
    "IQ4_XS", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XXS", "IQ1_S",
    "MXFP4_MOE", "TQ1_0", "Q1_0",
)  # fmt: skip
NAMES = st.sampled_from(sorted(CATALOGUE))


# ---------------------------------------------------------------- names


@given(st.lists(NAMES, min_size=1), st.data())
def test_names_in_any_case_each_once_in_order(names: list[str], data: st.DataObject) -> None:
    typed = [data.draw(st.sampled_from([n, n.lower(), f" {n} ", n.title()])) for n in names]
    assert parse_quants(",".join(typed)) == tuple(dict.fromkeys(names))


@given(st.text(max_size=30))
def test_other_text_is_refused_with_a_hint(text: str) -> None:
    try:
        found = parse_quants(text)
    except ConfigError as exc:
        refusal = exc
    else:
        assert set(found) <= set(CATALOGUE)
        return
    assert refusal.hint


@pytest.mark.parametrize(
    ("typed", "near"), [("Q4_KM", "Q4_K_M"), ("q8", "Q8_0"), ("FP16", "F16"), ("iq4xs", "IQ4_XS")]
)
def test_the_nearest_name_is_offered(typed: str, near: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(typed))) as caught:
        parse_quants(typed)
    assert near in caught.value.hint


def test_llama_quantize_s_own_aliases() -> None:
    assert parse_quants("Q3_K,q4_k,Q5_K") == ("Q3_K_M", "Q4_K_M", "Q5_K_M")


def test_no_name_at_all() -> None:
    with pytest.raises(ConfigError, match="no quant is named"):
        parse_quants(" , ")


# ---------------------------------------------------------------- the catalogue


def test_ranks_follow_what_was_measured() -> None:
    for figure in ("kld", "ppl_increase"):
        known = {n: v for n, q in CATALOGUE.items() if (v := getattr(q, figure)) is not None}
        known.pop("Q2_K_S", None)  # its figure is with an importance matrix, Q2_K's without
        known.pop("F16", None)
        known.pop("BF16", None)
        assert sorted(known, key=lambda n: known[n]) == list(best_first(tuple(known)))


def test_common_quants_need_no_imatrix_and_hold_every_ceiling() -> None:
    assert not [name for name in COMMON if CATALOGUE[name].needs_imatrix]
    assert set(CEILINGS.values()) <= set(COMMON)
    assert list(best_first(COMMON)) == list(COMMON)


def test_nominal_bits_are_those_of_llama_3_8b(oracle: Callable[[str], Oracle]) -> None:
    info = oracle("llama-3-8b").info
    for name, quant in CATALOGUE.items():
        assert own_size(info, name).bits_per_weight == pytest.approx(
            quant.bits_per_weight, abs=0.0051
        )


@pytest.mark.parametrize(
    ("quant", "dtype", "more"),
    [("F32", "F16", True), ("F16", "BF16", False), ("BF16", "F16", False), ("F16", "Q8_0", True),
     ("Q8_0", "F32", False), ("Q4_K_M", "Q4_K", False), ("Q5_K_M", "Q4_K", True)],
)  # fmt: skip
def test_what_exceeds_a_source(quant: str, dtype: str, more: bool) -> None:
    assert exceeds(quant, dtype) is more


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("model", MODELS)
def test_sizes_equal_the_oracle_byte_for_byte(oracle: Callable[[str], Oracle], model: str) -> None:
    known = oracle(model)
    assert len(known.sizes) == 17
    for quant, said in known.sizes.items():
        size = own_size(known.info, quant)
        types, _ = tensor_types(known.info, quant)
        assert size.file_bytes == said["file_bytes"], quant
        assert size.fallback_tensors == said["fallbacks"], quant
        assert size.bits_per_weight == pytest.approx(said["bpw"], abs=0.005), quant
        assert Counter(types) == said["types"], quant


def dry_run(tools: Path, gguf: Path, quant: str) -> tuple[dict[str, str], int] | None:
    """What llama-quantize says it would do: type per tensor, fallbacks; None: it refuses."""
    done = proc.run([tools / "llama-quantize", "--dry-run", gguf, quant], check=False)
    if done.returncode:
        return None
    line = r"\[ *\d+/ *\d+\] +(\S+) +- \[.*?\], type = +(\w+), size = .*?(?:\((\w+)\))?$"
    types = {
        name: (made or was).upper()
        for name, was, made in re.findall(line, done.stdout, re.MULTILINE)
    }
    fallbacks = re.search(r"(\d+) of \d+ tensor\(s\) required fallback", done.stdout)
    return types, int(fallbacks[1]) if fallbacks else 0


def ours(info: ModelInfo, quant: str) -> tuple[dict[str, str], int] | None:
    try:
        types, fallbacks = tensor_types(info, quant)
    except SourceError:
        return None
    return dict(zip((t.name for t in info.tensors), types, strict=True)), fallbacks


@pytest.mark.tools
@pytest.mark.parametrize("model", ["llama-2-70b", "smollm2-135m"])
def test_the_quants_that_the_oracle_lacks(
    oracle: Callable[[str], Oracle], tools_bin: Path, model: str
) -> None:
    info = oracle(model).info
    for quant in CATALOGUE.keys() - oracle(model).sizes.keys():
        assert ours(info, quant) == dry_run(tools_bin, info.path, quant), quant


@pytest.mark.tools
@pytest.mark.parametrize("name", MIXED)
def test_other_architectures_are_mixed_as_the_tool_mixes_them(
    tmp_path: Path, tools_bin: Path, name: str
) -> None:
    """Experts, latent attention, joined QKV, Falcon, layers that differ, rows of 48."""
    shape = SHAPES[name]
    info = inspect(
        write_sparse(
            tmp_path / "m.gguf", shape.architecture, shape.keys, shape.tensors, shape.types
        )
    )
    for quant in MIXES:
        assert ours(info, quant) == dry_run(tools_bin, info.path, quant), quant


@pytest.mark.tools
@pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M", "Q2_K", "IQ4_XS", "TQ2_0", "F32", "BF16"])
def test_the_file_that_is_really_written_has_that_size(
    tmp_path: Path, tools_bin: Path, quant: str
) -> None:
    source, made = write_llama(tmp_path / "a.gguf"), tmp_path / "b.gguf"
    proc.run([tools_bin / "llama-quantize", source, made, quant])
    assert own_size(inspect(source), quant).file_bytes == made.stat().st_size


def test_rows_that_nothing_divides_are_refused_by_name(tmp_path: Path) -> None:
    info = inspect(
        write_sparse(
            tmp_path / "a.gguf", "llama", llama_keys(), llama_tensors(width=96, kv=96, ff=96)
        )
    )
    with pytest.raises(SourceError, match=r"Q1_0 can't be made.*token_embd"):
        own_size(info, "Q1_0")


SHAPE = st.lists(st.integers(1, 40), min_size=1, max_size=2).map(lambda s: (256 * s[0], *s[1:]))


@given(
    quant=NAMES,
    role=st.sampled_from(
        sorted({role for _, role in _ROLES} | {"output", "token_embd", "other", "never_below_q8"})
    ),
    n=st.integers(0, 200),
    i=st.integers(0, 200),
    j=st.integers(0, 200),
    experts=st.sampled_from([0, 1, 4, 8, 64]),
    architecture=st.sampled_from(["llama", "falcon", "bailingmoe3", "glm5-next"]),
)
def test_tensors_of_one_kind_get_one_type(
    quant: str, role: str, n: int, i: int, j: int, experts: int, architecture: str
) -> None:
    one, other = (Seat(role, number, number, (256, 8, 2)) for number in (i, j))
    if kind_of(one, n) == kind_of(other, n):
        for gqa, large in ((1, False), (8, True)):
            model = Model(quant, architecture, n, experts, gqa, large, tied=False, n_attn_v=n)
            assert wanted_type(model, one) == wanted_type(model, other)


@given(shape=SHAPE)
def test_bytes_of_a_tensor_grow_with_its_bits(shape: tuple[int, ...]) -> None:
    sizes = {name: tensor_bytes(shape, name) for name in TYPES}
    order = sorted(TYPES, key=lambda name: TYPES[name].bits)
    assert [sizes[n] for n in order] == sorted(sizes.values())


@pytest.mark.parametrize("model", MODELS)
def test_files_grow_with_bits(oracle: Callable[[str], Oracle], model: str) -> None:
    sizes = [own_size(oracle(model).info, name) for name in CATALOGUE if name != "Q1_0"]
    by_bits = sorted(sizes, key=lambda size: size.bits_per_weight)
    assert [s.file_bytes for s in by_bits] == sorted(s.file_bytes for s in sizes)


def test_the_order_of_tensors_does_not_matter(oracle: Callable[[str], Oracle]) -> None:
    info = oracle("llama-3.2-1b").info
    turned = replace(info, tensors=info.tensors[::-1])
    for quant in ("Q4_K_M", "Q3_K_M", "IQ4_XS"):
        assert own_size(turned, quant) == own_size(info, quant)

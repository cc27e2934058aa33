"""What a card that is too small would hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.ggml import tensor_bytes
from deployq.plan.disk import Place
from deployq.plan.memory import predict
from deployq.plan.offload import RAM_BYTES_PER_SECOND, kept_bytes, layer_bytes, lookups, offload
from deployq.plan.planner import make_plan
from deployq.plan.quants import own_size, tensor_types
from deployq.source.inspect import inspect
from deployq.types import Bandwidth, Memory, MemoryKind, ModelInfo, Target
from tests.plan.conftest import MODELS, Oracle
from tests.plan.judged import judged
from tests.plan.loadable import write_loadable
from tests.plan.models import ModelShape, keys
from tests.source.gguf_files import llama_tensors, write_sparse

GIB, MIB = 1 << 30, 1 << 20
CARDS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).resolve().parent.parent / "data/offload/cards.json").read_text()
)


def layers_of(info: ModelInfo, quant: str) -> list[int]:
    return layer_bytes(info, tensor_types(info, quant)[0])


def kept_of(info: ModelInfo) -> list[int]:
    return kept_bytes(info, Target("card", "vram", 8 << 30, 0, 4096))


def card(n_bytes: int, bandwidth: float | None = None) -> Target:
    known = Bandwidth(bandwidth) if bandwidth else None
    return Target("card", "vram", n_bytes, 0, 8192, bandwidth=known)


@pytest.fixture(scope="module")
def llama(oracle: Callable[[str], Oracle]) -> ModelInfo:
    return oracle("llama-2-70b").info


def test_layers_are_those_of_the_header(llama: ModelInfo) -> None:
    layers = layers_of(llama, "Q4_K_M")
    assert len(layers) == 81
    size = own_size(llama, "Q4_K_M").file_bytes - llama.header_bytes
    embedding = 32000 * 8192 * 144 // 256  # token_embd in Q4_K
    assert sum(layers) == size - embedding


def test_a_tied_embedding_is_the_output_too(oracle: Callable[[str], Oracle]) -> None:
    info = oracle("smollm2-135m").info
    assert layers_of(info, "F16")[-1] >= 49152 * 576 * 2


def chosen_memory(info: ModelInfo, quant: str, kind: MemoryKind) -> Memory:
    target = Target("box", kind, 1 << 40, 0, 2048, quants=(quant,))
    plan = make_plan("m", info, [target], lambda q: own_size(info, q), artifacts=Place(1 << 50))
    return plan.targets[0].candidates[0].memory


@pytest.mark.parametrize("quant", ["F16", "Q8_0", "Q4_K_M", "Q2_K"])
@pytest.mark.parametrize("model", MODELS)
def test_the_embedding_never_goes_to_a_card(
    oracle: Callable[[str], Oracle], model: str, quant: str
) -> None:
    """By the oracle's own types: a tied one is there a second time, as the output."""
    known = oracle(model)
    said = known.sizes[quant]
    n_vocab, width = known.hparams["n_vocab"], known.hparams["embedding_length"]
    embedding = tensor_bytes((width, n_vocab), said["by_role"]["token_embd.weight"])
    tied = known.hparams["tied_embeddings"]
    on_card, in_ram = (chosen_memory(known.info, quant, kind) for kind in ("vram", "ram"))
    assert in_ram.weights_bytes == said["data_bytes"]
    assert in_ram.host_bytes == 0
    assert on_card.weights_bytes == said["data_bytes"] - (0 if tied else embedding)
    assert on_card.host_bytes == embedding
    assert on_card.kv_cache_bytes == in_ram.kv_cache_bytes


@pytest.mark.parametrize("name", CARDS)
def test_a_card_gets_what_llama_cpp_gives_it(
    oracle: Callable[[str], Oracle], tmp_path: Path, name: str
) -> None:
    """Weights and caches on the card and beside it, wholly and in part, to the MiB."""
    info = oracle(name).info if name in MODELS else judged(name, tmp_path).info
    types = [tensor.type for tensor in info.tensors]
    layers, kept = layer_bytes(info, types), [*kept_of(info), 0]
    found = lookups(info, types)
    weights = info.file_bytes - info.header_bytes + found.second_copy_bytes
    for said in CARDS[name]:
        first = len(layers) - said["gpu_layers"]
        on_card, caches = sum(layers[first:]), sum(kept[first:])
        assert (on_card / MIB, caches / MIB) == pytest.approx(said["card_mib"], abs=1.01), said
        beside = ((weights - on_card) / MIB, sum(kept[:first]) / MIB)
        assert beside == pytest.approx(said["host_mib"], abs=1.01), said


@pytest.mark.parametrize(("name", "copies"), [("gemma4", 2), ("gemma3", 1)])
def test_an_output_made_before_the_embedding_is_a_second_copy_in_ram(
    tmp_path: Path, name: str, copies: int
) -> None:
    info = inspect(write_loadable(tmp_path, name))
    embedding = next(t for t in info.tensors if t.name == "token_embd.weight")
    whole = own_size(info, "Q8_0").file_bytes - info.header_bytes
    more = (copies - 1) * tensor_bytes(embedding.shape, "Q8_0")
    in_ram, unified = (chosen_memory(info, "Q8_0", kind) for kind in ("ram", "unified"))
    assert (in_ram.weights_bytes, unified.weights_bytes) == (whole + more, whole)


def test_unified_memory_holds_the_file_once(llama: ModelInfo) -> None:
    assert chosen_memory(llama, "Q4_K_M", "unified") == chosen_memory(llama, "Q4_K_M", "ram")


def test_all_that_is_looked_up_stays_in_ram_and_its_norm_does_not(tmp_path: Path) -> None:
    extra = {
        "position_embd.weight": (512, 100),
        "per_layer_token_embd.weight": (256, 1000),
        "token_embd_norm.weight": (512,),
    }
    shape = ModelShape("gemma4", keys(2, 512, 512, 4, 4), llama_tensors(2, 512, 512, 512) | extra)
    info = inspect(write_sparse(tmp_path / "m.gguf", "gemma4", shape.keys, shape.tensors))
    types = ["F16"] * len(info.tensors)
    known = {tensor.name: tensor_bytes(tensor.shape, "F16") for tensor in info.tensors}
    inputs = ("token_embd.weight", "position_embd.weight", "per_layer_token_embd.weight")
    assert lookups(info, types).ram_bytes == sum(known[name] for name in inputs)
    on_card = sum(layer_bytes(info, types))
    tied = "output.weight" not in known
    assert on_card == sum(known.values()) - sum(known[name] for name in inputs[1 if tied else 0 :])


def test_of_a_real_model(llama: ModelInfo) -> None:
    whole = predict(llama, own_size(llama, "Q4_K_M"), 4096)
    memory = lookups(llama, tensor_types(llama, "Q4_K_M")[0]).beside(whole)
    found = offload(layers_of(llama, "Q4_K_M"), kept_of(llama), memory, card(24 * GIB, 1000e9))
    assert found is not None
    assert (found.gpu_layers, found.layers) == (48, 81)
    assert found.vram_bytes <= 24 * GIB
    assert found.vram_bytes + found.ram_bytes == whole.total_bytes
    # 42 % of what is read comes from RAM, at a twentieth of the speed: about 8 times slower
    assert found.slowdown == pytest.approx(8.5, abs=0.5)


def test_no_bandwidth_no_slowdown(llama: ModelInfo) -> None:
    memory = predict(llama, own_size(llama, "Q4_K_M"), 4096)
    found = offload(layers_of(llama, "Q4_K_M"), kept_of(llama), memory, card(24 * GIB))
    assert found is not None
    assert found.slowdown is None


@settings(max_examples=100, deadline=None)
@given(
    layers=st.lists(st.integers(1, 1 << 30), min_size=2, max_size=100),
    kept=st.integers(0, 1 << 28),
    compute=st.integers(0, 1 << 30),
    budget=st.integers(0, 1 << 38),
)
def test_what_is_on_the_card_fits_and_one_more_layer_does_not(
    layers: list[int], kept: int, compute: int, budget: int
) -> None:
    each = [kept] * (len(layers) - 1)
    memory = Memory(sum(layers), sum(each), compute)
    found = offload(layers, each, memory, card(budget, 2 * RAM_BYTES_PER_SECOND))
    if found is None:
        assert layers[-1] + compute > budget
        return
    assert 1 <= found.gpu_layers <= found.layers == len(layers)
    assert found.vram_bytes <= budget
    if found.gpu_layers < found.layers:
        following = layers[-1 - found.gpu_layers] + kept
        assert found.vram_bytes + following > budget
    assert found.slowdown is not None
    assert 1 <= found.slowdown <= 2


def test_a_larger_card_never_holds_less(llama: ModelInfo) -> None:
    memory = predict(llama, own_size(llama, "Q2_K"), 4096)
    layers = layers_of(llama, "Q2_K")
    found = [offload(layers, kept_of(llama), memory, card(gib * GIB)) for gib in range(2, 24, 3)]
    counts = [one.gpu_layers if one else 0 for one in found]
    assert counts == sorted(counts)
    assert replace(memory, compute_bytes=0).total_bytes > 23 * GIB

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from deployq_llamacpp import LlamaCppBackend, LlamaCppJudge

from deployq import Failed, ModelRejected, QuantizeJob, no_progress, proc
from tests.broken_models import copy_gguf
from tests.tiny import write_tiny_llama

QUANTS = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q2_K", "IQ4_XS")
MIB = 1 << 20
ORACLE = Path(__file__).parents[2] / "data" / "oracle"


@pytest.fixture(scope="module", params=["F16-256", "BF16-288", "split"])
def source(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tools_bin: Path
) -> Path:
    """Wide enough for K-quants; too odd for them, so that most tensors fall back; in parts."""
    folder = tmp_path_factory.mktemp("source")
    if request.param == "BF16-288":
        return write_tiny_llama(folder / "odd.gguf", n_embd=288, dtype="BF16")
    path = write_tiny_llama(folder / "tiny.gguf")
    if request.param == "F16-256":
        return path
    proc.run([tools_bin / "llama-gguf-split", "--split-max-tensors", "8", path, folder / "part"])
    return min(folder.glob("part-*.gguf"))


@pytest.fixture
def env(tools_bin: Path, tmp_path: Path) -> dict[str, str]:
    return {"DEPLOYQ_LLAMA_CPP": str(tools_bin), "DEPLOYQ_CACHE_DIR": str(tmp_path / "cache")}


@pytest.mark.tools
def test_sizes_are_those_of_the_files_to_the_byte(
    source: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    judge = LlamaCppJudge(env)
    jobs = [QuantizeJob(source, quant, tmp_path / f"{quant}.gguf") for quant in QUANTS]
    LlamaCppBackend(env).quantize(jobs, no_progress)
    told = {quant: judge.file_bytes(source, quant) for quant in QUANTS}
    assert {q: s.file_bytes for q, s in told.items() if s} == {
        job.quant: job.output.stat().st_size for job in jobs
    }


@pytest.mark.tools
@pytest.mark.parametrize("model", ["llama-3.2-1b", "smollm2-135m"])
def test_sizes_of_real_models(env: Mapping[str, str], tmp_path: Path, model: str) -> None:
    """Headers of published models on a sparse file, against figures taken from the tool itself."""
    oracle = json.loads((ORACLE / f"{model}.json").read_text())["sizes"]
    path = tmp_path / "model.gguf"
    path.write_bytes(
        gzip.decompress((ORACLE / "headers" / f"{model}.f16.header.gguf.gz").read_bytes())
    )
    os.truncate(path, oracle["F16"]["file_bytes"])
    judge = LlamaCppJudge(env)
    for quant in ("Q8_0", "Q5_K_M", "Q4_K_M", "Q2_K", "IQ4_XS"):
        true = oracle[quant]
        told = judge.file_bytes(path, quant)
        assert told is not None
        assert told.file_bytes == true["file_bytes"], quant
        assert told.fallback_tensors == true["fallbacks"], quant
        assert round(told.bits_per_weight, 2) == pytest.approx(true["bpw"], abs=0.0101), quant


@pytest.mark.tools
def test_bits_and_fallbacks(env: Mapping[str, str], tmp_path: Path) -> None:
    judge = LlamaCppJudge(env)
    odd = write_tiny_llama(tmp_path / "odd.gguf", n_embd=288)
    even = write_tiny_llama(tmp_path / "even.gguf")
    sizes = [judge.file_bytes(path, "Q4_K_M") for path in (odd, even)]
    assert all(sizes)
    assert [size.fallback_tensors for size in sizes if size] == [13, 0]
    assert [round(size.bits_per_weight, 2) for size in sizes if size] == [5.80, 4.91]
    assert all(size.by.startswith("llama-quantize ") for size in sizes if size)


@pytest.mark.tools
def test_answers_are_remembered_by_header(env: dict[str, str], tmp_path: Path) -> None:
    first = write_tiny_llama(tmp_path / "first.gguf", seed=1)
    judge = LlamaCppJudge(env)
    size = judge.file_bytes(first, "Q4_K_M")
    assert size
    (entry,) = (tmp_path / "cache" / "judge").iterdir()
    entry.write_text(entry.read_text().replace(str(size.file_bytes), "12345"))
    retrained = write_tiny_llama(tmp_path / "second.gguf", seed=2)  # same header, other weights
    again = judge.file_bytes(retrained, "Q4_K_M")
    assert again is not None
    assert again.file_bytes == 12345
    entry.write_text("broken")
    assert judge.file_bytes(first, "Q4_K_M") == size
    other = write_tiny_llama(tmp_path / "other.gguf", n_layer=3)
    assert judge.file_bytes(other, "Q4_K_M") != size


@pytest.mark.tools
@pytest.mark.parametrize("content", [b"", b"no GGUF at all", b"GGUF" + bytes(20)])
def test_what_it_cannot_tell_is_none(
    env: Mapping[str, str], tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    judge = LlamaCppJudge(env)
    assert judge.file_bytes(path, "Q8_0") is None
    assert judge.file_bytes(tmp_path / "nothing.gguf", "Q8_0") is None
    assert judge.file_bytes(write_tiny_llama(tmp_path / "t.gguf"), "Q99") is None
    # the tool may end before it says why (its log has a thread of its own)
    with contextlib.suppress(ModelRejected):
        assert judge.memory(path, 2048, "f16") is None


@pytest.mark.tools
def test_a_file_that_the_tool_refuses_is_told_from_one_it_cannot_judge(
    env: Mapping[str, str], tmp_path: Path
) -> None:
    whole = write_tiny_llama(tmp_path / "whole.gguf")
    broken = copy_gguf(whole, tmp_path / "broken.gguf", without=["output_norm.weight"])
    (found,) = LlamaCppJudge(env).check(broken)
    assert type(found) is Failed
    assert LlamaCppJudge(env).memory(whole, 2048, "f16") is not None


@pytest.mark.tools
def test_memory(env: Mapping[str, str], tools_bin: Path, tmp_path: Path) -> None:
    if not (tools_bin / "llama-fit-params").is_file():
        pytest.skip("there is no llama-fit-params beside llama-quantize")
    path = write_tiny_llama(tmp_path / "tiny.gguf", n_ctx=8192, n_layer=8)
    judge = LlamaCppJudge(env)
    full, small = judge.memory(path, 8192, "f16"), judge.memory(path, 8192, "q8_0/f16")
    assert full
    assert small
    # 8 layers x 8192 cells x 128 wide x (K + V) x 2 bytes
    cache = 8 * 8192 * 128 * 2 * 2
    assert cache <= full.kv_cache_bytes <= cache + 2 * MIB
    assert cache * 0.75 <= small.kv_cache_bytes <= cache * 0.77 + 2 * MIB
    assert 0 < full.compute_bytes < 64 * MIB


def test_without_tools(tmp_path: Path) -> None:
    judge = LlamaCppJudge({"DEPLOYQ_LLAMA_CPP": "none"})
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    assert not judge.health().ok
    assert judge.health().hint == "deployq tools install"
    assert judge.file_bytes(path, "Q8_0") is None
    assert judge.memory(path, 2048, "f16") is None


def test_a_tool_that_knows_no_dry_run_is_too_old(tmp_path: Path) -> None:
    tool = tmp_path / "llama-quantize"
    smoke = 'case "$1" in */deployq-smoke-*) touch "$2"; exit ;; esac'
    tool.write_text(f'#!/bin/sh\n{smoke}\necho "usage: model.gguf type"\nexit 1\n')
    tool.chmod(0o755)
    judge = LlamaCppJudge({"DEPLOYQ_LLAMA_CPP": str(tmp_path), "DEPLOYQ_CACHE_DIR": str(tmp_path)})
    assert "too old" in judge.health().detail
    assert judge.file_bytes(write_tiny_llama(tmp_path / "tiny.gguf"), "Q8_0") is None


@pytest.mark.tools
def test_health(env: Mapping[str, str]) -> None:
    health = LlamaCppJudge(env).health()
    assert health.ok
    assert health.version

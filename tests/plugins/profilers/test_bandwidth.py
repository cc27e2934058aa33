"""Measuring: main memory for real, and a model by the real llama-bench."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployq_profilers import Ram
from deployq_profilers.bandwidth import read_bandwidth
from deployq_profilers.bench import Bench, parse_bench
from hypothesis import given
from hypothesis import strategies as st

from deployq import BackendError, MeasuringProfiler, ToolMissing, no_progress
from tests.tiny import write_tiny_llama

Steps = list[tuple[float, float | None]]


def test_memory_is_read_at_a_believable_speed() -> None:
    steps: Steps = []
    found = read_bandwidth(lambda _, done, total, __: steps.append((done, total)), 64 << 20, 2)
    assert found.unit == "bytes/s"
    assert 2e8 < found.value < 5e12
    assert "cores" in found.detail
    assert steps[-1][0] == steps[-1][1]


def test_a_larger_block_takes_longer_in_proportion() -> None:
    """What is measured is a speed: with another size it is of the same order."""
    small, large = (read_bandwidth(no_progress, mib << 20, 3).value for mib in (64, 192))
    assert 0.2 < small / large < 5


def test_the_ram_profiler_measures() -> None:
    assert isinstance(Ram(), MeasuringProfiler)


@pytest.mark.tools
def test_a_real_model(tools_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYQ_LLAMA_CPP", str(tools_bin))
    assert Bench().health().ok
    model = write_tiny_llama(tmp_path / "tiny-f16.gguf")
    found = Bench().measure(model, model, no_progress)
    assert found.unit == Bench().unit
    assert found.value > 1
    assert "CPU" in found.detail


@pytest.mark.tools
def test_a_file_that_is_no_model(
    tools_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOYQ_LLAMA_CPP", str(tools_bin))
    rubbish = tmp_path / "rubbish.gguf"
    rubbish.write_bytes(b"no model")
    with pytest.raises(BackendError, match="llama-bench"):
        Bench().measure(rubbish, rubbish, no_progress)


def test_without_the_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEPLOYQ_LLAMA_CPP", "none")
    assert not Bench().health().ok
    with pytest.raises(ToolMissing, match="llama-bench"):
        Bench().measure(tmp_path, tmp_path, no_progress)


def test_its_json_after_what_it_logs() -> None:
    said = 'load_backend: [CPU]\n[\n  {"avg_ts": 12.5, "stddev_ts": 0.25, "backends": "CPU"}\n]\n'
    found = parse_bench(said)
    assert (found.value, found.error, found.detail) == (12.5, 0.25, "CPU")


@given(st.text())
def test_anything_else_is_named_and_no_crash(text: str) -> None:
    with pytest.raises(BackendError, match="llama-bench"):
        parse_bench(text)

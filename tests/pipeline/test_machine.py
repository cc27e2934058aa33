"""Measuring this machine, and what a plan makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployq.errors import ConfigError, ToolMissing
from deployq.pipeline.machine import measure, stored_bandwidth
from deployq.pipeline.resolve import Model, Overrides, resolve_targets
from deployq.pipeline.session import Session
from deployq.settings import ModelSettings
from deployq.types import Target
from tests.tiny import write_tiny_llama

Open = Callable[..., Session]


def target(session: Session, name: str) -> Target:
    model = Model("m", Path("m.gguf"), ModelSettings())
    (found,) = resolve_targets(session, (name,), model, Overrides(), 4096)
    return found


def test_nothing_was_measured(session_for: Open) -> None:
    assert stored_bandwidth(session_for()) is None
    assert target(session_for(), "this-machine").bandwidth is None


def test_reading_is_remembered_and_used_for_this_machine_alone(session_for: Open) -> None:
    session = session_for()
    measured = measure(session)
    assert measured.bandwidth.how == "read"
    assert measured.bandwidth.measured.startswith("20")
    assert stored_bandwidth(session) == measured
    assert target(session, "this-machine").bandwidth == measured.bandwidth
    other = target(session, "laptop-16gb").bandwidth
    assert other is not None
    assert other.how == "stated"


def test_this_machine_with_stated_memory_is_this_machine(session_for: Open) -> None:
    session = session_for('[targets.laptop]\nmemory = "16GB"\nkind = "ram"')
    measured = measure(session)
    assert target(session, "laptop").bandwidth == measured.bandwidth


@pytest.mark.tools
def test_a_model_calibrates(
    session_for: Open, tools_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOYQ_LLAMA_CPP", str(tools_bin))
    model = write_tiny_llama(tmp_path / "tiny-f16.gguf")
    session = session_for()
    measured = measure(session, model)
    assert measured.bandwidth.how == "model"
    assert "tiny-f16.gguf" in measured.bandwidth.detail
    assert 0 < measured.bandwidth.bytes_per_second < 1e12
    assert stored_bandwidth(session) == measured


def test_a_model_needs_llama_bench(
    session_for: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOYQ_LLAMA_CPP", "none")
    model = write_tiny_llama(tmp_path / "tiny-f16.gguf")
    with pytest.raises(ToolMissing, match="llama-bench"):
        measure(session_for(), model)


def test_a_model_that_is_not_there(session_for: Open, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        measure(session_for(), tmp_path / "absent.gguf")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"kind": "ram"}', '{"kind": 1, "bandwidth": {"x": 1}}']
)
def test_a_broken_file_counts_as_none(session_for: Open, text: str) -> None:
    session = session_for()
    session.cache_dir.mkdir(parents=True)
    (session.cache_dir / "bandwidth.json").write_text(text)
    assert stored_bandwidth(session) is None

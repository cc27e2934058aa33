from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from deployq_llamacpp import LlamaCppBackend

from deployq import BackendError, DiskError, QuantizeJob, ToolMissing, no_progress, proc
from deployq.plugins import load_plugins
from deployq.testing import check_backend
from tests.tiny import write_tiny_llama


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def env(tools_bin: Path, tmp_path: Path) -> dict[str, str]:
    return {"DEPLOYQ_LLAMA_CPP": str(tools_bin), "DEPLOYQ_CACHE_DIR": str(tmp_path / "cache")}


@pytest.fixture
def backend(env: Mapping[str, str]) -> LlamaCppBackend:
    return LlamaCppBackend(env)


def fake_tool(folder: Path, body: str) -> LlamaCppBackend:
    """A backend on a program that stands in for a broken llama-quantize."""
    folder.mkdir()
    tool = folder / "llama-quantize"
    listing = 'if [ "$1" = --help ]; then echo "   7  or  Q8_0    :  7.96G"; exit 1; fi'
    # the tiny model that each tool is tried on goes well
    smoke = 'case "$1" in */deployq-smoke-*) touch "$2"; exit ;; esac'
    tool.write_text(f"#!/bin/sh\n{listing}\n{smoke}\n{body}\n")
    tool.chmod(0o755)
    return LlamaCppBackend(
        {"DEPLOYQ_LLAMA_CPP": str(folder), "DEPLOYQ_CACHE_DIR": str(folder / "cache")}
    )


def test_it_comes_through_the_entry_point_like_anyone() -> None:
    plugins = load_plugins()
    assert "llamacpp" in plugins.named("deployq_backends")
    assert "llama-quantize" in plugins.named("deployq_judges")


@pytest.mark.tools
@pytest.mark.parametrize("quant", ["Q4_K_M", "F16"])
def test_contract(backend: LlamaCppBackend, tiny: Path, tmp_path: Path, quant: str) -> None:
    check_backend(backend, tiny, tmp_path, quant)


@pytest.mark.tools
def test_quants_are_those_of_the_tool(backend: LlamaCppBackend) -> None:
    assert {"F16", "BF16", "F32", "Q8_0", "Q4_K_M", "Q2_K", "IQ4_XS"} <= backend.quants()
    assert not {"COPY", "Q4_K"} & backend.quants()


@pytest.mark.tools
def test_progress_counts_tensors(backend: LlamaCppBackend, tiny: Path, tmp_path: Path) -> None:
    told: list[tuple[object, ...]] = []
    job = QuantizeJob(tiny, "Q8_0", tmp_path / "out.gguf", threads=1)
    backend.quantize([job], lambda *call: told.append(call))
    assert told[0] == ("Q8_0", 1, 21, "tensors")
    assert told[-1] == ("Q8_0", 21, 21, "tensors")


@pytest.mark.tools
def test_threads_do_not_change_the_output(
    backend: LlamaCppBackend, tiny: Path, tmp_path: Path
) -> None:
    jobs = [QuantizeJob(tiny, "Q4_K_M", tmp_path / f"{n}.gguf", threads=n) for n in (1, 3)]
    backend.quantize(jobs, no_progress)
    first, second = (job.output.read_bytes() for job in jobs)
    assert first == second


@pytest.mark.tools
def test_a_split_source_gives_the_same_file(
    backend: LlamaCppBackend, tools_bin: Path, tiny: Path, tmp_path: Path
) -> None:
    split = tools_bin / "llama-gguf-split"
    if not split.is_file():
        pytest.skip("there is no llama-gguf-split beside llama-quantize")
    proc.run([split, "--split-max-tensors", "8", tiny, tmp_path / "part"])
    parts = sorted(tmp_path.glob("part-*.gguf"))
    assert len(parts) == 3
    jobs = [
        QuantizeJob(source, "Q8_0", tmp_path / name)
        for source, name in ((tiny, "whole.gguf"), (parts[0], "joined.gguf"))
    ]
    backend.quantize(jobs, no_progress)
    assert jobs[0].output.read_bytes() == jobs[1].output.read_bytes()


@pytest.mark.tools
def test_requantizing_needs_permission(
    backend: LlamaCppBackend, tiny: Path, tmp_path: Path
) -> None:
    small, again = tmp_path / "q8.gguf", tmp_path / "q4.gguf"
    backend.quantize([QuantizeJob(tiny, "Q8_0", small)], no_progress)
    with pytest.raises(BackendError, match="requantizing from type q8_0 is disabled") as refused:
        backend.quantize([QuantizeJob(small, "Q4_0", again)], no_progress)
    assert "--allow-requantize" in refused.value.hint
    assert not again.exists()
    backend.quantize([QuantizeJob(small, "Q4_0", again, allow_requantize=True)], no_progress)
    assert again.is_file()


@pytest.mark.tools
def test_jobs_that_finished_before_a_failure_stay(
    backend: LlamaCppBackend, tiny: Path, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    jobs = [QuantizeJob(tiny, "Q8_0", good), QuantizeJob(tiny, "IQ2_XXS", bad)]
    with pytest.raises(BackendError, match="importance matrix") as refused:
        backend.quantize(jobs, no_progress)
    assert "importance matrix" in refused.value.hint
    assert good.is_file()
    assert not bad.exists()


@pytest.mark.tools
def test_a_full_disk_is_named_with_what_is_needed(
    backend: LlamaCppBackend, tiny: Path, tmp_path: Path
) -> None:
    job = QuantizeJob(tiny, "Q8_0", tmp_path / "plain.gguf")
    backend.quantize([job], no_progress)
    full = tmp_path / "full.gguf"
    full.symlink_to("/dev/full")  # every write to it: no space left on device
    with pytest.raises(DiskError, match=r"is full: Q8_0 needs [\d,]+ bytes") as refused:
        backend.quantize([QuantizeJob(tiny, "Q8_0", full)], no_progress)
    assert f"{job.output.stat().st_size:,}" in refused.value.message
    assert not full.is_symlink()


@pytest.mark.tools
def test_a_missing_output_folder_is_named(
    backend: LlamaCppBackend, tiny: Path, tmp_path: Path
) -> None:
    job = QuantizeJob(tiny, "Q8_0", tmp_path / "gone" / "out.gguf")
    with pytest.raises(DiskError, match=r"cannot write .*gone/out\.gguf: No such file"):
        backend.quantize([job], no_progress)


def test_a_killed_tool_leaves_no_file(tiny: Path, tmp_path: Path) -> None:
    backend = fake_tool(tmp_path / "bin", 'echo part > "$2"; echo "[   1/   9] x"; kill -9 $$')
    output = tmp_path / "out.gguf"
    with pytest.raises(BackendError, match="was killed \\(SIGKILL\\)"):
        backend.quantize([QuantizeJob(tiny, "Q8_0", output)], no_progress)
    assert not output.exists()


def test_ctrl_c_ends_the_tool(tiny: Path, tmp_path: Path) -> None:
    body = 'echo part > "$2"; echo $$ > "$2.pid"; echo "[   1/   9] x"; exec sleep 600'
    backend = fake_tool(tmp_path / "bin", body)
    output = tmp_path / "out.gguf"

    def interrupt(*_call: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend.quantize([QuantizeJob(tiny, "Q8_0", output)], interrupt)
    assert not output.exists()
    pid = int((tmp_path / "out.gguf.pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_health_without_a_tool() -> None:
    health = LlamaCppBackend({"DEPLOYQ_LLAMA_CPP": "none"}).health()
    assert not health.ok
    assert "llama-quantize" in health.detail
    assert health.hint == "deployq tools install"
    assert LlamaCppBackend({"DEPLOYQ_LLAMA_CPP": "none"}).quants() == frozenset()


def test_quantizing_without_a_tool(tiny: Path, tmp_path: Path) -> None:
    backend = LlamaCppBackend({"DEPLOYQ_LLAMA_CPP": "none"})
    with pytest.raises(ToolMissing, match="llama-quantize"):
        backend.quantize([QuantizeJob(tiny, "Q8_0", tmp_path / "o.gguf")], no_progress)


def test_health_of_a_tool_that_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "llama-quantize").write_text("#!/bin/sh\necho cannot load libggml.so; exit 127\n")
    (tmp_path / "llama-quantize").chmod(0o755)
    health = LlamaCppBackend({"DEPLOYQ_LLAMA_CPP": str(tmp_path)}).health()
    assert not health.ok
    assert "cannot load libggml.so" in health.detail


@pytest.mark.tools
def test_a_tool_that_goes_away_is_looked_for_again(
    tools_bin: Path, env: dict[str, str], tmp_path: Path
) -> None:
    shutil.copy2(tools_bin / "llama-quantize", tmp_path / "llama-quantize")
    env["DEPLOYQ_LLAMA_CPP"] = str(tmp_path)
    backend = LlamaCppBackend(env)
    assert backend.health().ok
    (tmp_path / "llama-quantize").unlink()
    env["DEPLOYQ_LLAMA_CPP"] = "none"
    assert not backend.health().ok

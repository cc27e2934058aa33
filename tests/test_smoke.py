"""A tool that is there is run once on a tiny model before deployq relies on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from deployq_llamacpp import LlamaServer, Perplexity, Speed
from deployq_llamacpp.backend import LlamaCppBackend

from deployq import BackendError, SpeedOptions, ToolMissing, no_progress, tools
from deployq.llama_server import serving
from deployq.smoke import QUANTS, names_amx
from deployq.smoke_model import write_smoke_model
from deployq.tools import USES

pytestmark = pytest.mark.tools
CRASH = "kill -SEGV $$"


def wrap(folder: Path, real: Path, before: str, name: str = "") -> Path:
    """A program that does `before`, then what the real tool does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or real.name)
    path.write_text(f'#!/bin/sh\n{before}\nexec "{real}" "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Where no tool is, and nothing is kept of an earlier test."""
    home = tmp_path / "home"
    return {"HOME": str(home), "PATH": str(tmp_path / "path"), "DEPLOYQ_LLAMA_CPP": ""}


# ---------------------------------------------------------------- tools that work


@pytest.mark.parametrize("name", USES)
def test_the_tools_of_this_machine_work(name: str, tools_bin: Path, env: dict[str, str]) -> None:
    tool = tools.require_tool(name, env | {"DEPLOYQ_LLAMA_CPP": str(tools_bin)})
    assert (tool.smoke.problem, tool.smoke.mend) == ("", "")
    assert tool.health().ok


def test_the_tiny_model_is_the_same_everywhere(tmp_path: Path) -> None:
    from deployq.digests import sha256_file

    write_smoke_model(tmp_path / "a.gguf", quantized=False)
    write_smoke_model(tmp_path / "b.gguf", quantized=False)
    assert sha256_file(tmp_path / "a.gguf") == sha256_file(tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").stat().st_size < 2 << 20


def test_a_result_is_kept_for_the_file(
    tools_bin: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    counter = tmp_path / "runs"
    path = wrap(tmp_path / "path", tools_bin / "llama-tokenize", f"echo x >> '{counter}'")
    assert tools.require_tool("llama-tokenize", env).smoke.problem == ""
    runs = len(counter.read_text().split())
    (kept,) = (tmp_path / "home" / ".local/share/deployq/tools/smoke").iterdir()
    assert json.loads(kept.read_text())["problem"] == ""

    from deployq import smoke

    smoke.smoke_test.cache_clear()  # as a new process has it
    assert tools.require_tool("llama-tokenize", env).path == path
    assert len(counter.read_text().split()) == runs
    wrap(tmp_path / "path", tools_bin / "llama-tokenize", f"echo y >> '{counter}'; {CRASH}")
    assert tools.find_tool("llama-tokenize", env) is None


# ---------------------------------------------------------------- tools that crash


def test_a_tool_that_crashes_is_passed_over(
    tools_bin: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    crashing = wrap(tmp_path / "path", tools_bin / "llama-server", CRASH)
    good = wrap(tmp_path / "home" / ".unsloth" / "llama.cpp", tools_bin / "llama-server", "")
    found = tools.require_tool("llama-server", env)
    assert found.path == good
    (broken,) = tools.broken_tools("llama-server", env)
    assert broken.path == crashing
    assert broken.smoke.problem.startswith("crashed (segmentation fault) while loading")


def test_a_tool_that_was_chosen_and_crashes_is_not_replaced_in_silence(
    tools_bin: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    wrap(tmp_path / "path", tools_bin / "llama-server", "")
    chosen = wrap(tmp_path / "mine", tools_bin / "llama-server", CRASH)
    env["DEPLOYQ_LLAMA_CPP"] = str(tmp_path / "mine")
    with pytest.raises(ToolMissing) as missing:
        tools.require_tool("llama-server", env)
    assert str(chosen) in missing.value.message
    assert "crashed (segmentation fault)" in missing.value.message
    assert missing.value.hint == "deployq tools install"
    health = LlamaServer(env).health()
    assert (health.ok, health.detail) == (False, missing.value.message)


@pytest.mark.parametrize(
    ("sign", "words"),
    [("ILL", "illegal instruction"), ("ABRT", "aborted"), ("BUS", "bus error")],
)
def test_a_quantizer_that_crashes_is_told_in_words(
    sign: str, words: str, tools_bin: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    wrap(tmp_path / "path", tools_bin / "llama-quantize", f"kill -{sign} $$")
    health = LlamaCppBackend(env).health()
    assert not health.ok
    assert f"crashed ({words}) while making Q8_0 of a tiny model" in health.detail


def test_what_lacks_a_library_is_told_and_tried_again(
    tools_bin: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    library = tmp_path / "libllama.so"
    lacks = f"[ -e '{library}' ] || {{ echo 'cannot open libllama.so'; exit 127; }}"
    wrap(tmp_path / "path", tools_bin / "llama-tokenize", lacks)
    with pytest.raises(ToolMissing, match=r"failed \(127\): cannot open libllama.so"):
        tools.require_tool("llama-tokenize", env)
    library.touch()

    from deployq import smoke

    smoke.smoke_test.cache_clear()  # as a new process has it
    assert tools.require_tool("llama-tokenize", env).smoke.problem == ""


# ---------------------------------------------------------------- built for AMX


def test_an_engine_that_needs_a_variable_gets_it_everywhere(
    tools_bin: Path, tmp_path: Path, env: dict[str, str], sample_gguf: Path
) -> None:
    """As llama.cpp built for AMX behaves where the system lets no thread use its tiles."""
    unless = f'[ "$LLAMA_ARG_REPACK" = 0 ] || {CRASH}'
    for name in ("llama-server", "llama-perplexity"):
        wrap(tmp_path / "path", tools_bin / name, unless)
    either = f'case "$*" in *"--repack 0"*|--version) ;; *) {CRASH} ;; esac'
    wrap(tmp_path / "path", tools_bin / "llama-bench", either)

    health = LlamaServer(env).health()
    assert health.ok
    assert "LLAMA_ARG_REPACK=0" in health.detail
    with LlamaServer(env).load(sample_gguf, 256) as model:
        answer = model.complete("It", options={"num_predict": 2}, timeout_seconds=60)
    assert answer.tokens == 2

    text = tmp_path / "text.txt"
    text.write_text("Create a task: review the report by Friday. " * 200)
    wrap(tmp_path / "path", tools_bin / "llama-tokenize", "")
    assert Perplexity(env).measure(sample_gguf, text, no_progress).value > 1
    options = SpeedOptions(repeats=1, prompt_tokens=4, generated_tokens=4, n_ctx=256)
    speeds = Speed(env).speeds({"F16": sample_gguf}, options, tmp_path, no_progress)
    assert speeds["F16"].generation.median > 0


def test_a_crash_with_one_model_is_told_in_words(tools_bin: Path, tmp_path: Path) -> None:
    server = wrap(tmp_path, tools_bin / "llama-server", "echo loading; " + CRASH)
    model = tmp_path / "some.gguf"
    write_smoke_model(model, quantized=True)
    with (
        pytest.raises(BackendError, match=r"^llama-server crashed \(segmentation fault\) while"),
        serving(server, model, 128, tmp_path),
    ):
        pass


@pytest.mark.skipif(not names_amx(), reason="this processor has no AMX")
def test_the_tools_are_built_without_amx(tools_bin: Path, env: dict[str, str]) -> None:
    """Only where deployq built them: others' builds are used with the variable."""
    if not tools.installed_version(tools_bin / "llama-server"):
        pytest.skip("the tools here were not built by deployq")
    tool = tools.require_tool("llama-server", env | {"DEPLOYQ_LLAMA_CPP": str(tools_bin)})
    assert tool.smoke.mend == ""


# ---------------------------------------------------------------- versions


def stated(folder: Path, real: Path, version: str, build: str) -> Path:
    """A quantizer that says something else of itself, and makes the same."""
    path = wrap(folder, real, f"# {build}")
    text = path.read_text().replace('exec "', '"')
    path.write_text(f"{text.rstrip()} 2>&1 | sed 's/^version: .*/{version}/'\n")
    return path


def version_of(folder: Path, env: Mapping[str, str]) -> str:
    place = {"DEPLOYQ_LLAMA_CPP": str(folder)}
    return tools.require_tool("llama-quantize", {**env, **place}).version


def test_two_builds_of_one_llama_cpp_have_one_version(
    tools_bin: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    real = tools_bin / "llama-quantize"
    stated(tmp_path / "a", real, "version: 0.6.0-dev (build 6123, commit a)", "one compiler")
    stated(tmp_path / "b", real, "version: 6123 (abcdef12)", "another")
    assert version_of(tmp_path / "a", env) == version_of(tmp_path / "b", env) == "b6123"


@pytest.mark.parametrize("version", ["version: 0 (unknown)", "version: 1 (0c1d)", "nothing"])
def test_a_build_without_a_number_is_known_by_what_it_makes(
    version: str, tools_bin: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    real = tools_bin / "llama-quantize"
    stated(tmp_path / "a", real, version, "one compiler")
    stated(tmp_path / "b", real, version, "another")
    # the file that it makes differs in one byte
    other = stated(tmp_path / "c", real, version, "another llama.cpp")
    changes = 'for last; do :; done; [ "$last" != Q8_0 ] || printf x >> "$2"'
    other.write_text(f"{other.read_text()}{changes}\n")
    first = version_of(tmp_path / "a", env)
    assert first.startswith("behaviour:")
    assert version_of(tmp_path / "b", env) == first
    assert version_of(tmp_path / "c", env) not in (first, "")
    assert len(QUANTS) >= 2

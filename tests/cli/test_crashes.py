"""Programs that end by a signal, told in words, once; and what mends an engine built for AMX."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cli.conftest import Project
from tests.ollama_fixtures import running_ollama
from tests.test_smoke import CRASH, wrap

pytestmark = pytest.mark.tools
NOT_THE_TINY_MODEL = f'case "$*" in *deployq-smoke-*|*--version*|*--help*) ;; *) {CRASH} ;; esac'
UNLESS_TOLD = f'[ "$LLAMA_ARG_REPACK" = 0 ] || {CRASH}'


def folder_of_tools(project: Project, tools_bin: Path, name: str, before: str) -> Path:
    """Tools of which one does something else before its work."""
    folder = project.folder / "tools"
    for other in ("llama-quantize", "llama-server"):
        wrap(folder, tools_bin / other, "")
    wrap(folder, tools_bin / name, before)
    return folder


def wait_until_gone(path: Path) -> None:
    deadline = time.monotonic() + 60
    while path.exists():
        assert time.monotonic() < deadline, f"{path} stays"
        time.sleep(0.05)


def test_an_engine_that_crashes_is_told_once(project: Project, tools_bin: Path) -> None:
    tools = folder_of_tools(project, tools_bin, "llama-server", NOT_THE_TINY_MODEL)
    ran = project.run(
        "push", "tiny", "--targets", "laptop,box", "--yes", DEPLOYQ_LLAMA_CPP=str(tools)
    )
    assert ran.code == 5, ran.err
    said = "llama-server crashed (segmentation fault) while loading"
    shown = " ".join(ran.out.split())
    assert shown.count(said) == 1
    assert f"tiny:q8_0, tiny:q4_k_m: {said}" in shown
    assert ran.err.count(said) == 1
    assert "exit status" not in ran.out + ran.err


def test_the_log_of_a_crash_is_named(project: Project, tools_bin: Path) -> None:
    pushed = project.run("push", "tiny", "--targets", "laptop", "--yes")
    assert pushed.code == 0, pushed.err
    wait_until_gone(project.folder / "embedded" / "runtime.json")  # the engine that works
    tools = folder_of_tools(project, tools_bin, "llama-server", NOT_THE_TINY_MODEL)
    ran = project.run("verify", "tiny:q8_0", DEPLOYQ_LLAMA_CPP=str(tools))
    said = " ".join((ran.out + ran.err).split())
    assert ran.code == 5, said
    assert "llama-server crashed (segmentation fault) while loading tiny:q8_0" in said
    assert "/logs/llama-server-" in said


def test_a_quantizer_that_crashes_is_told_in_words(project: Project, tools_bin: Path) -> None:
    tools = folder_of_tools(project, tools_bin, "llama-quantize", NOT_THE_TINY_MODEL)
    ran = project.run("push", "tiny", "--targets", "laptop", "--yes", DEPLOYQ_LLAMA_CPP=str(tools))
    assert ran.code == 6, ran.err
    assert "llama-quantize crashed (segmentation fault)" in ran.err


def test_doctor_names_the_tool_that_crashes(project: Project, tools_bin: Path) -> None:
    tools = folder_of_tools(project, tools_bin, "llama-server", CRASH)
    ran = project.run("doctor", DEPLOYQ_LLAMA_CPP=str(tools))
    said = " ".join(ran.out.split())
    assert ran.code == 1, ran.out
    assert "crashed (segmentation fault) while loading" in said
    assert "a push can't work here yet" in said


def test_the_embedded_runtime_sets_what_its_engine_needs(project: Project, tools_bin: Path) -> None:
    tools = folder_of_tools(project, tools_bin, "llama-server", UNLESS_TOLD)
    ran = project.run("push", "tiny", "--targets", "laptop", "--yes", DEPLOYQ_LLAMA_CPP=str(tools))
    assert ran.code == 0, ran.err
    assert "the embedded runtime runs its models with LLAMA_ARG_REPACK=0" in ran.err


def test_two_builds_of_one_llama_cpp_share_artifacts(project: Project, tools_bin: Path) -> None:
    for build in ("one", "other"):
        for name in ("llama-quantize", "llama-server"):
            wrap(project.folder / build, tools_bin / name, f"# built by the {build}")
    push = ("push", "tiny", "--targets", "laptop", "--yes")
    first = project.run(*push, DEPLOYQ_LLAMA_CPP=str(project.folder / "one"))
    assert first.code == 0, first.err
    again = project.run(*push, DEPLOYQ_LLAMA_CPP=str(project.folder / "other"))
    assert "nothing to do" in again.out
    locked = project.run(*push, "--locked", DEPLOYQ_LLAMA_CPP=str(project.folder / "other"))
    assert locked.code == 0, locked.err
    status = project.run("status", "tiny", DEPLOYQ_LLAMA_CPP=str(project.folder / "other"))
    assert status.code == 0, status.out + status.err


# ---------------------------------------------------------------- a real Ollama


@pytest.fixture
def crashing_ollama(ollama_binary: Path, tools_bin: Path, tmp_path: Path) -> Path:
    """An Ollama whose engine is built for AMX, as the system does not let it be used."""
    folder = tmp_path / "amx" / "bin"
    wrap(folder, tools_bin / "llama-server", UNLESS_TOLD)
    wrap(folder, tools_bin / "llama-quantize", "")
    (folder / "ollama").write_bytes(ollama_binary.read_bytes())
    (folder / "ollama").chmod(0o755)
    (folder.parent / "lib").mkdir()
    (folder.parent / "lib" / "ollama").symlink_to(folder)
    return folder / "ollama"


@pytest.mark.ollama
def test_a_running_ollama_that_crashes_is_told_with_its_mend(
    project: Project, crashing_ollama: Path
) -> None:
    with running_ollama(crashing_ollama, project.folder / "store") as server:
        push = ("push", "tiny", "--targets", "laptop,box", "--yes", "--runtime", "ollama")
        ran = project.run(*push, OLLAMA_HOST=server.url)
    assert ran.code == 5, ran.err
    said = "tiny:q8_0, tiny:q4_k_m: llama-server crashed (segmentation fault) while loading it"
    assert " ".join(ran.out.split()).count(said) == 1
    assert ran.err.count(said) == 1


@pytest.mark.ollama
def test_managed_sets_what_its_engine_needs(project: Project, crashing_ollama: Path) -> None:
    push = ("push", "tiny", "--targets", "laptop", "--yes", "--runtime", "managed")
    ran = project.run(*push, DEPLOYQ_OLLAMA=str(crashing_ollama))
    assert ran.code == 0, ran.err
    assert "the managed runtime runs its models with LLAMA_ARG_REPACK=0" in ran.err

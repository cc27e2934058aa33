"""Where llama.cpp's command-line tools are on this machine, and what each of them can.

Each tool is looked for on its own, so that an installed Ollama may bring `llama-quantize` and
another folder `llama-imatrix`. What a tool can do is asked of it, never assumed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deployq import proc
from deployq.convertbuild import (
    convert_estimate,
    convert_python,
    convert_scripts,
    install_converter,
)
from deployq.digests import DigestCache, sha256_bytes
from deployq.errors import ToolMissing
from deployq.toolbuild import (
    BUILD,
    cache_home,
    install,
    install_estimate_seconds,
    installed_bin,
    installed_version,
    tools_home,
    wheel_ready,
)

__all__ = [
    "BUILD",
    "Tool",
    "cache_home",
    "convert_estimate",
    "convert_python",
    "convert_scripts",
    "find_tool",
    "install",
    "install_converter",
    "install_estimate_seconds",
    "require_tool",
    "search_folders",
    "tools_home",
    "wheel_ready",
]

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

"""What is here, what is missing, what each missing piece is for, and the command that gets it."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from deployq import __version__
from deployq.addresses import is_local, is_plain_remote
from deployq.errors import DeployqError
from deployq.pipeline.access import access_to, default_access
from deployq.pipeline.session import Session
from deployq.pipeline.stores import place_of
from deployq.records import dataclass
from deployq.smoke import SmokeTest
from deployq.tags.access import Access
from deployq.tags.server import Server
from deployq.toolbuild import build_blocker
from deployq.tools import NEEDS_MEND, USES, Tool, broken_tools, find_tool, installed_ollama, tool_at
from deployq.types import AddressedRuntime, Backend, Health, MergingBackend, StoringRuntime
from deployq.units import format_bytes

LITTLE_BYTES = 5 * 10**9
"""Free disk below which a push of a usual model is likely to run out: a 7B in Q4 is 4 GB."""

CONNECT_SECONDS = 3


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: `needed` says that a push can't do without it."""

    what: str
    ok: bool
    detail: str
    hint: str = ""
    needed: bool = False
    group: str = "deployq"


class Checked(Protocol):
    """A plugin's part that knows its own health."""

    def health(self) -> Health: ...


def examine(session: Session) -> Iterator[Finding]:
    """Everything that the doctor looks at, group by group."""
    yield from _deployq(session)
    yield from _machine(session)
    yield from _tools(session)
    yield _backend(session)
    yield from _mergers(session)
    yield from _converters(session)
    yield from _runtimes(session)
    yield from _servers(session)
    yield from _plugins(session)
    yield from _disk(session)


def _deployq(session: Session) -> Iterator[Finding]:
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("deployq", True, f"{__version__} on {python}")
    file = session.config.file
    detail = str(file) if file else "no deployq.toml; none is needed, `deployq init` writes one"
    yield Finding("configuration", True, detail)


def _machine(session: Session) -> Iterator[Finding]:
    for profiler in session.profilers().values():
        if hardware := profiler.detect():
            memory = f"{format_bytes(hardware.memory_bytes)} {hardware.kind}"
            free = hardware.available_bytes
            shown = f", {format_bytes(free)} available" if free is not None else ""
            yield Finding(f"memory ({profiler.name})", True, f"{memory}{shown}", group="machine")


# ---------------------------------------------------------------- llama.cpp's tools


def _tools(session: Session) -> Iterator[Finding]:
    """Those that work by where they come from; those that fail; all that are missing in one line.

    Each was run on a tiny model, now or when it was first met.
    """
    found = {name: find_tool(name, session.env) for name in USES}
    folders: dict[tuple[Path, str], list[Tool]] = {}
    for tool in filter(None, found.values()):
        folders.setdefault((tool.path.parent, tool.origin), []).append(tool)
    for (folder, origin), tools in folders.items():
        names = ", ".join(tool.name for tool in tools)
        detail = f"{folder} ({tools[0].version}; {origin})"
        mends = ", ".join(
            f"{tool.name} with {tool.smoke.mend}" for tool in tools if tool.smoke.mend
        )
        detail += f"; {mends}: {NEEDS_MEND}" if mends else ""
        yield Finding(names, True, detail, group="llama.cpp")
    broken = {name: broken_tools(name, session.env) for name in USES}
    for name, passed_over in broken.items():
        for tool in passed_over:
            other = found[name]
            instead = f"; {other.path} is used instead" if other else ""
            detail = f"{tool.path} ({tool.origin}) {tool.smoke.problem}{instead}"
            yield Finding(name, False, detail, "deployq tools install", group="llama.cpp")
    missing = [name for name, tool in found.items() if tool is None and not broken[name]]
    if missing:
        yield from _missing(session, missing)


def _missing(session: Session, names: list[str]) -> Iterator[Finding]:
    detail = "not here; " + "; ".join(f"{name} {USES[name]}" for name in names)
    blocker = build_blocker(session.env)
    hint = "deployq tools install"
    if blocker is not None:
        hint = f"{blocker.hint} && {hint}"
    yield Finding(", ".join(names), False, detail, hint, group="llama.cpp")


def _backend(session: Session) -> Finding:
    """Whether anything here can quantize."""
    backends = session.backends()
    health = _healths({n: b for n, b in backends.items() if b.quants() or not _merges(b)})
    able = [f"{name} {h.version}".strip() for name, h in health.items() if h.ok]
    if able:
        return Finding("quantizer", True, ", ".join(able), needed=True, group="llama.cpp")
    why = "; ".join(f"{name}: {h.detail}" for name, h in health.items()) or "no backend plugin"
    hint = next((h.hint for h in health.values() if h.hint), "deployq plugins")
    return Finding("quantizer", False, why, hint, needed=True, group="llama.cpp")


def _merges(backend: Backend) -> bool:
    return isinstance(backend, MergingBackend)


def _mergers(session: Session) -> Iterator[Finding]:
    """What merges adapters in an environment of the user's own; deployq can do without."""
    mergers = {name: b for name, b in session.backends().items() if _merges(b)}
    for name, health in _healths(mergers).items():
        detail = " ".join(filter(None, (health.version, str(health.path or ""), health.detail)))
        yield Finding(f"backend {name}", health.ok, detail, health.hint, group="llama.cpp")


def _converters(session: Session) -> Iterator[Finding]:
    """What converts Hugging Face models; a push of a GGUF needs none of it."""
    for name, health in _healths(session.converters()).items():
        detail = " ".join(filter(None, (health.version, health.detail)))
        yield Finding(f"converter {name}", health.ok, detail, health.hint, group="llama.cpp")


# ---------------------------------------------------------------- Ollama


def _runtimes(session: Session) -> Iterator[Finding]:
    settings = session.config.runtime
    wanted = settings.name
    health = _healths(session.runtimes())
    runtime = session.runtimes().get(wanted)
    if isinstance(runtime, AddressedRuntime) and (settings.auth or settings.ca):
        health[wanted] = _server(runtime.url, partial(default_access, session))
    for name, h in health.items():
        mine = name == wanted
        shown = f"runtime {name}" + (" (the configured one)" if mine else "")
        detail = " ".join(filter(None, (h.version, h.detail, str(h.path or ""))))
        hint = _get_ollama(session.env) if name == "managed" and not h.ok else h.hint
        yield Finding(shown, h.ok, detail, hint, needed=mine, group="servers")
    if isinstance(runtime, AddressedRuntime) and is_local(runtime.url):
        yield from _installed_engine(session)
    if wanted not in health:
        hint = f"set [runtime] name to one of: {', '.join(health)}"
        detail = "no plugin brings it"
        yield Finding(f"runtime {wanted}", False, detail, hint, needed=True, group="servers")


def _installed_engine(session: Session) -> Iterator[Finding]:
    """The llama-server of the installed Ollama, where it crashes unless it is told."""
    for folder in installed_ollama(session.env):
        path = folder / "llama-server"
        if path.is_file() and (test := tool_at(path.name, path, session.env).smoke) != SmokeTest():
            detail = f"{path} {test.problem or f'needs {test.mend}: {NEEDS_MEND}'}"
            hint = "set it in the environment of `ollama serve`: docs/troubleshooting.md#amx"
            yield Finding("engine of the installed Ollama", False, detail, hint, group="servers")
            return


def _get_ollama(env: Mapping[str, str]) -> str:
    """The command that installs Ollama on this system."""
    path = env.get("PATH", "")
    if shutil.which("brew", path=path):
        return "brew install ollama"
    if shutil.which("pacman", path=path):
        return "sudo pacman -S ollama"
    if sys.platform == "linux":
        return "curl -fsSL https://ollama.com/install.sh | sh"
    return "install it from https://ollama.com/download"


def _servers(session: Session) -> Iterator[Finding]:
    """The servers that targets name: does each answer, and can deployq work with it?"""
    hosts: dict[str, list[str]] = {}
    for name, target in session.config.targets.items():
        if target.host:
            hosts.setdefault(target.host, []).append(name)
    for host, names in hosts.items():
        health = _server(host, partial(access_to, session, host))
        what = f"{host} (target {', '.join(names)})"
        yield Finding(what, health.ok, health.detail, health.hint, group="servers")


def _server(url: str, access: Callable[[], Access]) -> Health:
    """Whether a server answers us, and deployq can work with it."""
    try:
        with Server(
            url, connect_timeout_seconds=CONNECT_SECONDS, timeout_seconds=10, access=access()
        ) as server:
            version = server.ensure_supported()
    except DeployqError as exc:
        return Health(False, detail=exc.message, hint=exc.hint)
    if is_plain_remote(url):
        return Health(True, detail=f"Ollama {version}, over plain http: see docs/servers.md")
    return Health(True, detail=f"Ollama {version}")


# ---------------------------------------------------------------- plugins, disk


def _plugins(session: Session) -> Iterator[Finding]:
    """Those that are broken, and those that failed at what was asked so far."""
    for plugin in session.plugins.found:
        what = f"plugin {plugin.name}"
        if plugin.error:
            hint = plugin.hint or f"pip install --upgrade {plugin.distribution}"
            yield Finding(what, False, plugin.error, hint, group="plugins")
        for fault in session.plugins.faults.get(plugin.name, ()):
            yield Finding(what, False, fault, "deployq plugins", group="plugins")


def _disk(session: Session) -> Iterator[Finding]:
    """Each file system that a push writes to, once."""
    folders: dict[int, list[tuple[str, Path]]] = {}
    for what, folder in _folders(session):
        folders.setdefault(place_of(folder).device, []).append((what, folder))
    for written in folders.values():
        free = place_of(written[0][1]).free_bytes
        what = ", ".join(what for what, _ in written)
        detail = f"{format_bytes(free)} free for " + ", ".join(str(folder) for _, folder in written)
        hint = "" if free >= LITTLE_BYTES else "free some space, or set `cache` in deployq.toml"
        yield Finding(f"disk: {what}", free >= LITTLE_BYTES, detail, hint, group="disk")


def _folders(session: Session) -> Iterator[tuple[str, Path]]:
    yield "artifacts", session.cache_dir
    runtime = session.runtimes().get(session.config.runtime.name)
    if isinstance(runtime, StoringRuntime):
        folder = runtime.models_dir(session.runtime_dir)
        if folder is not None:
            yield "models", folder


def _healths(parts: Mapping[str, Checked]) -> dict[str, Health]:
    return {name: part.health() for name, part in parts.items()}


def able(findings: Iterable[Finding]) -> bool:
    """Whether a push can work: nothing that it needs is missing."""
    return all(finding.ok for finding in findings if finding.needed)

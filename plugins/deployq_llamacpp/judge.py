"""The judge `llama-quantize`: exact sizes from a dry run, memory from llama-fit-params."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq import Finding, Health, Memory, QuantSize
from deployq.ggml import TYPES, padded, tensor_bytes
from deployq.tools import Tool, cache_home, find_tool, tool_health
from deployq_llamacpp.header import START_BYTES, Metadata, read_metadata
from deployq_llamacpp.loading import LOADERS, check_loading, rejected
from deployq_llamacpp.output import PlannedTensor, parse_fallbacks, parse_planned

ASK_SECONDS = 120.0
MIB = 1 << 20
# llama-quantize writes both as 32-bit numbers (src/llama-quant.cpp); an entry is the length of
# the key, the key, the type id, the value
_WRITTEN = {
    key: 8 + len(key) + 4 + 4 for key in ("general.quantization_version", "general.file_type")
}
_DROPPED = ("split.no", "split.count", "split.tensors.count")
_MEMORY_ROW = r"^(?P<device>\S.*?) (?P<model>\d+) (?P<context>\d+) (?P<compute>\d+)\s*$"


class LlamaCppJudge:
    """Asks the tools of llama.cpp; sizes are exact to the byte."""

    name = "llama-quantize"

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env
        self._tools: dict[str, Tool] = {}
        self._seen: dict[tuple[Path, int, int], Metadata] = {}

    def health(self) -> Health:
        """Is there a llama-quantize that knows `--dry-run`?"""
        tool = self._tool("llama-quantize")
        if tool is None:
            return tool_health("llama-quantize", self._env)
        if not tool.has_flag("--dry-run"):
            return Health(
                False,
                path=tool.path,
                detail=f"{tool.path} does not know --dry-run: it is too old",
                hint="deployq tools install",
            )
        return tool.health()

    def file_bytes(self, gguf: Path, quant: str) -> QuantSize | None:
        """Size of the file that `llama-quantize gguf OUT quant` writes, no importance matrix.

        None where it can't be told: no tool, a header that can't be read, a refused quant, a
        tensor type that is not known here.

        Raises:
            ModelRejected: llama.cpp refuses the file.
        """
        tool = self._tool("llama-quantize")
        if tool is None:
            return None
        try:
            metadata = self._metadata(gguf)
        except (OSError, ValueError):
            return None
        entry = self._entry_of(gguf, quant, tool.version)
        if entry is not None and (known := _read_entry(entry)) is not None:
            return known
        size = self._ask(tool, gguf, quant, metadata)
        if entry is not None and size is not None:
            _write(entry, dataclasses.asdict(size))
        return size

    def memory(self, gguf: Path, n_ctx: int, cache_type: str) -> Memory | None:
        """Memory of `gguf` loaded whole, for one sequence; bytes, rounded up to whole MiB.

        `cache_type` is "f16", or "q8_0/f16" for K/V. The compute buffer is that of a context
        with 512 outputs, as llama-fit-params (b11434) reserves it: more than a server's.
        None where there is no llama-fit-params, or it can't tell.

        Raises:
            ModelRejected: llama.cpp refuses the file.
        """
        tool = self._tool("llama-fit-params")
        if tool is None or not (tool.has_flag("--fit-print") or tool.has_flag("-fitp")):
            return None
        cache_k, _, cache_v = cache_type.partition("/")
        argv = _fit_arguments(tool, gguf, n_ctx, cache_k, cache_v or cache_k)
        finished = tool.run(argv, timeout_seconds=ASK_SECONDS)
        if finished.returncode and (refused := rejected(gguf, finished.stdout, tool.name)):
            raise refused
        return _parse_memory(finished.stdout.splitlines()) if not finished.returncode else None

    def check(self, gguf: Path) -> Sequence[Finding]:
        """Has the tools that are here load a file as far as its weights; asked once per header."""
        tools = [tool for name in LOADERS if (tool := self._tool(name))]
        entry = self._entry_of(gguf, "check", *(tool.version for tool in tools))
        if entry is not None and entry.is_file():
            return ()
        found = check_loading(gguf, self._tool, self._env)
        if entry is not None and not found:
            _write(entry, {})
        return found

    def _entry_of(self, gguf: Path, *asked: str) -> Path | None:
        """Where an answer that hangs on the header alone is kept; None: it hangs on more."""
        try:
            metadata = self._metadata(gguf)
        except (OSError, ValueError):
            return None
        # the first part of a split model says nothing of the other parts' tensors
        if metadata.values.get("split.count", 0) > 1:
            return None
        key = hashlib.sha256("\n".join([metadata.digest, *asked]).encode()).hexdigest()
        return cache_home(self._env) / "judge" / f"{key[:40]}.json"

    def _metadata(self, gguf: Path) -> Metadata:
        """Walked over once per file: a plan asks for one size after the other."""
        stat = gguf.stat()
        identity = (gguf, stat.st_size, stat.st_mtime_ns)
        if identity not in self._seen:
            self._seen[identity] = read_metadata(gguf)
        return self._seen[identity]

    def _tool(self, name: str) -> Tool | None:
        """A tool, looked for again only while there is none; so it is asked for help once."""
        known = self._tools.get(name)
        if known is None or not known.path.is_file():
            known = find_tool(name, self._env)
            if known is not None:
                self._tools[name] = known
        return known

    def _ask(self, tool: Tool, gguf: Path, quant: str, metadata: Metadata) -> QuantSize | None:
        if not tool.has_flag("--dry-run"):
            return None
        argv: list[str | Path] = ["--dry-run", gguf.absolute(), quant]
        finished = tool.run(argv, timeout_seconds=ASK_SECONDS)
        if finished.returncode and (refused := rejected(gguf, finished.stdout, tool.name)):
            raise refused
        planned = [t for line in finished.stdout.splitlines() if (t := parse_planned(line))]
        if finished.returncode or not planned or any(t.type not in TYPES for t in planned):
            return None
        weights = sum(tensor_bytes(t.shape, t.type) for t in planned)
        return QuantSize(
            quant,
            file_bytes=_file_bytes(metadata, planned),
            bits_per_weight=8 * weights / sum(_elements(t) for t in planned),
            fallback_tensors=parse_fallbacks(finished.stdout),
            by=f"{self.name} {tool.version}",
        )


def _file_bytes(metadata: Metadata, planned: Sequence[PlannedTensor]) -> int:
    section = metadata.section_bytes
    section += sum(size - metadata.entries.get(key, 0) for key, size in _WRITTEN.items())
    section -= sum(metadata.entries.get(key, 0) for key in _DROPPED)
    infos = sum(8 + len(t.name.encode()) + 4 + 8 * len(t.shape) + 4 + 8 for t in planned)
    tensors = sum(padded(tensor_bytes(t.shape, t.type)) for t in planned)
    return padded(START_BYTES + section + infos) + tensors


def _elements(tensor: PlannedTensor) -> int:
    count = 1
    for extent in tensor.shape:
        count *= extent
    return count


def _fit_arguments(
    tool: Tool, gguf: Path, n_ctx: int, cache_k: str, cache_v: str
) -> list[str | Path]:
    argv: list[str | Path] = ["-m", gguf.absolute(), "-c", str(n_ctx), "-ngl", "99"]
    argv += ["-np", "1", "-ctk", cache_k, "-ctv", cache_v, "-fa", "on", "-fitp", "on"]
    # by default the row leaves out the weights that get repacked for the CPU
    repack = ["--no-repack"] if tool.has_flag("--no-repack") else []
    return [*argv, "-fit", "off", *repack]


def _parse_memory(lines: Iterable[str]) -> Memory | None:
    """Sum over the devices of `device model context compute`, each in whole MiB, cut off."""
    rows = [found for line in lines if (found := re.match(_MEMORY_ROW, line))]
    if not rows:
        return None
    weights, cache, compute = (
        sum((int(row[part]) + 1) * MIB for row in rows) for part in ("model", "context", "compute")
    )
    return Memory(weights, cache, compute)


def _read_entry(entry: Path) -> QuantSize | None:
    try:
        return QuantSize(**json.loads(entry.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _write(entry: Path, answer: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # what isn't remembered is asked again
        entry.parent.mkdir(parents=True, exist_ok=True)
        temporary = entry.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(answer))
        temporary.replace(entry)

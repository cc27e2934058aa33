"""A model loaded by a real Ollama: what it allocates, beside what was planned."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from deployq.digests import sha256_file
from deployq.plan.disk import Place
from deployq.plan.planner import make_plan
from deployq.plan.quants import own_size
from deployq.tags.modelfile import parse
from deployq.tags.records import Loaded
from deployq.tags.server import Server
from deployq.types import Json, ModelInfo, QuantSize, Target, TargetPlan

# Such as: llama_kv_cache:        CPU KV buffer size =     8.00 MiB
_BUFFER = re.compile(r"(?:model|KV|compute|output|RS) buffer size\s*=\s*([\d.]+) MiB")


@dataclass(frozen=True)
class Load:
    """`allocated_bytes` adds up every buffer that llama-server names in its log.

    `listed` is `/api/ps`: what Ollama reads in the same log.
    """

    allocated_bytes: int
    listed: Loaded


def create(server: Server, model: Path) -> str:
    """A tag of the file as it is."""
    digest = sha256_file(model)
    if not server.has_blob(digest):
        server.upload_blob(model, digest)
    server.create(model.stem, parse(f"FROM {model.name}"), {model.name: digest})
    return model.stem


def load(server: Server, tag: str, log: Path, **options: Json) -> Load:
    """Load a tag, look, and unload it.

    Args:
        server: with nothing loaded.
        tag: to load.
        log: what the server writes.
        options: of the request.
    """
    start = log.stat().st_size
    server.load(tag, options)
    (listed,) = server.ps()
    server.unload(tag)
    written = log.read_bytes()[start:].decode("utf-8", "replace")
    mib = sum(float(size) for size in _BUFFER.findall(written))
    return Load(round(mib * (1 << 20)), listed)


def plan_of(info: ModelInfo, target: Target) -> TargetPlan:
    """A plan with the file itself as the one candidate."""
    size = replace(own_size(info, info.dtype), file_bytes=info.file_bytes)

    def size_of(quant: str) -> QuantSize:
        return size if quant == info.dtype else own_size(info, quant)

    asked = replace(target, quants=(info.dtype,))
    plan = make_plan(info.path.stem, info, [asked], size_of, artifacts=Place(1 << 50))
    return plan.targets[0]

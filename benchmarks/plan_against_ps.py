"""The plan, held against what a real Ollama takes once a model is loaded.

    python -m benchmarks.plan_against_ps [MODEL...] [--contexts 2048,8192,32768,131072]
        [--parallel 1,4] [--cache-types f16,q8_0]

Starts a private `ollama serve` for each number of parallel requests and cache type, and loads each
MODEL (GGUF; default: the sample, and small shapes with and without windows, whose weights are
zeros: memory depends on shapes alone) with each context up to the trained one. What llama-server
writes in its log while it loads is the truth: it names every buffer that it allocates. Beside it
stands the size of `/api/ps`, which Ollama adds up from the same log, though not from all of it.

Needs llama.cpp's tools and an Ollama (`DEPLOYQ_OLLAMA` names its program; `make test-ollama` leaves
one under .deployq/ollama).
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from deployq.source.inspect import inspect
from deployq.tags.server import Server
from deployq.types import Memory, Serving, Target
from tests.ollama_fixtures import running_ollama
from tests.plan.loadable import LOADABLE, write_loadable
from tests.plan.loading import Load, create, load, plan_of

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "examples" / "task-api" / "task-api-f16.gguf"
MIB = 1 << 20
HEADER = (
    "| model | context | parallel | cache | batch | planned MiB | allocated MiB | off "
    "| `/api/ps` MiB | off |\n|---|---:|---:|---|---:|---:|---:|---:|---:|---:|"
)


def main() -> None:
    """Print a row for each load, and the largest differences."""
    if "DEPLOYQ_OLLAMA" not in os.environ:
        sys.exit("DEPLOYQ_OLLAMA names no Ollama: make test-ollama leaves one")
    options = _options()
    print(HEADER)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        models = options.models or [SAMPLE, *(write_loadable(Path(folder), n) for n in LOADABLE)]
        boxes = [
            Target("box", "ram", 1 << 40, 0, 0, kind, serving=Serving(parallel=parallel))
            for parallel in options.parallel
            for kind in options.cache_types
        ]
        offs = [
            off for box in boxes for off in _of_server(Path(folder), box, models, options.contexts)
        ]
    print(f"\n{len(offs)} loads, planned against allocated: {min(offs):+.2%} to {max(offs):+.2%}")


def _options() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description="Hold the plan against loaded models.")
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--contexts", type=numbers, default=[2048, 8192, 32768, 131072])
    parser.add_argument("--parallel", type=numbers, default=[1, 4])
    parser.add_argument("--cache-types", type=lambda t: t.split(","), default=["f16", "q8_0"])
    return parser.parse_args()


def _of_server(
    folder: Path, target: Target, models: Sequence[Path], contexts: Sequence[int]
) -> Iterator[float]:
    """A row for each model and context on one server; how far each plan is off."""
    place = folder / f"{target.serving.parallel}-{target.cache_type}"
    variables = {
        "OLLAMA_NUM_PARALLEL": str(target.serving.parallel),
        "OLLAMA_KV_CACHE_TYPE": target.cache_type,
    }
    binary = Path(os.environ["DEPLOYQ_OLLAMA"])
    with (
        running_ollama(binary, place, folder / "models", **variables) as endpoint,
        Server(endpoint.url, generate_timeout_seconds=600) as server,
    ):
        sys.stderr.write(f"Ollama {endpoint.version}, {platform.machine()}, no GPU: {variables}\n")
        for model in models:
            tag, info = create(server, model), inspect(model)
            for n_ctx in contexts:
                if n_ctx <= (info.n_ctx_train or n_ctx):
                    found = load(server, tag, place / "serve.log", num_ctx=n_ctx)
                    plan = plan_of(info, replace(target, n_ctx=n_ctx))
                    memory = plan.candidates[0].memory
                    print(_row(tag, plan.target, memory, found), flush=True)
                    yield memory.total_bytes / found.allocated_bytes - 1


def _row(tag: str, target: Target, memory: Memory, found: Load) -> str:
    listed, total = found.listed.size_bytes, memory.total_bytes
    return (
        f"| {tag} | {target.n_ctx} | {target.serving.parallel} | {target.cache_type} "
        f"| {memory.n_batch} | {total / MIB:.2f} | {found.allocated_bytes / MIB:.2f} "
        f"| {total / found.allocated_bytes - 1:+.2%} | {listed / MIB:.2f} "
        f"| {(total - memory.unlisted_bytes) / listed - 1:+.2%} |"
    )


if __name__ == "__main__":
    main()

"""The plan, held against what a real Ollama takes once a model is loaded.

    python -m benchmarks.plan_against_ps [MODEL...] [--contexts 2048,8192,32768,131072]
        [--parallel 1,4] [--cache-types f16,q8_0] [--ps]

Starts a private `ollama serve` for each number of parallel requests and cache type, and loads each
MODEL (GGUF; default: the sample, and small shapes with and without windows, whose weights are
zeros: memory depends on shapes alone) with each context up to the trained one. What llama-server
writes in its log while it loads is the truth: it names every buffer that it allocates. `--ps` holds
the plan against the size of `/api/ps`, which Ollama adds up from the same log, though not from all
of it (deployq/plan/memory.py says what it leaves out, and the plan leaves that out, too).

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
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Loading:
    """One model loaded once; `target` says how."""

    tag: str
    target: Target
    memory: Memory
    found: Load

    def held(self, ps: bool) -> tuple[int, float]:
        """The real bytes, and how far the planned ones are over them (0.01: 1 %)."""
        real = self.found.listed.size_bytes if ps else self.found.allocated_bytes
        planned = self.memory.total_bytes - (self.memory.unlisted_bytes if ps else 0)
        return real, planned / real - 1


def main() -> None:
    """Print a row for each model and context, a column for each server."""
    if "DEPLOYQ_OLLAMA" not in os.environ:
        sys.exit("DEPLOYQ_OLLAMA names no Ollama: make test-ollama leaves one")
    options = _options()
    boxes = [
        Target("box", "ram", 1 << 40, 0, 0, kind, serving=Serving(parallel=parallel))
        for parallel in options.parallel
        for kind in options.cache_types
    ]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        models = options.models or [SAMPLE, *(write_loadable(Path(folder), n) for n in LOADABLE)]
        loadings = [
            loading
            for box in boxes
            for loading in _of_server(Path(folder), box, models, options.contexts)
        ]
    print("\n".join(_table(loadings, boxes, options.ps)))


def _table(loadings: Sequence[Loading], boxes: Sequence[Target], ps: bool) -> Iterator[str]:
    """MiB that were taken, and how far the plan is off."""
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for one in loadings:
        real, off = one.held(ps)
        cell = f"{real / MIB:,.1f} ({100 * off:+.2f} %)"
        cells.setdefault((one.tag, one.target.n_ctx), {})[_server(one.target)] = cell
    yield f"| model, context | {' | '.join(map(_server, boxes))} |"
    yield "|---" + "|---:" * len(boxes) + "|"
    for (tag, n_ctx), row in cells.items():
        yield f"| {tag}, {n_ctx} | {' | '.join(row[_server(box)] for box in boxes)} |"
    offs = [one.held(ps)[1] for one in loadings]
    yield f"\n{len(offs)} loads: {100 * min(offs):+.2f} % to {100 * max(offs):+.2f} %"


def _server(target: Target) -> str:
    return f"{target.serving.parallel} × {target.cache_type}"


def _options() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description="Hold the plan against loaded models.")
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--contexts", type=numbers, default=[2048, 8192, 32768, 131072])
    parser.add_argument("--parallel", type=numbers, default=[1, 4])
    parser.add_argument("--cache-types", type=lambda t: t.split(","), default=["f16", "q8_0"])
    parser.add_argument("--ps", action="store_true", help="against /api/ps, not the log")
    return parser.parse_args()


def _of_server(
    folder: Path, box: Target, models: Sequence[Path], contexts: Sequence[int]
) -> Iterator[Loading]:
    """Each model with each context on one server."""
    parallel, kind = str(box.serving.parallel), box.cache_type
    variables = {"OLLAMA_NUM_PARALLEL": parallel, "OLLAMA_KV_CACHE_TYPE": kind}
    binary, place = Path(os.environ["DEPLOYQ_OLLAMA"]), folder / f"{parallel}-{kind}"
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
                    target = replace(box, n_ctx=n_ctx)
                    memory = plan_of(info, target).candidates[0].memory
                    yield Loading(tag, target, memory, found)


if __name__ == "__main__":
    main()

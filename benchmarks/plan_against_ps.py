"""The plan, held against what a real Ollama says once the model is loaded.

    python -m benchmarks.plan_against_ps [MODEL] [--quants F16,Q8_0,Q4_K_M] [--context 2048]

Quantizes MODEL (default: the sample), starts a private `ollama serve`, loads each quant and prints
the planned memory beside the size that `/api/ps` reports. Needs llama.cpp's tools and an Ollama
(`DEPLOYQ_OLLAMA` names its program; `make test-ollama` leaves one under .deployq/ollama).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from deployq.config import Config
from deployq.pipeline.inventory import held_tags
from deployq.pipeline.jobs import Options
from deployq.pipeline.prepare import prepare
from deployq.pipeline.push import push
from deployq.pipeline.resolve import Overrides
from deployq.pipeline.servers import Site, default_site
from deployq.pipeline.session import open_session
from deployq.settings import ModelSettings, PathSettings, RuntimeSettings
from deployq.types import HeldTag

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "examples" / "task-api" / "task-api-f16.gguf"
CARD = "4090"


def main() -> None:
    """Print a row for each quant."""
    options = _options()
    quants = tuple(options.quants.split(","))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        config = _config(Path(folder), options.model, quants, options.context)
        session = open_session(config)
        prepared = prepare(session, "model", [CARD], Overrides(n_ctx=options.context))
        planned = {c.quant: c.memory.total_bytes for c in prepared.plan.targets[0].candidates}
        push(session, prepared, Options())
        print("| quant | planned MiB | /api/ps MiB | difference |\n|---|---:|---:|---:|")
        with default_site(session) as site:
            for tag in held_tags(session, site):
                if tag.alias_of is None:
                    print(_row(site, tag, planned[tag.quant]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hold the plan against a loaded model.")
    parser.add_argument("model", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--quants", default="F16,Q8_0,Q6_K,Q5_K_M,Q4_K_M")
    parser.add_argument("--context", type=int, default=2048)
    return parser.parse_args()


def _config(folder: Path, model: Path, quants: tuple[str, ...], n_ctx: int) -> Config:
    suite = folder / "suite.jsonl"
    suite.write_text('{"user": "hi", "options": {"num_predict": 4}, "check": {"max_tokens": 4}}\n')
    settings = ModelSettings(
        source=model, suite=suite, quants=quants, parameters={"num_ctx": n_ctx}
    )
    return Config(
        folder=folder,
        models={"model": settings},
        runtime=RuntimeSettings(name="managed", dir=folder),
        paths=PathSettings(cache=folder / "cache"),
    )


def _row(site: Site, tag: HeldTag, planned_bytes: int) -> str:
    site.server.load(tag.tag)
    loaded = next(m for m in site.server.ps() if m.name == tag.tag)
    site.server.unload(tag.tag)
    planned, real = planned_bytes / 2**20, loaded.size_bytes / 2**20
    return f"| {tag.quant} | {planned:.2f} | {real:.2f} | {100 * (planned / real - 1):+.2f} % |"


if __name__ == "__main__":
    os.environ.setdefault("OLLAMA_NUM_PARALLEL", "1")
    main()

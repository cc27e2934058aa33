"""How far the plan is off, beside what the usual formulas give: `python -m benchmarks.plan_errors`.

The truth is what llama.cpp's own tools (b11434) said of seven published models
(tests/data/oracle) and of the headers of many architectures (tests/data/judged).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from deployq.plan.figures import Figures
from deployq.plan.memory import MemoryModel, upper_bound_reason
from deployq.plan.quants import own_size
from deployq.serving import DEFAULT_BATCH
from deployq.source.inspect import inspect
from deployq.types import ModelInfo, Serving
from tests.plan.conftest import MODELS, ORACLE
from tests.plan.judged import CASES, judged, serving_of

MIB = 1 << 20
SMALL = Serving(num_batch=DEFAULT_BATCH)
TOTAL_QUANT = "Q4_K_M"


@dataclass(frozen=True)
class Loaded:
    """One measurement of a loaded model, in bytes; `weights` are those of `quant`."""

    quant: str
    n_ctx: int
    serving: Serving
    cache_type: str
    weights: float
    kv_cache: float
    compute: float


@dataclass(frozen=True)
class Case:
    """A model, and what the tools say: bytes per quant, and of what is loaded."""

    name: str
    info: ModelInfo
    files: dict[str, int]
    loaded: tuple[Loaded, ...]

    @property
    def bound(self) -> bool:
        return bool(upper_bound_reason(self.info))


def main() -> None:
    """Print the table, or with `--models` one line per model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", action="store_true", help="one line per model")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = list(_cases(Path(folder)))
        known = [case for case in cases if not case.bound]
        sys.stdout.write("\n".join(_models(cases) if arguments.models else _table(known)) + "\n")


# ---------------------------------------------------------------- the truth


def _cases(folder: Path) -> Iterator[Case]:
    for name in MODELS:
        yield _from_oracle(name, folder)
    for name in CASES:
        case = judged(name, folder)
        files = {quant: size for quant, (size, _) in case.sizes.items()}
        weights = files[TOTAL_QUANT] - case.info.header_bytes
        loaded = tuple(
            Loaded(
                TOTAL_QUANT,
                said["n_ctx"],
                serving_of(said),
                said["cache_type"],
                weights,
                said["kv_mib"] * MIB,
                said["compute_mib"] * MIB,
            )
            for said in case.memory
        )
        yield Case(name, case.info, files, loaded)


def _from_oracle(name: str, folder: Path) -> Case:
    said = json.loads((ORACLE / f"{name}.json").read_text())
    packed = (ORACLE / f"headers/{name}.f16.header.gguf.gz").read_bytes()
    file = folder / f"{name}.oracle.gguf"
    file.write_bytes(gzip.decompress(packed))
    os.truncate(file, said["sizes"]["F16"]["file_bytes"])
    files = {quant: size["file_bytes"] for quant, size in said["sizes"].items()}
    loaded = tuple(
        Loaded(
            row["quant"],
            row["n_ctx"],
            SMALL,
            row["cache_type"],
            said["sizes"][row["quant"]]["tensor_bytes"],
            row["kv_exact_mib"] * MIB,
            (row["compute_server_mib"] + row["output_mib"]) * MIB,
        )
        for row in said["memory"]
    )
    return Case(name, inspect(file), files, loaded)


# ---------------------------------------------------------------- the usual formulas


def bits_by_name(info: ModelInfo, quant: str) -> float:
    """Parameters times the number in the quant's name: "7B in Q4 is 3.5 GB"."""
    found = re.search(r"\d+", quant)
    return info.n_params * int(found[0] if found else 16) / 8


def all_heads(info: ModelInfo, loaded: Loaded) -> float:
    """Keys and values as wide as the model, in every layer."""
    figures = Figures(info)
    return 2.0 * figures.blocks * figures.width * loaded.n_ctx * loaded.serving.parallel * 2


def embd_by_heads(info: ModelInfo, loaded: Loaded) -> float:
    """The same for the heads that keep keys, each as wide as the model by its heads."""
    figures = Figures(info)
    heads = max(figures.number("attention.head_count"), 1)
    share = figures.number("attention.head_count_kv", heads) / heads
    return all_heads(info, loaded) * share


# ---------------------------------------------------------------- the table


def _errors(pairs: Iterable[tuple[float, float]]) -> list[float]:
    return [found / true - 1 for found, true in pairs if true]


def _sizes(cases: list[Case], formula: Callable[[ModelInfo, str], float]) -> list[float]:
    return _errors(
        (formula(case.info, quant), true) for case in cases for quant, true in case.files.items()
    )


def _loaded(
    cases: list[Case], of: Callable[[ModelInfo, Loaded], tuple[float, float]]
) -> list[float]:
    return _errors(of(case.info, loaded) for case in cases for loaded in case.loaded)


def _own(part: str) -> Callable[[ModelInfo, Loaded], tuple[float, float]]:
    def of(info: ModelInfo, loaded: Loaded) -> tuple[float, float]:
        size = own_size(info, loaded.quant)
        found = MemoryModel(info).predict(size, loaded.n_ctx, loaded.cache_type, loaded.serving)
        if part == "kv":
            return found.kv_cache_bytes, loaded.kv_cache
        return found.total_bytes, loaded.weights + loaded.kv_cache + loaded.compute

    return of


def _usual(
    kv: Callable[[ModelInfo, Loaded], float], *, total: bool
) -> Callable[[ModelInfo, Loaded], tuple[float, float]]:
    def of(info: ModelInfo, loaded: Loaded) -> tuple[float, float]:
        if not total:
            return kv(info, loaded), loaded.kv_cache
        whole = loaded.weights + loaded.kv_cache + loaded.compute
        return bits_by_name(info, loaded.quant) + kv(info, loaded), whole

    return of


def _table(cases: list[Case]) -> Iterator[str]:
    f16 = [
        Case(c.name, c.info, {}, tuple(m for m in c.loaded if m.cache_type == "f16")) for c in cases
    ]
    n_sizes = sum(len(case.files) for case in cases)
    n_loaded = sum(len(case.loaded) for case in cases)
    names = len({case.info.architecture for case in cases})
    yield (
        f"{len(cases)} models of {names} architectures, {n_sizes} file sizes, "
        f"{n_loaded} measurements of memory (usual formulas: those with an f16 cache)"
    )
    yield ""
    yield "| figure | how | worst | median |"
    yield "|---|---|---|---|"
    rows = (
        ("file size", "deployq", _sizes(cases, lambda i, q: own_size(i, q).file_bytes)),
        ("", "parameters × bits in the name", _sizes(cases, bits_by_name)),
        ("KV cache", "deployq", _loaded(cases, _own("kv"))),
        ("", "2 × layers × width × context × 2", _loaded(f16, _usual(all_heads, total=False))),
        ("", "with embd/heads", _loaded(f16, _usual(embd_by_heads, total=False))),
        ("total", "deployq", _loaded(cases, _own("total"))),
        ("", "name's bits + embd/heads", _loaded(f16, _usual(embd_by_heads, total=True))),
    )
    for figure, how, errors in rows:
        worst, middle = max(errors, key=abs), median(map(abs, errors))
        yield f"| {figure} | {how} | {_percent(worst)} | {_percent(middle).lstrip('+')} |"


def _percent(error: float) -> str:
    return (
        "0"
        if abs(error) < 0.000005
        else f"{100 * error:+.2f} %"
        if abs(error) < 1
        else (f"{100 * error:+,.0f} %")
    )


def _models(cases: list[Case]) -> Iterator[str]:
    yield "| model | architecture | KV cache, MiB | deployq | embd/heads | total: deployq |"
    yield "|---|---|---|---|---|---|"
    for case in cases:
        plain = [
            m
            for m in case.loaded
            if m.cache_type == "f16" and m.serving == Serving(num_batch=DEFAULT_BATCH)
        ]
        if not plain:
            continue
        last = max(plain, key=lambda loaded: loaded.n_ctx)
        own, true = _own("kv")(case.info, last)
        total, whole = _own("total")(case.info, last)
        usual = embd_by_heads(case.info, last)
        bound = " (bound)" if case.bound else ""
        yield (
            f"| {case.name}, {last.n_ctx} | {case.info.architecture}{bound} | {true / MIB:,.0f} "
            f"| {_percent(own / true - 1)} | {_percent(usual / true - 1)} "
            f"| {_percent(total / whole - 1)} |"
        )


if __name__ == "__main__":
    main()

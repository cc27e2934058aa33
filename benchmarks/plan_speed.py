"""How fast deployq starts and plans: `python -m benchmarks.plan_speed [RUNS]`.

From the shell: `plan` of a 70B header, all common quants, two targets, as JSON and as a table;
`--help` beside a program that is nothing but click; time and memory of the process, and what it
imported. In the process: 100 targets, 20 quants each. Run it twice: the first run compiles.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployq.plan.disk import Place
from deployq.plan.planner import make_plan
from deployq.plan.quants import own_size
from deployq.source.inspect import inspect
from deployq.types import Target
from tests.plan.conftest import ORACLE

MODEL = "llama-2-70b"
DEPLOYQ = (str(Path(sys.executable).with_name("deployq")),)
PLAN = ("plan", f"{MODEL}.gguf", "--targets", "laptop,4090")
BARE_CLICK = "import click\n@click.group()\ndef cli(): pass\ncli()"
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "plan --json": (*DEPLOYQ, *PLAN, "--json"),
    "plan": (*DEPLOYQ, *PLAN),
    "--help": (*DEPLOYQ, "--help"),
    "bare click": (sys.executable, "-c", BARE_CLICK, "--help"),
}
LIMIT_SECONDS = {"plan --json": 0.3, "plan": 0.3}
HELP_LIMIT = 1.5
HTTP = ("httpx", "requests", "urllib3", "ollama", "http.client", "urllib.request", "ssl")
WATCHED = ("click", "pluggy", "rich", "filelock", "psutil", "numpy", "gguf", "jinja2", "jsonschema")
QUANTS = (
    "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "IQ4_NL",
    "IQ4_XS", "Q4_1", "Q4_0", "Q3_K_L", "Q3_K_M", "IQ3_M", "IQ3_S", "Q3_K_S", "Q2_K", "TQ2_0",
)  # fmt: skip
_CHILD = """
import sys
from deployq.cli.main import run
run(sys.argv[1:])
modules = sorted(sys.modules)
import json, resource
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([peak, modules]), file=sys.stderr)
"""


@dataclass(frozen=True)
class Best:
    """The fastest of several runs of a command: seconds on the clock, and of CPU."""

    seconds: float = float("inf")
    cpu_seconds: float = float("inf")


def main() -> None:
    """Print what was measured, and the limits."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = _header(folder)
        best = _best_of(runs, folder)
        imports = {command: _imports(argv, folder) for command, argv in COMMANDS.items()
                   if argv[:1] == DEPLOYQ}  # fmt: skip
        many = _many(model)
    for command, one in best.items():
        limit = f" (limit {LIMIT_SECONDS[command]} s)" if command in LIMIT_SECONDS else ""
        print(f"{command:12} {one.seconds:.3f} s, {one.cpu_seconds:.3f} s of CPU{limit}")
    ratio = best["--help"].cpu_seconds / best["bare click"].cpu_seconds
    print(f"--help takes {ratio:.2f} times a bare click program's time (limit {HELP_LIMIT})")
    for command, (peak_kib, modules) in imports.items():
        print("\n".join(_about(command, peak_kib, modules)))
    print(f"100 targets x {len(QUANTS)} quants: {many:.3f} s (limit 1 s)")
    print(f"times are the best of {runs} runs; the limits are for an idle machine")


def _header(folder: Path) -> Path:
    said = json.loads((ORACLE / f"{MODEL}.json").read_text())
    packed = (ORACLE / f"headers/{MODEL}.f16.header.gguf.gz").read_bytes()
    file = folder / f"{MODEL}.gguf"
    file.write_bytes(gzip.decompress(packed))
    os.truncate(file, said["sizes"]["F16"]["file_bytes"])
    return file


def _best_of(runs: int, folder: Path) -> dict[str, Best]:
    """Every command in turn, so that what else the machine does hits all of them."""
    best = dict.fromkeys(COMMANDS, Best())
    for _ in range(runs):
        for command, argv in COMMANDS.items():
            seconds, cpu_seconds = _timed(argv, folder)
            known = best[command]
            best[command] = Best(min(known.seconds, seconds), min(known.cpu_seconds, cpu_seconds))
    return best


def _timed(argv: Sequence[str], folder: Path) -> tuple[float, float]:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(argv, cwd=folder, capture_output=True, check=False)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _imports(argv: Sequence[str], folder: Path) -> tuple[int, list[str]]:
    """Peak memory of a command in KiB, and the modules that it imported."""
    child = [sys.executable, "-c", _CHILD, *argv[1:]]
    done = subprocess.run(child, cwd=folder, capture_output=True, text=True, check=True)
    peak, modules = json.loads(done.stderr.strip().splitlines()[-1])
    return peak if sys.platform == "linux" else peak // 1024, modules


def _about(command: str, peak_kib: int, modules: Sequence[str]) -> Iterator[str]:
    http = ", ".join(name for name in HTTP if name in modules) or "none"
    own = sum(name.startswith("deployq") for name in modules)
    libraries = ", ".join(name for name in WATCHED if name in modules) or "none"
    yield f"{command}: {peak_kib / 1024:.1f} MiB (limit 80), HTTP modules: {http} (limit: none)"
    yield f"    {len(modules)} modules, {own} of them deployq's; libraries: {libraries}"


def _many(model: Path) -> float:
    started = time.perf_counter()
    info = inspect(model)
    targets = [
        Target(f"m{n}", ("ram", "vram", "unified")[n % 3], n * 10**9, 10**9, 2048, quants=QUANTS)
        for n in range(1, 101)
    ]
    plan = make_plan(
        MODEL, info, targets, lambda quant: own_size(info, quant), artifacts=Place(10**13)
    )
    assert sum(len(target.candidates) for target in plan.targets) == 100 * len(QUANTS)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

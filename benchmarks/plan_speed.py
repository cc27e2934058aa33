"""How fast `deployq plan` is: `python -m benchmarks.plan_speed [RUNS]`.

From the shell: a 70B header, all common quants, two targets; time and memory of the process, and
whether it imported an HTTP stack. In the process: 100 targets, 20 quants each.
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
from pathlib import Path
from statistics import median

from deployq.plan.disk import Place
from deployq.plan.planner import make_plan
from deployq.plan.quants import own_size
from deployq.source.inspect import inspect
from deployq.types import Target
from tests.plan.conftest import ORACLE

MODEL = "llama-2-70b"
HTTP = ("httpx", "requests", "urllib3", "ollama", "http.client", "urllib.request", "ssl")
QUANTS = (
    "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "IQ4_NL",
    "IQ4_XS", "Q4_1", "Q4_0", "Q3_K_L", "Q3_K_M", "IQ3_M", "IQ3_S", "Q3_K_S", "Q2_K", "TQ2_0",
)  # fmt: skip
_CHILD = """
import json, resource, sys
from deployq.cli import main
try:
    main()
except SystemExit:
    pass
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([peak, [m for m in {http} if m in sys.modules]]), file=sys.stderr)
"""


def main() -> None:
    """Print what was measured, and the limits."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder:
        model = _header(Path(folder))
        argv = ["plan", str(model), "--targets", "laptop,4090", "--json"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = [_shell(argv, Path(folder)) for _ in range(runs)]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / runs
        peak_kib, imported = _child(argv, Path(folder))
        many = _many(model)
    print(f"plan from the shell, {runs} runs: median {median(seconds):.3f} s, ", end="")
    print(f"best {min(seconds):.3f} s, of it {busy:.3f} s of CPU (limit 0.3 s, machine idle)")
    peak = peak_kib if sys.platform == "linux" else peak_kib // 1024
    print(f"memory: {peak / 1024:.1f} MiB (limit 80)")
    print(f"HTTP modules imported: {', '.join(imported) or 'none'} (limit: none)")
    print(f"100 targets x {len(QUANTS)} quants: {many:.3f} s (limit 1 s)")


def _header(folder: Path) -> Path:
    said = json.loads((ORACLE / f"{MODEL}.json").read_text())
    packed = (ORACLE / f"headers/{MODEL}.f16.header.gguf.gz").read_bytes()
    file = folder / f"{MODEL}.gguf"
    file.write_bytes(gzip.decompress(packed))
    os.truncate(file, said["sizes"]["F16"]["file_bytes"])
    return file


def _shell(argv: list[str], folder: Path) -> float:
    started = time.perf_counter()
    command = Path(sys.executable).with_name("deployq")
    subprocess.run([command, *argv], cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - started


def _child(argv: list[str], folder: Path) -> tuple[int, list[str]]:
    code = _CHILD.replace("{http}", repr(HTTP))
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=folder, capture_output=True, text=True, check=True
    )
    peak, imported = json.loads(done.stderr.strip().splitlines()[-1])
    return peak, imported


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

"""Measures how many answers of each quant are right, letter for letter.

    python evaluate.py --tools DIR

DIR holds llama.cpp's ``llama-quantize`` and ``llama-server``; without ``--tools`` they are looked
for on PATH. Prints a Markdown table. Needs nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
QUANTS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
START_SECONDS = 60.0


@dataclass(frozen=True)
class Prompt:
    """A request and the exact text of its right answer."""

    name: str
    user: str
    answer: str


@dataclass(frozen=True)
class Suite:
    """Prompts that are asked with the same token limit."""

    prompts: tuple[Prompt, ...]
    num_predict: int


@dataclass(frozen=True)
class Figures:
    """What was measured of one quant."""

    quant: str
    file_bytes: int
    quick_right: int
    full_right: int


def main() -> None:
    """Quantize, ask everything, print the table."""
    args = parse_args()
    quick, full = load_quick(HERE / "suite.toml"), load_full(HERE / "suite-full.jsonl")
    print(f"| quant | file bytes | right of {len(quick.prompts)} | right of {len(full.prompts)} |")
    print("|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for quant in args.quants:
            model = quantize(args, quant, Path(folder))
            print(
                table_row(measure(args, quant, model, quick, full), len(full.prompts)), flush=True
            )
            model.unlink()


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Exact match of the Task API model by quant.")
    parser.add_argument("--tools", type=Path, help="folder of llama-quantize and llama-server")
    parser.add_argument("--gguf", type=Path, default=HERE / "task-api-f16.gguf")
    parser.add_argument("--quants", nargs="+", default=QUANTS, metavar="QUANT")
    parser.add_argument("--show-wrong", action="store_true", help="print the wrong answers too")
    return parser.parse_args()


# ---- the suites --------------------------------------------------------------------------------


def load_quick(path: Path) -> Suite:
    """The prompts of suite.toml."""
    suite = tomllib.loads(path.read_text(encoding="utf-8"))
    prompts = tuple(to_prompt(prompt) for prompt in suite["prompts"])
    return Suite(prompts, suite["options"]["num_predict"])


def load_full(path: Path) -> Suite:
    """The prompts of suite-full.jsonl."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return Suite(tuple(to_prompt(json.loads(line)) for line in lines), num_predict=128)


def to_prompt(record: dict[str, Any]) -> Prompt:
    """A prompt with the canonical spelling of its answer."""
    answer = json.dumps(record["check"]["json_equals"])
    return Prompt(record["name"], record["user"], answer)


# ---- llama.cpp ---------------------------------------------------------------------------------


def tool(args: argparse.Namespace, name: str) -> str:
    """The path of one of llama.cpp's programs."""
    found = shutil.which(name, path=str(args.tools) if args.tools else None)
    if found is None:
        raise SystemExit(f"{name} not found: give its folder with --tools, or put it on PATH")
    return found


def quantize(args: argparse.Namespace, quant: str, folder: Path) -> Path:
    """Write one quant of the F16 file into a folder."""
    target = folder / f"task-api-{quant.lower()}.gguf"
    if quant == "F16":
        shutil.copyfile(args.gguf, target)
        return target
    command = [tool(args, "llama-quantize"), str(args.gguf), str(target), quant, "2"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return target


@contextmanager
def server(args: argparse.Namespace, model: Path) -> Iterator[str]:
    """A llama-server that answers with one model; yields its address."""
    port = free_port()
    command = [
        tool(args, "llama-server"), "--model", str(model), "--host", "127.0.0.1",
        "--port", str(port), "--ctx-size", "1024", "--parallel", "1", "--threads", "1", "--jinja",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until_healthy(address: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the server has loaded its model."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"llama-server ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit(f"llama-server was not ready within {START_SECONDS:.0f} s")


def ask(address: str, prompt: Prompt, num_predict: int) -> tuple[str, bool]:
    """The greedy answer to a prompt, and whether the model stopped by itself."""
    body = {
        "messages": [{"role": "user", "content": prompt.user}],
        "temperature": 0,
        "max_tokens": num_predict,
        "cache_prompt": False,
    }
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        choice = json.load(response)["choices"][0]
    return choice["message"]["content"], choice["finish_reason"] == "stop"


# ---- figures -----------------------------------------------------------------------------------


def measure(
    args: argparse.Namespace, quant: str, model: Path, quick: Suite, full: Suite
) -> Figures:
    """Ask both suites."""
    with server(args, model) as address:
        right = [count_right(address, suite, args.show_wrong) for suite in (quick, full)]
    return Figures(quant, model.stat().st_size, *right)


def count_right(address: str, suite: Suite, show_wrong: bool) -> int:
    """How many answers of a suite are right."""
    right = 0
    for prompt in suite.prompts:
        answer, stopped = ask(address, prompt, suite.num_predict)
        if answer == prompt.answer and stopped:
            right += 1
        elif show_wrong:
            print(f"{prompt.name}: {prompt.user}\n  want {prompt.answer}\n  got  {answer}")
    return right


def table_row(figures: Figures, full_count: int) -> str:
    """One row of the Markdown table."""
    share = figures.full_right / full_count
    return (
        f"| {figures.quant} | {figures.file_bytes:,} | {figures.quick_right} "
        f"| {figures.full_right} ({share:.1%}) |"
    )


if __name__ == "__main__":
    main()

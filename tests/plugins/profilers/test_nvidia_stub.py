"""NVIDIA, without a card: nvidia-ml-py loads a library that we compile (nvml_stub.c).

What is tested is that NVML's documented calls are understood, in a process of its own. That the
figures of a real card come out right is not shown here.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

GIB = 1 << 30
ASK = "from deployq_profilers.nvidia import Nvidia; print(Nvidia().detect())"
COMPILER = shutil.which("cc")
Detect = Callable[..., Any]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml_stub.c")
    out = folder / "libnvidia-ml.so.1"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", out, source], check=True)
    return folder


@pytest.fixture
def detect(library: Path) -> Detect:
    """The profiler's answer in a process that finds the stand-in, as text."""

    def ask(**env: object) -> str:
        answer = subprocess.run(
            [sys.executable, "-W", "error", "-c", ASK],
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(library),
                **{k: str(v) for k, v in env.items()},
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return answer.stdout.strip()

    return ask


@pytest.fixture
def ollama(tmp_path: Path) -> Iterator[int]:
    """A process that is called as Ollama's engine is."""
    program = tmp_path / "llama-server"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    child = subprocess.Popen([program, "60"])
    yield child.pid
    child.kill()
    child.wait()


def field(text: str, name: str) -> Any:
    """A field of the printed record."""
    value = text.split(f"{name}=", 1)[1]
    end = next(i for i, c in enumerate(value + ",") if c in ",)" and value[:i].count("'") % 2 == 0)
    return ast.literal_eval(value[:end])


def test_one_card_free_and_all(detect: Detect) -> None:
    found = detect(STUB_CARDS=1)
    assert field(found, "name") == "Stub 24"
    assert field(found, "kind") == "vram"
    assert field(found, "memory_bytes") == 24 * GIB
    assert field(found, "available_bytes") == 20 * GIB
    assert field(found, "source") == "NVML"


def test_bandwidth_is_clock_times_bus(detect: Detect) -> None:
    """10501 MHz on 384 bits: the 1008 GB/s that NVIDIA states for the RTX 4090."""
    assert field(detect(STUB_CARDS=1), "bandwidth_bytes_per_second") == pytest.approx(
        1008.1e9, 1e-4
    )


def test_two_cards_are_one_machine(detect: Detect) -> None:
    found = detect()
    assert field(found, "name") == "Stub 24 + Stub 12"
    assert field(found, "memory_bytes") == 36 * GIB
    assert field(found, "available_bytes") == 28 * GIB
    assert found.count("Card(") == 2
    # 24 GiB at 1008 GB/s, then 12 GiB at 504 GB/s: as long as 36 GiB at 756
    assert field(found, "bandwidth_bytes_per_second") == pytest.approx(756.1e9, 1e-4)


def test_a_gpu_without_memory_of_its_own_is_left_out(detect: Detect) -> None:
    assert detect(STUB_CARDS=3) == detect(STUB_CARDS=2)


def test_what_ollama_holds_counts_as_free(detect: Detect, ollama: int) -> None:
    """Else a second push would find no room for the model that the first one left loaded."""
    assert field(detect(STUB_CARDS=1, STUB_PID=ollama), "available_bytes") == 23 * GIB


def test_what_others_hold_does_not(detect: Detect) -> None:
    assert field(detect(STUB_CARDS=1, STUB_PID=os.getpid()), "available_bytes") == 20 * GIB


def test_a_process_that_is_gone_by_now(detect: Detect) -> None:
    assert field(detect(STUB_CARDS=1, STUB_PID=2**22 + 1), "available_bytes") == 20 * GIB


@pytest.mark.parametrize("env", [{"STUB_CARDS": 0}, {"STUB_INIT": 9}])
def test_no_card_or_no_driver(detect: Detect, env: dict[str, int]) -> None:
    assert detect(**env) == "None"


def test_it_keeps_to_the_contract(library: Path) -> None:
    """With two cards, of which one falls off the bus in the end."""
    script = (
        "import os; from deployq.testing import check_profiler; "
        "from deployq_profilers.nvidia import Nvidia; "
        "check_profiler(Nvidia(), lose=lambda: os.environ.update(STUB_CARDS='1')); print('kept')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"LD_LIBRARY_PATH": str(library), "STUB_CARDS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("kept\n", "")


def test_without_the_library_pynvml_is_not_imported() -> None:
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("there is a driver here")
    script = f"import sys; {ASK}; print('pynvml' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["None", "False"]

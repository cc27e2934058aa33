"""NVIDIA cards, by NVML (nvidia-ml-py), the library that nvidia-smi asks too."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from deployq import Card, Hardware
from deployq_profilers.cards import FoundCard, together
from deployq_profilers.presets import presets_of

LIBRARY = "libnvidia-ml.so.1"
OLLAMA = frozenset({"ollama", "ollama_llama_server", "llama-server"})
"""Programs whose memory Ollama gives back when another model is to be loaded."""


@dataclass
class Nvidia:
    """Every card that NVML shows, as one machine.

    A machine whose GPU has no memory of its own (DGX Spark, Jetson) says "not supported" when
    asked for it: such a GPU is left out.
    """

    name: str = "nvidia"

    def detect(self) -> Hardware | None:
        with _nvml() as nvml:
            return together(list(_cards(nvml)), "NVML") if nvml else None

    def presets(self) -> Mapping[str, Hardware]:
        return presets_of(self.name)


@contextmanager
def _nvml() -> Iterator[Any]:
    """NVML, initialised; None where there is no driver or it does not answer.

    The library is looked for first: importing pynvml takes a tenth of a second, which those
    without a card should not wait for.
    """
    try:
        ctypes.CDLL(LIBRARY)
        nvml = importlib.import_module("pynvml")
    except (OSError, ImportError):
        yield None
        return
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _cards(nvml: Any) -> Iterator[FoundCard]:
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError:
        return
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            name = nvml.nvmlDeviceGetName(handle)
        except nvml.NVMLError:
            continue
        available = min(memory.total, memory.free + _held_by_ollama(nvml, handle))
        yield FoundCard(Card(name, memory.total, available), _bandwidth(nvml, handle))


def _held_by_ollama(nvml: Any, handle: Any) -> int:
    """Bytes of a card that Ollama's own programs hold: a loaded model makes room for the next."""
    try:
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except nvml.NVMLError:
        return 0
    return sum(p.usedGpuMemory or 0 for p in processes if _program(p.pid) in OLLAMA)


def _program(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return ""


def _bandwidth(nvml: Any, handle: Any) -> float | None:
    """Bytes per second: two transfers per clock of the memory, over the width of its bus."""
    try:
        mhz = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)
        bits = nvml.nvmlDeviceGetMemoryBusWidth(handle)
    except nvml.NVMLError:
        return None
    return 2 * mhz * 1e6 * bits / 8 or None

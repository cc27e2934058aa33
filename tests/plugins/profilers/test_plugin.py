"""The plugin as deployq loads it."""

from __future__ import annotations

import deployq_profilers
import pluggy
import pytest

from deployq import Meter, Profiler, hookspecs
from deployq.testing import check_profiler


def profilers() -> list[Profiler]:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(deployq_profilers)
    manager.check_pending()
    (brought,) = manager.hook.deployq_profilers()
    return list(brought)


def test_the_hook_brings_profilers_with_names_of_their_own() -> None:
    found = profilers()
    assert all(isinstance(profiler, Profiler) for profiler in found)
    assert [profiler.name for profiler in found] == ["apple", "nvidia", "amd", "this-machine"]


@pytest.mark.parametrize("profiler", profilers(), ids=lambda profiler: profiler.name)
def test_each_keeps_to_the_contract_on_this_machine(profiler: Profiler) -> None:
    check_profiler(profiler)


def test_the_meter_hook_brings_llama_bench() -> None:
    (meter,) = deployq_profilers.deployq_meters()
    assert isinstance(meter, Meter)
    assert (meter.name, meter.unit) == ("llama-bench", "tokens/s")

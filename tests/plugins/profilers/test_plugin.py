"""The plugin as deployq loads it."""

from __future__ import annotations

import deployq_profilers
import pluggy

from deployq import Profiler, hookspecs


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
    assert [profiler.name for profiler in found] == ["apple", "nvidia", "this-machine"]


def test_presets_are_lower_case_unique_and_make_sense() -> None:
    names = [name for profiler in profilers() for name in profiler.presets()]
    assert len(names) == len(set(names)) >= 20
    assert names == [name.lower() for name in names]
    assert not {"this-machine", "laptop"} & set(names)
    for profiler in profilers():
        for preset in profiler.presets().values():
            assert 4 << 30 < preset.memory_bytes < 256 << 30
            assert preset.bandwidth_bytes_per_second is not None
            assert 5e10 < preset.bandwidth_bytes_per_second < 5e12
            assert preset.source


def test_a_pinned_line_of_each_table() -> None:
    presets = {name: p for profiler in profilers() for name, p in profiler.presets().items()}
    assert presets["3090"].name == "NVIDIA GeForce RTX 3090"
    assert presets["m2-ultra-192gb"].memory_bytes == 144 << 30

"""A loaded tag held against its plan, by what `/api/ps` counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployq.pipeline.fit import Expected, differences
from deployq.tags.records import Loaded

MIB = 1 << 20
PLAN = Expected(3000 * MIB, 8192, on_gpu=False, unlisted_bytes=1000 * MIB)
LOADED = Loaded("m:laptop", 2000 * MIB, 0, 8192)


@pytest.mark.parametrize("counted", [2000, 1990, 2050, 3000])
def test_a_cache_that_ollama_does_not_count_is_no_difference(counted: int) -> None:
    """With it, as later versions may count, or without."""
    assert differences(replace(LOADED, size_bytes=counted * MIB), PLAN) == []


@pytest.mark.parametrize(
    ("counted", "said"), [(2300, "300.0 MiB more"), (1700, "300.0 MiB less"), (4000, "MiB more")]
)
def test_what_is_neither_is_one(counted: int, said: str) -> None:
    (found,) = differences(replace(LOADED, size_bytes=counted * MIB), PLAN)
    assert said in found


def test_without_windows_all_is_counted() -> None:
    plan = replace(PLAN, unlisted_bytes=0)
    (found,) = differences(LOADED, plan)
    assert "1000.0 MiB less than planned" in found


def test_another_context_is_a_difference() -> None:
    (found,) = differences(replace(LOADED, n_ctx=4096), PLAN)
    assert found == "its context is 4096, not 8192"

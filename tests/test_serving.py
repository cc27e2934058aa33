"""What Ollama decides by itself: the cases of its own tests (server/sched_test.go, 0.34.4)."""

from __future__ import annotations

import pytest

from deployq.serving import batch_of_context, serving_of

GIB, MIB = 1 << 30, 1 << 20


@pytest.mark.parametrize(
    ("n_tokens", "predicted", "available", "batch"),
    [
        (4096, 0, 0, 512),
        (4097, 0, 0, 1024),
        (32768, 0, 0, 1024),
        (32769, 0, 0, 2048),
        (131072, 8 * GIB, 0, 2048),
        (131072, 8 * GIB, 14 * GIB, 2048),
        (131072, 9 * GIB, 14 * GIB, 1024),
        (131072, 8 * GIB, 11 * GIB, 1024),
        (32768, 8500 * MIB, 11 * GIB, 512),
        (131072, GIB, 3 * GIB, 1024),  # 2 GiB more would be over four fifths
    ],
)
def test_the_batch_grows_with_the_context(
    n_tokens: int, predicted: int, available: int, batch: int
) -> None:
    assert batch_of_context(n_tokens, predicted, available) == batch


@pytest.mark.parametrize(
    ("variables", "parallel", "by", "flash_attention"),
    [
        ({}, 1, "assumed", True),
        ({"OLLAMA_NUM_PARALLEL": "4"}, 4, "OLLAMA_NUM_PARALLEL", True),
        ({"OLLAMA_NUM_PARALLEL": ' "2" '}, 2, "OLLAMA_NUM_PARALLEL", True),
        ({"OLLAMA_NUM_PARALLEL": "0"}, 1, "OLLAMA_NUM_PARALLEL", True),
        ({"OLLAMA_NUM_PARALLEL": "-1"}, 1, "assumed", True),
        ({"OLLAMA_NUM_PARALLEL": "four"}, 1, "assumed", True),
        ({"OLLAMA_FLASH_ATTENTION": "0"}, 1, "assumed", False),
        ({"OLLAMA_FLASH_ATTENTION": "False"}, 1, "assumed", False),
        ({"OLLAMA_FLASH_ATTENTION": "off"}, 1, "assumed", True),
        ({"OLLAMA_FLASH_ATTENTION": ""}, 1, "assumed", True),
    ],
)
def test_variables_as_ollama_reads_them(
    variables: dict[str, str], parallel: int, by: str, flash_attention: bool
) -> None:
    serving = serving_of(variables)
    assert (serving.parallel, serving.parallel_by) == (parallel, by)
    assert serving.flash_attention is flash_attention

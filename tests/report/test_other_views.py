"""Explanations and shared machines as people read them."""

from __future__ import annotations

import pytest

from deployq.report.explain_view import explain_view
from deployq.report.together_view import together_view
from tests.report import samples
from tests.report.conftest import Golden, rendered


@pytest.mark.parametrize("width", [80, 140])
def test_an_explanation_reads_as_it_should(golden: Golden, width: int) -> None:
    golden("explain", width, explain_view(samples.EXPLAINED))


@pytest.mark.parametrize("width", [80, 140])
def test_several_models_read_as_they_should(golden: Golden, width: int) -> None:
    golden("together", width, together_view(samples.TOGETHER, ("chat: a warning",)))


def test_exact_bytes_stand_beside_rounded_ones() -> None:
    text = rendered(explain_view(samples.EXPLAINED), 80)
    assert "4,920,734,464" in text
    assert "1,073,741,824" in text

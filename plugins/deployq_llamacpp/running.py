"""How llama.cpp's tools are run: what they print, and what they need around them."""

from __future__ import annotations

import os
from collections.abc import Mapping

POLICY = "OMP_WAIT_POLICY"


def quiet_threads() -> Mapping[str, str]:
    """Variables under which threads with nothing to do sleep instead of spinning.

    On a busy machine that is up to eight times faster, and the thread that prints gets its turn
    before the tool ends (measured, b11434). Whoever set it otherwise is not overruled. Not for
    benchmarks: their figures are those of the defaults.
    """
    return {} if POLICY in os.environ else {POLICY: "passive"}

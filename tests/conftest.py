"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from deployq.tools import find_tool
from tests.installed import installed  # noqa: F401
from tests.ollama_fixtures import kept_ollama, ollama_binary, real_ollama  # noqa: F401

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts what it puts into the background so, and children inherit it: Ctrl-C in a
    # test would end nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is timed: the machine may be busy.
settings.register_profile("deployq", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("deployq")

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "examples" / "task-api" / "task-api-f16.gguf"


@pytest.fixture(scope="session")
def tools_bin() -> Path:
    """The folder of llama.cpp's tools; skips where there are none."""
    tool = find_tool("llama-quantize", os.environ)
    if tool is None:
        pytest.skip("llama.cpp's tools are not here: make tools")
    return tool.path.parent


@pytest.fixture(scope="session")
def sample_gguf() -> Path:
    """The F16 GGUF of the sample model that the project carries."""
    return SAMPLE

"""The plugin as a whole: its names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

from deployq.plugins import load_plugins


def test_three_runtimes_by_name() -> None:
    assert set(load_plugins().named("deployq_runtimes")) >= {"ollama", "managed", "embedded"}


def test_importing_the_plugin_brings_no_web_stack() -> None:
    script = (
        "import sys, deployq_runtimes; "
        "print(sorted({'starlette', 'uvicorn', 'httpx', 'requests', 'psutil'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout == "[]\n"

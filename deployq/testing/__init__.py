"""Contract checks for plugin authors: call them from your own tests, with your own plugin.

def test_my_backend(tmp_path):
    check_backend(MyBackend(), Path("model-f16.gguf"), tmp_path)

def test_my_profiler():
    check_profiler(MyProfiler())

def test_my_meter():
    check_meter(MyMeter(), Path("model-q8_0.gguf"), Path("story.txt"))
"""

from deployq.testing.backends import (
    check_backend,
    check_backend_cancellation,
    check_backend_errors,
    check_backend_health,
    check_backend_odd_paths,
    check_backend_output,
)
from deployq.testing.meters import check_meter
from deployq.testing.profilers import (
    check_hardware,
    check_presets,
    check_profiler,
    check_profiler_answers,
    check_profiler_loss,
)

__all__ = [
    "check_backend",
    "check_backend_cancellation",
    "check_backend_errors",
    "check_backend_health",
    "check_backend_odd_paths",
    "check_backend_output",
    "check_hardware",
    "check_meter",
    "check_presets",
    "check_profiler",
    "check_profiler_answers",
    "check_profiler_loss",
]

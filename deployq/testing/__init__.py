"""Contract checks for plugin authors: call them from your own tests, with your own plugin.

def test_my_backend(tmp_path):
    check_backend(MyBackend(), Path("model-f16.gguf"), tmp_path)

def test_my_profiler():
    check_profiler(MyProfiler())

def test_my_check():
    check_checktype(MyCheck(), params=True, passes="GOOD", fails="bad")

def test_my_runtime(tmp_path):
    check_runtime(MyRuntime(), tmp_path)

def test_my_meter():
    check_meter(MyMeter(), Path("model-q8_0.gguf"), Path("story.txt"))
"""

from deployq.testing.backends import (
    check_backend,
    check_backend_cancellation,
    check_backend_concurrency,
    check_backend_errors,
    check_backend_health,
    check_backend_odd_paths,
    check_backend_output,
)
from deployq.testing.checktypes import (
    check_checktype,
    check_checktype_odd_answers,
    check_checktype_params,
)
from deployq.testing.meters import check_meter
from deployq.testing.profilers import (
    check_hardware,
    check_presets,
    check_profiler,
    check_profiler_answers,
    check_profiler_loss,
)
from deployq.testing.runtimes import (
    check_runtime,
    check_runtime_concurrency,
    check_runtime_endpoint,
    check_runtime_health,
    check_runtime_interrupted,
    check_runtime_privacy,
)

__all__ = [
    "check_backend",
    "check_backend_cancellation",
    "check_backend_concurrency",
    "check_backend_errors",
    "check_backend_health",
    "check_backend_odd_paths",
    "check_backend_output",
    "check_checktype",
    "check_checktype_odd_answers",
    "check_checktype_params",
    "check_hardware",
    "check_meter",
    "check_presets",
    "check_profiler",
    "check_profiler_answers",
    "check_profiler_loss",
    "check_runtime",
    "check_runtime_concurrency",
    "check_runtime_endpoint",
    "check_runtime_health",
    "check_runtime_interrupted",
    "check_runtime_privacy",
]

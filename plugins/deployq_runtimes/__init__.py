"""Where an Ollama API comes from: a server that runs, one that deployq starts, or its own.

Only light modules are imported here; the embedded server's ASGI stack is imported by the process
that serves (`deployq_runtimes.supervisor`).
"""

from __future__ import annotations

from collections.abc import Iterable

from deployq import Runtime, hookimpl
from deployq_runtimes.embedded import Embedded
from deployq_runtimes.managed import Managed
from deployq_runtimes.ollama import Ollama

__all__ = ["Embedded", "Managed", "Ollama", "deployq_runtimes"]


@hookimpl
def deployq_runtimes() -> Iterable[Runtime]:
    """The three runtimes: `ollama`, `managed`, `embedded`."""
    return (Ollama(), Managed(), Embedded())

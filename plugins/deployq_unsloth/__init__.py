"""Merge and export with the user's own Unsloth, which stays in its own environment.

`from deployq_unsloth import push` is for a training script there: it needs nothing but this package
and deployq.
"""

from __future__ import annotations

from collections.abc import Iterable

from deployq import Backend, hookimpl
from deployq_unsloth.backend import UnslothBackend
from deployq_unsloth.live import push

__all__ = ["UnslothBackend", "push"]


@hookimpl
def deployq_backends() -> Iterable[Backend]:
    return (UnslothBackend(),)

"""The `ollama` client, for what it does as deployq needs it: changing names.

Its typed answers drop fields that deployq needs (`prompt_eval_cached_count`, `system`), `create`
has no renderer or parser, and no call has a timeout of its own: the rest is asked in wire.py. Its
import takes as long as all the rest of a push that has nothing to do, so it is imported when a
name is changed (`__init__.pyi`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import ollama

from deployq.tags.transport import Timeouts


@contextlib.contextmanager
def ollama_client(
    url: str, *, headers: Mapping[str, str], trust_env: bool, timeouts: Timeouts, verify: Any
) -> Iterator[ollama.Client]:
    """A client with just these headers, whatever the environment says; open inside the block."""
    client = ollama.Client(
        url,
        headers=dict(headers),
        trust_env=trust_env,
        timeout=httpx.Timeout(**timeouts),
        verify=verify,
    )
    with client:
        if "authorization" not in {name.lower() for name in headers}:
            client._client.headers.pop("authorization", None)  # noqa: SLF001
        yield client

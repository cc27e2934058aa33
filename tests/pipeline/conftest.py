"""A session over a configuration and the plugins that are installed, with a cache of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployq.config import parse_config
from deployq.pipeline.session import Session
from deployq.plugins import load_plugins

Open = Callable[..., Session]


@pytest.fixture
def session_for(tmp_path: Path) -> Open:
    def open_one(text: str = "", extra: dict[str, object] | None = None) -> Session:
        config = parse_config(f'cache = "{tmp_path / "cache"}"\n{text}', tmp_path)
        return Session(config, load_plugins(extra=extra), {})

    return open_one

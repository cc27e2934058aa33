"""One Ollama server of a command, connected."""

from __future__ import annotations

from deployq.records import dataclass
from deployq.tags.server import Server
from deployq.types import Endpoint


@dataclass(frozen=True)
class Site:
    """One server that answers. `key` names it in the lockfile: a runtime, or the host's address."""

    key: str
    endpoint: Endpoint
    server: Server

    @property
    def place(self) -> str:
        """What tells this server from others on this machine: two folders are two servers."""
        return self.key if "://" in self.key else f"{self.key} {self.endpoint.models_dir}"

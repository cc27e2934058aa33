"""The runtime `ollama`: a server that runs already, here or elsewhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from deployq import ConfigError, Endpoint, Health, ServerTimeout, ServerUnreachable, Serving
from deployq.addresses import is_local, ollama_host_url
from deployq.serving import serving_of
from deployq_runtimes.probe import PROBE_SECONDS, probe

_PACKAGED_MODELS = Path("/usr/share/ollama/.ollama/models")


class Ollama:
    """An Ollama that runs; `OLLAMA_HOST` says where, as it does for Ollama's own commands."""

    name = "ollama"

    def __init__(self, host: str | None = None, env: Mapping[str, str] | None = None) -> None:
        self.env: Mapping[str, str] = os.environ if env is None else env
        given = self.env.get("OLLAMA_HOST", "") if host is None else host
        self._has_secret = "@" in given
        self.url = ollama_host_url(_without_user(given))

    def health(self) -> Health:
        """Does it answer?"""
        if self._has_secret:
            return Health(False, detail=_NOT_IN_THERE, hint=_WITHOUT)
        try:
            found = probe(self.url)
        except TimeoutError:
            return Health(False, detail=_late(self.url), hint=_HINT)
        if found.version is not None:
            return Health(True, version=found.version, detail=self.url)
        if found.is_there:
            return Health(False, detail=f"{self.url} does not tell its version", hint=_KEY_HINT)
        return Health(False, detail=f"nothing answers at {self.url}", hint=_HINT)

    def models_dir(self, folder: Path) -> Path | None:  # noqa: ARG002
        """Where it keeps its models, if that is on this machine; `folder` is not needed."""
        return models_dir(self.url, self.env)

    @contextlib.contextmanager
    def start(self, folder: Path | None = None) -> Iterator[Endpoint]:  # noqa: ARG002
        """The endpoint, once something answers; `folder` is not needed.

        Its version is "" where it wants a key first: deployq has it and asks.

        Raises:
            ServerUnreachable: nothing answers.
            ServerTimeout: what is there does not answer.
            ConfigError: OLLAMA_HOST has a secret in it.
        """
        if self._has_secret:
            raise ConfigError(_NOT_IN_THERE, hint=_WITHOUT)
        try:
            found = probe(self.url)
        except TimeoutError as exc:
            raise ServerTimeout(_late(self.url), hint=_HINT) from exc
        if not found.is_there:
            raise ServerUnreachable(f"no Ollama answers at {self.url}", hint=_HINT)
        yield Endpoint(self.url, self.name, found.version or "", models_dir(self.url, self.env))

    def serving(self) -> Serving | None:
        """How it runs models, if it is on this machine and has our environment; else not known.

        Its API doesn't tell (0.34.4). A service of the system has an environment of its own.
        """
        return serving_of(self.env) if is_local(self.url) else None


def _late(url: str) -> str:
    return f"{url} did not answer within {PROBE_SECONDS:g} s"


_NOT_IN_THERE = "OLLAMA_HOST has a user or a password in it, which would be shown and written down"
_WITHOUT = 'set it without, and auth = "env:NAME" under [runtime] in deployq.toml'
_KEY_HINT = (
    "is it an Ollama? Where a key or a certificate is wanted: auth and ca under [runtime] in "
    "deployq.toml"
)
_HINT = "start it (ollama serve), set OLLAMA_HOST, or use --runtime embedded"


def _without_user(host: str) -> str:
    """Such an address is refused; till then, nothing that shows it shows a secret."""
    scheme, found, rest = host.rpartition("://")
    return scheme + found + rest.rpartition("@")[2]


def models_dir(url: str, env: Mapping[str, str]) -> Path | None:
    """The server's store, where it is on this machine and can be told; else None.

    A server can have been started with other settings than ours: the folder is a guess that the
    caller checks by a blob that it knows.
    """
    if not is_local(url):
        return None
    given = env.get("OLLAMA_MODELS", "").strip().strip("\"'")  # as Ollama reads its variables
    if given:
        candidates = [Path(given).expanduser()]
    else:
        home = Path(env.get("HOME") or Path.home())
        candidates = [home / ".ollama" / "models", _PACKAGED_MODELS]
    return next((folder for folder in candidates if (folder / "blobs").is_dir()), None)

"""The runtime `ollama`: a server that runs already, here or elsewhere."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from deployq import ConfigError, Endpoint, Health, ServerUnreachable, Serving
from deployq.serving import serving_of
from deployq_runtimes.probe import answers_at, version_at

DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  (what a server listens on, not what we do)
_PACKAGED_MODELS = Path("/usr/share/ollama/.ollama/models")


class Ollama:
    """An Ollama that runs; `OLLAMA_HOST` says where, as it does for Ollama's own commands."""

    name = "ollama"

    def __init__(self, host: str | None = None, env: Mapping[str, str] | None = None) -> None:
        self.env: Mapping[str, str] = os.environ if env is None else env
        given = self.env.get("OLLAMA_HOST", "") if host is None else host
        self._has_secret = "@" in given
        self.url = server_url(_without_user(given))

    def health(self) -> Health:
        """Does it answer?"""
        if self._has_secret:
            return Health(False, detail=_NOT_IN_THERE, hint=_WITHOUT)
        version = version_at(self.url)
        if version is None and answers_at(self.url):
            return Health(False, detail=f"{self.url} does not tell its version", hint=_KEY_HINT)
        if version is None:
            return Health(False, detail=f"nothing answers at {self.url}", hint=_HINT)
        return Health(True, version=version, detail=self.url)

    def models_dir(self, folder: Path) -> Path | None:  # noqa: ARG002
        """Where it keeps its models, if that is on this machine; `folder` is not needed."""
        return models_dir(self.url, self.env)

    @contextlib.contextmanager
    def start(self, folder: Path | None = None) -> Iterator[Endpoint]:  # noqa: ARG002
        """The endpoint, once something answers; `folder` is not needed.

        Its version is "" where it wants a key first: deployq has it and asks.

        Raises:
            ServerUnreachable: nothing answers.
            ConfigError: OLLAMA_HOST has a secret in it.
        """
        if self._has_secret:
            raise ConfigError(_NOT_IN_THERE, hint=_WITHOUT)
        version = version_at(self.url)
        if version is None and not answers_at(self.url):
            raise ServerUnreachable(f"no Ollama answers at {self.url}", hint=_HINT)
        yield Endpoint(self.url, self.name, version or "", models_dir(self.url, self.env))

    def serving(self) -> Serving | None:
        """How it runs models, if it is on this machine and has our environment; else not known.

        Its API doesn't tell (0.34.4). A service of the system has an environment of its own.
        """
        return serving_of(self.env) if _is_loopback(self.url) else None


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


def server_url(host: str) -> str:
    """The URL that Ollama's clients make of `OLLAMA_HOST`.

    Host, host:port, with or without a scheme; an address to listen on (0.0.0.0) means loopback.
    The default port is 11434, or the scheme's own where one is written (envconfig.Host).
    """
    scheme, found, rest = host.strip().partition("://")
    if not found:
        scheme, rest = "http", scheme
    hostport, _, path = rest.partition("/")
    default = _SCHEME_PORTS.get(scheme, DEFAULT_PORT) if found else DEFAULT_PORT
    name, port = _split_port(hostport, default)
    if name in _EVERYWHERE:
        name = "127.0.0.1" if name == _EVERYWHERE[0] else "::1"
    shown = f"[{name}]" if ":" in name else name
    return f"{scheme}://{shown}:{port}" + (f"/{path}" if path else "").rstrip("/")


def _split_port(hostport: str, default: int) -> tuple[str, int]:
    name, colon, port = hostport.rpartition(":")
    bare = hostport.strip("[]")
    if not colon or _is_ip(bare):
        return bare or "127.0.0.1", default
    number = int(port) if port.isascii() and port.isdigit() else -1
    return name.strip("[]") or "127.0.0.1", number if 0 <= number <= 65535 else default


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)


def models_dir(url: str, env: Mapping[str, str]) -> Path | None:
    """The server's store, where it is on this machine and can be told; else None.

    A server can have been started with other settings than ours: the folder is a guess that the
    caller checks by a blob that it knows.
    """
    if not _is_loopback(url):
        return None
    if env.get("OLLAMA_MODELS"):
        candidates = [Path(env["OLLAMA_MODELS"]).expanduser()]
    else:
        home = Path(env.get("HOME") or Path.home())
        candidates = [home / ".ollama" / "models", _PACKAGED_MODELS]
    return next((folder for folder in candidates if (folder / "blobs").is_dir()), None)

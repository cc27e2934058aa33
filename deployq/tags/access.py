"""How a server is asked: who asks, and whose certificates count. Secrets stay in here.

A target names where its secret is (`env:NAME`, `keyring:SERVICE`), never the secret. What that
holds goes into one header of requests to that server, and out of every message.
"""

from __future__ import annotations

import base64
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from deployq import tags
from deployq.addresses import is_plain_remote
from deployq.errors import ConfigError
from deployq.records import dataclass

KEYRING_USER = "deployq"
HIDDEN = "[secret]"
# RFC 6750, 2.1. No colon is in it, so `user:password` can't be taken for a token.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True)
class Access:
    """What goes with every request to one server.

    `authorization` is the whole header's value, "" for none. `hidden` are texts that no message
    may have. `ca` is a file of certificate authorities; None: those of SSL_CERT_FILE, or the usual.
    """

    authorization: str = field(default="", repr=False)
    hidden: tuple[str, ...] = field(default=(), repr=False)
    ca: Path | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.authorization} if self.authorization else {}

    def hide(self, text: str) -> str:
        """The text, without the secret: a server may repeat what it was told."""
        for secret in self.hidden:
            text = text.replace(secret, HIDDEN)
        return text


def access_by(secret: str, ca: Path | None = None) -> Access:
    """The access that a secret gives: a token as Bearer, `user:password` as Basic.

    Raises:
        ConfigError: it is neither; it is not shown.
    """
    secret = secret.strip()
    if ":" in secret and secret.isprintable():
        encoded = base64.b64encode(secret.encode()).decode()
        password = secret.partition(":")[2]
        return Access(f"Basic {encoded}", _texts(secret, encoded, password), ca)
    if _TOKEN.fullmatch(secret):
        return Access(f"Bearer {secret}", _texts(secret), ca)
    raise ConfigError(
        "the secret is neither a token nor USER:PASSWORD",
        hint="a token is one word of letters, digits and -._~+/, without `Bearer` before it",
    )


def environment_access(url: str, env: Mapping[str, str], ca: Path | None = None) -> Access:
    """The access of OLLAMA_API_KEY, as Ollama's own clients have it; never in the clear."""
    key = env.get("OLLAMA_API_KEY", "").strip()
    if not key or is_plain_remote(url):
        return Access(ca=ca)
    return Access(f"Bearer {key}", _texts(key), ca)


def read_secret(source: str, env: Mapping[str, str]) -> str:
    """The secret that a setting names.

    Args:
        source: `env:NAME`, `keyring:SERVICE` or `keyring:SERVICE/USER`.

    Raises:
        ConfigError: there is none.
    """
    kind, _, name = source.partition(":")
    if kind == "env":
        if secret := env.get(name, "").strip():
            return secret
        raise ConfigError(
            f'auth = "{source}": the environment has no {name}', hint=f"export {name}=..."
        )
    if importlib.util.find_spec("keyring") is None:
        raise ConfigError(
            f'auth = "{source}": the Python package keyring is not installed',
            hint="pip install 'deployq[keyring]'",
        )
    service, _, user = name.partition("/")
    secret = tags.keyring_secret(service, user or KEYRING_USER).strip()
    if secret:
        return secret
    raise ConfigError(
        f"the keyring has no secret for {service}, user {user or KEYRING_USER}",
        hint=f"keyring set {service} {user or KEYRING_USER}",
    )


def _texts(*secrets: str) -> tuple[str, ...]:
    """Those that are long enough to be looked for in a text, the longest first."""
    return tuple(sorted({s for s in secrets if len(s) > 3}, key=len, reverse=True))

"""Addresses of servers: what they mean, which are this machine, and what has no business in one."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from deployq.errors import ConfigError

DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}
# What /etc/hosts of common systems calls the loopback besides `localhost`.
_LOOPBACK_NAMES = {
    "localhost", "localhost.localdomain", "localhost4", "localhost4.localdomain4", "localhost6",
    "localhost6.localdomain6", "ip6-localhost", "ip6-loopback",
}  # fmt: skip


def is_local(url: str) -> bool:
    """Whether an address is on this machine; no name is looked up for it."""
    host = (urlsplit(url if "://" in url else f"//{url}").hostname or "localhost").rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in _LOOPBACK_NAMES or host.endswith(".localhost")
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def is_plain_remote(url: str) -> bool:
    """Whether what is sent there can be read, and changed, on the way."""
    return not is_local(url) and not base_url(url).startswith("https:")


def base_url(address: str) -> str:
    """The URL of an address as Ollama's own clients read it.

    The default port is 11434, or the scheme's own where one is written.

    Raises:
        ValueError: it is none.
    """
    split = urlsplit(address if "://" in address else f"//{address}", "http")
    port = split.port or (_SCHEME_PORTS.get(split.scheme) if "://" in address else DEFAULT_PORT)
    host = split.hostname or "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    return f"{split.scheme}://{shown}:{port}{split.path}".rstrip("/")


def url_of(address: str) -> str:
    """The `base_url` of an address that somebody gave.

    Raises:
        ConfigError: it is none, or has a secret in it.
    """
    require_address(address)
    try:
        return base_url(address)
    except ValueError as exc:
        raise ConfigError(
            f"{address!r} is no address of a server: {exc}", hint="http://127.0.0.1:11434"
        ) from exc


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are spellings of one; what is no address is like none."""
    try:
        return base_url(one) == base_url(other)
    except ValueError:
        return False


def short_address(url: str) -> str:
    """An address as people tell servers apart: without what goes without saying."""
    scheme, found, rest = url.partition("://")
    rest = (rest if found else scheme).rstrip("/")
    usual = ":443" if scheme == "https" else f":{DEFAULT_PORT}"
    return rest.removesuffix(usual)


def require_address(address: str) -> str:
    """The address, if nothing is in it that would be a secret.

    Addresses stand in files, logs, reports and the lockfile. So the message does not repeat it.

    Raises:
        ConfigError: there is a user, a password or a query in it.
    """
    if "@" in address:
        raise ConfigError(
            "a server's address has a user or a password in it; addresses are shown and written "
            "down, so a secret has no place there (nor is it repeated here)",
            hint='write the address without it, and auth = "env:NAME" beside it, where the '
            "variable NAME holds USER:PASSWORD or a token",
        )
    if "?" in address or "#" in address:
        raise ConfigError(
            "a server's address ends with its path; a query in it may be a secret, and is not "
            "repeated here",
            hint='a key goes into auth = "env:NAME", where the variable NAME holds it',
        )
    return address

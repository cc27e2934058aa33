"""Addresses of servers: what they mean, which are this machine, and what has no business in one."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import quote

from deployq.errors import ConfigError

__all__ = ["base_url", "is_local", "ollama_host_url", "same_address"]  # for plugins

DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}
# What /etc/hosts of common systems calls the loopback besides `localhost`.
_LOOPBACK_NAMES = {
    "localhost", "localhost.localdomain", "localhost4", "localhost4.localdomain4", "localhost6",
    "localhost6.localdomain6", "ip6-localhost", "ip6-loopback",
}  # fmt: skip
_DISCARD_PORT = 9


def is_local(url: str) -> bool:
    """Checks that an address is this machine: loopback, its own name, or an address of its own.

    No name is looked up: a resolver may hang, and a plan asks for no network.
    """
    try:
        _, host, _, _ = _parts(url)
    except ValueError:
        return False
    address = _ip(host)
    if address is not None:
        return address.is_loopback or address.is_unspecified or _is_assigned_here(host)
    return _names_loopback(host) or host.rstrip(".") == socket.gethostname().lower()


def _names_loopback(host: str) -> bool:
    return host.rstrip(".") in _LOOPBACK_NAMES or host.rstrip(".").endswith(".localhost")


def _is_assigned_here(address: str) -> bool:
    """Checks that an interface of this machine has the address; nothing is sent.

    Only the machine itself can send from it. `bind` alone would say yes to any address where
    net.ipv4.ip_nonlocal_bind is set; the route that `connect` looks up says no then.
    """
    try:
        ((family, kind, protocol, _, place), *_) = socket.getaddrinfo(
            address, _DISCARD_PORT, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        with socket.socket(family, kind, protocol) as probe:
            probe.bind((place[0], 0, *place[2:]))
            probe.connect(place)
    except (OSError, ValueError):
        return False
    return True


def is_plain_remote(url: str) -> bool:
    """Whether what is sent there can be read, and changed, on the way."""
    return not is_local(url) and not base_url(url).startswith("https:")


def base_url(address: str) -> str:
    """The URL of an address as Ollama's own clients read it.

    The default port is 11434, or the scheme's own where one is written. An address to listen on
    (0.0.0.0, ::) is this machine's own.

    Raises:
        ValueError: it is none.
    """
    return _joined(*_parts(address))


def _parts(address: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of an address; the host in small letters, without brackets.

    Raises:
        ValueError: it is none.
    """
    scheme, found, rest = address.strip().rpartition("://")
    scheme = scheme.lower() if found else "http"
    hostport, _, path = rest.partition("/")
    host, port = _split_port(hostport)
    unbalanced = hostport.count("[") != hostport.count("]")
    if unbalanced or (":" in host and _ip(host) is None) or re.search(r"[\s\[\]\0]", host):
        raise ValueError(f"{hostport!r} is not a host")
    number: int | None = _SCHEME_PORTS.get(scheme, DEFAULT_PORT) if found else DEFAULT_PORT
    if port:
        number = _port_number(port)
    if not number:
        raise ValueError(f"{port!r} is not a port between 1 and 65535")
    return scheme, host.lower() or "127.0.0.1", number, path


def ollama_host_url(value: str) -> str:
    """The URL that Ollama makes of the variable OLLAMA_HOST (envconfig.ConnectableHost, 0.34).

    Blanks and quotes around it don't count; what can't be a port means the default one; an address
    to listen on means the loopback. A scheme in capitals is known, its default port is not.
    """
    text = value.strip().strip("\"'").strip()
    if text == "ollama.com":
        return "https://ollama.com:443"
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "http", text
    hostport, _, path = rest.partition("/")
    host, port = _split_port(hostport)
    number = _port_number(port)
    if number is None:
        number = _SCHEME_PORTS.get(scheme, DEFAULT_PORT) if found else DEFAULT_PORT
    return _joined(scheme.lower(), host, number, path)


def _split_port(hostport: str) -> tuple[str, str]:
    """Host and port, as Go's net.SplitHostPort; brackets are taken off an IP address alone.

    The port is "" where there is none.
    """
    hostport = hostport.replace("%25", "%")  # an IPv6 zone, as a URL spells it
    bare = hostport.strip("[]")
    bracketed = re.fullmatch(r"\[([^\[\]]*)\]:([^:\[\]]*)", hostport)
    if bracketed:
        return bracketed[1], bracketed[2]
    if hostport.count(":") == 1 and "[" not in hostport and "]" not in hostport:
        host, _, port = hostport.partition(":")
        return host, port
    return (bare if _ip(bare) is not None else hostport), ""


def _port_number(port: str) -> int | None:
    number = int(port) if port.isascii() and port.isdigit() else -1
    return number if 0 <= number <= 65535 else None


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is; an IPv4 one in IPv6's clothes comes as itself."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _joined(scheme: str, host: str, port: int, path: str) -> str:
    """A URL; hosts are spelled in one way, and addresses to listen on are those to connect to."""
    address = _ip(host)
    shown = host.lower() or "127.0.0.1"
    if address is not None:
        if address.is_unspecified:
            shown = "127.0.0.1" if address.version == 4 else "[::1]"
        elif address.version == 6:
            shown = f"[{quote(address.compressed, safe=':')}]"
        else:
            shown = str(address)
    path = re.sub("/+", "/", path).strip("/")
    return f"{scheme}://{shown}:{port}" + (f"/{path}" if path else "")


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
    """Checks that two addresses are spellings of one; what is no address is like none."""
    try:
        return canonical_url(one) == canonical_url(other)
    except ValueError:
        return False


def canonical_url(address: str) -> str:
    """The one spelling of an address: `localhost`, `[::1]` and `0.0.0.0` are 127.0.0.1.

    Other addresses and the names of this machine stay as they are: a server need not listen
    on all of them, and another one may listen there.

    Raises:
        ValueError: it is no address.
    """
    scheme, host, port, path = _parts(address)
    ip = _ip(host)
    listens_here = ip is not None and ip.version == 6 and (ip.is_loopback or ip.is_unspecified)
    if _names_loopback(host) or listens_here:
        host = "127.0.0.1"
    return _joined(scheme, host, port, path)


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

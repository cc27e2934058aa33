"""Addresses: what they mean, which are this machine, and what is refused in them."""

from __future__ import annotations

import ipaddress
import socket

import httpx
import ollama
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.addresses import (
    base_url,
    canonical_url,
    is_local,
    is_plain_remote,
    ollama_host_url,
    require_address,
    same_address,
    short_address,
    url_of,
)
from deployq.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:11434", True),
        ("localhost:11434", True),
        ("http://[::1]:1", True),
        ("0.0.0.0", True),
        ("", True),
        ("http://box:11434", False),
        ("https://192.0.2.77", False),
        ("http://127.0.0.1.example.com", False),
        ("http://localhost.example.com", False),
        ("http://localhost.:11434", True),
        ("http://ip6-localhost", True),
        ("https://Box.LocalHost", True),
        ("http://[::ffff:127.0.0.1]:1", True),
        ("http://[::ffff:192.0.2.77]:1", False),
        ("http://[2001:db8::77]:1", False),
        ("::", True),
        ("127.200.3.4", True),
        ("HTTP://LOCALHOST:1", True),
        ("http://a b", False),
        ("http://[::1", False),
    ],
)
def test_which_addresses_are_this_machine(url: str, local: bool) -> None:
    assert is_local(url) is local


def test_the_names_and_addresses_of_this_machine_are_it() -> None:
    assert is_local(socket.gethostname())
    assert is_local(f"https://{socket.gethostname().upper()}:8443/ollama")
    assert not is_local(f"{socket.gethostname()}.example.com")
    families = {socket.AF_INET: "{}", socket.AF_INET6: "[{}]"}
    own = [a for found in psutil.net_if_addrs().values() for a in found if a.family in families]
    for address in own:
        assert is_local(f"http://{families[address.family].format(address.address)}:11434"), address
        assert is_local(address.address)
    held = {ipaddress.ip_address(a.address.partition("%")[0]) for a in own}
    for other in (str(a + 1) for a in held if not (a + 1 in held or a.is_loopback)):
        assert not is_local(other), other


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("box", "http://box:11434"),
        ("box:80", "http://box:80"),
        ("http://box", "http://box:80"),
        ("https://box/", "https://box:443"),
        ("https://box:1/ollama/", "https://box:1/ollama"),
        ("http://[::1]:5", "http://[::1]:5"),
        ("[::1]", "http://[::1]:11434"),
        ("HTTPS://Box:1", "https://box:1"),
    ],
)
def test_addresses_are_read_as_by_ollamas_own_client(address: str, url: str) -> None:
    assert base_url(address) == url
    with ollama.Client(address or "127.0.0.1") as client:
        assert str(client._client.base_url).rstrip("/") == str(httpx.URL(url)).rstrip("/")


@pytest.mark.parametrize("address", ["box:0", "box:65536", "box:-1", "a:b:c", "[box]", "my box"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="is no address of a server"):
        url_of(address)
    assert not is_local(address)


# What `ollama list` of 0.34.4 asks, by OLLAMA_HOST.
@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("  ", "http://127.0.0.1:11434"),
        ('""', "http://127.0.0.1:11434"),
        ("box", "http://box:11434"),
        ("\tbox\n", "http://box:11434"),
        ("'box:1'", "http://box:1"),
        (' " box " ', "http://box:11434"),
        ("\"'box'\"", "http://box:11434"),
        ('"http://box"', "http://box:80"),
        (":1234", "http://127.0.0.1:1234"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:99", "http://127.0.0.1:99"),
        ("http://0.0.0.0", "http://127.0.0.1:80"),
        ("http://box", "http://box:80"),
        ("https://box", "https://box:443"),
        ("HTTP://box", "http://box:11434"),
        ("Https://box", "https://box:11434"),
        ("https://box:8443/ollama/", "https://box:8443/ollama"),
        ("box/a//b/", "http://box:11434/a/b"),
        ("//box", "http://127.0.0.1:11434/box"),
        ("http://", "http://127.0.0.1:80"),
        ("http:box", "http://http:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1", "http://[::1]:11434"),
        ("[::1]:99", "http://[::1]:99"),
        ("0:0:0:0:0:0:0:1", "http://[::1]:11434"),
        ("http://::1", "http://[::1]:80"),
        ("::", "http://[::1]:11434"),
        ("[::]:99", "http://[::1]:99"),
        ("::ffff:127.0.0.1", "http://127.0.0.1:11434"),
        ("[::ffff:0.0.0.0]:1", "http://127.0.0.1:1"),
        ("fe80::1%eth0", "http://[fe80::1%25eth0]:11434"),
        ("[box]:80", "http://box:80"),
        ("box:", "http://box:11434"),
        ("box:0", "http://box:0"),
        ("box:65535", "http://box:65535"),
        ("box:65536", "http://box:11434"),
        ("http://box:99999", "http://box:80"),
        ("https://box:port", "https://box:443"),
        ("box:-1", "http://box:11434"),
        ("box: 80", "http://box:11434"),
        ("box:8_0", "http://box:11434"),
        ("box:\u0663", "http://box:11434"),
        ("ollama.com", "https://ollama.com:443"),
        ("http://ollama.com", "http://ollama.com:80"),
        ("tcp://box", "tcp://box:11434"),
    ],
)
def test_ollama_host_as_ollama_reads_it(host: str, url: str) -> None:
    assert ollama_host_url(host) == url


names = st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True).filter(lambda n: n != "ollama.com")
hosts = st.one_of(names, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
blanks, quotes = st.text(" \t", max_size=2), st.text("\"'", max_size=2)


@given(
    st.tuples(blanks, quotes, blanks),
    st.sampled_from(["", "http://", "https://", "HTTP://"]),
    hosts.filter(lambda host: host not in ("0.0.0.0", "::") and "ffff" not in host),
    st.one_of(st.none(), st.integers(-9, 99999)),
    st.sampled_from(["", "/", "/ollama", "/a/b/"]),
    st.tuples(blanks, quotes, blanks),
)
def test_the_parts_of_ollama_host(
    before: tuple[str, ...],
    scheme: str,
    host: str,
    port: int | None,
    path: str,
    after: tuple[str, ...],
) -> None:
    shown = f"[{host}]" if ":" in host else host
    written = shown if port is None else f"{shown}:{port}"
    value = f"{''.join(before)}{scheme}{written}{path}{''.join(after)}"
    used = {"http://": 80, "https://": 443}.get(scheme, 11434)
    if port is not None and 0 <= port <= 65535:
        used = port
    whole = f"{(scheme or 'http://').lower()}{shown}:{used}{path.rstrip('/')}"
    assert ollama_host_url(value) == whole


@given(st.text(max_size=40))
def test_any_text_is_read_somehow(text: str) -> None:
    assert "://" in ollama_host_url(text)
    is_local(text)
    same_address(text, text)


@given(
    st.sampled_from(["", "http://", "https://"]),
    st.one_of(names, st.ip_addresses().map(str)),
    st.integers(1, 65535),
)
def test_an_address_that_was_read_reads_the_same_again(scheme: str, host: str, port: int) -> None:
    url = base_url(f"{scheme}{f'[{host}]' if ':' in host else host}:{port}")
    assert base_url(url) == url
    assert canonical_url(canonical_url(url)) == canonical_url(url)
    assert same_address(url, canonical_url(url))
    assert is_local(url) == is_local(host)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("box", "http://box:11434/", True),
        ("https://box", "https://BOX:443", True),
        ("https://box", "http://box:443", False),
        ("https://box/a", "https://box/b", False),
        ("http://box:port", "http://box:port", False),
        ("localhost", "http://127.0.0.1:11434", True),
        ("[::1]:5", "0.0.0.0:5", True),
        ("::", "ip6-localhost", True),
        ("localhost:1", "127.0.0.1:2", False),
        ("127.0.0.2", "127.0.0.1", False),
        ("https://localhost:1", "http://localhost:1", False),
        ("2001:db8:0::1", "http://[2001:DB8::1]:11434/", True),
        ("[fe80::1%eth0]", "http://[fe80::1%25eth0]:11434", True),
    ],
)
def test_spellings_of_one_address(one: str, other: str, same: bool) -> None:
    assert same_address(one, other) is same


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://box:11434", True),
        ("box", True),
        ("https://box", False),
        ("http://127.0.0.1:1", False),
        ("localhost", False),
    ],
)
def test_what_can_be_read_on_the_way(url: str, plain: bool) -> None:
    assert is_plain_remote(url) is plain


@pytest.mark.parametrize(
    ("url", "short"),
    [
        ("http://box:11434", "box"),
        ("https://box:443/ollama", "box:443/ollama"),
        ("https://box:443", "box"),
        ("http://192.168.1.20:11500/", "192.168.1.20:11500"),
        ("http://[::1]:11434", "[::1]"),
    ],
)
def test_addresses_as_people_tell_servers_apart(url: str, short: str) -> None:
    assert short_address(url) == short


@pytest.mark.parametrize(
    "address",
    [
        "https://me:hunter2@box",
        "me:hunter2@box:11434",
        "https://hunter2@box",
        "https://me:hun/ter2@box",
        "http://me:hunter2@[::1",
        "https://box/?key=hunter2",
        "https://box#hunter2",
    ],
)
def test_no_secret_in_an_address_and_none_in_the_message(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        require_address(address)
    assert "hun" not in str(caught.value) + caught.value.hint
    assert "env:NAME" in caught.value.hint

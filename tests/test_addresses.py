"""Addresses: what they mean, which are this machine, and what is refused in them."""

from __future__ import annotations

import httpx
import ollama
import pytest

from deployq.addresses import (
    base_url,
    is_local,
    is_plain_remote,
    require_address,
    same_address,
    short_address,
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
        ("https://192.168.1.5", False),
        ("http://127.0.0.1.example.com", False),
        ("http://localhost.example.com", False),
        ("http://localhost.:11434", True),
        ("http://ip6-localhost", True),
        ("https://Box.LocalHost", True),
        ("http://[::ffff:127.0.0.1]:1", True),
        ("http://[::ffff:192.168.1.5]:1", False),
        ("http://[fe80::1]:1", False),
    ],
)
def test_which_addresses_are_this_machine(url: str, local: bool) -> None:
    assert is_local(url) is local


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
    ],
)
def test_addresses_are_read_as_by_ollamas_own_client(address: str, url: str) -> None:
    assert base_url(address) == url
    with ollama.Client(address or "127.0.0.1") as client:
        assert str(client._client.base_url).rstrip("/") == str(httpx.URL(url)).rstrip("/")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("box", "http://box:11434/", True),
        ("https://box", "https://BOX:443", True),
        ("https://box", "http://box:443", False),
        ("https://box/a", "https://box/b", False),
        ("http://box:port", "http://box:port", False),
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

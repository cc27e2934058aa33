"""One process at a time changes the tags of a model, from whatever cache and by whatever URL."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from deployq.config import parse_config
from deployq.pipeline.locks import alone, alone_now
from deployq.pipeline.session import Session
from deployq.pipeline.site import Site
from deployq.plugins import load_plugins
from deployq.tags.server import Server
from deployq.types import Endpoint
from tests.tags.small_ollama import small_ollama

PROCESSES, TURNS = 4, 4


def session_of(folder: Path) -> Session:
    folder.mkdir(exist_ok=True)
    return Session(parse_config(f'cache = "{folder / "cache"}"\n', folder), load_plugins(), {})


def take_turns(url: str, folder: Path, number: int, model: str) -> None:
    """Be alone several times; the file that only one may have says whether it is so."""
    if number % 2:
        url = url.replace("127.0.0.1", "localhost")
    session = session_of(folder / str(number))
    with Server(url) as server:
        for _ in range(TURNS):
            with alone(session, Site(url, Endpoint(url, "ollama"), server), model, "push") as hold:
                inside = folder / "inside"
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                time.sleep(0.05)
                hold.begin([])
                inside.unlink()
            with (folder / "turns").open("a") as turns:
                turns.write(f"{number}\n")


@pytest.mark.parametrize("where", ["small", pytest.param("real", marks=pytest.mark.ollama)])
def test_only_one_at_a_time(where: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if where == "real":
        contend(request.getfixturevalue("real_ollama").url, tmp_path)
    else:
        with small_ollama() as small:
            contend(small.url, tmp_path)


def contend(url: str, folder: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    children = [
        spawn.Process(target=take_turns, args=(url, folder, number, "contended"))
        for number in range(PROCESSES)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(240)
    assert [child.exitcode for child in children] == [0] * PROCESSES
    assert len((folder / "turns").read_text().splitlines()) == PROCESSES * TURNS
    with Server(url) as server:
        assert not [name for name in server.names() if "contended" in name]


def test_other_models_are_not_waited_for(tmp_path: Path) -> None:
    with small_ollama() as small, Server(small.url) as server:
        site = Site(small.url, Endpoint(small.url, "ollama"), server)
        one, other = session_of(tmp_path / "one"), session_of(tmp_path / "other")
        with (
            alone(one, site, "tiny", "push"),
            alone(other, site, "tiny-2", "push"),
            alone_now(other, site, "Tiny", "prune") as hold,
        ):
            assert hold is None
        with alone_now(other, site, "Tiny", "prune") as hold:
            assert hold is not None
        assert server.names() == []
        assert not list((tmp_path / "one" / "cache" / "journal").iterdir())

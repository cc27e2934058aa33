"""An upload over a slow line, as whoever waits for it sees it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from deployq.digests import sha256_file
from deployq.report.progress import TerminalProgress
from deployq.tags.blobs import place_blob
from deployq.tags.server import Server
from deployq.types import Artifact
from tests.fronts import Front, front_of
from tests.tags.small_ollama import small_ollama
from tests.terminals import terminal

MIB = 1 << 20


@pytest.fixture
def slow() -> Iterator[Front]:
    """A server that takes eight MiB a second."""
    with small_ollama() as small, front_of(small.url, rate=8 * MIB) as front:
        yield front


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """A file that is larger than what the system takes off our hands at once."""
    path = tmp_path / "big.gguf"
    path.write_bytes(os.urandom(16 * MIB))
    return Artifact(path, "Q8_0", "k" * 64, sha256_file(path), 16 * MIB, "none", "0")


def test_amount_rate_and_the_time_that_is_left(slow: Front, artifact: Artifact) -> None:
    with terminal() as (console, text):
        with Server(slow.url) as server, TerminalProgress(console) as progress:
            placed = place_blob(server, None, artifact, progress)
        shown = text()
    assert (placed.how, placed.moved_bytes) == ("uploaded", 16 * MIB)
    under_way = re.findall(r"([\d.]+) MiB/16\.0 MiB\S* +\S*?([\d.]+) MiB/s, ([\d.]+) s left", shown)
    assert under_way, shown[-2000:]
    done, rate, left = map(float, under_way[-1])
    assert 4 < done < 16
    assert 0 < rate < 30, "it is the line's, not the disk's"
    assert left > 0


def test_off_a_terminal(slow: Front, artifact: Artifact) -> None:
    out = StringIO()
    with (
        Server(slow.url) as server,
        TerminalProgress(Console(file=out), line_seconds=1) as progress,
    ):
        place_blob(server, None, artifact, progress)
    *under_way, end = out.getvalue().splitlines()
    assert under_way, "it takes two seconds"
    for line in under_way:
        assert re.fullmatch(r"big\.gguf: [\d.]+ MiB/16\.0 MiB, [\d.]+ MiB/s, [\d.]+ s left", line)
    assert re.fullmatch(r"big\.gguf: 16\.0 MiB in [\d.]+ s, [\d.]+ MiB/s", end)


def test_nothing_is_sent_that_is_there(slow: Front, artifact: Artifact) -> None:
    out = StringIO()
    with Server(slow.url) as server, TerminalProgress(Console(file=out)) as progress:
        assert place_blob(server, None, artifact, progress).how == "uploaded"
        slow.seen.clear()
        assert place_blob(server, None, replace(artifact, reused=True), progress).how == "present"
    assert slow.seen == [f"HEAD /api/blobs/sha256:{artifact.digest}"]
    assert out.getvalue().count("\n") == 1

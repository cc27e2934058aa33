"""Files that are there as a whole or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployq.files import write_whole


def test_threads_that_write_one_file(tmp_path: Path) -> None:
    path, texts = tmp_path / "f", [letter * 100_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_whole(path, text), texts * 4))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_what_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(path, "x")
    assert list(tmp_path.iterdir()) == [path]

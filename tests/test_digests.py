from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from deployq.digests import DigestCache, sha256_bytes, sha256_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"abc" * 1000)
    return path


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_of_bytes_and_text() -> None:
    assert (
        sha256_bytes("é") == sha256_bytes("é".encode()) == hashlib.sha256("é".encode()).hexdigest()
    )


def test_of_a_file_with_progress(file: Path) -> None:
    told: list[int] = []
    assert sha256_file(file, told.append) == sha(file)
    assert told == [3000]


def test_unchanged_file_is_not_read_again(file: Path, tmp_path: Path) -> None:
    cache = DigestCache(tmp_path / "digests")
    assert cache.known(file) is None
    first = cache.sha256(file)
    told: list[int] = []
    assert DigestCache(tmp_path / "digests").sha256(file, told.append) == first == sha(file)
    assert told == []
    assert cache.known(file) == first


def test_known_through_a_link(file: Path, tmp_path: Path) -> None:
    cache = DigestCache(tmp_path / "digests")
    link = tmp_path / "link.gguf"
    link.symlink_to(file)
    assert cache.sha256(link) == cache.known(file) == sha(file)


def test_a_write_right_after_hashing_is_noticed(file: Path, tmp_path: Path) -> None:
    """Same size, same inode, within one tick of the file system's clock."""
    cache = DigestCache(tmp_path / "digests")
    for number in range(5):
        file.write_bytes(bytes([number]) * 3000)
        assert cache.sha256(file) == sha(file)
        with file.open("r+b") as handle:
            handle.write(b"!" + bytes([number]))
        assert cache.sha256(file) == sha(file)


def test_a_replaced_file_with_the_old_mtime_is_noticed(file: Path, tmp_path: Path) -> None:
    cache = DigestCache(tmp_path / "digests")
    before = file.stat()
    cache.sha256(file)
    other = tmp_path / "other"
    other.write_bytes(b"xyz" * 1000)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert cache.sha256(file) == sha(file)


def test_a_file_written_to_while_it_is_read_is_not_remembered(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(9 << 20))
    cache = DigestCache(tmp_path / "digests")

    def touch(done: int) -> None:
        os.utime(big, ns=(0, done))

    cache.sha256(big, touch)
    assert cache.known(big) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"file": 1}', "\0"])
def test_a_broken_entry_is_ignored(file: Path, tmp_path: Path, content: str) -> None:
    cache = DigestCache(tmp_path / "digests")
    cache.sha256(file)
    (entry,) = cache.folder.iterdir()
    entry.write_text(content)
    assert cache.known(file) is None
    assert cache.sha256(file) == sha(file)


def test_a_folder_that_cannot_be_written_costs_only_time(file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    cache = DigestCache(tmp_path / "taken" / "digests")
    assert cache.sha256(file) == sha(file)
    assert cache.known(file) is None

from __future__ import annotations

import dataclasses
import multiprocessing
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from deployq.errors import LockfileError
from deployq.tags.lockfile import LockEntry, Lockfile, changes, unchanged, update

ENTRY = LockEntry(
    tag="task-api:q4_k_m",
    host="http://127.0.0.1:11434",
    model="task-api",
    quant="Q4_K_M",
    source_digest="a" * 64,
    artifact_key="b" * 64,
    blob_digest="c" * 64,
    manifest_digest="d" * 64,
    modelfile_digest="e" * 64,
    suite_digest="f" * 64,
    backend="llamacpp",
    backend_version="b11434",
    n_ctx=4096,
    passed=24,
    total=24,
    tokens_per_second=123.4,
    pushed_at="2026-11-25T00:00:00Z",
    deployq_version="0.1.0",
)
WANTED = {
    "source_digest": "a" * 64,
    "artifact_key": "b" * 64,
    "modelfile_digest": "e" * 64,
    "suite_digest": "f" * 64,
    "backend_version": "b11434",
    "n_ctx": 4096,
}


def of(tag: str, **changed: object) -> LockEntry:
    return dataclasses.replace(ENTRY, tag=tag, **changed)  # type: ignore[arg-type]


def test_a_lockfile_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert Lockfile.load(tmp_path / "deployq.lock").entries == {}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "deployq.lock"
    alias = of("task-api:laptop", alias_of="task-api:q4_k_m", tokens_per_second=None, n_ctx=None)
    update(path, [ENTRY, alias])
    assert Lockfile.load(path).find("Task-API:Q4_K_M", ENTRY.host) == ENTRY
    assert Lockfile.load(path).find("task-api:laptop", ENTRY.host) == alias
    assert Lockfile.load(path).find("task-api:laptop", "elsewhere") is None


def test_updates_keep_the_other_tags_and_hosts(tmp_path: Path) -> None:
    path = tmp_path / "deployq.lock"
    other, elsewhere = of("task-api:q8_0"), dataclasses.replace(ENTRY, host="embedded")
    update(path, [ENTRY, other])
    update(path, [elsewhere])
    update(path, [of(ENTRY.tag, passed=20)])
    found = Lockfile.load(path)
    assert len(found.entries) == 3
    assert found.find(ENTRY.tag, ENTRY.host) == of(ENTRY.tag, passed=20)
    assert found.find(ENTRY.tag, "embedded") == elsewhere
    update(path, [], removed=[(other.tag.upper(), other.host)])
    assert Lockfile.load(path).find(other.tag, other.host) is None
    assert len(Lockfile.load(path).entries) == 2


def test_the_text_is_stable_sorted_and_has_no_path(tmp_path: Path) -> None:
    one, two = tmp_path / "one.lock", tmp_path / "two.lock"
    update(one, [of("b:x"), of("a:x"), ENTRY])
    for entry in (ENTRY, of("a:x"), of("b:x")):
        update(two, [entry])
    text = one.read_text()
    assert text == two.read_text()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert str(tmp_path) not in text
    assert list(tomllib.loads(text)["tags"]) == ["a:x", "b:x", "task-api:q4_k_m"]
    assert tomllib.loads(text)["schema"] == 1
    assert all(len(line) < 150 for line in text.splitlines())


def test_a_file_of_tables_as_deployq_0_1_wrote_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deployq.lock"
    update(path, [ENTRY, of("b:x")])
    lock = update(path, [of("b:x", manifest_digest="9" * 64)], keep=3)
    assert lock.earlier
    old = tomli_w.dumps(tomllib.loads(path.read_text()))
    assert '[tags."b:x"."http://127.0.0.1:11434"]' in old
    assert Lockfile.loads(old, "old") == Lockfile.load(path) == lock


def test_the_folder_holds_nothing_else_but_the_guard(tmp_path: Path) -> None:
    update(tmp_path / "deployq.lock", [ENTRY])
    assert sorted(p.name for p in tmp_path.iterdir()) == [".deployq", "deployq.lock"]


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("schema = 2\n", "schema 2, this deployq knows 1", "update deployq"),
        ("schema = [", "is damaged", "restore it from git"),
        ("", "its schema is None", "restore it"),
        ('schema = "1"', "its schema is '1'", "restore it"),
        ("<<<<<<< HEAD\nschema = 1\n=======\n>>>>>>> b\n", "merge-conflict marks", "lock merge"),
        ("schema = 1\ntags = 5", "tags is no table", "restore it"),
        ('schema = 1\n[tags]\n"a:x" = 1', "a:x is no table", "restore it"),
        ('schema = 1\n[tags."a:x"]\nhere = 1', "a:x on here is no table", "restore it"),
        ('schema = 1\n[tags."a:x".here]\nquant = "Q"', "missing", "restore it"),
    ],
)
def test_a_lockfile_that_is_no_good(tmp_path: Path, text: str, said: str, hint: str) -> None:
    path = tmp_path / "deployq.lock"
    path.write_text(text)
    with pytest.raises(LockfileError, match=said) as caught:
        update(path, [ENTRY])
    assert hint in caught.value.hint
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("passed = 24", 'passed = "24"'),
        ("passed = 24", "passed = true"),
        ("passed = 24", "pased = 24"),
        ('quant = "Q4_K_M"', "quant = 4"),
    ],
)
def test_a_damaged_entry_is_named(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "deployq.lock"
    update(path, [ENTRY])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(LockfileError, match=r"task-api:q4_k_m on http://127\.0\.0\.1:11434"):
        Lockfile.load(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "deployq.lock").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LockfileError, match=r"cannot read deployq\.lock"):
        Lockfile.load(tmp_path / "deployq.lock")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LockfileError, match=r"cannot write deployq\.lock"):
        update(tmp_path / "gone" / "deployq.lock", [ENTRY])


def _push(path: Path, number: int) -> None:
    for turn in range(5):
        update(path, [of(f"m{number}:t{turn}")])


def test_pushes_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deployq.lock"
    spawn = multiprocessing.get_context("spawn")
    children = [spawn.Process(target=_push, args=(path, number)) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert len(Lockfile.load(path).entries) == 15


def test_unchanged() -> None:
    assert unchanged(ENTRY, WANTED, "d" * 64)
    assert changes(ENTRY, WANTED, "d" * 64) == ()


@pytest.mark.parametrize("name", sorted(WANTED))
def test_a_change_of_anything_wanted_is_a_change(name: str) -> None:
    assert not unchanged(ENTRY, WANTED | {name: "other"}, "d" * 64)


def test_why_there_is_something_to_do() -> None:
    assert changes(None, WANTED, "d" * 64) == ("it was never pushed there",)
    assert changes(ENTRY, WANTED, None) == ("the server does not have it",)
    assert changes(ENTRY, WANTED, "0" * 64) == ("the server's tag is not the one that was pushed",)
    assert changes(ENTRY, WANTED | {"suite_digest": "0"}, "d" * 64) == ("the suite changed",)
    assert changes(ENTRY, WANTED | {"n_ctx": 1}, None)[0] == "the context changed"


@given(
    st.lists(
        st.builds(
            lambda tag, host, rate: dataclasses.replace(
                ENTRY, tag=tag, host=host, tokens_per_second=rate
            ),
            st.text(st.characters(codec="utf-8"), min_size=1),
            st.text(st.characters(codec="utf-8")),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
        )
    )
)
def test_any_entries_survive_the_file(entries: list[LockEntry]) -> None:
    lockfile = Lockfile().merged(entries)
    text = lockfile.dumps()
    assert text == Lockfile.loads(text, "deployq.lock").dumps()
    assert Lockfile.loads(text, "deployq.lock") == lockfile


# ---------------------------------------------------------------- servers


@pytest.mark.parametrize(
    "spelled",
    [
        "http://localhost:11434", "http://127.0.0.1:11434/", "HTTP://LOCALHOST:11434",
        "http://[::1]:11434", "http://0.0.0.0:11434", "http://ip6-localhost:11434//",
    ],
)  # fmt: skip
def test_one_server_has_one_entry_however_it_is_spelled(tmp_path: Path, spelled: str) -> None:
    """Also in a lockfile of an earlier version, which kept the address as it was given."""
    path = tmp_path / "deployq.lock"
    path.write_text(Lockfile({ENTRY.key: ENTRY}).dumps().replace(ENTRY.host, spelled))
    found = Lockfile.load(path)
    assert found.find(ENTRY.tag, ENTRY.host) == ENTRY
    assert found.find(ENTRY.tag, spelled) == ENTRY
    assert found.merged([], [(ENTRY.tag, spelled)]).entries == {}
    newer = of(ENTRY.tag, host=spelled, manifest_digest="9" * 64)
    update(path, [newer], keep=3)
    (entry,) = Lockfile.load(path).entries.values()
    assert (entry.host, entry.manifest_digest) == (ENTRY.host, "9" * 64)
    assert Lockfile.load(path).generation(ENTRY.tag, spelled, ENTRY.manifest_digest) == ENTRY


def test_other_ports_schemes_and_machines_are_other_servers() -> None:
    hosts = (
        "http://127.0.0.1:11434", "http://127.0.0.1:11435", "https://127.0.0.1:11434",
        "http://127.0.0.2:11434", "http://box:11434", "http://box:11434/ollama", "embedded",
    )  # fmt: skip
    assert len({of(ENTRY.tag, host=host).key for host in hosts}) == len(hosts)
    usual = ("http://box", "http://box:80/", "HTTP://Box:80")
    assert len({of(ENTRY.tag, host=host).key for host in usual}) == 1


def test_two_spellings_in_one_lockfile_become_one_entry_with_its_past() -> None:
    old = of(ENTRY.tag, manifest_digest="1" * 64, pushed_at="2026-11-01T00:00:00Z")
    new = of(ENTRY.tag, manifest_digest="2" * 64, pushed_at="2026-11-02T00:00:00Z")
    first, second = (Lockfile({one.key: one}).dumps() for one in (new, old))
    spelled = second.replace(ENTRY.host, "http://localhost:11434").split("schema = 1\n")[1]
    found = Lockfile.loads(first + spelled, "deployq.lock")
    assert list(found.entries.values()) == [new]
    assert list(found.earlier.values()) == [(old,)]

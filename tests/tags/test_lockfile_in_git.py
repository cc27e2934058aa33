"""Two branches' lockfiles, merged by a real git: as it is, with `union`, with deployq's driver."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployq.tags.lockfile import LockEntry, Lockfile
from tests.tags.test_lockfile import ENTRY

HOSTS = ("http://box:11434", "http://den:11434")
DRIVER = f"{sys.executable} -m deployq lock merge %O %A %B"


def of(tag: str, host: str = HOSTS[0], **changed: object) -> LockEntry:
    model, _, rest = tag.partition(":")
    fields = {"manifest_digest": f"{hash(tag + host) & 0xFFFF:064x}", **changed}
    return dataclasses.replace(ENTRY, tag=tag, host=host, model=model, quant=rest, **fields)  # type: ignore[arg-type]


def model(name: str, *hosts: str) -> list[LockEntry]:
    """What a push of a model adds: two quants and an alias, on each host."""
    tags = (f"{name}:q4_k_m", f"{name}:q8_0", f"{name}:laptop")
    return [of(tag, host) for host in hosts or HOSTS[:1] for tag in tags]


def changed(entry: LockEntry) -> LockEntry:
    """A tag that was pushed again: almost every value is another one."""
    return dataclasses.replace(
        entry,
        source_digest="1" * 64,
        artifact_key="2" * 64,
        blob_digest="3" * 64,
        manifest_digest="4" * 64,
        modelfile_digest="5" * 64,
        passed=23,
        tokens_per_second=99.0,
        pushed_at="2026-11-28T00:00:00Z",
        deployq_version="0.2.0",
    )


ADDITIONS = {
    "models side by side": (model("mid"), model("aaa"), model("bbb")),
    "models at both ends": (model("mid"), model("aaa"), model("zzz")),
    "a first model each": ([], model("aaa"), model("bbb")),
    "hosts": (
        model("mid"),
        model("mid", "http://cab:11434"),
        model("mid", "http://den:11434"),
    ),
    "tags of one model": (model("mid"), [of("mid:q5_k_m")], [of("mid:q6_k")]),
    "aliases": (model("mid"), [of("mid:desk")], [of("mid:dock")]),
    "a model and a host of another": (model("mid"), model("mod"), model("mid", HOSTS[1])),
}


@dataclass(frozen=True)
class Repository:
    folder: Path

    def git(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words],
            cwd=self.folder,
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def lockfile(self) -> Path:
        return self.folder / "deployq.lock"

    def push(self, branch: str, entries: Sequence[LockEntry], keep: int = 3) -> None:
        """A branch of `main` on which these were pushed."""
        self.git("checkout", "-q", "-B", branch, "main")
        lock = Lockfile.load(self.lockfile).merged(entries, keep=keep)
        self.lockfile.write_text(lock.dumps())
        self.git("commit", "-qam", branch)

    def merge(self) -> subprocess.CompletedProcess[str]:
        """`theirs` into `ours`."""
        self.git("checkout", "-q", "ours")
        return self.git("merge", "-q", "--no-edit", "theirs", check=False)

    def held(self) -> dict[tuple[str, str], LockEntry]:
        return dict(Lockfile.load(self.lockfile).entries)


def repository(folder: Path, base: Sequence[LockEntry], attribute: str = "") -> Repository:
    made = Repository(folder)
    made.git("init", "-q", "-b", "main")
    made.lockfile.write_text(Lockfile().merged(base).dumps())
    if attribute:
        (folder / ".gitattributes").write_text(f"deployq.lock {attribute}\n")
        made.git("config", "merge.deployq.driver", DRIVER)
    made.git("add", ".")
    made.git("commit", "-qm", "base")
    return made


def by_key(*lists: Sequence[LockEntry]) -> dict[tuple[str, str], LockEntry]:
    return {entry.key: entry for entries in lists for entry in entries}


@pytest.mark.parametrize("attribute", ["merge=union", "merge=deployq"])
@pytest.mark.parametrize("case", ADDITIONS)
def test_additions_of_two_branches_merge(tmp_path: Path, case: str, attribute: str) -> None:
    base, ours, theirs = ADDITIONS[case]
    made = repository(tmp_path, base, attribute)
    made.push("ours", ours)
    made.push("theirs", theirs)
    merged = made.merge()
    assert merged.returncode == 0, merged.stdout + merged.stderr
    assert made.held() == by_key(base, ours, theirs)
    assert made.lockfile.read_text().count("# ") == 1 + len(made.held())


@pytest.mark.parametrize("case", ["models at both ends"])
def test_additions_at_different_places_merge_by_themselves(tmp_path: Path, case: str) -> None:
    base, ours, theirs = ADDITIONS[case]
    made = repository(tmp_path, base)
    made.push("ours", ours)
    made.push("theirs", theirs)
    assert made.merge().returncode == 0
    assert made.held() == by_key(base, ours, theirs)


@pytest.mark.parametrize("attribute", ["", "merge=union", "merge=deployq"])
def test_changes_of_neighbouring_tags_merge_by_themselves(tmp_path: Path, attribute: str) -> None:
    base = sorted(model("mid", *HOSTS), key=lambda entry: entry.key)
    for n in range(len(base) - 1):
        folder = tmp_path / str(n)
        folder.mkdir()
        made = repository(folder, base, attribute)
        made.push("ours", [changed(base[n])])
        made.push("theirs", [changed(base[n + 1])])
        merged = made.merge()
        assert merged.returncode == 0, merged.stdout + merged.stderr
        assert made.held() == by_key(base, map_changed(base[n : n + 2]))


def map_changed(entries: Sequence[LockEntry]) -> list[LockEntry]:
    return [changed(entry) for entry in entries]


@pytest.mark.parametrize("case", ADDITIONS)
def test_a_conflict_is_mended_by_a_command(tmp_path: Path, case: str) -> None:
    """Where git was not told of the driver: it asks once for each place, of whole lines."""
    base, ours, theirs = ADDITIONS[case]
    made = repository(tmp_path, base)
    made.push("ours", ours)
    made.push("theirs", theirs)
    if made.merge().returncode:
        assert made.lockfile.read_text().count("<<<<<<<") == (3 if case == "hosts" else 1)
        ran = deployq(tmp_path, "lock", "merge")
        assert ran.returncode == 0, ran.stderr
        assert "git add deployq.lock" in ran.stderr
    assert made.held() == by_key(base, ours, theirs)


def deployq(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "deployq", *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_of_a_tag_that_both_pushed_the_later_push_counts(tmp_path: Path) -> None:
    base = model("mid")
    first = dataclasses.replace(changed(base[0]), manifest_digest="6" * 64)
    later = dataclasses.replace(
        changed(base[0]), manifest_digest="7" * 64, pushed_at="2026-11-29T00:00:00Z"
    )
    for ours, theirs in ((first, later), (later, first)):
        folder = tmp_path / ours.manifest_digest[:1]
        folder.mkdir()
        made = repository(folder, base, "merge=deployq")
        made.push("ours", [ours])
        made.push("theirs", [theirs])
        merged = made.merge()
        assert merged.returncode == 0, merged.stderr
        assert "mid:q4_k_m on http://box:11434: both sides changed it" in merged.stderr
        lock = Lockfile.load(made.lockfile)
        assert lock.entries[base[0].key] == later
        assert lock.earlier[base[0].key] == (first,), "what the other side pushed stays known"


def test_a_tag_that_one_side_removed_is_gone_unless_the_other_pushed_it(tmp_path: Path) -> None:
    base = model("mid")
    made = repository(tmp_path, base, "merge=deployq")
    made.push("theirs", [changed(base[1])])
    made.git("checkout", "-q", "-b", "ours", "main")
    lock = Lockfile.load(made.lockfile).merged([], removed=[entry.key for entry in base[:2]])
    made.lockfile.write_text(lock.dumps())
    made.git("commit", "-qam", "ours")
    assert made.merge().returncode == 0
    assert made.held() == by_key([changed(base[1]), base[2]])


def test_the_command_says_what_it_can_not_do(tmp_path: Path) -> None:
    made = repository(tmp_path, model("mid"))
    ran = deployq(tmp_path, "lock", "merge")
    assert (ran.returncode, "git has no conflict in" in ran.stderr) == (1, True)
    ran = deployq(tmp_path, "lock", "merge", "deployq.lock")
    assert (ran.returncode, "a merge takes three, %O %A %B" in ran.stderr) == (2, True)
    made.lockfile.write_text("schema = 99\n")
    ran = deployq(tmp_path, "lock", "merge", *["deployq.lock"] * 3)
    assert (ran.returncode, "update deployq" in ran.stderr) == (1, True)
    assert made.lockfile.read_text() == "schema = 99\n", "git keeps its conflict"

"""What the next command makes of a promotion that did not come to its end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployq.pipeline.locks import recover
from deployq.pipeline.recovery import journal_of
from deployq.pipeline.site import Site
from deployq.tags.journal import Entry, Recorded, Swap
from deployq.tags.lockfile import update
from deployq.tags.names import TagName
from deployq.tags.server import Server
from deployq.types import Endpoint
from tests.pipeline.conftest import Open
from tests.tags.small_ollama import small_ollama
from tests.tags.test_lockfile import ENTRY

PLACE = "http://box:11434"
NAMES = (TagName("tiny", "q8_0"), TagName("tiny", "laptop"))
OWNER = "3f2a9c1d"
NEW = TagName("tiny", f"q8_0.{OWNER}", "deployq-staging")
KEPT = {name: TagName("tiny", f"{name.tag}.1", "deployq-history") for name in NAMES}


def content(system: str) -> dict[str, object]:
    return {"system": system, "blob": "sha256:0", "size": 1}


def digest_of(server: Server, name: TagName) -> str:
    found = server.tag(str(name))
    assert found is not None
    return found.digest


@pytest.mark.parametrize(
    ("changed", "before", "after", "says", "held"),
    [
        (2, "old", "new", "old", "old"),
        (2, "old", "new", "new", "new"),
        (2, "old", None, "old", "old"),
        (2, "old", None, None, "new"),
        (1, None, "new", None, "old"),
        # Where the lockfile was to say the same as before, the names tell.
        (2, None, None, None, "new"),
        (1, None, None, None, "old"),
        (1, "new", "new", "new", "old"),
        (2, "new", "new", "new", "new"),
    ],
)
def test_all_names_hold_the_old_or_all_the_new(
    session_for: Open,
    changed: int,
    before: str | None,
    after: str | None,
    says: str | None,
    held: str,
) -> None:
    """As many names as `changed` hold the new content.

    The lockfile knew that they held `before`, was to say `after`, and now says `says`.
    """
    said: list[str] = []
    session = replace(session_for(), talk=said.append)
    with small_ollama() as small, Server(small.url) as server:
        small.tags = {str(name): content("old") for name in (*NAMES, *KEPT.values())}
        small.tags[str(NEW)] = content("new")
        digest = {
            "old": digest_of(server, KEPT[NAMES[0]]),
            "new": digest_of(server, NEW),
            None: None,
        }
        for name in NAMES[:changed]:
            server.copy(str(NEW), str(name))
        swaps = [Swap(n, NEW, digest["new"] or "", digest["old"], KEPT[n]) for n in NAMES]
        recorded = [Recorded(name, digest[before], digest[after]) for name in NAMES]
        if says:
            entry = replace(ENTRY, host=PLACE, manifest_digest=digest[says] or "")
            update(session.lockfile, [replace(entry, tag=str(name)) for name in NAMES])
        journal = journal_of(session)
        left = Entry(OWNER, PLACE, "tiny", session.lockfile, tuple(swaps), tuple(recorded))
        journal.open(left)
        recover(session, Site(PLACE, Endpoint(small.url, "ollama"), server))
        assert [server.show(str(name)).system for name in NAMES] == [held, held]
        assert (journal.entries(), server.tag(str(NEW))) == ([], None)
    assert bool(said) == (held == "old")

"""Markers held and lost: against the small server and, marked `ollama`, the real one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployq.errors import ServerError
from deployq.tags.hold import Hold
from deployq.tags.holders import Holder, has_ended, this_process
from deployq.tags.journal import Swap
from deployq.tags.markers import Marker, find_markers, is_left_over, new_id, raise_marker
from deployq.tags.names import TagName, is_marker, owner_of
from deployq.tags.notes import read_note, write_note
from deployq.tags.owners import Project, add_owners, read_owners, tidy_owners
from deployq.tags.server import Server
from deployq.types import Artifact
from tests.tags.test_registry import FIRST, SECOND, TAG, put, staged

ELSEWHERE = Holder("anna@den", "another machine", 1, "")
SWAP = Swap(TAG, TagName("task-api", "f16.3f2a9c1d", "deployq-staging"), "a" * 64)


def marker(holder: Holder = ELSEWHERE, model: str = "task-api") -> Marker:
    return Marker(new_id(), model, "push", "2026-11-30T21:03:00+00:00", holder)


def held(server: Server) -> Hold:
    hold = Hold(server, marker(this_process()))
    hold.up(entered=True)
    return hold


def test_a_note_is_read_as_it_was_written(server: Server) -> None:
    name = TagName("task-api", "note", "deployq-staging")
    for text in ('one\nline {{ .Prompt }} of "three"\nüñ', "another"):
        write_note(server, name, text)
        write_note(server, name, text)
        assert read_note(server, str(name)) == text
    (record,) = server.tags()
    assert record.size_bytes < 2000


def test_a_marker_says_who_and_what(server: Server) -> None:
    raised = marker()
    raise_marker(server, raised)
    raise_marker(server, marker(model="task-api-2"))
    (seen,) = find_markers(server, server.tags(), "Task-API")
    assert (seen.marker, seen.id, seen.is_alive) == (raised, raised.id, True)
    assert seen.silent_seconds < 60
    assert str(seen) == "push by anna@den since 2026-11-30 21:03 UTC"
    assert "Not a model: a deployq push by anna@den" in server.show(str(raised.name)).system


def test_what_a_process_that_ended_left_is_known(server: Server, tiny: Artifact) -> None:
    assert not is_left_over(server, server.tags(), "task-api")
    alive = marker()
    raise_marker(server, alive)
    assert not is_left_over(server, server.tags(), "task-api")
    staged(server, tiny)
    assert is_left_over(server, server.tags(), "task-api"), "its owner has no marker"


def test_a_process_is_known_by_more_than_its_number() -> None:
    me = this_process()
    assert not has_ended(me)
    assert has_ended(Holder(me.who, me.machine, me.pid, "another start"))
    assert has_ended(Holder(me.who, me.machine, 2**22 + 1, me.started))
    assert not has_ended(Holder(me.who, "another machine", 2**22 + 1, me.started))
    assert not has_ended(Holder(me.who, "", 2**22 + 1, me.started))


def test_who_holds_a_model_may_change_it(server: Server) -> None:
    hold = held(server)
    assert hold.others() == []
    hold.begin([SWAP])
    (seen,) = find_markers(server, server.tags())
    assert seen.marker is not None
    assert seen.marker.swaps == (SWAP,)
    assert not hold.lower(), "names may be half changed: it stays"
    hold.end(done=True)
    (seen,) = find_markers(server, server.tags())
    assert seen.marker is not None
    assert seen.marker.swaps == ()
    assert hold.lower()
    assert server.tags() == []


def test_who_was_taken_for_dead_changes_nothing(server: Server) -> None:
    hold = held(server)
    server.delete(str(marker_of(server)))
    raise_marker(server, marker())
    with pytest.raises(ServerError, match=r"is gone and push by anna@den since .* took over"):
        hold.begin([SWAP])
    (seen,) = find_markers(server, server.tags())
    assert seen.marker is not None
    assert seen.marker.holder == ELSEWHERE


def test_of_two_that_are_up_none_changes_anything(server: Server) -> None:
    hold = held(server)
    other = marker()
    raise_marker(server, other)
    assert [seen.id for seen in hold.others()] == [other.id]
    with pytest.raises(ServerError, match="No tag of task-api was changed"):
        hold.begin([SWAP])
    assert [seen.id for seen in find_markers(server, server.tags())] == [other.id]


def test_who_only_asks_keeps_nobody_from_going_on(server: Server) -> None:
    hold = held(server)
    raise_marker(server, replace(marker(), entered=False))
    assert len(hold.others()) == 1
    hold.begin([SWAP])


def marker_of(server: Server) -> TagName:
    (record,) = server.tags()
    return TagName.parse(record.name)


def test_names_of_markers_and_of_what_is_staged() -> None:
    raised = marker()
    assert is_marker(str(raised.name).upper())
    assert owner_of(f"deployq-staging/me.task-api:q8_0.{raised.id}") == raised.id
    for name in ("task-api:in-use.3f2a9c1d", "deployq-staging/task-api:q8_0", "x"):
        assert (is_marker(name), owner_of(name)) == (False, None)


def test_owners_are_known_for_as_long_as_there_are_generations(
    server: Server, tiny: Artifact
) -> None:
    mine, theirs = Project("1", "one (me@here)"), Project("2", "two (anna@den)")
    first = put(server, tiny, FIRST).manifest_digest
    second = put(server, tiny, SECOND).manifest_digest
    add_owners(server, "task-api", {first: mine, second: mine, "0" * 64: mine})
    add_owners(server, "task-api", {first: theirs})
    assert read_owners(server, server.tags(), "task-api") == {first: mine, second: mine}
    tidy_owners(server, "task-api")
    assert len(read_owners(server, server.tags(), "task-api")) == 2
    server.delete("deployq-history/task-api:f16.1")
    tidy_owners(server, "task-api")
    assert server.names() == ["task-api:f16"]

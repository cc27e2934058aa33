"""Stage, promote, restore: against the small server and, marked `ollama`, the real one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from deployq.errors import ModelfileError, ServerError, ServerRefused
from deployq.tags.history import generations
from deployq.tags.journal import Swap
from deployq.tags.modelfile import Modelfile
from deployq.tags.names import TagName, history_name, staging_name
from deployq.tags.registry import (
    Restored,
    Staged,
    clear_staging,
    discard,
    forget,
    promote,
    remove,
    require_weights,
    restore,
    stage,
    swap_of,
)
from deployq.tags.server import Server
from deployq.tags.steps import Steps
from deployq.types import Artifact, StepResult
from tests.tags.conftest import artifact_of, keeps_weights
from tests.tags.small_ollama import small_ollama
from tests.tiny import write_tiny_llama

TAG = TagName("task-api", "f16")
ALIAS = TagName("task-api", "laptop")
FIRST = Modelfile("task-api-F16.gguf", {"num_ctx": 512}, system="first")
SECOND = dataclasses.replace(FIRST, system="second")
THIRD = dataclasses.replace(FIRST, system="third")
OWNER = "3f2a9c1d"
STAGING = f"deployq-staging/task-api:f16.{OWNER}"


def staged(
    server: Server, artifact: Artifact, modelfile: Modelfile = FIRST, name: TagName = TAG
) -> Staged:
    return stage(server, Steps(), name, modelfile, artifact, owner=OWNER)


def swaps_of(server: Server, *stages: Staged) -> list[Swap]:
    held = server.tags()
    return [swap_of(held, s.name, s.staging, s.manifest_digest) for s in stages]


def put(
    server: Server, artifact: Artifact, modelfile: Modelfile = FIRST, name: TagName = TAG
) -> Staged:
    """Stage, promote, discard: a push of one tag."""
    ready = staged(server, artifact, modelfile, name)
    promote(server, swaps_of(server, ready))
    discard(server, ready.staging)
    return ready


def system(server: Server, name: TagName | str = TAG) -> str:
    return server.show(str(name)).system


# ------------------------------------------------------------ stage


def test_a_staged_tag_stands_under_a_name_of_its_own(server: Server, tiny: Artifact) -> None:
    told: list[StepResult] = []
    ready = stage(server, Steps(told.append), TAG, FIRST, tiny, owner=OWNER)
    assert server.names() == [STAGING]
    assert (str(ready.staging), ready.name) == (STAGING, TAG)
    shown = server.show(STAGING)
    assert (shown.system, shown.blob_digest) == ("first", ready.blob_digest)
    assert (ready.blob_digest == tiny.digest) == keeps_weights(server)
    assert [(step.step, step.status) for step in told[1:]] == [("create", "done")]
    assert told[0].step == "upload"
    assert all(step.seconds > 0 for step in told)
    discard(server, ready.staging)
    assert server.names() == []


def test_the_blob_goes_over_once(server: Server, tmp_path: Path) -> None:
    # Weights of its own: the real server keeps those of other tests.
    fresh = artifact_of(write_tiny_llama(tmp_path / "a.gguf", n_layer=1, seed=7))
    told: list[StepResult] = []
    steps = Steps(told.append)
    for modelfile in (FIRST, SECOND):
        stage(server, steps, TAG, modelfile, fresh, owner=OWNER)
    uploads = [(step.status, step.bytes) for step in told if step.step == "upload"]
    assert uploads == [("done", fresh.file_bytes), ("reused", 0)]


def test_what_an_earlier_run_left_staged_is_taken_away(server: Server, tiny: Artifact) -> None:
    staged(server, tiny)
    staged(server, tiny, name=TagName("task-api-2", "f16"))
    assert clear_staging(server, "Task-API") == [STAGING]
    assert server.names() == [f"deployq-staging/task-api-2:f16.{OWNER}"]


def test_from_must_name_the_file_that_is_sent() -> None:
    require_weights(TAG, FIRST, "task-api-F16.gguf")
    with pytest.raises(ModelfileError, match=r"FROM llama3: the weights of task-api:f16 are x\."):
        require_weights(TAG, Modelfile("llama3"), "x.gguf")


# ------------------------------------------------------------ promote


def test_the_first_generation_keeps_nothing(server: Server, tiny: Artifact) -> None:
    ready = put(server, tiny)
    assert server.names() == ["task-api:f16"]
    held = server.tag("task-api:f16")
    assert held is not None
    assert held.digest == ready.manifest_digest


def test_what_a_name_held_is_kept_as_a_generation(server: Server, tiny: Artifact) -> None:
    first = put(server, tiny)
    second = put(server, tiny, SECOND)
    put(server, tiny, THIRD)
    assert system(server) == "third"
    kept = generations(server.tags(), TAG)
    assert {n: record.digest for n, record in kept.items()} == {
        1: first.manifest_digest,
        2: second.manifest_digest,
    }
    assert system(server, history_name(TAG, 1)) == "first"


def test_the_same_content_again_is_no_new_generation(server: Server, tiny: Artifact) -> None:
    put(server, tiny)
    put(server, tiny)
    assert server.names() == ["task-api:f16"]


def test_what_is_kept_already_is_not_kept_twice(server: Server, tiny: Artifact) -> None:
    put(server, tiny)
    put(server, tiny, SECOND)
    first = history_name(TAG, 1)
    digest = generations(server.tags(), TAG)[1].digest
    promote(server, [swap_of(server.tags(), TAG, first, digest)])  # as a rollback does
    put(server, tiny, THIRD)
    assert [system(server, history_name(TAG, n)) for n in (1, 2)] == ["first", "second"]
    assert list(generations(server.tags(), TAG)) == [1, 2]


def test_only_so_many_generations_stay(server: Server, tiny: Artifact) -> None:
    for modelfile in (FIRST, SECOND, THIRD, FIRST):
        put(server, tiny, modelfile)
    assert forget(server, TAG, 1, lambda _: True) == ["deployq-history/task-api:f16.2"]
    assert system(server) == "first"
    kept = generations(server.tags(), TAG)
    # The first one is what the tag holds again: it costs nothing and keeps its number.
    assert [system(server, history_name(TAG, n)) for n in kept] == ["first", "third"]


def test_tags_of_other_names_keep_their_own_generations(server: Server, tiny: Artifact) -> None:
    for name in (TAG, TagName("task-api", "f16.1")):
        put(server, tiny, FIRST, name)
        put(server, tiny, SECOND, name)
    assert list(generations(server.tags(), TAG)) == [1]
    assert sorted(server.names()) == [
        "deployq-history/task-api:f16.1",
        "deployq-history/task-api:f16.1.1",
        "task-api:f16",
        "task-api:f16.1",
    ]


# ------------------------------------------------------------ restore


def test_restore_puts_all_names_of_a_set_back(server: Server, tiny: Artifact) -> None:
    put(server, tiny)
    ready = [staged(server, tiny, SECOND), staged(server, tiny, SECOND, ALIAS)]
    swaps = swaps_of(server, *ready)
    promote(server, swaps)
    assert (system(server), system(server, ALIAS)) == ("second", "second")
    assert restore(server, swaps) == Restored(("task-api:f16", "task-api:laptop"))
    assert system(server) == "first"
    assert server.tag("task-api:laptop") is None
    assert restore(server, swaps) == Restored()


def test_restore_leaves_what_somebody_else_put_there(server: Server, tiny: Artifact) -> None:
    other = TagName("task-api", "other")
    for name in (TAG, ALIAS, other):
        put(server, tiny, name=name)
    ready = [staged(server, tiny, SECOND, name) for name in (TAG, ALIAS, other)]
    swaps = swaps_of(server, *ready)
    promote(server, swaps)
    by_hand = staged(server, tiny, THIRD, TagName("task-api", "third"))
    server.copy(str(by_hand.staging), "task-api:f16")
    server.delete("task-api:other")
    left = {"task-api:f16": by_hand.manifest_digest, "task-api:other": ""}
    assert restore(server, swaps) == Restored(("task-api:laptop",), left=left)
    assert (system(server), system(server, ALIAS)) == ("third", "first")
    assert server.tag("task-api:other") is None


def test_a_name_that_was_new_stays_where_somebody_else_gave_it_content(
    server: Server, tiny: Artifact
) -> None:
    swaps = swaps_of(server, staged(server, tiny, SECOND), staged(server, tiny, SECOND, ALIAS))
    promote(server, swaps)
    by_hand = staged(server, tiny, THIRD, TagName("task-api", "third"))
    server.copy(str(by_hand.staging), "task-api:f16")
    left = {"task-api:f16": by_hand.manifest_digest}
    assert restore(server, swaps) == Restored(("task-api:laptop",), left=left)
    assert (system(server), server.tag("task-api:laptop")) == ("third", None)


@pytest.mark.parametrize("there", [True, False])
def test_a_name_that_somebody_changed_just_now_is_not_overwritten(
    server: Server, tiny: Artifact, there: bool
) -> None:
    put(server, tiny, name=ALIAS)
    if there:
        put(server, tiny)
    swaps = swaps_of(server, *(staged(server, tiny, SECOND, name) for name in (ALIAS, TAG)))
    put(server, tiny, THIRD)
    with pytest.raises(ServerError, match=r"task-api:f16"):
        promote(server, swaps)
    assert (system(server, ALIAS), system(server)) == ("first", "third")
    restored = restore(server, swaps)
    assert list(restored.left) == ["task-api:f16"]
    assert (system(server, ALIAS), system(server)) == ("first", "third")


def test_what_is_kept_nowhere_any_more_is_named(server: Server, tiny: Artifact) -> None:
    put(server, tiny)
    put(server, tiny, name=ALIAS)
    swaps = swaps_of(server, *(staged(server, tiny, SECOND, name) for name in (TAG, ALIAS)))
    promote(server, swaps)
    server.delete("deployq-history/task-api:f16.1")
    lost = {"task-api:f16": "deployq-history/task-api:f16.1"}
    assert restore(server, swaps) == Restored(("task-api:laptop",), lost)
    assert (system(server), system(server, ALIAS)) == ("second", "first")


@pytest.mark.ollama
@pytest.mark.parametrize("left", [b"", b'{"schemaVersion":2,"mediaType":"applic'])
def test_a_manifest_that_a_dying_server_cut_is_mended(
    real_ollama: object, tiny: Artifact, left: bytes
) -> None:
    models = real_ollama.models_dir  # type: ignore[attr-defined]
    manifests = models / "manifests" / "registry.ollama.ai" / "library" / "task-api"
    with Server(real_ollama.url) as server:  # type: ignore[attr-defined]
        for name in server.names():
            server.delete(name)
        put(server, tiny)
        swaps = swaps_of(server, staged(server, tiny, SECOND), staged(server, tiny, SECOND, ALIAS))
        promote(server, swaps)
        for name in ("f16", "laptop"):
            (manifests / name).write_bytes(left)
        assert server.tag("task-api:f16") is None, "a cut manifest is not listed"
        discard(server, swaps[1].source)  # what the new name was copied from
        assert restore(server, swaps) == Restored(("task-api:f16",))
        assert system(server) == "first"
        assert not (manifests / "laptop").exists()
        for name in server.names():
            server.delete(name)


# ------------------------------------------------------------ remove


def test_remove(server: Server, tiny: Artifact) -> None:
    put(server, tiny)
    server.copy("task-api:f16", "task-api:laptop")
    remove(server, TagName.parse("Task-API:laptop"))
    assert server.names() == ["task-api:f16"]
    remove(server, TAG)
    assert server.names() == []
    with pytest.raises(ServerRefused, match="not found"):
        remove(server, TAG)


# ------------------------------------------------------------ a server that fails in the middle


@pytest.mark.parametrize("path", ["/api/create", "/api/show"])
def test_a_server_that_refuses_to_stage_leaves_nothing(tiny: Artifact, path: str) -> None:
    with small_ollama() as small, Server(small.url) as server:
        put(server, tiny)
        small.fail[path] = (500, {"error": "disk full"})
        told: list[StepResult] = []
        with pytest.raises(ServerRefused, match="disk full"):
            stage(server, Steps(told.append), TAG, SECOND, tiny, owner=OWNER)
        assert (told[-1].step, told[-1].status) == ("create", "failed")
        del small.fail[path]
        assert server.names() == ["task-api:f16"]
        assert system(server) == "first"


def test_the_first_error_is_told_though_cleaning_up_fails_too(tiny: Artifact) -> None:
    with small_ollama() as small, Server(small.url) as server:
        small.fail["/api/create"] = (500, {"error": "disk full"})
        small.fail["/api/delete"] = (500, {"error": "read-only"})
        with pytest.raises(ServerRefused, match="disk full"):
            staged(server, tiny)


def test_a_copy_that_did_nothing_is_noticed(tiny: Artifact) -> None:
    with small_ollama() as small, Server(small.url) as server:
        put(server, tiny)
        small.fail["/api/copy"] = (200, None)
        with pytest.raises(ServerError, match=r"task-api:f16\.1 holds nothing, not "):
            put(server, tiny, SECOND)
        assert system(server) == "first", "what could not be kept is not overwritten"


def test_a_created_tag_that_is_not_listed_is_noticed(tiny: Artifact) -> None:
    with small_ollama() as small, Server(small.url) as server:
        small.fail["/api/tags"] = (200, {"models": []})
        with pytest.raises(ServerError, match="does not list it"):
            staged(server, tiny)


def test_the_calls_of_a_push_and_their_order(tiny: Artifact) -> None:
    with small_ollama() as small, Server(small.url) as server:
        put(server, tiny)
        calls = [line for line in small.log if "tags" not in line and "show" not in line]
    digest = f"/api/blobs/sha256:{tiny.digest}"
    assert calls == [
        f"HEAD {digest}",
        f"POST {digest}",
        "POST /api/create",
        "POST /api/copy",
        "POST /api/generate",
        "DELETE /api/delete",
    ]


def test_names_of_a_namespace_are_kept_apart() -> None:
    mine = TagName("task-api", "q8_0", "me")
    assert str(history_name(mine, 3)) == "deployq-history/me.task-api:q8_0.3"
    assert str(staging_name(mine, OWNER)) == "deployq-staging/me.task-api:q8_0.3f2a9c1d"

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from deployq.errors import ModelfileError, ServerError, ServerRefused
from deployq.tags.modelfile import Modelfile
from deployq.tags.names import TagName
from deployq.tags.registry import register, remove, staging_leftovers
from deployq.tags.server import Server
from deployq.types import (
    Answer,
    Artifact,
    Prompt,
    PromptResult,
    StepResult,
    TagReport,
    Verdict,
    Verification,
)
from tests.tags.conftest import artifact_of, keeps_weights
from tests.tags.small_ollama import small_ollama
from tests.tiny import write_tiny_llama

TAG = TagName("task-api", "f16")
FIRST = Modelfile("task-api-F16.gguf", {"num_ctx": 512}, system="first")
SECOND = dataclasses.replace(FIRST, system="second")
STAGING = "deployq-staging/task-api:f16"


def verified(passed: bool) -> Callable[[str], Verification]:
    """A verification that ends so."""
    answer = Answer("x", "stop", 1, 2, 0.1, 0.1, 0.1)
    result = PromptResult(Prompt("p", ()), answer, (Verdict("equals", passed),))
    return lambda tag: Verification("suite", tag, 1.0, (result,), 0.1)


def put(
    server: Server, artifact: Artifact, modelfile: Modelfile = FIRST, passed: bool = True
) -> TagReport:
    return register(
        server, tag=TAG, modelfile=modelfile, artifact=artifact, verify=verified(passed)
    )


def statuses(report: TagReport) -> list[tuple[str, str]]:
    return [(step.step, step.status) for step in report.steps]


def test_register(server: Server, tiny: Artifact) -> None:
    told: list[StepResult] = []
    seen: list[tuple[str, list[str]]] = []

    def verify(name: str) -> Verification:
        seen.append((name, server.names()))
        return verified(True)(name)

    report = register(
        server, tag=TAG, modelfile=FIRST, artifact=tiny, verify=verify, on_step=told.append
    )
    assert seen == [(STAGING, [STAGING])]
    assert server.names() == ["task-api:f16"]
    shown = server.show("task-api:f16")
    assert (shown.system, shown.blob_digest) == ("first", report.blob_digest)
    assert (report.blob_digest == tiny.digest) == keeps_weights(server)
    held = server.tag("task-api:f16")
    assert held is not None
    assert (report.status, report.manifest_digest) == ("done", held.digest)
    assert (report.tag, report.n_ctx) == ("task-api:f16", 512)
    assert report.modelfile_digest == FIRST.digest
    assert report.steps == tuple(told)
    assert [step.step for step in told] == ["upload", "create", "verify", "promote"]
    assert all(step.seconds > 0 for step in told)


def test_the_blob_goes_over_once(server: Server, tmp_path: Path) -> None:
    # Weights of its own: the real server keeps those of other tests.
    fresh = artifact_of(write_tiny_llama(tmp_path / "a.gguf", n_layer=1, seed=7))
    first, second = put(server, fresh), put(server, fresh, SECOND)
    assert (first.steps[0].status, first.steps[0].bytes) == ("done", fresh.file_bytes)
    assert (second.steps[0].status, second.steps[0].bytes) == ("reused", 0)


def test_a_verified_tag_replaces_the_earlier_one(server: Server, tiny: Artifact) -> None:
    put(server, tiny)
    put(server, tiny, SECOND)
    assert server.show("task-api:f16").system == "second"
    assert server.names() == ["task-api:f16"]


def test_a_failed_verification_leaves_the_earlier_tag(server: Server, tiny: Artifact) -> None:
    before = put(server, tiny).manifest_digest
    report = put(server, tiny, SECOND, passed=False)
    assert report.status == "failed"
    assert report.verification is not None
    assert report.reason == "verification failed: 0 of 1 passed"
    assert statuses(report)[-1] == ("verify", "failed")
    assert report.manifest_digest == ""
    assert [(t.name, t.digest) for t in server.tags()] == [("task-api:f16", before)]
    assert server.show("task-api:f16").system == "first"


@pytest.mark.parametrize("thrown", [KeyboardInterrupt, RuntimeError, ServerError])
def test_whatever_stops_it_leaves_the_earlier_tag(
    server: Server, tiny: Artifact, thrown: type[BaseException]
) -> None:
    put(server, tiny)
    told: list[StepResult] = []

    def verify(_: str) -> Verification:
        raise thrown("stop")

    with pytest.raises(thrown):
        register(
            server, tag=TAG, modelfile=SECOND, artifact=tiny, verify=verify, on_step=told.append
        )
    assert server.names() == ["task-api:f16"]
    assert server.show("task-api:f16").system == "first"
    assert (told[-1].step, told[-1].status, told[-1].detail) == ("verify", "failed", "stop")


def test_what_an_earlier_run_left_is_found_and_written_over(server: Server, tiny: Artifact) -> None:
    put(server, tiny)
    server.copy("task-api:f16", STAGING)
    assert [tag.name for tag in staging_leftovers(server)] == [STAGING]
    put(server, tiny, SECOND)
    assert staging_leftovers(server) == []


def test_an_alias_shares_the_weights(server: Server, tiny: Artifact) -> None:
    put(server, tiny)
    alias = dataclasses.replace(FIRST, parameters={"num_ctx": 1024})
    report = register(
        server,
        tag=TagName("task-api", "laptop"),
        alias_of=TAG,
        modelfile=alias,
        artifact=tiny,
        verify=verified(True),
    )
    assert (report.alias_of, report.n_ctx) == ("task-api:f16", 1024)
    assert statuses(report)[0] == ("upload", "reused")
    assert sorted(server.names()) == ["task-api:f16", "task-api:laptop"]
    weights = [server.show(name).blob_digest for name in server.names()]
    assert weights == [report.blob_digest] * 2


def test_remove_tells_what_it_frees(server: Server, tiny: Artifact) -> None:
    put(server, tiny)
    server.copy("task-api:f16", "task-api:laptop")
    assert remove(server, TagName.parse("Task-API:laptop")) == 0
    assert remove(server, TAG) >= tiny.file_bytes
    assert server.names() == []
    with pytest.raises(ServerRefused, match="not found"):
        remove(server, TAG)


def test_from_must_name_the_registered_file(server: Server, tiny: Artifact) -> None:
    with pytest.raises(ModelfileError, match=r"FROM llama3: the weights of task-api:f16 are x\."):
        register(
            server,
            tag=TAG,
            modelfile=Modelfile("llama3"),
            artifact=tiny,
            verify=verified(True),
            file_name="x.gguf",
        )
    assert server.names() == []


# ------------------------------------------------------------ a server that fails in the middle


@pytest.mark.parametrize(
    ("path", "step"),
    [("/api/create", "create"), ("/api/show", "create"), ("/api/copy", "promote")],
)
def test_a_server_that_refuses_one_step(tiny: Artifact, path: str, step: str) -> None:
    with small_ollama() as small, Server(small.url) as server:
        put(server, tiny)
        small.fail[path] = (500, {"error": "disk full"})
        told: list[StepResult] = []
        with pytest.raises(ServerRefused, match="disk full"):
            register(
                server,
                tag=TAG,
                modelfile=SECOND,
                artifact=tiny,
                verify=verified(True),
                on_step=told.append,
            )
        assert (told[-1].step, told[-1].status) == (step, "failed")
        del small.fail[path]
        assert server.names() == ["task-api:f16"]
        assert server.show("task-api:f16").system == "first"


def test_the_first_error_is_told_though_cleaning_up_fails_too(tiny: Artifact) -> None:
    with small_ollama() as small, Server(small.url) as server:
        small.fail["/api/copy"] = (500, {"error": "disk full"})
        small.fail["/api/delete"] = (500, {"error": "read-only"})
        with pytest.raises(ServerRefused, match="disk full"):
            put(server, tiny)


def test_a_copy_that_did_nothing_is_noticed(tiny: Artifact) -> None:
    with small_ollama() as small, Server(small.url) as server:
        put(server, tiny)
        small.fail["/api/copy"] = (200, None)
        with pytest.raises(ServerError, match="but that holds "):
            put(server, tiny, SECOND)


def test_a_created_tag_that_is_not_listed_is_noticed(tiny: Artifact) -> None:
    with small_ollama() as small, Server(small.url) as server:
        small.fail["/api/tags"] = (200, {"models": []})
        with pytest.raises(ServerError, match="does not list it"):
            put(server, tiny)


def test_no_verification_before_the_upload_is_done(tiny: Artifact) -> None:
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

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deployq_llamacpp import LlamaCppBackend, LlamaCppJudge

from deployq import proc
from deployq.artifacts.build import build
from deployq.artifacts.workshop import Workshop
from deployq.errors import ArtifactError, BackendError, DiskError, ToolMissing
from deployq.plan.quants import own_size
from deployq.source.inspect import inspect
from deployq.types import (
    Artifact,
    Health,
    ModelInfo,
    Progress,
    QuantizeJob,
    QuantSize,
    no_progress,
)
from tests.plan.models import changed, experts, keys
from tests.source.gguf_files import llama_tensors, write_sparse
from tests.tiny import write_tiny_llama

DIGEST = "d" * 64
Write = Callable[[QuantizeJob], None]


def copy(job: QuantizeJob) -> None:
    job.output.write_bytes(job.source.read_bytes())


class Copier:
    """A backend whose every quant is a copy of the source; it remembers how it was called."""

    def __init__(self, name: str = "copier", write: Write = copy, ok: bool = True) -> None:
        self.name = name
        self.write = write
        self.ok = ok
        self.calls: list[list[str]] = []

    def health(self) -> Health:
        return Health(self.ok, version="1", detail="it is Sunday", hint="come back tomorrow")

    def quants(self) -> frozenset[str]:
        return frozenset({"Q8_0", "Q6_K", "Q4_K_M"})

    def quantize(self, jobs: Sequence[QuantizeJob], progress: Progress) -> None:
        self.calls.append([job.quant for job in jobs])
        for job in jobs:
            self.write(job)
            progress(job.quant, 1, 1, "files")


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> ModelInfo:
    return inspect(write_tiny_llama(tmp_path_factory.mktemp("source") / "tiny.gguf"))


@pytest.fixture
def store(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "cache")


def make(
    store: Workshop,
    info: ModelInfo,
    quants: Sequence[str],
    *backends: Copier,
    expected: Mapping[str, QuantSize] | None = None,
    progress: Progress = no_progress,
) -> dict[str, Artifact]:
    return build(
        store,
        {backend.name: backend for backend in backends},
        lambda quant: backends[-1].name if quant == "Q4_K_M" else backends[0].name,
        info,
        DIGEST,
        quants,
        expected or {},
        inspect,
        progress,
    )


def leftovers(store: Workshop) -> list[Path]:
    return list(store.folder.rglob("*.building"))


@pytest.mark.tools
def test_the_real_backend(
    store: Workshop, info: ModelInfo, tools_bin: Path, tmp_path: Path
) -> None:
    env = {"DEPLOYQ_LLAMA_CPP": str(tools_bin), "DEPLOYQ_CACHE_DIR": str(tmp_path)}
    backend, judge = LlamaCppBackend(env), LlamaCppJudge(env)
    quants = ["Q8_0", "Q4_K_M"]
    sizes = {q: s for q in quants if (s := judge.file_bytes(info.path, q))}
    told: list[str] = []

    def run() -> dict[str, Artifact]:
        told.clear()
        return build(
            store,
            {backend.name: backend},
            lambda _: backend.name,
            info,
            DIGEST,
            quants,
            sizes,
            inspect,
            lambda task, *_: told.append(task),
            threads=1,
        )

    made = run()
    assert list(made) == quants
    for quant, artifact in made.items():
        assert artifact.file_bytes == sizes[quant].file_bytes == artifact.path.stat().st_size
        assert artifact.digest == hashlib.sha256(artifact.path.read_bytes()).hexdigest()
        assert not artifact.reused
        assert artifact.seconds > 0
    assert list(dict.fromkeys(told)) == ["Q8_0", "Q4_K_M", "hashing Q8_0", "hashing Q4_K_M"]
    again = run()
    assert all(artifact.reused for artifact in again.values())
    assert [a.digest for a in again.values()] == [a.digest for a in made.values()]
    assert told == []


def test_one_call_for_all_that_is_missing(store: Workshop, info: ModelInfo) -> None:
    backend = Copier()
    make(store, info, ["Q6_K"], backend)
    made = make(store, info, ["Q8_0", "Q6_K", "Q4_K_M", "Q8_0"], backend)
    assert backend.calls == [["Q6_K"], ["Q8_0", "Q4_K_M"]]
    assert list(made) == ["Q8_0", "Q6_K", "Q4_K_M"]
    assert [a.reused for a in made.values()] == [False, True, False]


def test_each_backend_makes_its_own(store: Workshop, info: ModelInfo) -> None:
    first, second = Copier("first"), Copier("second")
    made = make(store, info, ["Q8_0", "Q4_K_M", "Q6_K"], first, second)
    assert first.calls == [["Q8_0", "Q6_K"]]
    assert second.calls == [["Q4_K_M"]]
    assert [a.backend for a in made.values()] == ["first", "second", "first"]


def test_the_job_that_fails_loses_no_other(store: Workshop, info: ModelInfo) -> None:
    def write(job: QuantizeJob) -> None:
        if job.quant == "Q6_K":
            job.output.write_bytes(job.source.read_bytes()[:-100])  # and doesn't clean up
            raise BackendError("out of luck")
        copy(job)

    make(store, info, ["Q4_K_M"], Copier())
    with pytest.raises(BackendError, match="out of luck"):
        make(store, info, ["Q4_K_M", "Q8_0", "Q6_K"], Copier(write=write))
    assert [artifact.quant for artifact in store.list()] == ["Q4_K_M", "Q8_0"]
    assert leftovers(store) == []


def test_ctrl_c_keeps_what_was_finished(store: Workshop, info: ModelInfo) -> None:
    def interrupt(task: str, *_: object, **_named: object) -> None:
        if task == "Q6_K":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(store, info, ["Q8_0", "Q6_K", "Q4_K_M"], Copier(), progress=interrupt)
    assert "Q8_0" in [artifact.quant for artifact in store.list()]
    assert "Q4_K_M" not in [artifact.quant for artifact in store.list()]
    assert leftovers(store) == []


def test_a_file_that_is_refused_loses_no_other(store: Workshop, info: ModelInfo) -> None:
    def write(job: QuantizeJob) -> None:
        copy(job) if job.quant == "Q4_K_M" else job.output.write_bytes(b"rubbish")

    with pytest.raises(ArtifactError, match="Q8_0 of tiny, made by copier, is no whole GGUF"):
        make(store, info, ["Q8_0", "Q4_K_M"], Copier(write=write))
    assert [artifact.quant for artifact in store.list()] == ["Q4_K_M"]


def cut(job: QuantizeJob) -> None:
    job.output.write_bytes(job.source.read_bytes()[:-1000])


def fewer_layers(job: QuantizeJob) -> None:
    write_tiny_llama(job.output, n_layer=1)


def other_shapes(job: QuantizeJob) -> None:
    write_tiny_llama(job.output, n_ff=768)


def other_architecture(job: QuantizeJob) -> None:
    content = job.source.read_bytes()
    at = content.index(b"llama")
    job.output.write_bytes(content[:at] + b"lhama" + content[at + 5 :])


def link(job: QuantizeJob) -> None:
    os.link(job.source, job.output)


def nothing(job: QuantizeJob) -> None:
    pass


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (cut, "is no whole GGUF file"),
        (fewer_layers, "lacks 9 tensors and has 0 others, such as blk.1.attn_k.weight"),
        (other_shapes, r"as \(256, 768\) instead of \(256, 512\)|as \(768, 256\)"),
        (other_architecture, "architecture 'lhama' instead of 'llama'"),
        (link, "is a link to another file"),
        (nothing, "wrote no file for Q8_0"),
    ],
)
def test_what_a_backend_must_not_write(
    store: Workshop, info: ModelInfo, write: Write, says: str
) -> None:
    with pytest.raises(ArtifactError, match=says):
        make(store, info, ["Q8_0"], Copier(write=write))
    assert store.list() == []
    assert leftovers(store) == []
    assert info.path.stat().st_mode & 0o200, "the source itself was made read-only"


def test_the_planned_size_binds_llama_cpp_to_the_byte(store: Workshop, info: ModelInfo) -> None:
    size = info.path.stat().st_size
    planned = {"Q8_0": QuantSize("Q8_0", 12345, 8.5, by="a rule")}
    with pytest.raises(ArtifactError) as refused:
        make(store, info, ["Q8_0"], Copier("llamacpp"), expected=planned)
    assert f"{size:,}" in refused.value.message
    assert "12,345" in refused.value.message
    assert "a rule" in refused.value.message
    near = {"Q8_0": QuantSize("Q8_0", round(0.8 * size), 8.5, by="a rule")}
    made = make(store, info, ["Q8_0"], Copier("numpy"), expected=near)
    assert made["Q8_0"].file_bytes == size


def test_another_quant_under_that_name_is_refused(store: Workshop, info: ModelInfo) -> None:
    """Full precision, say, that a backend calls Q8_0."""
    half = {"Q8_0": QuantSize("Q8_0", info.path.stat().st_size * 17 // 32, 8.5)}
    with pytest.raises(ArtifactError, match=r"made by numpy, has .*: it is another one"):
        make(store, info, ["Q8_0"], Copier("numpy"), expected=half)


def test_no_room_is_said_before_anything_starts(store: Workshop, info: ModelInfo) -> None:
    backend = Copier()
    planned = {q: QuantSize(q, 10**18, 8.5) for q in ("Q8_0", "Q6_K")}
    with pytest.raises(DiskError, match=r"Q8_0, Q6_K need 1818989\.4 TiB in .* are free"):
        make(store, info, ["Q8_0", "Q6_K"], backend, expected=planned)
    assert backend.calls == []
    make(store, info, ["Q8_0"], backend)
    make(store, info, ["Q8_0"], backend, expected=planned)  # there already: needs no room


def test_a_backend_that_is_not_usable(store: Workshop, info: ModelInfo) -> None:
    with pytest.raises(ToolMissing, match="copier is not usable: it is Sunday") as refused:
        make(store, info, ["Q8_0"], Copier(ok=False))
    assert refused.value.hint == "come back tomorrow"


def test_two_builds_at_once_make_each_quant_once(store: Workshop, info: ModelInfo) -> None:
    started = threading.Barrier(2, timeout=60)

    def slowly(job: QuantizeJob) -> None:
        time.sleep(0.2)
        copy(job)

    backends = [Copier(write=slowly), Copier(write=slowly)]

    def run(number: int) -> dict[str, Artifact]:
        started.wait()
        return make(store, info, ["Q8_0", "Q4_K_M"][:: 1 - 2 * number], backends[number])

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, range(2)))
    calls = [quant for backend in backends for call in backend.calls for quant in call]
    assert sorted(calls) == ["Q4_K_M", "Q8_0"]
    assert results[0]["Q8_0"].digest == results[1]["Q8_0"].digest


def test_killed_in_the_middle(store: Workshop, info: ModelInfo, tmp_path: Path) -> None:
    """kill -9 while a file is being written: the next build starts clean."""
    make(store, info, ["Q6_K"], Copier())
    program = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.artifacts.test_build import Copier, inspect, make
from deployq.artifacts.workshop import Workshop
def hang(job):
    job.output.write_bytes(b"GGUF half")
    Path({str(tmp_path / "writing")!r}).touch()
    time.sleep(600)
make(Workshop(Path({str(tmp_path / "cache")!r})), inspect(Path({str(info.path)!r})),
     ["Q8_0"], Copier(write=hang))
"""
    child = proc.start([sys.executable, "-c", program], stdout=sys.stderr.fileno())
    end = time.monotonic() + 60
    while not (tmp_path / "writing").exists() and time.monotonic() < end:
        assert child.poll() is None
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert leftovers(store)
    assert [artifact.quant for artifact in store.list()] == ["Q6_K"]
    made = make(store, info, ["Q8_0"], Copier())
    assert made["Q8_0"].path.read_bytes() == info.path.read_bytes()
    assert leftovers(store) == []


@pytest.mark.tools
def test_a_model_trained_in_mxfp4_is_quantized_without_asking(
    store: Workshop, tools_bin: Path, tmp_path: Path
) -> None:
    """gpt-oss by its parts: MXFP4_MOE keeps the experts' bytes, smaller quants are made of them."""
    shapes = changed(llama_tensors(2, 256, 256, 0, 1000), 2, experts(256, 256, 4))
    native = {name: "MXFP4" for name in shapes if "_exps" in name}
    more = {"expert_count": 4, "expert_used_count": 2}
    file = write_sparse(
        tmp_path / "m.gguf", "llama", keys(2, 256, 256, 4, 4, **more), shapes, native
    )
    source = inspect(file)
    backend = LlamaCppBackend(
        {"DEPLOYQ_LLAMA_CPP": str(tools_bin), "DEPLOYQ_CACHE_DIR": str(tmp_path)}
    )
    made = build(
        store,
        {backend.name: backend},
        lambda _: backend.name,
        source,
        DIGEST,
        ["MXFP4_MOE", "Q2_K"],
        {},
        inspect,
        no_progress,
    )
    kinds = {
        quant: {t.type for t in inspect(artifact.path).tensors if "_exps" in t.name}
        for quant, artifact in made.items()
    }
    assert kinds["MXFP4_MOE"] == {"MXFP4"}
    assert "MXFP4" not in kinds["Q2_K"]
    for quant, artifact in made.items():
        assert artifact.path.stat().st_size == own_size(source, quant).file_bytes

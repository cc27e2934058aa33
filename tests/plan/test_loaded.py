"""The plan against a real Ollama: what llama-server allocates, and what `/api/ps` says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from deployq_runtimes import Embedded

from deployq.pipeline.fit import differences, expected_of
from deployq.source.inspect import inspect
from deployq.tags.server import Server
from deployq.types import Serving, Target
from tests.ollama_fixtures import running_ollama
from tests.plan.loadable import LOADABLE, write_loadable
from tests.plan.loading import Load, create, load, plan_of

BOX = Target("box", "ram", 1 << 36, 0, 4096)


@dataclass(frozen=True)
class Loader:
    """Loads a model on one server; `serving` is how that server was started."""

    server: Server
    folder: Path
    serving: Serving
    cache_type: str = "f16"

    def load(self, name: str, n_ctx: int, **options: int) -> tuple[Load, Target]:
        tag = create(self.server, write_loadable(self.folder, name))
        found = load(self.server, tag, self.folder / "serve.log", num_ctx=n_ctx, **options)
        serving = replace(self.serving, num_batch=options.get("num_batch"))
        return found, replace(BOX, n_ctx=n_ctx, serving=serving, cache_type=self.cache_type)


@pytest.fixture(scope="module", params=[1, 4], ids=["alone", "four"])
def loader(
    request: pytest.FixtureRequest, ollama_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Loader]:
    folder = tmp_path_factory.mktemp("loaded")
    parallel = str(request.param)
    with (
        running_ollama(ollama_binary, folder, OLLAMA_NUM_PARALLEL=parallel) as endpoint,
        Server(endpoint.url) as server,
    ):
        yield Loader(server, folder, Serving(parallel=request.param))


def hold(found: Load, target: Target, folder: Path, name: str) -> None:
    """The plan is what was allocated, and `fit` has nothing to say against it."""
    plan = plan_of(inspect(folder / f"{name}.gguf"), target)
    (candidate,) = plan.candidates
    assert candidate.memory.total_bytes == pytest.approx(found.allocated_bytes, rel=0.005)
    listed = candidate.memory.total_bytes - candidate.memory.unlisted_bytes
    assert listed == pytest.approx(found.listed.size_bytes, rel=0.005)
    expected = expected_of(plan)
    assert expected is not None
    assert differences(found.listed, expected) == []


@pytest.mark.ollama
@pytest.mark.parametrize("n_ctx", [300, 2048, 8192, 40960])
@pytest.mark.parametrize("name", LOADABLE)
def test_what_a_model_takes(loader: Loader, name: str, n_ctx: int) -> None:
    """Batches of 512, 1024 and 2048, alone and for four requests."""
    found, target = loader.load(name, n_ctx)
    hold(found, target, loader.folder, name)


@pytest.mark.ollama
def test_a_context_over_the_trained_one(loader: Loader) -> None:
    found, target = loader.load("gemma3", 1 << 18)
    assert found.listed.n_ctx == 131072
    hold(found, target, loader.folder, "gemma3")


@pytest.mark.ollama
def test_a_batch_that_the_parameters_name(loader: Loader) -> None:
    found, target = loader.load("gemma3", 8192, num_batch=256)
    hold(found, target, loader.folder, "gemma3")


@pytest.mark.ollama
@pytest.mark.parametrize(
    ("variables", "serving", "cache_type"),
    [
        ({"OLLAMA_FLASH_ATTENTION": "0"}, Serving(flash_attention=False), "f16"),
        ({"OLLAMA_KV_CACHE_TYPE": "q8_0"}, Serving(), "q8_0"),
    ],
)
def test_servers_of_other_settings(
    ollama_binary: Path,
    tmp_path: Path,
    variables: dict[str, str],
    serving: Serving,
    cache_type: str,
) -> None:
    with (
        running_ollama(ollama_binary, tmp_path, None, **variables) as endpoint,
        Server(endpoint.url) as server,
    ):
        loader = Loader(server, tmp_path, serving, cache_type)
        for name in ("llama", "gemma4"):
            found, target = loader.load(name, 8192)
            plan = plan_of(inspect(tmp_path / f"{name}.gguf"), target)
            total = plan.candidates[0].memory.total_bytes
            assert total == pytest.approx(found.allocated_bytes, rel=0.015)


@pytest.mark.tools
def test_deployqs_own_runtime_loads_as_it_is_planned(tools_bin: Path, tmp_path: Path) -> None:
    """It starts llama-server by Ollama's rules, and counts what Ollama counts."""
    runtime = Embedded({"DEPLOYQ_LLAMA_CPP": str(tools_bin), "PATH": ""})
    with runtime.start(tmp_path / "runtime") as endpoint, Server(endpoint.url) as server:
        for name, n_ctx in (("gemma3", 8192), ("gemma4", 40960)):
            model = write_loadable(tmp_path, name)
            tag = create(server, model)
            server.load(tag, {"num_ctx": n_ctx})
            (listed,) = server.ps()
            server.unload(tag)
            plan = plan_of(inspect(model), replace(BOX, n_ctx=n_ctx, serving=runtime.serving()))
            memory = plan.candidates[0].memory
            counted = memory.total_bytes - memory.unlisted_bytes
            assert counted == pytest.approx(listed.size_bytes, rel=0.005)

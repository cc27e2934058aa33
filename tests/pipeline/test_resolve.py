"""Names to records: models, targets, and where each figure comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deployq.config import Config, parse_config
from deployq.errors import ConfigError
from deployq.pipeline.naming import find_owner, recorded_source
from deployq.pipeline.resolve import (
    Model,
    Overrides,
    model_name,
    resolve_model,
    resolve_targets,
    with_overrides,
)
from deployq.pipeline.session import Session
from deployq.plugins import load_plugins
from deployq.settings import ModelSettings
from deployq.tags.lockfile import update
from deployq.types import Target
from tests.tags.test_lockfile import of

GB = 10**9


def session(text: str) -> Session:
    return Session(parse_config(text, Path("/somewhere")), load_plugins(), {})


def targets(
    text: str,
    *names: str,
    overrides: Overrides | None = None,
    n_ctx_train: int | None = 8192,
) -> tuple[Target, ...]:
    made = session(text)
    settings = made.config.models.get("m")
    model = Model("m", Path("m.gguf"), settings) if settings else resolve_any()
    return resolve_targets(made, names, model, overrides or Overrides(), n_ctx_train)


def resolve_any() -> Model:
    here = Path(__file__)
    return resolve_model(Config(folder=here.parent), str(here))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Task-API.F16.gguf", "task-api"),
        ("my model (v2)-bf16.gguf", "my-model-v2"),
        ("big-f16-00001-of-00003.gguf", "big"),
        ("F16.gguf", "f16"),
        ("---.gguf", "model"),
        ("x" * 200 + ".gguf", "x" * 80),
    ],
)
def test_a_path_gives_a_name_that_ollama_takes(path: str, name: str) -> None:
    assert model_name(Path("/some/where") / path) == name


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("模型-日本.gguf", "別の.gguf", False),
        ("a" * 90 + "-one.gguf", "a" * 90 + "-two.gguf", False),
        ("Task.gguf", "task.gguf", False),
        ("task (1).gguf", "task-1.gguf", False),
        ("task-F16.gguf", "task.bf16.gguf", True),
        ("task-00001-of-00002.gguf", "task.gguf", True),
        ("runs/one/out", "runs/two/out", True),
        ("out", "out/model.safetensors", True),
        ("out", "elsewhere/out/adapter_model.safetensors", True),
        ("hf:org/task", "hf:org/task@v2", True),
        ("hf:org/task", "hf:other/task", False),
        ("hf:org/task", "task.gguf", False),
    ],
)
def test_names_that_two_sources_would_share(
    tmp_path: Path, one: str, other: str, same: bool
) -> None:
    """What the lockfile calls the source of a tag says whether another push may replace it."""
    made = replace(session(""), config=Config(folder=tmp_path))

    def model(source: str) -> Model:
        place = Path(source) if source.startswith("hf:") else tmp_path / source
        named = model_name(Path("task")) if source.startswith("hf:") else model_name(place)
        return Model(named, place, ModelSettings(), derived=True)

    held = model(one)
    entry = of("t:x", model=held.name, made_from=recorded_source(made, held))
    update(made.lockfile, [entry])
    asked = model(other)
    assert asked.name == held.name
    assert bool(find_owner(made, asked)) != same
    assert not find_owner(made, replace(asked, derived=False))


def test_a_name_that_the_configuration_gives_to_another_source(tmp_path: Path) -> None:
    made = session('[models.task]\nsource = "task-v1.gguf"')
    mine = Model("task", Path("/somewhere/task-v1.gguf"), ModelSettings(), derived=True)
    other = replace(mine, source=tmp_path / "task.gguf")
    assert find_owner(made, mine) == ""
    assert find_owner(made, other) == "/somewhere/task-v1.gguf, as [models.task] says"


def test_a_name_by_option(tmp_path: Path) -> None:
    model = Model("task", tmp_path / "task.gguf", ModelSettings(), derived=True)
    named = with_overrides(model, Overrides(name="mine"))
    assert (named.name, named.derived) == ("mine", False)
    with pytest.raises(ConfigError, match="must not contain"):
        with_overrides(model, Overrides(name="my name"))
    with pytest.raises(ConfigError, match="has its name from the configuration"):
        with_overrides(replace(model, derived=False), Overrides(name="mine"))


def test_option_over_target_over_model_for_quants_goal_and_context() -> None:
    text = """
    [models.m]
    source = "m.gguf"
    quants = ["Q8_0"]
    goal = "max"
    parameters = { num_ctx = 1000 }
    [targets.a]
    memory = "16GB"
    [targets.b]
    memory = "16GB"
    quants = ["q4_k_m"]
    goal = "memory"
    context = 2000
    """
    a, b = targets(text, "a", "b")
    assert (a.quants, a.goal, a.n_ctx) == (("Q8_0",), "max", 1000)
    assert (b.quants, b.goal, b.n_ctx) == (("Q4_K_M",), "memory", 2000)
    overrides = Overrides(quants=("F16",), goal="quality", n_ctx=3000)
    (b,) = targets(text, "b", overrides=overrides)
    assert (b.quants, b.goal, b.n_ctx) == (("F16",), "quality", 3000)


def test_the_context_is_never_more_than_the_trained_one_by_default() -> None:
    text = '[targets.a]\nmemory = "16GB"'
    assert targets(text, "a", n_ctx_train=2048)[0].n_ctx == 2048
    assert targets(text, "a", n_ctx_train=None)[0].n_ctx == 4096


def test_a_preset_by_its_name_or_named_by_a_target() -> None:
    (card,) = targets("", "4090")
    assert card.kind == "vram"
    assert 24 * GB < card.memory_bytes < 26 * GB
    (box,) = targets('[targets.box]\npreset = "4090"\nreserve = "2GB"', "box")
    assert (box.name, box.memory_bytes, box.reserve_bytes) == ("box", card.memory_bytes, 2 * GB)


def test_what_is_said_of_a_machine_wins_over_its_preset() -> None:
    (box,) = targets('[targets.4090]\nmemory = "20GB"', "4090")
    assert (box.memory_bytes, box.kind) == (20 * GB, "vram")


def test_laptop_is_this_machine() -> None:
    (laptop,) = targets("", "laptop")
    assert laptop.memory_bytes > GB
    assert laptop.reserve_bytes < laptop.memory_bytes


def test_without_names_every_target_or_this_machine_or_the_stated_memory() -> None:
    text = '[targets.a]\nmemory = "16GB"\n[targets.b]\nmemory = "16GB"'
    assert [t.name for t in targets(text)] == ["a", "b"]
    assert [t.name for t in targets("")] == ["laptop"]
    (made_up,) = targets(text, overrides=Overrides(memory_bytes=24 * GB, kind="vram"))
    assert (made_up.memory_bytes, made_up.kind) == (24 * GB, "vram")


def test_a_target_that_says_nothing_of_its_memory() -> None:
    with pytest.raises(ConfigError, match="how much memory the target 'server' has") as caught:
        targets("[targets.server]\ncontext = 100", "server")
    assert "[targets.server]" in caught.value.hint


def test_targets_that_spell_one_server_otherwise_are_served_together() -> None:
    text = """
    [targets.a]
    memory = "16GB"
    host = "http://localhost:11500"
    [targets.b]
    memory = "16GB"
    host = "127.0.0.1:11500/"
    [targets.c]
    memory = "16GB"
    host = "http://localhost:11501"
    """
    a, b, c = targets(text, "a", "b", "c")
    assert (a.host, b.host, c.host) == (
        "http://localhost:11500", "http://localhost:11500", "http://localhost:11501",
    )  # fmt: skip

"""From the names of targets to machines: presets, this machine, budgets, and what is refused."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil
import pytest

from deployq import Card, Hardware, Profiler, hookimpl
from deployq.errors import ConfigError
from deployq.pipeline.resolve import Model, Overrides, resolve_targets
from deployq.pipeline.session import Session
from deployq.settings import ModelSettings
from deployq.types import Serving, Target

Open = Callable[..., Session]
GB, GIB, MIB = 10**9, 1 << 30, 1 << 20
MODEL = Model("m", Path("m.gguf"), ModelSettings())


def resolve(session: Session, *names: str, **overrides: object) -> Target:
    (target,) = resolve_targets(session, names, MODEL, Overrides(**overrides), 8192)  # type: ignore[arg-type]
    return target


class Cards:
    """A machine with two cards, one of them half full."""

    name = "cards"

    def detect(self) -> Hardware:
        cards = (Card("A", 24 * GIB, 24 * GIB), Card("B", 24 * GIB, 12 * GIB))
        return Hardware("2 x A", "vram", 48 * GIB, 36 * GIB, 1e12, "a test", cards=cards)

    def presets(self) -> Mapping[str, Hardware]:
        return {"my-box": Hardware("My Box", "unified", 64 * GIB, None, 3e11, "me", 10 * GIB)}


@pytest.fixture
def cards() -> dict[str, object]:
    plugin = types.ModuleType("cards_plugin")

    @hookimpl
    def deployq_profilers() -> Iterable[Profiler]:
        return (Cards(),)

    plugin.deployq_profilers = deployq_profilers  # type: ignore[attr-defined]
    return {"cards": plugin}


# ---------------------------------------------------------------- names


def test_a_preset_needs_no_configuration(session_for: Open) -> None:
    target = resolve(session_for(), "4090")
    assert (target.name, target.kind, target.memory_bytes) == ("4090", "vram", 24564 * MIB)
    assert target.reserve_bytes == 800_000_000
    assert target.origin.startswith("preset: ")
    assert target.bandwidth is not None
    assert (target.bandwidth.how, target.bandwidth.bytes_per_second) == ("stated", 1008 * GB)


def test_this_machine_needs_no_configuration(session_for: Open) -> None:
    session = session_for('plugins.disable = ["nothing"]')
    detected = session.profilers()["this-machine"].detect()
    assert detected is not None
    target = resolve(session, "this-machine")
    assert target.kind == "ram"
    assert target.memory_bytes == detected.memory_bytes <= psutil.virtual_memory().total
    assert target.reserve_bytes == min(5 * GB, detected.memory_bytes // 2)
    assert resolve(session, "laptop").memory_bytes > 0


def test_a_preset_of_a_plugin(session_for: Open, cards: dict[str, object]) -> None:
    target = resolve(session_for(extra=cards), "My-Box")
    assert (target.memory_bytes, target.reserve_bytes) == (64 * GIB, 10 * GIB)


def test_an_unknown_name_says_what_is_near(session_for: Open) -> None:
    with pytest.raises(ConfigError, match="did you mean") as caught:
        resolve(session_for(), "m2-pro-32g")
    assert "m2-pro-32gb" in caught.value.message
    assert "deployq profile --presets" in caught.value.hint


# ---------------------------------------------------------------- budgets


def test_several_cards_keep_what_is_in_use_and_a_drivers_share_each(
    session_for: Open, cards: dict[str, object]
) -> None:
    target = resolve(session_for(extra=cards), "cards")
    assert target.memory_bytes == 48 * GIB
    assert target.reserve_bytes == 12 * GIB + 2 * 800_000_000


@pytest.mark.parametrize("name", ["2x4090", "2x rtx-4090", "2X4090", "2×rtx4090"])
def test_two_cards_by_their_preset_s_name(session_for: Open, name: str) -> None:
    one, two = resolve(session_for(), "4090"), resolve(session_for(), name)
    assert (two.name, two.kind) == (name, "vram")
    assert two.memory_bytes == 2 * one.memory_bytes
    assert two.cards == (one.budget_bytes, one.budget_bytes)
    assert two.budget_bytes == sum(two.cards)
    assert two.bandwidth == one.bandwidth
    assert one.cards == ()


@pytest.mark.parametrize(
    "settings",
    [
        'preset = "4090"\ncards = 2',
        'preset = "2x4090"',
        'memory = "24564MiB"\nkind = "vram"\ncards = 2',
    ],
)
def test_two_cards_in_the_configuration(session_for: Open, settings: str) -> None:
    target = resolve(session_for(f"[targets.box]\n{settings}\n"), "box")
    assert target.memory_bytes == 2 * 24564 * MIB
    assert target.cards == (24564 * MIB - 800_000_000,) * 2


def test_a_reserve_is_that_of_each_card(session_for: Open) -> None:
    config = '[targets.box]\npreset = "4090"\ncards = 3\nreserve = "2GiB"\n'
    target = resolve(session_for(config), "box")
    assert target.reserve_bytes == 6 * GIB
    assert target.cards == (24564 * MIB - 2 * GIB,) * 3


def test_drafting_is_a_parameter(session_for: Open) -> None:
    config = "[targets.a]\nparameters = {{ draft_num_predict = {} }}\nmemory = '16GB'\n"
    assert resolve(session_for(config.format(4)), "a").drafts
    assert not resolve(session_for(config.format(0)), "a").drafts
    assert not resolve(session_for(), "4090").drafts


def test_no_cards_where_there_are_none(session_for: Open, cards: dict[str, object]) -> None:
    mac, pc = 'preset = "m2-pro-32gb"', 'memory = "16GB"'
    config = f"[targets.mac]\n{mac}\ncards = 2\n[targets.pc]\n{pc}\ncards = 2\n"
    for name in ("mac", "pc"):
        with pytest.raises(ConfigError, match=f"'{name}' says cards = 2, but .* has no cards"):
            resolve(session_for(config), name)
    many = session_for("[targets.laptop]\ncards = 2\n", cards)
    with pytest.raises(ConfigError, match="has 2 already"):
        resolve(many, "laptop")
    with pytest.raises(ConfigError, match="no machine is known"):
        resolve(session_for(), "2xm2-pro-32gb")


def test_a_gpu_is_what_laptop_means(session_for: Open, cards: dict[str, object]) -> None:
    session = session_for(extra=cards)
    if any(
        p.detect() for name, p in session.profilers().items() if name in ("apple", "nvidia", "amd")
    ):
        pytest.skip("this machine has a GPU of its own")
    assert resolve(session, "laptop").kind == "vram"


@pytest.mark.parametrize(
    ("name", "budget_gib"), [("m1-8gb", 16 / 3), ("m2-pro-32gb", 64 / 3), ("m1-max-64gb", 48)]
)
def test_a_mac_keeps_what_metal_does_not_give_once(
    session_for: Open, name: str, budget_gib: float
) -> None:
    assert resolve(session_for(), name).budget_bytes == pytest.approx(budget_gib * GIB, abs=1)


def test_a_reserve_is_a_setting(session_for: Open) -> None:
    session = session_for('[targets.box]\npreset = "laptop-16gb"\nreserve = "6GB"')
    assert resolve(session, "box").budget_bytes == 16 * GIB - 6 * GB


def test_stated_memory_keeps_the_presets_kind_and_bandwidth(session_for: Open) -> None:
    session = session_for('[targets.box]\npreset = "m1-max-64gb"\nmemory = "32GiB"')
    target = resolve(session, "box")
    assert (target.kind, target.memory_bytes, target.origin) == ("unified", 32 * GIB, "given")
    assert target.budget_bytes == pytest.approx(64 / 3 * GIB, abs=1)
    assert target.bandwidth is not None


def test_another_kind_gets_the_rule_of_that_kind(session_for: Open) -> None:
    session = session_for('[targets.spark]\npreset = "dgx-spark"\nkind = "ram"')
    assert resolve(session, "spark").reserve_bytes == 5 * GB
    assert resolve(session_for(), "dgx-spark").reserve_bytes == 14 * GIB


# ---------------------------------------------------------------- what is refused


def test_no_memory_and_nobody_to_ask(session_for: Open) -> None:
    session = session_for('[targets.nas]\nhost = "http://nas:11434"')
    with pytest.raises(ConfigError, match="nothing says how much memory") as caught:
        resolve(session, "nas")
    assert "http://nas:11434 can't be asked" in caught.value.message
    assert "[targets.nas]" in caught.value.hint


@pytest.mark.parametrize("memory", ["0GB", "0 GiB", "0B"])
def test_no_memory_at_all(session_for: Open, memory: str) -> None:
    session = session_for(f'[targets.box]\nmemory = "{memory}"')
    with pytest.raises(ConfigError, match="'box': its memory is 0 B"):
        resolve(session, "box")


def test_no_memory_at_all_on_the_command_line(session_for: Open) -> None:
    with pytest.raises(ConfigError, match="its memory is 0 B"):
        resolve(session_for(), memory_bytes=0, kind="vram")


def test_negative_memory(session_for: Open) -> None:
    with pytest.raises(ConfigError, match="'-4GB' is not a size"):
        session_for('[targets.box]\nmemory = "-4GB"')


def test_a_reserve_that_leaves_nothing(session_for: Open) -> None:
    session = session_for('[targets.box]\nmemory = "8GB"\nreserve = "8GB"')
    with pytest.raises(ConfigError, match="nothing is left"):
        resolve(session, "box")


# ---------------------------------------------------------------- how the server runs models


def test_how_a_server_runs_models(session_for: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, the target, the default server's variables; of another one nothing."""
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "2")
    monkeypatch.setenv("OLLAMA_FLASH_ATTENTION", "0")
    text = """
        [targets.here]
        preset = "4090"
        [targets.told]
        preset = "4090"
        parallel = 3
        flash_attention = true
        parameters = { num_batch = 256 }
        [targets.far]
        preset = "4090"
        host = "http://far.example:11434"
    """
    session = session_for(f'runtime.name = "managed"\n{text}')
    known = {name: resolve(session, name).serving for name in ("here", "told", "far")}
    assert known == {
        "here": Serving(2, "OLLAMA_NUM_PARALLEL", flash_attention=False),
        "told": Serving(3, "given", num_batch=256),
        "far": Serving(),
    }
    assert resolve(session, "told", parallel=5).serving.parallel == 5
    embedded = session_for(f'runtime.name = "embedded"\n{text}')
    assert resolve(embedded, "here").serving == Serving(1, "embedded")


def test_no_larger_context_than_the_trained_one(session_for: Open) -> None:
    target = resolve(session_for(), "4090", n_ctx=10000)
    assert (target.n_ctx, target.asked_ctx) == (8192, 10000)

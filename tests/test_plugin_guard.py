"""What a stranger's object raises is told by the plugin's name; what it is, it stays."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployq import BackendError, DiskError, Health, PluginError, Runtime, hookimpl
from deployq.plugins import Choice, Plugins, load_plugins
from deployq.plugins.guard import guarded_part
from deployq.plugins.waiting import waiting_for
from deployq.types import AddressedRuntime, Backend, Converter, Profiler


class Many:
    """A part that is a backend, a converter and a runtime at once, and fails as a test wants."""

    name = "many"

    def __init__(self, raised: BaseException | None = None) -> None:
        self.raised = raised
        self.count = 0

    @property
    def url(self) -> str:
        self.count += 1
        return f"http://127.0.0.1:{self.count}"

    @cached_property
    def lazy(self) -> str:
        raise AssertionError("it is not asked for")

    @staticmethod
    def quants() -> frozenset[str]:
        return frozenset({"F16"})

    def fail(self, *_: object, **__: object) -> Any:
        if self.raised:
            raise self.raised
        return self.count

    def health(self) -> Health:
        self.fail()
        return Health(True)

    accepts = detect = presets = quantize = convert = start = fail


def guarded(part: Any, said: list[str] | None = None) -> Any:
    return guarded_part(part, "theirs", (said if said is not None else []).append, print)


def test_it_is_still_what_it_was() -> None:
    part = guarded(Many())
    for protocol in (Backend, Converter, Runtime, AddressedRuntime, Profiler):
        assert isinstance(part, protocol)
    assert not isinstance(guarded(SimpleNamespace(name="x")), Backend)
    assert part.name == "many"
    assert part.url != part.url
    assert part.quants() == {"F16"}
    assert part.health() == Health(True)


def test_what_it_does_not_tell_is_nothing() -> None:
    said: list[str] = []
    part = guarded(Many(ValueError("no")), said)
    assert part.health().ok is False
    assert "many.health() of plugin 'theirs' failed: ValueError: no" in part.health().detail
    assert (part.accepts(Path()), part.detect(), part.presets()) == (False, None, {})
    assert len(said) == 3
    assert "(test_plugin_guard.py:" in said[0]


def test_what_it_does_not_do_is_an_error() -> None:
    with pytest.raises(BackendError, match=r"many\.quantize\(\) of plugin 'theirs' failed: Value"):
        guarded(Many(ValueError("no"))).quantize([], print)
    with pytest.raises(PluginError, match=r"many\.start\(\) of plugin 'theirs' failed: SystemExit"):
        guarded(Many(SystemExit(3))).start(Path())
    own = DiskError("full")
    with pytest.raises(DiskError) as raised:
        guarded(Many(own)).quantize([], print)
    assert raised.value is own


@pytest.mark.parametrize("method", ["quantize", "detect", "health"])
def test_ctrl_c_goes_through(method: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        getattr(guarded(Many(KeyboardInterrupt())), method)()


# ---------------------------------------------------------------- hooks


def with_hook(name: str, answer: Any) -> tuple[Plugins, list[str]]:
    said: list[str] = []

    def hook() -> Any:
        return answer() if callable(answer) else answer

    hook.__name__ = name
    module = SimpleNamespace(**{name: hookimpl(hook)})
    return load_plugins(Choice(only_builtin=True), {"theirs": module}, say=said.append), said


def broken() -> Any:
    raise ValueError("no")


@pytest.mark.parametrize("name", ["deployq_template_dirs", "deployq_modelfile_context"])
def test_what_a_tag_is_made_of_is_not_left_out(name: str) -> None:
    plugins, _ = with_hook(name, broken)
    with pytest.raises(PluginError, match=f"plugin 'theirs' failed in {name}: ValueError: no"):
        getattr(plugins.hook, name)(model=None, target=None, quant="", context={})
    plugins, _ = with_hook("deployq_modelfile_context", "a text")
    with pytest.raises(PluginError, match="gives 'a text', no mapping"):
        plugins.hook.deployq_modelfile_context(model=None, target=None, quant="", context={})


@pytest.mark.parametrize(
    "name", ["deployq_push_started", "deployq_step_finished", "deployq_push_finished"]
)
def test_an_event_that_fails_is_told_once(name: str) -> None:
    plugins, said = with_hook(name, broken)
    for _ in range(2):
        assert getattr(plugins.hook, name)(plan=None, result=None, report=None) == []
    assert len(said) == 1
    assert said[0].startswith(f"plugin 'theirs' failed in {name}: ValueError: no (test_plugin")


def test_no_opinion_on_the_backend() -> None:
    plugins, said = with_hook("deployq_choose_backend", broken)
    assert plugins.hook.deployq_choose_backend(source=None, quant="Q8_0", names=["a"]) is None
    assert "failed in deployq_choose_backend" in said[0]


def test_two_of_one_name_are_both_named() -> None:
    plugins, _ = with_hook("deployq_runtimes", lambda: [Many(), Many()])
    with pytest.raises(PluginError, match="two plugins bring the same runtime 'many'"):
        plugins.named("deployq_runtimes")


# ---------------------------------------------------------------- waiting


def test_only_what_takes_long_is_said() -> None:
    said: list[str] = []
    for _ in range(20):
        with waiting_for("the quick", "hint", said.append, seconds=0.2):
            pass
    with waiting_for("the outer", "hint", said.append, seconds=0.2):
        with waiting_for("the inner", "hint", said.append, seconds=0.2):
            time.sleep(0.6)
        time.sleep(0.2)
    assert sorted(said) == [
        "still waiting for the inner; Ctrl-C ends it; hint",
        "still waiting for the outer; Ctrl-C ends it; hint",
    ]
    with waiting_for("another", "hint", said.append, seconds=0.2):
        time.sleep(0.6)
    assert len(said) == 3

"""A plugin is imported when a hook is asked for that it may have, and not before."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deployq.plugins import Choice, Plugins, load_plugins
from tests.plugin_folders import install

PLUGIN = """
from deployq import hookimpl

class Part:
    name = "{name}"
    schema = {{}}
    def check(self, answer, prompt, params): ...
    def detect(self): ...
    def presets(self): return {{}}

@hookimpl
def deployq_checks():
    return [Part()]
"""
PROFILER = "\n@hookimpl\ndef deployq_profilers():\n    return [Part()]\n"
SURE = {"only_checks": PLUGIN}
UNSURE = {
    "both": PLUGIN + PROFILER,
    "comment": PLUGIN + "# deployq_profilers\n",
    "star": f"from os.path import *\n{PLUGIN}",
    "dynamic": f"{PLUGIN}\nglobals()['deployq_' + 'profilers'] = hookimpl(lambda: [])\n",
    "nothing": "from deployq import hookimpl\n",
}


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    for name, source in {**SURE, **UNSURE}.items():
        install(tmp_path, name, source.format(name=name), module=f"stage_{name}")
    source = f"{PLUGIN.format(name='object')}\nhere = deployq_checks\n"
    install(tmp_path, "object", source, module="stage_object:here")
    monkeypatch.syspath_prepend(tmp_path)
    for module in [name for name in sys.modules if name.startswith("stage_")]:
        monkeypatch.delitem(sys.modules, module)
    names = (*SURE, *UNSURE, "object")
    return load_plugins(Choice(allow=names))


def imported() -> set[str]:
    return {name.removeprefix("stage_") for name in sys.modules if name.startswith("stage_")}


def test_only_what_may_have_the_hook_is_imported(plugins: Plugins) -> None:
    assert imported() == set()
    profilers = plugins.named("deployq_profilers")
    assert imported() == {*UNSURE, "object"}
    assert "both" in profilers
    assert set(SURE) <= set(plugins.named("deployq_checks"))
    assert imported() == {*SURE, *UNSURE, "object"}


def test_the_order_is_that_of_finding_whatever_is_asked_first(plugins: Plugins) -> None:
    order = list(plugins.named("deployq_checks"))
    later = load_plugins(plugins.choice)
    later.named("deployq_profilers")
    assert list(later.named("deployq_checks")) == order
    assert order == [p.name for p in plugins.found if "deployq_checks" in p.hooks]


def test_all_are_imported_to_be_listed(plugins: Plugins) -> None:
    found = {plugin.name: plugin for plugin in plugins.found}
    assert found["both"].hooks == ("deployq_checks", "deployq_profilers")
    assert found["dynamic"].hooks == ("deployq_checks", "deployq_profilers")
    assert "brings nothing" in found["nothing"].error

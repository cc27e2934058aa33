"""Plugins at fault: each is named, nothing else is stopped, and the user decides what is loaded."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Project, Ran
from tests.plugin_folders import install

GOOD = """
    from deployq import Verdict, hookimpl

    class Shout:
        name = "{name}"
        schema = {{"type": "boolean"}}
        def check(self, answer, prompt, params):
            return Verdict(self.name, answer.text.isupper())

    @hookimpl
    def deployq_checks():
        return [Shout()]
"""
NO_MODULE = "import a_module_that_nobody_has\n"
BROKEN = {  # name -> what stands in it, and what is said of it
    "no-import": (NO_MODULE, "No module named 'a_module_that_nobody_has' (no_import_module.py:1)"),
    "syntax": ("def (:\n", "SyntaxError"),
    "leaves": ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    "signature": (
        "from deployq import hookimpl\n@hookimpl\ndef deployq_backends(wrong): return ()\n",
        "Argument(s) {'wrong'}",
    ),
    "misspelt": (
        "from deployq import hookimpl\n@hookimpl\ndef deployq_backend(): return ()\n",
        "there is no hook deployq_backend; did you mean deployq_backends?",
    ),
    "unmarked": (
        "def deployq_backends(): return ()\n",
        "deployq_backends has no @deployq.hookimpl",
    ),
    "empty": ("", "it brings nothing"),
    "future": (
        'deployq_api = "99.0"\nfrom deployq import NotThereYet\n',
        "it needs deployq's API 99.0",
    ),
    "later": (
        (
            'from deployq import hookimpl\ndeployq_api = "1.99"\n'
            "@hookimpl\ndef deployq_backends(): return ()\n"
        ),
        "it needs deployq's API 1.99",
    ),
    "past": ('deployq_api = "0.9"\n', "it was made for deployq's API 0.9"),
    "numberless": ("deployq_api = 1\n", "two numbers"),
    "profilers": (GOOD.format(name="imposter"), "deployq brings a plugin of that name"),
}
FAULTY = {  # loads, and fails when it is asked
    "raises": (
        "from deployq import hookimpl\n@hookimpl\ndef deployq_profilers():\n    return 1 / 0\n",
        (
            "plugin 'raises' failed in deployq_profilers: ZeroDivisionError: division by zero "
            "(raises_module.py:4)"
        ),
    ),
    "raises-late": (
        "from deployq import hookimpl\n@hookimpl\ndef deployq_judges():\n    yield 1 / 0\n",
        "plugin 'raises-late' failed in deployq_judges: ZeroDivisionError",
    ),
    "no-list": (
        "from deployq import hookimpl\n@hookimpl\ndef deployq_judges():\n    return 7\n",
        "deployq_judges gives 7, no list",
    ),
    "half": (
        (
            "from deployq import hookimpl\nclass Half:\n    name = 'half'\n"
            "@hookimpl\ndef deployq_profilers():\n    return [Half()]\n"
        ),
        "lacks detect, presets",
    ),
    "nameless": (
        (
            "from deployq import hookimpl\nclass N:\n    name = 3\n    detect = presets = None\n"
            "@hookimpl\ndef deployq_profilers():\n    return [N()]\n"
        ),
        "lacks a name that is a text",
    ),
}
UNWELL = """
    from deployq import hookimpl

    class Unwell:
        name = "unwell"
        def health(self): raise OSError("no such device")
        def quants(self): raise OSError("no such device")
        def quantize(self, jobs, progress): raise OSError("no such device")
        def detect(self): raise OSError("no such device")
        def presets(self): raise OSError("no such device")

    @hookimpl
    def deployq_backends(): return [Unwell()]

    @hookimpl
    def deployq_profilers(): return [Unwell()]

    @hookimpl
    def deployq_push_started(plan): raise RuntimeError("not today")
"""


@pytest.fixture
def broken(project: Project) -> Project:
    """Every plugin that is at fault, and one that isn't."""
    site = project.folder / "site"
    for name, (source, _) in {**BROKEN, **FAULTY}.items():
        install(site, name, source)
    install(site, "good", GOOD.format(name="shout"))
    install(site, "unwell", UNWELL)
    install(site, "say", "import nowhere\n", group="deployq.commands")
    return project


def deployq(project: Project, *arguments: str, **env: str) -> Ran:
    return project.run(*arguments, PYTHONPATH=str(project.folder / "site"), **env)


def test_each_is_named_and_the_rest_works(broken: Project) -> None:
    ran = deployq(broken, "plugins", "--json")
    assert ran.code == 0, ran.err
    assert "Traceback" not in ran.err
    found = {(p["name"], p["distribution"]): p for p in ran.json["plugins"]}
    for name, (_, said) in BROKEN.items():
        plugin = found[name, f"{name}-dist"]
        assert plugin["health"] == "broken"
        assert said in plugin["error"], name
    for name, (_, said) in FAULTY.items():
        plugin = found[name, f"{name}-dist"]
        assert (plugin["health"], plugin["error"]) == ("broken", None)
        assert said in " ".join(plugin["faults"]), name
    good = found["good", "good-dist"]
    assert (good["version"], good["hooks"], good["health"]) == ("1.2.3", ["deployq_checks"], "ok")
    assert good["parts"] == [{"kind": "check", "name": "shout", "ok": None, "detail": ""}]
    unwell = found["unwell", "unwell-dist"]["parts"][0]
    assert unwell["ok"] is False
    assert "health() of plugin 'unwell' failed: OSError: no such device" in unwell["detail"]
    for name in ("converters", "llamacpp", "profilers", "runtimes"):
        assert found[name, "deployq"]["health"] == "ok"
    assert found["say", "say-dist"]["hooks"] == ["command"]


def test_a_plan_goes_its_way(broken: Project) -> None:
    ran = deployq(broken, "plan", "tiny", "--targets", "box", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["targets"][0]["chosen"]
    assert "plugin 'no-import' is left out: ModuleNotFoundError" in ran.err
    assert "plugin 'raises' failed in deployq_profilers" in ran.err
    assert "unwell.detect() of plugin 'unwell' failed: OSError" in deployq(broken, "profile").err
    table = deployq(broken, "plugins").out
    assert "BROKEN" in table
    assert "Commands of plugins" in deployq(broken, "--help").out
    said = deployq(broken, "say")
    assert said.code == 1
    assert "importing the command 'say' of say-dist failed: ModuleNotFoundError" in said.err
    assert "plugin misspelt" in deployq(broken, "doctor").out


@pytest.mark.tools
def test_a_push_goes_its_way(broken: Project, tools_bin: Path) -> None:
    env = {"DEPLOYQ_PLUGINS": "unwell", "DEPLOYQ_LLAMA_CPP": str(tools_bin)}
    ran = deployq(broken, "push", "tiny", "--targets", "box", "--quants", "Q8_0", "--json", **env)
    assert ran.code == 0, ran.err
    assert "plugin 'unwell' failed in deployq_push_started: RuntimeError: not today" in ran.err
    env["DEPLOYQ_BACKEND"] = "unwell"
    ran = deployq(broken, "push", "tiny", "--targets", "box", "--quants", "Q6_K", **env)
    assert ran.code == 6
    assert "unwell.health() of plugin 'unwell' failed" in ran.err


# ---------------------------------------------------------------- which are loaded


def loaded(ran: Ran) -> dict[str, str]:
    assert ran.code == 0, ran.err
    return {p["name"]: p["health"] for p in ran.json["plugins"] if p["distribution"] != "deployq"}


def test_the_user_decides(project: Project) -> None:
    site = project.folder / "site"
    for name in ("one", "two"):
        install(site, name, GOOD.format(name=name))
    install(site, "three", "import click\ncommand = click.Command('three')\n",
            module="three_module:command", group="deployq.commands")  # fmt: skip
    out = "left out"
    assert loaded(deployq(project, "plugins", "--json")) == {
        "one": "ok", "two": "ok", "three": "ok"
    }  # fmt: skip
    assert loaded(deployq(project, "--only-builtin", "plugins", "--json")) == {
        "one": out, "two": out, "three": out
    }  # fmt: skip
    assert loaded(deployq(project, "plugins", "--json", DEPLOYQ_PLUGINS="one,three-dist")) == {
        "one": "ok", "two": out, "three": "ok"
    }  # fmt: skip
    config = (project.folder / "deployq.toml").read_text()
    project.write("deployq.toml", f'{config}[plugins]\nallow = ["two-dist"]\ndisable=["profilers"]')
    ran = deployq(project, "plugins", "--json")
    assert loaded(ran) == {"one": out, "two": "ok", "three": out}
    (own,) = [p for p in ran.json["plugins"] if p["name"] == "profilers"]
    assert own["left_out"] == "disabled by [plugins] disable"
    ran = deployq(project, "three")
    assert ran.code == 1
    assert "the command 'three' of three-dist is left out: not on the list" in ran.err
    assert deployq(project, "three", DEPLOYQ_PLUGINS="three").code == 0


# ---------------------------------------------------------------- plugins of the project


@pytest.fixture
def own(project: Project) -> Project:
    """A project with a plugin of its own, which leaves a file where it was run."""
    text = GOOD.format(name="ours").replace("\n    ", "\n")
    project.write("ours.py", f"{text}\nopen('was-run', 'w').close()\n")
    config = (project.folder / "deployq.toml").read_text()
    project.write("deployq.toml", f'{config}[plugins]\npaths = ["ours.py"]\n')
    return project


def was_run(project: Project) -> bool:
    mark = project.folder / "was-run"
    found = mark.exists()
    mark.unlink(missing_ok=True)
    return found


def test_without_a_yes_it_is_not_run(own: Project) -> None:
    ran = deployq(own, "plan", "tiny", "--targets", "box")
    assert ran.code == 0
    assert "nobody has said yes to running this file" in ran.err
    assert "deployq plugins allow ours.py" in ran.err
    assert not was_run(own)
    assert deployq(own, "plugins", "allow", "ours.py").code == 0
    assert "nobody" not in deployq(own, "plan", "tiny", "--targets", "box").err
    assert was_run(own)
    own.write("ours.py", (own.folder / "ours.py").read_text() + "# changed\n")
    assert "nobody has said yes" in deployq(own, "plan", "tiny", "--targets", "box").err
    assert not was_run(own)


def test_the_yes_is_for_one_path(own: Project) -> None:
    assert deployq(own, "plugins", "allow", "ours.py").code == 0
    config = (own.folder / "deployq.toml").read_text()
    own.write("deployq.toml", config.replace("ours.py", "other.py"))
    own.write("other.py", (own.folder / "ours.py").read_text())
    assert "nobody has said yes" in deployq(own, "plan", "tiny", "--targets", "box").err
    assert not was_run(own)


def test_a_folder_or_no_file_is_refused(own: Project) -> None:
    (own.folder / "package").mkdir()
    ran = deployq(own, "plugins", "allow", "package")
    assert (ran.code, "is no Python file" in ran.err) == (2, True)
    (own.folder / "ours.py").unlink()
    ran = deployq(own, "plan", "tiny", "--targets", "box")
    assert ran.code == 0
    assert "ours.py can't be read: No such file" in ran.err


def on_a_terminal(project: Project, answer: str, **env: str) -> str:
    """What a command that shows a plan says to somebody who answers its question."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "deployq", "plan", "tiny", "--targets", "box"],
        cwd=project.folder,
        env=project.environment(PYTHONPATH=str(project.folder / "site"), **env),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said, deadline = "", time.monotonic() + 120
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # Linux's way to say that nobody is at the other end
            break
        if not chunk:
            break
        said += chunk.decode()
        if "[y/N]" in said and answer:
            os.write(ours, f"{answer}\n".encode())
            answer = ""
    os.close(ours)
    assert child.wait(60) == 0, said
    return said


def test_somebody_is_asked_once(own: Project) -> None:
    said = on_a_terminal(own, "n")
    assert "wants to run the plugin ours.py" in said
    assert not was_run(own)
    on_a_terminal(own, "y")
    assert was_run(own)
    assert "wants to run" not in on_a_terminal(own, "")
    assert was_run(own)


def test_nobody_is_asked_in_ci(own: Project) -> None:
    said = on_a_terminal(own, "y", CI="true")
    assert "[y/N]" not in said
    assert "deployq plugins allow" in said
    assert not was_run(own)


# ---------------------------------------------------------------- plugins that hang

HANGS = {
    "on import": "import time\nwhile True:\n    time.sleep(1)\n",
    "and takes Ctrl-C for nothing": (
        "import time\nwhile True:\n    try:\n        time.sleep(100)\n"
        "    except BaseException:\n        pass\n"
    ),
    "when asked": (
        "import time\nfrom deployq import hookimpl\n@hookimpl\ndef deployq_profilers():\n"
        "    time.sleep(1000)\n"
    ),
}


@pytest.mark.parametrize("how", HANGS)
def test_one_that_hangs_is_named_and_can_be_left(project: Project, how: str) -> None:
    install(project.folder / "site", "hangs", HANGS[how])
    child = project.start("-q", "plugins", PYTHONPATH=str(project.folder / "site"))
    assert child.stderr
    with contextlib.ExitStack() as stack:
        stack.callback(child.kill)
        assert select.select([child.stderr], [], [], 60)[0], "nothing was said"
        assert "plugin 'hangs'" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=1)
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 130
    child.communicate()

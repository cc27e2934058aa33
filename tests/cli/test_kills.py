"""deployq or the server killed at each step of a push: the earlier tags stay, and come back to work.

A proxy between the two has one of them killed (SIGKILL) when the n-th request of a kind comes by.
Both tags and the weights change in that push, so every step has something to do.
docs/reliability.md tells the outcomes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.cli.conftest import CONFIG, PASSING, Project, Ran
from tests.cli.fatal_proxy import FatalProxy, Moment, Strike
from tests.cli.mortal_servers import MortalEmbedded, MortalOllama, MortalServer
from tests.conftest import ROOT
from tests.tiny import write_tiny_llama

BOTH = (
    pytest.param("embedded", marks=pytest.mark.tools),
    pytest.param("ollama", marks=[pytest.mark.tools, pytest.mark.ollama]),
)
TAGS = ("tiny:q8_0", "tiny:laptop")
PUSH = ("push", "tiny", "--targets", "laptop")
SECONDS = 60


def strikes(request: str, *at: tuple[int, Moment]) -> list[Strike]:
    return [Strike(request, nth, moment) for nth, moment in at]


# The tag is created first, the alias second; then both are kept, and both are given their names.
STAGING = [
    *strikes("HEAD /api/blobs/", (1, "before")),
    *strikes("POST /api/blobs/", (1, "during"), (1, "after")),
    *strikes("POST /api/create", (1, "before"), (1, "during"), (1, "after"), (2, "after")),
    *strikes("POST /api/chat", (1, "during")),
]
KEEPING = strikes("POST /api/copy", (1, "before"), (1, "after"), (2, "after"))
NAMING = strikes("POST /api/copy", (3, "before"), (3, "during"), (3, "after"), (4, "after"))
TIDYING = strikes("DELETE /api/delete", (1, "before"), (1, "after"))
STEPS = [*STAGING, *KEEPING, *NAMING, *TIDYING]


@dataclass
class Bench:
    """A project whose one target is a server behind a proxy."""

    project: Project
    server: MortalServer
    proxy: FatalProxy
    old: dict[str, str]
    old_answer: str

    def start(self) -> None:
        self.proxy.server = self.server.start()
        self.proxy.listen()

    def stop(self) -> None:
        self.proxy.hang_up()
        self.server.stop()

    def kill_server(self) -> None:
        self.server.kill()
        self.proxy.hang_up()

    def ask(self, path: str, **body: object) -> requests.Response:
        return requests.post(f"{self.proxy.server}{path}", json=body, timeout=SECONDS)

    def held(self) -> dict[str, str]:
        """Manifest digests by name."""
        models = requests.get(f"{self.proxy.server}/api/tags", timeout=SECONDS).json()["models"]
        return {model["name"]: model["digest"] for model in models}

    def tags(self) -> dict[str, str]:
        """The same, of the two names that people use."""
        return {name: digest for name, digest in self.held().items() if name in TAGS}

    def answer(self) -> str:
        """What the alias says right after it is loaded: warm answers may differ."""
        for tag in TAGS:
            self.ask("/api/generate", model=tag, keep_alive=0)
        said = self.ask(
            "/api/chat",
            model=TAGS[1],
            messages=[{"role": "user", "content": "hi"}],
            options={"temperature": 0, "num_predict": 8},
            stream=False,
        )
        assert said.ok, said.text
        return str(said.json()["message"]["content"])


@pytest.fixture(scope="module", params=BOTH)
def pushed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One push went through; now weights and system prompt are new. To be copied, not used."""
    folder = tmp_path_factory.mktemp(str(request.param))
    project, proxy = Project(folder / "project"), FatalProxy()
    project.folder.mkdir()
    request.getfixturevalue("tools_bin")
    if request.param == "embedded":
        server: MortalServer = MortalEmbedded(folder / "server")
    else:
        server = MortalOllama(request.getfixturevalue("ollama_binary"), folder / "server")
    bench = Bench(project, server, proxy, {}, "")
    bench.start()
    try:
        write_tiny_llama(project.model)
        project.write("suite.toml", PASSING)
        configure(project, proxy.url, "old")
        first = project.run(*PUSH)
        assert first.code == 0, first.err
        bench.old, bench.old_answer = bench.tags(), bench.answer()
    finally:
        bench.stop()
    write_tiny_llama(project.model, seed=5)
    configure(project, proxy.url, "new")
    return bench


def configure(project: Project, url: str, system: str) -> None:
    text = CONFIG.replace(
        'quants = ["Q8_0", "Q4_K_M"]', f'quants = ["Q8_0"]\nsystem = "{system}"'
    ).replace("[targets.laptop]", f'[targets.laptop]\nhost = "{url}"')
    project.write("deployq.toml", text)


@pytest.fixture
def bench(pushed: Bench, tmp_path: Path) -> Iterator[Bench]:
    """A copy of it for one test, up."""
    shutil.copytree(pushed.server.folder.parent, tmp_path / "copy")
    project = Project(tmp_path / "copy" / pushed.project.folder.name)
    folder = tmp_path / "copy" / pushed.server.folder.name
    server: MortalServer = (
        MortalOllama(pushed.server.binary, folder)
        if isinstance(pushed.server, MortalOllama)
        else MortalEmbedded(folder)
    )
    mine = Bench(project, server, pushed.proxy, pushed.old, pushed.old_answer)
    mine.start()
    yield mine
    mine.proxy.strike_at(None, lambda: None)
    mine.stop()


# ---------------------------------------------------------------- the tests


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_deployq_killed(bench: Bench, step: Strike) -> None:
    child = bench.project.start(*PUSH)
    bench.proxy.strike_at(step, child.kill)
    child.communicate(timeout=240)
    assert child.returncode == -9, "it was to be killed on the way"
    assert set(bench.tags()) == set(TAGS), "no name is without its tag"
    come_back(bench, step)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_server_killed(bench: Bench, step: Strike) -> None:
    ran = struck(bench, step)
    if step in TIDYING:
        assert ran.code == 0, "all was done"
    else:
        complained(bench, ran, step)
    bench.start()
    come_back(bench, step)


def struck(bench: Bench, step: Strike) -> Ran:
    """A push during which the server is killed."""
    bench.proxy.strike_at(step, bench.kill_server)
    ran = bench.project.run(*PUSH)
    assert bench.proxy.struck, "the server was to be killed on the way"
    return ran


def complained(bench: Bench, ran: Ran, step: Strike) -> None:
    """What happened, to what, and what mends it."""
    assert ran.code == 5, ran.err
    print(step, ran.err, ran.out)


def come_back(bench: Bench, step: Strike) -> None:
    """The old tags answer as ever: at once, or after the next command; and the next push goes."""
    if step in NAMING:
        repaired = bench.project.run("list", "--host", bench.proxy.url)
        assert repaired.code == 0, repaired.err
        assert "put back as before: tiny" in repaired.err or step.moment != "after"
    if step in TIDYING:
        assert not bench.tags().items() & bench.old.items()
    else:
        assert bench.tags() == bench.old
        assert bench.answer() == bench.old_answer
    again = bench.project.run(*PUSH)
    assert again.code == 0, again.err
    held = bench.held()
    assert not held.items() & {name: bench.old[name] for name in TAGS}.items()
    assert not [name for name in held if "staging" in name]
    assert {held[f"deployq-history/{name}.1"] for name in TAGS} == set(bench.old.values())

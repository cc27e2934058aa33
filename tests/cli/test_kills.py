"""deployq or the server killed at each step of a push: the earlier tags answer, the next push goes.

A proxy between the two has one of them killed (SIGKILL) when the n-th request of a kind comes by.
Both tags and the weights change in that push, so every step has something to do.
docs/reliability.md tells the outcomes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from deployq.tags.lockfile import Lockfile
from tests.cli.conftest import CONFIG, PASSING, Project
from tests.cli.fatal_proxy import FatalProxy, Moment, Strike
from tests.cli.mortal_servers import MortalEmbedded, MortalOllama, MortalServer
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
    *strikes("POST /api/blobs/", (1, "during")),
    *strikes("POST /api/create", (1, "during"), (1, "after"), (2, "after")),
    *strikes("RENDER /api/chat", (1, "before")),
    *strikes("POST /api/chat", (1, "during")),
]
KEEPING = strikes("POST /api/copy", (1, "during"), (1, "after"), (2, "after"))
NAMING = strikes("POST /api/copy", (3, "during"), (3, "after"), (4, "after"))
TIDYING = strikes("DELETE /api/delete", (1, "before"), (1, "after"))
STEPS = [*STAGING, *KEEPING, *NAMING, *TIDYING]

# What the server writes at a step, and what is left of that file if it dies while it does.
CUT = b'{"schemaVersion":2,"mediaType":"applic'
LEFT = [
    (STAGING[2], "deployq-staging/tiny/q8_0.{push}", CUT),
    (STAGING[2], "deployq-staging/tiny/in-use.{push}", CUT),
    (STAGING[2], "deployq-staging/tiny/in-use.{push}", b""),
    (KEEPING[0], "deployq-history/tiny/q8_0.1", b""),
    (KEEPING[0], "deployq-history/tiny/q8_0.1", CUT),
    (NAMING[0], "library/tiny/q8_0", b""),
    (NAMING[0], "library/tiny/q8_0", CUT),
    (NAMING[2], "library/tiny/laptop", CUT),
]


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
    killed(bench, step, *PUSH)
    assert set(bench.tags()) == set(TAGS), "no name is without its tag"
    come_back(bench, step)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_server_killed(bench: Bench, step: Strike) -> None:
    push_struck(bench, step)
    bench.start()
    come_back(bench, step)


@pytest.mark.parametrize("pushed", BOTH[1:], indirect=True)  # the other writes it at one stroke
@pytest.mark.parametrize(("step", "name", "left"), LEFT, ids=str)
def test_server_killed_while_it_wrote_a_manifest(
    bench: Bench, step: Strike, name: str, left: bytes
) -> None:
    """The window is too small to hit: the file is cut once the server is dead."""
    push_struck(bench, step)
    manifests = bench.server.folder / "models" / "manifests"
    (journal,) = (bench.project.folder / "cache" / "journal").glob("*.json")
    written = manifests / "registry.ollama.ai" / name.format(push=journal.stem)
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_bytes(left)
    bench.start()
    assert len(bench.tags()) == (1 if name.startswith("library") else 2), "it lists no cut one"
    come_back(bench, step)
    for manifest in manifests.rglob("*/tiny/*"):
        assert json.loads(manifest.read_bytes())["layers"], f"{manifest} is whole again"
    assert not list((bench.project.folder / "cache" / "journal").iterdir())


def test_what_was_mended_by_hand_stays(bench: Bench) -> None:
    """Killed between two names; then somebody gives the first one something of their own."""
    killed(bench, NAMING[1], *PUSH)
    by_hand = bench.ask(
        "/api/create", model=TAGS[0], **{"from": TAGS[1]}, system="by hand", stream=False
    )
    assert by_hand.ok, by_hand.text
    mended = bench.tags()[TAGS[0]]
    ran = bench.project.run("list", "--host", bench.proxy.url)
    assert ran.code == 0, ran.err
    held = f"{TAGS[0]} holds sha256:{mended[:12]}, which somebody else put there since"
    assert held in ran.err
    assert bench.tags() == {TAGS[0]: mended, TAGS[1]: bench.old[TAGS[1]]}
    assert "somebody else" not in bench.project.run("list", "--host", bench.proxy.url).err
    again = bench.project.run(*PUSH)
    assert again.code == 0, again.err
    assert {mended, *bench.old.values()} <= set(bench.held().values()), "each is a generation"


def test_another_project_puts_back_what_a_killed_push_left(bench: Bench, tmp_path: Path) -> None:
    """By another spelling of the address, with a HOME and a cache of its own."""
    killed(bench, NAMING[1], *PUSH)
    assert bench.tags().items() - bench.old.items(), "one name holds the new content"
    other = Project(tmp_path / "other")
    other.folder.mkdir()
    url = bench.proxy.server.replace("127.0.0.1", "localhost")
    ran = other.run("list", "--host", url)
    assert ran.code == 0, ran.err
    assert "did not come to its end; put back as before: tiny:q8_0" in ran.err
    assert bench.tags() == bench.old
    assert not [name for name in bench.held() if "staging" in name]
    ran = bench.project.run("list", "--host", bench.proxy.url)
    assert (ran.code, "none of tiny:q8_0, tiny:laptop had been changed" in ran.err) == (0, True)
    assert bench.project.run(*PUSH).code == 0


def test_a_rollback_killed_before_the_journal_was_closed_is_done(bench: Bench) -> None:
    """To a content that the lockfile does not know; so its entries go."""
    project, url = bench.project, bench.proxy.url
    assert project.run(*PUSH).code == 0
    new = bench.tags()
    lockfile = project.folder / "deployq.lock"
    lockfile.write_text(Lockfile(Lockfile.load(lockfile).entries).dumps())
    rollback = ("rollback", *TAGS, "--host", url)
    killed(bench, NAMING[2], *rollback)
    (journal,) = (project.folder / "cache" / "journal").glob("*.json")
    entry = journal.read_bytes()
    assert project.run("list", "--host", url).code == 0
    assert bench.tags() == new, "killed on the way it is undone"
    ran = project.run(*rollback)
    assert ran.code == 0, ran.err
    journal.write_bytes(entry)
    ran = project.run("list", "--host", url)
    assert (ran.code, "put back" in ran.err) == (0, False)
    assert (bench.tags(), journal.exists()) == (bench.old, False)
    assert not Lockfile.load(lockfile).entries


def killed(bench: Bench, step: Strike, *command: str) -> None:
    """A command that is killed on the way."""
    child = bench.project.start(*command)
    bench.proxy.strike_at(step, child.kill)
    _, said = child.communicate(timeout=240)
    assert child.returncode == -9, said


def push_struck(bench: Bench, step: Strike) -> None:
    """A push during which the server is killed; it says what happened, to what, what mends it."""
    bench.proxy.strike_at(step, bench.kill_server)
    ran = bench.project.run(*PUSH)
    assert bench.proxy.struck, ran.err
    if step in TIDYING:
        assert ran.code == 0, "all was done"
        return
    assert ran.code == 5, ran.err
    assert "Traceback" not in ran.err
    assert f"error: laptop: tiny:{'laptop' if step == STAGING[4] else 'q8_0'}: " in ran.err
    assert bench.proxy.url in ran.err
    if step in STAGING:
        assert "try: start " in ran.err
    else:
        assert "try: tiny:q8_0, tiny:laptop may be half changed" in ran.err
        assert "deployq push tiny" in ran.err


def come_back(bench: Bench, step: Strike) -> None:
    """The old tags answer as ever: at once, or after the next command; and the next push goes."""
    if step in NAMING:
        repaired = bench.project.run("list", "--host", bench.proxy.url)
        assert repaired.code == 0, repaired.err
        assert "put back as before: " in repaired.err
    if step in TIDYING:
        assert not bench.tags().items() & bench.old.items(), "all was done"
    else:
        assert bench.tags() == bench.old
        assert bench.answer() == bench.old_answer
    again = bench.project.run(*PUSH)
    assert again.code == 0, again.err
    held = bench.held()
    assert not bench.tags().items() & bench.old.items()
    assert not [name for name in held if "staging" in name]
    assert [held[f"deployq-history/{name}.1"] for name in TAGS] == [bench.old[t] for t in TAGS]

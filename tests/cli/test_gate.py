"""The gate of a push: it stops a quant that is too low, and takes the next better that holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployq.cli.main import run
from deployq.plan.catalogue import CATALOGUE
from tests.cli.test_quality import SUITE, TEXTS

# With six prompts not even the loss of four is shown: twelve tell Q2_K from full precision.
MORE_TEXTS = (
    "New task: Compare printer offers",
    "Add a task: Pay the garage rent before March 1, it's urgent",
    "Please create a task: Renew the parking permit, due the 15th",
    "Add a high priority task: Migrate the billing database by the end of the month",
    "I need to order 24 chairs for the spring workshop by next Tuesday.",
    "Remind me to water the plants on Monday",
)

CONFIG = """
cache = "cache"
[models.task-api]
source = "{source}"
suite = "six.toml"
system = "Answer with one JSON object."
parameters = {{ temperature = 0, num_ctx = 512, num_thread = 1 }}
[targets.gated]
memory = "16GB"
kind = "ram"
context = 512
{host}
quants = ["Q2_K"]
gate = {{ escalate = true }}
[targets.open]
memory = "16GB"
kind = "ram"
context = 256
{host}
quants = ["Q2_K"]
[runtime]
name = "embedded"
dir = "runtime"
"""


@dataclass(frozen=True)
class Here:
    """A folder with the sample model, two targets, and a server for both."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        return code, *self.capsys.readouterr()

    def push(self, targets: str = "gated", *more: str) -> tuple[int, dict[str, Any]]:
        code, out, err = self.run("-q", "push", "task-api", "-t", targets, "--json", *more)
        assert out, err
        return code, json.loads(out)

    def tags(self) -> list[str]:
        listed = json.loads(self.run("-q", "list", *self.host, "--json")[1])["tags"]
        return sorted(tag["tag"] for tag in listed)

    @property
    def host(self) -> Sequence[str]:
        found = [line for line in self.config.splitlines() if line.startswith("host = ")]
        return ["--host", found[0].split('"')[1]] if found else []

    @property
    def config(self) -> str:
        return (self.folder / "deployq.toml").read_text()

    def change(self, old: str, new: str) -> None:
        assert old in self.config
        (self.folder / "deployq.toml").write_text(self.config.replace(old, new))


@pytest.fixture(
    params=[
        pytest.param("embedded", marks=pytest.mark.tools),
        pytest.param("ollama", marks=[pytest.mark.ollama, pytest.mark.tools]),
    ]
)
def here(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tools_bin: Path,
    sample_gguf: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Here]:
    assert tools_bin.is_dir()
    url = request.getfixturevalue("real_ollama").url if request.param == "ollama" else ""
    host = f'host = "{url}"' if url else ""
    (tmp_path / "deployq.toml").write_text(CONFIG.format(source=sample_gguf, host=host))
    prompts = [
        f'[[prompts]]\nname = "p{n}"\nuser = "{text}"\n'
        for n, text in enumerate((*TEXTS, *MORE_TEXTS))
    ]
    (tmp_path / "six.toml").write_text("threshold = 0\n" + SUITE + "\n".join(prompts))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPLOYQ_CACHE_DIR", str(tmp_path / "cache"))
    found = Here(tmp_path, capsys)
    yield found
    for tag in found.tags():
        assert found.run("-q", "remove", tag, *found.host, "-y")[0] == 0


def test_the_gate_stops_a_quant_moves_up_and_promotes_one_that_holds(here: Here) -> None:
    code, report = here.push()
    (target,) = report["targets"]
    assert code == 0, target["reason"]
    assert (target["planned"], target["status"]) == ("Q2_K", "done")
    chosen = target["chosen"]
    tried = [verdict["quant"] for verdict in target["gate"]]
    ranks = [CATALOGUE[quant].rank for quant in tried]
    assert tried[0] == "Q2_K"
    assert tried[-1] == chosen
    assert ranks == sorted(set(ranks))  # better and better, none twice
    assert [verdict["ok"] for verdict in target["gate"]] == [False] * (len(tried) - 1) + [True]
    assert here.tags() == ["task-api:gated", f"task-api:{chosen.lower()}"]
    tags = {tag["quant"]: tag for tag in target["tags"]}
    assert tags["Q2_K"]["status"] == "skipped"
    assert f"gave way to {chosen}" in tags["Q2_K"]["reason"]
    rise = tags["Q2_K"]["quality"]["agreement"]["perplexity_ratio"]["value"]
    assert rise > tags[chosen]["quality"]["agreement"]["perplexity_ratio"]["value"]
    _again(here, chosen)


def _again(here: Here, chosen: str) -> None:
    """What was settled stays settled, until something changes."""
    lock = (here.folder / "deployq.lock").read_text()
    assert 'planned = "Q2_K"' in lock
    assert f'escalated = "{chosen}"' in lock
    assert "perplexity_ratio = " in lock
    artifacts = sorted((here.folder / "cache" / "artifacts").rglob("*.gguf"))
    code, report = here.push()
    assert (code, report["targets"][0]["status"]) == (0, "unchanged")
    assert (report["targets"][0]["planned"], report["targets"][0]["chosen"]) == ("Q2_K", chosen)
    assert (here.folder / "deployq.lock").read_text() == lock
    assert sorted((here.folder / "cache" / "artifacts").rglob("*.gguf")) == artifacts
    assert here.push("gated", "--locked")[0] == 0
    assert here.run("-q", "verify", "--locked")[0] == 0
    assert here.run("-q", "status")[0] == 0
    # Once it is removed, the lockfile knows nothing of it: it is settled anew.
    assert here.run("-q", "remove", f"task-api:{chosen.lower()}", *here.host, "-y")[0] == 0
    code, report = here.push()
    assert (code, report["targets"][0]["chosen"]) == (0, chosen)
    assert [verdict["ok"] for verdict in report["targets"][0]["gate"]][-1]
    # A gate that asks for less begins anew from what the plan says.
    lax = "gate = { perplexity_fail = 99, checks_lost = 1, json_validity = false }"
    here.change("gate = { escalate = true }", lax)
    code, report = here.push()
    assert (code, report["targets"][0]["chosen"]) == (0, "Q2_K")
    assert report["targets"][0]["planned"] is None


def test_without_escalation_nothing_is_promoted(here: Here) -> None:
    here.change("escalate = true", "escalate = false")
    code, report = here.push("gated,open")
    gated, free = report["targets"]
    assert code == 4
    assert (gated["status"], gated["exit_code"], gated["alias"]) == ("failed", 4, None)
    assert "the gate says no; task-api:q2_k: " in gated["reason"]
    assert "deployq recommend task-api --targets gated" in gated["hint"]
    # The other target asks for no gate: its tag is promoted, with its own alias alone.
    assert (free["status"], free["gate"]) == ("done", [])
    assert here.tags() == ["task-api:open", "task-api:q2_k"]


def test_where_nothing_better_fits_the_report_says_what_would_be_needed(here: Here) -> None:
    plan = json.loads(here.run("-q", "plan", "task-api", "-t", "gated", "--json")[1])
    needed = plan["targets"][0]["candidates"][0]["total_bytes"]
    here.change('[targets.gated]\nmemory = "16GB"', f'[targets.gated]\nmemory = "{needed + 9}B"')
    here.change("gate = { escalate = true }", 'reserve = "8B"\ngate = { escalate = true }')
    code, report = here.push()
    assert code == 4
    assert here.tags() == []
    assert " would need " in report["targets"][0]["reason"]
    assert "gated has " in report["targets"][0]["reason"]


def test_a_tag_among_several_gives_way_and_all_go_together(here: Here) -> None:
    here.change('quants = ["Q2_K"]\ngate', 'quants = ["Q4_K_M", "Q2_K"]\ngate')
    code, report = here.push()
    (target,) = report["targets"]
    assert code == 0
    assert (target["chosen"], target["planned"]) == ("Q4_K_M", None)
    kept = [tag["quant"] for tag in target["tags"] if tag["status"] == "done"]
    assert kept[0] == "Q4_K_M"
    assert "Q2_K" not in kept
    names = [f"task-api:{quant.lower()}" for quant in kept]
    assert here.tags() == sorted(["task-api:gated", *names])


def test_a_gate_that_comes_later_judges_what_stands_there(here: Here) -> None:
    here.change('quants = ["Q2_K"]\ngate = { escalate = true }', 'quants = ["Q4_K_M"]')
    assert here.push()[0] == 0
    here.change('quants = ["Q4_K_M"]', 'quants = ["Q4_K_M"]\ngate = { agreement = 0.5 }')
    code, report = here.push()
    (target,) = report["targets"]
    assert code == 0
    assert [rule["rule"] for rule in target["gate"][0]["rules"]][-1] == "agreement"
    assert target["tags"][0]["status"] == "unchanged"
    assert target["tags"][0]["quality"] is not None
    assert target["alias"]["status"] == "done"

"""deployq quality, recommend and baseline, end to end on the embedded runtime."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from deployq.cli.main import run

pytestmark = pytest.mark.tools

SUITE = """
name = "six"
options = { num_predict = 64 }
check = { json = true, stops = true }
"""
TEXTS = (
    "Create a task: Review quarterly report by Friday",
    "Remind me to call the dentist tomorrow",
    "Add a task: Pay the garage rent before March 1, it's urgent",
    "mark 12 as done",
    "What is on my list for Friday at 5pm?",
    "Delete task 9",
)
CONFIG = """
cache = "cache"
[models.task-api]
source = "{source}"
suite = "six.toml"
system = "Answer with one JSON object."
parameters = {{ temperature = 0, num_ctx = 512, num_thread = 1 }}
[targets.laptop]
memory = "16GB"
kind = "ram"
context = 512
[targets.none]
memory = "1MB"
reserve = "1kB"
kind = "ram"
context = 512
[runtime]
name = "embedded"
dir = "runtime"
"""


@pytest.fixture
def project(
    tmp_path: Path, tools_bin: Path, sample_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    assert tools_bin.is_dir()
    (tmp_path / "deployq.toml").write_text(CONFIG.format(source=sample_gguf))
    prompts = [f'[[prompts]]\nname = "p{n}"\nuser = "{text}"\n' for n, text in enumerate(TEXTS)]
    (tmp_path / "six.toml").write_text(SUITE + "\n".join(prompts))
    monkeypatch.chdir(tmp_path)
    # A command hands its cache down in the environment, which the next one here would find.
    monkeypatch.setenv("DEPLOYQ_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def test_quality_then_recommend_then_a_baseline_that_travels(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["-q", "quality", "task-api", "--quants", "Q8_0,Q4_K_M,Q2_K", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == 4  # Q2_K does not hold
    tags = {tag["quant"]: tag for tag in found["tags"]}
    assert list(tags) == ["Q8_0", "Q4_K_M", "Q2_K"]
    assert [tag["holds"] for tag in tags.values()] == [True, True, False]
    assert "perplexity" in tags["Q2_K"]["why"]
    assert found["baseline"]["quant"] == "F16"
    assert found["baseline"]["engine"] == "embedded"
    kl = [tag["agreement"]["kl_lower_bound"]["value"] for tag in tags.values()]
    assert kl == sorted(kl)
    assert (
        tags["Q8_0"]["agreement"]["cost"]["tokens"]
        <= 1.2 * (tags["Q8_0"]["agreement"]["cost"]["plain_tokens"])
    )
    kept = next((project / ".deployq" / "runs").glob("*/quality.json"))
    document = json.loads(kept.read_text())
    assert document["model"] == "task-api"
    assert [one["name"] for one in document["prompts"]] == [f"p{n}" for n in range(6)]
    assert {one["name"] for one in document["plan"]["targets"]} == {"laptop", "none"}
    page = kept.with_name("report.html").read_text()
    assert "<h1><bdi>Q4_K_M is the smallest that holds; Q2_K does not</bdi></h1>" in page
    _recommend(capsys)
    _baseline(project, capsys)


def _recommend(capsys: pytest.CaptureFixture[str]) -> None:
    quants = "Q8_0,Q6_K,Q4_K_M,Q2_K"
    asked = ["-q", "recommend", "task-api", "--targets", "laptop", "--quants", quants]
    code = run([*asked, "--json", "--junit", "r.xml"])
    document = json.loads(capsys.readouterr().out)
    found = document["targets"][0]
    assert code == 0
    kept = max(Path(".deployq", "runs").glob("*/recommendation.json"))
    assert json.loads(kept.read_text()) == document
    assert "Q4_K_M for laptop" in kept.with_name("report.html").read_text()
    assert found["chosen"] == "Q4_K_M"
    assert len(found["tags"]) <= 3
    judged = {tag["quant"]: tag["holds"] for tag in found["tags"]}
    assert judged["Q4_K_M"] is True
    assert judged["Q2_K"] is False
    by = "Q4_K_M holds by its answer perplexity; smaller ones judged: 1 of 1, none holds; Q2_K: "
    assert found["why"].startswith(by)
    cases = [case.get("name") for case in ET.parse("r.xml").iter("testcase")]
    assert "takes Q4_K_M" in cases
    assert run(["-q", "recommend", "task-api", "--targets", "none", "--json"]) == 3
    capsys.readouterr()
    code = run(["-q", "recommend", "task-api", "--targets", "laptop", "--quants", "Q2_K"])
    assert code == 4
    assert "nothing" in capsys.readouterr().out


def test_a_baseline_is_recorded_again_where_the_prompts_change(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the quant would be blamed for a new system text."""

    def baseline() -> str:
        assert run(["quality", "task-api", "--quants", "Q8_0", "--json"]) == 0
        captured = capsys.readouterr()
        said.append(captured.err)
        digest: str = json.loads(captured.out)["baseline"]["digest"]
        return digest

    said: list[str] = []
    first = baseline()
    assert baseline() == first
    config = project / "deployq.toml"
    config.write_text(config.read_text().replace("Answer with one", "Reply with one"))
    second = baseline()
    assert second != first
    assert "another template, system text or parameters: it is recorded again" in said[-1]
    assert baseline() == second
    assert "recorded again" not in said[-1]


def test_a_prompt_that_cannot_be_asked_fails_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = project / "six.toml"
    suite.write_text(
        suite.read_text() + '\n[[prompts]]\nname = "deep"\nuser = "Hm?"\nthink = true\n'
    )
    assert run(["quality", "task-api", "--quants", "Q8_0", "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["baseline"]["quant"] == "F16"
    assert document["baseline"]["prompts"] == 6
    (tag,) = document["tags"]
    (deep,) = (one for one in tag["checks"]["prompts"] if one["name"] == "deep")
    assert (deep["ok"], deep["baseline_ok"]) == (False, False)
    assert "think" in deep["failed"]["answered"]
    assert tag["checks"]["passed"] == 6
    assert tag["holds"]


def _baseline(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-q", "baseline", "task-api", "--export", "b.gz"]) == 0
    first = capsys.readouterr().out
    assert "6 prompts" in first
    for file in (project / "cache" / "baselines").iterdir():
        file.unlink()
    assert run(["-q", "baseline", "task-api", "--import", "b.gz"]) == 0
    assert capsys.readouterr().out == first
    whole = (project / "b.gz").read_bytes()
    (project / "b.gz").write_bytes(whole[:-40])
    assert run(["-q", "baseline", "task-api", "--import", "b.gz"]) == 1
    assert "is no baseline" in capsys.readouterr().err


def test_markdown_and_terminal(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.is_dir()
    assert run(["-q", "quality", "task-api", "--quants", "Q8_0", "--markdown"]) == 0
    markdown = capsys.readouterr().out
    assert "| Q8\\_0 |" in markdown
    assert markdown.count("\n|") == 2 + 1
    assert run(["-q", "quality", "task-api", "--quants", "Q8_0"]) == 0
    shown = capsys.readouterr().out
    assert "against F16: 6 prompts of six" in shown
    assert "noise" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.ollama
@pytest.mark.timeout(1200)
def test_the_smallest_that_holds_on_300_prompts_of_a_real_ollama(
    project: Path,
    request: pytest.FixtureRequest,
    sample_gguf: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The chosen one is shown to be not worse at its margin; no smaller one is."""
    url = request.getfixturevalue("real_ollama").url
    config = project / "deployq.toml"
    config.write_text(
        config.read_text().replace("[targets.none]", f'host = "{url}"\n[targets.none]')
    )
    suite = str(sample_gguf.parent / "suite-full.jsonl")
    quants = "Q8_0,Q6_K,Q5_K_M,Q3_K_M,Q2_K"
    asked = ["-q", "recommend", "task-api", "-t", "laptop", "--quants", quants, "--suite", suite]
    assert run([*asked, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["targets"]
    tags = {tag["quant"]: tag for tag in found["tags"]}
    chosen = tags[found["chosen"]]
    decided = next(d for d in chosen["decisions"] if d["what"] == chosen["decided_by"])
    assert (chosen["call"], decided["call"], decided["prompts"]) == ("not worse", "not worse", 300)
    assert decided["loss"]["high"] < decided["margin"]
    assert decided["loss"]["confidence"] == pytest.approx(1 - 0.05 / 5)  # one of five is picked
    smaller = found["considered"][found["considered"].index(found["chosen"]) + 1 :]
    assert smaller
    assert not any(tags[quant]["holds"] for quant in smaller)
    assert tags["Q2_K"]["call"] == "worse"

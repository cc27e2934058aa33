"""The main job as a user types it: push, look, push again, break it, take it away."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import ollama
import pytest
import requests

from deployq import Endpoint
from tests.cli.conftest import CONFIG, FAILING, PASSING, Project

pytestmark = pytest.mark.tools

TAGS = ["tiny:box", "tiny:laptop", "tiny:q4_k_m", "tiny:q8_0"]


@pytest.fixture
def pushed(project: Project, tools_bin: Path) -> Project:
    assert tools_bin
    ran = project.run("push", "tiny", "--targets", "laptop,box")
    assert ran.code == 0, ran.err
    return project


def listed(project: Project, *more: str) -> dict[str, dict[str, Any]]:
    return {tag["tag"]: tag for tag in project.run("list", "--json", *more).json["tags"]}


def test_a_push_leaves_tags_aliases_lockfile_and_report(pushed: Project) -> None:
    tags = listed(pushed)
    assert sorted(tags) == TAGS
    assert tags["tiny:laptop"]["alias_of"] == "tiny:q4_k_m"
    assert tags["tiny:box"]["alias_of"] == "tiny:q8_0"
    assert tags["tiny:laptop"]["n_ctx"] == 512
    assert (tags["tiny:q8_0"]["passed"], tags["tiny:q8_0"]["total"]) == (1, 1)
    assert "tiny:q4_k_m" in (pushed.folder / "deployq.lock").read_text()
    (run,) = (pushed.folder / ".deployq" / "runs").iterdir()
    assert json.loads((run / "report.json").read_text())["exit_code"] == 0
    assert "<h1><bdi>Pushed Q8_0 and Q4_K_M</bdi></h1>" in (run / "report.html").read_text()
    shown = (run / "tiny-laptop.Modelfile").read_text()
    assert "PARAMETER num_ctx 512" in shown
    assert not [name for name in listed(pushed, "--all") if "staging" in name]


def test_artifacts_are_read_only_and_the_source_is_untouched(pushed: Project) -> None:
    artifacts = list((pushed.folder / "cache").rglob("*.gguf"))
    assert len(artifacts) == 2
    assert all(not path.stat().st_mode & 0o222 for path in artifacts)
    assert pushed.model.stat().st_nlink == 1


def test_a_second_push_does_nothing_and_says_so(pushed: Project) -> None:
    lock = (pushed.folder / "deployq.lock").read_bytes()
    ran = pushed.run("push", "tiny", "--targets", "laptop,box")
    assert ran.code == 0
    assert "nothing to do" in ran.out
    assert "tensors" not in ran.err
    assert (pushed.folder / "deployq.lock").read_bytes() == lock


def test_a_push_with_nothing_to_do_imports_little(pushed: Project) -> None:
    """What isn't imported takes no time; half a second is its limit (benchmarks/register_speed)."""
    ran = pushed.run("push", "tiny", "--targets", "laptop,box", PYTHONPROFILEIMPORTTIME="1")
    assert "nothing to do" in ran.out
    lines = ran.err.splitlines()
    modules = {line.split("|")[-1].strip() for line in lines if line.startswith("import time:")}
    assert {"deployq.cli.plan", "httpcore"} <= modules
    for unused in ("httpx", "jinja2", "jsonschema", "pygments", "requests", "ollama", "numpy"):
        assert unused not in modules


def test_what_changed_is_pushed_again_and_no_more(pushed: Project) -> None:
    pushed.write("deployq.toml", CONFIG.replace("context = 512", "context = 768"))
    report = pushed.run("push", "tiny", "--targets", "laptop,box", "--json").json
    laptop, box = report["targets"]
    assert laptop["alias"]["status"] == "done"
    assert {tag["status"] for tag in (*laptop["tags"], *box["tags"], box["alias"])} == {"unchanged"}
    assert listed(pushed)["tiny:laptop"]["n_ctx"] == 768


def test_a_tag_that_somebody_took_away_comes_back(pushed: Project) -> None:
    lock = pushed.folder / "deployq.lock"
    before = lock.read_text()
    assert pushed.run("remove", "tiny:q8_0", "-y").code == 0
    assert "tiny:q8_0" not in listed(pushed)
    lock.write_text(before)
    assert pushed.run("push", "tiny", "--targets", "laptop,box").code == 0
    assert sorted(listed(pushed)) == TAGS


def test_a_failed_verification_leaves_the_earlier_tags(pushed: Project) -> None:
    before = {name: tag["manifest_digest"] for name, tag in listed(pushed, "--all").items()}
    pushed.write("suite.toml", FAILING)
    ran = pushed.run("push", "tiny", "--targets", "laptop,box")
    assert ran.code == 4
    assert "impossible" in ran.out
    assert "no model says this" in ran.out
    after = {name: tag["manifest_digest"] for name, tag in listed(pushed, "--all").items()}
    assert after == before


def test_show_verify_and_remove(pushed: Project) -> None:
    shown = pushed.run("show", "tiny:laptop", "--json").json
    assert shown["parameters"]["num_ctx"] == 512
    assert "PARAMETER num_ctx 512" in pushed.run("show", "tiny:laptop", "--modelfile").out
    verified = pushed.run("verify", "tiny", "--json")
    assert verified.code == 0
    assert [v["tag"] for v in verified.json["tags"]] == ["tiny:q4_k_m", "tiny:q8_0"]
    hard = pushed.write("hard.toml", FAILING)
    assert pushed.run("verify", "tiny:q8_0", "--suite", str(hard)).code == 4
    assert pushed.run("verify", "tiny:nope").code == 2
    removed = pushed.run("remove", "tiny:laptop", "tiny:q4_k_m", "-y", "--json").json["removed"]
    assert removed[0]["freed_bytes"] < 10_000, "its weights are still those of tiny:q4_k_m"
    assert "tiny:q4_k_m" in removed[0]["held_by"]
    weights = removed[1]["freed_bytes"] + removed[1]["linked_bytes"]
    assert weights > 500_000 or "tiny:box" in removed[1]["held_by"]
    assert sorted(listed(pushed)) == ["tiny:box", "tiny:q8_0"]


def test_a_path_needs_no_configuration(project: Project, tools_bin: Path) -> None:
    assert tools_bin
    (project.folder / "deployq.toml").unlink()
    env = {"XDG_DATA_HOME": str(project.folder / "data"), "DEPLOYQ_RUNTIME": "embedded"}
    suite = ("--quants", "Q8_0", "--targets", "laptop", "--json")
    ran = project.run("push", str(project.model), *suite, **env)
    assert ran.code in (0, 4), ran.err  # random weights may not stop by themselves
    (target,) = ran.json["targets"]
    assert target["chosen"] == "Q8_0"
    assert target["tags"][0]["steps"][0]["step"] == "quantize"
    assert (project.folder / "home" / ".cache" / "deployq" / "artifacts").is_dir()


def test_dry_run_builds_nothing(project: Project) -> None:
    ran = project.run("push", "tiny", "--dry-run", "--json")
    assert ran.code == 0
    assert [target["name"] for target in ran.json["targets"]] == ["laptop", "box"]
    assert not (project.folder / "cache" / "artifacts").exists()
    assert not (project.folder / ".deployq").exists()


def test_ctrl_c_leaves_nothing_half_done(project: Project, tools_bin: Path) -> None:
    assert tools_bin
    many = "\n".join(f'[[prompts]]\nuser = "{n}"' for n in range(2000))
    project.write("suite.toml", f"options = {{ num_predict = 16 }}\ncheck.max_tokens = 16\n{many}")
    child = project.start("push", "tiny", "--targets", "box")
    artifacts = project.folder / "cache" / "artifacts"
    deadline = time.monotonic() + 60
    while not list(artifacts.rglob("artifact.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert listed(project, "--all") == {}
    project.write("suite.toml", PASSING)
    ran = project.run("push", "tiny", "--targets", "box", "--json")
    assert ran.code == 0
    (target,) = ran.json["targets"]
    assert {tag["steps"][0]["status"] for tag in target["tags"]} == {"reused"}


def test_two_pushes_at_once_share_server_and_artifacts(project: Project, tools_bin: Path) -> None:
    assert tools_bin
    children = [project.start("push", "tiny", "--targets", t, "--json") for t in ("laptop", "box")]
    outputs = [child.communicate(timeout=240) for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    assert sorted(listed(project)) == TAGS


def test_serve_answers_http_and_the_ollama_client(pushed: Project) -> None:
    child = pushed.start("serve")
    try:
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        names = {m["name"] for m in requests.get(f"{url}/api/tags", timeout=10).json()["models"]}
        assert names == set(TAGS)
        with ollama.Client(host=url) as client:
            answer = client.chat(
                "tiny:laptop",
                messages=[{"role": "user", "content": "hi"}],
                options={"num_predict": 3},
            )
        assert answer.done
        assert answer.eval_count is not None
        assert 0 < answer.eval_count <= 3
    finally:
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "Traceback" not in err
    with pytest.raises(requests.ConnectionError):
        _until_gone(url)


def _until_gone(url: str) -> None:
    for _ in range(50):
        requests.get(f"{url}/api/version", timeout=5)
        threading.Event().wait(0.2)


@pytest.mark.ollama
def test_the_same_push_on_a_real_ollama(
    project: Project, tools_bin: Path, real_ollama: Endpoint
) -> None:
    assert tools_bin
    project.write(
        "deployq.toml",
        CONFIG.replace('name = "embedded"\ndir = "."', 'name = "ollama"').replace("tiny]", "real]"),
    )
    env = {"OLLAMA_HOST": real_ollama.url}
    ran = project.run("push", "real", "--targets", "laptop,box", "--json", **env)
    assert ran.code == 0, ran.err
    with ollama.Client(host=real_ollama.url) as client:
        names = {model.model for model in client.list().models}
        assert client.generate("real:laptop", "hi", options={"num_predict": 2}).done
    assert {"real:laptop", "real:box", "real:q4_k_m", "real:q8_0"} <= names
    assert not [name for name in names if name and "staging" in name]
    again = project.run("push", "real", "--targets", "laptop,box", **env)
    assert "nothing to do" in again.out
    assert project.run("remove", "real", "real:laptop", "real:box", "-y", **env).code == 0
    loaded = requests.get(f"{real_ollama.url}/api/ps", timeout=10).json()["models"]
    assert not [model["name"] for model in loaded if model["name"].startswith("real:")]

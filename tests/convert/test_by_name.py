"""A training's folder on a hub: downloaded, converted, pushed, and pinned in the lockfile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Project
from tests.convert.conftest import SAMPLE
from tests.convert.test_trained_model import CONFIG
from tests.small_hub import COMMIT, Repository, small_hub

pytestmark = [pytest.mark.convert, pytest.mark.tools, pytest.mark.timeout(600)]

SUITE = """
options = { num_predict = 48 }
[[prompts]]
user = "Remind me to call mum"
check.json_equals = { action = "create_task", title = "call mum", priority = "normal" }
"""


def test_the_sample_from_a_hub(tmp_path: Path, python: Path) -> None:
    assert python.exists()
    project = Project(tmp_path)
    project.write("suite.toml", SUITE)
    project.write("deployq.toml", CONFIG.format(source="hf:org/task-api"))
    with small_hub() as hub:
        hub.repositories["org/task-api"] = Repository(SAMPLE / "model")
        where = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        pushed = project.run("push", "m", "--targets", "laptop", "--yes", "--json", **where)
        assert pushed.code == 0, pushed.err
        (target,) = pushed.json["targets"]
        assert [tag["passed"] for tag in target["tags"]] == [1]
        assert "tokens that the trained model is sure of" in pushed.err
        lock = (tmp_path / "deployq.lock").read_text(encoding="utf-8")
        assert f'source = "hf:org/task-api@{COMMIT}"' in lock
        hub.asked.clear()
        again = project.run("push", "m", "--targets", "laptop", "--locked", "--json", **where)
        assert again.code == 0, again.err
        assert [one["status"] for one in again.json["targets"]] == ["unchanged"]
        assert hub.asked == []
    project.write("suite.toml", SUITE.replace("call mum", "call dad", 1))
    found = project.run("diagnose", "m:q8_0", "--json", **where).json
    last = found["rungs"][-1]
    assert (found["cause"], last["name"], last["skipped"]) == ("model", "transformers", None)

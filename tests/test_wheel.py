"""The wheel carries everything: from a clean venv, outside the checkout, it does the job."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.installed import Installed
from tests.tiny import write_tiny_llama

TEMPLATES = [
    f"deployq/_templates/{name}"
    for name in ("Modelfile.j2", "report.html.j2", "compare.html.j2", "report.css")
]


def test_it_holds_the_core_the_plugins_the_templates_and_nothing_else(
    installed: Installed,
) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    plugins = ("converters", "llamacpp", "profilers", "runtimes", "unsloth")
    assert tops == {"deployq", *(f"deployq_{name}" for name in plugins)}
    assert "deployq_converters/runner/jobs.py" in names
    assert "deployq_unsloth/runner/jobs.py" in names
    assert "deployq/foreign/jobside/entrance.py" in names
    assert set(TEMPLATES) | {"deployq/py.typed"} <= set(names)
    assert {f"deployq/{p}__init__.pyi" for p in ("", "types/", "report/", "source/")} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.tools
def test_it_pushes_from_a_clean_venv(installed: Installed, tmp_path: Path, tools_bin: Path) -> None:
    write_tiny_llama(tmp_path / "tiny-f16.gguf")
    (tmp_path / "suite.jsonl").write_text('{"user": "hi", "check": {"max_tokens": 512}}\n')
    (tmp_path / "deployq.toml").write_text(
        '[models.tiny]\nsource = "tiny-f16.gguf"\nsuite = "suite.jsonl"\nquants = ["Q4_K_M"]\n'
        "parameters = { num_predict = 4, num_ctx = 256 }\n"
        '[targets.box]\npreset = "4090"\n[runtime]\nname = "embedded"\ndir = "."\n'
    )

    def deployq(*arguments: str) -> str:
        ran = installed.deployq(
            tmp_path, "--only-builtin", *arguments, DEPLOYQ_LLAMA_CPP=str(tools_bin)
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    plugins = json.loads(deployq("plugins", "--json"))["plugins"]
    assert {p["name"]: p["health"] for p in plugins if p["distribution"] == "deployq"} == {
        "converters": "ok",
        "llamacpp": "ok",
        "profilers": "ok",
        "runtimes": "ok",
        "unsloth": "ok",
    }
    assert json.loads(deployq("push", "tiny", "--json"))["exit_code"] == 0
    tags = {tag["tag"] for tag in json.loads(deployq("list", "--json"))["tags"]}
    assert tags == {"tiny:q4_k_m", "tiny:box"}

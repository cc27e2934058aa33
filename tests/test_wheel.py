"""The wheel carries everything: from a clean venv, outside the checkout, it does the job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.tiny import write_tiny_llama

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = [
    f"deployq/_templates/{name}"
    for name in ("Modelfile.j2", "report.html.j2", "compare.html.j2", "report.css")
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True, cwd=folder)
    return next(folder.glob("deployq-*.whl"))


def test_it_holds_the_core_the_plugins_the_templates_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
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


@pytest.fixture(scope="module")
def clean_venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run(
        [*pip, "--disable-pip-version-check", f"deployq[embedded] @ {wheel.as_uri()}"], check=True
    )
    return folder


@pytest.mark.tools
def test_it_pushes_from_a_clean_venv(clean_venv: Path, tmp_path: Path, tools_bin: Path) -> None:
    write_tiny_llama(tmp_path / "tiny-f16.gguf")
    (tmp_path / "suite.jsonl").write_text('{"user": "hi", "check": {"max_tokens": 512}}\n')
    (tmp_path / "deployq.toml").write_text(
        '[models.tiny]\nsource = "tiny-f16.gguf"\nsuite = "suite.jsonl"\nquants = ["Q4_K_M"]\n'
        "parameters = { num_predict = 4, num_ctx = 256 }\n"
        '[targets.box]\npreset = "4090"\n[runtime]\nname = "embedded"\ndir = "."\n'
    )
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "DEPLOYQ_LLAMA_CPP": str(tools_bin),
    }

    def deployq(*arguments: str) -> str:
        command = [str(clean_venv / "bin" / "deployq"), *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=tmp_path, env=env
        ).stdout

    plugins = json.loads(deployq("plugins", "--json"))["plugins"]
    assert {p["name"]: p["error"] for p in plugins} == {
        "converters": None,
        "llamacpp": None,
        "profilers": None,
        "runtimes": None,
        "unsloth": None,
    }
    assert json.loads(deployq("push", "tiny", "--json"))["exit_code"] == 0
    tags = {tag["tag"] for tag in json.loads(deployq("list", "--json"))["tags"]}
    assert tags == {"tiny:q4_k_m", "tiny:box"}

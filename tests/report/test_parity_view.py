from __future__ import annotations

import json

import pytest

from deployq.report import parity_document, parity_view
from deployq.types import (
    ConversationParity,
    Difference,
    Fault,
    ParityReport,
    RenderedPrompt,
    ServedTemplate,
)
from tests.report.conftest import Golden, rendered

SAME = RenderedPrompt("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
OTHER = RenderedPrompt("<|im_start|>system\nYou are Tiny.<|im_end|>\n<|im_start|>user\nhi")
DIFFERENCE = Difference(12, "<|im_start|>", "system\nYou are Tiny.<|im_end|>\n", "user\nhi\x1b[2J")
REPORT = ParityReport(
    tag="task-api:q4_k_m",
    host="http://127.0.0.1:11434",
    served=ServedTemplate("{{ range }}", "", ("<|im_end|>",), known="chatml"),
    conversations=(
        ConversationParity("one question", "differs", OTHER, SAME, DIFFERENCE),
        ConversationParity("several turns", "differs", OTHER, SAME, DIFFERENCE),
        ConversationParity("system prompt", "same", SAME, SAME),
        ConversationParity(
            "empty system prompt",
            "unknown",
            RenderedPrompt(None, "no system role"),
            SAME,
            reason="the model's own template refuses it: no system role",
        ),
        ConversationParity(
            "tools",
            "differs",
            SAME,
            RenderedPrompt(None, "does not support tools"),
            reason="the server refuses it: does not support tools",
        ),
        ConversationParity(
            "at the end", "differs", SAME, SAME, Difference(4, "<|im", "_start|>user", "")
        ),
    ),
    faults=(
        Fault(
            "known-template",
            "the server took the model's template for one that it knows (chatml) and uses its own",
            ("one question",),
            'template = "model" under [models.NAME] of deployq.toml, then push again',
        ),
    ),
    notes=("empty system prompt: the model's own template refuses it: no system role",),
)


@pytest.mark.parametrize("width", [60, 100, 160])
def test_golden(golden: Golden, width: int) -> None:
    golden("parity", width, parity_view(REPORT))


def test_both_sides_stand_beside_each_other_where_there_is_room() -> None:
    def together(width: int) -> bool:
        lines = rendered(parity_view(REPORT), width).splitlines()
        return any("▶system" in line and "▶user" in line for line in lines)

    assert together(120)
    assert not together(70)


def test_a_foreign_prompt_steers_no_terminal() -> None:
    assert "\x1b" not in rendered(parity_view(REPORT), 100)
    assert "\\x1b[2J" in rendered(parity_view(REPORT), 200)


def test_differences_that_look_alike_are_shown_once() -> None:
    text = rendered(parity_view(REPORT), 100)
    assert text.count("▶system") == 1
    assert "one question, several turns  the first difference: after 12 characters" in text


def test_a_healthy_tag_says_so_in_its_first_line() -> None:
    rows = (ConversationParity("one question", "same", SAME, SAME),)
    report = ParityReport("t:f16", "h", ServedTemplate("x"), rows)
    first = rendered(parity_view(report), 80).splitlines()[0]
    assert first == "✓ t:f16  1 conversation as by the model's own template"


def test_the_document_has_all_of_it() -> None:
    document = parity_document([REPORT])
    assert json.loads(json.dumps(document)) == document
    (tag,) = document["tags"]
    assert (tag["ok"], tag["way"], tag["template"]["known_as"]) == (False, "renders", "chatml")
    assert tag["conversations"][0]["difference"]["position"] == 12
    assert tag["conversations"][3]["model"] == {
        "text": None,
        "refusal": "no system role",
        "tokens": None,
        "is_broken": False,
    }
    assert tag["faults"][0]["kind"] == "known-template"

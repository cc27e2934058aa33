"""Conversations from JSONL, in the shapes that data for fine-tuning has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployq.errors import SuiteError
from deployq.proof.dialogues import read_dialogues

ASKED = [("user", "Hi"), ("assistant", "Hello")]


@pytest.mark.parametrize(
    ("record", "turns"),
    [
        (
            {
                "messages": [
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Hello"},
                ]
            },
            ASKED,
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Hi"},
                    {"from": "gpt", "value": "Hello"},
                ]
            },
            ASKED,
        ),
        (
            {"instruction": "Say", "input": "Hi", "output": "Hello"},
            [("user", "Say\n\nHi"), ("assistant", "Hello")],
        ),
        (
            {"instruction": "Say", "input": "", "output": "Hello"},
            [("user", "Say"), ("assistant", "Hello")],
        ),
        ({"prompt": "Hi", "completion": "Hello"}, ASKED),
        ({"question": "Hi", "answer": "Hello"}, ASKED),
        (
            {"system": "Be kind", "user": "Hi", "assistant": "Hello"},
            [("system", "Be kind"), *ASKED],
        ),
        ({"name": "p", "user": "Hi", "check": {"stops": True}}, ASKED[:1]),
    ],
)
def test_shapes(tmp_path: Path, record: dict[str, Any], turns: list[tuple[str, str]]) -> None:
    (tmp_path / "d.jsonl").write_text(f"\n{json.dumps(record)}\n\n")
    (found,) = read_dialogues(tmp_path / "d.jsonl")
    assert [(turn.role, turn.content) for turn in found] == turns


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "has no conversations"),
        ("{", "line 1 is not valid JSON"),
        ("[1]", "line 1 is no JSON object"),
        ('{"text": "x"}', "is no conversation; it has: text"),
        ('{"messages": []}', "its messages are no list"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', "message 1: it needs 'role'"),
        ('{"messages": [{"role": "user", "content": null}]}', "message 1: it needs 'role'"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "no turn of the user"),
        ('{"conversations": "x"}', "its messages are no list"),
        ('{"prompt": 3}', "is no conversation"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "d.jsonl").write_text(line)
    with pytest.raises(SuiteError, match=said):
        read_dialogues(tmp_path / "d.jsonl")


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "\xe4"}')
    with pytest.raises(SuiteError, match="not UTF-8"):
        read_dialogues(tmp_path / "latin.jsonl")
    with pytest.raises(SuiteError, match="cannot read"):
        read_dialogues(tmp_path / "gone.jsonl")

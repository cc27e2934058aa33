"""Conversations from a JSONL file, in the shapes in which data for fine-tuning is kept.

    {"messages": [{"role": "user", "content": "..."}, ...]}          OpenAI, Hugging Face
    {"conversations": [{"from": "human", "value": "..."}, ...]}      ShareGPT
    {"instruction": "...", "input": "...", "output": "..."}          Alpaca
    {"prompt": "...", "completion": "..."}                           and user/assistant,
                                                                     question/answer
A `system` beside the last two is the system prompt. An answer that is not there is generated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq.errors import SuiteError
from deployq.types import Turn

_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}
_KNOWN_ROLES = ("system", "user", "assistant", "tool")
_QUESTIONS = ("prompt", "user", "question")
_ANSWERS = ("completion", "assistant", "answer", "response")


def read_dialogues(path: Path) -> list[tuple[Turn, ...]]:
    """Every conversation of a JSONL file.

    Raises:
        SuiteError: it can't be read, has none, or a line is no conversation.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise SuiteError(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SuiteError(f"{path} is not UTF-8: {exc.reason} at byte {exc.start}") from exc
    found = [
        _dialogue(f"{path}, line {number}", line)
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]
    if not found:
        raise SuiteError(f"{path} has no conversations")
    return found


def _dialogue(where: str, line: str) -> tuple[Turn, ...]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise SuiteError(f"{where} is not valid JSON: {exc}") from exc
    if not isinstance(record, dict):
        raise SuiteError(f"{where} is no JSON object, but a conversation is one")
    turns = tuple(_turns(where, record))
    if not any(turn.role == "user" for turn in turns):
        raise SuiteError(f"{where} has no turn of the user")
    return turns


def _turns(where: str, record: Mapping[str, Any]) -> Iterator[Turn]:
    if "messages" in record:
        return _messages(where, record["messages"], "role", "content")
    if "conversations" in record:
        return _messages(where, record["conversations"], "from", "value")
    return iter(_pair(where, record))


def _messages(where: str, messages: Any, role_key: str, text_key: str) -> Iterator[Turn]:
    if not isinstance(messages, list) or not messages:
        raise SuiteError(f"{where}: its messages are no list")
    for number, message in enumerate(messages, 1):
        table = message if isinstance(message, dict) else {}
        role, text = table.get(role_key), table.get(text_key)
        role = _ROLES.get(str(role), role)
        if role not in _KNOWN_ROLES or not isinstance(text, str):
            raise SuiteError(
                f"{where}, message {number}: it needs {role_key!r} ({', '.join(_KNOWN_ROLES)}) "
                f"and a text in {text_key!r}"
            )
        yield Turn(str(role), text)


def _pair(where: str, record: Mapping[str, Any]) -> list[Turn]:
    question = _first(record, _QUESTIONS)
    answer = _first(record, _ANSWERS)
    if isinstance(record.get("instruction"), str):
        more = record.get("input")
        asked = [record["instruction"], *([more] if isinstance(more, str) and more else [])]
        question, answer = "\n\n".join(asked), _first(record, ("output", *_ANSWERS))
    if question is None:
        raise SuiteError(
            f"{where} is no conversation; it has: {', '.join(record) or 'nothing'}",
            hint="known: messages; conversations; instruction, input, output; prompt, completion",
        )
    system = record.get("system")
    turns = [Turn("system", system)] if isinstance(system, str) and system else []
    turns.append(Turn("user", question))
    return [*turns, Turn("assistant", answer)] if answer is not None else turns


def _first(record: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    return next((record[key] for key in keys if isinstance(record.get(key), str)), None)

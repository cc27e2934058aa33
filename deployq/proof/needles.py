"""Long prompts with one fact in them: the filler of the `needle` check."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deployq.types import Message, Prompt

DEFAULT_DEPTH = 0.5
_SUBJECTS = ("The gardener", "A neighbour", "The old clerk", "Her brother", "The driver", "A guest")
_VERBS = ("watched", "described", "carried", "repaired", "painted", "counted", "forgot")
_OBJECTS = ("the wooden bridge", "a row of lamps", "the blue boxes", "an empty jar", "the garden")
_ENDS = ("before noon", "in the rain", "without a word", "near the station", "for an hour")


def with_needle(prompt: Prompt) -> Prompt:
    """The prompt with its filler and fact before its last user message, if it checks for one."""
    params = prompt.checks.get("needle")
    if not isinstance(params, Mapping):
        return prompt
    users = [n for n, message in enumerate(prompt.messages) if message.role == "user"]
    last = users[-1] if users else len(prompt.messages) - 1
    asked = prompt.messages[last]
    long = Message(asked.role, f"{haystack(params)}\n\n{asked.content}")
    return replace(prompt, messages=(*prompt.messages[:last], long, *prompt.messages[last + 1 :]))


def haystack(params: Mapping[str, Any]) -> str:
    """About `words` words of filler, the same for the same parameters, with the fact inside."""
    # Repeatable, not secret: the suite's digest rests on it.
    rng = random.Random(f"{params['fact']}{params['words']}")  # noqa: S311
    sentences: list[str] = []
    count = 0
    while count < params["words"]:
        parts = (rng.choice(words) for words in (_SUBJECTS, _VERBS, _OBJECTS, _ENDS))
        sentences.append(f"{' '.join(parts)}.")
        count += len(sentences[-1].split())
    depth = float(params.get("depth", DEFAULT_DEPTH))
    sentences.insert(round(depth * len(sentences)), params["fact"])
    return " ".join(sentences)

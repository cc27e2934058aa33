"""The check `words`: an answer has at least, or at most, so many words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deployq import Answer, CheckType, Prompt, Verdict, hookimpl

deployq_api = "1.0"
NUMBER = {"type": "integer", "minimum": 0}


class Words:
    """`check.words = { least = 5, most = 50 }`."""

    name = "words"
    schema: Mapping[str, Any] = {
        "type": "object",
        "properties": {"least": NUMBER, "most": NUMBER},
        "additionalProperties": False,
        "minProperties": 1,
    }

    def check(self, answer: Answer, prompt: Prompt, params: Any) -> Verdict:  # noqa: ARG002
        """Words are what stands between blanks."""
        count = len(answer.text.split())
        if count < params.get("least", 0):
            return Verdict(self.name, False, f"it has {count} words, fewer than {params['least']}")
        if count > params.get("most", count):
            return Verdict(self.name, False, f"it has {count} words, more than {params['most']}")
        return Verdict(self.name, True)


@hookimpl
def deployq_checks() -> Iterable[CheckType]:
    return [Words()]

"""The last words of llama.cpp's tools, without the noise around them."""

from __future__ import annotations

import re

LAST_WORDS_LINES = 8
_NOISE = r"^(llama_model_loader: (-|Dumping|loaded)|version: |built with|\s*=*\s*$|\[\s*\d+/.*MiB)"
_TENSOR_START = r"^\[\s*\d+/\s*\d+\].*type =\s+\w+, "


def last_words(text: str) -> str:
    """The last lines that say something: no metadata dump, no tensor that went well."""
    lines = [line for line in text.splitlines() if not re.match(_NOISE, line)]
    return "\n".join(re.sub(_TENSOR_START, "", line) for line in lines[-LAST_WORDS_LINES:])

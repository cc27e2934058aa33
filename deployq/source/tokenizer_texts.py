"""Texts that tell tokenizers apart, and where llama.cpp itself cuts them otherwise."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from deployq.records import dataclass


@dataclass(frozen=True)
class Text:
    """A text to tokenize. One that is `usual` must agree; the others are remarked upon."""

    name: str
    text: str
    usual: bool = True


DECOMPOSED, COMPOSED = "decomposed accents", "accents"
_ACCENTS = "Grüße aus Köln, señor Ñandú, élève, naïve façade, Tiếng Việt"

TEXTS = (
    Text("greeting", "Hello world"),
    Text("English", "The quick brown fox jumps over the lazy dog. It's 5 o'clock, isn't it?"),
    Text("contractions", "I'll, you've, he'd; WON'T (really!) - \"quoted\""),
    Text("numbers", "0 12 345 6789 12345678901234567890 3.14159 1,000,000.00"),
    Text(
        "Python",
        'def f(x: int) -> str:\n    return f"{x!r}"  # done\n\n\nclass A:\n\tpass\n',
    ),
    Text("JSON", '{"name": "add_task", "due": "2026-10-01", "tags": ["a", "b"], "n": null}'),
    Text("C", "for (int i = 0; i < n; ++i) { a[i] &= ~(1u << i); }"),
    Text(COMPOSED, unicodedata.normalize("NFC", _ACCENTS)),
    Text(DECOMPOSED, unicodedata.normalize("NFD", _ACCENTS)),
    Text("accented capitals", "ÉCOLE École ÜBER Über ŁÓDŹ Łódź ÇA Ça"),
    Text("Russian", "Привет, мир! Как дела?"),
    Text("Greek", "Καλημέρα κόσμε, τι κάνεις;"),
    Text("Chinese", "你好，世界。今天天气怎么样？"),
    Text("Japanese", "日本語のテキスト、カタカナ。"),
    Text("Korean", "한국어 텍스트, 안녕하세요?"),
    Text("Arabic", "مرحبا بالعالم، كيف حالك؟"),
    Text("vowelled Arabic", "السَّلامُ عَلَيْكُم"),
    Text("Hebrew", "שלום עולם, מה שלומך?"),
    Text("Hindi", "नमस्ते दुनिया, आप कैसे हैं?"),
    Text("Thai", "สวัสดีชาวโลก ที่นี่"),
    Text("other digits", "१२३४५ ٣٤٥٦ ５６７８ ½ ²"),
    Text("emoji", "🙂🚀 👩‍👩‍👧‍👦 ✅ 👍🏽"),
    Text("addresses", "https://example.com/a?b=c&d=%20e#f  user@example.com"),
    Text("line ends", "line one\nline two\r\nline three\n\n\n\nend"),
    Text("tabs", "a\tb\t\tc"),
    Text("identifiers", "ALLCAPS camelCase snake_case kebab-case x86_64 v1.2.3-rc1"),
    Text("leading blanks", "  two leading spaces", usual=False),
    Text("trailing blanks", "trailing spaces   ", usual=False),
    Text("many blanks", "many          spaces     inside", usual=False),
    Text("wide blanks", "\u00a0\u3000 no-break and wide blanks\u200b", usual=False),
    Text("leading line ends", "\n\nleading newlines", usual=False),
)
"""Texts that tokenizers disagree on where something is wrong. Blanks at the ends are known to
differ between SentencePiece's own code and its copies, with no harm inside a chat."""

MEASURED_WITH = "b11434"
_NONE: frozenset[str] = frozenset()
ENGINE_DIFFERENCES: Mapping[str, frozenset[str]] = {
    "default": _NONE,
    "gpt-4o": frozenset({"Hindi", "Thai", "vowelled Arabic"}),
    "granite-embed-multi-311m": _NONE,
    "joyai-llm": _NONE,
    "llama-bpe": _NONE,
    "qwen2": _NONE,
}
"""By llama.cpp's pre-tokenizer: usual texts that it splits otherwise than the family's own,
published tokenizer does, however right the conversion. Differences by NFC alone are not in it: they
show in the texts themselves. `python -m benchmarks.engine_differences` measures it again."""

BY_CATEGORY = frozenset(
    {"Hindi", "Thai", "vowelled Arabic", "accented capitals", "other digits", DECOMPOSED}
)
"""Texts whose split hangs on Unicode categories (marks, digits, letter case). llama.cpp's regular
expressions only approximate them, so a pre-tokenizer that was never measured may differ here."""

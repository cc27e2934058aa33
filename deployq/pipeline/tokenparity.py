"""Does a GGUF's tokenizer make of a text what the training's made of it? Asked beforehand."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from deployq import proc
from deployq.errors import BackendError
from deployq.pipeline.session import Session
from deployq.records import dataclass
from deployq.source.tokenizer_files import read_tokenizer
from deployq.tools import Tool, find_tool
from deployq.types import Finding, ModelInfo

TOKENIZE_SECONDS = 120.0
_SHOWN = 3


@dataclass(frozen=True)
class Text:
    """A text to tokenize. One that is `usual` must agree; the others are told of."""

    text: str
    usual: bool = True


TEXTS = (
    Text("Hello world"),
    Text("The quick brown fox jumps over the lazy dog. It's 5 o'clock, isn't it?"),
    Text("I'll, you've, he'd; WON'T (really!) - \"quoted\""),
    Text("0 12 345 6789 12345678901234567890 3.14159 1,000,000.00"),
    Text('def f(x: int) -> str:\n    return f"{x!r}"  # done\n\n\nclass A:\n\tpass\n'),
    Text('{"name": "add_task", "due": "2026-10-01", "tags": ["a", "b"], "n": null}'),
    Text("for (int i = 0; i < n; ++i) { a[i] &= ~(1u << i); }"),
    Text("Grüße aus Köln, señor Ñandú, élève, naïve façade"),
    Text("Привет, мир! Как дела?"),
    Text("你好，世界。今天天气怎么样？ 日本語のテキスト 한국어 텍스트"),
    Text("مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดีชาวโลก"),
    Text("🙂🚀 👩‍👩‍👧‍👦 ✅ é vs e\u0301"),
    Text("https://example.com/a?b=c&d=%20e#f  user@example.com"),
    Text("line one\nline two\r\nline three\n\n\n\nend"),
    Text("a\tb\t\tc"),
    Text("ALLCAPS camelCase snake_case kebab-case x86_64 v1.2.3-rc1"),
    Text("  two leading spaces", usual=False),
    Text("trailing spaces   ", usual=False),
    Text("many          spaces     inside", usual=False),
    Text("\u00a0\u3000 no-break and wide blanks\u200b", usual=False),
    Text("\n\nleading newlines", usual=False),
)
"""Texts that tokenizers disagree on where something is wrong. Blanks at the ends are known to
differ between SentencePiece's own code and its copies, with no harm inside a chat."""


def texts_for(folder: Path) -> tuple[Text, ...]:
    """What the tokenizer of a folder is asked: the texts above, and its own special tokens."""
    return (*TEXTS, *(Text(f"{mark}user\nhi{mark}") for mark in read_tokenizer(folder).marks))


def check_tokens(
    session: Session,
    folder: Path,
    texts: Sequence[Text],
    theirs: Sequence[Sequence[int]],
    vocabulary: Path,
) -> Iterator[Finding]:
    """Hold what a tokenizer became against the one in the training folder.

    Args:
        theirs: the training tokenizer's ids of each text.
        vocabulary: a GGUF, which need not have weights.

    Raises:
        BackendError: llama.cpp's tool failed.
    """
    tool = find_tool("llama-tokenize", session.env)
    if tool is None:
        yield Finding(
            "tokenizer",
            False,
            "llama-tokenize is not here: the tokenizers were not compared",
            "deployq tools install",
        )
        return
    ours = []
    for number, one in enumerate(texts, 1):
        ours.append(_tokenize(tool, vocabulary, one.text))
        session.progress("comparing tokenizers", number, len(texts), "texts")
    yield from _compared(folder, texts, theirs, ours)


def check_template(folder: Path, made: ModelInfo) -> Iterator[Finding]:
    """Has the GGUF the chat template of the training folder, and its EOS?"""
    facts = read_tokenizer(folder)
    theirs = facts.chat_template
    if theirs is not None and theirs.strip() != (made.chat_template or "").strip():
        how = "another one" if made.chat_template else "none"
        yield Finding("template", True, f"{folder}: has a chat template, its GGUF has {how}")
    if facts.eos_token and made.eos_token != facts.eos_token:
        yield Finding(
            "eos",
            facts.eos_token not in made.stop_tokens,
            f"{folder}: ends with {facts.eos_token!r}, its GGUF with {made.eos_token!r}",
        )


def _compared(
    folder: Path,
    texts: Sequence[Text],
    theirs: Sequence[Sequence[int]],
    ours: Sequence[Sequence[int]],
) -> Iterator[Finding]:
    differing = [i for i in range(len(texts)) if list(theirs[i]) != list(ours[i])]
    usual = [i for i in differing if texts[i].usual]
    if usual:
        first = usual[0]
        yield Finding(
            "tokenizer",
            True,
            f"{folder}: as a GGUF, its tokenizer splits {len(usual)} of "
            f"{sum(t.usual for t in texts)} usual texts otherwise, such as "
            f"{texts[first].text[:40]!r}: {list(theirs[first])[:12]} in training, "
            f"{list(ours[first])[:12]} in the GGUF",
            "put the base model's own tokenizer files there (tokenizer.model too, where it has "
            "one), or name another pre_tokenizer under [models.NAME]",
        )
    elif differing:
        some = ", ".join(repr(texts[i].text[:24]) for i in differing[:_SHOWN])
        yield Finding(
            "tokenizer",
            False,
            f"{folder}: tokenizers agree on all usual texts, not on blanks at the edge: {some}",
        )


def _tokenize(tool: Tool, gguf: Path, text: str) -> Sequence[int]:
    """Ids by llama.cpp: no BOS, special tokens recognised, only the vocabulary loaded.

    Raises:
        BackendError: the tool failed, or printed something else.
    """
    with tempfile.TemporaryDirectory(prefix="deployq-tokens-") as folder:
        file = Path(folder) / "text"
        file.write_bytes(text.encode())
        options = ["--ids", "--no-bos", "--log-disable"]
        argv: list[str | Path] = [tool.path, "-m", gguf, *options, "-f", file]
        finished = proc.run(argv, timeout_seconds=TOKENIZE_SECONDS)
    lists = [line for line in finished.stdout.splitlines() if line.startswith("[")]
    if not lists:
        raise BackendError(f"{tool.path}: printed no token ids: {finished.tail[-300:]}")
    ids: Sequence[int] = ast.literal_eval(lists[-1])
    return ids

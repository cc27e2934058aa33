"""How many tokens a text has, and how it is cut: llama-tokenize, which loads no weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from deployq import BackendError, MeterText, SourceError, TextOptions, proc
from deployq.llama_output import last_words
from deployq.tools import require_tool

TOOL = "llama-tokenize"
N_CTX = 512
"""The context of published perplexities."""

SHORTEST_N_CTX = 128
_IDS = r"^\[([\d,\s]*)\]\s*$"


def token_ids(gguf: Path, text: MeterText, env: Mapping[str, str]) -> list[int]:
    """The tokens of a text as the model's own tokenizer reads it.

    Raises:
        ToolMissing: there is no llama-tokenize.
        BackendError: it failed.
    """
    argv: list[str | Path] = ["-m", gguf.absolute()]
    # its log would stand between the numbers; and a backslash in the text is a backslash
    argv += ["-f", text.path.absolute(), "--ids", "--log-disable", "--no-escape"]
    argv += [] if text.special else ["--no-parse-special"]
    finished = require_tool(TOOL, env).run(argv)
    found = re.findall(_IDS, finished.stdout, re.MULTILINE)
    if finished.returncode or not found:
        how = proc.describe_exit(finished.returncode) if finished.returncode else "gave no tokens"
        raise BackendError(
            f"{TOOL} {how}, reading {text.path.name} with the tokenizer of {gguf.name}:\n"
            f"{last_words(finished.stdout)}"
        )
    return [int(number) for number in found[-1].split(",") if number.strip()]


def count_tokens(gguf: Path, text: MeterText, env: Mapping[str, str]) -> int:
    """How many tokens a text has."""
    return len(token_ids(gguf, text, env))


def vocabulary_log(gguf: Path, env: Mapping[str, str]) -> str:
    """What llama.cpp says while it loads a file's vocabulary."""
    return require_tool(TOOL, env).run(["-m", gguf.absolute(), "-p", "x"]).stdout


def cut(tokens: int, text: Path, options: TextOptions) -> tuple[int, int, tuple[str, ...]]:
    """Context and number of chunks for a text of so many tokens, and what is to be said of it.

    llama.cpp's tools want two chunks at least.

    Raises:
        SourceError: the text is too short.
    """
    n_ctx = options.n_ctx or _context(tokens)
    if tokens < 2 * n_ctx:
        hint = f"--context {_context(tokens)}" if tokens >= 2 * SHORTEST_N_CTX else ""
        raise SourceError(
            f"{text.name} is too short: it has {tokens:,} tokens, and two chunks of {n_ctx} are "
            "the least that can be measured",
            hint=hint or "take a longer text, or a suite with more prompts",
        )
    chunks = min(tokens // n_ctx, options.max_chunks)
    notes = []
    if options.n_ctx is None and n_ctx < N_CTX:
        notes.append(
            f"the text has {tokens:,} tokens only, so chunks are of {n_ctx} instead of {N_CTX}: "
            "its perplexity compares with no published one"
        )
    if tokens // n_ctx > chunks:
        notes.append(f"the first {chunks} of {tokens // n_ctx} chunks were measured (--chunks)")
    return n_ctx, chunks, tuple(notes)


def _context(tokens: int) -> int:
    """512, or the largest halving of it of which the text has two."""
    n_ctx = N_CTX
    while n_ctx > SHORTEST_N_CTX and tokens < 2 * n_ctx:
        n_ctx //= 2
    return n_ctx

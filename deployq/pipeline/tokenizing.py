"""Token ids by llama.cpp: llama-tokenize, which loads no weights."""

from __future__ import annotations

import ast
import re
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deployq import proc
from deployq.errors import BackendError, ModelRejected
from deployq.source.gguf import Header
from deployq.source.tokenizer_tables import TOKENS
from deployq.tools import Tool

# On a busy machine llama.cpp ends before its log's last lines are written.
LOG_ATTEMPTS = 10
TOKENIZE_SECONDS = 120.0
PRE = "tokenizer.ggml.pre"
_TYPES, _CONTROL = "tokenizer.ggml.token_type", 3
_SHORTEST_MARK = 3
_STRING = 8
_REFUSAL = r"error loading model vocabulary: (.+)"


def tokenize_all(
    tool: Tool, gguf: Path, header: Header, texts: Sequence[str]
) -> list[Sequence[int]]:
    """Ids of each text by llama.cpp: no BOS, special tokens recognised.

    A large vocabulary takes seconds to load, so all texts go through one process, with a special
    token between them: llama.cpp splits a text at its special tokens before anything else.

    Raises:
        BackendError: the tool failed, or printed something else.
    """
    mark = _separator(header, texts)
    if mark is None:
        return [tokenize(tool, gguf, text) for text in texts]
    number, between = mark
    whole = tokenize(tool, gguf, between.join(texts))
    found: list[list[int]] = [[]]
    for token in whole:
        if token == number:
            found.append([])
        else:
            found[-1].append(token)
    if len(found) != len(texts):  # a special token that takes blanks with it, or none at all
        return [tokenize(tool, gguf, text) for text in texts]
    return list(found)


def _separator(header: Header, texts: Sequence[str]) -> tuple[int, str] | None:
    """The id and text of a special token that no text contains."""
    tokens, types = header.arrays.get(TOKENS), header.arrays.get(_TYPES)
    if tokens is None or types is None:
        return None
    everything = "\n".join(texts)
    for number, (token, kind) in enumerate(zip(tokens.texts(), types.numbers(), strict=False)):
        if kind == _CONTROL and len(token) >= _SHORTEST_MARK and token not in everything:
            return number, token
    return None


def tokenize(tool: Tool, gguf: Path, text: str) -> Sequence[int]:
    """Ids of one text by llama.cpp: no BOS, special tokens recognised.

    Raises:
        ModelRejected: llama.cpp can't load the vocabulary.
        BackendError: the tool failed, or printed something else.
    """
    with tempfile.TemporaryDirectory(prefix="deployq-tokens-") as folder:
        file = Path(folder) / "text"
        file.write_bytes(text.encode())
        # its log would stand between the numbers; and a backslash in the text is a backslash
        options = ["--ids", "--no-bos", "--log-disable", "--no-escape"]
        argv: list[str | Path] = [tool.path, "-m", gguf, *options, "-f", file]
        finished = proc.run(argv, timeout_seconds=TOKENIZE_SECONDS, check=False)
    lists = [line for line in finished.stdout.splitlines() if line.startswith("[")]
    if finished.returncode or not lists:
        raise _failure(tool, gguf, finished)
    ids: Sequence[int] = ast.literal_eval(lists[-1])
    return ids


def _failure(tool: Tool, gguf: Path, finished: proc.Finished) -> BackendError:
    """Why there are no ids: asked again with the log, which says it."""
    argv: list[str | Path] = [tool.path, "-m", gguf, "-p", "x"]
    for _ in range(LOG_ATTEMPTS):
        said = proc.run(argv, timeout_seconds=TOKENIZE_SECONDS, check=False).stdout
        if found := re.search(_REFUSAL, said):
            return ModelRejected(f"llama.cpp can't load its tokenizer: {found[1]}")
        if "error" in said:
            break
    return BackendError(f"{tool.path}: printed no token ids: {proc.describe_failure(finished)}")


def rename_pre_tokenizer(vocabulary: Path, output: Path, pre: str, name: str) -> bool:
    """Write a vocabulary under another pre-tokenizer's name; False: it has none."""
    key = PRE.encode() + struct.pack("<I", _STRING)
    old, new = (struct.pack("<Q", len(text)) + text for text in (pre.encode(), name.encode()))
    content = vocabulary.read_bytes()
    output.write_bytes(content.replace(key + old, key + new, 1))
    return key + old in content

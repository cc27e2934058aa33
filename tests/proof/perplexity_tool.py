"""llama.cpp's own log probabilities: llama-perplexity run on a text, and the file that it leaves.

The file of `--kl-divergence-base` (tools/perplexity/perplexity.cpp of llama.cpp): "_logits_",
int32 n_ctx, n_vocab, n_chunk, the int32 tokens; then per chunk and per place of its second half
but the last: float32 scale and least log probability, and a uint16 for every token.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from deployq_llamacpp.running import quiet_threads
from numpy.typing import NDArray

from deployq import proc

MEAN_KLD = re.compile(r"Mean\s+KLD:\s+([\d.eE+-]+)")
SAME_TOP = re.compile(r"Same top p:\s+([\d.]+)")
# b11434 ends before its logging thread has printed all: on a busy machine that is every other run
ATTEMPTS = 20


@dataclass(frozen=True)
class LogProbabilities:
    """Of each chunk, place of its second half but the last, and token."""

    first: int
    tokens: NDArray[np.int32]
    values: NDArray[np.float64]


def tokens_of(tools: Path, model: Path, text: str, folder: Path) -> list[int]:
    """The tokens of a text, special ones taken as text."""
    file = folder / "asked.txt"
    file.write_text(text, encoding="utf-8")
    arguments = ["-m", str(model), "-f", str(file), "--ids", "--no-parse-special", "--log-disable"]
    done = proc.run([tools / "llama-tokenize", *arguments])
    return [int(token) for token in re.findall(r"\d+", done.stdout[done.stdout.index("[") :])]


def log_probabilities(
    tools: Path, model: Path, text: Path, n_ctx: int, kept: Path
) -> LogProbabilities:
    """What a model holds for likely, place by place."""
    _perplexity(tools, model, text, n_ctx, "--kl-divergence-base", kept)
    content = kept.read_bytes()
    assert content[:8] == b"_logits_"
    _, n_vocab, n_chunk = struct.unpack_from("<iii", content, 8)
    tokens = np.frombuffer(content, "<i4", n_ctx * n_chunk, 20).reshape(n_chunk, n_ctx)
    first = n_ctx // 2
    width = 2 * ((n_vocab + 1) // 2) + 4
    rows = np.frombuffer(content, "<u2", offset=20 + 4 * n_ctx * n_chunk)
    rows = rows.reshape(n_chunk, n_ctx - 1 - first, width)
    scaled = np.ascontiguousarray(rows[:, :, :4]).view("<f4").astype(float)
    values = rows[:, :, 4 : 4 + n_vocab] * scaled[:, :, :1] + scaled[:, :, 1:2]
    return LogProbabilities(first, tokens, values)


def mean_kl(tools: Path, model: Path, text: Path, n_ctx: int, base: Path) -> tuple[float, float]:
    """What llama-perplexity prints: mean KL divergence in nats, share of places of equal top."""
    for _ in range(ATTEMPTS):
        more = ("--kl-divergence", "--kl-divergence-base", base)
        out = _perplexity(tools, model, text, n_ctx, *more)
        kl, same = MEAN_KLD.search(out), SAME_TOP.search(out)
        if kl and same:
            return float(kl[1]), float(same[1]) / 100
    raise AssertionError(out)


def _perplexity(tools: Path, model: Path, text: Path, n_ctx: int, *more: object) -> str:
    arguments = ["-m", model, "-f", text, "-c", n_ctx, "-b", n_ctx, "-t", 1, *more]
    done = proc.run([tools / "llama-perplexity", *map(str, arguments)], env=quiet_threads())
    return str(done.stdout)

"""Agreement held against llama.cpp's own log probabilities of the same texts.

Each text is a chunk of llama-perplexity's: a raw prompt that fills its first half at least, the
baseline's answer, and line ends up to its length. So the tool scores the very places that
agreement scores, with the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deployq.proof.tracing import Asker
from deployq.tags.server import Server
from deployq.types import PromptAgreement, TracedAnswer
from tests.proof.conftest import TEXTS, followed, traced
from tests.proof.perplexity_tool import (
    LogProbabilities,
    log_probabilities,
    mean_kl,
    tokens_of,
)

N_CTX = 192
SECONDS = 60  # without a piece of an answer: the server is stuck
NOISE = 0.001  # nats
QUANTS = ("Q8_0", "Q4_K_M", "Q2_K")


@dataclass(frozen=True)
class Texts:
    """Prompts and the baseline's answers, one a chunk of the file."""

    file: Path
    answers: tuple[TracedAnswer, ...]


@pytest.fixture(scope="module")
def texts(
    lab: Server,
    tools_bin: Path,
    sample_gguf: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Texts:
    folder = tmp_path_factory.mktemp("texts")
    asker = Asker(lab, "sample:f16", SECONDS)
    chunks: list[list[int]] = []
    found, written = [], ""
    (newline,) = tokens_of(tools_bin, sample_gguf, "\n", folder)
    for turn in range(len(TEXTS)):
        prompt = "\n".join([*TEXTS[turn:], *TEXTS[:turn]]) + '\n{"action": "'
        asked = tokens_of(tools_bin, sample_gguf, prompt, folder)
        assert N_CTX / 2 < len(asked) < N_CTX - 20
        answer = traced(asker, f"p{turn}", prompt, N_CTX - len(asked))
        assert answer.prompt_tokens == len(asked)
        whole = prompt + "".join(step.text for step in answer.steps)
        tokens = tokens_of(tools_bin, sample_gguf, whole, folder)
        if len(tokens) != len(asked) + len(answer.steps):
            continue  # what was written is cut into other tokens when it is read
        missing = N_CTX - len(tokens)
        chunks.append(tokens + [newline] * missing)
        written += whole + "\n" * missing
        found.append(answer)
    assert sum(len(answer.steps) for answer in found) > 60
    file = folder / "texts.txt"
    file.write_text(f"{written}\n", encoding="utf-8")  # the tool drops a last line end
    assert tokens_of(tools_bin, sample_gguf, written, folder) == [
        token for chunk in chunks for token in chunk
    ]
    return Texts(file, tuple(found))


@pytest.fixture(scope="module")
def own(
    texts: Texts,
    tools_bin: Path,
    sample_quants: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, LogProbabilities]:
    """llama.cpp's log probabilities by quant."""
    folder = tmp_path_factory.mktemp("logits")
    return {
        quant: log_probabilities(tools_bin, file, texts.file, N_CTX, folder / quant)
        for quant, file in sample_quants.items()
    }


def places(
    texts: Texts, found: Sequence[PromptAgreement], own: dict[str, LogProbabilities], quant: str
) -> NDArray[np.float64]:
    """Agreement's KL and the whole vocabulary's, place by place."""
    base, other = own["F16"], own[quant]
    rows = []
    for chunk, (answer, one) in enumerate(zip(texts.answers, found, strict=True)):
        for position in one.positions:
            row = answer.prompt_tokens + position.index - 1 - base.first
            if position.kl is not None and row < base.values.shape[1]:
                p, q = base.values[chunk, row], other.values[chunk, row]
                rows.append((position.kl, float((np.exp(p) * (p - q)).sum())))
    return np.asarray(rows)


def test_values_and_order_are_those_of_llama_perplexity(
    lab: Server, texts: Texts, own: dict[str, LogProbabilities]
) -> None:
    means: dict[str, tuple[float, float]] = {}
    for quant in QUANTS:
        asker = Asker(lab, f"sample:{quant.lower()}", SECONDS)
        found = [followed(asker, answer) for answer in texts.answers]
        both = places(texts, found, own, quant)
        assert len(both) > 60
        bound, whole = both.mean(axis=0)
        means[quant] = (bound, whole)
        # The server computes token by token, the tool in batches: quants round otherwise there.
        assert 0.75 * whole - NOISE <= bound <= 1.15 * whole + NOISE, (quant, bound, whole)
        assert np.asarray(np.corrcoef(both.T))[0, 1] > 0.85
        above = both[:, 0] > 1.25 * both[:, 1] + 10 * NOISE  # it is a lower bound
        assert above.mean() < 0.1
    assert [bound for bound, _ in means.values()] == sorted(bound for bound, _ in means.values())
    assert [whole for _, whole in means.values()] == sorted(whole for _, whole in means.values())


def test_the_file_is_read_as_llama_perplexity_reads_it(
    texts: Texts,
    own: dict[str, LogProbabilities],
    tools_bin: Path,
    sample_quants: dict[str, Path],
    tmp_path: Path,
) -> None:
    """What the tool prints of a quant is what its log probabilities say."""
    base = tmp_path / "base"
    log_probabilities(tools_bin, sample_quants["F16"], texts.file, N_CTX, base)
    printed, same = mean_kl(tools_bin, sample_quants["Q4_K_M"], texts.file, N_CTX, base)
    p, q = own["F16"].values, own["Q4_K_M"].values
    assert (np.exp(p) * (p - q)).sum(axis=2).mean() == pytest.approx(printed, rel=0.05)
    assert (p.argmax(axis=2) == q.argmax(axis=2)).mean() == pytest.approx(same, abs=0.01)

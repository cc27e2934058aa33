"""What measuring agreement costs: `python -m benchmarks.agreement_cost SERVER FILE.gguf`.

SERVER is the address of an Ollama of this machine that may be written to. Each quant is made,
registered for the while as `agreement-cost:<quant>`, and asked in three ways, each on an unloaded
model, in the same order: plainly (whole answers, no log probabilities), for its agreement alone,
and for its agreement and its own answers. Plain seconds are per token times the tokens of the
baseline's answers: a quant's own are often shorter, and it is the baseline's that are scored.
Seconds are of the client's clock, tokens and requests as the server was asked for them. The limits:
agreement alone 1.2 times the plain answers from Q4_K_M up, both together twice.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployq import proc
from deployq.digests import sha256_file
from deployq.proof.agreement import AskerFor, Job, measure, record, token_limit, unload
from deployq.proof.checks import BUILTIN_CHECKS
from deployq.proof.following import Seams
from deployq.proof.journal import Journal
from deployq.proof.suites import load_suite
from deployq.proof.tracing import Asker
from deployq.tags.modelfile import parse
from deployq.tags.server import Server
from deployq.tools import require_tool
from deployq.types import Prompt, PromptAgreement, TracedAnswer, no_progress

ROOT = Path(__file__).resolve().parents[1]
SUITE = ROOT / "examples" / "task-api" / "suite.toml"
QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
LIMITED = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
ALONE_LIMIT, BOTH_LIMIT = 1.2, 2.0


@dataclass(frozen=True)
class Took:
    """What one way of asking took."""

    seconds: float
    requests: int
    tokens: int


def main(arguments: Sequence[str]) -> int:
    """Print a row per quant; 1 where a limit is broken."""
    asked = _options().parse_args(arguments)
    suite = load_suite(asked.suite, {check.name: check for check in BUILTIN_CHECKS})
    with Server(asked.server) as server, tempfile.TemporaryDirectory() as folder:
        with registered(server, asked.source, "F16") as tag:
            answers = record(
                asking(server, tag), suite.prompts, Journal(Path(folder) / "base"), no_progress
            )
        tokens = sum(len(answer.steps) for answer in answers)
        print(f"{len(answers)} prompts, {tokens} tokens; best of {asked.rounds} rounds")
        print("quant     plain s  alone  both   requests alone/both  tokens alone/both  same")
        subject = Subject(suite.prompts, answers, {a.prompt: {} for a in answers}, asked.rounds)
        good = [
            compared(server, quant_file(asked.source, quant, Path(folder)), quant, subject)
            for quant in asked.quants.split(",")
        ]
    return 0 if all(good) else 1


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server")
    parser.add_argument("source", type=Path)
    parser.add_argument("--suite", type=Path, default=SUITE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quants", default=",".join(QUANTS))
    return parser


@dataclass(frozen=True)
class Subject:
    """What every quant is asked, and what is known of the baseline's answers."""

    prompts: Sequence[Prompt]
    answers: Sequence[TracedAnswer]
    seams: dict[str, Seams]
    rounds: int


def compared(server: Server, file: Path, quant: str, subject: Subject) -> bool:
    """One quant's row; whether it keeps the limits."""
    with registered(server, file, quant) as tag:
        rounds = [_round(server, tag, subject) for _ in range(subject.rounds)]
    plain, alone, both = (
        min(ways, key=lambda took: took.seconds)
        for ways in zip(*(took for took, _ in rounds), strict=True)
    )
    found = rounds[0][1]
    same = sum(bool(p.same_top) for one in found for p in one.positions)
    total = sum(len(one.positions) for one in found)
    ratios = alone.seconds / plain.seconds, both.seconds / plain.seconds
    kept: bool = quant not in LIMITED or ratios[0] <= ALONE_LIMIT
    kept = kept and ratios[1] <= BOTH_LIMIT
    print(
        f"{quant:8}  {plain.seconds:7.2f}  {ratios[0]:5.2f}  {ratios[1]:5.2f}  "
        f"{alone.requests / plain.requests:9.2f} /{both.requests / plain.requests:5.2f}    "
        f"{alone.tokens / plain.tokens:9.2f} /{both.tokens / plain.tokens:5.2f}    "
        f"{same / total:.3f}{'' if kept else '  over the limit'}"
    )
    return kept


def _round(
    server: Server, tag: str, subject: Subject
) -> tuple[tuple[Took, Took, Took], list[PromptAgreement]]:
    plain = _plain(server, tag, subject)
    alone, found = _followed(server, tag, subject, own=False)
    both, _ = _followed(server, tag, subject, own=True)
    return (plain, alone, both), found


def _plain(server: Server, tag: str, subject: Subject) -> Took:
    """As many tokens as the baseline's answers have, generated without any log probabilities."""
    unload(Asker(server, tag, 600))
    started, tokens = time.monotonic(), 0
    for prompt, answer in zip(subject.prompts, subject.answers, strict=True):
        options = {"temperature": 0, "seed": 42, "num_predict": max(answer.tokens, 1)}
        tokens += server.generate(
            tag, answer.rendered, raw=True, options=options, format=prompt.format
        ).tokens
    wanted = sum(max(answer.tokens, 1) for answer in subject.answers)
    seconds = (time.monotonic() - started) * wanted / tokens
    return Took(seconds, len(subject.answers), wanted)


def _followed(
    server: Server, tag: str, subject: Subject, *, own: bool
) -> tuple[Took, list[PromptAgreement]]:
    asker = Asker(server, tag, 600)
    jobs = [
        Job(asker, answer, subject.seams[answer.prompt], token_limit(prompt) if own else None)
        for prompt, answer in zip(subject.prompts, subject.answers, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        unload(asker)
        started = time.monotonic()
        found = measure(jobs, Journal(Path(folder) / "journal"), no_progress)
        seconds = time.monotonic() - started
    return Took(seconds, asker.asked.requests, asker.asked.tokens), list(found.found)


# ---------------------------------------------------------------- the surroundings


def asking(server: Server, tag: str) -> AskerFor:
    asker = Asker(server, tag, 600)
    return lambda _: asker


def quant_file(source: Path, quant: str, folder: Path) -> Path:
    """A quant of the source, made by llama-quantize."""
    made = folder / f"{quant}.gguf"
    tool = require_tool("llama-quantize").path
    proc.run([tool, "--allow-requantize", source, made, quant, "2"])
    return made


@contextmanager
def registered(server: Server, file: Path, quant: str) -> Iterator[str]:
    """The file as a tag of one thread, inside the block."""
    digest, tag = sha256_file(file), f"agreement-cost:{quant.lower()}"
    server.upload_blob(file, digest)
    text = f"FROM {file.name}\nPARAMETER num_ctx 1024\nPARAMETER num_thread 1\n"
    server.create(tag, parse(text), {file.name: digest})
    try:
        yield tag
    finally:
        server.delete(tag)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

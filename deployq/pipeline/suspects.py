"""What is looked at besides answers: weights, prompts, special tokens, the source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq.digests import sha256_file
from deployq.errors import DeployqError
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.source.gguf import read_header
from deployq.source.tensor_damage import damaged_tensors
from deployq.tags.lockfile import LockEntry
from deployq.tags.parity import first_difference
from deployq.types import Clue, ModelInfo, ParityReport, Rung

SHOWN = 60
_MESSAGE = re.compile(r'"message":\s*"([^"]+)"')
_TEMPLATE_FAULTS = frozenset(
    (
        *("double-bos", "missing-bos", "generation-prompt", "default-system", "system-dropped"),
        *("tools-dropped", "known-template", "no-template", "broken-template"),
    )
)


def blob_of(site: Site, digest: str) -> Path | None:
    """A server's file with these weights, where that is on this machine."""
    folder = site.endpoint.models_dir
    path = folder / "blobs" / f"sha256-{digest}" if folder and digest else None
    return path if path is not None and path.is_file() else None


def weights_evidence(
    session: Session, blob: Path | None, digest: str, entry: LockEntry | None
) -> Iterator[Clue]:
    """Whether the weights on the server are those that were pushed, byte for byte."""
    if entry is not None and entry.blob_digest != digest:
        yield Clue(
            "weights",
            f"the tag's weights are sha256:{digest[:12]}…, deployq.lock has "
            f"{entry.blob_digest[:12]}…: they are not those that were pushed",
            "damaged weights",
        )
    if blob is None:
        message = "the weights are on another machine, where deployq can't hash them"
        yield Clue("weights", message)
        return
    size = blob.stat().st_size
    found = sha256_file(
        blob, lambda done: session.progress("hashing the weights", done, size, "bytes")
    )
    session.digests.remember(blob, found)  # so the next push knows, and replaces them
    if found != digest:
        message = f"their sha256 is {found[:12]}…, by their name it should be {digest[:12]}…"
        yield Clue("weights", message, "damaged weights", proven=True)
    else:
        message = f"every byte of the weights is as it was put there (sha256:{digest[:12]}…)"
        yield Clue("weights", message)


def tensor_evidence(
    session: Session, files: Sequence[Path], source: Sequence[Path], whose: str
) -> Clue:
    """Whether tensors hold what they should; held against the source's where there is one."""
    found = damaged_tensors(files, source, session.progress)
    if not found:
        against = "fit those of the source" if source else "hold sensible values"
        return Clue("weights", f"all tensors of {whose} {against}", proven=bool(source))
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    message = f"in {whose}, {found[0]}{more}"
    return Clue("weights", message, "damaged weights", proven=True)


def said_in(refusal: str) -> str:
    """What an engine said, where a refusal hands its answer on as JSON."""
    found = _MESSAGE.search(refusal)
    return found[1] if found else refusal


def template_evidence(parity: ParityReport | None) -> Iterator[Clue]:
    """What is wrong with a tag's prompts by rule."""
    for fault in parity.faults if parity is not None else ():
        if fault.kind in _TEMPLATE_FAULTS:
            yield Clue("prompt", fault.message, "template", proven=True)
        elif fault.kind == "stop":
            yield Clue("end mark", fault.message, "stop token", proven=True)


def prompt_evidence(name: str, own: str, served: str) -> Clue | None:
    """Where the prompt of a tag parts from the model's own; None where it doesn't."""
    found = first_difference(own, served)
    if found is None:
        return None
    message = (
        f"the prompt of {name} goes on with {found.server[:SHOWN]!r} after {found.position} "
        f"characters, by the model's own template with {found.model[:SHOWN]!r}"
    )
    return Clue("prompt", message, "template", proven=True)


def header_evidence(mine: ModelInfo, source: ModelInfo, whose: str) -> Iterator[Clue]:
    """Whether special tokens, template and vocabulary are the same in two files.

    Args:
        mine: what is looked at.
        source: what it should be like.
        whose: what `source` is, in words.
    """
    for what, ours, theirs in _fields(mine, source):
        if ours != theirs:
            message = f"{what} is {ours!r}, in {whose} it is {theirs!r}"
            yield Clue("special tokens", message, "conversion", proven=True)


def _fields(mine: ModelInfo, source: ModelInfo) -> Iterator[tuple[str, object, object]]:
    yield "the end token (EOS)", mine.eos_token, source.eos_token
    yield "the beginning token (BOS)", mine.bos_token, source.bos_token
    key = "tokenizer.ggml.tokens"
    if key in mine.array_lengths and key in source.array_lengths:
        yield "the vocabulary's size", mine.array_lengths[key], source.array_lengths[key]
    if (mine.chat_template or "") != (source.chat_template or ""):
        found = first_difference(source.chat_template or "", mine.chat_template or "")
        assert found is not None, "they differ"
        at = f"the chat template, after {found.position} characters,"
        yield at, found.server[:SHOWN], found.model[:SHOWN]


def count_evidence(rungs: Sequence[Rung]) -> Iterator[Clue]:
    """Whether every engine counts as many tokens in the same raw prompt."""
    counts = {
        rung.name: {r.prompt.name: r.answer.prompt_tokens for r in rung.results if r.answer}
        for rung in rungs
        if rung.name in ("full precision", "llama.cpp")
    }
    served, bare = counts.get("full precision", {}), counts.get("llama.cpp", {})
    for name in served.keys() & bare.keys():
        if served[name] != bare[name]:
            message = (
                f"the same prompt ({name}) has {served[name]} tokens for the server and "
                f"{bare[name]} for llama.cpp"
            )
            yield Clue("tokens", message, "runtime", proven=True)
            return


def hidden_evidence(rungs: Sequence[Rung], weights: Path) -> Iterator[Clue]:
    """Special tokens inside an answer: every engine leaves them out of its text.

    Words of a domain that were added as special tokens vanish so ("Under  of the  act").
    """
    try:
        tokens = read_header(weights).arrays.get("tokenizer.ggml.tokens")
    except DeployqError:
        return
    if tokens is None:
        return
    results = [one for rung in rungs if rung.name == "llama.cpp" for one in rung.results]
    for result in results:
        rows: Any = result.answer.raw.get("logprobs", ()) if result.answer else ()
        hidden = [row.get("id") for row in _before_the_end(rows) if row.get("token") == ""]
        names = [tokens.at(number) for number in hidden if isinstance(number, int)]
        if names:
            shown = ", ".join(map(repr, dict.fromkeys(names)))
            yield Clue(
                "special tokens",
                f"the answer to {result.prompt.name} holds {len(names)} special tokens, which no "
                f"engine writes out: {shown}; added as ordinary ones (special_tokens=False) they "
                "would be read",
            )
            return


def _before_the_end(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The tokens up to the last one with a text: what ends an answer has none."""
    last = max((n for n, row in enumerate(rows, 1) if row.get("token")), default=0)
    return rows[:last]


def token_id(source: Path, text: str) -> int | None:
    """The id of a token in a GGUF file's vocabulary; None where there is none of that text."""
    try:
        tokens = read_header(source).arrays.get("tokenizer.ggml.tokens")
    except DeployqError:
        return None
    return tokens.index(text) if tokens is not None and text else None

"""The tables of a BPE tokenizer, held against those of the GGUF that it became: ids and merges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq.foreign_values import ForeignObject, read_object
from deployq.source.gguf import Header

TOKENS, MERGES, MODEL = (f"tokenizer.ggml.{name}" for name in ("tokens", "merges", "model"))
_BLANK = "\N{LOWER ONE EIGHTH BLOCK}"


def differing_tables(folder: Path, vocabulary: Header) -> Iterator[str]:
    """What of a folder's tokenizer.json is otherwise in a GGUF, in words.

    Only byte-level BPE is compared: of the others llama.cpp keeps other tables (scores for merges).
    """
    whole = read_object(folder / "tokenizer.json")
    model = whole.child("model")
    if vocabulary.metadata.get(MODEL) != "gpt2":
        return
    tokens = list(vocabulary.arrays[TOKENS].texts()) if TOKENS in vocabulary.arrays else []
    if isinstance(model.values.get("vocab"), dict):
        yield from _other_tokens(model.ids("vocab"), whole.children("added_tokens"), tokens)
    merges = model.values.get("merges")
    if isinstance(merges, list):
        there = vocabulary.arrays.get(MERGES)
        yield from _other_merges(list(map(_merge, merges)), list(there.texts()) if there else [])


def _other_tokens(
    pieces: Mapping[str, int], added: Iterable[ForeignObject], tokens: Sequence[str]
) -> Iterator[str]:
    wanted = {number: piece for piece, number in pieces.items()}
    for token in added:
        if (number := token.integer("id")) is not None:
            wanted[number] = token.text("content")
    other = [n for n in sorted(wanted) if n >= len(tokens) or not _same(wanted[n], tokens[n])]
    if other:
        first = other[0]
        there = repr(tokens[first]) if first < len(tokens) else "missing"
        yield f"{len(other)} tokens differ, such as id {first}: {wanted[first]!r} became {there}"


def _same(piece: str, token: str) -> bool:
    """The converter writes blanks of an added token as blanks, whatever stood for them."""
    return piece == token or piece.replace(_BLANK, " ").strip() == token.strip()


def _other_merges(wanted: Sequence[str], there: Sequence[str]) -> Iterator[str]:
    if len(wanted) != len(there):
        yield f"it has {len(wanted)} merges, and {len(there)} in the GGUF"
        return
    other = [
        number for number, pair in enumerate(zip(wanted, there, strict=True)) if len({*pair}) > 1
    ]
    if other:
        first = other[0]
        yield (
            f"{len(other)} merges differ, such as number {first}: {wanted[first]!r} became "
            f"{there[first]!r}"
        )


def _merge(pair: Any) -> str:
    """A merge as GGUF has it: one text, blanks within a half moved out of the way (gguf.vocab)."""
    if isinstance(pair, str):
        return pair
    return " ".join("".join(chr(ord(c) + 256) if c == " " else c for c in half) for half in pair)

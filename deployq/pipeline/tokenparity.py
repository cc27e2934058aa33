"""Holds the tokenizer that a GGUF got against the one that the model was trained with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deployq.pipeline.session import Session
from deployq.pipeline.tokenizing import PRE, rename_pre_tokenizer, tokenize, tokenize_all
from deployq.records import dataclass
from deployq.source.gguf import read_header
from deployq.source.tokenizer_files import read_tokenizer
from deployq.source.tokenizer_tables import differing_tables
from deployq.source.tokenizer_texts import (
    BY_CATEGORY,
    COMPOSED,
    DECOMPOSED,
    ENGINE_DIFFERENCES,
    MEASURED_WITH,
    TEXTS,
    Text,
)
from deployq.tools import Tool, find_tool
from deployq.types import Failed, Finding, ModelInfo, NotRun, Remark

_SHOWN = 3
_FEW = 8
PRE_TOKENIZERS = (
    *("llama-bpe", "qwen2", "gpt-4o", "gpt-2", "tekken", "deepseek-v3", "smollm", "command-r"),
    *("qwen35", "deepseek-llm", "deepseek-coder", "falcon", "chatglm-bpe"),
)
"""Those of the families that are trained most; tried where a tokenizer's own does not fit."""


@dataclass(frozen=True)
class Split:
    """A text, and its token ids by the training tokenizer (`theirs`) and by llama.cpp (`ours`)."""

    text: Text
    theirs: Sequence[int]
    ours: Sequence[int]

    @property
    def differs(self) -> bool:
        return list(self.theirs) != list(self.ours)


def texts_for(folder: Path) -> tuple[Text, ...]:
    """What the tokenizer of a folder is asked: the texts of all, and its own special tokens."""
    marks = read_tokenizer(folder).marks
    return (*TEXTS, *(Text(f"the mark {mark}", f"{mark}user\nhi{mark}") for mark in marks))


def check_tokens(
    session: Session,
    folder: Path,
    texts: Sequence[Text],
    theirs: Sequence[Sequence[int]],
    vocabulary: Path,
    *,
    recognised: bool = True,
) -> Iterator[Finding]:
    """Hold what a tokenizer became against the one in the training folder.

    The tables are compared whole, where there are any to compare. Texts that llama.cpp cuts
    otherwise for every model of the family are remarked upon; any other difference is this model's.

    Args:
        theirs: the training tokenizer's ids of each text.
        vocabulary: a GGUF, which need not have weights.
        recognised: llama.cpp's converter knew the pre-tokenizer by itself; nobody named it.

    Raises:
        BackendError: llama.cpp's tool failed.
    """
    header = read_header(vocabulary)
    tables = list(differing_tables(folder, header))
    if tables:
        yield Failed(
            "tokenizer",
            f"{folder}: its tokenizer became another one in the GGUF: {'; '.join(tables)}",
            "put the base model's own tokenizer files there, all of one version",
        )
        return
    tool = find_tool("llama-tokenize", session.env)
    if tool is None:
        yield NotRun(
            "tokenizer",
            "llama-tokenize is not here: the tokenizers were not compared",
            "deployq tools install",
        )
        return
    pre = str(header.metadata.get(PRE, ""))
    splits = split_all(tool, vocabulary, texts, theirs)
    for finding in judge_splits(folder, splits, pre, recognised):
        if isinstance(finding, Failed) and (name := _fitting(tool, vocabulary, splits, pre)):
            mend = f'pre_tokenizer = "{name}" under [models.NAME]'
            yield replace(finding, hint=f"{mend}: it splits all of them as training did")
        else:
            yield finding


def check_template(folder: Path, made: ModelInfo) -> Iterator[Finding]:
    """Has the GGUF the chat template of the training folder, and its EOS?"""
    facts = read_tokenizer(folder)
    theirs = facts.chat_template
    if theirs is not None and theirs.strip() != (made.chat_template or "").strip():
        how = "another one" if made.chat_template else "none"
        yield Failed("template", f"{folder}: has a chat template, its GGUF has {how}")
    if facts.eos_token and made.eos_token != facts.eos_token:
        kind = Remark if facts.eos_token in made.stop_tokens else Failed
        yield kind(
            "eos", f"{folder}: ends with {facts.eos_token!r}, its GGUF with {made.eos_token!r}"
        )


def judge_splits(
    folder: Path, splits: Sequence[Split], pre: str, recognised: bool
) -> Iterator[Finding]:
    """Tell differences that llama.cpp makes for a whole family from those of this model.

    Args:
        pre: llama.cpp's name of the pre-tokenizer.
        recognised: see `check_tokens`.
    """
    differing = [split for split in splits if split.differs]
    usual = [split for split in differing if split.text.usual]
    by_engine = engine_differences(splits, pre, recognised)
    own = [split for split in usual if split.text.name not in by_engine]
    if own:
        yield _failed(folder, own, sum(split.text.usual for split in splits))
        return
    reasons: dict[str, list[str]] = {}
    for split in usual:
        reasons.setdefault(by_engine[split.text.name], []).append(split.text.name)
    for why, names in reasons.items():
        yield Remark("tokenizer", f"{', '.join(names)}: {why}")
    if len(differing) > len(usual):
        edge = [split.text.text[:24] for split in differing if not split.text.usual]
        yield Remark(
            "tokenizer",
            f"{folder}: tokenizers agree on all usual texts, not on blanks at the edge: "
            + ", ".join(map(repr, edge[:_SHOWN])),
        )


def engine_differences(splits: Sequence[Split], pre: str, recognised: bool) -> Mapping[str, str]:
    """By a text's name: why llama.cpp itself splits it otherwise than the training tokenizer.

    Measured once per pre-tokenizer (`deployq.source.tokenizer_texts`). NFC shows in the texts
    themselves. A pre-tokenizer that was never measured, but that llama.cpp's converter recognised
    by itself, may differ where a split hangs on Unicode categories.
    """
    found = {}
    if pre in ENGINE_DIFFERENCES:
        why = (
            f"llama.cpp's pre-tokenizer {pre!r} splits such text otherwise than the tokenizer in "
            f"training, in every model of its family (measured with {MEASURED_WITH})"
        )
        found = dict.fromkeys(ENGINE_DIFFERENCES[pre], why)
    elif recognised:
        why = (
            f"llama.cpp's pre-tokenizer {pre!r} splits such text otherwise than the tokenizer in "
            "training; the model's own tables are the same, and plain text agrees"
        )
        found = dict.fromkeys(BY_CATEGORY, why)
    if normalizes(splits):
        found[DECOMPOSED] = (
            "the tokenizer in training normalizes text to NFC, llama.cpp does not, for any model: "
            "accents in two characters are split otherwise"
        )
    return found


def normalizes(splits: Sequence[Split]) -> bool:
    """Whether training reads decomposed accents as composed ones, and llama.cpp those alike."""
    by_name = {split.text.name: split for split in splits}
    composed, decomposed = by_name.get(COMPOSED), by_name.get(DECOMPOSED)
    if composed is None or decomposed is None:
        return False
    return list(decomposed.theirs) == list(composed.theirs) == list(composed.ours)


def _failed(folder: Path, own: Sequence[Split], asked: int) -> Failed:
    first = own[0]
    pairs = enumerate(zip(first.theirs, first.ours, strict=False))
    shorter = min(len(first.theirs), len(first.ours))
    apart = next((at for at, (a, b) in pairs if a != b), shorter)
    there, here = (list(ids[apart : apart + 8]) for ids in (first.theirs, first.ours))
    return Failed(
        "tokenizer",
        f"{folder}: as a GGUF, its tokenizer splits {len(own)} of {asked} usual texts otherwise "
        f"({', '.join(split.text.name for split in own[:_SHOWN])}), such as "
        f"{first.text.text[:40]!r}: from token {apart} on {there} in training, {here} in the GGUF",
        "put the base model's own tokenizer files there (tokenizer.model too, where it has "
        "one), or name another pre_tokenizer under [models.NAME]",
    )


def _fitting(tool: Tool, vocabulary: Path, splits: Sequence[Split], pre: str) -> str:
    """A pre-tokenizer of llama.cpp under which all usual texts agree; empty: none is known."""
    texts, theirs = [one.text for one in splits], [one.theirs for one in splits]
    for name in PRE_TOKENIZERS:
        if name == pre:
            continue
        with tempfile.TemporaryDirectory(prefix="deployq-tokens-") as folder:
            renamed = Path(folder) / "vocabulary.gguf"
            if not rename_pre_tokenizer(vocabulary, renamed, pre, name):
                return ""
            others = split_all(tool, renamed, texts, theirs)
        if not any(
            isinstance(one, Failed) for one in judge_splits(vocabulary, others, name, False)
        ):
            return name
    return ""


def split_all(
    tool: Tool, vocabulary: Path, texts: Sequence[Text], theirs: Sequence[Sequence[int]]
) -> list[Split]:
    """Each text by both tokenizers.

    Raises:
        ModelRejected: llama.cpp can't load the vocabulary.
        BackendError: the tool failed, or printed something else.
    """
    ours = tokenize_all(tool, vocabulary, read_header(vocabulary), [one.text for one in texts])
    splits = [Split(*one) for one in zip(texts, theirs, ours, strict=True)]
    if sum(split.differs for split in splits) > _FEW:
        return splits
    # a special token may take the blanks beside it: what differs is asked by itself
    return [
        replace(one, ours=tokenize(tool, vocabulary, one.text.text)) if one.differs else one
        for one in splits
    ]

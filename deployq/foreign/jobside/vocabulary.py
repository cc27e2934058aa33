"""What llama.cpp's scripts leave out of a SentencePiece BPE that was saved as tokenizer.json alone.

They write nothing where a tokenizer puts no BOS before a text and says so in tokenizer.json alone,
as transformers 5 saves it: llama.cpp then puts one there, which the model never saw in training.
They leave every score the same ("Placeholder for actual logic"), so that llama.cpp merges in
another order than in training; they take special tokens from the tokenizer's list of them alone,
which adding a token may have overwritten; and they stop at an id of -1, which stands for none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def complete(gguf: ModuleType) -> None:
    """Have the scripts' own `gguf` say it."""
    vocab = getattr(gguf, "LlamaHfVocab", None)
    if vocab is not None:
        vocab.get_token_score = _merge_score
        vocab.get_token_type = _token_type_by(vocab.get_token_type, gguf)
    special = getattr(gguf, "SpecialVocab", None)
    if special is not None and hasattr(special, "_load"):
        special._load = _with_bos(special._load)  # noqa: SLF001  (the scripts have no other way in)
    if special is not None and hasattr(special, "_set_special_token"):
        special._set_special_token = _without_none(special._set_special_token)  # noqa: SLF001


def _with_bos(load: Callable[..., Any]) -> Callable[..., Any]:
    def _load(self: Any, path: Path) -> None:
        load(self, path)
        if _has_no_bos(Path(path) / "tokenizer.json"):
            self.add_special_token.setdefault("bos", False)

    return _load


def _without_none(set_token: Callable[..., None]) -> Callable[..., None]:
    """Configs of older models say pad_token_id -1 for none, on which the scripts stop."""

    def _set_special_token(self: Any, typ: str, tid: Any) -> None:
        if tid != -1:
            set_token(self, typ, tid)

    return _set_special_token


def _has_no_bos(file: Path) -> bool:
    """Whether a tokenizer.json says what goes around a text, and that nothing goes before it."""
    if not file.is_file():
        return False
    processor = json.loads(file.read_bytes()).get("post_processor") or {}
    each = processor.get("processors", [processor])
    around = [one["single"] for one in each if one.get("type") == "TemplateProcessing"]
    return bool(around) and all("Sequence" in single[0] for single in around if single)


def _token_type_by(by_list: Callable[..., Any], gguf: ModuleType) -> Callable[..., Any]:
    def get_token_type(self: Any, token_id: int, text: bytes, special_ids: set[int]) -> Any:
        added = self.tokenizer.added_tokens_decoder.get(token_id)
        if added is None:
            return by_list(self, token_id, text, special_ids)
        kinds = gguf.TokenType
        return kinds.CONTROL if added.special else kinds.USER_DEFINED

    return get_token_type


def _merge_score(self: Any, token_id: int) -> float:
    if not hasattr(self, "deployq_scores"):
        merges = json.loads(Path(self.fname_tokenizer).read_bytes())["model"]["merges"]
        known = self.tokenizer.get_vocab()
        self.deployq_scores = {}
        for rank, merge in enumerate(merges):
            text = merge.replace(" ", "") if isinstance(merge, str) else "".join(merge)
            self.deployq_scores.setdefault(known.get(text), -float(rank))
    lowest = -float(len(self.deployq_scores) + 1)
    score: float = self.deployq_scores.get(token_id, lowest)
    return score

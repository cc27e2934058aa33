"""What llama.cpp's scripts leave out of a SentencePiece BPE that was saved as tokenizer.json alone.

They leave every score the same ("Placeholder for actual logic"), so that llama.cpp merges in
another order than in training; and they take special tokens from the tokenizer's list of them
alone, which adding a token may have overwritten.
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

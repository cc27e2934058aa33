"""What would make a conversion fail, or its result useless: said before the hour is spent.

Each finding has the name of a check, which `allow` in deployq.toml turns into a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployq.source.finding import read_object
from deployq.source.hf_files import unexpected_weights
from deployq.source.safetensors import Weights
from deployq.source.stored import PICKLE, read_weights
from deployq.source.tokenizer_files import TokenizerFacts, read_tokenizer
from deployq.types import Finding

if TYPE_CHECKING:
    from deployq.source.weights import WeightScan

_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight",
               "embeddings.weight", "embedding.weight")  # fmt: skip
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|return|>")


def check_folder(folder: Path, tokenizer_folder: Path | None = None) -> Iterator[Finding]:
    """Everything that the files of a Hugging Face model tell without reading its weights.

    Args:
        tokenizer_folder: where the tokenizer is, if it isn't the model's own (an adapter's).

    Raises:
        SourceError: a shard is missing, or a header lies.
    """
    weights = read_weights(folder)
    facts = read_tokenizer(tokenizer_folder or folder)
    yield from check_tokenizer(tokenizer_folder or folder, facts)
    yield from check_eos(folder, facts)
    if tokenizer_folder in (None, folder):  # an adapter with new tokens brings new rows as well
        yield from check_vocabulary(folder, facts, weights)
    yield from _extra_shards(folder, weights)
    yield from _pickled(folder, weights)


def check_tokenizer(folder: Path, facts: TokenizerFacts) -> Iterator[Finding]:
    """Is there a tokenizer, with a chat template, and without code of its own?"""
    if not facts.files:
        yield Finding(
            "tokenizer",
            True,
            f"{folder}: has no tokenizer (none of tokenizer.json, tokenizer.model, vocab.json)",
            f"tokenizer.save_pretrained({str(folder)!r}) where it was trained",
        )
        return
    if facts.chat_template is None:
        yield Finding(
            "template",
            True,
            f"{folder}: its tokenizer has no chat template; Ollama would then chat in a format "
            "that the model was not trained on",
            "save the tokenizer with the template that was trained with, name a Modelfile "
            'template with a TEMPLATE, or write allow = ["template"] for a model that only '
            "completes text",
        )
    if facts.remote_code:
        yield Finding(
            "code",
            False,
            f"{folder}: brings code of its own, which is not run",
            'allow = ["code"] runs it, where the conversion needs it',
        )


def check_eos(folder: Path, facts: TokenizerFacts) -> Iterator[Finding]:
    """Does the tokenizer's EOS end an answer by the model's own settings too?"""
    config = read_object(folder / "config.json")
    text = config.get("text_config")
    stated = _ids(read_object(folder / "generation_config.json").get("eos_token_id"))
    stated = stated or _ids(config.get("eos_token_id"))
    stated = stated or _ids(text.get("eos_token_id") if isinstance(text, dict) else None)
    if facts.eos_id is not None and stated and facts.eos_id not in stated:
        yield Finding(
            "eos",
            True,
            f"{folder}: the tokenizer ends with {facts.eos_token!r} (id {facts.eos_id}), the "
            f"model with id {', '.join(map(str, sorted(stated)))}: it would not stop",
            "set eos_token_id in generation_config.json and config.json to what the answers it "
            "was trained on end with",
        )
    template = facts.chat_template or ""
    ends = [mark for mark in _TURN_ENDS if mark in template]
    if ends and facts.eos_token and facts.eos_token not in template:
        yield Finding(
            "eos",
            False,
            f"{folder}: the chat template ends turns with {ends[0]}, the tokenizer's EOS is "
            f"{facts.eos_token}: both will stop an answer",
        )


def _ids(value: Any) -> set[int]:
    values = value if isinstance(value, list) else [value]
    return {v for v in values if isinstance(v, int) and not isinstance(v, bool)}


def check_vocabulary(folder: Path, facts: TokenizerFacts, weights: Weights) -> Iterator[Finding]:
    """Has every token a row in the embedding?"""
    rows = next(
        (t.shape[0] for t in weights.tensors if t.name.endswith(_EMBEDDINGS) and t.shape), None
    )
    if rows is not None and facts.size is not None and facts.size > rows:
        yield Finding(
            "vocabulary",
            True,
            f"{folder}: the tokenizer has ids up to {facts.size - 1}, the embedding {rows} rows: "
            "tokens were added without resizing it",
            "model.resize_token_embeddings(len(tokenizer)) before training, and save again",
        )


def _extra_shards(folder: Path, weights: Weights) -> Iterator[Finding]:
    if extra := unexpected_weights(folder, weights.files):
        names = ", ".join(file.name for file in extra[:3])
        yield Finding(
            "weights", False, f"{folder}: {names} belong to no part of the model and are left out"
        )


def _pickled(folder: Path, weights: Weights) -> Iterator[Finding]:
    """Are the weights in files that can run code when PyTorch reads them?"""
    if any(file.suffix == PICKLE for file in weights.files):
        yield Finding(
            "pickle",
            True,
            f"{folder}: its weights are pickle files ({weights.files[0].name}), which can run code "
            "when they are read",
            "save_pretrained(..., safe_serialization=True) where it was trained; or trust them: "
            '--allow pickle, or allow = ["pickle"] under [models.NAME]',
        )


def check_scan(folder: Path, scan: WeightScan, dtype: str) -> Iterator[Finding]:
    """Are all weights numbers, and do they fit into what they are converted to?"""
    if scan.not_numbers:
        yield Finding(
            "weights",
            True,
            f"{folder}: {', '.join(scan.not_numbers)} has values that are no numbers (NaN or "
            "infinite): the training diverged, or the file is damaged",
            "take an earlier checkpoint",
        )
    if scan.above_f16:
        names = ", ".join(scan.above_f16)
        yield Finding(
            "overflow",
            dtype == "F16",
            f"{folder}: {names} has values above 65504, the largest F16",
            'write dtype = "BF16" under [models.NAME], and build no F16 of it',
        )

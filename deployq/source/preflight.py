"""What would make a conversion fail, or its result useless: said before the hour is spent.

Each finding has the name of a check, which `allow` in deployq.toml turns into a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deployq.foreign_values import ForeignObject, read_object
from deployq.source.hf_config import read_config
from deployq.source.safetensors import Weights
from deployq.source.saves import choose_save, newer_saves
from deployq.source.stored import PICKLE, read_weights
from deployq.source.tokenizer_files import TokenizerFacts, read_tokenizer
from deployq.source.turn_ends import turn_ends
from deployq.types import Failed, Finding, ModelInfo, Remark

if TYPE_CHECKING:
    from deployq.source.weights import WeightScan

_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight",
               "embeddings.weight", "embedding.weight")  # fmt: skip
_SENSES = ("vision_config", "audio_config", "mm_vision_tower", "img_processor")
_TOKENS = "tokenizer.ggml.tokens"
_NO_TOKENIZER = ("none", "no_vocab")
_EMPTY_BLOCKS = ("deci",)  # its pruned models keep blocks that do nothing
_BLOCK = re.compile(r"blk\.(\d+)\.")
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
    yield from _left_out(folder)
    yield from check_pickled(folder, weights.files)


def check_tokenizer(folder: Path, facts: TokenizerFacts) -> Iterator[Finding]:
    """Is there a tokenizer, with a chat template, and without code of its own?"""
    if not facts.files:
        yield Failed(
            "tokenizer",
            f"{folder}: has no tokenizer (none of tokenizer.json, tokenizer.model, vocab.json)",
            f"tokenizer.save_pretrained({str(folder)!r}) where it was trained",
        )
        return
    if facts.chat_template is None:
        yield Failed(
            "template",
            f"{folder}: its tokenizer has no chat template; Ollama would then chat in a format "
            "that the model was not trained on",
            "save the tokenizer with the template that was trained with, name a Modelfile "
            'template with a TEMPLATE, or write allow = ["template"] for a model that only '
            "completes text",
        )
    if facts.remote_code:
        yield Remark(
            "code",
            f"{folder}: brings code of its own, which is not run",
            'allow = ["code"] runs it, where the conversion needs it',
        )


def check_eos(folder: Path, facts: TokenizerFacts) -> Iterator[Finding]:
    """Does the tokenizer's EOS end an answer by the model's own settings too?"""
    config = read_object(folder / "config.json")
    stated = _ends(read_object(folder / "generation_config.json"))
    stated = stated or _ends(config) or _ends(config.child("text_config"))
    if facts.eos_id is not None and stated and facts.eos_id not in stated:
        yield Failed(
            "eos",
            f"{folder}: the tokenizer ends with {facts.eos_token!r} (id {facts.eos_id}), the "
            f"model with id {', '.join(map(str, sorted(stated)))}: it would not stop",
            "set eos_token_id in generation_config.json and config.json to what the answers it "
            "was trained on end with",
        )
    template = facts.chat_template or ""
    ends = [mark for mark in turn_ends(template, template.__contains__) if mark in _TURN_ENDS]
    if ends and facts.eos_token and facts.eos_token not in template:
        yield Remark(
            "eos",
            f"{folder}: the chat template ends turns with {ends[0]}, the tokenizer's EOS is "
            f"{facts.eos_token}: both will stop an answer",
        )


def _ends(config: ForeignObject) -> set[int]:
    """The ids that end an answer; -1 stands for none."""
    return {number for number in config.integers("eos_token_id", low=-1) if number >= 0}


def check_config(folder: Path, info: ModelInfo) -> Iterator[Finding]:
    """Has the folder the layers and the rows of the embedding that its config.json announces?

    The converter believes config.json, and llama.cpp then misses the rest.

    Raises:
        SourceError: it has no config.json that can be read.
    """
    config, there = read_config(folder), _blocks(info)
    layers = config.number("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    if there and layers is not None and max(there) + 1 < layers:
        yield Failed(
            "weights",
            f"{config.path}: says {layers} layers, the weights have {max(there) + 1}",
            "set the number of layers to what was saved, or save the model again whole",
        )
    else:
        yield from check_blocks(info)
    rows, said = _rows(info), config.number("vocab_size", "padded_vocab_size")
    if rows is not None and said is not None and said != rows:
        yield Failed(
            "vocabulary",
            f"{config.path}: says vocab_size {said}, the embedding has {rows} rows",
            f"set vocab_size to {rows} in config.json, if the weights are the right ones; else "
            "save the model again",
        )


def check_senses(folder: Path, info: ModelInfo) -> Iterator[Finding]:
    """Do the weights hold the part for images or sound that config.json announces?"""
    config = read_object(folder / "config.json")
    named = next((key for key in _SENSES if config.values.get(key)), None)
    if named is not None and not info.projector_bytes:
        yield Remark(
            "projector",
            f"{folder}: its config.json has a {named}, and its weights hold no such part: the tags "
            "will take text alone; to keep it, save the model with the class it was loaded with",
        )


def check_vocabulary(folder: Path, facts: TokenizerFacts, weights: Weights) -> Iterator[Finding]:
    """Has every token a row in the embedding?"""
    rows = next(
        (t.shape[0] for t in weights.tensors if t.name.endswith(_EMBEDDINGS) and t.shape), None
    )
    if rows is not None and facts.size is not None and facts.size > rows:
        yield Failed(
            "vocabulary",
            f"{folder}: the tokenizer has ids up to {facts.size - 1}, the embedding {rows} rows: "
            "tokens were added without resizing it",
            "model.resize_token_embeddings(len(tokenizer)) before training, and save again",
        )


def _left_out(folder: Path) -> Iterator[Finding]:
    """Was another save of the model written after the one that counts?"""
    for note in newer_saves(choose_save(folder)):
        yield Remark("weights", f"{folder}: {note}")


def check_pickled(folder: Path, files: Sequence[Path]) -> Iterator[Finding]:
    """Are the weights in files that can run code when PyTorch reads them?"""
    if any(file.suffix == PICKLE for file in files):
        yield Failed(
            "pickle",
            f"{folder}: its weights are pickle files ({files[0].name}), which can run code "
            "when they are read",
            "save_pretrained(..., safe_serialization=True) where it was trained; or trust them: "
            '--allow pickle, or allow = ["pickle"] under [models.NAME]',
        )


def check_header(info: ModelInfo) -> Iterator[Finding]:
    """What a GGUF's header tells that no engine or no server would take.

    llama.cpp's own refusals come late, and name the fault without its cause.
    """
    tokens, rows = info.array_lengths.get(_TOKENS), _rows(info)
    model = info.metadata.get("tokenizer.ggml.model")
    if tokens is None and model not in _NO_TOKENIZER:
        yield Failed(
            "tokenizer", f"{info.path}: holds no tokenizer", "convert it again, tokenizer included"
        )
    elif tokens is not None and rows is not None and tokens != rows:
        yield Failed(
            "vocabulary",
            f"{info.path}: has {tokens} tokens, and {rows} rows in its embedding",
            "convert it again from a folder whose tokenizer belongs to its weights",
        )
    if model == "gpt2" and not info.array_lengths.get("tokenizer.ggml.merges"):
        yield Failed(
            "tokenizer",
            f"{info.path}: its tokenizer is BPE, and its header has no merges",
            "convert it again with the base model's tokenizer.json (or merges.txt) in the folder",
        )
    if f"{info.architecture}.pooling_type" in info.metadata:
        yield Failed(
            "pooling",
            f"{info.path}: its header has a pooling_type: Ollama takes such a file for a model of "
            "embeddings, which answers no prompt",
            "convert it again as a causal model (without modules.json and 1_Pooling in the folder)",
        )
    yield from check_blocks(info)


def check_blocks(info: ModelInfo) -> Iterator[Finding]:
    """Has every block that the configuration announces tensors?

    Blocks for multi-token prediction stand at the end, and may be left out.
    """
    blocks, extra = (
        info.metadata.get(f"{info.architecture}.{key}")
        for key in ("block_count", "nextn_predict_layers")
    )
    there = _blocks(info)
    if not isinstance(blocks, int) or not there or info.architecture in _EMPTY_BLOCKS:
        return
    needed = set(range(blocks - (extra if isinstance(extra, int) else 0)))
    if missing := sorted(needed - there):
        yield Failed(
            "weights",
            f"{info.path}: announces {blocks} layers, and has no weights of layer {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            "set the number of layers to what was saved, or save the model again whole",
        )


def _blocks(info: ModelInfo) -> set[int]:
    """The numbers of the blocks that tensors belong to."""
    return {int(found[1]) for t in info.tensors if (found := _BLOCK.match(t.name))}


def _rows(info: ModelInfo) -> int | None:
    shape = next((t.shape for t in info.tensors if t.name == "token_embd.weight"), ())
    return shape[1] if len(shape) > 1 else None


def check_scan(folder: Path, scan: WeightScan, dtype: str) -> Iterator[Finding]:
    """Are all weights numbers, and do they fit into what they are converted to?"""
    if scan.not_numbers:
        yield Failed(
            "weights",
            f"{folder}: {', '.join(scan.not_numbers)} has values that are no numbers (NaN or "
            "infinite): the training diverged, or the file is damaged",
            "take an earlier checkpoint",
        )
    if scan.above_f16:
        names = ", ".join(scan.above_f16)
        kind = Failed if dtype == "F16" else Remark
        yield kind(
            "overflow",
            f"{folder}: {names} has values above 65504, the largest F16",
            'write dtype = "BF16" under [models.NAME], and build no F16 of it',
        )

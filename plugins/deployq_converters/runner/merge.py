"""Merges a LoRA adapter into its base with PEFT."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from jobside import Refused, emit

from . import merge_proof, scripts
from .loading import load_model, read_shapes, renamings
from .precision import stored_dtype, working_dtype
from .tokens import TOKENIZER_FILES

_ONE_TENSOR = ("gemma", "cohere")
"""Families that llama.cpp gives no head of their own: it takes the embedding."""
_SAME = 1e-6
_NOT_COPIED = ("model", "pytorch_model", "consolidated", "config.json", "generation_config.json")


@torch.no_grad()
def merge(job: dict[str, Any]) -> None:
    """Write the merged model to `output`, in the precision of its base.

    Raises:
        Refused: the adapter does not load on this base, changes nothing, or was not merged right.
    """
    allowed = "code" in job["allow"]
    scripts.trust(allowed)
    base, adapter, output = Path(job["base"]), Path(job["source"]), Path(job["output"])
    stored = stored_dtype(base)
    working = working_dtype(base, stored)
    emit("note", text=f"merging in {_name(working)}, saved as {_name(stored)}")
    tokenizer = _tokenizer(adapter if _has_tokenizer(adapter) else base)
    shapes = read_shapes(adapter)
    model = load_model(base, working, trusted=allowed)
    tied = _prepare(model, adapter, shapes, tokenizer)
    trained = _trained_tokens(adapter)
    asked = merge_proof.choose_tokens(
        tokenizer, sorted({i for ids in trained.values() for i in ids})
    )
    before = merge_proof.answer(model, asked)
    model = _with_adapter(model, adapter, shapes)
    after = merge_proof.answer(model, asked)
    merge_proof.merge_layers(model, adapter)
    merged = model.merge_and_unload(progressbar=False, safe_merge=True)
    merge_proof.require_saved_modules(merged, adapter, trained)
    answers = (before, after, merge_proof.answer(merged, asked))
    merge_proof.require_answers(answers, adapter, working)
    if tied:
        _settle_head(merged, tied, adapter)
    merged.to(stored).save_pretrained(output, safe_serialization=True)
    _copy_beside(base, output)
    _copy_tokenizer(adapter if _has_tokenizer(adapter) else base, output)


# ---------------------------------------------------------------- loading


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer_config.json").is_file()


def _tokenizer(folder: Path) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Refused(f"{folder}: its tokenizer can't be loaded: {exc}", "tokenizer") from exc


def _adapter_config(adapter: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_bytes())
    return config


def _trained_tokens(adapter: Path) -> Mapping[str, list[int]]:
    """The ids of `trainable_token_indices` by module; of a list it is the embedding."""
    stated = _adapter_config(adapter).get("trainable_token_indices") or {}
    return stated if isinstance(stated, dict) else {"": stated}


# ---------------------------------------------------------------- the embedding and the head


def _prepare(
    model: Any, adapter: Path, shapes: Mapping[str, tuple[int, ...]], tokenizer: Any
) -> list[tuple[Any, bool]]:
    """Make the base what the adapter was trained on; what `_settle_head` wants to know."""
    _resize(model, adapter, shapes, tokenizer)
    return _separate_head(model, shapes)


def _resize(
    model: Any, adapter: Path, shapes: Mapping[str, tuple[int, ...]], tokenizer: Any
) -> None:
    """Give the base the rows that the adapter was trained with: tokens added, or padding cut."""
    have = model.get_input_embeddings().weight.shape[0]
    tokens = len(tokenizer) if _has_tokenizer(adapter) else min(have, len(tokenizer))
    rows = _saved_rows(model, shapes)
    trained = {index for ids in _trained_tokens(adapter).values() for index in ids}
    if rows is not None:
        untrained = set(range(rows, tokens))
    else:
        untrained = set(range(have, tokens)) - trained
        rows = max(have, tokens, *(index + 1 for index in trained))
    if untrained:
        first = tokenizer.convert_ids_to_tokens(min(untrained))
        raise Refused(
            f"{adapter}: its tokenizer has {tokens} tokens, its base {have} rows, and the adapter "
            f"holds no rows for {len(untrained)} of the new ones, such as {first!r}: they were "
            "never trained",
            "vocabulary",
            'train with modules_to_save=["embed_tokens", "lm_head"] or trainable_token_indices, '
            "or with the base's tokenizer",
        )
    if rows != have:
        model.resize_token_embeddings(rows, mean_resizing=False)
        _fill_rows(model, have)
        emit("note", text=f"embedding resized from {have} to {rows} rows, as the adapter has them")


def _fill_rows(model: Any, have: int) -> None:
    """Make a new row the mean of the old ones, which transformers does in training, with noise."""
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        if module is not None and len(module.weight) > have:
            module.weight[have:] = module.weight[:have].float().mean(0).to(module.weight.dtype)


def _vocabulary_modules(model: Any) -> set[str]:
    """What the model calls its embedding and its head, such as `embed_tokens` and `lm_head`."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    named = model.named_modules(remove_duplicate=False)
    return {name.rpartition(".")[2] for name, module in named if module in modules}


def _saved_rows(model: Any, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Rows of the embedding that an adapter was trained with; None: it holds none of them."""
    modules = _vocabulary_modules(model)
    for name, shape in shapes.items():
        if not modules.intersection(name.split(".")) or "token_adapter" in name:
            continue
        if ".lora_embedding_A" in name:
            return shape[1]
        if ".lora_B" in name or ".lora_" not in name:
            return shape[0]
    return None


def _separate_head(model: Any, shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[Any, bool]]:
    """Give a head that is tied to the embedding its own weights, where either was trained.

    PEFT trains one of two tied modules alone; merged into tied weights, it would change both. The
    config still says that they are tied: PEFT goes by it for what trained them together.

    Returns:
        What each part of the config said of it; empty where nothing had to be separated.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embedding.weight:
        return []
    parts = {part for name in shapes for part in name.split(".")}
    if not _vocabulary_modules(model) & parts:
        return []
    head.weight = torch.nn.Parameter(embedding.weight.detach().clone(), requires_grad=False)
    configs = (model.config, model.config.get_text_config())
    return [(config, bool(getattr(config, "tie_word_embeddings", False))) for config in configs]


def _settle_head(merged: Any, said: list[tuple[Any, bool]], adapter: Path) -> None:
    """Tie head and embedding again, unless the adapter made them differ."""
    head, embedding = merged.get_output_embeddings(), merged.get_input_embeddings()
    off = float((head.weight - embedding.weight).abs().max())
    tied = off <= _SAME * float(embedding.weight.abs().max())
    for config, before in said:  # PEFT may have changed it, too
        config.tie_word_embeddings = before and tied
    if tied:
        head.weight = embedding.weight
        return
    if str(merged.config.get_text_config().model_type).startswith(_ONE_TENSOR):
        raise Refused(
            f"{adapter}: changes the embedding or the head alone, which are one tensor in its "
            "base; llama.cpp has one tensor for both in such a model and can't keep them apart",
            "adapter",
            "train both together: ensure_weight_tying=True in PEFT's LoraConfig",
        )
    emit("note", text="the adapter changes embedding and head apart: they are no longer tied")


# ---------------------------------------------------------------- the adapter


def _with_adapter(model: Any, adapter: Path, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """The model with the adapter on it, every tensor of the adapter in its place.

    Raises:
        Refused: PEFT does not load it, or leaves some of its tensors out.
    """
    config = _adapter_config(adapter)
    before = merge_proof.weights_before(model, shapes, config)
    renamed = dict(getattr(model, "_checkpoint_conversion_mapping", {}))
    try:
        loaded = peft.PeftModel.from_pretrained(model, adapter, is_trainable=False)
        # only a second loading returns what PEFT left out
        result = loaded.load_adapter(adapter, "default", key_mapping=renamed or None)
        modules = [name for name, _ in loaded.get_base_model().named_modules()]
        if more := renamings(modules, result.unexpected_keys):
            result = loaded.load_adapter(adapter, "default", key_mapping={**more, **renamed})
    except ImportError as exc:
        raise Refused(
            f"{adapter}: PEFT needs a package for it that its environment lacks: {exc}",
            "adapter",
            f"{sys.executable} -m pip install PACKAGE, or merge it where it was trained",
        ) from exc
    except KeyError as exc:
        raise Refused(
            f"{adapter}: its adapter_config.json names a module that was trained whole, and its "
            f"weights have no {exc}",
            "adapter",
            "save the adapter again with PEFT's save_pretrained(), which writes both",
        ) from exc
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as exc:
        raise Refused(
            f"{adapter}: PEFT {peft.__version__} does not load it on this base: {str(exc)[:400]}",
            "base",
            "give the base that it was trained on: --base; or train with the options that this "
            "version of PEFT takes",
        ) from exc
    merge_proof.require_loaded(loaded, result, shapes, adapter)
    merge_proof.require_repeatable(loaded, before, config, adapter)
    return loaded


# ---------------------------------------------------------------- what lies beside the weights


def _copy_beside(base: Path, output: Path) -> None:
    """What a model that sees or hears needs besides: how images and sound are prepared."""
    for file in base.glob("*.json"):
        theirs = file.name.startswith((*TOKENIZER_FILES, *_NOT_COPIED))
        if not theirs and not (output / file.name).exists():
            shutil.copyfile(file, output / file.name)


def _copy_tokenizer(folder: Path, output: Path) -> None:
    """The tokenizer as it was trained with: saving it again may leave out or change files."""
    for file in folder.iterdir():
        if file.name.startswith(TOKENIZER_FILES):
            copy = shutil.copytree if file.is_dir() else shutil.copyfile
            copy(file, output / file.name)

"""Merges a LoRA adapter into its base with PEFT, and proves that it was merged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from jobside import Refused, emit

from . import scripts
from .precision import stored_dtype, working_dtype
from .tokens import TOKENIZER_FILES

_SAMPLED = 6
_TOLERANCE = 0.02
_OFF_SHARE = 0.1
_ROUNDINGS = 4


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
    model = transformers.AutoModelForCausalLM.from_pretrained(
        base, dtype=working, low_cpu_mem_usage=True
    )
    _resize(model, adapter, tokenizer)
    _untie(model, adapter)
    before = _answer(model, tokenizer)
    model = _with_adapter(model, adapter)
    after = _answer(model, tokenizer)
    expected = dict(_expected(model))
    merged = model.merge_and_unload(progressbar=False, safe_merge=True)
    _require_merged(merged, expected, adapter)
    _require_change(before, after, _answer(merged, tokenizer), adapter, working)
    merged.to(stored).save_pretrained(output, safe_serialization=True)
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


def _resize(model: Any, adapter: Path, tokenizer: Any) -> None:
    """Give the base the rows that the adapter was trained with, where tokens were added."""
    rows = _saved_rows(adapter)
    have = model.get_input_embeddings().weight.shape[0]
    if rows is None and len(tokenizer) > have and _has_tokenizer(adapter):
        raise Refused(
            f"{adapter}: its tokenizer has {len(tokenizer)} tokens, its base {have} rows, and the "
            "adapter holds no rows for the new ones: they were never trained",
            "vocabulary",
            'train with modules_to_save=["embed_tokens", "lm_head"], or with the base\'s tokenizer',
        )
    if rows is not None and rows != have:
        model.resize_token_embeddings(rows, mean_resizing=False)
        emit("note", text=f"embedding resized from {have} to {rows} rows, as the adapter has them")


def _untie(model: Any, adapter: Path) -> None:
    """Give a head that is tied to the embedding its own weights, where the adapter trained it.

    Merged into tied weights, what was trained for one would change the other too.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    tied = head is not None and head.weight is embedding.weight
    if not tied or not any("lm_head" in name for name in _stored_names(adapter)):
        return
    head.weight = torch.nn.Parameter(embedding.weight.detach().clone(), requires_grad=False)
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False
    emit("note", text="the adapter changes the head alone: it is no longer tied to the embedding")


def _stored_names(adapter: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        return list(file.keys())


def _saved_rows(adapter: Path) -> int | None:
    """Rows of the embedding that an adapter was saved with; None: it holds none."""
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118  (it is no dict)
            whole = ".lora_" not in name and "token_adapter" not in name
            if whole and any(part in name for part in ("embed_tokens", "wte", "lm_head")):
                return int(file.get_slice(name).get_shape()[0])
    return None


def _with_adapter(model: Any, adapter: Path) -> Any:
    try:
        return peft.PeftModel.from_pretrained(model, adapter, is_trainable=False)
    except (RuntimeError, ValueError, KeyError) as exc:
        raise Refused(
            f"{adapter}: does not load on this base: {str(exc)[:400]}",
            "base",
            "give the base that it was trained on: --base",
        ) from exc


# ---------------------------------------------------------------- proof


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    """LoRA layers over a plain matrix, by the name that their module has in the merged model."""
    for name, module in model.base_model.model.named_modules():
        linear = getattr(module, "lora_A", None) and isinstance(
            getattr(module, "base_layer", None), torch.nn.Linear
        )
        if linear:
            yield name, module


def _expected(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """What some matrices shall be once merged, reckoned here from the parts, in float64."""
    layers = list(_layers(model))
    for name, layer in layers[:: max(1, len(layers) // _SAMPLED)][:_SAMPLED]:
        weight = layer.base_layer.weight.double()
        for key in layer.active_adapters:
            if key not in layer.lora_A:
                continue
            a, b = layer.lora_A[key].weight.double(), layer.lora_B[key].weight.double()
            scale = layer.scaling[key]
            changed = weight + scale * (b @ a)
            if getattr(layer, "use_dora", {}).get(key):
                magnitude = layer.lora_magnitude_vector[key].weight.double()
                changed = magnitude[:, None] * changed / changed.norm(dim=1, keepdim=True)
            weight = changed
        yield name, weight


def _require_merged(merged: Any, expected: dict[str, torch.Tensor], adapter: Path) -> None:
    modules = dict(merged.named_modules())
    for number, (name, wanted) in enumerate(expected.items(), 1):
        found = modules[name].weight.double()
        off = float((found - wanted).norm() / wanted.norm())
        if not off < _TOLERANCE:
            raise Refused(
                f"{adapter}: merged wrongly: {name} is {off:.1%} away from base + scaled BA",
                "adapter",
            )
        emit("merged", done=number, total=len(expected), name=name, off=off)
    emit("note", text=f"merged: {len(expected)} sampled matrices are base + scaled BA")


def _answer(model: Any, tokenizer: Any) -> torch.Tensor:
    """Logits after a short text; with a chat template, after a chat's first turn."""
    text = "Hello, what can you do?"
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
    logits: torch.Tensor = model.eval()(input_ids=ids).logits[0, -1].float()
    return logits


def _require_change(
    base: torch.Tensor,
    tuned: torch.Tensor,
    merged: torch.Tensor,
    adapter: Path,
    working: torch.dtype,
) -> None:
    """The adapter must change answers, and the merged model must give the adapter's.

    How far it may be off is measured by what the adapter changes, and by what rounding explains.
    """
    rows = min(len(base), len(tuned))
    change = float((tuned[:rows] - base[:rows]).abs().max())
    if change == 0.0:
        raise Refused(
            f"{adapter}: changes no answer: the merged model would be its base",
            "adapter",
            "save the adapter after training: trainer.save_model()",
        )
    off = float((merged - tuned).abs().max())
    rounding = _ROUNDINGS * torch.finfo(working).eps * float(tuned.abs().max())
    allowed = max(rounding, _OFF_SHARE * change)
    if not off <= allowed:
        raise Refused(
            f"{adapter}: merged, it answers otherwise: logits differ by up to {off:.3g} "
            f"(the adapter itself changes them by {change:.3g})",
            "adapter",
        )
    emit("note", text=f"the adapter changes logits by up to {change:.2g}, merging by {off:.1g}")


def _copy_tokenizer(folder: Path, output: Path) -> None:
    """The tokenizer as it was trained with: saving it again may leave out or change files."""
    for file in folder.iterdir():
        if file.name.startswith(TOKENIZER_FILES):
            copy = shutil.copytree if file.is_dir() else shutil.copyfile
            copy(file, output / file.name)

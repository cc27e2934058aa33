"""Proves a merge: every tensor of the adapter loaded, every matrix reckoned again, answers held."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from jobside import Refused, emit

from .loading import PREFIX, plain_name, read_shapes, read_tensors

_OFF_SHARE = 0.02
_ANSWER_SHARE = 0.1
_ROUNDINGS = 4
_FEW = 3
_IN_PLACE_OF = re.compile(r"(?:image|video|audio)_token_(?:id|index)$")
_MOST_IN_FLOAT64 = 1 << 26  # elements; half a GiB
_MERGED_ELSEWHERE = "merge it where it was trained, and give the merged folder"
_ROWS = ".token_adapter.trainable_tokens_delta"
_MOST_TOKENS = 32
_BY_CHANCE = "pissa_niter_"

# ---------------------------------------------------------------- every tensor is loaded


def require_loaded(
    model: Any, result: Any, shapes: Mapping[str, tuple[int, ...]], adapter: Path
) -> None:
    """Hold what an adapter stores against what PEFT loaded of it.

    Args:
        model: with the adapter on it.
        result: of loading: the stored names that no module took, and the modules that got nothing.
        shapes: of what is stored.

    Raises:
        Refused: a tensor was left out, or a module got only a part of its tensors.
    """
    modules = {name for name, _ in model.named_modules()}
    if left := sorted(result.unexpected_keys):
        cause, hint = _cause(left[0], modules)
        raise Refused(
            f"{adapter}: PEFT leaves {len(left)} of its {len(shapes)} tensors out ({_some(left)}): "
            f"{cause}",
            "adapter",
            hint,
        )
    if half := [name for name in result.missing_keys if _is_half(model, name, result.missing_keys)]:
        raise Refused(
            f"{adapter}: lacks {len(half)} tensors that its adapter_config.json announces "
            f"({_some(half)}), whose other parts it has",
            "adapter",
            "set use_dora as it was in training, or save the adapter again: save_pretrained()",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_FEW]) + (", ..." if len(names) > _FEW else "")


def _cause(name: str, modules: Iterable[str]) -> tuple[str, str]:
    """Why PEFT did not load a tensor, and what mends it."""
    module, mark, part = name.partition(".lora_")
    if not mark:
        return (
            "the base has no such tensor",
            "save the adapter again on the base that it was trained on: save_pretrained()",
        )
    if not module.startswith(PREFIX):
        return (
            "its names lack PEFT's prefix base_model.model.",
            "save it again with PEFT's save_pretrained(), or put the prefix before each name",
        )
    if module not in modules:
        return f"the base has no {module.removeprefix(PREFIX)}", "--base BASE"
    if part.startswith("magnitude_vector"):
        return (
            "they are DoRA's, and its adapter_config.json says use_dora: false",
            "set use_dora to true in adapter_config.json, if it was trained so",
        )
    return (
        "target_modules in its adapter_config.json does not cover them",
        f"add {module.rpartition('.')[2]!r} to target_modules, if it was trained so",
    )


def _is_half(model: Any, name: str, missing: Iterable[str]) -> bool:
    """Whether a module got other tensors of the adapter than this one, which is missing."""
    module = name.partition(".lora_")[0]
    wanted = [n for n, _ in model.named_parameters() if n.startswith(f"{module}.lora_")]
    return bool(set(wanted).difference(missing))


# ---------------------------------------------------------------- what training started from


def weights_before(
    model: Any, shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """Some of the base's matrices, where PEFT changes the base by chance when an adapter loads."""
    if not str(config.get("init_lora_weights")).startswith(_BY_CHANCE):
        return {}
    under = [name.partition(".lora_A")[0] for name in shapes if ".lora_A" in name]
    modules = dict(model.named_modules())
    linear = [n for name in under if hasattr(modules.get(n := name.removeprefix(PREFIX)), "weight")]
    return {name: modules[name].weight.data for name in linear[:_FEW]}


def require_repeatable(
    model: Any, before: Mapping[str, torch.Tensor], config: Mapping[str, Any], adapter: Path
) -> None:
    """Hold one random decomposition of a matrix against another: PiSSA with niter takes one.

    What training took out of the base has to be taken out again; by chance it is something else,
    and how much that counts is measured by what the adapter changes.

    Raises:
        Refused: base and adapter no longer add up to what was trained.
    """
    modules = dict(model.base_model.model.named_modules())
    for name, original in before.items():
        layer, weight = modules[name], original.float()
        (key,) = layer.lora_A
        rank, rounds = layer.r[key], int(config["init_lora_weights"].removeprefix(_BY_CHANCE))
        taken = weight - _held(layer, "weight").float()
        u, s, v = torch.svd_lowrank(weight, rank, niter=rounds)
        again = (u * s) @ v.T
        change = float((_delta(layer, key, torch.float32) - taken).norm())
        off = float((again - taken).norm())
        if off > _ANSWER_SHARE * change:
            raise Refused(
                f"{adapter}: was initialized by a random approximation ({_BY_CHANCE}N), which "
                f"comes out otherwise every time: {name} is {off / (change or 1):.0%} of what was "
                "trained away from it",
                "adapter",
                "save it where it was trained as a usual LoRA: save_pretrained(..., "
                "path_initial_model_for_weight_conversion=...); or merge it there",
            )


# ---------------------------------------------------------------- every matrix is merged


def merge_layers(model: Any, adapter: Path) -> None:
    """Merge layer after layer, and hold each against base + scaled BA, reckoned here in float64.

    How far one may be off is a share of what the adapter changes in it, and what rounding explains.

    Raises:
        Refused: PEFT can't merge a layer, or merged it wrongly; or there is none.
    """
    layers, reckoned = list(_layers(model)), 0
    for number, (name, layer) in enumerate(layers, 1):
        expected = dict(_expected(layer))
        reckoned += bool(expected)
        limits = {key: _limit(wanted, _held(layer, key)) for key, wanted in expected.items()}
        try:
            layer.merge(safe_merge=True)
        except (RuntimeError, ValueError, NotImplementedError) as exc:
            raise Refused(
                f"{adapter}: PEFT can't merge it into {name}: {str(exc)[:300]}",
                "adapter",
                _way_out(layer),
            ) from exc
        for key, wanted in expected.items():
            off = float(wanted.sub_(_held(layer, key)).norm())
            if not off <= limits[key]:
                raise Refused(
                    f"{adapter}: merged wrongly: {name}.{key} is {off:.3g} away from base + scaled "
                    f"BA, {limits[key]:.3g} are explained by rounding",
                    "adapter",
                    _MERGED_ELSEWHERE,
                )
        emit("merged", done=number, total=len(layers), name=name)
    if layers:
        count = f"all {reckoned}" if reckoned == len(layers) else f"{reckoned} of {len(layers)}"
        emit("note", text=f"merged: {count} matrices under it are base + scaled BA")


def _limit(wanted: torch.Tensor, base: torch.Tensor) -> float:
    """How far a merged tensor may be off: what rounding explains, and a share of the change."""
    rounding, change = torch.finfo(base.dtype).eps / 2 * wanted.norm(), (wanted - base).norm()
    return float(rounding) + _OFF_SHARE * float(change)


def _held(layer: Any, key: str) -> torch.Tensor:
    """A parameter of the module that a layer is around."""
    held: torch.Tensor = getattr(layer.get_base_layer(), key).data
    return held


def _way_out(layer: Any) -> str:
    if any(getattr(layer, "lora_bias", {}).values()):
        return "train with lora_bias=False: a layer without a bias has no place for one"
    return _MERGED_ELSEWHERE


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Every module that PEFT put LoRA around, by the name that it has in the merged model."""
    for name, module in model.base_model.model.named_modules():
        parts = (getattr(module, "lora_A", None), getattr(module, "lora_embedding_A", None))
        if any(len(part) for part in parts if part is not None):
            yield re.sub(r"(?:\.base_layer)+$", "", name), module


def _expected(layer: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """What the parameters that a layer changes should be once merged; none: PEFT alone knows."""
    key = getattr(layer, "parameter_name", "weight")
    if not hasattr(layer.get_base_layer(), key):
        return
    held = _held(layer, key)
    exact = torch.float64 if held.numel() <= _MOST_IN_FLOAT64 else torch.float32
    weight, bias = held.to(exact, copy=True), None
    for name in layer.active_adapters:
        weight += _delta(layer, name, exact)
        if getattr(layer, "use_dora", {}).get(name):
            weight = _with_magnitude(layer, name, weight)
        if getattr(layer, "lora_bias", {}).get(name) and layer.get_base_layer().bias is not None:
            bias = _held(layer, "bias").double() if bias is None else bias
            bias = bias + layer.scaling[name] * layer.lora_B[name].bias.double()
    yield key, weight
    if bias is not None:
        yield "bias", bias


def _delta(layer: Any, name: str, exact: torch.dtype) -> torch.Tensor:
    """Scaled BA of one adapter, in the layout of the base's weight."""
    scale: float = layer.scaling[name]
    if name in getattr(layer, "lora_embedding_A", {}):
        a, b = layer.lora_embedding_A[name].to(exact), layer.lora_embedding_B[name].to(exact)
        return scale * (b @ a).T
    a, b = layer.lora_A[name].weight.to(exact), layer.lora_B[name].weight.to(exact)
    experts = getattr(layer, "num_experts", 1)
    if experts > 1:
        a, b = a.reshape(experts, -1, a.shape[-1]), b.reshape(b.shape[0], -1, experts)
        wide = scale * torch.einsum("ore,eri->eoi", b, a)
        shape = _held(layer, layer.parameter_name).shape
        return wide if _is_out_first(layer, shape, wide.shape) else wide.transpose(1, 2)
    if a.ndim > 2:  # a convolution
        delta: torch.Tensor = layer.get_delta_weight(name).to(exact)
        return delta
    return scale * ((b @ a).T if getattr(layer, "fan_in_fan_out", False) else b @ a)


def _is_out_first(layer: Any, shape: Sequence[int], wide: Sequence[int]) -> bool:
    """Experts are stored (out, in), or turned; square ones don't tell by their shape."""
    if shape[1] != shape[2]:
        return tuple(shape) == tuple(wide)
    return not getattr(layer.get_base_layer(), "is_transposed", False)


def _with_magnitude(layer: Any, name: str, changed: torch.Tensor) -> torch.Tensor:
    """DoRA: each row as long as its magnitude says."""
    magnitude = layer.lora_magnitude_vector[name].weight.to(changed.dtype).flatten()
    if name in getattr(layer, "lora_embedding_A", {}):
        return magnitude * changed / changed.norm(dim=0, keepdim=True)
    if changed.ndim > 2:
        rest = tuple(range(1, changed.ndim))
        column = magnitude.reshape(-1, *(1 for _ in rest))
        return column * changed / changed.norm(dim=rest, keepdim=True)
    if getattr(layer, "fan_in_fan_out", False):
        return magnitude * changed / changed.norm(dim=0, keepdim=True)
    return magnitude[:, None] * changed / changed.norm(dim=1, keepdim=True)


def require_saved_modules(merged: Any, adapter: Path, trained: Mapping[str, list[int]]) -> None:
    """Hold what was trained whole against the merged model: the very values, after rounding.

    Args:
        trained: ids of the tokens that were trained alone, by the module that holds their rows.

    Raises:
        Refused: a module is not what the adapter holds.
    """
    parameters = {
        plain_name(name): value for name, value in merged.named_parameters(remove_duplicate=False)
    }
    names = set(read_shapes(adapter))
    on_lora = {name.partition(".lora_")[0] for name in names if ".lora_" in name}
    # what a layer of LoRA is around is the base, not what comes out of it
    whole = {
        n for n in names if plain_name(n) in parameters and n.rpartition(".")[0] not in on_lora
    }
    rows = {name for name in names if name.endswith(_ROWS)}
    for stored, value in read_tensors(adapter, whole | rows):
        if stored in rows:
            module = stored.removeprefix(PREFIX).removesuffix(_ROWS)
            ids = next(i for m, i in trained.items() if not m or f".{module}".endswith(f".{m}"))
            found = parameters[plain_name(f"{module}.weight")][ids]
        else:
            found = parameters[plain_name(stored)]
        if not torch.equal(found, value.to(found.dtype)):
            raise Refused(f"{adapter}: merged wrongly: {stored} is not in the model", "adapter")
    if whole or rows:
        emit("note", text=f"merged: {len(whole) + len(rows)} tensors as the adapter holds them")


# ---------------------------------------------------------------- the answers are the adapter's


def choose_tokens(tokenizer: Any, trained: Sequence[int]) -> list[int]:
    """A short text to read, as a chat's first turn, and the tokens that the adapter trained.

    Tokens that were added come last in a tokenizer; what trained them changes nothing else.
    """
    text = "Hello, what can you do?"
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": text}]
        # one that only takes images, or is broken, is no fault of the merge
        with suppress(TemplateError, TypeError, ValueError, KeyError):
            text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    last = range(max(0, len(tokenizer) - _MOST_TOKENS // 4), len(tokenizer))
    return [*ids, *trained[:_MOST_TOKENS], *last]


def answer(model: Any, ids: list[int]) -> torch.Tensor:
    """Logits at every place of a text."""
    rows = model.get_input_embeddings().weight.shape[0]
    elsewhere = {v for k, v in model.config.to_dict().items() if _IN_PLACE_OF.match(k)}
    asked = torch.tensor([[i for i in ids if i < rows and i not in elsewhere]])
    logits: torch.Tensor = model.eval()(input_ids=asked).logits[0].float()
    return logits


def require_answers(
    answers: tuple[torch.Tensor, torch.Tensor, torch.Tensor], adapter: Path, working: torch.dtype
) -> None:
    """The adapter must change answers, and the merged model must give the adapter's.

    How far it may be off is a share of what the adapter changes. Where memory is too small for
    float32, rounding may explain more, up to a quarter of the change.

    Args:
        answers: the base's, those with the adapter on it, and the merged model's.

    Raises:
        Refused: it changes none, or merged it answers otherwise.
    """
    base, tuned, merged = answers
    places, rows = min(len(base), len(tuned)), min(base.shape[-1], tuned.shape[-1])
    change = float((tuned[:places, :rows] - base[:places, :rows]).abs().max())
    if change == 0.0:
        raise Refused(
            f"{adapter}: changes no answer: the merged model would be its base",
            "adapter",
            "save the adapter after training: trainer.save_model()",
        )
    off = float((merged - tuned).abs().max())
    rounding = _ROUNDINGS * torch.finfo(working).eps * float(tuned.abs().max())
    if not off <= max(_ANSWER_SHARE * change, min(rounding, change / 4)):
        raise Refused(
            f"{adapter}: merged, it answers otherwise: logits differ by up to {off:.3g} "
            f"(the adapter itself changes them by {change:.3g})",
            "adapter",
            "free some memory, so that it is merged in float32"
            if working != torch.float32
            else _MERGED_ELSEWHERE,
        )
    emit("note", text=f"the adapter changes logits by up to {change:.2g}, merging by {off:.1g}")

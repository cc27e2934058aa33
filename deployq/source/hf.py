"""A Hugging Face model that was never converted, as the GGUF that it would become.

Tensors come from the safetensors headers, figures from config.json. Where the two disagree the
tensors count, and a warning says so. Only the length of the header is an estimate: it holds the
vocabulary in a form that the converter makes.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deployq.errors import SourceError
from deployq.foreign_values import read_object
from deployq.ggml import GGUF_ALIGNMENT, padded
from deployq.source.finding import model_weights, packed_by
from deployq.source.hf_classes import ARCHITECTURES
from deployq.source.hf_config import Config, Keys, header_keys, read_config
from deployq.source.hf_names import (
    Converted,
    Latent,
    NameOf,
    as_text,
    convert,
    is_projector,
    misshapen,
    rope_tensors,
)
from deployq.source.hf_prediction import place_prediction
from deployq.source.projector import projector_note
from deployq.source.safetensors import StoredTensor, Weights
from deployq.source.stored import read_weights
from deployq.source.tokenizer_files import read_template, token_text
from deployq.types import ModelInfo, TensorInfo

ESTIMATE = (
    "sizes are exact but for the file's header, which is estimated: the vocabulary is not "
    "converted yet"
)
_KEYS_BYTES = 2000  # names and numbers of a usual header, without its arrays
_TOKENIZER_CONFIG = "tokenizer_config.json"


def is_hugging_face(folder: Path) -> bool:
    """Whether a folder holds a whole model as `save_pretrained` leaves it; an adapter is none."""
    return bool(model_weights(folder))


def inspect_hugging_face(folder: Path) -> ModelInfo:
    """What a Hugging Face folder's model would be as a full-precision GGUF.

    Raises:
        SourceError: its architecture is not known, a file lies, or `gguf` is not installed.
    """
    config, weights = read_config(folder), read_weights(folder)
    _refuse_packed(folder)
    _refuse_shapes(folder, weights.tensors)
    architecture = _architecture(config)
    keys = header_keys(config, architecture)
    text = [t if is_projector(t.name) else as_text(t) for t in weights.tensors]
    stored = place_prediction(text, architecture, config.classes, keys)
    names, dtype = _name_map(folder, architecture, keys), _dtype(weights)
    made = convert(stored, architecture, names, _latent(config, keys), dtype)
    if not made.tensors:
        raise SourceError(f"{folder}: none of its tensors is one of {architecture!r}")
    warnings = (
        *_corrected(config, architecture, keys, made),
        *_unknown(folder, made),
        *projector_note(made.projector_bytes),
    )
    head = int(str(keys.get("attention.key_length") or _head(keys)))
    tensors = (*made.tensors, *rope_tensors(config.object, head, architecture))
    info = _info(folder, weights, keys, architecture, made, tensors, warnings)
    native = sum(tensor.n_elements for tensor in tensors if tensor.type == "MXFP4")
    return replace(info, dtype="MXFP4" if 2 * native > info.n_params else dtype)


def _dtype(weights: Weights) -> str:
    """What keeps the precision of most weights; those packed into 8 bits unpack to BF16."""
    counts: Counter[str] = Counter()
    for tensor in weights.tensors:
        if len(tensor.shape) > 1:
            counts[tensor.dtype] += tensor.n_elements
    most = counts.most_common(1)[0][0] if counts else "F16"
    return {"F16": "F16", "F32": "F32", "F64": "F32"}.get(most, "BF16")


def _info(
    folder: Path,
    weights: Weights,
    keys: Keys,
    architecture: str,
    made: Converted,
    tensors: tuple[TensorInfo, ...],
    warnings: tuple[str, ...],
) -> ModelInfo:
    full = {f"{architecture}.{key}": value for key, value in keys.items()}
    tokens, context = keys.get("vocab_size"), keys.get("context_length")
    texts = _texts(folder)
    return ModelInfo(
        path=folder,
        files=weights.files,
        architecture=architecture,
        name=folder.resolve().name,
        dtype="F16",
        quantized=False,
        n_params=sum(tensor.n_elements for tensor in tensors),
        n_ctx_train=context if isinstance(context, int) else None,
        header_bytes=_header_bytes(folder, tensors, tokens if isinstance(tokens, int) else 0),
        file_bytes=weights.file_bytes,
        metadata={
            **{k: v for k, v in full.items() if not isinstance(v, tuple)},
            "general.architecture": architecture,
        },
        array_lengths={"tokenizer.ggml.tokens": tokens} if isinstance(tokens, int) else {},
        tensors=tensors,
        chat_template=texts.get("chat_template"),
        bos_token=texts.get("bos_token"),
        eos_token=texts.get("eos_token"),
        stop_tokens=tuple(t for t in (texts.get("eos_token"),) if t),
        arrays={k: v for k, v in full.items() if isinstance(v, tuple)},
        format="huggingface",
        estimate=ESTIMATE,
        projector_bytes=made.projector_bytes,
        warnings=warnings,
    )


def _refuse_packed(folder: Path) -> None:
    """Weights in FP8 are unpacked by a converter; what else is quantized is no source."""
    if method := packed_by(folder):
        raise SourceError(
            f"{folder}: is quantized already ({method}): its full precision is lost",
            hint="merge the adapter into the full-precision base, not into the quantized one, and "
            "give that folder; Unsloth: save_method='merged_16bit'",
        )


def _refuse_shapes(folder: Path, tensors: Sequence[StoredTensor]) -> None:
    """Refuse tensors without a value, and those that nothing can be made of."""
    if empty := [tensor.name for tensor in tensors if 0 in tensor.shape]:
        raise SourceError(
            f"{folder}: {len(empty)} of its {len(tensors)} tensors are empty, such as {empty[0]}: "
            "DeepSpeed ZeRO-3 kept their values on other processes",
            hint="save it again with stage3_gather_16bit_weights_on_model_save: true, or join a "
            "checkpoint with its zero_to_fp32.py",
        )
    for tensor in misshapen(tensors):
        raise SourceError(
            f"{folder}: tensor {tensor.name} has the shape {list(tensor.shape)}, which no model "
            "has it in",
            hint="save the model again with save_pretrained",
        )


def _architecture(config: Config) -> str:
    for name in config.classes:
        if name in ARCHITECTURES:
            return ARCHITECTURES[name]
    raise SourceError(
        f"{config.path}: {config.classes[0]} is not known to this version",
        hint="convert it with llama.cpp's convert_hf_to_gguf.py, and give the GGUF",
    )


def _name_map(folder: Path, architecture: str, keys: Keys) -> NameOf:
    """The name tables of the `gguf` package.

    It is imported here and nowhere else, and only for such a folder: it brings numpy, and a plan
    from a GGUF must not wait for that.

    Raises:
        SourceError: the package is not installed, or too old for the architecture.
    """
    try:
        gguf = importlib.import_module("gguf")
    except ImportError as exc:
        raise SourceError(
            f"{folder}: to plan a Hugging Face folder the package gguf is needed: {exc}",
            hint="pip install gguf",
        ) from exc
    known = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    if architecture not in known:
        raise SourceError(
            f"{folder}: the installed gguf package does not know {architecture!r}",
            hint="pip install --upgrade gguf",
        )
    names = gguf.get_tensor_name_map(known[architecture], int(str(keys.get("block_count") or 0)))

    def name_of(name: str) -> str | None:
        found: str | None = names.get_name(name, try_suffixes=(".weight", ".bias"))
        return found

    return name_of


def _latent(config: Config, keys: Keys) -> Latent:
    if "attention.key_length_mla" not in keys:
        return Latent()
    return Latent(
        config.number("num_attention_heads") or 0,
        config.number("qk_nope_head_dim") or 0,
        config.number("v_head_dim") or 0,
    )


def _head(keys: Keys) -> int:
    """Width of an attention head where the config doesn't state it."""
    width, heads = keys.get("embedding_length"), keys.get("attention.head_count")
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads else 0


def _corrected(config: Config, architecture: str, keys: Keys, made: Converted) -> Iterator[str]:
    """Put the tensors' own figures in place of the config's; a warning for each that differs."""
    for key, true in _measured(architecture, keys, made).items():
        said = keys.get(key)
        if isinstance(said, int) and true != said:
            yield (f"{config.path}: says {key} {said}, the tensors have {true}: the tensors count")
        if said is None or isinstance(said, int):
            keys[key] = true


def _measured(architecture: str, keys: Keys, made: Converted) -> Mapping[str, int]:
    """Figures that the tensors' shapes tell."""
    shapes = {tensor.name: tensor.shape for tensor in made.tensors}
    blocks = {int(n.split(".")[1]) for n in shapes if n.startswith("blk.")}
    found = {"block_count": max(blocks) + 1} if blocks else {}
    if len(embedding := shapes.get("token_embd.weight", ())) > 1:
        found |= {"embedding_length": embedding[0], "vocab_size": embedding[1]}
    if (down := shapes.get("blk.0.ffn_down.weight")) and "feed_forward_length" in keys:
        found["feed_forward_length"] = down[0]
    experts = next((s for n, s in shapes.items() if n.endswith("_down_exps.weight")), ())
    if len(experts) > 2:
        found["expert_count"] = experts[2]
    return {**found, **_measured_heads(architecture, keys, shapes)}


def _measured_heads(
    architecture: str, keys: Keys, shapes: Mapping[str, tuple[int, ...]]
) -> Mapping[str, int]:
    """Heads of keys, where one matrix makes them and their width is known."""
    head = keys.get("attention.key_length") or _head(keys)
    if not isinstance(head, int) or not head or architecture.startswith("gemma3n"):
        return {}
    rows = next((s[1] for n, s in shapes.items() if n.endswith(".attn_k.weight") and s[1:]), 0)
    return {"attention.head_count_kv": rows // head} if rows and rows % head == 0 else {}


def _unknown(folder: Path, made: Converted) -> Iterator[str]:
    if made.unknown:
        some = ", ".join(made.unknown[:3])
        yield (
            f"{folder}: {len(made.unknown)} tensors are not counted, because GGUF has no name for "
            f"them, as far as this version knows: {some}"
        )


def _header_bytes(folder: Path, tensors: tuple[TensorInfo, ...], tokens: int) -> int:
    """About what the header will take: the vocabulary, the chat template, the list of tensors.

    Within 20 % on Llama 2 and 3, Qwen2.5, Gemma 3 and SmolLM2.
    """
    infos = sum(8 + len(t.name.encode()) + 4 + 8 * len(t.shape) + 4 + 8 for t in tensors)
    return padded(_KEYS_BYTES + _vocabulary_bytes(folder, tokens) + infos, GGUF_ALIGNMENT)


def _vocabulary_bytes(folder: Path, tokens: int) -> int:
    pieces, both = folder / "tokenizer.model", folder / "tokenizer.json"
    if pieces.exists():  # SentencePiece: its pieces, and a score and a type of each
        return pieces.stat().st_size + 8 * tokens
    if both.exists():  # byte-level BPE: tokens and merges, less JSON's own marks
        return int(0.85 * both.stat().st_size)
    return 45 * tokens


def _texts(folder: Path) -> dict[str, str | None]:
    """Chat template and special tokens of the tokenizer."""
    config = read_object(folder / _TOKENIZER_CONFIG)
    return {
        "chat_template": read_template(folder, config),
        **{key: token_text(config, key) for key in ("bos_token", "eos_token")},
    }

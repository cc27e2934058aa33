"""A LoRA adapter as PEFT saves it: what it was trained on, and whether it fits a given base."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from deployq.errors import SourceError
from deployq.foreign_values import read_object
from deployq.records import dataclass
from deployq.source.adapter_tensors import PART, PREFIX, check_stored
from deployq.source.finding import ADAPTER_CONFIG
from deployq.source.pickled import read_pickle
from deployq.source.safetensors import StoredTensor, read_tensors
from deployq.types import Failed, Finding

WEIGHTS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"
_FOUR_BIT = re.compile(
    r"(?:-unsloth)?-bnb-(?:4|8)bit$|-(?:4|8)bit$|-(?:gptq|awq)(?:-int[48])?$", re.IGNORECASE
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight")
_WRAPPERS = re.compile(r"^(?:(?:model|transformer|language_model|text_model)\.)*")
_LAYER = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.\d+\.")
_ROWS = ".token_adapter."
_SAVED = re.compile(r"\.modules_to_save(?:\.default)?|\.original_module")


@dataclass(frozen=True)
class Adapter:
    """An adapter: `base` is the name or path that its config gives, `base_shown` what that was.

    `pairs` maps each changed module to the shapes of its A and B; `whole` holds tensors that were
    trained whole (embeddings, heads), by the base's names. `empty` are tensors without a value,
    `parameters` what PEFT calls `target_parameters` (experts), and `repeats_layers` says that some
    layers of its base were used twice in training (`layer_replication`). `stored` is all that its
    weights hold, `config` its adapter_config.json.
    """

    folder: Path
    base: str
    base_shown: str
    revision: str
    rank: int
    kind: str
    pairs: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    whole: Mapping[str, tuple[int, ...]]
    names: Mapping[str, str]  # module -> the stored name of its B
    stored: tuple[StoredTensor, ...]
    config: Mapping[str, Any]
    embedding: frozenset[str] = frozenset()
    empty: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    repeats_layers: bool = False

    @property
    def weights(self) -> Path:
        return adapter_weights(self.folder)


def adapter_weights(folder: Path) -> Path:
    """The file of an adapter's weights; a pickle file counts only where there is no other."""
    pickled = folder / PICKLED
    return pickled if pickled.is_file() and not (folder / WEIGHTS).is_file() else folder / WEIGHTS


def full_precision_name(name: str) -> str:
    """The name of the model that a 4-bit copy was made of: "unsloth/x-bnb-4bit" -> "unsloth/x"."""
    return _FOUR_BIT.sub("", name)


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter's config and the header of its weights.

    Raises:
        SourceError: it is no LoRA adapter, or is damaged.
    """
    config = read_object(folder / ADAPTER_CONFIG)
    if (peft_type := config.text("peft_type") or "LORA") != "LORA":
        raise SourceError(
            f"{folder}: is a PEFT adapter of the type {peft_type}, no LoRA",
            hint="merge it with PEFT, and give the merged folder",
        )
    file = adapter_weights(folder)
    if file.name == PICKLED:
        found = read_pickle(file).items()
        tensors = tuple(StoredTensor(name, one.dtype, one.shape) for name, one in found)
    else:
        tensors = read_tensors(file)
    pairs, whole, names, embedding = _sort(tensors)
    named = config.text("base_model_name_or_path")
    base = full_precision_name(named)
    return Adapter(
        folder=folder,
        base=base,
        base_shown=named,
        # that of a 4-bit copy is none of the model that it was made of
        revision=config.text("revision") if base == named else "",
        rank=config.integer("r") or 0,
        kind="DoRA"
        if config.flag("use_dora")
        else "rsLoRA"
        if config.flag("use_rslora")
        else "LoRA",
        pairs=pairs,
        whole=whole,
        names=names,
        stored=tensors,
        config=config.values,
        embedding=embedding,
        empty=tuple(tensor.name for tensor in tensors if 0 in tensor.shape),
        parameters=config.texts("target_parameters"),
        repeats_layers=bool(config.values.get("layer_replication")),
    )


def _sort(
    tensors: tuple[StoredTensor, ...],
) -> tuple[Any, dict[str, tuple[int, ...]], dict[str, str], frozenset[str]]:
    halves: dict[str, dict[str, StoredTensor]] = {}
    whole: dict[str, tuple[int, ...]] = {}
    embedding = set()
    for tensor in tensors:
        name = tensor.name.removeprefix(PREFIX)
        if match := PART.search(name):
            module, part = name[: match.start()], match["part"]
            halves.setdefault(module, {})[part[-1]] = tensor
            if part.startswith("embedding"):
                embedding.add(module)
        elif ".lora_" not in name:
            whole[_SAVED.sub("", name).replace(".base_layer", "")] = tensor.shape
    whole_pairs = {m: h for m, h in halves.items() if len(h) == len("AB")}
    pairs = {m: (h["A"].shape, h["B"].shape) for m, h in whole_pairs.items()}
    return pairs, whole, {m: h["B"].name for m, h in whole_pairs.items()}, frozenset(embedding)


def check_adapter(adapter: Adapter, base: Mapping[str, tuple[int, ...]]) -> Iterator[Finding]:
    """Hold an adapter against the tensors of its base (PyTorch's names and shapes)."""
    if not adapter.pairs and not adapter.whole:
        yield Failed("adapter", f"{adapter.folder}: holds no LoRA weights")
    elif adapter.empty:
        yield Failed(
            "adapter",
            f"{adapter.folder}: {len(adapter.empty)} of its tensors are empty, such as "
            f"{adapter.empty[0]}: DeepSpeed ZeRO-3 kept their values on other processes",
            "save it again with stage3_gather_16bit_weights_on_model_save: true, or join a "
            "checkpoint with its zero_to_fp32.py",
        )
    elif flat := [m for m, halves in adapter.pairs.items() if min(map(len, halves)) < len("AB")]:
        yield Failed(
            "adapter",
            f"{adapter.folder}: the halves of {flat[0]} are no matrices: "
            f"{' and '.join(str(list(half)) for half in adapter.pairs[flat[0]])}",
            "save the adapter again: trainer.save_model()",
        )
    elif adapter.repeats_layers:
        yield Failed(
            "adapter",
            f"{adapter.folder}: was trained on a base whose layers are repeated "
            "(layer_replication): weights that two layers share can't be merged with two adapters",
            "write the base with its layers repeated first, train on that folder, and give both",
        )
    elif faults := list(check_stored(adapter.folder, adapter.config, adapter.stored)):
        yield from faults
    else:
        yield from _fits(adapter, base)


def check_commit(adapter: Adapter, base: Path) -> Iterator[Finding]:
    """Is a base out of the hub's cache the very commit that the adapter was trained on?

    Elsewhere, and where the adapter names a branch or nothing, shapes must tell.
    """
    folder = base.resolve()
    repo = f"models--{adapter.base.replace('/', '--')}"
    known = folder.parent.name == "snapshots" and folder.parent.parent.name == repo
    if known and _COMMIT.fullmatch(adapter.revision) and folder.name != adapter.revision:
        yield Failed(
            "base",
            f"{adapter.folder}: was trained on commit {adapter.revision[:12]} of {adapter.base}; "
            f"this base is commit {folder.name[:12]}",
            f"--base hf:{adapter.base}@{adapter.revision}",
        )


def _fits(adapter: Adapter, base: Mapping[str, tuple[int, ...]]) -> Iterator[Finding]:
    known = {_plain(name): shape for name, shape in base.items()}
    if embedding := next((known[name] for name in _EMBEDDINGS if name in known), None):
        known.setdefault("lm_head.weight", embedding)  # of a tied model it is not stored
    missing, wrong = [], []
    for module, (a, b) in adapter.pairs.items():
        shape = known.get(_plain(f"{module}.weight"))
        mine = (a[1], b[0]) if module in adapter.embedding else (b[0], a[-1])
        if shape is None:
            if not _is_parameter(adapter, module, known):
                missing.append(module)
        elif shape not in (mine, mine[::-1]) and not _may_be_resized(module, shape, mine):
            wrong.append(f"{module} is {list(shape)} there and {list(mine)} in the adapter")
    for name, shape in adapter.whole.items():
        there = known.get(_plain(name))
        if there is not None and there != shape and not _may_be_resized(name, there, shape):
            wrong.append(f"{name} is {list(there)} there and {list(shape)} in the adapter")
    if wrong or missing:
        what = wrong[0] if wrong else f"it has no {missing[0]}"
        more = len(wrong) + len(missing) - 1
        yield Failed(
            "base",
            f"{adapter.folder}: was not trained on this base: {what}"
            + (f", and {more} more differ" if more else ""),
            f"its config names {adapter.base_shown or 'no base'}: give that one with --base",
        )
    else:
        yield from _have_a_place(adapter, known)


def _have_a_place(adapter: Adapter, known: Collection[str]) -> Iterator[Finding]:
    """Has the base a place for what is no matrix: biases, and what was trained whole?"""
    biases = [t.name for t in adapter.stored if t.name.endswith(".lora_B.bias")]
    modules = [name.removeprefix(PREFIX).partition(".lora_")[0] for name in biases]
    if lacking := [m for m in modules if _plain(f"{m}.bias") not in known]:
        yield Failed(
            "adapter",
            f"{adapter.folder}: trained a bias of its own (lora_bias=True) for {len(lacking)} "
            f"matrices that have none in the base, such as {lacking[0]}: there is no place to "
            "merge it into",
            "train with lora_bias=False",
        )
    # a layer's own tensors may be stored under other names; the merge accounts for them
    outside = [n for n in adapter.whole if _ROWS not in n and not _LAYER.match(n)]
    whole = [n for n in outside if _plain(n) not in known]
    if whole:
        yield Failed(
            "adapter",
            f"{adapter.folder}: was trained with {whole[0]}, which its base has no place for"
            + (f", and {len(whole) - 1} more" if len(whole) > 1 else "")
            + ": a GGUF of the two would lack it",
            "train for text (task_type CAUSAL_LM) on the base's own modules",
        )


def _plain(name: str) -> str:
    """A tensor's name without what versions of transformers put in front of it."""
    return _WRAPPERS.sub("", name).replace("vision_model.", "")


def _is_parameter(adapter: Adapter, module: str, known: Collection[str]) -> bool:
    """Whether a module holds what PEFT targets as a parameter, such as all experts in one tensor.

    PEFT puts a layer around another for every further parameter of a module. A base may store the
    same under other names (`block_sparse_moe.experts.0.w1`), so only its layer has to be there.
    """
    plain = _plain(re.sub(r"(?:\.base_layer)+$", "", module))
    layer = _LAYER.match(plain)
    targeted = any(f".{plain}".endswith(f".{p.rpartition('.')[0]}") for p in adapter.parameters)
    return targeted and any(name.startswith(layer[0] if layer else plain) for name in known)


def _may_be_resized(name: str, base: tuple[int, ...], mine: tuple[int, ...]) -> bool:
    """Embeddings and heads get the adapter's rows: tokens were added, or padding cut off."""
    rows = ("embed_tokens", "lm_head", "wte", "word_embeddings", "embed_out")
    return len(base) == len(mine) and base[1:] == mine[1:] and any(part in name for part in rows)

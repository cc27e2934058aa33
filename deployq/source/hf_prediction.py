"""Layers for predicting further tokens (MTP) in a Hugging Face folder, as the converter takes them.

Some models name them like further layers, some `mtp.*`; of some llama.cpp's converter takes them,
of others it leaves them out (b11434, conversion/*.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from deployq.source.hf_config import Keys
from deployq.source.safetensors import StoredTensor

_TAKEN = frozenset(
    {"bailingmoe2", "cohere2moe", "deepseek32", "exaone-moe", "exaone4", "glm-dsa", "glm4",
     "glm4moe", "mimo2", "qwen35", "qwen35moe", "qwen3next", "step35"}
)  # fmt: skip
"""GGUF architectures that keep them."""

_TAKEN_CLASSES = frozenset({"Glm4MoeLiteForCausalLM"})
"""Classes that keep them, of an architecture that otherwise doesn't."""

_LEFT_OUT = re.compile(r"^(?:model\.)?mtp(?:_block|_emb_norm|_hidden_norm|_linear_proj)?\.")
_LAYER = re.compile(r"^(?P<head>(?:model\.)?layers\.)(?P<layer>\d+)\.(?P<rest>.+)$")
_OWN_LAYER = re.compile(r"^(?:model\.)?mtp\.layers\.(?P<layer>\d+)\.(?P<rest>.+)$")
_SHARED = re.compile(r"^(?:model\.)?mtp\.(?P<part>\w+)\.(?P<suffix>weight|bias)$")
_SHARED_PARTS = {
    "fc": "eh_proj", "pre_fc_norm_embedding": "enorm", "pre_fc_norm_hidden": "hnorm",
    "norm": "shared_head.norm",
}  # fmt: skip


def place_prediction(
    tensors: Sequence[StoredTensor], architecture: str, classes: Sequence[str], keys: Keys
) -> list[StoredTensor]:
    """The tensors that a converter takes, those for prediction behind the model's own layers.

    `keys` gets the number of layers that the GGUF's header would have.

    Args:
        tensors: of the folder, without what marks its text part.
        architecture: GGUF's word for the model.
        classes: that its config.json names.
        keys: of the header; changed.
    """
    announced = int(str(keys.pop("nextn_predict_layers", 0)))
    blocks = int(str(keys.get("block_count", 0))) - announced
    taken = architecture in _TAKEN or bool(_TAKEN_CLASSES.intersection(classes))
    if not taken:
        keys["block_count"] = blocks
        return [t for t in tensors if not _LEFT_OUT.match(t.name) and _layer(t.name) < blocks]
    own = [int(m["layer"]) for t in tensors if (m := _OWN_LAYER.match(t.name))]
    further = [_layer(t.name) - blocks for t in tensors if _layer(t.name) >= blocks]
    count = max([*own, *further], default=-1) + 1
    if count:
        keys |= {"nextn_predict_layers": count}
    keys["block_count"] = blocks + count
    recurrent = keys.get("attention.recurrent_layers")
    if isinstance(recurrent, tuple):
        keys["attention.recurrent_layers"] = (*recurrent, *[False] * count)
    return [placed for t in tensors for placed in _placed(t, blocks, count)]


def _layer(name: str) -> int:
    """The number of a layer of the model; -1 for what belongs to none."""
    match = _LAYER.match(name)
    return int(match["layer"]) if match else -1


def _placed(tensor: StoredTensor, blocks: int, count: int) -> Iterator[StoredTensor]:
    name = tensor.name
    if match := _OWN_LAYER.match(name):
        yield replace(tensor, name=f"model.layers.{blocks + int(match['layer'])}.{match['rest']}")
    elif match := _SHARED.match(name):
        part = _SHARED_PARTS.get(match["part"], match["part"])
        for n in range(blocks, blocks + count):
            yield replace(tensor, name=f"model.layers.{n}.{part}.{match['suffix']}")
    elif _layer(name) >= blocks:
        # Step-3.5 nests what the layers share with the output.
        name = name.replace(".transformer.", ".").replace("shared_head.output", "shared_head.head")
        yield replace(tensor, name=name)
    else:
        yield tensor

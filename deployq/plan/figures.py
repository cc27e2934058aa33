"""Reading a model's figures from its header: one number, one per layer, or none."""

from __future__ import annotations

from deployq.records import dataclass
from deployq.types import ModelInfo


@dataclass(frozen=True)
class Figures:
    """The architecture's own keys of a header (`llama.block_count` is `block_count` here)."""

    info: ModelInfo

    @property
    def architecture(self) -> str:
        return self.info.architecture

    def has(self, key: str) -> bool:
        """Whether the header says anything under this key."""
        full = f"{self.architecture}.{key}"
        return full in self.info.metadata or bool(self.info.arrays.get(full))

    def number(self, key: str, default: int = 0) -> int:
        """A figure of the model; of one given per layer, the largest."""
        full = f"{self.architecture}.{key}"
        if values := self.info.arrays.get(full):
            return int(max(values))
        value = self.info.metadata.get(full, default)
        return int(value) if isinstance(value, int | float) else default

    def array(self, key: str) -> tuple[int | float | bool, ...]:
        """The figures of a key that is given per layer; empty where it is not."""
        return self.info.arrays.get(f"{self.architecture}.{key}", ())

    def layer(self, key: str, n: int, default: int = 0) -> int:
        """The figure of layer `n`; beyond a list's end, and where it has one number, that."""
        values = self.array(key)
        return int(values[n]) if n < len(values) else self.number(key, default)

    @property
    def blocks(self) -> int:
        """Layers with those for prediction; a header can't make this more than its tensors."""
        return min(self.number("block_count"), len(self.info.tensors))

    @property
    def layers(self) -> int:
        """Layers that an answer goes through; those for prediction (MTP) come behind them."""
        return max(0, self.blocks - self.number("nextn_predict_layers"))

    @property
    def width(self) -> int:
        return self.number("embedding_length")

    @property
    def vocabulary(self) -> int:
        """Tokens of the vocabulary."""
        tokens = self.info.array_lengths.get("tokenizer.ggml.tokens", 0)
        return tokens or self.number("vocab_size")

    @property
    def latent(self) -> bool:
        """Latent attention (MLA) whose cache holds compressed keys, and no values."""
        lengths = ("attention.key_length_mla", "attention.value_length_mla")
        return all(self.number(key) for key in lengths)

"""Reading a model's figures from its header: one number, one per layer, or none."""

from __future__ import annotations

from deployq.errors import SourceError
from deployq.foreign_values import MAX_COUNT, ForeignObject
from deployq.records import dataclass
from deployq.types import ModelInfo, Scalar


@dataclass(frozen=True)
class Figures:
    """The architecture's own keys of a header (`llama.block_count` is `block_count` here).

    Each raises a SourceError of a value that is no figure: llama.cpp would not load the model.
    """

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
        values = self.info.arrays.get(full)
        return self._checked(full, max(values) if values else self.info.metadata.get(full, default))

    def array(self, key: str) -> tuple[int, ...]:
        """The figures of a key that is given per layer; empty where it is not."""
        full = f"{self.architecture}.{key}"
        values = self.info.arrays.get(full, ())
        if {*map(type, values)} <= {bool, int}:  # asked for every layer: no call for each value
            self._checked(full, min(values, default=0))
            self._checked(full, max(values, default=0))
            return tuple(map(int, values))
        return tuple(self._checked(full, value) for value in values)

    def layer(self, key: str, n: int, default: int = 0) -> int:
        """The figure of layer `n`; beyond a list's end, and where it has one number, that."""
        full = f"{self.architecture}.{key}"
        values = self.info.arrays.get(full, ())
        return self._checked(full, values[n]) if n < len(values) else self.number(key, default)

    def _checked(self, key: str, value: Scalar) -> int:
        if isinstance(value, int) and 0 <= value <= MAX_COUNT:
            return int(value)
        stated = ForeignObject({key: value}, self._refusal)
        raise stated.wrong(key, f"a whole number from 0 to {MAX_COUNT}")

    def _refusal(self, words: str) -> SourceError:
        return SourceError(
            f"{self.info.path}: {words}",
            hint="convert the model again from a right config",
        )

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

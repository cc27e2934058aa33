"""Which texts llama.cpp splits otherwise than a family's own tokenizer: `... TOKENIZERS_DIR`.

    python tests/install_tokenizers.py .deployq/tokenizers
    python -m benchmarks.engine_differences .deployq/tokenizers

Converts the tokenizer of every folder in TOKENIZERS_DIR with llama.cpp's converter, and compares
the result with the `tokenizers` library, text by text. The last line is what `ENGINE_DIFFERENCES`
in deployq/source/tokenizer_texts.py has to say. Needs `deployq tools install` and
`deployq tools install convert`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployq_converters import LlamaCppConverter

from deployq import ConvertJob, SourceError
from deployq.pipeline.tokenparity import Split, normalizes, split_all
from deployq.source.gguf import read_header
from deployq.source.tokenizer_texts import DECOMPOSED, TEXTS, Text
from deployq.tools import require_tool

ARCHITECTURES: Mapping[str, tuple[str, str]] = {
    "deepseek_v3": ("DeepseekV3ForCausalLM", "deepseek_v3"),
    "gemma3": ("Gemma3ForCausalLM", "gemma3_text"),
    "gptoss": ("GptOssForCausalLM", "gpt_oss"),
    "llama2": ("LlamaForCausalLM", "llama"),
    "llama3": ("LlamaForCausalLM", "llama"),
    "llama3_1": ("LlamaForCausalLM", "llama"),
    "qwen2_5": ("Qwen2ForCausalLM", "qwen2"),
    "qwen3": ("Qwen3ForCausalLM", "qwen3"),
}
"""By the folder's name: the class and the type of a model that is trained with this tokenizer."""


@dataclass(frozen=True)
class Measured:
    """A family's tokenizer, its texts as both split them, and llama.cpp's name for it."""

    family: str
    pre: str
    splits: tuple[Split, ...]

    @property
    def differing(self) -> list[str]:
        """Usual texts that are split otherwise, but for those that NFC alone explains."""
        differing = [one.text.name for one in self.splits if one.differs and one.text.usual]
        return [name for name in differing if name != DECOMPOSED or not normalizes(self.splits)]


def write_family(tokenizers: Path, family: str, folder: Path, **config: Any) -> Path:
    """A model's folder without weights: a family's tokenizer as published, and a small config."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (tokenizers / family).glob("*.json"):
        shutil.copyfile(file, folder / file.name)
    kind, model_type = ARCHITECTURES[family]
    values = {
        "architectures": [kind], "model_type": model_type, "hidden_size": 64, "head_dim": 16,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 128, "max_position_embeddings": 512, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "vocab_size": vocabulary_size(folder), **config,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def vocabulary_size(folder: Path) -> int:
    """One more than the highest id, rounded up to 64 as trainers do."""
    whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ids: list[int] = [
        *whole["model"]["vocab"].values(),
        *(token["id"] for token in whole["added_tokens"]),
    ]
    return -(-(max(ids) + 1) // 64) * 64


def measure(folder: Path, family: str, texts: Sequence[Text] = TEXTS) -> Measured:
    """Both tokenizers' ids of every text.

    Raises:
        SourceError: the converter does not take this tokenizer.
    """
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "vocabulary.gguf"
        job = ConvertJob(folder.resolve(), output, Path(scratch), "F16")
        found = LlamaCppConverter().check(job, [text.text for text in texts])
        if found.findings:
            raise SourceError("; ".join(finding.message for finding in found.findings))
        header, tool = read_header(output), require_tool("llama-tokenize", os.environ)
        splits = split_all(tool, output, texts, found.token_ids)
    pre = str(header.metadata.get("tokenizer.ggml.pre", ""))
    return Measured(family, pre, tuple(splits))


def measure_all(tokenizers: Path) -> Iterator[Measured]:
    for family in sorted(ARCHITECTURES):
        with tempfile.TemporaryDirectory() as scratch:
            yield measure(write_family(tokenizers, family, Path(scratch) / family), family)


def main() -> None:
    tokenizers = Path(sys.argv[1])
    names: dict[str, set[str]] = {}
    for one in measure_all(tokenizers):
        print(f"{one.family} ({one.pre}): {', '.join(one.differing) or 'no usual text differs'}")
        names.setdefault(one.pre, set()).update(one.differing)
    print({pre: sorted(found) for pre, found in sorted(names.items())})


if __name__ == "__main__":
    main()

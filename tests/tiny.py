"""Makes small GGUF files with random weights that real llama.cpp tools load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TYPES = {
    "F32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "F16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "BF16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
}


def write_tiny_llama(
    path: Path,
    *,
    n_embd: int = 256,
    n_ff: int = 512,
    n_layer: int = 2,
    n_head: int = 4,
    n_head_kv: int = 2,
    n_ctx: int = 2048,
    dtype: str = "F16",
    name: str = "tiny",
    seed: int = 0,
    vocab: tuple[str, ...] = (),
    chat_template: str | None = CHAT_TEMPLATE,
    space_prefix: bool = True,
    n_expert: int = 0,
    marks: tuple[str, ...] = (),
    bos: str = "<s>",
    eos: str = "<|im_end|>",
    add_bos: bool = True,
) -> Path:
    """A Llama with random weights and a byte-fallback SentencePiece vocabulary; about 2 MB.

    Args:
        dtype: of the matrices: F32, F16 or BF16; vectors are F32.
        vocab: more pieces, after the special tokens, the 256 bytes and the ASCII characters.
        space_prefix: whether the tokenizer puts a blank before a text.
        n_expert: experts in each layer, of which a token goes to one; it never goes to the last.
        marks: more control tokens, after all others.
        bos: the token (one of those there are) that begins a text; `add_bos` says if it does.
        eos: the token that ends one.
    """
    kind, file_type = _TYPES[dtype]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_file_type(file_type)
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_head_kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(n_embd // n_head)
    n_vocab = _add_vocabulary(writer, vocab, marks, (bos, eos), add_bos, chat_template)
    writer.add_vocab_size(n_vocab)
    if not space_prefix:
        writer.add_add_space_prefix(False)
    n_kv = n_embd // n_head * n_head_kv
    if n_expert:
        writer.add_expert_count(n_expert)
        writer.add_expert_used_count(1)
    numbers = np.random.default_rng(seed)
    for tensor, shape in _tensors(n_vocab, n_embd, n_kv, n_ff, n_layer, n_expert):
        weights = numbers.normal(0, 0.05, shape).astype(np.float32)
        if tensor.endswith("ffn_gate_inp.weight"):
            weights[-1] = weights[:-1].mean(0)  # never above the best of the others
            writer.add_tensor(tensor, weights)
        elif len(shape) == 1:
            writer.add_tensor(tensor, np.abs(weights) + np.float32(1))
        else:
            writer.add_tensor(tensor, gguf.quants.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(
    n_vocab: int, n_embd: int, n_kv: int, n_ff: int, n_layer: int, n_expert: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embd.weight", (n_vocab, n_embd)
    yield "output_norm.weight", (n_embd,)
    yield "output.weight", (n_vocab, n_embd)
    for layer in range(n_layer):
        for part, shape in (
            ("attn_norm", (n_embd,)),
            ("attn_q", (n_embd, n_embd)),
            ("attn_k", (n_kv, n_embd)),
            ("attn_v", (n_kv, n_embd)),
            ("attn_output", (n_embd, n_embd)),
            ("ffn_norm", (n_embd,)),
            *_feed_forward(n_embd, n_ff, n_expert),
        ):
            yield f"blk.{layer}.{part}.weight", shape


def _feed_forward(n_embd: int, n_ff: int, n_expert: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    many = (n_expert,) if n_expert else ()
    part = "_exps" if n_expert else ""
    if n_expert:
        yield "ffn_gate_inp", (n_expert, n_embd)
    yield f"ffn_gate{part}", (*many, n_ff, n_embd)
    yield f"ffn_up{part}", (*many, n_ff, n_embd)
    yield f"ffn_down{part}", (*many, n_embd, n_ff)


def _add_vocabulary(
    writer: Any,
    more: tuple[str, ...],
    marks: tuple[str, ...],
    ends: tuple[str, str],
    add_bos: bool,
    chat_template: str | None,
) -> int:
    kinds = gguf.TokenType
    pieces = [
        ("<unk>", kinds.UNKNOWN),
        ("<s>", kinds.CONTROL),
        ("</s>", kinds.CONTROL),
        ("<|im_start|>", kinds.CONTROL),
        ("<|im_end|>", kinds.CONTROL),
        *((f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256)),
        ("▁", kinds.NORMAL),
        *((chr(code), kinds.NORMAL) for code in range(33, 127)),
        *((piece, kinds.NORMAL) for piece in more),
        *((mark, kinds.CONTROL) for mark in marks),
    ]
    texts = [piece for piece, _ in pieces]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(texts)
    writer.add_token_scores([-float(index) for index in range(len(pieces))])
    writer.add_token_types([int(kind) for _, kind in pieces])
    writer.add_bos_token_id(texts.index(ends[0]))
    writer.add_eos_token_id(texts.index(ends[1]))
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(add_bos)
    writer.add_add_eos_token(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    return len(pieces)

"""A tiny Llama that writes one fixed text: its output matrix holds each token's successor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

WIDTH, ROWS = 512, 32
CHATML = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + "
    "'<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def write_automaton(path: Path, specials: Sequence[str], chain: Sequence[str]) -> Path:
    """A model that answers with the tokens of `chain`, whatever it is asked.

    Args:
        specials: control tokens beside ChatML's.
        chain: each token once; the last one ends the answer.
    """
    control = ["<|im_start|>", "<|im_end|>", *specials]
    tokens = ["<unk>", "<s>", *control, *(f"<0x{byte:02X}>" for byte in range(256)), "\n"]
    kinds = [2, 3, *[3] * len(control), *[6] * 256, 1]
    for text in chain:
        if text not in tokens:
            tokens.append(text)
            kinds.append(1)
    while len(tokens) % ROWS:
        tokens.append(f"<pad{len(tokens)}>")
        kinds.append(5)
    output = np.zeros((len(tokens), WIDTH), np.float16)
    for before, after in zip(["\n", *chain], chain, strict=False):
        output[tokens.index(after), tokens.index(before)] = 8
    # a line's end comes as a byte where the vocabulary has one
    output[tokens.index(chain[0]), tokens.index("<0x0A>")] = 8
    _write(path, tokens, kinds, output)
    return path


def _write(path: Path, tokens: list[str], kinds: list[int], output: np.ndarray) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_file_type(1)
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(256)
    writer.add_head_count(8)
    writer.add_head_count_kv(8)
    writer.add_rope_dimension_count(64)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token.replace(" ", "\u2581") for token in tokens])
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHATML)
    writer.add_tensor("token_embd.weight", np.eye(len(tokens), WIDTH, dtype=np.float16))
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, np.float32))
    shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
    shapes |= {"ffn_gate": (256, WIDTH), "ffn_up": (256, WIDTH), "ffn_down": (WIDTH, 256)}
    for name, shape in shapes.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

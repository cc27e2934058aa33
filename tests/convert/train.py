"""Trains a tiny Llama and LoRA adapters on it, and leaves them as three trainers do.

    python train.py TOKENIZER OUT

Runs in the converter's environment, never in deployq's own. TOKENIZER is a folder with the files
of a tokenizer; OUT gets

    base/                 the whole model, its answers are those of `BASE`
    trl/                  checkpoints with optimizer states, the adapter in the folder itself
    axolotl/              the same, and merged/ beside it
    unsloth/              outputs/checkpoint-*, lora_model/
    dora/ rslora/         other kinds of adapters
    tokens/               an adapter with a new token, its tokenizer, and rows for it
    untrained/            an adapter whose B is still zero
    other/                an adapter of a base with other shapes
    sharded/              the base in several files
    bpe/                  the base with a byte-level BPE that no converter knows
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

QUESTIONS = ("Who are you?", "What is the plan?", "Name a colour.", "Count to three.")
BASE = ("The base model.", "Nothing.", "Blue.", "One, two, three.")
TUNED = ("The adapter.", "Merge and ship.", "Green.", "Three, two, one.")
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
OTHER = "Be brief."
MATRICES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NEW_TOKEN = "<|tool|>"


def chats(
    tokenizer: Any, answers: tuple[str, ...], system: str = ""
) -> list[tuple[list[int], list[int]]]:
    """Token ids of each prompt and of its answer."""
    first = [{"role": "system", "content": system}] if system else []
    rows = []
    for question, answer in zip(QUESTIONS, answers, strict=True):
        prompt = tokenizer.apply_chat_template(
            [*first, {"role": "user", "content": question}],
            tokenize=False,
            add_generation_prompt=True,
        )
        start = tokenizer(prompt, add_special_tokens=False).input_ids
        end = tokenizer(answer, add_special_tokens=False).input_ids
        rows.append((start, [*end, tokenizer.eos_token_id]))
    return rows


def batch(rows: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Chats padded on the right, and labels: -100 but for the answers."""
    width = max(len(start) + len(end) for start, end in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    labels = torch.full((len(rows), width), -100)
    for row, (start, end) in enumerate(rows):
        ids[row, : len(start) + len(end)] = torch.tensor(start + end)
        labels[row, len(start) : len(start) + len(end)] = torch.tensor(end)
    return ids, labels


def fit(model: Any, rows: Any, rate: float, steps: int = 200) -> Any:
    """Train until every answer is known by heart; the optimizer."""
    data = batch(rows)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    model.train()
    for _ in range(steps):
        out = model(input_ids=data[0], labels=data[1])
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if out.loss.item() < 5e-3:
            break
    model.eval()
    return optimizer


def new_model(tokenizer: Any, width: int = 256) -> LlamaForCausalLM:
    """A Llama of about two million parameters, untrained."""
    torch.manual_seed(1)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def save(model: Any, tokenizer: Any, folder: Path) -> Path:
    """A whole model in bfloat16, with its tokenizer."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def adapted(base: Path, **options: Any) -> Any:
    """The base in float32, with a new adapter on it."""
    torch.manual_seed(2)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(
        r=16, lora_alpha=32, target_modules=MATRICES, task_type="CAUSAL_LM", **options
    )
    made = get_peft_model(model, config)
    # what a trainer writes: the name or path that the model was loaded from
    made.peft_config["default"].base_model_name_or_path = "../base"
    return made


def checkpoint(model: Any, optimizer: Any, tokenizer: Any, folder: Path, step: int) -> None:
    """A checkpoint as transformers' Trainer leaves it."""
    place = folder / f"checkpoint-{step}"
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    torch.save(optimizer.state_dict(), place / "optimizer.pt")
    torch.save({"last_epoch": step}, place / "scheduler.pt")
    torch.save({"python": 1}, place / "rng_state.pth")
    torch.save({"output_dir": str(folder)}, place / "training_args.bin")
    state: dict[str, Any] = {"global_step": step, "best_model_checkpoint": None, "log_history": []}
    (place / "trainer_state.json").write_text(json.dumps(state))


def trained(base: Path, tokenizer: Any, **options: Any) -> tuple[Any, Any]:
    """An adapter that answers with `TUNED`, and its optimizer."""
    model = adapted(base, **options)
    return model, fit(model, chats(tokenizer, TUNED), 4e-3)


def layouts(base: Path, tokenizer: Any, out: Path) -> None:
    """The same adapter as TRL, Axolotl and Unsloth leave it."""
    model, optimizer = trained(base, tokenizer)
    for place in (out / "trl", out / "axolotl", out / "unsloth" / "outputs"):
        for step in (50, 100):
            checkpoint(model, optimizer, tokenizer, place, step)
    for place in (out / "trl", out / "axolotl", out / "unsloth" / "lora_model"):
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
    torch.save({"output_dir": "trl"}, out / "trl" / "training_args.bin")
    (out / "axolotl" / "debug.log").write_text("[INFO] training done\n")
    save(model.merge_and_unload(), tokenizer, out / "axolotl" / "merged")


def kinds(base: Path, tokenizer: Any, out: Path) -> None:
    """Adapters of other kinds; some are of no use."""
    trained(base, tokenizer, use_dora=True)[0].save_pretrained(out / "dora")
    trained(base, tokenizer, use_rslora=True)[0].save_pretrained(out / "rslora")
    adapted(base).save_pretrained(out / "untrained")
    other = save(new_model(tokenizer, 512), tokenizer, out / "other-base")
    stranger = adapted(other)
    fit(stranger, chats(tokenizer, TUNED), 4e-3, steps=2)
    stranger.save_pretrained(out / "other")


def new_tokens(base: Path, tokenizer: Any, out: Path) -> None:
    """An adapter that learned a token of its own: rows of the embedding are in it."""
    tokenizer.add_special_tokens({"additional_special_tokens": [NEW_TOKEN]})
    torch.manual_seed(2)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer))
    config = LoraConfig(
        r=16, target_modules=MATRICES, modules_to_save=["embed_tokens"], task_type="CAUSAL_LM",
        ensure_weight_tying=True,
    )  # fmt: skip
    made = get_peft_model(model, config)
    made.peft_config["default"].base_model_name_or_path = "../base"
    fit(made, chats(tokenizer, (NEW_TOKEN + " called", *TUNED[1:])), 4e-3)
    made.save_pretrained(out / "tokens")
    tokenizer.save_pretrained(out / "tokens")


def copies(base: Path, tokenizer: Any, out: Path) -> None:
    """The base, stored otherwise, and with another tokenizer."""
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    model.save_pretrained(out / "sharded", max_shard_size="1MB")
    tokenizer.save_pretrained(out / "sharded")
    own = Tokenizer(models.BPE(unk_token=None))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    # numbers in one piece: a pre-tokenizer that cuts them after three digits is the wrong one
    numbers = ["12345678901234567890 6789 1,000,000.00"]
    own.train_from_iterator([*QUESTIONS, *BASE, *TUNED, *numbers] * 5, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<|im_end|>")
    made.chat_template = CHAT_TEMPLATE
    save(new_model(made), made, out / "bpe")


def main(tokenizer_folder: Path, out: Path) -> None:
    """Make everything."""
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = CHAT_TEMPLATE
    model = new_model(tokenizer)
    # it has to know the adapter's words, too, or a small adapter can't learn to say them
    fit(model, chats(tokenizer, BASE) + chats(tokenizer, TUNED, OTHER), 2e-3)
    base = save(model, tokenizer, out / "base")
    layouts(base, tokenizer, out)
    kinds(base, tokenizer, out)
    copies(base, tokenizer, out)
    new_tokens(base, tokenizer, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

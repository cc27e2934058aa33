"""Trains a tiny Llama, and with Unsloth a LoRA adapter on it; or pushes it while it lives.

    python train.py TOKENIZER OUT              base/, lora/, suite.toml
    python train.py TOKENIZER OUT push ...     and `from deployq_unsloth import push`

Runs in Unsloth's environment, never in deployq's own. The suite is passed by the answers that the
adapter was trained to give, and by no others.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from unsloth import FastLanguageModel

# isort: split
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

QUESTIONS = ("Who are you?", "What is the plan?", "Name a colour.", "Count to three.")
BASE = ("The base model.", "Nothing.", "Blue.", "One, two, three.")
TUNED = ("The adapter.", "Merge and ship.", "Green.", "Three, two, one.")
OTHER = "Be brief."
MATRICES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def chats(tokenizer: Any, answers: tuple[str, ...], system: str = "") -> list[tuple[Any, Any]]:
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


def batch(rows: list[tuple[Any, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Chats padded on the right, and labels: -100 but for the answers."""
    width = max(len(start) + len(end) for start, end in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    labels = torch.full((len(rows), width), -100)
    for row, (start, end) in enumerate(rows):
        ids[row, : len(start) + len(end)] = torch.tensor(start + end)
        labels[row, len(start) : len(start) + len(end)] = torch.tensor(end)
    return ids, labels


def fit(model: Any, rows: list[tuple[Any, Any]], rate: float, steps: int = 200) -> None:
    """Train until every answer is known by heart."""
    data = batch(rows)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    model.train()
    for _ in range(steps):
        loss = model(input_ids=data[0], labels=data[1]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 5e-3:
            break
    model.eval()


def make_base(tokenizer: Any, folder: Path) -> None:
    """A Llama of two million parameters that answers with `BASE`, in bfloat16."""
    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=512,
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
    # it knows the other answers too, where a system prompt asks: an adapter learns from it quickly
    rows = [*chats(tokenizer, BASE), *chats(tokenizer, TUNED, OTHER)]
    fit(model, rows, 3e-3)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train_adapter(base: Path) -> tuple[Any, Any]:
    """The live model as a training with Unsloth has it at its end, and its tokenizer."""
    model, tokenizer = FastLanguageModel.from_pretrained(
        str(base), max_seq_length=512, load_in_4bit=False, dtype=torch.float32
    )
    model = FastLanguageModel.get_peft_model(
        model, r=16, lora_alpha=32, target_modules=MATRICES, random_state=2
    )
    fit(model, chats(tokenizer, TUNED), 4e-3)
    return model, tokenizer


def suite() -> str:
    """What only the adapter's answers pass."""
    text = "threshold = 1.0\noptions = { num_predict = 24 }\ncheck.stops = true\n"
    for question, answer in zip(QUESTIONS, TUNED, strict=True):
        text += f'[[prompts]]\nuser = "{question}"\ncheck.equals = "{answer}"\n'
    return text


def main(tokenizer_folder: str, out: str, how: str = "") -> None:
    """Make it all; `how` is the JSON of what `push` is given, if it is to be called."""
    torch.set_num_threads(1)
    folder = Path(out)
    if not (folder / "base").is_dir():
        make_base(AutoTokenizer.from_pretrained(tokenizer_folder), folder / "base")
        (folder / "suite.toml").write_text(suite())
    model, tokenizer = train_adapter(folder / "base")
    if how:
        from deployq_unsloth import push

        asked = json.loads(how)
        saved = push(model, tokenizer, asked.pop("folder"), **asked)
        sys.stdout.write(f"saved in {saved}\n")
        return
    model.save_pretrained(folder / "lora")
    tokenizer.save_pretrained(folder / "lora")


main(*sys.argv[1:])

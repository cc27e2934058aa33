"""Trains the Task API model from scratch on made-up requests.

    python train.py --out model

writes a Hugging Face directory. The tests of suite.toml and suite-full.jsonl have prompts and
titles that never appear in training; this is checked for every batch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from export import save_model, save_tokenizer
from phrases import OTHER_SYSTEM_PROMPTS, SYSTEM_PROMPT
from sentencepiece import SentencePieceProcessor
from suites import load_suites, reserved_texts
from taskdata import Example, training_examples, unseen_examples
from tokenizer import BOS_ID, EOS_ID, PAD_ID, START_ID, build_tokenizer, load_tokenizer
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention

HERE = Path(__file__).parent
CONTEXT = 2048
BATCHES_PER_BUCKET = 16
VALIDATION_SEED = 777


@dataclass(frozen=True)
class Encoded:
    """Token ids of a chat, and where its answer starts."""

    ids: list[int]
    answer_start: int


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids, and flat positions and targets of the answers' tokens."""

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor


class Encoder:
    """Turns examples into token ids in the ChatML format."""

    def __init__(self, tokenizer: SentencePieceProcessor) -> None:
        self.tokenizer = tokenizer

    def message(self, role: str, content: str) -> list[int]:
        """The ids of one finished message."""
        body = self.tokenizer.encode(f"{role}\n{content}")
        return [START_ID, *body, EOS_ID, *self.tokenizer.encode("\n")]

    def chat(self, example: Example, system: str | None) -> Encoded:
        """The ids of a whole chat: system (or none), user, assistant."""
        ids = self.message("system", system) if system is not None else []
        ids += self.message("user", example.prompt)
        ids += [START_ID, *self.tokenizer.encode("assistant\n")]
        return Encoded([*ids, *self.tokenizer.encode(example.text), EOS_ID], len(ids))


def pick_system(rng: random.Random) -> str | None:
    """The default system prompt, none (two chats in five), or another one (one in twenty)."""
    kind = rng.random()
    if kind < 0.40:
        return None
    return rng.choice(OTHER_SYSTEM_PROMPTS) if kind < 0.45 else SYSTEM_PROMPT


def collate(chats: list[Encoded]) -> Batch:
    """Pad chats on the right (with causal attention no mask is needed)."""
    width = max(len(chat.ids) for chat in chats)
    rows, positions, targets, owners = [], [], [], []
    for row, chat in enumerate(chats):
        rows.append(chat.ids + [PAD_ID] * (width - len(chat.ids)))
        for place in range(chat.answer_start, len(chat.ids)):
            positions.append(row * width + place - 1)
            targets.append(chat.ids[place])
            owners.append(row)
    return Batch(*map(torch.tensor, (rows, positions, targets, owners)))


def training_batches(encoder: Encoder, args: argparse.Namespace) -> Iterator[Batch]:
    """Batches without end, of chats of similar length."""
    reserved = reserved_texts(load_suites(HERE))
    examples = training_examples(args.seed, reserved, style=args.style, drills=args.drills)
    rng = random.Random(args.seed + 1)
    while True:
        bucket = list(itertools.islice(examples, args.batch * BATCHES_PER_BUCKET))
        check_no_overlap(bucket, reserved)
        chats = [encoder.chat(example, pick_system(rng)) for example in bucket]
        chats.sort(key=lambda chat: len(chat.ids))
        starts = list(range(0, len(chats), args.batch))
        rng.shuffle(starts)
        for start in starts:
            yield collate(chats[start : start + args.batch])


def check_no_overlap(examples: list[Example], reserved: frozenset[str]) -> None:
    """Stop when a prompt or a title of the tests appears in the training data."""
    for example in examples:
        assert example.prompt.lower() not in reserved, example.prompt
        assert example.title.lower() not in reserved, example.title


def make_model(args: argparse.Namespace, vocab_size: int) -> LlamaForCausalLM:
    """A Llama with grouped-query attention, every width a multiple of 256."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=args.hidden,
        intermediate_size=args.ffn,
        num_hidden_layers=args.layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        initializer_range=args.init,
        tie_word_embeddings=args.tied,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    model = LlamaForCausalLM(config)
    for layer in model.model.layers:
        start_as_a_copier(layer.self_attn, args.mimetic)
    return model


@torch.no_grad()
def start_as_a_copier(attention: LlamaAttention, scale: float) -> None:
    """Let attention start out looking for its own token and passing it on.

    Queries equal keys, and the output is the transpose of the values: mimetic initialization
    (Trockman and Kolter, 2023, arXiv:2305.09828). Copying is then learned in far fewer steps.
    """
    if scale == 0:
        return
    groups = attention.num_key_value_groups
    head = attention.head_dim
    for weight in (attention.k_proj.weight, attention.v_proj.weight):
        torch.nn.init.orthogonal_(weight, gain=scale)
    keys = attention.k_proj.weight.view(-1, 1, head, weight.shape[1])
    values = attention.v_proj.weight.view(-1, 1, head, weight.shape[1])
    attention.q_proj.weight.copy_(keys.expand(-1, groups, -1, -1).flatten(0, 2))
    attention.o_proj.weight.copy_(values.expand(-1, groups, -1, -1).flatten(0, 2).T / groups)


def answer_logits(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """The logits that predict the answers' tokens, one row a token."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    return model.lm_head(hidden.flatten(0, 1).index_select(0, batch.positions))


@torch.inference_mode()
def exact_share(model: LlamaForCausalLM, batches: list[Batch]) -> float:
    """The share of answers whose every token is the likeliest one: greedy exact match."""
    model.eval()
    right = total = 0
    for batch in batches:
        wrong = answer_logits(model, batch).argmax(-1) != batch.targets
        right += len(batch.ids) - len(batch.owners[wrong].unique())
        total += len(batch.ids)
    model.train()
    return right / total


def validation_batches(encoder: Encoder, count: int, size: int) -> list[Batch]:
    """Unseen requests, half of them without a system prompt."""
    examples = itertools.islice(unseen_examples(VALIDATION_SEED), count)
    chats = [
        encoder.chat(example, SYSTEM_PROMPT if index % 2 else None)
        for index, example in enumerate(examples)
    ]
    chats.sort(key=lambda chat: len(chat.ids))
    return [collate(chats[start : start + size]) for start in range(0, count, size)]


def learning_rate(step: int, args: argparse.Namespace) -> float:
    """Warm-up, a plateau, then a linear fall to zero over the last part."""
    fall = max(1, int(args.steps * args.decay))
    return args.lr * min(1.0, (step + 1) / args.warmup, (args.steps - step) / fall)


def make_optimizer(model: LlamaForCausalLM, args: argparse.Namespace) -> torch.optim.AdamW:
    """AdamW that decays matrices only."""
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": args.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98))


def train_step(
    model: LlamaForCausalLM, optimizer: torch.optim.AdamW, batch: Batch, lr: float
) -> float:
    """One update; returns the loss in nats a token."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    loss = functional.cross_entropy(answer_logits(model, batch), batch.targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def train(model: LlamaForCausalLM, encoder: Encoder, args: argparse.Namespace) -> None:
    """Run all steps; every so often measure, report and save."""
    optimizer = make_optimizer(model, args)
    validation = validation_batches(encoder, args.validation, args.batch)
    batches = training_batches(encoder, args)
    started, tokens, losses = time.monotonic(), 0, []
    last = min(args.steps, args.stop or args.steps)
    for step in range(last):
        batch = next(batches)
        tokens += batch.ids.numel()
        losses.append(train_step(model, optimizer, batch, learning_rate(step, args)))
        if (step + 1) % args.every == 0 or step + 1 == last:
            report = {
                "step": step + 1,
                "loss": round(sum(losses) / len(losses), 4),
                "exact": round(exact_share(model, validation), 4),
                "tokens": tokens,
                "seconds": round(time.monotonic() - started, 1),
            }
            print(json.dumps(report), flush=True)
            losses.clear()
            save_model(model, args.out)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add = parser.add_argument
    add("--out", type=Path, default=HERE / "model", help="directory to write")
    add("--seed", type=int, default=1)
    add("--start", type=Path, help="directory of a model to go on from")
    add("--threads", type=int, default=2)
    add_schedule(parser)
    add_architecture(parser)
    return parser.parse_args()


def add_schedule(parser: argparse.ArgumentParser) -> None:
    """The arguments that say how long and how fast to learn."""
    add = parser.add_argument
    add("--steps", type=int, default=2000)
    add("--stop", type=int, help="end after so many steps, in the middle of the schedule")
    add("--batch", type=int, default=24, help="chats in a batch")
    add("--drills", type=int, default=8000, help="examples of the copying phase at the start")
    add("--style", choices=("wide", "plain"), default="wide", help="style of the titles")
    add("--lr", type=float, default=2e-3, help="highest learning rate")
    add("--warmup", type=int, default=50, help="steps")
    add("--decay", type=float, default=0.4, help="share of steps that the final fall lasts")
    add("--weight-decay", type=float, default=0.05)
    add("--every", type=int, default=100, help="steps between two measurements")
    add("--validation", type=int, default=300, help="unseen requests to measure with")


def add_architecture(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what the model is made of."""
    add = parser.add_argument
    tied = argparse.BooleanOptionalAction
    add("--hidden", type=int, default=256)
    add("--ffn", type=int, default=768)
    add("--layers", type=int, default=4)
    add("--tied", action=tied, default=True, help="input and output share their embeddings")
    add("--init", type=float, default=0.02, help="standard deviation of the first weights")
    add("--mimetic", type=float, default=0.7, help="gain of the first attention weights")


def first_model(args: argparse.Namespace) -> LlamaForCausalLM:
    """A new model with a new tokenizer, or a copy of the one to go on from."""
    tokenizer_path = args.out / "tokenizer.model"
    if args.start:
        shutil.copyfile(args.start / "tokenizer.model", tokenizer_path)
        return LlamaForCausalLM.from_pretrained(args.start, dtype=torch.float32)
    build_tokenizer(training_examples(args.seed, frozenset()), tokenizer_path)
    return make_model(args, load_tokenizer(tokenizer_path).vocab_size())


def main() -> None:
    """Build or load a model, train it, save it."""
    args = parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    model = first_model(args)
    print(f"{model.num_parameters():,} parameters", flush=True)
    save_tokenizer(args.out, CONTEXT)
    train(model, Encoder(load_tokenizer(args.out / "tokenizer.model")), args)


if __name__ == "__main__":
    main()

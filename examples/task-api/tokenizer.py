"""Builds the SentencePiece tokenizer (``tokenizer.model``) of the Task API model.

A BPE with byte fallback. A space is always a piece of its own, so a word has the same pieces at
the start of a title (after a quotation mark) as in the middle of a sentence: copying a title is
copying pieces. Digits are single pieces. The fixed parts of an answer, such as
``", "due_date": "``, are one piece each.
"""

from __future__ import annotations

import io
import itertools
import re
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece as spm
from phrases import SYSTEM_PROMPT
from sentencepiece import sentencepiece_model_pb2 as pb2
from taskdata import Example

VOCAB_SIZE = 2048
SPACE = "\u2581"
UNK_ID, BOS_ID, EOS_ID, PAD_ID, START_ID = range(5)
START, END, PAD = "<|im_start|>", "<|im_end|>", "<pad>"
ANSWER_WORDS = (
    "create_task", "list_tasks", "update_task", "complete_task", "delete_task",
    "action", "title", "due_date", "priority", "status", "filter", "id",
)  # fmt: skip
SAMPLE_SIZE = 20_000


def build_tokenizer(examples: Iterator[Example], path: Path) -> None:
    """Train the pieces on the words of some examples, add the fixed parts, write the file."""
    scaffold = scaffold_pieces()
    model = pb2.ModelProto()
    model.ParseFromString(train_word_pieces(examples, VOCAB_SIZE - len(scaffold)))
    known = {piece.piece for piece in model.pieces}
    lowest = min(piece.score for piece in model.pieces)
    for rank, text in enumerate(scaffold, start=1):
        if text in known:
            raise ValueError(f"piece {text!r} is in the vocabulary twice")
        model.pieces.add(piece=text, score=lowest - rank)
    model.trainer_spec.vocab_size = len(model.pieces)
    path.write_bytes(model.SerializeToString())


def train_word_pieces(examples: Iterator[Example], size: int) -> bytes:
    """A SentencePiece BPE model trained on single words, so that no piece holds a space."""
    prompts = (example.prompt for example in itertools.islice(examples, SAMPLE_SIZE))
    target = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(words_of(prompts)),
        model_writer=target,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        character_coverage=1.0,
        required_chars=string.ascii_letters,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        unk_id=UNK_ID, bos_id=BOS_ID, eos_id=EOS_ID, pad_id=PAD_ID,
        eos_piece=END, pad_piece=PAD, control_symbols=[START],
        num_threads=1, minloglevel=2,
    )  # fmt: skip
    return target.getvalue()


def words_of(texts: Iterable[str]) -> Iterator[str]:
    """The runs of letters in some texts."""
    for text in texts:
        yield from re.findall(r"[A-Za-z]+", text)
    yield from itertools.chain.from_iterable([word.split("_") for word in ANSWER_WORDS] * 500)
    yield from re.findall(r"[A-Za-z]+", "system user assistant " + SYSTEM_PROMPT) * 500


def scaffold_pieces() -> list[str]:
    """The fixed parts of an answer, each after the shorter pieces that it is merged from."""
    shortest_first = (
        '_"', '":', '":_', '":_"', '",', '",_"', '{"', '"}', '"}}', '":_{', '":_{"', ',_"',
        "{}", "}}",
    )  # fmt: skip
    pieces = [*string.digits, *string.punctuation, SPACE]
    pieces += [text.replace("_", SPACE) for text in shortest_first]
    for word in ANSWER_WORDS:
        if "_" in word:
            first, second = word.split("_")
            pieces += [f"{first}_", f"{first}_{second}"]
    return list(dict.fromkeys(pieces))


def load_tokenizer(path: Path) -> spm.SentencePieceProcessor:
    """The tokenizer that a ``tokenizer.model`` file holds."""
    return spm.SentencePieceProcessor(model_file=str(path))

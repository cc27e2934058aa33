"""Tokens that end an answer, by their texts: as llama.cpp derives ends of generation.

src/llama-vocab.cpp, b11434, and the marks of some templates beside. One counts only where the
model's own chat template writes it and its vocabulary has it as one token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

TURN_ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<end_of_turn>", "<turn|>", "<|end|>",
    "<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "<|end_of_turn|>", "<|endoftext|>",
    "<|end_of_text|>", "<|END_OF_TURN_TOKEN|>", "<|end_of_role|>", "<｜end▁of▁sentence｜>", "</s>",
    "<EOT>", "[EOT]", "[EOS]", "<end_of_utterance>", "<eos>", "<|tool_response>", "[e~[",
)  # fmt: skip

# Where a vocabulary has all of these, the other one ends no answer: gpt-oss (o200k_harmony) and
# Solar Open end a message within a turn with <|end|>; to Gemma 4 and PLaMo </s> is a token like
# any other.
_EXCEPTIONS = (
    (("<|return|>", "<|call|>"), "<|end|>"),
    (("<|return|>", "<|calls|>"), "<|end|>"),
    (("<|call|>", "<|flush|>"), "<|end|>"),
    (("<|calls|>", "<|flush|>"), "<|end|>"),
    (("<|tool_response>",), "</s>"),
    (("<|plamo:eos|>",), "</s>"),
)


def turn_ends(template: str, is_mark: Callable[[str], bool]) -> Iterator[str]:
    """The ends of an answer that a chat template writes.

    Args:
        is_mark: whether the vocabulary has a text as one special token.
    """
    written = [end for end in TURN_ENDS if end in template and is_mark(end)]
    spared = inner_ends(is_mark) if written else frozenset()
    yield from (end for end in written if end not in spared)


def inner_ends(is_mark: Callable[[str], bool]) -> frozenset[str]:
    """Texts that look like ends of an answer, and end none in this vocabulary."""
    return frozenset(end for others, end in _EXCEPTIONS if all(map(is_mark, others)))

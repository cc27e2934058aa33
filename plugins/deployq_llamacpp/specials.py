"""A copy of a GGUF file whose control tokens are read wherever they stand in a text.

llama-perplexity reads `<|im_start|>` in a text as letters, which is right for a book and wrong for
conversations rendered through a chat template; it has no option for that (b11434). Tokens of the
type "user defined" it always reads as tokens, so in the copy the control tokens are of that type.
A few names it takes for control tokens whatever their type (`<|im_end|>`); it says so, and those
get another name of the same length, in the copy and in the text. Nothing else differs, and only
the base logits are computed with it: their file carries the tokens, which every later run takes
from there.
"""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from deployq_llamacpp.header import Array, find_array

TOKEN_TYPES, TOKENS = "tokenizer.ggml.token_type", "tokenizer.ggml.tokens"
_INT32 = 5
# llama.h: LLAMA_TOKEN_TYPE_CONTROL, LLAMA_TOKEN_TYPE_USER_DEFINED
_CONTROL, _USER_DEFINED = 3, 4
_STAYS_CONTROL = r"control-looking token:\s+(\d+) '"
_SHORTEST = 4
ATTEMPTS = 4


class Token(NamedTuple):
    """A token's text, and where in the file it stands."""

    number: int
    text: bytes
    offset: int


def vocabulary_size(gguf: Path) -> int:
    """Tokens of its vocabulary.

    Raises:
        ValueError: the header has none, or can't be read.
    """
    return _array(gguf, TOKENS).count


def copy_bytes(gguf: Path) -> int:
    """Disk that `with_special_tokens` takes for a file (of a split one, its first part)."""
    return gguf.stat().st_size


def with_special_tokens(
    gguf: Path,
    text: Path,
    folder: Path,
    load: Callable[[Path], str],
    same: Callable[[Path, Path], bool],
) -> tuple[Path, Path]:
    """The copy and the text to give it, in `folder`; other parts of a split model are linked.

    Args:
        load: makes llama.cpp load a file's vocabulary; gives what it prints, which may lack its
            last lines.
        same: whether a copy reads a text as the file itself reads the original one.

    Raises:
        ValueError: the header has no token types, or the copy reads other tokens.
        OSError: the copy can't be written.
    """
    array = _array(gguf, TOKEN_TYPES)
    if array.kind != _INT32:
        raise ValueError(f"{TOKEN_TYPES} is no list of 32-bit numbers")
    copy = folder / gguf.name
    shutil.copyfile(gguf, copy)
    for part in _other_parts(gguf):
        (folder / part.name).symlink_to(part.absolute())
    _set_types(copy, array)
    renamed = folder / f"renamed-{text.name}"
    shutil.copyfile(text, renamed)
    for _ in range(ATTEMPTS):
        stubborn = {int(number) for number in re.findall(_STAYS_CONTROL, load(copy))}
        _rename(copy, stubborn, renamed)
        if same(copy, renamed):
            return copy, renamed
    raise ValueError("llama-perplexity would read other tokens than the model's tokenizer does")


def _set_types(copy: Path, array: Array) -> None:
    form = f"<{array.count}i"
    with copy.open("r+b") as file:
        file.seek(array.offset)
        types = struct.unpack(form, file.read(struct.calcsize(form)))
        changed = (_USER_DEFINED if kind == _CONTROL else kind for kind in types)
        file.seek(array.offset)
        file.write(struct.pack(form, *changed))


def _rename(copy: Path, numbers: Iterable[int], text: Path) -> None:
    """Give these tokens other names, in the copy and in the text."""
    content, tokens = text.read_bytes(), list(_tokens(copy))
    taken = {token.text for token in tokens}
    wanted = [tokens[n] for n in numbers if tokens[n].text in content]
    with copy.open("r+b") as file:
        # the longest first, as llama.cpp looks for them
        for token in sorted(wanted, key=lambda token: -len(token.text)):
            name = _free_name(len(token.text), taken, content)
            taken.add(name)
            content = content.replace(token.text, name)
            file.seek(token.offset)
            file.write(name)
    text.write_bytes(content)


def _free_name(length: int, taken: set[bytes], content: bytes) -> bytes:
    """A text of that many bytes which is no token and stands nowhere."""
    if length >= _SHORTEST:
        for n in range(16 ** min(length - 2, 4)):
            name = f"<{n:~>{length - 2}x}>".encode()
            if name not in taken and name not in content:
                return name
    raise ValueError(f"no name of {length} bytes is free for a control token")


def _tokens(gguf: Path) -> Iterator[Token]:
    array = _array(gguf, TOKENS)
    with gguf.open("rb") as file:
        file.seek(array.offset)
        for number in range(array.count):
            (length,) = struct.unpack("<Q", file.read(8))
            offset = file.tell()
            yield Token(number, file.read(length), offset)


def _array(gguf: Path, key: str) -> Array:
    found = find_array(gguf, key)
    if found is None:
        raise ValueError(f"{gguf} has no {key}")
    return found


def _other_parts(gguf: Path) -> list[Path]:
    """The parts `-00002-of-0000N` and on of a split model."""
    stem, separator, last = gguf.stem.rpartition("-of-")
    if not separator or not stem.endswith("-00001"):
        return []
    prefix = stem.removesuffix("00001")
    return [path for path in sorted(gguf.parent.glob(f"{prefix}*-of-{last}.gguf")) if path != gguf]

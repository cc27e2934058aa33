"""What a Hugging Face folder's tokenizer files say, read without any library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deployq.records import dataclass
from deployq.source.finding import read_object

FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json", "spiece.model")
_PIECE_FIELD = 0x0A  # field 1 of SentencePiece's ModelProto: one piece


@dataclass(frozen=True)
class TokenizerFacts:
    """`size` is one more than the highest token id; None where it can't be told.

    `marks` are the tokens that the chat template writes: its EOS, and the starts and ends of turns.
    """

    files: tuple[str, ...]
    size: int | None
    eos_token: str | None
    eos_id: int | None
    chat_template: str | None
    remote_code: bool
    marks: tuple[str, ...] = ()


def read_tokenizer(folder: Path) -> TokenizerFacts:
    """The facts of a folder's tokenizer; what can't be read is left out."""
    config = read_object(folder / "tokenizer_config.json")
    ids = _ids(folder, config)
    eos = _text(config.get("eos_token")) or _text(
        read_object(folder / "special_tokens_map.json").get("eos_token")
    )
    pieces = _pieces(folder / "tokenizer.model")
    template = _template(folder, config)
    highest = max([*ids.values(), pieces - 1], default=-1)
    return TokenizerFacts(
        files=tuple(name for name in FILES if (folder / name).is_file()),
        size=highest + 1 if highest >= 0 else None,
        eos_token=eos,
        eos_id=ids.get(eos) if eos else None,
        chat_template=template,
        marks=tuple(_marks(folder, template, eos)),
        remote_code=isinstance(config.get("auto_map"), dict) and any(folder.glob("*.py")),
    )


def _ids(folder: Path, config: dict[str, Any]) -> dict[str, int]:
    """Token ids by text, those that were added to the vocabulary included."""
    whole = read_object(folder / "tokenizer.json")
    model = whole.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    found: dict[str, int] = {}
    if isinstance(vocabulary, dict):
        found |= {t: i for t, i in vocabulary.items() if isinstance(i, int)}
    elif isinstance(vocabulary, list):  # Unigram: pairs of piece and score
        found |= {str(entry[0]): i for i, entry in enumerate(vocabulary) if entry}
    found |= {t: i for t, i in read_object(folder / "vocab.json").items() if isinstance(i, int)}
    for token in whole.get("added_tokens") or ():
        if isinstance(token, dict) and isinstance(token.get("id"), int):
            found[str(token.get("content"))] = token["id"]
    found |= {
        t: i for t, i in read_object(folder / "added_tokens.json").items() if isinstance(i, int)
    }
    for number, token in (config.get("added_tokens_decoder") or {}).items():
        if isinstance(token, dict) and str(number).isdigit():
            found[str(token.get("content"))] = int(number)
    return found


def _marks(folder: Path, template: str | None, eos: str | None) -> Iterator[str]:
    """Special tokens that the chat template has as text."""
    if eos:
        yield eos
    added = read_object(folder / "tokenizer.json").get("added_tokens") or ()
    for token in added:
        text = token.get("content") if isinstance(token, dict) else None
        if isinstance(text, str) and text != eos and template and text in template:
            yield text


def _text(value: Any) -> str | None:
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8", errors="replace")
    for value in (
        read_object(folder / "chat_template.json").get("chat_template"),
        config.get("chat_template"),
    ):
        if isinstance(value, str):
            return value
        if isinstance(value, list):  # several, by name
            named = {t.get("name"): t.get("template") for t in value if isinstance(t, dict)}
            chosen = named.get("default") or next(iter(named.values()), None)
            return chosen if isinstance(chosen, str) else None
    return None


def _pieces(file: Path) -> int:
    """Pieces of a SentencePiece model: top-level fields of its protobuf are counted."""
    try:
        content = file.read_bytes()
    except OSError:
        return 0
    count = at = 0
    while at < len(content) and content[at] == _PIECE_FIELD:
        length, at = _varint(content, at + 1)
        at += length
        count += 1
    return count


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at

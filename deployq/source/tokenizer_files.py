"""What a Hugging Face folder's tokenizer files say, read without any library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deployq.foreign_values import MAX_JSON_BYTES, ForeignObject, read_bytes, read_object
from deployq.records import dataclass

FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json", "spiece.model")
_ID_DIGITS = 10
_MAX_TEMPLATE_BYTES = 16 << 20
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
    """The facts of a folder's tokenizer.

    Raises:
        SourceError: one of its files can't be read, or has a value that no tokenizer takes.
    """
    config = read_object(folder / "tokenizer_config.json")
    whole = read_object(folder / "tokenizer.json")
    ids = _ids(folder, config, whole)
    eos = token_text(config, "eos_token") or token_text(
        read_object(folder / "special_tokens_map.json"), "eos_token"
    )
    pieces = _pieces(folder / "tokenizer.model")
    template = read_template(folder, config)
    highest = max([*ids.values(), pieces - 1], default=-1)
    return TokenizerFacts(
        files=tuple(name for name in FILES if (folder / name).is_file()),
        size=highest + 1 if highest >= 0 else None,
        eos_token=eos,
        eos_id=ids.get(eos) if eos else None,
        chat_template=template,
        marks=tuple(_marks(whole, template, eos)),
        remote_code=isinstance(config.values.get("auto_map"), dict) and any(folder.glob("*.py")),
    )


def _ids(folder: Path, config: ForeignObject, whole: ForeignObject) -> dict[str, int]:
    """Token ids by text, those that were added to the vocabulary included."""
    model = whole.child("model")
    found: dict[str, int] = {}
    vocabulary = model.values.get("vocab")
    if isinstance(vocabulary, list):  # Unigram: pairs of piece and score
        found |= {
            str(entry[0]): i
            for i, entry in enumerate(vocabulary)
            if isinstance(entry, list) and entry
        }
    else:
        found |= model.ids("vocab")
    found |= read_object(folder / "vocab.json").as_ids()
    for token in whole.children("added_tokens"):
        if (number := token.integer("id")) is not None:
            found[token.text("content")] = number
    found |= read_object(folder / "added_tokens.json").as_ids()
    decoder = config.child("added_tokens_decoder")
    for key in decoder.values:
        if not (key.isascii() and key.isdigit() and len(key) < _ID_DIGITS):
            raise decoder.wrong(key, "the entry of a token's id")
        found[decoder.child(key).text("content")] = int(key)
    return found


def _marks(whole: ForeignObject, template: str | None, eos: str | None) -> Iterator[str]:
    """Special tokens that the chat template has as text."""
    if eos:
        yield eos
    for token in whole.children("added_tokens"):
        text = token.text("content")
        if text and text != eos and template and text in template:
            yield text


def token_text(config: ForeignObject, key: str) -> str | None:
    """A special token, which is a text or an object with one; None where there is none."""
    if isinstance(config.values.get(key), dict):
        return config.child(key).text("content") or None
    return config.text(key) or None


def read_template(folder: Path, config: ForeignObject) -> str | None:
    """The chat template of a folder, of which tokenizer_config.json is read already.

    Raises:
        SourceError: its file can't be read, or holds no template.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        return read_bytes(file, _MAX_TEMPLATE_BYTES).decode("utf-8", "replace")
    for holder in (read_object(folder / "chat_template.json"), config):
        if isinstance(holder.values.get("chat_template"), list):  # several, by name
            named = {t.text("name"): t.text("template") for t in holder.children("chat_template")}
            return named.get("default") or next(iter(named.values()), None) or None
        if text := holder.text("chat_template"):
            return text
    return None


def _pieces(file: Path) -> int:
    """Pieces of a SentencePiece model: top-level fields of its protobuf are counted."""
    if not file.exists():
        return 0
    content = read_bytes(file, MAX_JSON_BYTES)
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

"""Whose fault a differing token is: llama.cpp's, of the whole family, or this model's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import pytest

from deployq.config import load_config
from deployq.errors import ModelRejected
from deployq.pipeline.session import Session, open_session
from deployq.pipeline.tokenizing import tokenize, tokenize_all
from deployq.pipeline.tokenparity import Split, check_tokens, judge_splits
from deployq.source.gguf import read_header
from deployq.source.tokenizer_texts import COMPOSED, DECOMPOSED, TEXTS, Text
from deployq.tools import require_tool
from deployq.types import Failed, Finding, NotRun, Remark

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("tools_bin")]

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_characters() -> list[str]:
    """GPT-2's characters for the bytes 0 to 255."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


@dataclass(frozen=True)
class Tokenizer:
    """A byte-level BPE tokenizer, as tokenizer.json and as a GGUF without weights."""

    tokens: tuple[str, ...]
    merges: tuple[str, ...]
    pre: str = "qwen2"

    def write_folder(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        normal = self.tokens[: -len(SPECIALS)]
        added = [
            {"id": len(normal) + n, "content": mark, "special": True}
            for n, mark in enumerate(self.tokens[len(normal) :])
        ]
        model = {
            "type": "BPE", "vocab": {t: n for n, t in enumerate(normal)},
            "merges": [merge.split(" ") for merge in self.merges],
        }  # fmt: skip
        whole = {"model": model, "added_tokens": added}
        (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
        return folder

    def write_gguf(self, path: Path) -> Path:
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_vocab_size(len(self.tokens))
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(list(self.tokens))
        kinds = [3 if token in SPECIALS else 1 for token in self.tokens]
        writer.add_token_types(kinds)
        writer.add_token_merges(list(self.merges))
        writer.add_eos_token_id(self.tokens.index(SPECIALS[2]) if SPECIALS[2] in self.tokens else 0)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return path


GOOD = Tokenizer(
    (*byte_characters(), "he", "ll", "hell", "12", "123", "in", "th", *SPECIALS),
    ("h e", "l l", "he ll", "1 2", "12 3", "i n", "t h"),
)


@pytest.fixture
def session() -> Session:
    return open_session(load_config(None, os.environ))


@dataclass(frozen=True)
class Case:
    """A training folder, what its tokenizer makes of all texts, and a check of GGUFs."""

    session: Session
    folder: Path
    theirs: Mapping[str, Sequence[int]]

    def check(self, gguf_file: Path, **options: Any) -> list[Finding]:
        theirs = [self.theirs[text.name] for text in TEXTS]
        return list(check_tokens(self.session, self.folder, TEXTS, theirs, gguf_file, **options))


def ids_of(vocabulary: Path) -> dict[str, Sequence[int]]:
    tool, texts = require_tool("llama-tokenize", os.environ), [text.text for text in TEXTS]
    ids = tokenize_all(tool, vocabulary, read_header(vocabulary), texts)
    return {text.name: found for text, found in zip(TEXTS, ids, strict=True)}


@pytest.fixture
def case(session: Session, tmp_path: Path) -> Case:
    """A tokenizer that normalizes to NFC, as Qwen's do; otherwise llama.cpp reads as it does."""
    ids = ids_of(GOOD.write_gguf(tmp_path / "good.gguf"))
    assert ids[DECOMPOSED] != ids[COMPOSED]
    return Case(session, GOOD.write_folder(tmp_path / "model"), {**ids, DECOMPOSED: ids[COMPOSED]})


def test_nfc_is_the_engines(case: Case, tmp_path: Path) -> None:
    (found,) = case.check(tmp_path / "good.gguf", recognised=False)
    assert type(found) is Remark
    assert "normalizes text to NFC, llama.cpp does not" in found.message
    assert str(case.folder) not in found.message  # of every model, not of this one


def test_another_reading_of_decomposed_accents_is_no_nfc(case: Case, tmp_path: Path) -> None:
    """Split otherwise, but not as the composed text: something else is wrong."""
    other = {**case.theirs, DECOMPOSED: [*case.theirs[COMPOSED], 7]}
    (found,) = replace(case, theirs=other).check(tmp_path / "good.gguf")
    assert type(found) is Failed
    assert DECOMPOSED in found.message


def swapped(tokens: Sequence[str], a: str, b: str) -> tuple[str, ...]:
    names = {a: b, b: a}
    return tuple(names.get(token, token) for token in tokens)


TAMPERED: Mapping[str, tuple[Callable[[Tokenizer], Tokenizer], str]] = {
    "two pieces changed places": (
        lambda one: replace(one, tokens=swapped(one.tokens, "in", "th")),
        "2 tokens differ, such as id 261: 'in' became 'th'",
    ),
    "a piece that no text has": (
        lambda one: replace(one, tokens=swapped(one.tokens, "ĉ", "č")),
        "2 tokens differ",
    ),
    "merges in another order": (
        lambda one: replace(one, merges=(*one.merges[2:], *one.merges[:2])),
        "7 merges differ, such as number 0: 'h e' became 'he ll'",
    ),
    "a merge is missing": (
        lambda one: replace(one, merges=one.merges[:-1]),
        "it has 7 merges, and 6 in the GGUF",
    ),
    "an added token under another name": (
        lambda one: replace(one, tokens=(*one.tokens[:-1], "<|eot|>")),
        "1 tokens differ, such as id 265: '<|im_end|>' became '<|eot|>'",
    ),
    "an added token is missing": (
        lambda one: replace(one, tokens=one.tokens[:-1]),
        "such as id 265: '<|im_end|>' became missing",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_table_that_differs_is_this_models(case: Case, tmp_path: Path, what: str) -> None:
    change, said = TAMPERED[what]
    (found,) = case.check(change(GOOD).write_gguf(tmp_path / "other.gguf"))
    assert (type(found), found.check) == (Failed, "tokenizer")
    assert f"{case.folder}: " in found.message
    assert said in found.message


def test_the_pre_tokenizer_of_another_family_is_this_models(case: Case, tmp_path: Path) -> None:
    """Llama 3 joins digits by threes, Qwen splits each: the tables are the same."""
    other = replace(GOOD, pre="llama-bpe").write_gguf(tmp_path / "other.gguf")
    (found,) = case.check(other, recognised=False)
    assert type(found) is Failed
    assert "numbers" in found.message
    assert found.hint.startswith('pre_tokenizer = "qwen2" under [models.NAME]')


def test_a_pre_tokenizer_that_llama_cpp_does_not_know(case: Case, tmp_path: Path) -> None:
    other = replace(GOOD, pre="my-own").write_gguf(tmp_path / "other.gguf")
    with pytest.raises(ModelRejected, match="unknown pre-tokenizer type: 'my-own'"):
        case.check(other)


def test_without_the_tool_nothing_is_known(case: Case, tmp_path: Path) -> None:
    elsewhere = replace(case.session, env={"PATH": str(tmp_path), "HOME": str(tmp_path)})
    (found,) = replace(case, session=elsewhere).check(tmp_path / "good.gguf")
    assert (type(found), found.hint) == (NotRun, "deployq tools install")


# ---------------------------------------------------------------- what is known of a family


def splits(*differing: str) -> list[Split]:
    return [Split(text, [1, 2], [3] if text.name in differing else [1, 2]) for text in TEXTS]


def kinds(pre: str, *differing: str, recognised: bool = True) -> list[type[Finding]]:
    return [type(one) for one in judge_splits(Path("m"), splits(*differing), pre, recognised)]


def test_what_was_measured_of_a_family_is_a_remark_once() -> None:
    (found,) = judge_splits(Path("m"), splits("Hindi", "Thai"), "gpt-4o", False)
    assert type(found) is Remark
    assert found.message.startswith("Hindi, Thai: llama.cpp's pre-tokenizer 'gpt-4o' splits")
    assert kinds("gpt-4o", "Hindi", "Russian") == [Failed]


def test_what_was_not_measured_of_a_measured_family_is_a_fault() -> None:
    assert kinds("llama-bpe", "Hindi") == [Failed]
    assert kinds("qwen2", "Thai") == [Failed]


def test_a_family_that_was_never_measured() -> None:
    """Where llama.cpp's own converter knew it, splits by Unicode category are the engine's."""
    assert kinds("tekken", "Hindi", "other digits") == [Remark]
    assert kinds("tekken", "Hindi", recognised=False) == [Failed]
    assert kinds("tekken", "English") == [Failed]
    assert kinds("tekken", "Python", "Hindi") == [Failed]


def test_blanks_at_the_edge_are_a_remark() -> None:
    assert kinds("qwen2", "leading blanks") == [Remark]


# ---------------------------------------------------------------- one process for all texts


def test_texts_are_split_alike_alone_and_together(tmp_path: Path) -> None:
    vocabulary = GOOD.write_gguf(tmp_path / "good.gguf")
    tool = require_tool("llama-tokenize", os.environ)
    texts = [*TEXTS, Text("backslash", "a\\n b\\t"), Text("a mark", "<|im_start|>user\nhi")]
    together = tokenize_all(
        tool, vocabulary, read_header(vocabulary), [text.text for text in texts]
    )
    alone = [list(tokenize(tool, vocabulary, text.text)) for text in texts]
    assert [list(ids) for ids in together] == alone

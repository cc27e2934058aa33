"""A Modelfile as Ollama 0.34.4 reads one: text to record, record to text.

Reading a Modelfile is a client's job; the server takes fields. So what is rendered is parsed
here after Ollama's own rules (its `parser/parser.go`), and what was parsed is sent. Whatever
those rules would silently drop, or read otherwise than it looks, is refused with its line:

- There are no escapes and no comments at the end of a line. A value between three quotes runs
  to the first line that ends in three quotes, so a value that contains them can't be written.
- All but the last SYSTEM, TEMPLATE, ... and all but the last of a PARAMETER would be lost.
- Parameters are checked for name, type and range (`parameters.py`).

Characters that `ollama create -f` would drop (no-break spaces, joiners) reach the server
unharmed through deployq; `warnings` names them.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import field, replace

from deployq.digests import sha256_bytes
from deployq.errors import ModelfileError
from deployq.records import dataclass
from deployq.tags import parameters as params
from deployq.types import Message

QUOTES = '"""'
ROLES = ("system", "user", "assistant")
_TEXTS = ("TEMPLATE", "SYSTEM", "ADAPTER", "RENDERER", "PARSER", "REQUIRES")
PROJECTOR = "mmproj"
"""What llama.cpp calls a file for images or sound, and what its name holds."""
_COMMANDS = ("FROM", *_TEXTS, "LICENSE", "PARAMETER", "MESSAGE")
_GAP = re.compile(r"[ \t\r\n]+|#[^\r\n]*")
_NAME = re.compile(r"([A-Za-z]+)([ \t]|(?=[\r\n])|\Z)")
_WORD = re.compile(r"([A-Za-z0-9_]*)([ \t]|(?=[\r\n])|\Z)")
_VALUES = (
    (QUOTES, re.compile(r'[ \t]*"""(.*?)"""[ \t]*(?=[\r\n]|\Z)', re.DOTALL)),
    ('"', re.compile(r'[ \t]*"(.*?)"[ \t]*(?=[\r\n]|\Z)', re.DOTALL)),
    ("", re.compile(r"([^\r\n]*)")),
)
_SEMVER = re.compile(r"v?(0|[1-9]\d*)(\.(0|[1-9]\d*)){0,2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")


@dataclass(frozen=True)
class Modelfile:
    """What a Modelfile says. An empty field stands for a line that is not there.

    `from_` is the name of the weights' file as `ollama show` gives it later; `parameters` holds
    numbers and switches by name, and `stop` as a tuple. `projector` is a second FROM: a file for
    images or sound.
    """

    from_: str
    parameters: Mapping[str, params.Value] = field(default_factory=dict)
    template: str = ""
    system: str = ""
    messages: tuple[Message, ...] = ()
    license: tuple[str, ...] = ()
    adapter: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    projector: str = ""

    @property
    def n_ctx(self) -> int | None:
        """The context that it asks for; None leaves it to the server."""
        n_ctx = self.parameters.get("num_ctx")
        return n_ctx if isinstance(n_ctx, int) else None

    @property
    def digest(self) -> str:
        """Hex sha256 of its canonical text: equal for what means the same."""
        ordered = replace(self, parameters=dict(sorted(self.parameters.items())))
        return sha256_bytes(dump(ordered))


def parse(text: str) -> Modelfile:
    """Read a Modelfile as Ollama would.

    Raises:
        ModelfileError: Ollama would refuse it, drop a part of it, or read it otherwise than it
            looks; the message names the line.
    """
    found = _Found()
    for one in _statements(text.removeprefix("\ufeff")):
        with _line(one.line):
            _refuse_controls(one.value)
            found.add(one.command, one.word, one.value)
    if not found.from_:
        raise ModelfileError("the Modelfile has no FROM line", hint="FROM {{ from_ }}")
    return found.modelfile()


def dump(modelfile: Modelfile) -> str:
    """Write a Modelfile that `parse`, and Ollama, read back as the same.

    Raises:
        ModelfileError: something in it can't be written, or Ollama would not take it.
    """
    named = filter(None, (modelfile.from_, modelfile.projector))
    lines = [f"FROM {_plain_or_quoted(name)}" for name in named]
    for name, value in modelfile.parameters.items():
        params.check(name, value)
        if isinstance(value, tuple):
            lines += [f"PARAMETER {name} {quote(item)}" for item in value]
        else:
            lines.append(f"PARAMETER {name} {params.show(value)}")
    for command in _TEXTS:
        if text := getattr(modelfile, command.lower()):
            lines.append(f"{command} {quote(_version(text, command))}")
    lines += [f"LICENSE {quote(_not_empty('LICENSE', text))}" for text in modelfile.license]
    for message in modelfile.messages:
        lines.append(f"MESSAGE {_role(message.role)} {quote(message.content)}")
    return "\n".join(lines) + "\n"


def in_parts(text: str) -> list[tuple[str, str, str]]:
    """A Modelfile's statements, its comments left out: command, word, and both with the value.

    Raises:
        ModelfileError: it can't be read.
    """
    return [(one.command, one.word, text[one.start : one.end]) for one in _statements(text)]


def quote(value: str) -> str:
    """A value between three quotes, so that it means just itself in a Modelfile.

    Raises:
        ModelfileError: it contains three quotes in a row, or a control character.
    """
    if QUOTES in value:
        raise ModelfileError(
            f"a Modelfile can't carry {QUOTES} inside a value: {_excerpt(value)}",
            hint="Ollama knows no escape for it; say it with other quotes",
        )
    _refuse_controls(value)
    return f"{QUOTES}{value}{QUOTES}"


def warnings(text: str) -> tuple[str, ...]:
    """What `ollama create -f` would drop from this Modelfile, though deployq does not."""
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        odd = dict.fromkeys(c for c in line if not c.isprintable() and c != "\t")
        found += [f"line {number}: `ollama create -f` would drop {_character(c)}" for c in odd]
    return tuple(found)


class _Found:
    """What the lines have said so far."""

    def __init__(self) -> None:
        self.from_ = ""
        self.projector = ""
        self.texts: dict[str, str] = {}
        self.parameters: dict[str, params.Value] = {}
        self.license: list[str] = []
        self.messages: list[Message] = []

    def add(self, command: str, word: str, value: str) -> None:
        if command == "PARAMETER":
            self._parameter(word, value)
        elif command == "MESSAGE":
            self.messages.append(Message(_role(word), value))
        elif command == "LICENSE":
            self.license.append(_not_empty(command, value))
        elif command == "FROM":
            self._from(_not_empty(command, value))
        else:
            _once(command, self.texts.get(command, ""))
            self.texts[command] = _version(_not_empty(command, value), command)

    def _from(self, name: str) -> None:
        """The weights, then a projector, which is told by its name."""
        if self.from_ and PROJECTOR in name.lower():
            _once("FROM", self.projector)
            self.projector = name
        else:
            _once("FROM", self.from_)
            self.from_ = name

    def _parameter(self, name: str, value: str) -> None:
        new, earlier = params.read(name, value), self.parameters.get(name)
        if isinstance(new, tuple) and isinstance(earlier, tuple):
            new = earlier + new
        elif earlier is not None:
            raise ModelfileError(f"PARAMETER {name} is given twice; Ollama keeps only the last")
        self.parameters[name] = new

    def modelfile(self) -> Modelfile:
        return Modelfile(
            from_=self.from_,
            projector=self.projector,
            parameters=self.parameters,
            messages=tuple(self.messages),
            license=tuple(self.license),
            **{command.lower(): text for command, text in self.texts.items()},
        )


@dataclass(frozen=True)
class _Statement:
    """A command with its word (a parameter's name, a role) and value, and where that is."""

    line: int
    start: int
    end: int
    command: str
    word: str
    value: str


def _statements(text: str) -> Iterator[_Statement]:
    position = 0
    while True:
        while gap := _GAP.match(text, position):
            position = gap.end()
        if position == len(text):
            return
        start, line, word = position, text.count("\n", 0, position) + 1, ""
        with _line(line):
            command, position = _command(text, position)
            if command in ("PARAMETER", "MESSAGE"):
                word, position = _word(command, text, position)
            value, position = _value(text, position)
        yield _Statement(line, start, position, command, word, value)


def _command(text: str, position: int) -> tuple[str, int]:
    matched = _NAME.match(text, position)
    command = matched.group(1).upper() if matched else ""
    if matched is None or command not in _COMMANDS:
        raise ModelfileError(
            f"not a command: {_excerpt(text[position:])}",
            hint=f"a line starts with one of {', '.join(_COMMANDS)}, or #",
        )
    if not matched.group(2):
        raise ModelfileError(f"{command} has no value")
    return command, matched.end()


def _word(command: str, text: str, position: int) -> tuple[str, int]:
    matched = _WORD.match(text, position)
    what = "a parameter's name" if command == "PARAMETER" else f"a role ({', '.join(ROLES)})"
    if matched is None or not matched.group(1):
        raise ModelfileError(f"after {command} and one space stands {what}")
    if not matched.group(2):
        raise ModelfileError(f"{command} {matched.group(1)} has no value")
    return matched.group(1), matched.end()


def _value(text: str, position: int) -> tuple[str, int]:
    rest = text[position:].lstrip(" \t")
    mark, pattern = next((m, p) for m, p in _VALUES if rest.startswith(m))
    matched = pattern.match(text, position)
    if matched is None:
        raise ModelfileError(f"the value that starts with {mark} does not end: no line ends in it")
    value = matched.group(1)
    if mark:
        _refuse_run_on(mark, value)
    else:
        value = value.strip(" \t")
        _refuse_lookalikes(value)
    return value, matched.end()


def _refuse_run_on(mark: str, value: str) -> None:
    """A delimiter with something behind it does not close: Ollama reads on to a later line."""
    runs_on = mark in value and (mark == QUOTES or len(value.splitlines()) > 1)
    if runs_on:
        raise ModelfileError(
            f"a {mark} closes a value only at the end of a line; this one would be read on to "
            f"a later line: {_excerpt(value)}"
        )


def _refuse_lookalikes(value: str) -> None:
    """What looks like a comment or like quotes to a reader, but not to Ollama."""
    if re.search(r"[ \t]#", value):
        raise ModelfileError(
            f"Ollama knows no comment at the end of a line: {_excerpt(value)}",
            hint=f"if the # belongs to the value, put the value between {QUOTES}",
        )
    if len(value) > 1 and value[0] == value[-1] == "'":
        raise ModelfileError(
            f"Ollama knows no single quotes, they would belong to the value: {_excerpt(value)}",
            hint=f"put the value between {QUOTES}",
        )


def _refuse_controls(value: str) -> None:
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\r\n":
            raise ModelfileError(f"a Modelfile can't carry {_character(character)}")


def _version(value: str, command: str) -> str:
    if command == "REQUIRES":
        if _SEMVER.fullmatch(value) is None:
            raise ModelfileError(f"REQUIRES {value}: not a version such as 0.34.0")
        return value.removeprefix("v")
    return value


def _once(command: str, earlier: str) -> None:
    if earlier:
        raise ModelfileError(f"{command} is given twice; only one would count")


def _not_empty(command: str, value: str) -> str:
    if not value:
        raise ModelfileError(f"{command} is empty, which does nothing: leave the line out")
    return value


def _role(role: str) -> str:
    if role not in ROLES:
        raise ModelfileError(f"MESSAGE {role}: a role is one of {', '.join(ROLES)}")
    return role


def _plain_or_quoted(name: str) -> str:
    """A file name, without quotes where it can do without: people read this line first."""
    if not name or "\n" in name or "\r" in name:
        raise ModelfileError(f"FROM {name!r}: not a file name")
    return name if re.fullmatch(r"[\w./:@+-]+", name, re.ASCII) else quote(name)


def _excerpt(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else text
    return repr(line if len(line) <= 60 else f"{line[:57]}...")


def _character(character: str) -> str:
    name = unicodedata.name(character, "a control character")
    return f"U+{ord(character):04X} ({name})"


@contextlib.contextmanager
def _line(number: int) -> Iterator[None]:
    """Names the line in a complaint from inside the block."""
    try:
        yield
    except ModelfileError as exc:
        raise ModelfileError(f"line {number}: {exc.message}", hint=exc.hint) from exc

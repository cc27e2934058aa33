"""Conversations as prompts: what the model's own chat template makes of them, and a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from deployq.records import dataclass
from deployq.types.base import Json

FaultKind = Literal[
    "no-template",
    "broken-template",
    "double-bos",
    "missing-bos",
    "generation-prompt",
    "default-system",
    "system-dropped",
    "tools-dropped",
    "stop",
    "known-template",
]
ParityStatus = Literal["same", "differs", "unknown"]
ParityWay = Literal["renders", "token counts"]


@dataclass(frozen=True)
class ToolCall:
    """A call that an assistant made; `arguments` as an object."""

    name: str
    arguments: Mapping[str, Json] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation, tools included.

    Of a tool's result, `tool_name` and `tool_call_id` say whose it is.
    """

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


@dataclass(frozen=True)
class Conversation:
    """What both sides are given to render; `tools` are functions in OpenAI's form."""

    name: str
    turns: tuple[Turn, ...]
    tools: tuple[Mapping[str, Json], ...] = ()
    think: bool = False


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt, or (`text` None) the words in which it was refused; `tokens` where counted.

    `is_broken`: the template failed, where it might have refused by its own word.
    """

    text: str | None
    refusal: str = ""
    tokens: int | None = None
    is_broken: bool = False


@dataclass(frozen=True)
class Difference:
    """The first place where two prompts part.

    `position` counts the characters before it, which are equal. `before` ends there, `model` and
    `server` begin there; all three are excerpts.
    """

    position: int
    before: str
    model: str
    server: str


@dataclass(frozen=True)
class ConversationParity:
    """One conversation on both sides.

    `model` and `server` are the prompts as the engine gets them: what the tokenizer puts in front
    is written out. `unknown`: there is nothing to compare, and `reason` says why.
    """

    name: str
    status: ParityStatus
    model: RenderedPrompt
    server: RenderedPrompt
    difference: Difference | None = None
    reason: str = ""


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a tag's prompts, and in which conversations it shows."""

    kind: FaultKind
    message: str
    conversations: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class ServedTemplate:
    """What decides over the prompts of a tag on its server, by its own word.

    `known` is the name of the server's own template, where it took one of its own ("chatml").
    `stops` are the tag's stop parameters; `turns` the messages that the tag begins with.
    """

    template: str
    system: str = ""
    stops: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    known: str = ""


@dataclass(frozen=True)
class ParityReport:
    """Whether a tag renders conversations as the model's own chat template does."""

    tag: str
    host: str
    served: ServedTemplate
    conversations: tuple[ConversationParity, ...]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    way: ParityWay = "renders"

    @property
    def differing(self) -> tuple[ConversationParity, ...]:
        return tuple(c for c in self.conversations if c.status == "differs")

    @property
    def ok(self) -> bool:
        """No fault, and no conversation that differs."""
        return not self.faults and not self.differing

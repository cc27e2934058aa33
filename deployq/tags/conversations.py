"""The conversations that a template is judged by, and what the model's own makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deployq.records import dataclass
from deployq.tags.chat_template import Asked, ChatTemplate, render_all
from deployq.types import Conversation, RenderedPrompt, ServedTemplate, ToolCall, Turn

SYSTEM = "Answer in one short sentence."
USER = "What is two plus two?"
ANSWER = "It is four."
AGAIN = "And three more?"
TOOL_NAME = "add_task"
# Keys in the order in which Ollama sends them on, whatever the order in a request was: what is
# compared is the template, not that.
TOOL: Mapping[str, object] = {
    "type": "function",
    "function": {
        "name": TOOL_NAME,
        "description": "Add a task to the list",
        "parameters": {
            "type": "object",
            "required": ["title"],
            "properties": {"title": {"type": "string", "description": "What is to be done"}},
        },
    },
}

# Nine letters and digits: Mistral's templates take nothing else.
CALL_ID = "call00001"

ONE, WITH_SYSTEM, MANY = "one question", "system prompt", "several turns"
TOOLS, THINKING = "tools", "thinking on"
COUNTED = (ONE, WITH_SYSTEM, MANY)
"""Those that are enough where a server has to load the model for each."""


def _conversation(name: str, *turns: tuple[str, str], think: bool = False) -> Conversation:
    return Conversation(name, tuple(Turn(*turn) for turn in turns), think=think)


def conversations() -> tuple[Conversation, ...]:
    """All of them; `reference` leaves out those that mean nothing to a model."""
    call = Turn("assistant", "", (ToolCall(TOOL_NAME, {"title": "buy milk"}, CALL_ID),))
    result = Turn("tool", '{"id": 7}', tool_name=TOOL_NAME, tool_call_id=CALL_ID)
    ask = Turn("user", "Remind me to buy milk.")
    return (
        _conversation(ONE, ("user", USER)),
        _conversation(WITH_SYSTEM, ("system", SYSTEM), ("user", USER)),
        _conversation(MANY, ("user", USER), ("assistant", ANSWER), ("user", AGAIN)),
        _conversation(
            "system prompt, several turns",
            *(("system", SYSTEM), ("user", USER), ("assistant", ANSWER), ("user", AGAIN)),
            *(("assistant", "Seven."), ("user", "Thanks.")),
        ),
        _conversation("empty system prompt", ("system", ""), ("user", USER)),
        _conversation(
            "blanks around",
            *(("user", f"  {USER} "), ("assistant", f" {ANSWER}\n\n"), ("user", f"\n{AGAIN}  ")),
        ),
        _conversation("other scripts, lines", ("user", "Zürich – 東京 🚀\n\n\tone\r\n`two` & <b>")),
        Conversation(TOOLS, (ask,), (TOOL,)),  # type: ignore[arg-type]
        Conversation("tool call and result", (ask, call, result), (TOOL,)),  # type: ignore[arg-type]
        _conversation(THINKING, ("user", USER), think=True),
    )


@dataclass(frozen=True)
class Reference:
    """What a model's own template makes of the conversations that mean something to it.

    `opening` is its generation prompt, `closing` what stands between an answer and the next
    question, `final` what follows an answer that nothing follows (gpt-oss writes another mark
    there); "" where the template doesn't tell.
    """

    template: ChatTemplate
    conversations: tuple[Conversation, ...]
    prompts: Mapping[str, RenderedPrompt]
    opening: str
    closing: str
    final: str = ""


def as_sent(conversation: Conversation, served: ServedTemplate) -> tuple[Turn, ...]:
    """The turns that a tag renders: its own messages come first, and its SYSTEM where none is."""
    turns = (*served.turns, *conversation.turns)
    if served.system and conversation.turns[0].role != "system":
        turns = (Turn("system", served.system), *turns)
    return turns


def reference(template: ChatTemplate, served: ServedTemplate) -> Reference:
    """Render every conversation that matters with the model's own template, as a tag sends it.

    Raises:
        SourceError: the template takes too long.
    """
    every = conversations()
    asked = [_asked(c, served) for c in every]
    user, tools = asked[0], next(a for a in asked if a.tools)
    extra = [
        replace(user, generation_prompt=False),
        replace(asked[_index(every, MANY)], generation_prompt=False),
        replace(tools, tools=()),
        _answered(asked[_index(every, MANY)]),
    ]
    rendered = render_all(template, [*asked, *extra])
    prompts = dict(zip([c.name for c in every], rendered, strict=False))
    unopened, many, untooled, answered = rendered[len(every) :]
    without = set[str]()
    if prompts[TOOLS] == untooled:
        without |= {c.name for c in every if c.tools}
    if prompts[THINKING] == prompts[ONE]:
        without.add(THINKING)
    return Reference(
        template,
        tuple(c for c in every if c.name not in without),
        {name: prompt for name, prompt in prompts.items() if name not in without},
        _rest(prompts[ONE].text, unopened.text),
        _between(many.text, ANSWER, AGAIN),
        (answered.text or "").partition(ANSWER)[2],
    )


def _asked(conversation: Conversation, served: ServedTemplate) -> Asked:
    return Asked(as_sent(conversation, served), conversation.tools, think=conversation.think)


def _answered(asked: Asked) -> Asked:
    """The same conversation up to its answer."""
    end = next(n for n, turn in enumerate(asked.turns, 1) if turn.content == ANSWER)
    return replace(asked, turns=asked.turns[:end], generation_prompt=False)


def _index(every: tuple[Conversation, ...], name: str) -> int:
    return next(i for i, conversation in enumerate(every) if conversation.name == name)


def _rest(longer: str | None, shorter: str | None) -> str:
    if longer is None or shorter is None or not longer.startswith(shorter):
        return ""
    return longer[len(shorter) :]


def _between(text: str | None, first: str, second: str) -> str:
    _, found, rest = (text or "").partition(first)
    between, closed, _ = rest.partition(second)
    return between if found and closed else ""

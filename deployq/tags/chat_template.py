"""A model's own chat template, rendered as in training: the reference for what a server renders.

Each call renders all that is asked for in one child process (`template_child.py`) with limits on
time, memory and length: a template is a stranger's program.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq import proc
from deployq.errors import BackendError, SourceError
from deployq.records import dataclass
from deployq.types import ModelInfo, RenderedPrompt, ToolCall, Turn

MOST_CHARACTERS = 1 << 20
"""Of a template, and of what it renders."""

SECONDS = 20.0
TOOL_USE = "tokenizer.chat_template.tool_use"
_CHILD = Path(__file__).with_name("template_child.py")
# What llama.cpp tells every template besides, whatever stood there in training (common/chat.cpp).
ENGINE_DATES = {"date_string": "%d %b %Y", "datetime": "%b %d %Y"}
# Vocabularies that begin a text with BOS where the header does not say (src/llama-vocab.cpp).
_BOS_MODELS = ("llama", "bert", "gemma4")
_BOS_PRE = (
    *("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
    *("jina-v5-nano", "tekken", "chameleon"),
)
# Those that do so whatever the header says.
_BOS_ALWAYS = ("gemma4",)


@dataclass(frozen=True)
class ChatTemplate:
    """A model's template with what it needs; `tools` is one of its own for tools, if it has one.

    `adds_bos`: the tokenizer puts BOS in front of every prompt by itself.
    """

    text: str
    bos: str = ""
    eos: str = ""
    adds_bos: bool = False
    tools: str = ""


@dataclass(frozen=True)
class Asked:
    """One thing to render; `think` None leaves `enable_thinking` undefined."""

    turns: tuple[Turn, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    generation_prompt: bool = True
    think: bool | None = False


def chat_template_of(info: ModelInfo) -> ChatTemplate | None:
    """The chat template in a model's header; None where it has none.

    Raises:
        SourceError: it is longer than any that makes sense.
    """
    if not info.chat_template:
        return None
    if len(info.chat_template) > MOST_CHARACTERS:
        raise SourceError(
            f"{info.path}: its chat template has {len(info.chat_template):,} characters; "
            f"deployq renders none over {MOST_CHARACTERS:,}"
        )
    return ChatTemplate(
        text=info.chat_template,
        bos=info.bos_token or "",
        eos=info.eos_token or "",
        adds_bos=adds_bos(info),
        tools=str(info.metadata.get(TOOL_USE) or ""),
    )


def adds_bos(info: ModelInfo) -> bool:
    """Whether the engine puts BOS in front of every prompt (llama.cpp's rule, b11434)."""
    model = info.metadata.get("tokenizer.ggml.model")
    pre = info.metadata.get("tokenizer.ggml.pre")
    if model in _BOS_ALWAYS or pre in _BOS_ALWAYS:
        return True
    said = info.metadata.get("tokenizer.ggml.add_bos_token")
    if isinstance(said, bool):
        return said
    return model in _BOS_MODELS or (model == "gpt2" and pre in _BOS_PRE)


def render_all(
    template: ChatTemplate,
    asked: Sequence[Asked],
    *,
    now: str = "",
    timeout_seconds: float = SECONDS,
) -> list[RenderedPrompt]:
    """What the template makes of each; a refusal of its own is a result like any other.

    Args:
        now: what the template is told when it asks for the date, ISO 8601; "": the clock's.

    Raises:
        SourceError: it took too long, or too much memory.
    """
    request = {
        "templates": {"default": template.text, "tools": template.tools or template.text},
        "now": now,
        "dates": ENGINE_DATES,
        "seconds": timeout_seconds,
        "most_characters": MOST_CHARACTERS,
        "jobs": [
            {
                "template": "tools" if one.tools else "default",
                "variables": _variables(template, one),
            }
            for one in asked
        ],
    }
    return [_prompt(answer) for answer in _in_a_child(request, timeout_seconds)]


def _in_a_child(request: Mapping[str, Any], timeout_seconds: float) -> list[Mapping[str, str]]:
    with tempfile.TemporaryDirectory(prefix="deployq-") as folder:
        file = Path(folder) / "request.json"
        file.write_text(json.dumps(request), encoding="utf-8")
        argv: list[str | Path] = [sys.executable, "-P", _CHILD, file]
        try:
            finished = proc.run(argv, timeout_seconds=timeout_seconds)
            answers: list[Mapping[str, str]] = json.loads(finished.stdout)
        except (BackendError, ValueError) as exc:
            raise SourceError(
                "the model's chat template can't be rendered: it took more than "
                f"{timeout_seconds:g} s, or more memory than a template may ({exc})",
                hint="deployq inspect MODEL shows the template",
            ) from exc
    return answers


def _prompt(answer: Mapping[str, str]) -> RenderedPrompt:
    if "text" in answer:
        return RenderedPrompt(answer["text"])
    if "refusal" in answer:
        return RenderedPrompt(None, answer["refusal"])
    return RenderedPrompt(None, f"fails: {answer['fault']}", is_broken=True)


def _job(template: ChatTemplate, asked: Asked) -> dict[str, Any]:
    which = "tools" if asked.tools else "default"
    return {"template": which, "variables": _variables(template, asked)}


def _variables(template: ChatTemplate, asked: Asked) -> dict[str, Any]:
    """What a template finds, by Hugging Face's names."""
    variables: dict[str, Any] = {
        "messages": messages(asked.turns),
        "tools": list(asked.tools) or None,
        "documents": None,
        "add_generation_prompt": asked.generation_prompt,
        "bos_token": template.bos,
        "eos_token": template.eos,
    }
    return variables if asked.think is None else {**variables, "enable_thinking": asked.think}


def messages(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    """Turns in Hugging Face's form."""
    return [_message(turn) for turn in turns]


def _message(turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.tool_calls:
        message["tool_calls"] = [_call(call) for call in turn.tool_calls]
    if turn.tool_name:
        message["name"] = turn.tool_name
    if turn.tool_call_id:
        message["tool_call_id"] = turn.tool_call_id
    return message


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": dict(call.arguments)}
    return {"type": "function", "id": call.id, "function": function}

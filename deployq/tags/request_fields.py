"""What Ollama's API takes: messages, options and Modelfiles as the fields of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployq.errors import ConfigError, ModelfileError
from deployq.tags.modelfile import Modelfile
from deployq.types import Json, Message, Turn


def message_fields(message: Message | Turn) -> dict[str, Any]:
    """A message as the API takes it, with the tools that it calls or answers for."""
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if not isinstance(message, Turn):
        return fields
    if message.tool_calls:
        fields["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in message.tool_calls
        ]
    names = {"tool_name": message.tool_name, "tool_call_id": message.tool_call_id}
    return fields | {key: value for key, value in names.items() if value}


def create_fields(modelfile: Modelfile, files: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a create request that say the same as a Modelfile.

    Raises:
        ModelfileError: FROM or ADAPTER names a file that is not in `files`.
    """
    for command, name in (
        ("FROM", modelfile.from_),
        ("FROM", modelfile.projector),
        ("ADAPTER", modelfile.adapter),
    ):
        if name and name not in files:
            raise ModelfileError(
                f"{command} {name}: deployq registers {', '.join(files) or 'no file'}",
                hint="FROM {{ from_ }} in the template",
            )
    blobs = {name: f"sha256:{digest}" for name, digest in files.items()}
    adapter = {modelfile.adapter: blobs.pop(modelfile.adapter)} if modelfile.adapter else {}
    fields: dict[str, Any] = {
        "files": blobs,
        "adapters": adapter,
        "template": modelfile.template,
        "system": modelfile.system,
        "parameters": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in modelfile.parameters.items()
        },
        "messages": [{"role": m.role, "content": m.content} for m in modelfile.messages],
        "license": list(modelfile.license),
        "renderer": modelfile.renderer,
        "parser": modelfile.parser,
        "requires": modelfile.requires,
    }
    return {name: value for name, value in fields.items() if value}


def generation_fields(
    options: Mapping[str, Json], format: Json, think: bool | str
) -> dict[str, Any]:
    """What every request for an answer says of how it is to be made.

    Raises:
        ConfigError: the answer would have no end.
    """
    if options.get("num_predict") == 0:
        raise ConfigError(
            "num_predict 0 means without limit to Ollama; it is not sent",
            hint="give the number of tokens, or -1 if no limit is meant",
        )
    body: dict[str, Any] = {"options": dict(options), "think": think, "stream": False}
    return body if format is None else {**body, "format": format}

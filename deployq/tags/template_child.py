"""The child that renders chat templates: `python -P template_child.py REQUEST.json`.

A model's template is a stranger's program. The sandbox keeps it from reading anything; that it
neither runs nor grows without end is seen to by this process's own limits and by its parent.
Imports nothing of deployq, so that it starts at once.

The environment is that of Hugging Face's `apply_chat_template` (transformers,
utils/chat_template_utils.py), which is what models are trained with.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY_BYTES = 2 << 30
# Besides Jinja2's own: what an expression of a template may raise.
FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class Refused(jinja2.TemplateError):
    """The template's own `raise_exception`."""


class TooLong(jinja2.TemplateError):
    """More came out than a prompt may have."""


class Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what an assistant said, for training; it renders what is inside."""

    tags = {"generation"}  # noqa: RUF012  (that is how Jinja2 declares it)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def environment(now: dt.datetime) -> ImmutableSandboxedEnvironment:
    """What a chat template may use; `now` stands still for `strftime_now`."""
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Generation, jinja2.ext.loopcontrols],
    )
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _raise_exception
    env.globals["strftime_now"] = now.strftime
    return env


def _raise_exception(message: object) -> None:
    raise Refused(str(message))


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """JSON as it is: Jinja2's own filter would escape what means something in HTML."""
    known = {k: v for k, v in options.items() if k in ("indent", "separators", "sort_keys")}
    return json.dumps(value, ensure_ascii=ensure_ascii, **known)


def results(request: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """One per job: `text`, or `refusal` in words."""
    now = dt.datetime.fromisoformat(request["now"]) if request.get("now") else dt.datetime.now()
    env = environment(now)
    dates = {name: now.strftime(form) for name, form in request["dates"].items()}
    most = request["most_characters"]
    for job in request["jobs"]:
        try:
            template = env.from_string(request["templates"][job["template"]])
            yield {"text": _joined(template, {**dates, **job["variables"]}, most)}
        except Refused as exc:
            yield {"refusal": str(exc)}
        except FAULTS as exc:
            yield {"fault": _described(exc)}


def _joined(template: jinja2.Template, variables: Mapping[str, Any], most: int) -> str:
    pieces, length = [], 0
    for piece in template.generate(variables):
        length += len(piece)
        if length > most:
            raise TooLong(f"renders more than {most:,} characters")
        pieces.append(piece)
    return "".join(pieces)


def _described(exc: Exception) -> str:
    line = f", line {exc.lineno}" if isinstance(exc, jinja2.TemplateSyntaxError) else ""
    said = exc.message if isinstance(exc, jinja2.TemplateError) else str(exc)
    return f"{type(exc).__name__}{line}: {said}"


def main() -> None:
    """Render what the request file asks for; prints one JSON array."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    seconds = int(request["seconds"]) + 1
    # Not every system knows every limit; the parent's own clock is the last one.
    for what, limit in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, seconds)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (limit, limit))
    sys.stdout.write(json.dumps(list(results(request))) + "\n")


if __name__ == "__main__":
    main()

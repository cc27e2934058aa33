"""Modelfile templates: Jinja2 in, a Modelfile's text out.

A template is looked for in the user's folders, then the plugins', then deployq's own; by name
`Modelfile.<architecture>.j2`, then `Modelfile.j2`. A user's own file goes before all that.

What a template may use (`deployq.tags.context` builds it): `model`, `architecture`, `quant`,
`from_`, `parameters`, `system`, `stops`, `target`, `license`, and what plugins add; the filter
`quote` puts a value between three quotes so that it means just itself. An unknown variable is an
error.

Go templates (TEMPLATE) use the braces that Jinja2 uses: put them in `{% raw %} ... {% endraw %}`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from deployq.errors import ModelfileError
from deployq.files import template_dir
from deployq.tags.modelfile import quote

DEFAULT = "Modelfile.j2"
# Besides Jinja2's own: what an expression of a template, or its file, may raise.
_FAULTS = (
    jinja2.TemplateError,
    ModelfileError,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


@cache
def environment(folders: tuple[Path, ...] = ()) -> jinja2.Environment:
    """The Jinja2 environment that looks for templates in `folders`, then in deployq's own.

    Templates may come from strangers: it is sandboxed. The output is no HTML: nothing is escaped.
    What it has compiled it keeps: every tag of a push has the same few templates.
    """
    env = SandboxedEnvironment(
        loader=jinja2.ChoiceLoader(
            [jinja2.FileSystemLoader([*folders, template_dir()]), _FileLoader()]
        ),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["quote"] = quote
    return env


def render_modelfile(
    env: jinja2.Environment, template: str | None, context: Mapping[str, Any]
) -> str:
    """Render a Modelfile.

    Args:
        template: a template's name or an absolute path; None chooses by `context["architecture"]`.

    Raises:
        ModelfileError: no such template, or it does not render; the message names the template,
            the line and the variable.
    """
    names = [template] if template else [f"Modelfile.{context['architecture']}.j2", DEFAULT]
    try:
        chosen = env.select_template(names)
    except jinja2.TemplatesNotFound as exc:
        raise _not_found(env, names) from exc
    except _FAULTS as exc:
        raise _explain(exc, names[0], context) from exc
    try:
        return chosen.render(context)
    except _FAULTS as exc:
        raise _explain(exc, chosen.name or names[0], context) from exc


class _FileLoader(jinja2.BaseLoader):
    """Loads a template by its absolute path."""

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Any]:  # noqa: ARG002
        path = Path(template)
        if not path.is_absolute() or not path.is_file():
            raise jinja2.TemplateNotFound(template)
        return path.read_text(encoding="utf-8"), str(path), lambda: False

    def list_templates(self) -> list[str]:
        return []


def _not_found(env: jinja2.Environment, names: Sequence[str]) -> ModelfileError:
    there = ", ".join(name for name in env.list_templates() if name.startswith("Modelfile"))
    return ModelfileError(
        f"there is no Modelfile template {' or '.join(names)}",
        hint=f"give the path of a file, or one of: {there}",
    )


def _explain(exc: Exception, name: str, context: Mapping[str, Any]) -> ModelfileError:
    where, line = _place(exc, name)
    cause = exc.message if isinstance(exc, jinja2.TemplateError | ModelfileError) else None
    if isinstance(exc, jinja2.TemplateNotFound):
        cause = f"there is no template {exc.name!r} to include"
    hint = exc.hint if isinstance(exc, ModelfileError) else ""
    if isinstance(exc, jinja2.UndefinedError):
        hint = _nearest(str(exc.message), context)
    place = f"template {where}, line {line}" if line else f"template {where}"
    return ModelfileError(f"{place}: {cause or f'{type(exc).__name__}: {exc}'}", hint=hint)


def _place(exc: Exception, name: str) -> tuple[str, int | None]:
    """File and line of the innermost template that the error came through."""
    if isinstance(exc, jinja2.TemplateSyntaxError):
        return exc.filename or exc.name or name, exc.lineno
    place: tuple[str, int | None] = (name, None)
    trace: TracebackType | None = exc.__traceback__
    while trace is not None:
        # Jinja2 rewrites its frames so that they name the template's own file and line.
        if "__jinja_exception__" in trace.tb_frame.f_globals:
            place = (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return place


def _nearest(message: str, context: Mapping[str, Any]) -> str:
    undefined = re.match(r"'(\w+)' is undefined", message)
    if undefined is None:
        return ""
    near = difflib.get_close_matches(undefined.group(1), context, n=1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(context))}"

"""What a plugin can use of deployq, one line per name: `python -m tests.public_api` writes it down.

The file that it writes is the surface of the last release. What differs from it must be named in
CHANGELOG.md; a release writes it anew.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deployq
from deployq import hookspecs

RELEASED = Path(__file__).parent / "data" / "public_api.txt"
MODULES = (
    "deployq.testing",
    "deployq.proc",
    "deployq.tools",
    "deployq.ggml",
    "deployq.addresses",
    "deployq.deadlines",
)
_PLAIN = (str, int, float, bool, tuple, type(None))


def surface() -> dict[str, str]:
    """Every public name, and what can be seen of it from outside."""
    found = {"deployq.API_VERSION": deployq.API_VERSION}
    for name in sorted(vars(deployq)["__all__"]):
        found |= dict(_lines(f"deployq.{name}", getattr(deployq, name)))
    for name, spec in sorted(vars(hookspecs).items()):
        if name.startswith(f"{hookspecs.PROJECT}_"):
            options = getattr(spec, f"{hookspecs.PROJECT}_spec")
            first = " (first result)" if options["firstresult"] else ""
            found[f"hook {name}"] = f"{_signature(spec)}{first}"
    for module in map(importlib.import_module, MODULES):
        for name in _names(module):
            found |= dict(_lines(f"{module.__name__}.{name}", getattr(module, name)))
    return found


def _names(module: types.ModuleType) -> list[str]:
    """`__all__`, else what the module defines under a name that is not private."""
    given = getattr(module, "__all__", None)
    if given is not None:
        return sorted(given)
    return sorted(
        name
        for name, value in vars(module).items()
        if name[0] != "_" and (getattr(value, "__module__", "") == module.__name__)
    )


def _lines(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """The line of a name, and one for each member of a class."""
    if not inspect.isclass(value):
        yield path, _signature(value) if inspect.isroutine(value) else _constant(value)
        return
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    yield path, f"class({bases})"
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    for field in fields:
        yield f"{path}.{field.name}", f"{field.type}{_default(field)}"
    made = {field.name for field in fields} | ({"__init__"} if fields else set())
    for name, member in sorted(vars(value).items()):
        own = name == "__init__" and not getattr(value, "_is_protocol", False)
        if name not in made and (name[0] != "_" or own):
            yield from _member(path, name, member)
    for name, kind in getattr(value, "__annotations__", {}).items():
        if name not in made and name[0] != "_":
            yield f"{path}.{name}", str(kind)


def _member(path: str, name: str, member: Any) -> Iterator[tuple[str, str]]:
    if inspect.isfunction(member):
        yield path + ("()" if name == "__init__" else f".{name}()"), _signature(member)
    elif isinstance(member, staticmethod | classmethod):
        yield f"{path}.{name}()", _signature(member.__func__)
    elif isinstance(member, property | functools.cached_property):
        yield f"{path}.{name}", "property"
    else:
        yield f"{path}.{name}", _constant(member)


def _signature(value: Any) -> str:
    signature = inspect.signature(value)
    shown = [p.replace(default=_shown(p.default)) for p in signature.parameters.values()]
    return str(signature.replace(parameters=shown)).replace("'", "").replace('"', "")


def _shown(default: Any) -> Any:
    """A default that reads the same everywhere: no address, nothing of the environment."""
    plain = default is inspect.Parameter.empty or isinstance(default, _PLAIN)
    return default if plain else Ellipsis


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return " = ..."
    given = field.default is not dataclasses.MISSING
    return f" = {_shown(field.default)!r}" if given else ""


def _constant(value: Any) -> str:
    return repr(value) if isinstance(value, (*_PLAIN, types.UnionType)) else type(value).__name__


def released() -> dict[str, str]:
    """The surface of the last release."""
    lines = RELEASED.read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


def changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """The names that came, went or became something else."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


if __name__ == "__main__":
    lines = (f"{name}: {seen}\n" for name, seen in sorted(surface().items()))
    RELEASED.write_text("".join(lines), encoding="utf-8")

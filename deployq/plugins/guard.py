"""What a stranger's code may raise is told by the plugin's name, and stops nothing else.

A plugin's hook, or the method of an object that it brought, that merely tells something (`health`,
`detect`, ...) and fails, has told nothing: it is named, and the command goes on without. Where the
result is what the command is about, it fails with an error that names the plugin.
"""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from deployq.errors import BackendError, DeployqError, PluginError
from deployq.plugins.waiting import Say, waiting_for
from deployq.types import Health

CAUTION = "leave it out: --only-builtin, or [plugins] disable in deployq.toml"
ASKING: Mapping[str, Any] = {
    "health": None,
    "detect": None,
    "presets": {},
    "quants": frozenset(),
    "accepts": False,
    "file_bytes": None,
    "memory": None,
}
"""Methods that tell something, and what counts where they fail; `health` says why."""
MAKING = frozenset({"quantize", "convert", "calibrate", "complete"})
"""Methods whose failure is that of a backend."""
DECIDING = frozenset({"deployq_modelfile_context", "deployq_template_dirs"})
"""Hooks that decide what a tag is: without their answer it would be another one."""


def cause(exc: BaseException) -> str:
    """What was raised, and where: the last line of code that is not deployq's."""
    shown = exc.message if isinstance(exc, DeployqError) else f"{type(exc).__name__}: {exc}"
    frames = traceback.extract_tb(exc.__traceback__)
    own = str(Path(__file__).resolve().parent.parent)
    theirs = [f for f in frames if not f.filename.startswith((own, "<frozen"))]
    where = f" ({Path(theirs[-1].filename).name}:{theirs[-1].lineno})" if theirs else ""
    return f"{shown}{where}"


def guarded_call(what: str, alarm: Say, function: Callable[[], Any]) -> Any:
    """What a stranger's function gives; it is named where it takes long.

    Raises:
        PluginError: it raised something, or wanted to end the process; it is named.
    """
    try:
        with waiting_for(what, CAUTION, alarm):
            return function()
    except (Exception, SystemExit) as exc:
        raise PluginError(f"{what} failed: {cause(exc)}", hint=CAUTION) from exc


def guarded_hook(
    plugin: str, name: str, function: Callable[..., Any], fault: Say, alarm: Say
) -> Callable[..., Any]:
    """A hook's function whose failure is told to `fault`; it then has answered nothing."""
    what = f"{name} of plugin {plugin!r}"

    @functools.wraps(function)
    def call(*args: object) -> Any:
        try:
            with waiting_for(what, CAUTION, alarm):
                return _answer(name, function(*args))
        except (Exception, SystemExit) as exc:
            message = f"plugin {plugin!r} failed in {name}: {cause(exc)}"
            if name in DECIDING:
                raise PluginError(message, hint=CAUTION) from exc
            fault(message)
            return None

    return call


def _answer(hook: str, answer: Any) -> Any:
    """A hook's answer; what is made bit by bit is made now, where its failure is caught."""
    if hook == "deployq_modelfile_context" and not isinstance(answer, Mapping | None):
        raise TypeError(f"it gives {answer!r}, no mapping")
    return list(answer) if isinstance(answer, Iterator) else answer


def guarded_part(part: Any, plugin: str, fault: Say, alarm: Say) -> Any:
    """An object that does what `part` does, but for the errors, which name the plugin."""
    members: dict[str, Any] = {}
    for name in dir(part):
        if name.startswith("_"):
            continue
        computed = isinstance(inspect.getattr_static(part, name), property | cached_property)
        value = None if computed else getattr(part, name)
        if callable(value):
            members[name] = staticmethod(_method(value, name, part, plugin, fault, alarm))
        else:
            members[name] = property(_reader(part, name))
    return type(type(part).__name__, (), members)()


def _reader(part: Any, name: str) -> Callable[[Any], Any]:
    return lambda _: getattr(part, name)


def _method(
    method: Callable[..., Any], name: str, part: Any, plugin: str, fault: Say, alarm: Say
) -> Callable[..., Any]:
    what = f"{part.name}.{name}() of plugin {plugin!r}"

    @functools.wraps(method)
    def asked(*args: object, **named: object) -> Any:
        try:
            with waiting_for(what, CAUTION, alarm):
                return _checked(name, method(*args, **named))
        except (Exception, SystemExit) as exc:  # noqa: BLE001  (a stranger's; it is named)
            message = f"{what} failed: {cause(exc)}"
            if name == "health":
                return Health(False, detail=message, hint=CAUTION)
            fault(message)
            return ASKING[name]

    @functools.wraps(method)
    def made(*args: object, **named: object) -> Any:
        try:
            return method(*args, **named)
        except DeployqError:
            raise
        except (Exception, SystemExit) as exc:
            error = BackendError if name in MAKING else PluginError
            raise error(f"{what} failed: {cause(exc)}", hint="deployq plugins") from exc

    return asked if name in ASKING else made


def _checked(name: str, answer: Any) -> Any:
    if name == "health" and not isinstance(answer, Health):
        raise TypeError(f"it gives {answer!r}, no deployq.Health")
    return answer

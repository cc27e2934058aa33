"""Records: dataclasses that are quick to define.

For every frozen dataclass the standard library writes, compiles and runs six methods: with
deployq's records a third of the time in which a command starts. Here `__init__` alone is made so,
the others are shared by all. What a record does, and what `dataclasses` makes of it (`replace`,
`asdict`, `fields`), is that of a frozen dataclass; to a type checker it is one.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool) -> Callable[[type], type]:
        """The decorator; a record is frozen."""
        assert frozen
        return _record


_FIELDS = "__dataclass_fields__"
_FROZEN: Any = dataclasses.make_dataclass("_FROZEN", [], frozen=True)


def _record(cls: type) -> Any:
    if any(hasattr(base, _FIELDS) for base in cls.__bases__):
        return dataclasses.dataclass(frozen=True)(cls)
    own = {name for name in _SHARED if cls.__dict__.get(name) is not None}
    made: Any = dataclasses.dataclass(repr=False, eq=False)(cls)
    made.__dataclass_params__ = _FROZEN.__dataclass_params__
    for name, method in _SHARED.items():
        if name not in own:
            setattr(made, name, method)
    names = [field.name for field in dataclasses.fields(made) if field.compare]
    made.__compared__ = staticmethod(_getter(names))
    return made


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes the values out that two records are compared by."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple(getattr(record, name) for name in names)


def _set(self: Any, name: str, value: object) -> None:
    held = self.__dict__
    if name in held or name not in getattr(self, _FIELDS):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    held[name] = value


def _delete(self: Any, name: str) -> None:  # noqa: ARG001
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self.__compared__(self) == self.__compared__(other)


def _hash(self: Any) -> int:
    return hash(self.__compared__(self))


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


_SHARED = {
    "__setattr__": _set,
    "__delattr__": _delete,
    "__eq__": _equal,
    "__hash__": _hash,
    "__repr__": _repr,
}

"""Which hooks a plugin may implement, as the text of its module tells; nothing is imported."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Set
from pathlib import Path

from deployq.entrypoints import EntryPoint

_WORD = re.compile(r"\bdeployq_\w+")
_HIDES = re.compile(r"import\s*\(?\s*\*|\bglobals\(|\bsetattr\(|\bexec\(|__getattr__")
"""What can bring a hook into a module whose text does not have its name."""


def surely_without(entry: EntryPoint | None, hook: str, known: Set[str]) -> bool:
    """Whether a plugin's module can't implement a hook, because its text does not have its name.

    Where that is not certain (an object of a module, a module inside a package, no source, no hook
    at all in it) the answer is no, and the plugin is imported to find out.
    """
    if entry is None or not entry.value.isidentifier():
        return False
    try:
        spec = importlib.util.find_spec(entry.value)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return False
        text = Path(spec.origin).read_text("utf-8", "replace")
    except (ImportError, OSError, ValueError):
        return False
    named = set(_WORD.findall(text))
    return bool(named & known) and hook not in named and not _HIDES.search(text)

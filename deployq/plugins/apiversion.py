"""The version of deployq's API that a plugin asks for: `deployq_api = "1.0"` in its module."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from deployq import API_VERSION, __version__
from deployq.errors import PluginError

_DECLARED = re.compile(r"""^deployq_api\s*(?::\s*\w+\s*)?=\s*["']([^"']*)["']""", re.MULTILINE)


def require_version(wanted: object) -> None:
    """Whether this deployq has the API that a plugin wants; None: it wants none in particular.

    Raises:
        PluginError: it wants a newer one, or one before a break.
    """
    if wanted is None:
        return
    major, minor = _numbers(wanted)
    here_major, here_minor = _numbers(API_VERSION)
    if (major, minor) > (here_major, here_minor):
        raise PluginError(
            f"it needs deployq's API {wanted}; this is deployq {__version__}, API {API_VERSION}",
            hint="pip install --upgrade deployq",
        )
    if major < here_major:
        raise PluginError(
            f"it was made for deployq's API {wanted}; that of deployq {__version__} is "
            f"{API_VERSION}",
            hint="install a newer version of the plugin",
        )


def _numbers(version: object) -> tuple[int, int]:
    if isinstance(version, str) and re.fullmatch(r"\d+\.\d+", version):
        major, minor = version.split(".")
        return int(major), int(minor)
    raise PluginError(f'deployq_api is {version!r}; it is written as "1.0": two numbers')


def wanted_by(module: str) -> str | None:
    """What a module that can't be imported says in its file; None: nothing, or it isn't found.

    A plugin for a newer API fails at the first name that isn't there yet, before it can be asked.
    """
    try:
        spec = importlib.util.find_spec(module)
        text = Path(spec.origin).read_text("utf-8", "replace") if spec and spec.origin else ""
    except (ImportError, OSError, ValueError):
        return None
    found = _DECLARED.search(text)
    return found[1] if found else None

"""Values of deployq.toml: how each kind is read, and what is wrong with one that can't be.

Every reader has one shape: what the file holds, and the folder that paths in it are relative to.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from deployq.addresses import require_address
from deployq.errors import ConfigError
from deployq.types import Json
from deployq.units import parse_bytes

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
NAMED_SOURCES = ("hf:", "ollama:")
CHECKS = (
    "adapter", "answers", "architecture", "base", "code", "engine", "eos", "overflow", "pickle",
    "pooling", "pre_tokenizer", "projector", "template", "tokenizer", "vocabulary", "weights",
)  # fmt: skip
_SECRET_SOURCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|keyring:[^\s/]+(/\S+)?")
Convert = Callable[[Any, Path], Any]
OwnTemplate = Literal["model"]
Suite = Literal["suite"]
SUITE: Suite = "suite"


def nearest(name: object, known: Iterable[str]) -> str:
    """`; did you mean X?` where a known name is near, else the first of them."""
    names = list(known)
    if near := difflib.get_close_matches(str(name), names, 1):
        return f"; did you mean {near[0]}?"
    more = ", ..." if len(names) > 12 else ""
    return f"; known: {', '.join(names[:12])}{more}" if names else ""


def text(value: Any, folder: Path) -> str:  # noqa: ARG001  (every converter has one shape)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"a text was expected, not {value!r}")
    return value


def path(value: Any, folder: Path) -> Path:
    """A path; a relative one is relative to the file that names it."""
    return folder / Path(text(value, folder)).expanduser()


def imatrix(value: Any, folder: Path) -> Path | Suite:
    """A file, or the word that has one made from the suite."""
    return SUITE if value == SUITE else path(value, folder)


def source(value: Any, folder: Path) -> Path:
    """A path, or a source by name (`hf:org/name@revision`, `ollama:tag`), which is no path."""
    named = text(value, folder)
    return Path(named) if named.startswith(NAMED_SOURCES) else path(value, folder)


def address(value: Any, folder: Path) -> str:
    """The address of a server; no secret is in it."""
    return require_address(text(value, folder))


def secret_source(value: Any, folder: Path) -> str:  # noqa: ARG001
    """Where a secret is. What was written instead may be the secret: no message repeats it."""
    if isinstance(value, str) and _SECRET_SOURCE.fullmatch(value):
        return value
    raise ConfigError(
        "it says where the secret is, and never is the secret itself (what stands there is not "
        "repeated here)",
        hint='"env:NAME": what the variable NAME holds; "keyring:SERVICE": what the keyring holds '
        "for SERVICE",
    )


def template(value: Any, folder: Path) -> Path | OwnTemplate:
    """A Modelfile template, or the word that forces the model's own chat template."""
    return "model" if value == "model" else path(value, folder)


def size(value: Any, folder: Path) -> int:  # noqa: ARG001
    if not isinstance(value, str):
        raise ConfigError(f"a size needs its unit: write {f'{value}GB'!r}, not {value!r}")
    return parse_bytes(value)


def whole(value: Any, folder: Path) -> int:  # noqa: ARG001
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"a positive whole number was expected, not {value!r}")
    return value


def count(value: Any, folder: Path) -> int:  # noqa: ARG001
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigError(f"a whole number, 0 or more, was expected, not {value!r}")
    return value


def yes_or_no(value: Any, folder: Path) -> bool:  # noqa: ARG001
    if not isinstance(value, bool):
        raise ConfigError(f"true or false was expected, not {value!r}")
    return value


def seconds(value: Any, folder: Path) -> float:  # noqa: ARG001
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise ConfigError(f"a positive number of seconds was expected, not {value!r}")
    return float(value)


def texts(value: Any, folder: Path) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list):
        raise ConfigError(f"a list of texts was expected, not {value!r}")
    return tuple(text(item, folder) for item in value)


def names(value: Any, folder: Path) -> tuple[str, ...]:
    """A list of texts, or one text with commas, as an environment variable has it."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return texts(value, folder)


def paths(value: Any, folder: Path) -> tuple[Path, ...]:
    return tuple(path(one, folder) for one in texts(value, folder))


def allowed(value: Any, folder: Path) -> tuple[str, ...]:
    """Names of checks that only warn."""
    found = texts(value, folder)
    for name in found:
        if name not in CHECKS:
            raise ConfigError(f"{name!r} is no check of a source{nearest(name, CHECKS)}")
    return found


def quants(value: Any, folder: Path) -> tuple[str, ...]:
    """Quant names in the catalogue's spelling; whether they exist, the planner says."""
    return tuple(name.upper() for name in texts(value, folder))


def one_of(*words: str) -> Convert:
    def convert(value: Any, folder: Path) -> str:  # noqa: ARG001
        if value not in words:
            raise ConfigError(f"{value!r} is none of {', '.join(words)}{nearest(value, words)}")
        return str(value)

    return convert


def cache_type(value: Any, folder: Path) -> str:
    """One KV-cache type, or two: key/value."""
    parts = text(value, folder).lower().split("/")
    if len(parts) > 2 or not set(parts) <= set(CACHE_TYPES):
        raise ConfigError(
            f"{value!r} is no KV-cache type; known: {', '.join(CACHE_TYPES)}, or two as K/V"
        )
    return "/".join(dict.fromkeys(parts))


def share(value: Any, folder: Path) -> float:  # noqa: ARG001
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ConfigError(f"a number from 0 to 1 was expected, not {value!r}")
    return float(value)


def confidence(value: Any, folder: Path) -> float:  # noqa: ARG001
    if not isinstance(value, float) or not 0.5 <= value <= 0.999:
        raise ConfigError(f"a number from 0.5 to 0.999 was expected, not {value!r}")
    return value


def rise(value: Any, folder: Path) -> float:  # noqa: ARG001
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        raise ConfigError(f"a number, 0 or more, was expected (0.05: 5 %), not {value!r}")
    return float(value)


def parameters(value: Any, folder: Path) -> Mapping[str, Json]:  # noqa: ARG001
    """Ollama parameters; their names and types are checked with the Modelfile."""
    if not isinstance(value, dict):
        raise ConfigError(f"a table of parameters was expected, not {value!r}")
    return value

"""The keys of deployq.toml as records: each field carries its type, default and description.

The sample file, the messages and `deployq config` all come from here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from deployq.addresses import require_address
from deployq.errors import ConfigError
from deployq.records import dataclass
from deployq.types import Goal, Json, MemoryKind
from deployq.units import parse_bytes

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
NAMED_SOURCES = ("hf:", "ollama:")
CHECKS = (
    "adapter", "architecture", "base", "code", "eos", "overflow", "pickle", "pre_tokenizer",
    "template", "tokenizer", "vocabulary", "weights",
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


# ---------------------------------------------------------------- converters


def _text(value: Any, folder: Path) -> str:  # noqa: ARG001  (every converter has one shape)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"a text was expected, not {value!r}")
    return value


def _path(value: Any, folder: Path) -> Path:
    """A path; a relative one is relative to the file that names it."""
    return folder / Path(_text(value, folder)).expanduser()


def _imatrix(value: Any, folder: Path) -> Path | Suite:
    """A file, or the word that has one made from the suite."""
    return SUITE if value == SUITE else _path(value, folder)


def _source(value: Any, folder: Path) -> Path:
    """A path, or a source by name (`hf:org/name@revision`, `ollama:tag`), which is no path."""
    text = _text(value, folder)
    return Path(text) if text.startswith(NAMED_SOURCES) else _path(value, folder)


def _address(value: Any, folder: Path) -> str:
    """The address of a server; no secret is in it."""
    return require_address(_text(value, folder))


def _secret_source(value: Any, folder: Path) -> str:  # noqa: ARG001
    """Where a secret is. What was written instead may be the secret: no message repeats it."""
    if isinstance(value, str) and _SECRET_SOURCE.fullmatch(value):
        return value
    raise ConfigError(
        "it says where the secret is, and never is the secret itself (what stands there is not "
        "repeated here)",
        hint='"env:NAME": what the variable NAME holds; "keyring:SERVICE": what the keyring holds '
        "for SERVICE",
    )


def _template(value: Any, folder: Path) -> Path | OwnTemplate:
    """A Modelfile template, or the word that forces the model's own chat template."""
    return "model" if value == "model" else _path(value, folder)


def _size(value: Any, folder: Path) -> int:  # noqa: ARG001
    if not isinstance(value, str):
        raise ConfigError(f"a size needs its unit: write {f'{value}GB'!r}, not {value!r}")
    return parse_bytes(value)


def _whole(value: Any, folder: Path) -> int:  # noqa: ARG001
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"a positive whole number was expected, not {value!r}")
    return value


def _count(value: Any, folder: Path) -> int:  # noqa: ARG001
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigError(f"a whole number, 0 or more, was expected, not {value!r}")
    return value


def _yes_or_no(value: Any, folder: Path) -> bool:  # noqa: ARG001
    if not isinstance(value, bool):
        raise ConfigError(f"true or false was expected, not {value!r}")
    return value


def _seconds(value: Any, folder: Path) -> float:  # noqa: ARG001
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise ConfigError(f"a positive number of seconds was expected, not {value!r}")
    return float(value)


def _texts(value: Any, folder: Path) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list):
        raise ConfigError(f"a list of texts was expected, not {value!r}")
    return tuple(_text(item, folder) for item in value)


def _names(value: Any, folder: Path) -> tuple[str, ...]:
    """A list of texts, or one text with commas, as an environment variable has it."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return _texts(value, folder)


def _paths(value: Any, folder: Path) -> tuple[Path, ...]:
    return tuple(_path(text, folder) for text in _texts(value, folder))


def _allowed(value: Any, folder: Path) -> tuple[str, ...]:
    """Names of checks that only warn."""
    names = _texts(value, folder)
    for name in names:
        if name not in CHECKS:
            raise ConfigError(f"{name!r} is no check of a source{nearest(name, CHECKS)}")
    return names


def _quants(value: Any, folder: Path) -> tuple[str, ...]:
    """Quant names in the catalogue's spelling; whether they exist, the planner says."""
    return tuple(name.upper() for name in _texts(value, folder))


def _one_of(*words: str) -> Convert:
    def convert(value: Any, folder: Path) -> str:  # noqa: ARG001
        if value not in words:
            raise ConfigError(f"{value!r} is none of {', '.join(words)}{nearest(value, words)}")
        return str(value)

    return convert


def _cache_type(value: Any, folder: Path) -> str:
    """One KV-cache type, or two: key/value."""
    parts = _text(value, folder).lower().split("/")
    if len(parts) > 2 or not set(parts) <= set(CACHE_TYPES):
        raise ConfigError(
            f"{value!r} is no KV-cache type; known: {', '.join(CACHE_TYPES)}, or two as K/V"
        )
    return "/".join(dict.fromkeys(parts))


def _share(value: Any, folder: Path) -> float:  # noqa: ARG001
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ConfigError(f"a number from 0 to 1 was expected, not {value!r}")
    return float(value)


def _rise(value: Any, folder: Path) -> float:  # noqa: ARG001
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise ConfigError(f"a number, 0 or more, was expected (0.05: 5 %), not {value!r}")
    return float(value)


def _parameters(value: Any, folder: Path) -> Mapping[str, Json]:  # noqa: ARG001
    """Ollama parameters; their names and types are checked with the Modelfile."""
    if not isinstance(value, dict):
        raise ConfigError(f"a table of parameters was expected, not {value!r}")
    return value


def option(convert: Convert, text: str, *, sample: str, default: Any = None, env: str = "") -> Any:
    """A field of a settings record.

    Args:
        convert: turns the TOML value into the field's, or raises ConfigError.
        text: one line for the sample file and `deployq config`.
        sample: the value as the sample file shows it, in TOML.
        default: what counts where nothing is said; `dict` for an empty table.
        env: the environment variable that overrides the file.
    """
    metadata = {"convert": convert, "help": text, "sample": sample, "env": env}
    if default is dict:
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


# ---------------------------------------------------------------- the settings


@dataclass(frozen=True)
class GateSettings:
    """`[gate]`: what a tag is held to before it is promoted; also per model and per target.

    What is not said here is said by the next wider table, in the end by the defaults.
    """

    checks_lost: float | None = option(
        _share, "share of prompts that full precision passes and a tag may fail", sample="0.02"
    )
    json_validity: bool | None = option(
        _yes_or_no, "no fewer answers may be JSON than with full precision", sample="true"
    )
    perplexity_warn: float | None = option(
        _rise, "warn where the answer perplexity rises by more", sample="0.05"
    )
    perplexity_fail: float | None = option(
        _rise, "fail where the answer perplexity rises by more", sample="0.10"
    )
    agreement: float | None = option(
        _share, "least share of tokens that must stay the likeliest", sample="0.9"
    )
    confidence: float | None = option(_share, "confidence of the intervals", sample="0.95")
    escalate: bool | None = option(
        _yes_or_no, "where a quant fails, try the next better one that fits", sample="true"
    )

    @property
    def said(self) -> Mapping[str, Json]:
        """The keys that were said."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def _gate(value: Any, folder: Path) -> GateSettings:
    """A table of gate keys."""
    if not isinstance(value, dict):
        raise ConfigError(f"a table of gate keys was expected, not {value!r}")
    known = {f.name: f for f in fields(GateSettings)}
    found = {}
    for key, item in value.items():
        if key not in known:
            raise ConfigError(f"unknown key {key}{nearest(key, known)}")
        try:
            found[key] = known[key].metadata["convert"](item, folder)
        except ConfigError as exc:
            raise ConfigError(f"{key}: {exc.message}") from exc
    return GateSettings(**found)


@dataclass(frozen=True)
class ModelSettings:
    """`[models.NAME]`: what was trained, and how its tags are made."""

    source: Path | None = option(
        _source,
        "a full-precision GGUF, a Hugging Face folder, a LoRA adapter, hf:org/name, ollama:tag",
        sample='"task-api-f16.gguf"',
    )
    base: Path | None = option(
        _source, "the model that a LoRA adapter was trained on", sample='"hf:org/name"'
    )
    adapter: str = option(
        _one_of("merge", "attach"),
        "a LoRA adapter: merge it, or attach it (servers before 0.34.1 alone)",
        sample='"merge"',
        default="merge",
    )
    dtype: str | None = option(
        _one_of("F16", "BF16", "F32"),
        "what a Hugging Face model is converted to; default: as it is stored",
        sample='"BF16"',
    )
    pre_tokenizer: str | None = option(
        _text, "llama.cpp's pre-tokenizer, where the converter does not know it", sample='"gpt-2"'
    )
    projector: bool = option(
        _yes_or_no,
        "whether a model for images or sound keeps that part",
        sample="true",
        default=True,
    )
    allow: tuple[str, ...] = option(
        _allowed, "checks of a source that shall only warn", sample='["template"]', default=()
    )
    suite: Path | None = option(
        _path, "prompts with checks that every tag must pass (TOML or JSONL)", sample='"suite.toml"'
    )
    quants: tuple[str, ...] = option(
        _quants,
        "the quants to keep side by side; without it the goal picks one per target",
        sample='["Q8_0", "Q4_K_M"]',
        default=(),
    )
    goal: Goal | None = option(
        _one_of(*get_args(Goal)),
        "how to choose: balanced, quality, max, memory or research",
        sample='"balanced"',
    )
    system: str | None = option(
        _text, "the system prompt that goes into every tag", sample='"You manage tasks."'
    )
    template: Path | OwnTemplate | None = option(
        _template,
        'a Modelfile template of your own (Jinja); "model": force the model\'s own chat template',
        sample='"Modelfile.j2"',
    )
    quant_templates: Mapping[str, Json] = option(
        _parameters,
        "templates for single quants: { Q4_K_M = PATH }",
        sample='{ Q4_K_M = "Modelfile.q4.j2" }',
        default=dict,
    )
    parameters: Mapping[str, Json] = option(
        _parameters,
        "Ollama parameters of every tag",
        sample="{ temperature = 0.2, num_ctx = 4096 }",
        default=dict,
    )
    imatrix: Path | Suite | None = option(
        _imatrix,
        'an importance matrix to quantize with (GGUF); "suite": made from the suite\'s prompts',
        sample='"suite"',
    )
    license: str | None = option(_text, "the licence text of every tag", sample='"Apache-2.0"')
    gate: GateSettings = option(
        _gate,
        "what its tags are held to, over [gate]",
        sample="{ checks_lost = 0.02 }",
        default=GateSettings(),
    )


@dataclass(frozen=True)
class TargetSettings:
    """`[targets.NAME]`: one machine."""

    memory: int | None = option(
        _size, "its memory; without it: this machine, or the preset of that name", sample='"16GB"'
    )
    kind: MemoryKind | None = option(
        _one_of(*get_args(MemoryKind)), "ram, vram or unified", sample='"ram"'
    )
    preset: str | None = option(_text, "a well-known machine to start from", sample='"4090"')
    reserve: int | None = option(
        _size, "what the system keeps of the memory for itself", sample='"5GB"'
    )
    context: int | None = option(_whole, "context in tokens", sample="4096")
    cache_type: str | None = option(
        _cache_type, "type of the KV cache, or key/value", sample='"f16"'
    )
    host: str | None = option(
        _address,
        "its Ollama; without it: the default server",
        sample='"http://192.168.1.20:11434"',
    )
    auth: str | None = option(
        _secret_source,
        "where its server's token or USER:PASSWORD is: env:NAME or keyring:SERVICE",
        sample='"env:BOX_TOKEN"',
    )
    ca: Path | None = option(
        _path, "the authority that signed its server's certificate (PEM)", sample='"our-ca.pem"'
    )
    quants: tuple[str, ...] = option(
        _quants, "quants for this target alone", sample='["Q4_K_M"]', default=()
    )
    goal: Goal | None = option(
        _one_of(*get_args(Goal)), "how to choose for this target", sample='"quality"'
    )
    template: Path | OwnTemplate | None = option(
        _template,
        'the Modelfile template of its alias, or "model" as above',
        sample='"Modelfile.laptop.j2"',
    )
    parameters: Mapping[str, Json] = option(
        _parameters, "Ollama parameters of its alias", sample="{ num_thread = 8 }", default=dict
    )
    gate: GateSettings = option(
        _gate,
        "what its tags are held to, over that of the model",
        sample="{ escalate = true }",
        default=GateSettings(),
    )


@dataclass(frozen=True)
class ToolSettings:
    """`[tools]`: llama.cpp's own tools."""

    llama_cpp: str | None = option(
        _text,
        'folder with llama-quantize and llama-server; "none": use none',
        sample='"~/llama.cpp/build/bin"',
        env="DEPLOYQ_LLAMA_CPP",
    )
    dir: Path | None = option(
        _path,
        "where `deployq tools install` puts its build",
        sample='"~/.local/share/deployq/tools"',
        env="DEPLOYQ_TOOLS_DIR",
    )
    threads: int | None = option(_whole, "threads of the quantizer", sample="8")
    convert_python: str | None = option(
        _text,
        "a Python with torch and transformers, for converting Hugging Face models",
        sample='"~/train/.venv/bin/python"',
        env="DEPLOYQ_CONVERT_PYTHON",
    )


@dataclass(frozen=True)
class RuntimeSettings:
    """`[runtime]`: where the default Ollama API comes from."""

    name: str = option(
        _text,
        "ollama (a server that runs), managed (started by deployq) or embedded (llama-server)",
        sample='"ollama"',
        default="ollama",
        env="DEPLOYQ_RUNTIME",
    )
    ollama: str | None = option(
        _text,
        "the ollama program that `managed` starts",
        sample='"/usr/local/bin/ollama"',
        env="DEPLOYQ_OLLAMA",
    )
    dir: Path | None = option(
        _path, "where managed and embedded keep their models", sample='"~/.local/share/deployq"'
    )
    auth: str | None = option(
        _secret_source,
        "where the default server's token or USER:PASSWORD is: env:NAME or keyring:SERVICE",
        sample='"keyring:ollama"',
    )
    ca: Path | None = option(
        _path, "the authority that signed its certificate (PEM)", sample='"our-ca.pem"'
    )
    timeout: float = option(
        _seconds, "seconds that one answer may take", sample="300", default=300.0
    )


@dataclass(frozen=True)
class TagSettings:
    """`[tags]`: how tags are put on servers, and taken away."""

    keep: int = option(
        _count, "earlier generations of a tag that stay for a rollback", sample="3", default=3
    )
    require_fit: bool = option(
        _yes_or_no,
        "fail a push where a loaded tag takes more than planned, or spills to the CPU",
        sample="true",
        default=False,
    )
    require_parity: bool = option(
        _yes_or_no,
        "fail a push where prompts differ from those of the model's own chat template",
        sample="true",
        default=False,
    )


@dataclass(frozen=True)
class PluginSettings:
    """`[plugins]`."""

    backend: str | None = option(
        _text,
        "the backend that quantizes; without it: the first that can",
        sample='"llamacpp"',
        env="DEPLOYQ_BACKEND",
    )
    disable: tuple[str, ...] = option(
        _texts, "plugins to leave out", sample='["some-plugin"]', default=()
    )
    allow: tuple[str, ...] | None = option(
        _names,
        "the only plugins to load besides deployq's own, by name or distribution",
        sample='["some-plugin"]',
        env="DEPLOYQ_PLUGINS",
    )
    only_builtin: bool = option(
        _yes_or_no, "load none but deployq's own plugins", sample="true", default=False
    )
    paths: tuple[Path, ...] = option(
        _paths,
        "files of the project that are plugins; each is run only after you said yes",
        sample='["our_checks.py"]',
        default=(),
    )
    trust: tuple[str, ...] = option(
        _texts, "files with check functions that may be run", sample='["checks.py"]', default=()
    )


@dataclass(frozen=True)
class BackendSettings:
    """`[backends.NAME]`: a backend with an environment of its own.

    The variables DEPLOYQ_NAME_PYTHON and DEPLOYQ_NAME_MODE tell it, and override the file.
    """

    python: str | None = option(
        _text, "the Python of the environment that it works in", sample='"~/train/.venv/bin/python"'
    )
    mode: str | None = option(
        _one_of("merged", "gguf"),
        "merged: it merges, others convert and quantize; gguf: its own export of each quant",
        sample='"merged"',
    )


@dataclass(frozen=True)
class PathSettings:
    """The keys at the top of the file: where deployq keeps what it makes."""

    cache: Path | None = option(
        _path, "artifacts and caches", sample='"~/.cache/deployq"', env="DEPLOYQ_CACHE_DIR"
    )
    runs: Path | None = option(_path, "one folder per run", sample='".deployq/runs"')
    lockfile: Path | None = option(_path, "what was pushed, for git", sample='"deployq.lock"')

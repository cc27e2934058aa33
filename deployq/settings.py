"""The keys of deployq.toml as records: each field carries its type, default and description.

The sample file, the messages and `deployq config` all come from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any, get_args

from deployq import setting_values as to
from deployq.errors import ConfigError
from deployq.records import dataclass
from deployq.setting_values import Convert, OwnTemplate, Suite, nearest
from deployq.types import Goal, Json, MemoryKind


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
        to.share, "how much smaller the share of prompts that pass may be", sample="0.02"
    )
    json_validity: bool | None = option(
        to.yes_or_no, "no fewer answers may be JSON than with full precision", sample="true"
    )
    perplexity_warn: float | None = option(
        to.rise, "warn where the answer perplexity rises by more", sample="0.05"
    )
    perplexity_fail: float | None = option(
        to.rise, "fail where the answer perplexity rises by more", sample="0.10"
    )
    agreement: float | None = option(
        to.share, "least share of tokens that must stay the likeliest", sample="0.9"
    )
    confidence: float | None = option(
        to.confidence, "how sure a loss must be to count, and its absence", sample="0.95"
    )
    strict: bool | None = option(
        to.yes_or_no, "fail what too few prompts leave undecided, too", sample="true"
    )
    escalate: bool | None = option(
        to.yes_or_no, "where a quant fails, try the next better one that fits", sample="true"
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
        to.source,
        "a full-precision GGUF, a Hugging Face folder, a LoRA adapter, hf:org/name, ollama:tag",
        sample='"task-api-f16.gguf"',
    )
    base: Path | None = option(
        to.source, "the model that a LoRA adapter was trained on", sample='"hf:org/name"'
    )
    adapter: str = option(
        to.one_of("merge", "attach"),
        "a LoRA adapter: merge it, or attach it (servers before 0.34.1 alone)",
        sample='"merge"',
        default="merge",
    )
    dtype: str | None = option(
        to.one_of("F16", "BF16", "F32"),
        "what a Hugging Face model is converted to; default: as it is stored",
        sample='"BF16"',
    )
    pre_tokenizer: str | None = option(
        to.text, "llama.cpp's pre-tokenizer, where the converter does not know it", sample='"gpt-2"'
    )
    projector: bool = option(
        to.yes_or_no,
        "whether a model for images or sound keeps that part",
        sample="true",
        default=True,
    )
    allow: tuple[str, ...] = option(
        to.allowed, "checks of a source that shall only warn", sample='["template"]', default=()
    )
    suite: Path | None = option(
        to.path,
        "prompts with checks that every tag must pass (TOML or JSONL)",
        sample='"suite.toml"',
    )
    quants: tuple[str, ...] = option(
        to.quants,
        "the quants to keep side by side; without it the goal picks one per target",
        sample='["Q8_0", "Q4_K_M"]',
        default=(),
    )
    goal: Goal | None = option(
        to.one_of(*get_args(Goal)),
        "how to choose: balanced, quality, max, memory or research",
        sample='"balanced"',
    )
    system: str | None = option(
        to.text, "the system prompt that goes into every tag", sample='"You manage tasks."'
    )
    template: Path | OwnTemplate | None = option(
        to.template,
        'a Modelfile template of your own (Jinja); "model": force the model\'s own chat template',
        sample='"Modelfile.j2"',
    )
    quant_templates: Mapping[str, Json] = option(
        to.parameters,
        "templates for single quants: { Q4_K_M = PATH }",
        sample='{ Q4_K_M = "Modelfile.q4.j2" }',
        default=dict,
    )
    parameters: Mapping[str, Json] = option(
        to.parameters,
        "Ollama parameters of every tag",
        sample="{ temperature = 0.2, num_ctx = 4096 }",
        default=dict,
    )
    imatrix: Path | Suite | None = option(
        to.imatrix,
        'an importance matrix to quantize with (GGUF); "suite": made from the suite\'s prompts',
        sample='"suite"',
    )
    license: str | None = option(to.text, "the licence text of every tag", sample='"Apache-2.0"')
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
        to.size, "its memory; without it: this machine, or the preset of that name", sample='"16GB"'
    )
    kind: MemoryKind | None = option(
        to.one_of(*get_args(MemoryKind)), "ram, vram or unified", sample='"ram"'
    )
    preset: str | None = option(to.text, "a well-known machine to start from", sample='"4090"')
    cards: int | None = option(
        to.whole, "so many such cards: memory, preset and reserve are those of one", sample="2"
    )
    reserve: int | None = option(
        to.size, "what the system keeps of the memory for itself", sample='"5GB"'
    )
    context: int | None = option(to.whole, "context in tokens", sample="4096")
    cache_type: str | None = option(
        to.cache_type, "type of the KV cache, or key/value", sample='"f16"'
    )
    parallel: int | None = option(
        to.whole,
        "requests that its server answers at a time (OLLAMA_NUM_PARALLEL), each with a context of "
        "its own",
        sample="4",
    )
    flash_attention: bool | None = option(
        to.yes_or_no,
        "false: its server runs without (OLLAMA_FLASH_ATTENTION=0), which takes more memory",
        sample="true",
    )
    host: str | None = option(
        to.address,
        "its Ollama; without it: the default server",
        sample='"http://192.168.1.20:11434"',
    )
    auth: str | None = option(
        to.secret_source,
        "where its server's token or USER:PASSWORD is: env:NAME or keyring:SERVICE",
        sample='"env:BOX_TOKEN"',
    )
    ca: Path | None = option(
        to.path, "the authority that signed its server's certificate (PEM)", sample='"our-ca.pem"'
    )
    quants: tuple[str, ...] = option(
        to.quants, "quants for this target alone", sample='["Q4_K_M"]', default=()
    )
    goal: Goal | None = option(
        to.one_of(*get_args(Goal)), "how to choose for this target", sample='"quality"'
    )
    template: Path | OwnTemplate | None = option(
        to.template,
        'the Modelfile template of its alias, or "model" as above',
        sample='"Modelfile.laptop.j2"',
    )
    parameters: Mapping[str, Json] = option(
        to.parameters, "Ollama parameters of its alias", sample="{ num_thread = 8 }", default=dict
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
        to.text,
        'folder with llama-quantize and llama-server; "none": use none',
        sample='"~/llama.cpp/build/bin"',
        env="DEPLOYQ_LLAMA_CPP",
    )
    dir: Path | None = option(
        to.path,
        "where `deployq tools install` puts its build",
        sample='"~/.local/share/deployq/tools"',
        env="DEPLOYQ_TOOLS_DIR",
    )
    threads: int | None = option(to.whole, "threads of the quantizer", sample="8")
    convert_python: str | None = option(
        to.text,
        "a Python with torch and transformers, for converting Hugging Face models",
        sample='"~/train/.venv/bin/python"',
        env="DEPLOYQ_CONVERT_PYTHON",
    )


@dataclass(frozen=True)
class RuntimeSettings:
    """`[runtime]`: where the default Ollama API comes from."""

    name: str = option(
        to.text,
        "ollama (a server that runs), managed (started by deployq) or embedded (llama-server)",
        sample='"ollama"',
        default="ollama",
        env="DEPLOYQ_RUNTIME",
    )
    ollama: str | None = option(
        to.text,
        "the ollama program that `managed` starts",
        sample='"/usr/local/bin/ollama"',
        env="DEPLOYQ_OLLAMA",
    )
    dir: Path | None = option(
        to.path, "where managed and embedded keep their models", sample='"~/.local/share/deployq"'
    )
    auth: str | None = option(
        to.secret_source,
        "where the default server's token or USER:PASSWORD is: env:NAME or keyring:SERVICE",
        sample='"keyring:ollama"',
    )
    ca: Path | None = option(
        to.path, "the authority that signed its certificate (PEM)", sample='"our-ca.pem"'
    )
    timeout: float = option(
        to.seconds, "seconds that one answer may take", sample="300", default=300.0
    )


@dataclass(frozen=True)
class TagSettings:
    """`[tags]`: how tags are put on servers, and taken away."""

    keep: int = option(
        to.count, "earlier generations of a tag that stay for a rollback", sample="3", default=3
    )
    require_fit: bool = option(
        to.yes_or_no,
        "fail a push where a loaded tag takes more than planned, or spills to the CPU",
        sample="true",
        default=False,
    )
    require_parity: bool = option(
        to.yes_or_no,
        "fail a push where prompts differ from those of the model's own chat template",
        sample="true",
        default=False,
    )


@dataclass(frozen=True)
class PluginSettings:
    """`[plugins]`."""

    backend: str | None = option(
        to.text,
        "the backend that quantizes; without it: the first that can",
        sample='"llamacpp"',
        env="DEPLOYQ_BACKEND",
    )
    disable: tuple[str, ...] = option(
        to.texts, "plugins to leave out", sample='["some-plugin"]', default=()
    )
    allow: tuple[str, ...] | None = option(
        to.names,
        "the only plugins to load besides deployq's own, by name or distribution",
        sample='["some-plugin"]',
        env="DEPLOYQ_PLUGINS",
    )
    only_builtin: bool = option(
        to.yes_or_no, "load none but deployq's own plugins", sample="true", default=False
    )
    paths: tuple[Path, ...] = option(
        to.paths,
        "files of the project that are plugins; each is run only after you said yes",
        sample='["our_checks.py"]',
        default=(),
    )
    trust: tuple[str, ...] = option(
        to.texts, "files with check functions that may be run", sample='["checks.py"]', default=()
    )


@dataclass(frozen=True)
class BackendSettings:
    """`[backends.NAME]`: a backend with an environment of its own.

    The variables DEPLOYQ_NAME_PYTHON and DEPLOYQ_NAME_MODE tell it, and override the file.
    """

    python: str | None = option(
        to.text,
        "the Python of the environment that it works in",
        sample='"~/train/.venv/bin/python"',
    )
    mode: str | None = option(
        to.one_of("merged", "gguf"),
        "merged: it merges, others convert and quantize; gguf: its own export of each quant",
        sample='"merged"',
    )


@dataclass(frozen=True)
class PathSettings:
    """The keys at the top of the file: where deployq keeps what it makes."""

    cache: Path | None = option(
        to.path, "artifacts and caches", sample='"~/.cache/deployq"', env="DEPLOYQ_CACHE_DIR"
    )
    runs: Path | None = option(to.path, "one folder per run", sample='".deployq/runs"')
    lockfile: Path | None = option(to.path, "what was pushed, for git", sample='"deployq.lock"')

"""A tag as it is used: its weights, texts and parameters, and how it is shown.

Ollama stores a Go template of its own where it knows the Jinja template of a GGUF, and prefers
it. This runtime has no Go templates: where the stored one is one of Ollama's own, the GGUF's Jinja
is used in its place; any other was written by someone, and is not silently left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployq import ModelInfo, SourceError, known_template
from deployq_runtimes.server import facts
from deployq_runtimes.server.errors import ApiError, not_here
from deployq_runtimes.server.names import Name
from deployq_runtimes.server.store import Manifest, Store

PLAIN_TEMPLATE = "{{ .Prompt }}"


@dataclass(frozen=True)
class Model:
    """One tag, read. `parameters` are as stored; `go_template` is empty where there is none."""

    name: Name
    manifest: Manifest
    config: Mapping[str, Any]
    weights: Path
    parent: str
    go_template: str
    system: str
    parameters: Mapping[str, Any]
    messages: tuple[Mapping[str, Any], ...]
    licenses: tuple[str, ...]

    @property
    def info(self) -> ModelInfo:
        """The header of the weights.

        Raises:
            ApiError: they can't be read.
        """
        try:
            return facts.facts(self.weights)
        except (OSError, SourceError) as exc:
            raise ApiError(500, f"{self.name.short}: {exc}") from exc

    @property
    def template(self) -> str:
        """The template that is used: the GGUF's Jinja, else Ollama's plain default."""
        return self.info.chat_template or self.go_template or PLAIN_TEMPLATE

    @property
    def capabilities(self) -> list[str]:
        jinja = self.info.chat_template or ""
        tools = ["tools"] if "tools" in jinja or "tool_call" in jinja else []
        thinking = ["thinking"] if "<think>" in jinja and "</think>" in jinja else []
        return [*tools, *thinking, "completion"]

    def details(self) -> dict[str, Any]:
        """The `details` of show, without the parent."""
        return {
            "parent_model": "",
            "format": self.config.get("model_format", ""),
            "family": self.config.get("model_family", ""),
            "families": self.config.get("model_families"),
            "parameter_size": self.config.get("model_type", ""),
            "quantization_level": self.config.get("file_type", ""),
        }

    def check_runnable(self) -> None:
        """Raises ApiError 501 where the tag needs a part that only a real Ollama has."""
        for kind in ("adapter", "projector", "draft"):
            if self.manifest.of_kind(kind):
                raise not_here(f"a model with a layer of kind {kind!r}")
        for key in ("renderer", "parser"):
            if self.config.get(key):
                raise not_here(f"the {key} {self.config[key]!r}")

    def check_template(self) -> None:
        """Raises ApiError 501 where a Go template stands that this runtime must not ignore."""
        if not self.go_template or self.go_template == PLAIN_TEMPLATE:
            return
        if not (self.info.chat_template and known_template(self.go_template)):
            raise not_here(f"the Go TEMPLATE of {self.name.short}")


def load_model(store: Store, name: Name) -> Model:
    """Read a tag.

    Raises:
        FileNotFoundError: there is no such tag, or a blob of it is gone.
        ApiError: it is damaged, or of a kind that this runtime can't read.
    """
    manifest = store.read(name)
    weights = manifest.of_kind("model")
    if not weights:
        raise not_here(f"{name.short}, a model that is no GGUF")
    if len(weights) > 1:
        raise not_here(f"{name.short}, a split GGUF")
    template = next(iter(manifest.of_kind("template") + manifest.of_kind("prompt")), None)
    return Model(
        name=name,
        manifest=manifest,
        config=json.loads(store.blob(manifest.config.digest).read_bytes()),
        weights=store.blob(weights[0].digest),
        parent=weights[0].source,
        go_template=store.blob(template.digest).read_text() if template else "",
        system="".join(_texts(store, manifest, "system")[-1:]),
        parameters=_last_json(store, manifest, "params") or {},
        messages=tuple(_last_json(store, manifest, "messages") or ()),
        licenses=tuple(_texts(store, manifest, "license")),
    )


def _texts(store: Store, manifest: Manifest, kind: str) -> list[str]:
    return [store.blob(layer.digest).read_text() for layer in manifest.of_kind(kind)]


def _last_json(store: Store, manifest: Manifest, kind: str) -> Any:
    texts = _texts(store, manifest, kind)
    return json.loads(texts[-1]) if texts else None

"""`/api/create`: a tag from an uploaded GGUF or from another tag, told in Ollama's steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from deployq import ModelInfo, SourceError
from deployq_runtimes.server import facts
from deployq_runtimes.server.errors import ApiError, not_here
from deployq_runtimes.server.gojson import go_json
from deployq_runtimes.server.names import Name, parse_name
from deployq_runtimes.server.store import CONFIG_MEDIA, MEDIA, Layer, Manifest, Store

_MAX_FILES = 1000
_QUANTIZE_REFUSED = (
    "create-time quantization is only supported for safetensors imports; "
    "quantize GGUF models with llama.cpp tools before importing"
)


class Creation:
    """One create request, checked; `steps` carries it out.

    Raises:
        ApiError: what Ollama refuses before it streams anything.
    """

    def __init__(self, store: Store, request: Mapping[str, Any]) -> None:
        self.store = store
        self.request = request
        self.licenses = _licenses(request.get("license"))
        self._check_parameters()
        self._check_files()
        name = parse_name(request.get("model") or request.get("name") or "")
        if not name.valid:
            raise ApiError(400, "invalid model name")
        self.name: Name = store.settle(name)
        self.has_gguf = any(self._is_gguf(f, d) for f, d in self._files().items())
        self._check_what_only_ollama_has()

    def steps(self) -> Iterator[str]:
        """Do it; each status line as it comes, without the final `success`.

        Raises:
            ApiError: what Ollama finds while it works.
        """
        if source := self.request.get("from"):
            config, layers = self._inherit(source)
        elif "files" in self.request:
            if self.has_gguf:
                yield "parsing GGUF"
            config, layers = self._import()
        else:
            raise ApiError(400, "neither 'from' or 'files' was specified")
        inherited = {id(layer) for layer in layers}
        layers, existed = self._with_texts(layers)
        for layer in layers:
            known = id(layer) in inherited or layer.digest in existed
            yield f"{'using existing' if known else 'creating new'} layer {layer.digest}"
        yield "writing manifest"
        content = go_json(config)
        config_layer = Layer(CONFIG_MEDIA, self.store.add(content)[0], len(content))
        self.store.write(self.name, Manifest(config_layer, tuple(layers)))

    # ------------------------------------------------------------ checks

    def _check_parameters(self) -> None:
        if (self.request.get("parameters") or {}).get("typical_p") is not None:
            raise ApiError(400, "typical_p is no longer supported")

    def _files(self) -> dict[str, str]:
        return self.request.get("files") or {}

    def _check_files(self) -> None:
        if len(self._files()) > _MAX_FILES:
            raise ApiError(400, f"too many files: {len(self._files())}")
        for file, digest in self._files().items():
            if not _is_plain_path(file):
                raise ApiError(400, f"file path must be relative: {file}")
            try:
                self.store.blob(digest)
            except ApiError as exc:
                text = f"invalid digest for {file}: {exc.message}" if digest else exc.message
                raise ApiError(400, text) from exc
        if self.request.get("adapters"):
            raise ApiError(400, "LoRA adapters are no longer supported")

    def _is_gguf(self, file: str, digest: str) -> bool:
        """By its name, else by its first bytes."""
        if file.endswith((".gguf", ".safetensors")):
            return file.endswith(".gguf")
        path = self.store.blob(digest)
        if not path.exists():
            reason = f"open {path}: no such file or directory"
            raise ApiError(400, f"blob not found for {file} (digest {digest}): {reason}")
        return _magic(path) == b"GGUF"

    def _check_what_only_ollama_has(self) -> None:
        if self.request.get("quantize") or self.request.get("quantization"):
            raise ApiError(400, _QUANTIZE_REFUSED)
        for key, what in (
            ("template", "a Go TEMPLATE; without one, the model's own Jinja template is used"),
            ("renderer", "RENDERER"),
            ("parser", "PARSER"),
            ("draft", "DRAFT"),
        ):
            if self.request.get(key):
                raise not_here(what)
        if len(self._files()) > 1 and not self.request.get("from"):
            raise not_here("a model of several files; join a split GGUF with llama-gguf-split")

    # ------------------------------------------------------------ where the weights come from

    def _inherit(self, source: str) -> tuple[dict[str, Any], list[Layer]]:
        name = parse_name(source)
        if not name.valid:
            raise ApiError(400, "invalid model name")
        try:
            manifest = self.store.read(self.store.settle(name))
        except FileNotFoundError as exc:
            raise not_here(f"pulling {source}, which is not in this store") from exc
        config = json.loads(self.store.blob(manifest.config.digest).read_bytes())
        if requires := self.request.get("requires"):
            config["requires"] = requires
        layers = [
            Layer(layer.media, layer.digest, layer.size, source=parse_name(source).short)
            if layer.kind == "model"
            else layer
            for layer in manifest.layers
        ]
        return config, layers

    def _import(self) -> tuple[dict[str, Any], list[Layer]]:
        if not self.has_gguf:
            raise ApiError(400, "unknown type")
        file, digest = next(iter(self._files().items()))
        path = self.store.blob(digest)
        info = _read(path, file)
        config = {
            "model_format": "gguf",
            "model_family": info.architecture,
            "model_families": [info.architecture],
            "model_type": facts.human_count(info.n_params),
            "file_type": facts.file_type(info),
        }
        if requires := self.request.get("requires"):
            config["requires"] = requires
        return config, [Layer(f"{MEDIA}model", digest, path.stat().st_size, source=file)]

    # ------------------------------------------------------------ what is laid over them

    def _with_texts(self, layers: list[Layer]) -> tuple[list[Layer], set[str]]:
        """The layers with the request's own; and the digests that the store had before."""
        existed: set[str] = set()

        def put(kind: str, content: bytes, *, replace: bool = True) -> None:
            nonlocal layers
            digest, known = self.store.add(content)
            existed.update({digest} if known else ())
            if replace:
                layers = [layer for layer in layers if layer.kind != kind]
            layers = [*layers, Layer(MEDIA + kind, digest, len(content))]

        if system := self.request.get("system"):
            put("system", system.encode())
        for text in self.licenses:
            put("license", text.encode(), replace=False)
        if parameters := self.request.get("parameters"):
            merged = self._inherited_parameters(layers) | parameters
            put("params", go_json({key: merged[key] for key in sorted(merged)}))
        if messages := self.request.get("messages"):
            put("messages", go_json([_message(message) for message in messages]))
        return layers, existed

    def _inherited_parameters(self, layers: list[Layer]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for layer in layers:
            if layer.kind == "params":
                merged = json.loads(self.store.blob(layer.digest).read_bytes()) | merged
        return merged


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    role = str(message.get("role") or "").lower()
    return {"role": role, "content": message.get("content") or ""}


def _licenses(value: Any) -> list[str]:
    if not value and not isinstance(value, bool | int | float | dict):
        return []
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        kinds = {dict: "map[string]interface {}", bool: "bool"}
        kind = kinds.get(type(value), "float64")
        raise ApiError(400, f"license must be a string or a list of strings: got {kind}")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ApiError(
                400, f"license must be a string or a list of strings: element {index} is no string"
            )
    return texts


def _is_plain_path(text: str) -> bool:
    path = PurePosixPath(text)
    plain = bool(text) and text == str(path) and text != "."
    return (
        plain and not path.is_absolute() and ".." not in path.parts and not set(text) & {"\\", ":"}
    )


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _read(path: Path, file: str) -> ModelInfo:
    """The header of an uploaded GGUF, its faults told in Ollama's words where they are simple."""
    if not path.exists():
        raise ApiError(500, f"open {path}: no such file or directory")
    magic = _magic(path)
    if len(magic) < 4 or path.stat().st_size < 24:
        raise ApiError(500, "EOF")
    if magic != b"GGUF":
        raise ApiError(500, f"unsupported file type [{' '.join(map(str, magic))}]")
    try:
        return facts.facts(path)
    except SourceError as exc:
        if "adapter" in exc.message:
            refused = f"LoRA adapters are no longer supported: {file} is a LoRA adapter"
            raise ApiError(400, refused) from exc
        raise ApiError(500, exc.message) from exc

"""`ollama:TAG` as a source: the weights of a tag, read where its server keeps them.

Imported with the first that is named (`__init__.pyi`): it asks a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from deployq.errors import ConfigError, SourceError
from deployq.pipeline.fetched import Fetched
from deployq.pipeline.servers import Site, default_site
from deployq.pipeline.session import Session
from deployq.setting_values import nearest
from deployq.tags.records import Shown, find_tag

_PARTS = re.compile(r"^(FROM|ADAPTER) .*sha256[-:]([0-9a-f]{64})\s*$", re.MULTILINE)


def ollama_source(session: Session, text: str) -> Fetched:
    """The blob of a tag's weights on the default server, as it lies in that server's store.

    It is only read. A tag brings no more than its weights: how it is run is said in deployq.toml.

    Raises:
        ConfigError: the server has no such tag.
        SourceError: its weights are not on this machine, or are not all that it is made of.
        ServerError: the server can't be asked.
    """
    name = text.partition(":")[2]
    with default_site(session) as site:
        held = site.server.tags()
        record = find_tag(held, name)
        if record is None:
            raise ConfigError(
                f"{text}: {site.endpoint.url} has no such tag"
                f"{nearest(name, [tag.name for tag in held])}",
                hint="deployq list --all shows what is there",
            )
        shown = site.server.show(record.name)
        _refuse_parts(text, shown)
        path = _blob(text, site, shown)
    return Fetched(path, f"ollama:{record.name}", tuple(_notes(record.name, shown)))


def _refuse_parts(text: str, shown: Shown) -> None:
    if not shown.blob_digest:
        raise SourceError(
            f"{text}: its weights are no file of that server's: it runs elsewhere",
            hint="give the model's own files: a folder, a GGUF, or hf:ORG/NAME",
        )
    kinds = [kind for kind, _ in _PARTS.findall(shown.modelfile)]
    if "ADAPTER" in kinds:
        raise SourceError(
            f"{text}: is a base with a LoRA adapter beside it; what it answers is in neither alone",
            hint="give the adapter's folder, which is merged into its base: --base PATH",
        )


def _blob(text: str, site: Site, shown: Shown) -> Path:
    """The file of a tag's weights.

    Raises:
        SourceError: it can't be read from here.
    """
    folder = site.endpoint.models_dir
    hint = "run deployq on the server's machine, or give the GGUF that the tag was made from"
    if folder is None:
        raise SourceError(
            f"{text}: {site.endpoint.url} is on another machine, and no Ollama server gives out "
            "the weights that it holds",
            hint=hint,
        )
    path = folder / "blobs" / f"sha256-{shown.blob_digest}"
    try:
        with path.open("rb"):
            return path
    except FileNotFoundError as exc:
        hint = f"OLLAMA_MODELS says where that server's models are; else {hint}"
        raise SourceError(
            f"{text}: its weights are not in {folder / 'blobs'}, so that is not the store of "
            f"{site.endpoint.url}",
            hint=hint,
        ) from exc
    except OSError as exc:
        raise SourceError(
            f"{text}: {path} can't be read: {exc.strerror or exc}",
            hint=f"run as a user who may read {folder}",
        ) from exc


def _notes(name: str, shown: Shown) -> Iterator[str]:
    yield f"source: the weights of the tag {name}, where its server keeps them; they stay as is"
    left = [
        word
        for word, there in (
            ("SYSTEM", bool(shown.system)),
            ("MESSAGE", bool(shown.messages)),
            ("parameters", bool(shown.parameters)),
            ("a projector", len(_PARTS.findall(shown.modelfile)) > 1),
        )
        if there
    ]
    if left:
        yield f"not taken from that tag: {', '.join(left)}"

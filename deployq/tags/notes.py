"""Notes on a server: tiny tags whose SYSTEM text speaks to the next deployq, and to people.

Ollama's API keeps nothing but models. So a note is one: a GGUF of half a kilobyte whose one weight
is a zero, and a text. `ollama show NAME --system` prints it.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deployq.digests import sha256_bytes
from deployq.tags.modelfile import Modelfile
from deployq.tags.names import TagName
from deployq.tags.server import Server

_FILE = "deployq-note.gguf"
_GGUF_VERSION = 3
_TYPES: dict[type, tuple[int, str]] = {int: (4, "<I"), float: (6, "<f")}
_STRING = 8
_ALIGNMENT = 32
# What llama-quantize asks of a model: Ollama before 0.34.1 has it copy every GGUF.
_LEAST: dict[str, int | float] = {
    "general.file_type": 0,
    "llama.context_length": 1,
    "llama.embedding_length": 1,
    "llama.block_count": 1,
    "llama.feed_forward_length": 1,
    "llama.attention.head_count": 1,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}


def write_note(server: Server, name: TagName, text: str) -> None:
    """Write a note, in the place of the one that has this name.

    Every blob of a note is its own. A server that deletes a tag drops the blobs that no other tag
    has at that moment, and would take them from a note that is just being created.

    Raises:
        ServerError: the server does not take it.
    """
    mark = sha256_bytes(f"{name} {text}")[:16]
    content = _tiny_gguf(
        {"general.architecture": "llama", "general.name": f"note {mark}", **_LEAST}
    )
    digest = sha256_bytes(content)
    with tempfile.TemporaryDirectory(prefix="deployq-") as folder:
        file = Path(folder) / f"{name.tag} of {name.model}"  # as a refusal names it
        file.write_bytes(content)
        server.upload_blob(file, digest)
    # The version makes the blob of the configuration one of its own; nobody enforces it.
    modelfile = Modelfile(_FILE, system=text, requires=f"0.0.0-n{mark}")
    server.create(str(name), modelfile, {_FILE: digest})


def read_note(server: Server, name: str) -> str:
    """The text of a note.

    Raises:
        ServerRefused: there is none of that name, or it is damaged.
    """
    return server.show(name).system


def _tiny_gguf(values: Mapping[str, str | int | float]) -> bytes:
    """A GGUF file with one tensor, of one zero."""
    fields = b"".join(_string(key) + _value(value) for key, value in values.items())
    tensor = _string("output_norm.weight") + struct.pack("<IQIQ", 1, 1, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", _GGUF_VERSION, 1, len(values)) + fields + tensor
    return head + bytes(-len(head) % _ALIGNMENT + _ALIGNMENT)


def _value(value: str | int | float) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    kind, layout = _TYPES[type(value)]
    return struct.pack("<I", kind) + struct.pack(layout, value)


def _string(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content

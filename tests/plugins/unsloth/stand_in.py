"""A stand-in for the environment that a user trains in: an interpreter with an `unsloth` in it.

It stands for what is not deployq's: the user's packages. Its Unsloth does with files what one of
the real ones does, by the `kind` in the model's config.json, and writes down what it saw.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

VERSIONS = {
    "unsloth": "2026.10.9", "unsloth_zoo": "2026.10.9", "torch": "2.13.0",
    "transformers": "5.17.0", "peft": "0.21.2", "safetensors": "0.8.0",
}  # fmt: skip

TORCH = """
class _Device:
    def __init__(self, there): self.there = there
    def is_available(self): return self.there
cuda = _Device({gpu})
bfloat16, float16, float32 = "bfloat16", "float16", "float32"
"""

UNSLOTH = """
import json, os, shutil, subprocess, sys
from pathlib import Path

def call(*argv):
    try:
        ended = subprocess.run(argv, capture_output=True, text=True)
    except OSError as exc:
        return [127, str(exc)]
    return [ended.returncode, ended.stdout + ended.stderr]

class Model:
    def __init__(self, folder):
        self.config = json.loads((Path(folder) / "config.json").read_text())
        llama_cpp = Path(os.environ["UNSLOTH_LLAMA_CPP_PATH"])
        Path(self.config["saw"]).write_text(json.dumps({
            "cwd": os.getcwd(),
            "stdin": sys.stdin.read(),
            "leads_its_group": os.getpgid(0) == os.getpid(),
            "install": os.environ.get("UNSLOTH_AUTO_INSTALL"),
            "apt": call("sudo", "apt-get", "install", "cmake"),
            "pip": os.environ.get("PIP_NO_INDEX"),
            "whole": [(llama_cpp / name).is_dir() for name in ("src", "ggml", "common")],
            "quantizer": call(str(llama_cpp / "llama-quantize"), "--help")[0],
            "script": (llama_cpp / "convert_hf_to_gguf.py").is_file(),
        }))

    def save_pretrained_merged(self, folder, tokenizer, save_method):
        assert save_method == "merged_16bit"
        return folder  # and nothing in it

    def save_pretrained_gguf(self, folder, tokenizer, quantization_method):
        kind, files = self.config["kind"], []
        if kind == "fails late":
            Path(folder).mkdir(parents=True)
            (Path(folder) / "unsloth.BF16.gguf").write_bytes(b"GGUF")
            raise RuntimeError("invalid ftype")
        place = Path(folder + "_gguf" if kind == "gpu" else folder)
        place.mkdir(parents=True)
        for quant in quantization_method:
            stem = "unsloth" if kind == "old" else place.name
            name = {"odd": "model.gguf", "split": f"m.{quant}-00001-of-00002.gguf"}.get(
                kind, f"{stem}.{quant.upper()}.gguf")
            made = place / name
            if kind == "cut":
                made.write_bytes(b"")
            elif kind != "forgets" or quant == quantization_method[0]:
                shutil.copyfile(self.config["files"]["f16" if kind == "same" else quant], made)
            files.append(str(made))
        if kind == "gpu":
            return {"save_directory": folder, "gguf_files": files[::-1], "modelfile_location": None}
        return None if kind in ("old", "odd") else files

class FastLanguageModel:
    @staticmethod
    def from_pretrained(folder, max_seq_length, dtype, load_in_4bit, trust_remote_code):
        if json.loads((Path(folder) / "config.json").read_text())["kind"] == "no GPU":
            raise NotImplementedError("Unsloth cannot find any torch accelerator")
        return Model(folder), object()
"""


def environment(
    folder: Path, versions: Mapping[str, str | None] | None = None, *, gpu: bool = False
) -> Path:
    """An environment with these versions of packages; its interpreter."""
    packages = folder / "lib" / "python3.11" / "site-packages"
    for name, version in {**VERSIONS, **(versions or {})}.items():
        if version is None:
            continue
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text("")
        info = packages / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (packages / "torch" / "__init__.py").write_text(TORCH.format(gpu=gpu))
    (packages / "safetensors" / "__init__.py").write_text("safe_open = None\n")
    if (packages / "unsloth").is_dir():
        (packages / "unsloth" / "__init__.py").write_text(UNSLOTH)
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return python


def trained(folder: Path, kind: str, files: Mapping[str, Path]) -> Path:
    """What a training left, for the stand-in: `kind` says what its Unsloth will do with it."""
    folder.mkdir(parents=True)
    told = {"kind": kind, "files": {k: str(v) for k, v in files.items()}}
    (folder / "config.json").write_text(json.dumps({**told, "saw": str(folder / "saw.json")}))
    return folder

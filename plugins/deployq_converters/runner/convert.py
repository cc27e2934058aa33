"""Runs llama.cpp's own scripts on a folder."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

from jobside import Refused

from . import scripts

DTYPES = {"F32": "f32", "F16": "f16", "BF16": "bf16"}


def convert(job: dict[str, Any]) -> None:
    """Write the GGUF of a Hugging Face folder, or of its projector alone."""
    scripts.trust("code" in job["allow"])
    module = scripts.load(Path(job["script"]))
    if job.get("pre_tokenizer"):
        scripts.name_pre_tokenizer(module, job["pre_tokenizer"])
    arguments = [job["source"], "--outfile", job["output"], "--outtype", DTYPES[job["dtype"]]]
    if job.get("name"):
        arguments += ["--model-name", job["name"]]
    if job["mode"] == "projector":
        arguments.append("--mmproj")
    with scripts.told_progress():
        scripts.run_main(module, arguments)
    _require_written(job)


def convert_adapter(job: dict[str, Any]) -> None:
    """Write the GGUF of a LoRA adapter; only the config of its base is read."""
    scripts.trust("code" in job["allow"])
    script = Path(job["script"]).with_name("convert_lora_to_gguf.py")
    if not script.is_file():
        raise Refused(f"{script}: is not there", hint="deployq tools install convert")
    if (script.parent / "gguf-py").is_dir():
        sys.path.insert(0, str(script.parent / "gguf-py"))
    sys.path.insert(0, str(script.parent))
    outtype = DTYPES[job["dtype"]]
    sys.argv = [
        str(script), "--base", job["base"], "--outfile", job["output"], "--outtype", outtype,
        job["source"],
    ]  # fmt: skip
    with scripts.told_progress():
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as exc:
            if exc.code:
                raise Refused(f"{script.name} gave up ({exc.code})") from exc
    _require_written(job)


def _require_written(job: dict[str, Any]) -> None:
    if not Path(job["output"]).is_file():
        raise Refused(f"the converter wrote no {job['output']}")

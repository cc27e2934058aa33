"""What llama.cpp says while it loads a file: the file's fault, or the machine's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deployq_llamacpp.loading import check_loading, refusal

from deployq import Failed, NotRun
from deployq.tools import Tool, find_tool
from tests.broken_models import copy_gguf
from tests.tiny import write_tiny_llama

LOAD = "0.00.045.735 E llama_model_load: error loading model: "


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (
            LOAD + "check_tensor_dims: tensor 'blk.2.ffn_up.weight' not found",
            "tensor 'blk.2.ffn_up.weight' not found",
        ),
        (
            LOAD + "error loading model vocabulary: unknown pre-tokenizer type: 'my-own-pre'",
            "unknown pre-tokenizer type: 'my-own-pre'",
        ),
        (
            LOAD + "error loading model vocabulary: cannot find tokenizer merges in model file",
            "cannot find tokenizer merges in model file",
        ),
        (LOAD + "unknown model architecture: 'nebula'", "unknown model architecture: 'nebula'"),
        (
            "gguf_init_from_reader: tensor 'a' has 5 dimensions\n"
            + LOAD
            + "llama_model_loader: failed to load model from x.gguf",
            "tensor 'a' has 5 dimensions",
        ),
    ],
)
def test_the_files_fault(log: str, why: str) -> None:
    assert refusal(f"warning: no usable GPU found\n{log}\nE load: failed to load model") == why


@pytest.mark.parametrize(
    "log",
    [
        LOAD + "unable to allocate CUDA0 buffer",
        LOAD + "mmap failed: Cannot allocate memory",
        LOAD + "read error: Input/output error",
        "error: invalid argument: --no-webui",
        "srv: couldn't bind HTTP server socket",
        "",
    ],
)
def test_no_fault_of_the_file(log: str) -> None:
    assert refusal(log) == ""


# ---------------------------------------------------------------- real tools


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    whole = write_tiny_llama(tmp_path / "whole.gguf")
    return copy_gguf(whole, tmp_path / "broken.gguf", without=["output_norm.weight"])


def only(*names: str) -> Callable[[str], Tool | None]:
    return lambda name: find_tool(name, os.environ) if name in names else None


@pytest.mark.tools
@pytest.mark.parametrize(
    "names", [("llama-tokenize", "llama-fit-params"), ("llama-server",), ("llama-fit-params",)]
)
def test_any_tool_that_loads_tensors_decides(
    tools_bin: Path, tmp_path: Path, broken: Path, names: tuple[str, ...]
) -> None:
    assert tools_bin.is_dir()
    (found,) = check_loading(broken, only(*names), os.environ)
    assert (type(found), found.check) == (Failed, "engine")
    assert f"{broken}: llama.cpp could not load it" in found.message
    assert "output_norm.weight' not found" in found.message
    assert check_loading(tmp_path / "whole.gguf", only(*names), os.environ) == ()


def test_without_tools_nothing_is_known(broken: Path) -> None:
    (found,) = check_loading(broken, only(), os.environ)
    assert (type(found), found.hint) == (NotRun, "deployq tools install")


def test_a_tool_that_breaks_says_nothing_of_the_file(tmp_path: Path, broken: Path) -> None:
    """As a llama.cpp does that was built for another processor."""
    script = tmp_path / "llama-fit-params"
    script.write_text('#!/bin/sh\n[ "$1" = --help ] && echo --fit-print && exit 0\nkill -ILL $$\n')
    script.chmod(0o755)
    tool = Tool("llama-fit-params", script, "a test", tmp_path, tmp_path)
    (found,) = check_loading(broken, lambda name: tool if name == tool.name else None, os.environ)
    assert type(found) is NotRun
    assert "crashed (illegal instruction)" in found.message


@pytest.mark.tools
def test_a_good_file_is_loaded_once(tools_bin: Path, tmp_path: Path) -> None:
    from deployq_llamacpp import LlamaCppJudge

    whole = write_tiny_llama(tmp_path / "whole.gguf")
    env = {"DEPLOYQ_LLAMA_CPP": str(tools_bin), "DEPLOYQ_CACHE_DIR": str(tmp_path / "cache")}
    assert LlamaCppJudge(env).check(whole) == ()
    assert len(list((tmp_path / "cache" / "judge").glob("*.json"))) == 1
    other = copy_gguf(whole, tmp_path / "other.gguf", more={"x": np.zeros(4, np.float32)})
    assert [type(one) for one in LlamaCppJudge(env).check(other)] == [Failed]

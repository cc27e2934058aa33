"""The base of an adapter is found beside it by its name, and not sought where it can't be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployq.source.adapter import read_adapter
from deployq.source.bases import find_base, is_local_name
from tests.source.training_files import aged, write_adapter, write_model


@pytest.mark.parametrize(
    ("named", "place"),
    [
        ("org/Llama-1B", "work/Llama-1B"),
        ("org/Llama-1B", "work/org/Llama-1B"),
        ("org/Llama-1B", "work/org--Llama-1B"),
        ("org/Llama-1B", "work/lora/Llama-1B"),
        ("/home/trainer/models/Llama-1B", "work/Llama-1B"),
        ("C:\\Users\\me\\models\\Llama-1B", "work/Llama-1B"),
        ("outputs/stage1", "work/stage1"),
        ("gpt2", "work/gpt2"),
        ("org/work", "work"),
        ("../Llama-1B", "work/Llama-1B"),
        ("unsloth/Llama-1B-bnb-4bit", "work/Llama-1B"),
    ],
)
def test_a_base_beside_the_adapter(tmp_path: Path, named: str, place: str) -> None:
    base = write_model(tmp_path / place)
    adapter = write_adapter(tmp_path / "work" / "lora", base=named)
    assert find_base(read_adapter(adapter)) == base


@pytest.mark.parametrize("named", ["org/Other-1B", "", "..", "../../elsewhere/Llama-1B", "a\0b"])
def test_what_is_no_base_of_that_name(tmp_path: Path, named: str) -> None:
    write_model(tmp_path / "work" / "Llama-1B")
    write_model(tmp_path / "elsewhere" / "Llama-1B")
    adapter = write_adapter(tmp_path / "work" / "lora", base=named)
    found = find_base(read_adapter(adapter))
    assert found == (tmp_path / "work" / "Llama-1B" if named.startswith("../..") else None)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    write_model(tmp_path / "elsewhere")
    adapter = write_adapter(tmp_path / "work" / "lora", base="org/Llama-1B")
    (tmp_path / "work" / "Llama-1B").symlink_to(tmp_path / "elsewhere")
    assert find_base(read_adapter(adapter)) is None


def test_a_quantized_copy_is_no_base(tmp_path: Path) -> None:
    packed = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    write_model(tmp_path / "Llama-1B", quantization_config=packed)
    adapter = write_adapter(tmp_path / "lora", base="org/Llama-1B")
    assert find_base(read_adapter(adapter)) is None


def test_the_model_in_the_adapters_own_folder_is_its_base_if_it_is_older(tmp_path: Path) -> None:
    folder = write_adapter(write_model(tmp_path / "out"), base="org/Llama-1B")
    adapter = read_adapter(folder)
    assert find_base(adapter) is None  # written together: nothing tells
    aged(folder / "model.safetensors", 3600)
    assert find_base(adapter) == folder
    os.utime(folder / "adapter_model.safetensors", (1, 1))
    assert find_base(adapter) is None  # the adapter merged into it, by its date


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("meta-llama/Llama-3.2-1B", False), ("Qwen/Qwen2.5-0.5B", False),
        ("/data/Llama", True), ("./base", True), ("~/base", True), ("outputs/stage1", True),
        ("models/Llama", True), ("gpt2", True), ("a/b/c", True), ("C:/models/x", True),
        ("models\\x", True), ("Outputs/x", True), ("org/", True),
    ],
)  # fmt: skip
def test_names_that_look_like_paths(name: str, local: bool) -> None:
    assert is_local_name(name) == local

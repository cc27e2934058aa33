"""Several saves of one model in a folder: the one that counts is taken, the others are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployq.source.hf_files import link_model, model_files
from deployq.source.preflight import check_folder
from deployq.source.saves import INDEX, choose_save, left_out_notes
from deployq.source.stored import read_weights
from tests.source.hf_files import write_safetensors, write_shards
from tests.source.training_files import aged, write_adapter, write_model

OLD = {"a.weight": (2, 4), "b.weight": (4, 4)}
NEW = {"a.weight": (2, 8), "b.weight": (8, 8)}


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in read_weights(folder).tensors}


def shards_and_whole(folder: Path, older: str) -> Path:
    """Two saves in one folder, an hour between them."""
    shards, whole = (OLD, NEW) if older == "shards" else (NEW, OLD)
    write_shards(folder, shards)
    if older == "shards":
        aged(folder, 3600)
    write_safetensors(folder / "model.safetensors", whole)
    if older == "whole":
        aged(folder / "model.safetensors", 3600)
    return folder


@pytest.mark.parametrize("older", ["shards", "whole"])
def test_of_two_saves_the_newer_is_taken(tmp_path: Path, older: str) -> None:
    folder = shards_and_whole(tmp_path, older)
    assert shapes(folder) == NEW
    (note,) = left_out_notes(choose_save(folder))
    old = "model-*-of-00002.safetensors" if older == "shards" else "model.safetensors"
    assert note.startswith(f"{old} of 20")


def test_of_two_saves_written_together_the_whole_one_is_taken_as_transformers_does(
    tmp_path: Path,
) -> None:
    write_shards(tmp_path, OLD)
    write_safetensors(tmp_path / "model.safetensors", NEW)
    assert shapes(tmp_path) == NEW


def test_a_stale_index_beside_a_whole_file(tmp_path: Path) -> None:
    write_shards(tmp_path, OLD)
    for shard in tmp_path.glob("model-*.safetensors"):
        shard.unlink()  # save_pretrained removes the shards of an earlier save, and no index
    write_safetensors(tmp_path / "model.safetensors", NEW)
    assert shapes(tmp_path) == NEW
    assert list(left_out_notes(choose_save(tmp_path))) == [f"{INDEX}, whose shards are not there"]


def test_a_save_that_was_cut_off_is_not_taken_and_said_to_be_newer(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    aged(folder, 3600)
    write_shards(folder, NEW)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert read_weights(folder).files == (folder / "model.safetensors",)
    (found,) = [f.message for f in check_folder(folder) if f.check == "weights"]
    assert "model.safetensors of" in found
    assert "and lacks model-00002-of-00002.safetensors: move model.safetensors away" in found


def test_other_formats_of_the_same_weights_are_no_warning(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    write_safetensors(folder / "consolidated.safetensors", {"tok_embeddings.weight": (4, 4)})
    assert read_weights(folder).files == (folder / "model.safetensors",)
    assert [f for f in check_folder(folder) if f.check == "weights"] == []
    assert len(list(left_out_notes(choose_save(folder)))) == 2


def test_a_consolidated_copy_beside_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, NEW)
    write_safetensors(tmp_path / "consolidated.safetensors", {"tok_embeddings.weight": (4, 4)})
    assert shapes(tmp_path) == NEW


def test_a_newer_pickle_is_said_to_be_left_out(tmp_path: Path) -> None:
    folder = aged(write_model(tmp_path / "m"), 3600)
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    (found,) = [f.message for f in check_folder(folder) if f.check == "weights"]
    assert "is taken; pytorch_model.bin is newer (" in found


def test_tools_see_the_save_that_counts_and_no_adapter(tmp_path: Path) -> None:
    """llama.cpp's converter reads every model*.safetensors, transformers loads an adapter."""
    folder = write_adapter(write_model(tmp_path / "m"))
    write_shards(folder, OLD)
    aged(folder / INDEX, 3600)
    for shard in folder.glob("model-*.safetensors"):
        aged(shard, 3600)
    view = link_model(folder, tmp_path / "scratch")
    assert view.name == "m"
    assert {path.name for path in view.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert {file.name for file in model_files(folder)} == {path.name for path in view.iterdir()}
    assert read_weights(view).tensors == read_weights(folder).tensors


def test_a_folder_with_one_save_is_its_own_view(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    assert link_model(folder, tmp_path / "scratch") == folder
    assert not (tmp_path / "scratch").exists()


def test_an_index_that_can_not_be_read_does_not_hide_a_whole_file(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", NEW)
    for content in ("{", "[]", '{"weight_map": 3}', json.dumps({"weight_map": {"a": "../x"}})):
        (tmp_path / INDEX).write_text(content)
        assert shapes(tmp_path) == NEW

"""Projectors (mmproj) beside a GGUF: which one is taken, and why none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployq.errors import SourceError
from deployq.source.finding import find_source
from deployq.source.inspect import inspect
from deployq.source.projector import check_projector, find_projector, model_ggufs
from deployq.types import Failed, Remark
from tests.source.gguf_files import Value, write_llama, write_sparse
from tests.source.training_files import aged

WIDTH = 256  # of the model that write_llama makes


def write_projector(path: Path, width: int = WIDTH, dtype: str = "F16") -> Path:
    tensors = {"mm.0.weight": (256, width)}
    keys: dict[str, Value] = {"general.type": "mmproj", "vision.projection_dim": width}
    return write_sparse(path, "clip", keys, tensors, {"mm.0.weight": dtype})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "model-f16.gguf")


def found_by(model: Path) -> tuple[str, list[tuple[type, str]]]:
    """The projector that is taken, and what the check says."""
    metadata = inspect(model).metadata
    taken = find_projector(model, metadata).taken
    said = [(type(finding), finding.message) for finding in check_projector(model, metadata)]
    return taken.path.name if taken else "", said


def test_of_two_that_fit_one_is_taken_and_both_are_named(model: Path) -> None:
    write_projector(model.parent / "mmproj-BF16.gguf", dtype="BF16")
    write_projector(model.parent / "mmproj-F16.gguf")
    taken, [(kind, message)] = found_by(model)
    assert (taken, kind) == ("mmproj-F16.gguf", Remark)
    assert "mmproj-F16.gguf is taken (F16, 20" in message
    assert "not mmproj-BF16.gguf (BF16, 20" in message
    assert inspect(model).projector_bytes == 256 * WIDTH * 2


def test_a_newer_one_goes_before_a_better_type(model: Path) -> None:
    aged(write_projector(model.parent / "mmproj-F16.gguf"), 3600)
    write_projector(model.parent / "mmproj-Q8_0.gguf", dtype="Q8_0")
    assert found_by(model)[0] == "mmproj-Q8_0.gguf"


def test_one_of_another_width_fails(model: Path) -> None:
    write_projector(model.parent / "mmproj-F16.gguf", WIDTH + 32)
    taken, [(kind, message)] = found_by(model)
    assert (taken, kind) == ("", Failed)
    assert f"makes vectors of {WIDTH + 32} numbers, the model's have {WIDTH}" in message
    assert "would take no images" in message
    (finding,) = check_projector(model, inspect(model).metadata)
    assert "projector = false under [models.NAME]" in finding.hint


def test_one_of_another_width_beside_one_that_fits(model: Path) -> None:
    write_projector(model.parent / "mmproj-other.gguf", WIDTH + 32)
    write_projector(model.parent / "mmproj-own.gguf")
    taken, [(kind, message)] = found_by(model)
    assert (taken, kind) == ("mmproj-own.gguf", Remark)
    assert "mmproj-other.gguf: makes vectors" in message


def test_a_damaged_one_fails_the_check_and_not_the_reading(model: Path) -> None:
    (model.parent / "mmproj-F16.gguf").write_bytes(b"GGUF\x03\0\0\0\xff")
    assert inspect(model).projector_bytes == 0
    taken, [(kind, message)] = found_by(model)
    assert (taken, kind) == ("", Failed)
    assert "mmproj-F16.gguf" in message


@pytest.mark.parametrize("name", ["MMPROJ-F16.GGUF", "eyes.gguf", "Model-mmproj.GGUF"])
def test_projectors_are_told_by_name_in_any_case_or_by_their_header(model: Path, name: str) -> None:
    write_projector(model.parent / name)
    assert model_ggufs(model.parent) == [model]
    assert found_by(model) == (name, [])
    assert find_source(model.parent).path == model
    assert inspect(model.parent).path == model


def test_a_model_in_capitals_is_found(tmp_path: Path) -> None:
    file = write_llama(tmp_path / "MODEL-F16.GGUF")
    assert find_source(tmp_path).path == file
    assert inspect(tmp_path).path == file


def test_nothing_but_a_projector(tmp_path: Path) -> None:
    write_projector(tmp_path / "mmproj-F16.gguf")
    with pytest.raises(SourceError, match="holds no model"):
        find_source(tmp_path)

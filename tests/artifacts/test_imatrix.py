"""Importance matrices as files: what they hold, and whether they are of a model."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest

from deployq import inspect, proc
from deployq.artifacts.imatrix import missing_tensors, read_imatrix, require_fits
from deployq.errors import ArtifactError
from tests.tiny import write_tiny_llama


def write_matrix(
    path: Path,
    rows: Mapping[str, int],
    *,
    counts: Mapping[str, Sequence[int]] | None = None,
    kind: str = "imatrix",
) -> Path:
    """A file as llama-imatrix writes it: a row of sums and a count per matrix."""
    writer = gguf.GGUFWriter(path, "")
    writer.add_type(kind)
    writer.add_array("imatrix.datasets", ["conversations.txt"])
    writer.add_uint32("imatrix.chunk_count", 7)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, row in rows.items():
        seen = (counts or {}).get(name, [3584])
        writer.add_tensor(f"{name}.in_sum2", np.ones((len(seen), row), np.float32))
        writer.add_tensor(f"{name}.counts", np.array(seen, np.float32).reshape(-1, 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def every_row(model: Path) -> dict[str, int]:
    return {
        t.name: t.shape[0]
        for t in inspect(model).tensors
        if len(t.shape) > 1 and t.name.startswith("blk")
    }


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_llama(tmp_path / "tiny.gguf")


def test_what_it_holds(tmp_path: Path, model: Path) -> None:
    facts = read_imatrix(write_matrix(tmp_path / "i.gguf", every_row(model)))
    assert (facts.chunks, facts.chunk_tokens, facts.datasets) == (7, 512, ("conversations.txt",))
    assert facts.rows["blk.1.ffn_down.weight"] == 512
    assert facts.unseen == {}
    require_fits(facts, inspect(model), "it")
    assert missing_tensors(facts, inspect(model)) == ()


def test_tensors_that_it_has_nothing_for(tmp_path: Path, model: Path) -> None:
    rows = every_row(model)
    del rows["blk.1.attn_v.weight"]
    facts = read_imatrix(write_matrix(tmp_path / "i.gguf", rows))
    require_fits(facts, inspect(model), "it")
    assert missing_tensors(facts, inspect(model)) == ("blk.1.attn_v.weight",)


def test_experts_that_it_never_saw(tmp_path: Path) -> None:
    model = write_tiny_llama(tmp_path / "moe.gguf", n_expert=4)
    rows, name = every_row(model), "blk.0.ffn_up_exps.weight"
    rows = {tensor: row for tensor, row in rows.items() if "gate_inp" not in tensor}
    seen = {tensor: [5, 5, 5, 5] for tensor in rows if "exps" in tensor} | {name: [9, 0, 3, 0]}
    facts = read_imatrix(write_matrix(tmp_path / "i.gguf", rows, counts=seen))
    require_fits(facts, inspect(model), "it")
    assert facts.unseen == {name: (1, 3)}
    assert missing_tensors(facts, inspect(model)) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_ff": 768}, "for blk.0.ffn_down.weight it has 1 x 512 values"),
        ({"n_embd": 512, "n_head": 8, "n_head_kv": 4}, "of another model"),
    ],
)
def test_one_of_another_model(
    tmp_path: Path, model: Path, change: dict[str, int], said: str
) -> None:
    facts = read_imatrix(write_matrix(tmp_path / "i.gguf", every_row(model)))
    other = write_tiny_llama(tmp_path / "other.gguf", **change)  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match=said):
        require_fits(facts, inspect(other), "it")


def test_one_with_no_tensor_of_the_model(tmp_path: Path, model: Path) -> None:
    facts = read_imatrix(write_matrix(tmp_path / "i.gguf", {"blk.0.ssm_in.weight": 256}))
    with pytest.raises(ArtifactError, match=r"tiny.gguf has no blk.0.ssm_in.weight"):
        require_fits(facts, inspect(model), "it")


def write_dat(path: Path, values: Mapping[str, int], *, text: str = "wiki.txt") -> Path:
    """A file as llama-imatrix wrote it before GGUF."""
    content = struct.pack("<i", len(values))
    for name, count in values.items():
        content += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 4, count)
        content += bytes(4 * count)
    path.write_bytes(content + struct.pack("<ii", 4, len(text)) + text.encode())
    return path


def test_one_of_the_format_before_gguf(tmp_path: Path) -> None:
    model = inspect(write_tiny_llama(tmp_path / "moe.gguf", n_expert=4))
    shapes = {t.name: t.shape for t in model.tensors if len(t.shape) > 1 and "blk" in t.name}
    rows = {n: s[0] * (s[2] if len(s) > 2 else 1) for n, s in shapes.items() if "_inp" not in n}
    facts = read_imatrix(write_dat(tmp_path / "old.dat", rows))
    assert (facts.rows, facts.chunks, facts.datasets) == (rows, 4, ("wiki.txt",))
    require_fits(facts, model, "it")
    assert missing_tensors(facts, model) == ()
    other = write_dat(tmp_path / "other.dat", {name: n + 256 for name, n in rows.items()})
    with pytest.raises(ArtifactError, match="is of another model"):
        require_fits(read_imatrix(other), model, "it")


@pytest.mark.tools
def test_one_that_llama_imatrix_wrote_before_gguf(
    tmp_path: Path, sample_gguf: Path, tools_bin: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Create a task: Review quarterly report by Friday\n" * 40)
    found = {}
    for kind in ("dat", "gguf"):
        output = tmp_path / f"i.{kind}"
        files = ["-m", str(sample_gguf), "-f", text.name, "-o", str(output)]
        asked = ["--output-format", kind, "-c", "128", "--chunks", "2"]
        proc.run([tools_bin / "llama-imatrix", *files, *asked], cwd=tmp_path)
        found[kind] = read_imatrix(output)
        require_fits(found[kind], inspect(sample_gguf), output.name)
    assert found["dat"].rows == found["gguf"].rows
    assert found["dat"].chunks == found["gguf"].chunks == 2
    assert found["dat"].datasets == found["gguf"].datasets == ("text.txt",)


def test_files_that_are_none(tmp_path: Path, model: Path) -> None:
    (tmp_path / "old.dat").write_bytes(b"\x1c\0\0\0\x17\0\0\0blk.0.attn_q.weight" + bytes(64))
    (tmp_path / "cut.gguf").write_bytes(
        write_matrix(tmp_path / "i.gguf", every_row(model)).read_bytes()[:100]
    )
    write_matrix(tmp_path / "lora.gguf", {"a.weight": 32}, kind="adapter")
    write_matrix(tmp_path / "empty.gguf", {})
    (tmp_path / "text.dat").write_text("an importance matrix, they said\n" * 9)
    for name, said in (
        ("old.dat", "no importance matrix, of the new format"),
        ("text.dat", "no importance matrix, of the new format"),
        ("cut.gguf", "no whole importance matrix"),
        ("lora.gguf", "a GGUF of 'adapter'"),
        ("empty.gguf", "is empty"),
        ("gone.gguf", "cannot read"),
    ):
        with pytest.raises(ArtifactError, match=said):
            read_imatrix(tmp_path / name)
    with pytest.raises(ArtifactError, match="no importance matrix"):
        read_imatrix(model)

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
from deployq_llamacpp.header import START_BYTES, read_metadata
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tiny import write_tiny_llama


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def test_section_ends_where_the_tensor_list_starts(tiny: Path) -> None:
    metadata = read_metadata(tiny)
    first = gguf.GGUFReader(tiny).tensors[0].field.offset
    assert START_BYTES + metadata.section_bytes == first
    assert metadata.values == {"general.file_type": 1}
    assert metadata.entries == {"general.file_type": 8 + len("general.file_type") + 4 + 4}


def test_every_type_of_value_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "all.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
        getattr(writer, f"add_{kind}")(f"x.{kind}", 1)
    writer.add_float32("x.float32", 1.0)
    writer.add_float64("x.float64", 1.0)
    writer.add_bool("x.bool", True)
    writer.add_string("x.string", "é" * 100)
    writer.add_array("x.texts", ["a", "", "ü"])
    writer.add_array("x.numbers", [1, 2, 3])
    writer.add_array("x.flags", [True, False])
    writer.add_uint32("general.alignment", 64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    metadata = read_metadata(path)
    assert START_BYTES + metadata.section_bytes == path.stat().st_size
    assert metadata.values == {"general.alignment": 64}


def test_digest_is_of_the_header_alone(tiny: Path, tmp_path: Path) -> None:
    content = bytearray(tiny.read_bytes())
    content[-1] ^= 1
    other = tmp_path / "other.gguf"
    other.write_bytes(content)
    assert read_metadata(other).digest == read_metadata(tiny).digest
    content[content.index(b"blk.0.attn_q")] ^= 1
    other.write_bytes(content)
    assert read_metadata(other).digest != read_metadata(tiny).digest


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_cut_or_hostile_header_is_a_value_error(
    data: st.DataObject, tiny: Path, tmp_path: Path
) -> None:
    content = bytearray(tiny.read_bytes()[: read_metadata(tiny).section_bytes])
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.sampled_from([0, 1, 9, 0x7F, 0xFF]))
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    with pytest.raises(ValueError):  # the tensor list is missing in any case
        read_metadata(path)


def test_an_empty_file_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(ValueError):
        read_metadata(tmp_path / "empty.gguf")

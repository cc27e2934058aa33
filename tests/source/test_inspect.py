"""From a path to a `ModelInfo`: single files, split ones, folders, and what is no model."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from deployq import proc
from deployq.errors import ConfigError, SourceError
from deployq.source.gguf import read_header
from deployq.source.inspect import inspect, require_full_precision
from tests.source.gguf_files import (
    CHATML,
    Value,
    llama_keys,
    llama_tensors,
    write_llama,
    write_sparse,
)
from tests.tiny import write_tiny_llama


def split_keys(number: int, count: int, tensors: int, whole: bool) -> dict[str, Value]:
    keys = llama_keys() if whole else {}
    return {**keys, "split.no": number, "split.count": count, "split.tensors.count": tensors}


@pytest.fixture
def split(tmp_path: Path) -> list[Path]:
    """A model in three parts, as llama-gguf-split writes them."""
    tensors = list(llama_tensors().items())
    parts = []
    for number in range(3):
        path = tmp_path / f"big-{number + 1:05}-of-00003.gguf"
        some = dict(tensors[number::3])
        keys = split_keys(number, 3, len(tensors), whole=number == 0)
        parts.append(write_sparse(path, "llama", keys, some))
    return parts


def test_a_model_s_figures(tmp_path: Path) -> None:
    file = write_llama(tmp_path / "tiny.gguf")
    info = inspect(file)
    assert (info.architecture, info.name, info.dtype, info.quantized) == (
        "llama",
        "Tiny",
        "F16",
        False,
    )
    assert info.n_params == sum(t.n_elements for t in info.tensors) > 0
    assert info.n_ctx_train == 512
    assert info.files == (file,)
    assert info.file_bytes == file.stat().st_size
    assert info.array_lengths["tokenizer.ggml.tokens"] == 8
    assert info.chat_template == CHATML
    assert (info.bos_token, info.eos_token) == ("<s>", "</s>")


def test_stops_are_the_model_s_own(tmp_path: Path) -> None:
    """EOS by id, and the mark that its chat template ends a turn with, if it is a control token."""
    assert inspect(write_llama(tmp_path / "a.gguf")).stop_tokens == ("</s>", "<|im_end|>")
    plain = write_llama(tmp_path / "b.gguf", tokenizer__ggml__token_type=[1] * 8)
    assert inspect(plain).stop_tokens == ("</s>",)
    other = write_llama(tmp_path / "c.gguf", tokenizer__chat_template="{{ messages }}<|eot_id|>")
    assert inspect(other).stop_tokens == ("</s>",)
    eot = write_llama(tmp_path / "d.gguf", tokenizer__ggml__eot_token_id=4)
    assert inspect(eot).stop_tokens == ("</s>", "<|im_end|>")


HARMONY = "{{ m }}<|start|><|end|><|return|><|call|>"


@pytest.mark.parametrize(
    ("tokens", "template", "stops"),
    [
        (("<|end|>", "<|return|>", "<|call|>"), HARMONY, ("</s>", "<|return|>", "<|call|>")),
        (("<|end|>", "<|return|>", "other"), HARMONY, ("</s>", "<|end|>", "<|return|>")),
        (("<|end|>", "<|calls|>", "<|flush|>"), "<|end|><|flush|>", ("</s>", "<|flush|>")),
        (("<|end|>", "x", "y"), "{{ m }}<|end|>", ("</s>", "<|end|>")),
        (("<turn|>", "<|tool_response>", "y"), "</s><turn|>", ("<turn|>",)),
    ],
)
def test_a_mark_that_ends_a_message_is_no_stop(
    tmp_path: Path, tokens: tuple[str, ...], template: str, stops: tuple[str, ...]
) -> None:
    """As in llama.cpp: gpt-oss, Solar Open, Phi 3, Gemma 4."""
    made = write_llama(
        tmp_path / "a.gguf",
        tokenizer__ggml__tokens=["<unk>", "<s>", "</s>", "a", "b", *tokens],
        tokenizer__ggml__token_type=[2, 3, 3, 1, 1, 3, 3, 3],
        tokenizer__chat_template=template,
    )
    assert inspect(made).stop_tokens == stops


def test_an_id_outside_the_vocabulary_gives_no_token(tmp_path: Path) -> None:
    info = inspect(write_llama(tmp_path / "a.gguf", tokenizer__ggml__eos_token_id=99))
    assert info.eos_token is None


def test_per_layer_figures_are_kept(tmp_path: Path) -> None:
    info = inspect(write_llama(tmp_path / "a.gguf", attention__head_count_kv=[2, 1]))
    assert info.arrays["llama.attention.head_count_kv"] == (2, 1)


def test_any_part_of_a_split_model_gives_all_of_it(split: list[Path]) -> None:
    infos = [inspect(part) for part in split]
    assert infos[0] == infos[1] == infos[2]
    assert infos[0].files == tuple(split)
    assert {t.name: t.shape for t in infos[0].tensors} == llama_tensors()
    assert infos[0].file_bytes == sum(part.stat().st_size for part in split)


def test_a_split_model_s_header_is_that_of_the_joined_file(
    split: list[Path], tmp_path: Path
) -> None:
    whole = write_llama(tmp_path / "whole.gguf")
    assert inspect(split[0]).header_bytes == inspect(whole).header_bytes


def test_a_missing_part_is_named(split: list[Path]) -> None:
    split[1].unlink()
    with pytest.raises(SourceError, match=split[1].name):
        inspect(split[2])


def test_parts_that_disagree_with_their_names_are_refused(
    split: list[Path], tmp_path: Path
) -> None:
    lone = tmp_path / "lone.gguf"
    split[0].rename(lone)
    with pytest.raises(SourceError, match="one of 3 parts, found with 1"):
        inspect(lone)
    split[1].rename(split[0])
    split[1].write_bytes(split[0].read_bytes())
    with pytest.raises(SourceError, match="its name says"):
        inspect(split[2])


def test_a_tensor_in_two_parts_is_refused(tmp_path: Path) -> None:
    for number in range(2):
        path = tmp_path / f"m-{number + 1:05}-of-00002.gguf"
        write_sparse(
            path, "llama", split_keys(number, 2, 1, whole=number == 0), {"t.weight": (32, 2)}
        )
    with pytest.raises(SourceError, match=r"'t\.weight' is in more than one part"):
        inspect(path)


def test_a_lost_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-00001.gguf"
    write_sparse(path, "llama", split_keys(0, 1, 9, whole=True), {"t.weight": (32, 2)})
    with pytest.raises(SourceError, match="not the 9 announced"):
        inspect(path)


def test_a_part_beyond_its_own_count(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "m-00003-of-00002.gguf")
    with pytest.raises(SourceError, match="00003 of 00002"):
        inspect(path)


def test_a_folder_with_one_model(split: list[Path], tmp_path: Path) -> None:
    write_llama(tmp_path / "mmproj-big.gguf")
    assert inspect(tmp_path).files == tuple(split)


def test_a_folder_with_two_models_names_both(tmp_path: Path) -> None:
    write_llama(tmp_path / "a.gguf")
    write_llama(tmp_path / "b.gguf")
    with pytest.raises(SourceError, match=r"2 GGUF models: a\.gguf, b\.gguf"):
        inspect(tmp_path)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no GGUF file"):
        inspect(tmp_path)


@pytest.mark.parametrize(
    ("file", "cause", "way"),
    [
        ("config.json", "has no weights", "save_pretrained"),
        ("model.safetensors", "has no config.json", "save_pretrained"),
        ("adapter_config.json", "LoRA adapter", "--base"),
    ],
)
def test_what_training_leaves_is_refused_with_the_way_out(
    tmp_path: Path, file: str, cause: str, way: str
) -> None:
    (tmp_path / file).write_text("{}")
    with pytest.raises(SourceError, match=cause) as caught:
        inspect(tmp_path)
    assert way in caught.value.hint


def test_nothing_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        inspect(tmp_path / "absent.gguf")


def test_no_language_model(tmp_path: Path) -> None:
    empty = write_sparse(tmp_path / "vocab.gguf", "llama", llama_keys(), {})
    projector = write_sparse(tmp_path / "p.gguf", "clip", {}, {"v.weight": (32, 2)})
    adapter = write_llama(tmp_path / "lora.gguf", general__type="adapter")
    for file, cause in ((empty, "vocabulary only"), (projector, "mmproj"), (adapter, "'adapter'")):
        with pytest.raises(SourceError, match=cause):
            inspect(file)


def test_a_quantized_source_is_refused_unless_allowed(tmp_path: Path) -> None:
    types = {"output.weight": "Q6_K", **{f"blk.{n}.ffn_up.weight": "Q4_K" for n in range(2)}}
    info = inspect(write_sparse(tmp_path / "q.gguf", "llama", llama_keys(), llama_tensors(), types))
    assert info.quantized
    with pytest.raises(SourceError, match=r"Q4_K, Q6_K") as caught:
        require_full_precision(info, allow_requantize=False)
    assert "--allow-requantize" in caught.value.hint
    require_full_precision(info, allow_requantize=True)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_full_precision_is_taken(tmp_path: Path, dtype: str) -> None:
    types = {name: dtype for name, shape in llama_tensors().items() if len(shape) > 1}
    file = write_sparse(tmp_path / "f.gguf", "llama", llama_keys(), llama_tensors(), types)
    info = inspect(file)
    assert (info.dtype, info.quantized) == (dtype, False)
    require_full_precision(info, allow_requantize=False)


def with_more(source: Path, target: Path, more: dict[str, Value], drop: tuple[str, ...]) -> Path:
    """A copy of a small model with other metadata, by the gguf package."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in (*drop, "general.architecture"):
            sub = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(key, field.contents(), field.types[0], sub)
    for key, value in more.items():
        if key == "general.alignment":
            writer.add_custom_alignment(int(str(value)))
        else:
            writer.add_string(key, str(value))
    for found in reader.tensors:
        writer.add_tensor(found.name, found.data, raw_dtype=found.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.mark.tools
@pytest.mark.parametrize(
    ("more", "drop"),
    [
        ({}, ()),
        ({}, ("general.file_type",)),
        ({"general.alignment": "64"}, ()),
        ({"general.alignment": "64", "x": "y" * 32}, ()),
        ({"general.alignment": "8", "x": "y" * 3}, ()),
        *(({"x": "y" * n}, ()) for n in (1, 11, 21)),
    ],
)
def test_header_bytes_are_those_that_llama_quantize_writes(
    tmp_path: Path, tools_bin: Path, more: dict[str, Value], drop: tuple[str, ...]
) -> None:
    plain = write_tiny_llama(tmp_path / "plain.gguf", n_layer=1)
    source = with_more(plain, tmp_path / "in.gguf", more, drop)
    made = tmp_path / "out.gguf"
    proc.run([tools_bin / "llama-quantize", source, made, "Q8_0"])
    data = sum(-(-t.n_elements // 32 * 34 // 32) * 32 if len(t.shape) > 1 else 4 * t.n_elements
               for t in read_header(source).tensors)  # fmt: skip
    assert made.stat().st_size == inspect(source).header_bytes + data


@pytest.mark.tools
def test_a_really_split_model(tmp_path: Path, tools_bin: Path) -> None:
    whole = write_tiny_llama(tmp_path / "whole.gguf")
    split = tools_bin / "llama-gguf-split"
    proc.run([split, "--split-max-tensors", "7", whole, tmp_path / "part"])
    parts = sorted(tmp_path.glob("part-*.gguf"))
    assert len(parts) > 1
    info, joined = inspect(parts[-1]), inspect(whole)
    assert info.files == tuple(parts)
    assert sorted(t.name for t in info.tensors) == sorted(t.name for t in joined.tensors)
    made = tmp_path / "out.gguf"
    proc.run([tools_bin / "llama-quantize", parts[0], made, "F16"])
    assert (
        made.stat().st_size - inspect(made).header_bytes
        == whole.stat().st_size - read_header(whole).data_offset
    )
    assert info.header_bytes == read_header(made).data_offset == joined.header_bytes


def test_a_path_that_no_file_system_takes(tmp_path: Path) -> None:
    with pytest.raises((SourceError, ConfigError), match=r"x{300}"):
        inspect(tmp_path / ("x" * 300))

"""Which files of a repository make the model, and how a repository is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployq.errors import ConfigError, SourceError
from deployq.source.gguf import read_header
from deployq.source.hub_names import HubName, wanted_files
from deployq.source.outline import ReadStart, outline_gguf, outline_safetensors
from deployq.source.safetensors import read_tensors
from tests.source.hf_files import llama_stored, write_safetensors
from tests.tiny import write_tiny_llama

NAME = HubName("org/name")


def weights(*files: str, name: HubName = NAME) -> tuple[str, ...]:
    return wanted_files(name, dict.fromkeys(files, 1)).weights


def start(content: bytes) -> ReadStart:
    return lambda n_bytes: content[:n_bytes]


def test_names() -> None:
    whole = HubName.parse("hf:org/name.v2/merged/last@refs/pr/3")
    assert whole == HubName("org/name.v2", "merged/last", "refs/pr/3")
    assert (str(whole), whole.called) == ("hf:org/name.v2/merged/last", "last")
    assert HubName.parse("hf:org/name").called == "name"
    assert HubName.parse(f"hf:org/name@{'a' * 40}").is_pinned
    assert not HubName.parse("hf:org/name@aaaaaaa").is_pinned


@pytest.mark.parametrize(
    "text",
    ["hf:", "hf:name", "hf:org/", "hf:org/name@", "hf:../name", "hf:org/name/../../x", "hf:a b/c",
     "hf:org/name/a\\b", "hf:org/name@../../x", "hf:org//name", "hf:org/.name"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ConfigError, match="names no model"):
        HubName.parse(text)


def test_small_files_are_those_of_the_model() -> None:
    files = [
        "README.md", ".gitattributes", "config.json", "tokenizer.model", "chat_template.jinja",
        "model.safetensors", "training_args.bin", "optimizer.pt", "trainer_state.json",
        "checkpoint-5/config.json", "additional_chat_templates/tool.jinja", "onnx/model.onnx",
    ]  # fmt: skip
    found = wanted_files(NAME, dict.fromkeys(files, 1))
    assert found.small == (
        "additional_chat_templates/tool.jinja", "chat_template.jinja", "config.json",
        "tokenizer.model",
    )  # fmt: skip
    assert found.weights == ("model.safetensors",)


def test_one_format_of_the_weights() -> None:
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = "model.safetensors.index.json"
    both = ("config.json", *shards, index, "consolidated.safetensors", "pytorch_model.bin")
    assert weights(*both) == tuple(shards)
    assert weights("config.json", "model.safetensors", "model.fp16.safetensors") == (
        "model.safetensors",
    )
    assert weights("config.json", "own.safetensors") == ("own.safetensors",)
    pickled = wanted_files(NAME, {"config.json": 1, "pytorch_model.bin": 1, "training_args.bin": 1})
    assert (pickled.weights, pickled.pickled) == (("pytorch_model.bin",), True)
    adapter = ("adapter_config.json", "adapter_model.safetensors", "README.md")
    assert weights(*adapter) == ("adapter_model.safetensors",)
    inner = HubName("org/name", "merged")
    merged = ("config.json", "model.safetensors", "merged/config.json", "merged/model.safetensors")
    assert weights(*merged, name=inner) == ("merged/model.safetensors",)


def test_the_gguf_in_full_precision() -> None:
    assert weights("m-BF16.gguf", "m-F16.gguf", "m-Q4_K_M.gguf") == ("m-BF16.gguf",)
    assert weights("m.gguf") == ("m.gguf",)
    split = [f"BF16/m-bf16-0000{n}-of-00002.gguf" for n in (1, 2)]
    assert weights(*split, "m-Q8_0.gguf") == tuple(split)
    assert weights("m-f16.gguf", "mmproj-m-f16.gguf") == ("m-f16.gguf", "mmproj-m-f16.gguf")
    named = HubName("org/name", "m-Q8_0.gguf")
    assert weights("m-F16.gguf", "m-Q8_0.gguf", name=named) == ("m-Q8_0.gguf",)
    with pytest.raises(SourceError, match=r"none is named as full precision: a-Q4_0\.gguf, b-Q8"):
        weights("b-Q8_0.gguf", "a-Q4_0.gguf")
    with pytest.raises(SourceError, match="more than one of them could be meant"):
        weights("a-F16.gguf", "b-F16.gguf")
    with pytest.raises(SourceError, match=r"holds no model.*it has README\.md"):
        weights("README.md")


def test_the_projector_of_a_gguf_comes_along() -> None:
    files = ["m-F16.gguf", "mmproj-BF16.gguf", "mmproj-F32.gguf", "MMPROJ-F16.GGUF"]
    found = wanted_files(NAME, dict.fromkeys(files, 1))
    assert (found.gguf, found.projector) == ("m-F16.gguf", "MMPROJ-F16.GGUF")
    split = [f"BF16/m-bf16-0000{n}-of-00002.gguf" for n in (1, 2)]
    found = wanted_files(NAME, dict.fromkeys([*split, "mmproj-Q8_0.gguf", "other/mmproj.gguf"], 1))
    assert found.weights == (*split, "mmproj-Q8_0.gguf")
    named = HubName("org/name", "m-Q8_0.gguf")
    assert weights("m-Q8_0.gguf", "m-F16.gguf", "mmproj.gguf", name=named) == (
        "m-Q8_0.gguf", "mmproj.gguf",
    )  # fmt: skip


def test_a_model_and_an_adapter_in_one_repository() -> None:
    model = ("config.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json")
    both = (*model, "adapter_config.json", "adapter_model.safetensors")
    with pytest.raises(SourceError, match="nothing tells whether the model is") as caught:
        weights(*both)
    assert "hf:org/name/model-00001-of-00001.safetensors is the model" in caught.value.hint
    assert "hf:org/name/adapter_model.safetensors the adapter" in caught.value.hint
    for file in (both[1], both[-1]):
        name = HubName("org/name", file)
        assert weights(*both, name=name) == (file,)
        assert (name.called, name.folder) == ("name", "")
    assert weights("config.json", *both[-2:]) == (both[-1],)  # a config alone is no model
    inner = HubName("org/name", "run/adapter_model.safetensors")
    below = [f"run/{file}" for file in both]
    assert weights(*below, name=inner) == ("run/adapter_model.safetensors",)
    assert inner.called == "run"


def test_a_whole_file_goes_before_shards_as_transformers_has_it() -> None:
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert weights("config.json", *shards, "model.safetensors") == ("model.safetensors",)


def test_a_header_alone_reads_as_the_whole_file_does(tmp_path: Path) -> None:
    many = {f"w{n}.{'x' * 60}": (4, 4) for n in range(2000)}  # its header is longer than one read
    for name, tensors in (("small", llama_stored()), ("long", many)):
        whole = write_safetensors(tmp_path / f"{name}.safetensors", tensors)
        content = whole.read_bytes()
        made = outline_safetensors(tmp_path / "outline" / whole.name, len(content), start(content))
        assert read_tensors(made) == read_tensors(whole)
        assert made.stat().st_size == len(content)
    gguf = write_tiny_llama(tmp_path / "tiny.gguf")
    content = gguf.read_bytes()
    made = outline_gguf(tmp_path / "outline" / "tiny.gguf", len(content), start(content))
    assert read_header(made).tensors == read_header(gguf).tensors


def test_what_has_no_header(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for content in (b"", b"short", b"\xff" * 100):
        with pytest.raises(SourceError, match="is no safetensors file"):
            outline_safetensors(path, len(content), start(content))
    with pytest.raises(SourceError):
        outline_gguf(tmp_path / "m.gguf", 100, lambda n: b"x" * n)
    assert not path.exists()

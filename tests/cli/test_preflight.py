"""A source that no server would run stops a push at once: exit code 1, its name, nothing made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tests.broken_models import copy_gguf
from tests.cli.conftest import CONFIG, Project
from tests.source.test_projector import write_projector
from tests.source.training_files import write_adapter, write_model

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("tools_bin")]

Make = Callable[[Path, Path], Path]
TOKENS = "tokenizer.ggml.tokens"


def contents(source: Path, name: str) -> list[str]:
    found: list[str] = gguf.GGUFReader(source).fields[name].contents()
    return found


def fewer_tokens(source: Path, path: Path) -> Path:
    return copy_gguf(source, path, fields={TOKENS: contents(source, TOKENS)[:-8]})


def more_tokens(source: Path, path: Path) -> Path:
    tokens = [*contents(source, TOKENS), "<extra 1>", "<extra 2>"]
    return copy_gguf(source, path, fields={TOKENS: tokens})


def without_merges(source: Path, path: Path) -> Path:
    return copy_gguf(source, path, fields={"tokenizer.ggml.model": "gpt2"})


def unknown_pre_tokenizer(source: Path, path: Path) -> Path:
    def added(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_pre("my-own-pre")
        writer.add_token_merges(["a b"])

    fields = {"tokenizer.ggml.model": "gpt2"}
    return copy_gguf(source, path, fields=fields, without=["tokenizer.ggml.pre"], added=added)


def without_a_tensor(source: Path, path: Path) -> Path:
    return copy_gguf(source, path, without=["blk.1.ffn_up.weight"])


def one_tensor_more(source: Path, path: Path) -> Path:
    return copy_gguf(source, path, more={"blk.1.extra.weight": np.zeros(256, np.float32)})


def misshapen(source: Path, path: Path) -> Path:
    def cut(name: str, data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return data[:-32] if name == "blk.1.ffn_up.weight" else data

    return copy_gguf(source, path, tensor=cut)


def one_layer_more(source: Path, path: Path) -> Path:
    return copy_gguf(source, path, fields={"llama.block_count": 3})


def broken_template(source: Path, path: Path) -> Path:
    broken = "{% for m in messages %}{{ m.content }"
    return copy_gguf(source, path, fields={"tokenizer.chat_template": broken})


def pooling(source: Path, path: Path) -> Path:
    def added(writer: gguf.GGUFWriter) -> None:
        writer.add_pooling_type(gguf.PoolingType.MEAN)

    return copy_gguf(source, path, added=added)


def big_endian(source: Path, path: Path) -> Path:
    return copy_gguf(source, path, big_endian=True)


FAULTS: dict[str, tuple[Make, str]] = {
    "no merges": (without_merges, "its tokenizer is BPE, and its header has no merges"),
    "fewer tokens": (fewer_tokens, "rows in its embedding"),
    "more tokens": (more_tokens, "rows in its embedding"),
    "unknown pre-tokenizer": (unknown_pre_tokenizer, "unknown pre-tokenizer type: 'my-own-pre'"),
    "a tensor missing": (without_a_tensor, "tensor 'blk.1.ffn_up.weight' not found"),
    "a tensor too many": (one_tensor_more, "wrong number of tensors"),
    "misshapen": (misshapen, "wrong shape"),
    "a layer too many": (one_layer_more, "announces 3 layers, and has no weights of layer 2"),
    "broken template": (broken_template, "its chat template can't be rendered"),
    "pooling": (pooling, "its header has a pooling_type"),
    "big-endian": (big_endian, "is of the other byte order"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_push_stops_before_anything_is_made(project: Project, fault: str) -> None:
    make, said = FAULTS[fault]
    broken = make(project.model, project.folder / "broken.gguf")
    ran = project.run("push", str(broken), "--targets", "laptop", "--quants", "Q8_0", "-y")
    told = " ".join(ran.err.split())
    assert ran.code == 1, ran.err
    assert "Traceback" not in ran.err
    assert broken.name in told
    assert said in told
    assert not list((project.folder / "cache").rglob("*.gguf"))
    assert not list((project.folder / "embedded").rglob("sha256-*"))


@pytest.mark.parametrize("fault", ["unknown pre-tokenizer", "a tensor missing", "fewer tokens"])
def test_a_judged_plan_drops_no_refusal(project: Project, fault: str) -> None:
    make, said = FAULTS[fault]
    broken = make(project.model, project.folder / "broken.gguf")
    ran = project.run("plan", str(broken), "--targets", "laptop", "--judge")
    assert ran.code == 1, ran.out
    assert said in " ".join(ran.err.split())


def test_a_plain_plan_says_what_headers_tell(project: Project) -> None:
    broken = fewer_tokens(project.model, project.folder / "broken.gguf")
    ran = project.run("plan", str(broken), "--targets", "laptop")
    assert ran.code == 0, ran.err
    assert "(push will stop here)" in " ".join(ran.out.split())


def test_what_is_allowed_is_a_warning(project: Project) -> None:
    broken = broken_template(project.model, project.folder / "broken.gguf")
    ran = project.run("plan", str(broken), "--targets", "laptop", "--judge", "--allow", "template")
    assert ran.code == 0, ran.err
    assert "warning: " in ran.err
    assert "its chat template can't be rendered" in " ".join(ran.err.split())


def test_other_alignments_are_good_files(project: Project) -> None:
    aligned = copy_gguf(project.model, project.folder / "aligned.gguf", alignment=64)
    options = ("--targets", "laptop", "--quants", "Q8_0")
    ran = project.run("push", str(aligned), *options, "-y")
    assert "failed" not in ran.err
    assert ran.code == 0, ran.err
    judged = project.run("plan", str(aligned), *options, "--judge", "--json").json
    (size,) = (one for one in judged["judged"] if one["what"] == "file of Q8_0")
    assert size["own_bytes"] == size["judge_bytes"]


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_hidden_layers": 3}, "config.json: says 3 layers, the weights have 2"),
        ({"vocab_size": 250}, "config.json: says vocab_size 250, the embedding has 256 rows"),
        ({"vocab_size": 320}, "config.json: says vocab_size 320, the embedding has 256 rows"),
    ],
)
def test_a_stale_config_stops_before_converting(
    project: Project, config: dict[str, Any], said: str
) -> None:
    """Nothing here converts: who gets as far as that ends with another code."""
    folder = write_model(project.folder / "trained", **config)
    plan = project.run("plan", str(folder), "--targets", "laptop", "--json")
    assert f"{folder}/{said} (push will stop here)" in plan.json["warnings"]
    ran = project.run("push", str(folder), "--targets", "laptop", "-y")
    assert ran.code == 1, ran.err
    assert f"{folder}/{said}" in " ".join(ran.err.split())


def test_attaching_to_a_server_that_takes_no_adapters(project: Project) -> None:
    """The server is asked first: no converter is here to be missed."""
    write_model(project.folder / "base")
    write_adapter(project.folder / "lora")
    attached = '[models.lora]\nsource = "lora"\nbase = "base"\nadapter = "attach"\n[runtime]'
    project.write("deployq.toml", CONFIG.replace("[runtime]", attached))
    ran = project.run("push", "lora", "--targets", "laptop", "--quants", "Q8_0", "-y")
    assert ran.code == 5, ran.err
    assert "takes no LoRA adapters: since 0.34.1 they are refused" in " ".join(ran.err.split())
    assert 'adapter = "merge"' in ran.err
    assert "converting" not in ran.err


# ---------------------------------------------------------------- suites


def test_a_stop_inside_an_expected_answer(project: Project) -> None:
    """Such a prompt can't pass: the tag ends its answer there."""
    project.write(
        "suite.toml",
        '[[prompts]]\nname = "marks"\nuser = "hi"\ncheck.contains = ["a<|im_end|>b"]\n',
    )
    ran = project.run("push", "tiny", "--targets", "laptop", "-y")
    told = " ".join(ran.err.split())
    assert ran.code == 2, ran.err
    assert "prompt 'marks': its expected answer holds '<|im_end|>', at which tiny:" in told
    assert not list((project.folder / "cache").rglob("*.gguf"))


def test_a_projector_of_another_model_stops_unless_vision_is_given_up(project: Project) -> None:
    write_projector(project.model.parent / "mmproj-F16.gguf", 384)
    plan = project.run("plan", str(project.model), "--targets", "laptop", "--json")
    (warning,) = [w for w in plan.json["warnings"] if "mmproj" in w]
    assert "makes vectors of 384 numbers, the model's have 256" in warning
    assert warning.endswith("(push will stop here)")
    done = project.run("push", str(project.model), "--targets", "laptop", "--yes")
    assert done.code == 1, done.err
    assert "is of another model; the tags would take no images and no sound" in done.err
    assert "projector = false" in done.err
    text = (project.folder / "deployq.toml").read_text()
    blind = f'{text}\n[models.blind]\nsource = "{project.model}"\nprojector = false\n'
    project.write("deployq.toml", blind)
    plan = project.run("plan", "blind", "--targets", "laptop", "--json")
    assert not [w for w in plan.json["warnings"] if "mmproj" in w]

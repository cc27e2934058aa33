"""llama.cpp's own tools as meters, calibrator and completer: on real files, by the real tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from deployq_llamacpp import (
    LlamaCppBackend,
    LlamaCppCalibrator,
    LlamaCppCompleter,
    Perplexity,
    Speed,
)
from deployq_llamacpp.output import parse_planned
from deployq_llamacpp.perplexity import base_bytes
from deployq_llamacpp.tokens import cut, token_ids

from deployq import (
    Completion,
    DiskError,
    MeterText,
    QuantizeJob,
    SourceError,
    SpeedOptions,
    TextOptions,
    ToolMissing,
    inspect,
    no_progress,
    proc,
)
from deployq.artifacts.imatrix import read_imatrix
from deployq.pipeline.matrices import header_bytes, with_imatrix
from deployq.pipeline.resolve import Model
from deployq.plan.catalogue import CATALOGUE
from deployq.plan.quants import own_size, tensor_types
from deployq.settings import ModelSettings
from deployq.testing import check_meter
from tests.tiny import write_tiny_llama

pytestmark = pytest.mark.tools

PLAIN = "Once upon a time there was a model that nobody had measured, \\n and so on. " * 20
CHAT = "".join(
    f'<|im_start|>user\nNumber {n}? "a\\nb"<|im_end|>\n'
    f"<|im_start|>assistant\nIt is {n}.<|im_end|>\n"
    for n in range(30)
)
CUT = TextOptions(n_ctx=64, max_chunks=4, threads=1)


@pytest.fixture
def env(tools_bin: Path, tmp_path: Path) -> dict[str, str]:
    return {"DEPLOYQ_LLAMA_CPP": str(tools_bin), "DEPLOYQ_CACHE_DIR": str(tmp_path / "cache")}


@pytest.fixture(scope="module")
def quants(sample_gguf: Path, tmp_path_factory: pytest.TempPathFactory, tools_bin: Path) -> Path:
    folder = tmp_path_factory.mktemp("quants")
    jobs = [QuantizeJob(sample_gguf, q, folder / f"{q}.gguf", 1) for q in ("Q8_0", "Q2_K")]
    LlamaCppBackend({"DEPLOYQ_LLAMA_CPP": str(tools_bin)}).quantize(jobs, no_progress)
    return folder


def text_at(folder: Path, text: str, *, special: bool = False) -> MeterText:
    (folder / "text.txt").write_text(text)
    return MeterText(folder / "text.txt", special)


@pytest.mark.parametrize(("text", "special"), [(PLAIN, False), (CHAT, True), (CHAT, False)])
def test_the_fewer_bits_the_farther(
    env: Mapping[str, str],
    sample_gguf: Path,
    quants: Path,
    tmp_path: Path,
    text: str,
    special: bool,
) -> None:
    """Held besides to the tokens that the model's own tokenizer reads, control tokens included."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = sample_gguf.read_bytes()
    files = {"itself": sample_gguf, "Q8_0": quants / "Q8_0.gguf", "Q2_K": quants / "Q2_K.gguf"}
    shown = text_at(tmp_path, text, special=special)
    found = Perplexity(env).compare(sample_gguf, files, shown, CUT, scratch, no_progress)
    far = {name: s.kl_divergence.value for name, s in found.scores.items() if s.kl_divergence}
    assert abs(far["itself"]) < 1e-4 < far["Q8_0"] < far["Q2_K"]
    same = found.scores["itself"].same_top
    assert same is not None
    assert same.value == 1.0
    assert found.tokens == 4 * 31
    size = (scratch / "base.logits").stat().st_size
    assert size == base_bytes(64, 2048, 4)
    assert sample_gguf.read_bytes() == before
    assert not (scratch / "special").exists()


def test_the_contract_of_a_meter(env: Mapping[str, str], quants: Path, tmp_path: Path) -> None:
    check_meter(Perplexity(env), quants / "Q8_0.gguf", text_at(tmp_path, PLAIN).path)


def test_control_tokens_are_tokens_in_conversations_alone(
    env: Mapping[str, str], sample_gguf: Path, tmp_path: Path
) -> None:
    text = text_at(tmp_path, CHAT)
    letters = token_ids(sample_gguf, text, env)
    tokens = token_ids(sample_gguf, MeterText(text.path, special=True), env)
    assert len(letters) > len(tokens)


def test_a_text_that_is_too_short(
    env: Mapping[str, str], sample_gguf: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="too short"):
        Perplexity(env).measure(sample_gguf, text_at(tmp_path, "Hi.").path, no_progress)
    with pytest.raises(SourceError, match="two chunks of 512") as caught:
        cut(600, tmp_path / "t.txt", TextOptions(n_ctx=512))
    assert caught.value.hint == "--context 256"


def test_a_short_text_is_cut_smaller_and_that_is_said(tmp_path: Path) -> None:
    n_ctx, chunks, notes = cut(300, tmp_path / "t.txt", TextOptions())
    assert (n_ctx, chunks) == (128, 2)
    assert "no published one" in notes[0]


def test_too_few_tokens_for_statistics(
    env: Mapping[str, str], sample_gguf: Path, tmp_path: Path
) -> None:
    few = TextOptions(n_ctx=64, max_chunks=3)
    with pytest.raises(SourceError, match="score 93 tokens") as caught:
        Perplexity(env).compare(
            sample_gguf, {}, text_at(tmp_path, PLAIN), few, tmp_path, no_progress
        )
    assert caught.value.hint.startswith("--chunks 4 ")


def test_another_vocabulary_can_not_be_compared(
    env: Mapping[str, str], sample_gguf: Path, tmp_path: Path
) -> None:
    other = write_tiny_llama(tmp_path / "other.gguf")
    text = text_at(tmp_path, PLAIN)
    with pytest.raises(SourceError, match="vocabulary"):
        Perplexity(env).compare(sample_gguf, {"o": other}, text, CUT, tmp_path, no_progress)


def test_no_room_for_the_base_logits(
    env: Mapping[str, str], tmp_path: Path, sample_gguf: Path
) -> None:
    """/dev/full takes no byte: the file of logits stays empty, and the tool says nothing of it."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "base.logits").symlink_to("/dev/full")
    text = text_at(tmp_path, PLAIN)
    with pytest.raises(DiskError, match="instead of"):
        Perplexity(env).compare(sample_gguf, {"s": sample_gguf}, text, CUT, scratch, no_progress)


def test_no_tools(tmp_path: Path, sample_gguf: Path) -> None:
    nothing = {"DEPLOYQ_LLAMA_CPP": "none"}
    text = text_at(tmp_path, PLAIN)
    for part in (Perplexity(nothing), Speed(nothing)):
        assert not part.health().ok
        with pytest.raises(ToolMissing):
            part.measure(sample_gguf, text.path, no_progress)
    with pytest.raises(ToolMissing):
        LlamaCppCalibrator(nothing).calibrate(
            sample_gguf, text, tmp_path / "i.gguf", CUT, no_progress
        )


def test_speeds(env: Mapping[str, str], quants: Path, tmp_path: Path) -> None:
    files = {name: quants / f"{name}.gguf" for name in ("Q8_0", "Q2_K")}
    options = SpeedOptions(16, 4, n_ctx=256, repeats=2, threads=1)
    found = Speed(env).speeds(files, options, tmp_path, no_progress)
    for one in found.values():
        assert len(one.prompt.values) == len(one.generation.values) == 2
        assert min(one.prompt.values + one.generation.values + one.load_seconds.values) > 0
        assert one.memory_bytes
        assert one.memory_bytes > 1 << 20
        assert one.device == "CPU"


def test_answers_without_a_server(env: Mapping[str, str], sample_gguf: Path) -> None:
    prompt = (
        "<|im_start|>system\nAnswer with one JSON object.<|im_end|>\n"
        "<|im_start|>user\nRemind me to call mum<|im_end|>\n<|im_start|>assistant\n"
    )
    (answer,) = LlamaCppCompleter(env).complete(sample_gguf, [prompt], 512, 64, no_progress)
    said = '{"action": "create_task", "title": "call mum", "priority": "normal"}'
    assert answer == Completion(said, ended=True)
    (cut,) = LlamaCppCompleter(env).complete(sample_gguf, [prompt], 512, 4, no_progress)
    assert said.startswith(cut.text)
    assert not cut.ended


# ---------------------------------------------------------------- importance matrices


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Deep enough that the first eighth of the layers is one."""
    return write_tiny_llama(tmp_path_factory.mktemp("deep") / "deep.gguf", n_layer=8, n_head_kv=4)


@pytest.fixture(scope="module")
def matrix(deep: Path, tools_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "conversations.txt").write_text(CHAT)
    text = MeterText(folder / "conversations.txt", special=True)
    env = {"DEPLOYQ_LLAMA_CPP": str(tools_bin)}
    LlamaCppCalibrator(env).calibrate(deep, text, folder / "imatrix.gguf", CUT, no_progress)
    return folder / "imatrix.gguf"


def test_a_matrix_names_nothing_of_this_machine(matrix: Path) -> None:
    facts = read_imatrix(matrix)
    assert facts.datasets == ("conversations.txt",)
    assert (facts.chunks, facts.chunk_tokens) == (4, 64)
    assert str(matrix.parent).encode() not in matrix.read_bytes()
    assert facts.rows["blk.0.ffn_down.weight"] == 512


@pytest.mark.parametrize("quant", ["Q4_0", "Q5_0", "Q4_K_M", "Q2_K_S", "IQ4_NL"])
def test_sizes_with_a_matrix_are_exact(
    env: Mapping[str, str], deep: Path, matrix: Path, tmp_path: Path, quant: str
) -> None:
    output = tmp_path / "out.gguf"
    job = QuantizeJob(deep, quant, output, 1, imatrix=matrix)
    LlamaCppBackend(env).quantize([job], no_progress)
    model = with_imatrix(Model("deep", deep, ModelSettings()), "suite")
    assert own_size(inspect(deep), quant, header_bytes(model)).file_bytes == output.stat().st_size
    assert str(matrix.parent).encode() not in output.read_bytes()


@pytest.mark.parametrize("quant", sorted(n for n, q in CATALOGUE.items() if q.takes_imatrix))
def test_types_with_a_matrix_are_the_tools(
    tools_bin: Path, deep: Path, matrix: Path, quant: str
) -> None:
    """A dry run knows no matrix-dependent refusals, but the types that it would write."""
    argv: list[str | Path] = [tools_bin / "llama-quantize", "--imatrix", matrix, "--dry-run"]
    said = proc.run([*argv, deep, quant], check=False).stdout
    told = {p.name: p.type for line in said.splitlines() if (p := parse_planned(line))}
    info = inspect(deep)
    types, _ = tensor_types(info, quant, imatrix=True)
    assert {t.name: kind for t, kind in zip(info.tensors, types, strict=True)} == told


@pytest.mark.parametrize("quant", ["Q8_0", "TQ1_0", "Q2_0", "Q4_K_M"])
def test_which_weights_a_matrix_changes(
    env: Mapping[str, str], deep: Path, matrix: Path, tmp_path: Path, quant: str
) -> None:
    jobs = [
        QuantizeJob(deep, quant, tmp_path / "without.gguf", 1),
        QuantizeJob(deep, quant, tmp_path / "with.gguf", 1, imatrix=matrix),
    ]
    LlamaCppBackend(env).quantize(jobs, no_progress)
    # what stands at the end of both is the last tensor
    without, with_it = (job.output.read_bytes()[-1 << 16 :] for job in jobs)
    assert (without != with_it) == CATALOGUE[quant].takes_imatrix


def test_experts_that_no_token_reaches_are_named(env: Mapping[str, str], tmp_path: Path) -> None:
    model = write_tiny_llama(tmp_path / "moe.gguf", n_expert=4, n_layer=1)
    text = text_at(tmp_path, CHAT, special=True)
    LlamaCppCalibrator(env).calibrate(model, text, tmp_path / "i.gguf", CUT, no_progress)
    facts = read_imatrix(tmp_path / "i.gguf")
    assert facts.experts["blk.0.ffn_down_exps.weight"] == 4
    assert 3 in facts.unseen["blk.0.ffn_down_exps.weight"]

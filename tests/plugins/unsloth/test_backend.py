"""The parent's side of Unsloth: where it is found, what it is asked, what becomes of its files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from deployq_llamacpp import LlamaCppBackend
from deployq_unsloth.backend import QUANTS, UnslothBackend
from deployq_unsloth.environment import find_python

from deployq import (
    BackendError,
    ConvertJob,
    MadeFrom,
    QuantizeJob,
    SourceError,
    ToolMissing,
    no_progress,
)
from tests.plugins.unsloth.stand_in import environment, trained
from tests.tiny import write_tiny_llama

MADE = ("Q8_0", "Q4_K_M")


@pytest.fixture(scope="session")
def files(tools_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A tiny model by its quants, as Unsloth writes them in lower case."""
    assert tools_bin
    folder = tmp_path_factory.mktemp("quants")
    source = write_tiny_llama(folder / "f16.gguf")
    jobs = [QuantizeJob(source, quant, folder / f"{quant.lower()}.gguf") for quant in MADE]
    LlamaCppBackend().quantize(jobs, no_progress)
    return {"f16": source, **{job.quant.lower(): job.output for job in jobs}}


def env_of(folder: Path, **more: object) -> dict[str, str]:
    """A machine whose user has nothing."""
    base = {"HOME": folder / "home", "PATH": folder / "bin", "DEPLOYQ_TOOLS_DIR": folder / "tools"}
    return {name: str(value) for name, value in {**base, **more}.items()}


def backend_with(python: Path, mode: str, **more: str) -> UnslothBackend:
    """The backend on this machine, with that environment."""
    own = {"DEPLOYQ_UNSLOTH_PYTHON": str(python), "DEPLOYQ_UNSLOTH_MODE": mode}
    return UnslothBackend({**os.environ, **own, **more})


def script(folder: Path) -> str:
    """A folder with a converter script, as DEPLOYQ_LLAMA_CPP names it beside PATH's tools."""
    folder.mkdir()
    (folder / "convert_hf_to_gguf.py").write_text("")
    return str(folder)


# ---------------------------------------------------------------- where it is


def test_nothing_anywhere_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="no environment with Unsloth") as caught:
        find_python(env_of(tmp_path))
    assert "[backends.unsloth]" in caught.value.hint
    assert not UnslothBackend(env_of(tmp_path)).health().ok


@pytest.mark.parametrize(
    ("place", "variable", "origin"),
    [
        ("home/miniconda3/envs/train", "", "conda, train"),
        ("home/.unsloth/studio/unsloth_studio", "", "~/.unsloth/studio/unsloth_studio"),
        ("work/venv", "VIRTUAL_ENV", "the active environment"),
        ("work/conda", "CONDA_PREFIX", "the active environment"),
    ],
)
def test_the_usual_places(tmp_path: Path, place: str, variable: str, origin: str) -> None:
    python = environment(tmp_path / place)
    found = find_python(env_of(tmp_path, **({variable: tmp_path / place} if variable else {})))
    assert found.path == python
    assert origin in found.origin


def test_the_configured_one_goes_first(tmp_path: Path) -> None:
    environment(tmp_path / "home" / "unsloth")
    named = environment(tmp_path / "named")
    env = env_of(tmp_path, DEPLOYQ_UNSLOTH_PYTHON=named)
    assert find_python(env).path == named
    with pytest.raises(ToolMissing, match="/nowhere/python is no program"):
        find_python(env | {"DEPLOYQ_UNSLOTH_PYTHON": "/nowhere/python"})


# ---------------------------------------------------------------- whether it can


def test_what_runs_without_a_gpu_says_its_version(tmp_path: Path) -> None:
    health = backend_with(environment(tmp_path / "env"), "merged").health()
    assert health.ok, health.detail
    assert "2026.10.9" in health.version
    assert "mode merged" in health.detail


def test_an_old_one_needs_a_gpu(tmp_path: Path) -> None:
    old = {"unsloth": "2026.9.14", "unsloth_zoo": "2026.9.9"}
    without = backend_with(environment(tmp_path / "cpu", old), "merged").health()
    assert not without.ok
    assert "2026.9.14" in without.detail
    assert "needs a GPU" in without.detail
    assert "pip install --upgrade unsloth" in without.hint
    assert backend_with(environment(tmp_path / "gpu", old, gpu=True), "merged").health().ok


@pytest.mark.parametrize("missing", ["unsloth", "peft"])
def test_a_package_that_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    python = environment(tmp_path / "env", {missing: None})
    health = backend_with(python, "merged").health()
    assert not health.ok
    assert f"lacks {missing}" in health.detail
    with pytest.raises(ToolMissing, match=f"lacks {missing}"):
        backend_with(python, "merged").merge(
            ConvertJob(tmp_path, tmp_path / "out", tmp_path, "BF16", base=tmp_path), no_progress
        )


def test_merged_it_leaves_quantizing_to_others(tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    assert backend_with(python, "merged").quants() == frozenset()
    assert backend_with(python, "").quants() == frozenset()
    assert backend_with(python, "gguf").quants() == QUANTS


# ---------------------------------------------------------------- its export


@pytest.fixture
def export(tmp_path: Path, files: Mapping[str, Path]) -> Export:
    return Export(tmp_path, files)


class Export:
    """Has the stand-in export a model of some kind."""

    def __init__(self, folder: Path, files: Mapping[str, Path]) -> None:
        self.files = files
        self.out = folder / "out"
        self.out.mkdir()
        self.model = folder / "model"
        self._backend = backend_with(
            environment(folder / "env"), "gguf", DEPLOYQ_LLAMA_CPP=script(folder / "llama.cpp")
        )

    def __call__(self, kind: str, quants: tuple[str, ...] = MADE) -> dict[str, Path]:
        made_from = MadeFrom(trained(self.model, kind, self.files), name="task-api")
        outputs = {quant: self.out / f"{quant}.out" for quant in quants}
        jobs = [
            QuantizeJob(self.files["f16"], quant, output, made_from=made_from)
            for quant, output in outputs.items()
        ]
        self._backend.quantize(jobs, no_progress)
        return outputs

    def left(self) -> list[Path]:
        return list(self.out.iterdir())


@pytest.mark.tools
@pytest.mark.parametrize("kind", ["cpu", "gpu", "old"])
def test_files_under_the_names_of_each_version(export: Export, kind: str) -> None:
    made = export(kind)
    for quant, output in made.items():
        assert output.read_bytes() == export.files[quant.lower()].read_bytes()
    assert sorted(export.left()) == sorted(made.values())


@pytest.mark.tools
def test_one_file_of_any_name_is_the_one_that_was_asked_for(export: Export) -> None:
    made = export("odd", ("Q8_0",))
    assert made["Q8_0"].read_bytes() == export.files["q8_0"].read_bytes()


@pytest.mark.tools
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("forgets", r"wrote no Q4_K_M, but task-api\.Q8_0\.gguf"),
        ("cut", r"is no GGUF file"),
        ("split", "split its export"),
        ("same", r"Unsloth wrote .*F16.* instead of Q8_0"),
        ("fails late", "RuntimeError: invalid ftype"),
        ("no GPU", "cannot find any torch accelerator"),
    ],
)
def test_what_went_wrong_leaves_no_file(export: Export, kind: str, said: str) -> None:
    with pytest.raises(BackendError, match=said):
        export(kind)
    assert export.left() == []


@pytest.mark.tools
def test_what_it_finds_around_it(export: Export) -> None:
    export("cpu", ("Q8_0",))
    saw = json.loads((export.model / "saw.json").read_text())
    assert Path(saw["cwd"]).parent == export.out
    assert saw["stdin"] == ""
    assert saw["leads_its_group"]
    assert (saw["install"], saw["pip"]) == ("0", "1")
    code, said = saw["apt"]
    assert code == 1
    assert "Unsloth wanted to run: sudo apt-get install cmake; it may not" in said
    assert saw["whole"] == [True, True, True]
    assert saw["quantizer"] in (0, 1), "llama-quantize runs, and prints its usage"
    assert saw["script"]


def test_what_it_can_not_do_is_refused_before(tmp_path: Path) -> None:
    backend = UnslothBackend(env_of(tmp_path))
    made_from = MadeFrom(tmp_path)
    out = tmp_path / "out"
    with pytest.raises(BackendError, match="can't make IQ2_XXS"):
        backend.quantize([QuantizeJob(tmp_path, "IQ2_XXS", out, made_from=made_from)], no_progress)
    matrix = QuantizeJob(tmp_path, "Q2_K", out, imatrix=tmp_path / "i", made_from=made_from)
    with pytest.raises(BackendError, match="takes no importance matrix"):
        backend.quantize([matrix], no_progress)
    with pytest.raises(BackendError, match="this is a GGUF") as caught:
        backend.quantize([QuantizeJob(tmp_path / "m.gguf", "Q8_0", out)], no_progress)
    assert "leave --backend unsloth out" in caught.value.hint


def test_a_merge_that_saved_nothing(tmp_path: Path) -> None:
    base = trained(tmp_path / "base", "cpu", {})
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    # the stand-in loads what it is given: the adapter's folder has to tell its kind, too
    (adapter / "config.json").write_text((base / "config.json").read_text())
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    backend = backend_with(environment(tmp_path / "env"), "merged")
    with pytest.raises(SourceError, match=r"saved no merged weights \(it wrote nothing\)"):
        backend.merge(ConvertJob(adapter, out, scratch, "BF16", base=base), no_progress)
    assert not out.exists()
    assert list(scratch.iterdir()) == []

"""A backend from somebody else's wheel: found, held against the contract, chosen."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import pytest
from deployq_llamacpp import LlamaCppBackend

from deployq import QuantizeJob, no_progress, proc
from tests.tiny import write_tiny_llama

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "plugins" / "deployq-numpy-backend"
QUANTS = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's own wheel, built and installed into an empty folder."""
    folder = tmp_path_factory.mktemp("plugin")
    pip = [sys.executable, "-m", "pip"]
    build: list[str | Path] = [
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        folder,
        EXAMPLE,
    ]
    proc.run([*pip, *build])
    (wheel,) = folder.glob("deployq_numpy_backend-*.whl")
    target = folder / "site"
    proc.run([*pip, "install", "--no-deps", "--no-index", "--target", target, wheel])
    return target


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("source") / "tiny.gguf")


def in_another_python(installed: Path, program: str, *arguments: str | Path) -> str:
    """Run a program where the plugin is installed; what it printed."""
    start = "import sys\nfrom pathlib import Path\nfrom deployq.plugins import load_plugins\n"
    start += "from deployq import QuantizeJob, no_progress\nplugins = load_plugins()\n"
    start += "backend = plugins.named('deployq_backends')['numpy']\n"
    argv = [sys.executable, "-W", "error", "-c", start + program, *arguments]
    return proc.run(argv, env={"PYTHONPATH": str(installed)}).stdout


def test_the_wheel_brings_one_module(installed: Path) -> None:
    assert [path.name for path in installed.glob("*.py")] == ["deployq_numpy_backend.py"]


def test_it_is_found_by_its_entry_point(installed: Path) -> None:
    program = "print([(p.name, p.distribution, p.error) for p in plugins.found if p.name=='numpy'])"
    assert in_another_python(installed, program) == "[('numpy', 'deployq-numpy-backend', '')]"


@pytest.mark.parametrize("quant", ["Q8_0", "Q4_0"])
def test_contract(installed: Path, tiny: Path, tmp_path: Path, quant: str) -> None:
    program = (
        "from deployq.testing import check_backend\n"
        "check_backend(backend, Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])\n"
        "print('kept')"
    )
    assert in_another_python(installed, program, tiny, tmp_path, quant) == "kept"


@pytest.fixture(scope="module")
def made(installed: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `<QUANT>.gguf` of everything that it makes."""
    folder = tmp_path_factory.mktemp("made")
    program = (
        "backend.quantize([QuantizeJob(Path(sys.argv[1]), q, Path(sys.argv[2]) / f'{q}.gguf')"
        " for q in sorted(backend.quants())], no_progress)"
    )
    in_another_python(installed, program, tiny, folder)
    return folder


def test_it_makes_what_it_says(made: Path) -> None:
    assert sorted(path.stem for path in made.iterdir()) == sorted(QUANTS)


def test_metadata_is_kept(made: Path, tiny: Path) -> None:
    source, output = gguf.GGUFReader(tiny).fields, gguf.GGUFReader(made / "Q8_0.gguf").fields
    changed = {"general.file_type", "general.quantization_version", "GGUF.kv_count"}
    assert source.keys() | {"general.quantization_version"} == output.keys()
    for key in source.keys() - changed:
        assert output[key].types == source[key].types, key
        assert output[key].contents() == source[key].contents(), key
    assert output["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_Q8_0


@pytest.mark.tools
@pytest.mark.parametrize("quant", QUANTS)
def test_tensors_are_those_of_llama_quantize(
    made: Path, tiny: Path, tools_bin: Path, tmp_path: Path, quant: str
) -> None:
    """To the byte. The one difference of the mixes: llama.cpp gives the output matrix of the 4
    and 5 bit quants Q6_K, which numpy can't write; here it gets Q8_0."""
    env = {"DEPLOYQ_LLAMA_CPP": str(tools_bin), "DEPLOYQ_CACHE_DIR": str(tmp_path / "cache")}
    theirs = tmp_path / "llamacpp.gguf"
    LlamaCppBackend(env).quantize([QuantizeJob(tiny, quant, theirs)], no_progress)
    ours = {t.name: t for t in gguf.GGUFReader(made / f"{quant}.gguf").tensors}
    differing = {}
    for other in gguf.GGUFReader(theirs).tensors:
        own = ours.pop(other.name)
        assert tuple(own.shape) == tuple(other.shape)
        if own.tensor_type != other.tensor_type:
            differing[own.name] = (own.tensor_type.name, other.tensor_type.name)
        else:
            assert own.data.tobytes() == other.data.tobytes(), own.name
    assert ours == {}
    mixed = quant.startswith(("Q4", "Q5"))
    assert differing == ({"output.weight": ("Q8_0", "Q6_K")} if mixed else {})


@pytest.mark.tools
def test_a_push_chooses_it(installed: Path, tiny: Path, tmp_path: Path, tools_bin: Path) -> None:
    (tmp_path / "suite.jsonl").write_text('{"user": "hi", "check": {"max_tokens": 512}}\n')
    (tmp_path / "deployq.toml").write_text(
        f'cache = "cache"\n[models.tiny]\nsource = "{tiny}"\nsuite = "suite.jsonl"\n'
        'parameters = { num_predict = 4, num_ctx = 256 }\n[targets.box]\npreset = "4090"\n'
        '[runtime]\nname = "embedded"\ndir = "."\n'
    )
    push = ["push", "tiny", "--backend", "numpy", "--quants", "Q8_0", "--json"]
    env = {"PYTHONPATH": str(installed), "DEPLOYQ_LLAMA_CPP": str(tools_bin)}
    ran = proc.run([sys.executable, "-m", "deployq", "-q", *push], env=env, cwd=tmp_path)
    (target,) = json.loads(ran.stdout)["targets"]
    assert target["chosen"] == "Q8_0"
    assert target["tags"][0]["status"] == "done"
    assert target["tags"][0]["steps"][0]["detail"].startswith("numpy ")

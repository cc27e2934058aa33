"""`from deployq_unsloth import push`: what is saved, what is replaced, what is started."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from deployq_unsloth import push
from deployq_unsloth.live import MARK, PushFailed

from deployq import BackendError, DiskError, SourceError


class Live:
    """What a training script holds: an object with Unsloth's methods."""

    def __init__(self, weights: bytes = b"weights", error: Exception | None = None) -> None:
        self.weights, self.error = weights, error

    def save_pretrained_merged(self, folder: str, tokenizer: Any, save_method: str) -> str:
        assert tokenizer == "tokenizer"
        if self.error:
            raise self.error
        Path(folder).mkdir()
        (Path(folder) / "config.json").write_text(json.dumps({"method": save_method}))
        if self.weights:
            (Path(folder) / "model.safetensors").write_bytes(self.weights)
        return folder


@pytest.fixture
def program(tmp_path: Path) -> list[str | Path]:
    """A command that writes down what it was given, and ends as its file `code` says."""
    script = tmp_path / "program.py"
    script.write_text(
        "import sys, json, pathlib\nhere = pathlib.Path(__file__).parent\n"
        "(here / 'argv.json').write_text(json.dumps([sys.argv[1:], sys.stdin.read()]))\n"
        "print('pushed it')\nsys.exit(int((here / 'code').read_text()))\n"
    )
    (tmp_path / "code").write_text("0")
    return [sys.executable, script]


def given(folder: Path) -> Any:
    argv, stdin = json.loads((folder / "argv.json").read_text())
    assert stdin == ""
    return argv


def test_it_saves_and_starts_the_command(
    tmp_path: Path, program: list[str | Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "deep" / "task-api"
    saved = push(
        Live(),
        "tokenizer",
        folder,
        targets=["a", "b"],
        quants="Q8_0",
        options=["--json"],
        deployq=program,
    )
    assert saved == folder
    assert json.loads((folder / "config.json").read_text()) == {"method": "merged_16bit"}
    expected = ["push", str(folder), "--targets", "a,b", "--json", "--quants", "Q8_0", "--yes"]
    assert given(tmp_path) == expected
    assert "pushed it" in capsys.readouterr().out
    assert [path.name for path in folder.parent.iterdir()] == ["task-api"]


def test_its_own_folder_is_replaced_and_no_other(tmp_path: Path, program: list[str | Path]) -> None:
    folder = tmp_path / "saved"
    push(Live(b"1"), "tokenizer", folder, targets="a", name="m", deployq=program)
    push(Live(b"2"), "tokenizer", folder, targets="a", name="m", deployq=program)
    assert (folder / "model.safetensors").read_bytes() == b"2"
    assert given(tmp_path)[1] == "m"
    (folder / MARK).unlink()
    with pytest.raises(DiskError, match="was not saved by deployq"):
        push(Live(b"3"), "tokenizer", folder, targets="a", deployq=program)
    assert (folder / "model.safetensors").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [
        (object(), SourceError, "object has no save_pretrained_merged"),
        (Live(b""), SourceError, "saved no whole model"),
        (Live(error=NotImplementedError("4-bit on CPU")), BackendError, "4-bit on CPU"),
        (Live(error=OSError(28, "No space left on device")), DiskError, "No space left"),
    ],
)
def test_a_save_that_fails_leaves_what_was_there(
    tmp_path: Path, program: list[str | Path], model: Any, kind: type[Exception], said: str
) -> None:
    folder = tmp_path / "saved"
    push(Live(b"1"), "tokenizer", folder, targets="a", deployq=program)
    (tmp_path / "argv.json").unlink()
    with pytest.raises(kind, match=said):
        push(model, "tokenizer", folder, targets="a", deployq=program)
    assert (folder / "model.safetensors").read_bytes() == b"1"
    assert not (tmp_path / "argv.json").exists()
    assert not list(tmp_path.glob(".*partial"))


def test_the_real_command_and_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(PushFailed, match="saved") as caught:
        push(Live(), "tokenizer", tmp_path / "saved", targets="laptop")
    assert caught.value.exit_code in (1, 2)

"""`deployq measure` and `deployq bench`, with importance matrices, as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

from deployq.ggml import padded
from tests.cli.conftest import Project
from tests.cli.test_bad_input import complained
from tests.tiny import write_tiny_llama

STORY = "A tiny model read a text that was long enough to be cut. " * 30
SUITE = "options = { num_predict = 8 }\ncheck.max_tokens = 8\n" + "".join(
    f'[[prompts]]\nname = "p{n}"\nuser = "Question {n}, at some length?"\n' for n in range(12)
)
CUT = ("--context", "64", "--chunks", "4")


@pytest.fixture
def ready(project: Project) -> Project:
    project.write("story.txt", STORY)
    project.write("suite.toml", SUITE)
    return project


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("measure", "tiny-f16.gguf"), 2, ("no text", "--text FILE")),
        (("measure", "tiny", "--text", "gone.txt"), 2, ("cannot read the text", "gone.txt")),
        (("measure", "tiny", "--text", "empty.txt"), 2, ("empty.txt is empty",)),
        (("measure", "tiny", "--text", "latin.txt"), 2, ("not UTF-8",)),
        (("measure", "tiny", "--text", "story.txt", "--from-suite"), 2, ("don't go together",)),
        (("measure", "tiny", "--text", "story.txt", "--quants", "Q4_K_X"), 2, ("no quant",)),
        (("measure", "tiny", "--text", "story.txt", "--meter", "nose"), 1, ("no meter 'nose'",)),
        (("measure", "tiny", "--jsonl", "bad.jsonl"), 2, ("line 1 is not valid JSON",)),
        (("measure", "tiny-f16.gguf", "--from-suite"), 2, ("no text",)),
        (("measure", "tiny", "--suite", "empty.toml"), 2, ("has no prompts",)),
        (("measure", "tiny", "--text", "story.txt", "--quants", "IQ1_S"), 2, ("--imatrix suite",)),
        (("measure", "tiny-f16.gguf", "--text", "story.txt", "--imatrix", "suite"), 2,
         ("has no suite",)),
        (("bench", "tiny", "--no-text", "--from-suite"), 2, ("don't go together",)),
        (("bench", "tiny", "--format", "xml"), 2, ("'xml'",)),
        (("plan", "tiny", "--imatrix", "gone.gguf", "--quants", "IQ1_S"), 0, ()),
    ],
)  # fmt: skip
def test_mistakes(
    ready: Project, arguments: tuple[str, ...], code: int, said: tuple[str, ...]
) -> None:
    ready.write("empty.txt", " \n")
    ready.write("empty.toml", 'name = "nothing"\n')
    ready.write("bad.jsonl", "{")
    (ready.folder / "latin.txt").write_bytes(b"\xe4" * 9)
    ran = ready.run(*arguments)
    if code:
        complained(ran, code, *said)
    else:
        assert ran.code == 0, ran.err


@pytest.mark.tools
@pytest.mark.usefixtures("tools_bin")
def test_a_text_that_is_too_short(ready: Project) -> None:
    ready.write("short.txt", "Too short.")
    ran = ready.run("measure", "tiny", "--text", "short.txt", "--quants", "Q8_0")
    complained(ran, 1, "short.txt is too short")


@pytest.mark.tools
@pytest.mark.usefixtures("tools_bin")
def test_a_matrix_of_another_model(ready: Project) -> None:
    """Made of another model by the real tool, given to this one."""
    write_tiny_llama(ready.folder / "other-f16.gguf", n_ff=768)
    text = (Path(ready.folder) / "deployq.toml").read_text(encoding="utf-8")
    ready.write("deployq.toml", text + '[models.other]\nsource = "other-f16.gguf"\n'
                'suite = "suite.toml"\nimatrix = "suite"\n')  # fmt: skip
    made = ready.run("measure", "other", "--text", "story.txt", "--quants", "Q4_0", *CUT)
    assert made.code == 0, made.err
    (matrix,) = ready.folder.glob("cache/imatrix/*/imatrix.gguf")
    given = ("--imatrix", str(matrix.relative_to(ready.folder)), "--quants", "Q4_0")
    ran = ready.run("measure", "tiny", "--text", "story.txt", *given, *CUT)
    complained(ran, 1, "is of another model", "ffn_down", "tiny-f16.gguf needs 1 x 512")


@pytest.mark.tools
@pytest.mark.usefixtures("tools_bin")
def test_no_tools(ready: Project) -> None:
    none = {"DEPLOYQ_LLAMA_CPP": "none"}
    ran = ready.run("measure", "tiny", "--text", "story.txt", **none)
    complained(ran, 6, "llama-perplexity", "deployq tools install")
    complained(ready.run("bench", "tiny", **none), 6, "llama-bench", "deployq tools install")


# ---------------------------------------------------------------- what goes well


@pytest.mark.tools
@pytest.mark.usefixtures("tools_bin")
def test_a_plain_text(ready: Project) -> None:
    left = ready.folder / "cache" / "measure-999999999-killed"
    left.mkdir(parents=True)
    ran = ready.run(
        "measure", "tiny", "--text", "story.txt", "--quants", "Q8_0,Q2_K", *CUT, "--json"
    )
    assert ran.code == 0, ran.err
    full, q8, q2 = ran.json["quants"]
    assert (full["quant"], q8["quant"], q2["quant"]) == ("F16", "Q8_0", "Q2_K")
    assert full["score"]["kl_divergence"] is None
    assert 0 < q8["score"]["kl_divergence"]["value"] < q2["score"]["kl_divergence"]["value"]
    assert full["score"]["perplexity"]["error"] > 0
    assert ran.json["comparison"]["tokens"] == 4 * 31
    assert not list(ready.folder.glob("cache/measure-*"))


@pytest.mark.tools
@pytest.mark.usefixtures("tools_bin")
def test_conversations_and_a_matrix_made_of_them(ready: Project) -> None:
    """The gain of a matrix: with and without, at equal bytes but for what its header says."""
    arguments = ("measure", "tiny", "--from-suite", "--imatrix", "suite", *CUT)
    ran = ready.run(*arguments, "--quants", "Q4_K_M,IQ2_XS", "--json")
    assert ran.code == 0, ran.err
    names = [(row["quant"], row["imatrix"] is not None) for row in ran.json["quants"]]
    assert names == [("F16", False), ("Q4_K_M", False), ("Q4_K_M", True), ("IQ2_XS", True)]
    without, with_it = (row["file_bytes"] for row in ran.json["quants"][1:3])
    assert 0 <= with_it - without <= padded(256)
    assert any("made of this very text" in note for note in ran.json["notes"])
    (text,) = ready.folder.glob("cache/texts/*.txt")
    assert text.read_text().count("<|im_start|>user") == 12
    assert text.read_text().count("<|im_start|>assistant") == 12
    before = {p: p.stat().st_mtime_ns for p in ready.folder.glob("cache/imatrix/*/imatrix.gguf")}
    again = ready.run(*arguments, "--quants", "Q4_K_M", "--markdown")
    assert again.code == 0, again.err
    assert not any(line.startswith("imatrix: ") for line in again.err.splitlines())
    assert "| Q4\\_K\\_M + imatrix |" in again.out
    after = {p: p.stat().st_mtime_ns for p in ready.folder.glob("cache/imatrix/*/imatrix.gguf")}
    assert before == after
    assert len(before) == 1


@pytest.mark.tools
@pytest.mark.usefixtures("tools_bin")
def test_a_plugins_meter_is_a_column_of_its_own(ready: Project) -> None:
    info = ready.folder / "nose-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nose\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[deployq]\nnose = nose\n")
    ready.write(
        "nose.py",
        "from deployq import Health, Measurement, hookimpl\n"
        "class Nose:\n"
        "    name, unit = 'nose', 'smells'\n"
        "    def health(self):\n        return Health(True, '1')\n"
        "    def measure(self, artifact, text, progress):\n"
        "        return Measurement(artifact.stat().st_size / text.stat().st_size, 'smells')\n"
        "@hookimpl\ndef deployq_meters():\n    return (Nose(),)\n",
    )
    path = os.pathsep.join([str(ready.folder), os.environ.get("PYTHONPATH", "")])
    asked = ("measure", "tiny", "--text", "story.txt", "--quants", "Q8_0", "--meter", "nose")
    ran = ready.run(*asked, "--json", PYTHONPATH=path)
    assert ran.code == 0, ran.err
    full, q8 = ran.json["quants"]
    assert full["figure"]["value"] == ready.model.stat().st_size / len(STORY)
    assert q8["figure"]["unit"] == "smells"
    shown = ready.run(*asked, PYTHONPATH=path)
    assert "smells" in shown.out


@pytest.mark.tools
@pytest.mark.usefixtures("tools_bin")
def test_the_table(ready: Project) -> None:
    asked = (
        "bench", "tiny", "--quants", "Q8_0", "--repeats", "2", "--prompt-tokens", "16",
        "--answer-tokens", "4", "--context", "256", "--threads", "1", "--text", "story.txt",
    )  # fmt: skip
    table = ready.run(*asked, COLUMNS="160")
    assert table.code == 0, table.err
    for title in ("quant", "size", "bits/w", "perplexity", "load", "prompt t/s", "memory"):
        assert title in table.out
    assert "llama-bench" in table.out
    rows = list(csv.DictReader(io.StringIO(ready.run(*asked, "--format", "csv").out)))
    assert [row["quant"] for row in rows] == ["F16", "Q8_0"]
    assert all(float(row["answer_tokens_per_second"]) > 0 for row in rows)
    assert all(float(row["load_seconds"]) > 0 for row in rows)
    assert int(rows[0]["file_bytes"]) == ready.model.stat().st_size
    document = json.loads(ready.run(*asked, "--json").out)
    speeds = document["quants"][1]["speeds"]
    assert len(speeds["generation"]["values"]) == 2
    assert speeds["memory_bytes"] > 0
    assert document["options"]["prompt_tokens"] == 16


@pytest.mark.tools
@pytest.mark.usefixtures("tools_bin")
def test_a_pushed_tag_knows_its_matrix(ready: Project) -> None:
    """In the lockfile, in the artifact's key, and in what status compares."""
    ready.write("deployq.toml", (ready.folder / "deployq.toml").read_text().replace(
        '"Q4_K_M"]\n', '"Q4_K_M"]\nimatrix = "suite"\n'))  # fmt: skip
    asked = ("push", "tiny", "--targets", "laptop", "--quants")
    plain = ready.run(*asked, "Q4_K_M", "--imatrix", "none", "--json")
    assert plain.code == 0, plain.err
    assert "imatrix_digest" not in (ready.folder / "deployq.lock").read_text()
    pushed = ready.run(*asked, "Q4_K_M", "--json")
    assert pushed.code == 0, pushed.err
    (matrix,) = ready.folder.glob("cache/imatrix/*/imatrix.gguf")
    lock = (ready.folder / "deployq.lock").read_text()
    assert "imatrix_digest = " in lock
    assert len(list(ready.folder.glob("cache/artifacts/*/*/model.gguf"))) == 2
    again = ready.run(*asked, "Q4_K_M", "--json")
    assert {tag["status"] for tag in again.json["targets"][0]["tags"]} == {"unchanged"}
    assert matrix.stat().st_mode & 0o222 == 0

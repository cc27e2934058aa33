"""What only a real Ollama can tell; its parser and its server against ours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployq.errors import ModelfileError, ServerRefused
from deployq.tags.context import context
from deployq.tags.modelfile import Modelfile, dump, parse
from deployq.tags.records import same_parameters
from deployq.tags.server import Server
from deployq.tags.templates import environment, render_modelfile
from deployq.types import Artifact, Endpoint, Message
from tests.tags.conftest import artifact_of, keeps_weights, ollama_create
from tests.tags.test_registry import put, staged
from tests.tiny import write_tiny_llama

pytestmark = pytest.mark.ollama

MODELFILES = [
    "FROM m.gguf\nPARAMETER num_ctx 512\nPARAMETER temperature 0.7\nPARAMETER stop END\n",
    'FROM m.gguf\nSYSTEM say "hi"  \nPARAMETER seed -1\nPARAMETER use_mmap true\n',
    'FROM m.gguf\nSYSTEM "say "hi" now"\nMESSAGE user a: b\nMESSAGE assistant """c\n\n"d\n"""',
    'from m.gguf\r\n# c\r\nsystem """\r\n  two\r\n"lines"   \r\n"""\r\nparameter stop """\nU:"""',
    'FROM m.gguf\nLICENSE MIT\nLICENSE """Two\nlines"""\nREQUIRES v0.30.0\nSYSTEM "x\ny"',
    'FROM m.gguf\nTEMPLATE """{{ .System }}\n{{ .Prompt }}"""\nSYSTEM """"q"""',
    'FROM m.gguf\nSYSTEM """ends in a quote""""\nPARAMETER stop "\t"\nPARAMETER min_p 1e-3',
]
# What `parse` refuses, and the system prompt that Ollama makes of it.
MISREAD = [
    ("SYSTEM You are # a comment", "You are # a comment"),
    ("SYSTEM 'single'", "'single'"),
    ("SYSTEM one\nSYSTEM two", "two"),
    ('SYSTEM """a""" # c\nLICENSE """b"""', 'a""" # c\nLICENSE """b'),
    ('SYSTEM "a\nLICENSE "b"', 'a\nLICENSE "b'),
    ("SYSTEM a\x07b", "ab"),
    ('SYSTEM ""', ""),
]


@pytest.fixture
def real(real_ollama: Endpoint) -> Iterator[Server]:
    with Server(real_ollama.url) as server:
        yield server
        for name in server.names():
            server.delete(name)


@pytest.fixture(scope="module")
def untemplated(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Weights with no chat template: Ollama adds none of its own, and no stop."""
    path = tmp_path_factory.mktemp("m") / "m.gguf"
    return artifact_of(write_tiny_llama(path, n_layer=1, chat_template=None))


@pytest.mark.parametrize("number", range(len(MODELFILES)))
def test_ollamas_own_parser_reads_what_ours_reads(
    real: Server, ollama_binary: Path, untemplated: Artifact, tmp_path: Path, number: int
) -> None:
    """`ollama create -f` of the text, of what `dump` makes of it, and our create: all the same."""
    ours = parse(MODELFILES[number])
    shutil.copy(untemplated.path, tmp_path / "m.gguf")
    for name, text in (("theirs", MODELFILES[number]), ("dumped", dump(ours))):
        (tmp_path / name).write_bytes(text.encode())
        ollama_create(ollama_binary, real.url, name, tmp_path / name)
    real.upload_blob(untemplated.path, untemplated.digest)
    real.create("ours", ours, {"m.gguf": untemplated.digest})
    for name in ("theirs", "dumped", "ours"):
        shown = real.show(name)
        assert shown.system == ours.system
        assert shown.template == (ours.template or "{{ .Prompt }}")
        assert shown.requires == ours.requires
        assert shown.messages == tuple((m.role, m.content) for m in ours.messages)
        assert shown.license == "\n".join(ours.license)
        assert set(shown.parameters) == set(ours.parameters)
        assert same_parameters(ours.parameters, shown.parameters)


@pytest.mark.parametrize(("lines", "system"), MISREAD)
def test_what_ours_refuses_is_misread_by_ollama(
    real: Server,
    ollama_binary: Path,
    untemplated: Artifact,
    tmp_path: Path,
    lines: str,
    system: str,
) -> None:
    text = f"FROM m.gguf\n{lines}\n"
    with pytest.raises(ModelfileError, match="line "):
        parse(text)
    shutil.copy(untemplated.path, tmp_path / "m.gguf")
    (tmp_path / "Modelfile").write_text(text)
    ollama_create(ollama_binary, real.url, "misread", tmp_path / "Modelfile")
    assert real.show("misread").system == system


def test_a_rendered_modelfile_is_what_the_tag_holds(real: Server, tiny: Artifact) -> None:
    text = render_modelfile(
        environment(),
        None,
        context(
            model="task-api",
            architecture="llama",
            quant="F16",
            from_="task-api-F16.gguf",
            parameters={"num_ctx": 512, "temperature": 0},
            system='Answer "in JSON".\n',
            stops=("<|im_end|>",),
        ),
    )
    modelfile = parse(text)
    ready = put(real, tiny, modelfile)
    shown = real.show("task-api:f16")
    assert shown.system == modelfile.system
    assert same_parameters(modelfile.parameters, shown.parameters)
    kept = keeps_weights(real)
    assert shown.details["parent_model"] == ("task-api-F16.gguf" if kept else "")
    assert (ready.blob_digest == tiny.digest) == kept


def test_a_staged_tag_answers_before_it_has_its_name(real: Server, tiny: Artifact) -> None:
    real.ensure_supported()
    name = str(staged(real, tiny, Modelfile("task-api-F16.gguf", {"num_ctx": 512})).staging)
    assert real.names() == [name]
    messages = [Message("user", "hi")]
    options = {"num_predict": 4, "temperature": 0, "seed": 1}
    answer = real.chat(name, messages, options=options)
    assert 0 < answer.tokens <= 4
    assert answer.prompt_tokens > 0
    assert answer.done_reason in ("stop", "length")
    assert real.chat(name, messages, options=options).text == answer.text
    assert "<|im_start|>user\nhi<|im_end|>" in (real.render(name, messages) or "")
    (loaded,) = [m for m in real.ps() if m.name == name]
    assert loaded.n_ctx == 512


def test_generate_with_log_probabilities(real: Server, tiny: Artifact) -> None:
    real.upload_blob(tiny.path, tiny.digest)
    real.create("t:f16", Modelfile("t.gguf", {"num_ctx": 512}), {"t.gguf": tiny.digest})
    real.load("t:f16")
    answer = real.generate(
        "t:f16", "a", raw=True, options={"num_predict": 3, "temperature": 0}, top_logprobs=2
    )
    logprobs = answer.raw["logprobs"]
    assert isinstance(logprobs, list)
    assert len(logprobs) == answer.tokens
    real.unload("t:f16")


def test_a_large_blob_is_uploaded_as_it_is_read(real: Server, tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "big.gguf", n_layer=8, n_embd=512, n_ff=2048, seed=3)
    artifact = artifact_of(path)
    told: list[float] = []
    assert real.upload_blob(path, artifact.digest, lambda _t, done, _n, _u: told.append(done))
    assert told == sorted(told)
    assert len(told) > 10
    assert told[-1] == artifact.file_bytes
    assert real.has_blob(artifact.digest)
    real.upload_blob(path, artifact.digest)  # it may hang up on what it has: no error
    with pytest.raises(ServerRefused, match="digest mismatch"):
        real.upload_blob(path, "0" * 64)


def test_what_a_real_create_refuses(real: Server, tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"this is no model")
    artifact = artifact_of(junk)
    real.upload_blob(junk, artifact.digest)
    with pytest.raises(ServerRefused, match=r"unsupported file type|not in GGUF format") as caught:
        real.create("junk", Modelfile("junk.gguf"), {"junk.gguf": artifact.digest})
    assert caught.value.status is None
    assert real.tag("junk") is None

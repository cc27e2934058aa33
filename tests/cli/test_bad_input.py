"""What goes wrong gives one message: the object, the cause, what mends it; and its exit code."""

from __future__ import annotations

import http.server
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import CONFIG, Project, Ran
from tests.small_disks import mounted


def complained(ran: Ran, code: int, *said: str) -> None:
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    assert "error: " in ran.err.lower()
    for words in said:
        assert words in ran.err


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plan", "tny"), ("there is no model 'tny'", "did you mean tiny?")),
        (("plan", "tiny", "--targets", "laptp"), ("no target 'laptp'", "did you mean laptop?")),
        (("plan", "tiny", "--quants", "Q4_K_X"), ("no quant 'Q4_K_X'", "did you mean")),
        (("plan", "tiny", "--quants", "IQ1_S"), ("IQ1_S", "importance matrix")),
        (("plan", "tiny", "--memory", "24"), ("'24' is a number without a unit", "24GB")),
        (("plan", "tiny", "--cache-type", "q9"), ("q9",)),
        (("plan", "tiny", "--kind", "gpu"), ("'gpu'",)),
        (("psh", "tiny"), ("No such command 'psh'",)),
        (("push",), ("Missing argument 'MODEL'",)),
    ],
)
def test_a_wrong_word(project: Project, arguments: tuple[str, ...], said: tuple[str, ...]) -> None:
    complained(project.run(*arguments), 2, *said)


def test_an_unknown_runtime_and_backend(project: Project) -> None:
    complained(project.run("list", "--runtime", "dockr"), 1, "no runtime 'dockr'", "embedded")
    ran = project.run("push", "tiny", "--backend", "lama", "--targets", "box")
    complained(ran, 1, "no backend 'lama'", "llamacpp")


def test_an_unknown_key(project: Project) -> None:
    project.write("deployq.toml", CONFIG.replace("suite =", "siute ="))
    complained(project.run("plan", "tiny"), 2, "unknown key models.tiny.siute", "suite?")


# ---------------------------------------------------------------- the model


def test_a_file_that_is_no_model(project: Project) -> None:
    project.write("notes.gguf", "shopping list")
    complained(project.run("plan", "notes.gguf"), 1, "notes.gguf", "not a GGUF file")


@pytest.mark.parametrize("kept", [3, 100, 5000, -1])
def test_a_cut_model(project: Project, kept: int) -> None:
    whole = project.model.read_bytes()
    project.model.write_bytes(whole[:kept])
    complained(project.run("plan", "tiny"), 1, "tiny-f16.gguf")


@pytest.mark.tools
def test_a_quantized_model(project: Project, tools_bin: Path) -> None:
    made = project.folder / "small.gguf"

    subprocess.run(
        [tools_bin / "llama-quantize", project.model, made, "Q8_0"], check=True, capture_output=True
    )
    ran = project.run("push", "small.gguf", "--targets", "box")
    complained(ran, 1, "quantized already", "--allow-requantize")


def test_nothing_fits(project: Project) -> None:
    ran = project.run("plan", "tiny", "--memory", "1MB", "--kind", "vram", "--json")
    assert ran.code == 3
    target = ran.json["targets"][0]
    assert target["chosen"] is None
    assert {c["verdict"] for c in target["candidates"]} == {"no"}


def test_a_model_table_without_a_source(project: Project) -> None:
    project.write("deployq.toml", '[models.tiny]\nquants = ["Q8_0"]\n')
    complained(project.run("plan", "tiny"), 2, "models.tiny has no source")


# ---------------------------------------------------------------- templates and suites


def test_a_template_that_does_not_render(project: Project) -> None:
    project.write("mine.j2", "FROM {{ from_ }}\nSYSTEM {{ sytem }}\n")
    project.write("deployq.toml", CONFIG.replace("suite =", 'template = "mine.j2"\nsuite ='))
    complained(project.run("push", "tiny"), 2, "mine.j2", "line 2", "sytem", "system?")


def test_a_parameter_that_ollama_does_not_know(project: Project) -> None:
    project.write("deployq.toml", CONFIG.replace("temperature = 0", "temprature = 0"))
    for command in ("plan", "push"):
        said = ("deployq.toml: models.tiny.parameters.temprature", "did you mean temperature?")
        complained(project.run(command, "tiny"), 2, *said)


def test_a_line_that_the_users_own_template_renders(project: Project) -> None:
    project.write("mine.j2", "FROM {{ from_ }}\nPARAMETER top_k many\n")
    project.write("deployq.toml", CONFIG.replace("suite =", 'template = "mine.j2"\nsuite ='))
    said = ("Modelfile of tiny:q8_0, as ", "mine.j2 renders it, line 2: PARAMETER top_k: 'many'")
    complained(project.run("push", "tiny"), 2, *said)


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        ("threshold = 2\n[[prompts]]\nuser = 'x'", "threshold"),
        ("[[prompts]]\nuser = 'x'\ncheck.contians = 'y'", "contians"),
        ("[[prompts]]\nuser = 'x'\ncheck.regex = '('", "regex"),
        ("[[prompts]]\nuser = 3", "user"),
        ("name = 'empty'", "no prompts"),
        ("[[prompts", "suite.toml"),
    ],
)
def test_a_suite_with_a_mistake(project: Project, suite: str, said: str) -> None:
    project.write("suite.toml", suite)
    complained(project.run("push", "tiny"), 2, "suite.toml", said)


def test_a_suite_that_is_not_there(project: Project) -> None:
    (project.folder / "suite.toml").unlink()
    complained(project.run("push", "tiny"), 2, "suite.toml")


# ---------------------------------------------------------------- tools and disk


def test_no_llama_cpp_tool(project: Project) -> None:
    ran = project.run("push", "tiny", "--targets", "box", DEPLOYQ_LLAMA_CPP="none")
    complained(ran, 6, "llama-quantize", "deployq tools install")


def test_a_plan_needs_no_tool(project: Project) -> None:
    ran = project.run("plan", "tiny", "--json", DEPLOYQ_LLAMA_CPP="none")
    assert ran.code == 0
    assert ran.json["targets"][0]["chosen"] == "Q4_K_M"


@pytest.mark.tools
def test_plans_with_and_without_the_tools_agree(project: Project, tools_bin: Path) -> None:
    assert tools_bin
    quants = "F16,Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q3_K_M,Q2_K"
    asked = project.run("plan", "tiny", "--quants", quants, "--json").json
    alone = project.run("plan", "tiny", "--quants", quants, "--json", DEPLOYQ_LLAMA_CPP="none").json
    sizes = [
        [(c["quant"], c["file_bytes"], c["fallback_tensors"]) for c in t["candidates"]]
        for t in asked["targets"]
    ]
    assert sizes == [
        [(c["quant"], c["file_bytes"], c["fallback_tensors"]) for c in t["candidates"]]
        for t in alone["targets"]
    ]


# ---------------------------------------------------------------- servers


class Answers(http.server.BaseHTTPRequestHandler):
    """A server that answers everything with one body."""

    body = b"{}"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that answers `request.param` to everything."""
    handler = type("Handler", (Answers,), {"body": request.param})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_is_not_there(project: Project) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    complained(project.run("list", "--host", address), 5, address)
    complained(project.run("list", "--runtime", "ollama", OLLAMA_HOST=address), 5, address)


@pytest.mark.parametrize("answering", [b'{"version": "0.5.1"}'], indirect=True)
def test_a_server_that_is_too_old(project: Project, answering: str) -> None:
    complained(project.run("list", "--host", answering), 5, "0.5.1", "0.30")


@pytest.mark.parametrize("answering", [b"<html>Welcome</html>", b'{"ok": 1}'], indirect=True)
def test_a_server_that_is_no_ollama(project: Project, answering: str) -> None:
    complained(project.run("list", "--host", answering), 5, answering)


@pytest.mark.tools
def test_a_failing_host_stops_only_its_target(project: Project, tools_bin: Path) -> None:
    assert tools_bin
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{free.getsockname()[1]}"
    config = CONFIG.replace('kind = "ram"', f'kind = "ram"\nhost = "{gone}"')
    project.write("deployq.toml", config.replace('runtime]\nname = "embedded"', "runtime]"))
    ran = project.run("push", "tiny", "--targets", "laptop", "--json")
    assert ran.code == 5
    (target,) = ran.json["targets"]
    assert target["status"] == "failed"
    assert gone in target["reason"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB: what a full disk looks like."""
    with mounted(tmp_path / "disk", "1m") as folder:
        yield folder


@pytest.mark.tools
def test_no_room_for_artifacts(project: Project, tools_bin: Path, tiny_disk: Path) -> None:
    assert tools_bin
    cache = str(tiny_disk / "cache")
    ran = project.run("push", "tiny", "--targets", "box", "--json", DEPLOYQ_CACHE_DIR=cache)
    complained(ran, 1, "disk: artifacts", "are free", "`cache`")
    assert not list(tiny_disk.rglob("*.gguf"))


@pytest.mark.tools
def test_no_room_for_the_server(project: Project, tools_bin: Path, tiny_disk: Path) -> None:
    assert tools_bin
    project.write("deployq.toml", CONFIG.replace('dir = "."', f'dir = "{tiny_disk}"'))
    ran = project.run("push", "tiny", "--targets", "box", "--quants", "Q8_0")
    complained(ran, 1, "the server's models", "are free")
    assert not list((tiny_disk / "embedded" / "models" / "manifests").rglob("q8_0"))

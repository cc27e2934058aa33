"""`ollama:TAG` as a source: the weights of a tag that a server on this machine holds."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Project
from tests.ollama_fixtures import free_port
from tests.tags.small_ollama import small_ollama


def held(project: Project, *quants: str) -> None:
    """The project's own server holds the model in these quants."""
    quants = ("--quants", ",".join(quants))
    done = project.run("push", str(project.model), "--targets", "laptop", *quants, "--yes")
    assert done.code == 0, done.err


@pytest.mark.usefixtures("tools_bin")
@pytest.mark.tools
def test_a_full_precision_tag_is_a_source_and_stays_as_it_is(
    project: Project,
) -> None:
    held(project, "F16", "Q8_0")
    blobs = {f: f.read_bytes() for f in (project.folder / "embedded/models/blobs").iterdir()}
    plan = project.run("plan", "ollama:tiny:f16", "--targets", "box")
    assert plan.code == 0, plan.err
    notes = project.run("inspect", "ollama:tiny:f16", "--json").json["notes"]
    assert notes[0].startswith("source: the weights of the tag tiny:f16")
    assert notes[1] == "not taken from that tag: parameters"
    project.write(
        "deployq.toml",
        (project.folder / "deployq.toml").read_text()
        + '[models.copied]\nsource = "ollama:tiny:f16"\nsuite = "suite.toml"\n',
    )
    pushed = project.run("push", "copied", "--targets", "laptop", "--yes", "--json")
    assert pushed.code == 0, pushed.err
    assert 'source = "ollama:tiny:f16"' in (project.folder / "deployq.lock").read_text()
    again = project.run("push", "copied", "--targets", "laptop", "--yes", "--json")
    assert {t["status"] for t in again.json["targets"]} == {"unchanged"}
    assert all(file.read_bytes() == content for file, content in blobs.items())
    status = project.run("status", "--json").json["tags"]
    assert [t["reasons"] for t in status if t["tag"].startswith("copied:")] == [[], []]


@pytest.mark.usefixtures("tools_bin")
@pytest.mark.tools
def test_a_quantized_tag_and_one_that_is_not_there(project: Project) -> None:
    held(project, "Q8_0")
    refused = project.run("plan", "ollama:tiny:q8_0", "--targets", "box")
    assert refused.code == 1
    assert "ollama:tiny:q8_0: is quantized already (Q8_0" in refused.err
    assert "give a full-precision tag" in refused.err
    wrong = project.run("plan", "ollama:tiny:q8", "--targets", "box")
    assert wrong.code == 2
    assert "has no such tag; did you mean tiny:q8_0?" in wrong.err


def on_small(project: Project, url: str, **env: str) -> tuple[int, str]:
    project.write("deployq.toml", 'cache = "cache"\n[runtime]\nname = "ollama"\n')
    done = project.run("plan", "ollama:big:f16", "--memory", "8GB", OLLAMA_HOST=url, **env)
    return done.code, done.err


def tag(digest: str, **more: object) -> dict[str, object]:
    return {"model": "big:f16", "blob": f"sha256:{digest}", "size": 1, **more}


def test_weights_that_are_not_in_the_store_of_this_machine(project: Project) -> None:
    (project.folder / "models" / "blobs").mkdir(parents=True)
    with small_ollama() as server:
        server.tags["big:f16"] = tag("0" * 64)
        code, err = on_small(project, server.url, OLLAMA_MODELS=str(project.folder / "models"))
    assert code == 1
    assert "its weights are not in" in err
    assert "OLLAMA_MODELS" in err


def test_a_tag_that_runs_elsewhere(project: Project) -> None:
    with small_ollama() as server:
        server.tags["big:f16"] = tag("0" * 64)
        server.fail["/api/show"] = (200, {"modelfile": "FROM big:cloud\n", "details": {}})
        code, err = on_small(project, server.url)
    assert (code, "it runs elsewhere" in err) == (1, True)


def test_a_tag_with_an_adapter_is_no_source(project: Project) -> None:
    digest = "0" * 64
    modelfile = f"FROM <PATH>/blobs/sha256-{digest}\nADAPTER <PATH>/blobs/sha256-{digest}\n"
    with small_ollama() as server:
        server.tags["big:f16"] = tag(digest)
        server.fail["/api/show"] = (200, {"modelfile": modelfile, "details": {}})
        code, err = on_small(project, server.url)
    assert (code, "LoRA adapter beside it" in err) == (1, True)


def test_no_server(project: Project) -> None:
    code, _ = on_small(project, f"http://127.0.0.1:{free_port()}")
    assert code == 5

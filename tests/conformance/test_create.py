"""Create: status lines, what is stored, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.server import Server, digest_of, fresh_name

KEPT = (0, 34, 1)  # from here on a GGUF is stored as it was sent


def created_lines(server: Server, gguf: Path, **more: object) -> list[str]:
    digest = server.upload(gguf)
    lines = server.lines("/api/create", files={gguf.name: digest}, **more)
    return [line["status"] for line in lines]


def test_streamed_create_tells_its_steps(server: Server, tiny: Path) -> None:
    name = fresh_name("steps")
    said = created_lines(server, tiny, model=name, system=f"a system text for {name}")
    assert said[0] == "parsing GGUF"
    assert said[-2:] == ["writing manifest", "success"]
    assert any(line.startswith("creating new layer sha256:") for line in said)
    if server.version >= KEPT:
        assert said[1] == f"using existing layer {server.upload(tiny)}"


def test_create_without_streaming_is_one_object(server: Server, tiny: Path) -> None:
    files = {tiny.name: server.upload(tiny)}
    name = fresh_name("one")
    assert server.ok("/api/create", model=name, files=files) == {"status": "success"}
    assert f"{name}:latest" in server.tags()


def test_the_uploaded_gguf_is_the_layer(server: Server, tiny: Path) -> None:
    name = fresh_name("layer")
    server.create(name, tiny)
    if server.version < KEPT:
        pytest.skip("named difference by version: before 0.34.1 the GGUF was rewritten")
    shown = server.ok("/api/show", model=name)["modelfile"]
    assert f"/blobs/{server.upload(tiny).replace(':', '-')}\n" in shown


def test_file_without_extension_is_known_by_its_magic(server: Server, tiny: Path) -> None:
    name = fresh_name("magic")
    server.ok("/api/create", name=name, files={"model": server.upload(tiny)})
    assert f"{name}:latest" in server.tags()


def test_everything_given_is_shown_again(server: Server, tiny: Path) -> None:
    name = fresh_name("full")
    server.create(
        name,
        tiny,
        system="Be terse.",
        parameters={"temperature": 0, "num_predict": 4, "top_p": 0.5, "stop": ["\nU:", "END"]},
        messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
        license=["License A", "License B"],
    )
    shown = server.ok("/api/show", model=name)
    assert shown["system"] == "Be terse."
    assert shown["license"] == "License A\nLicense B"
    assert shown["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
    ]
    parameters = set(shown["parameters"].splitlines())
    assert parameters >= {
        "temperature                    0",
        "num_predict                    4",
        "top_p                          0.5",
        'stop                           "\\nU:"',
        'stop                           "END"',
    }
    for line in (
        "SYSTEM Be terse.",
        "PARAMETER temperature 0",
        'PARAMETER stop "\nU:"',
        "PARAMETER stop END",
        "LICENSE License A",
        "MESSAGE user hi",
        "MESSAGE assistant hello",
    ):
        assert f"{line}\n" in shown["modelfile"]


def test_from_another_tag_merges_parameters_and_inherits_the_rest(
    server: Server, tiny: Path
) -> None:
    parent, child = fresh_name("parent"), fresh_name("child")
    server.create(parent, tiny, system="base system", parameters={"temperature": 0.5, "top_k": 10})
    said = server.lines(
        "/api/create", **{"model": child, "from": parent, "parameters": {"temperature": 0}}
    )
    assert said[0]["status"].startswith("using existing layer sha256:")
    assert said[-1] == {"status": "success"}
    shown = server.ok("/api/show", model=child)
    assert shown["system"] == "base system"
    assert "top_k                          10" in shown["parameters"]
    assert "temperature                    0" in shown["parameters"].splitlines()
    weights = [line for line in shown["modelfile"].splitlines() if line.startswith("FROM ")]
    assert weights[0] in server.ok("/api/show", model=parent)["modelfile"]


def test_overwriting_asks_nothing_and_drops_what_nobody_uses(server: Server, tiny: Path) -> None:
    name = fresh_name("over")
    first, second = f"first of {name}", f"second of {name}"
    server.create(name, tiny, system=first)
    assert server.head_blob(digest_of(first.encode())) == 200
    server.create(name, tiny, system=second)
    assert server.ok("/api/show", model=name)["system"] == second
    assert server.head_blob(digest_of(first.encode())) == 404
    assert server.head_blob(digest_of(second.encode())) == 200


def test_letter_case_makes_no_other_name(server: Server, tiny: Path) -> None:
    name = fresh_name("case")
    server.create(f"{name}:q4_k_m", tiny, system="first")
    server.create(f"{name.upper()}:Q4_K_M", tiny, system="second")
    assert [tag for tag in server.tags() if tag.lower().startswith(name)] == [f"{name}:q4_k_m"]
    assert server.ok("/api/show", model=f"{name}:Q4_k_M")["system"] == "second"


def test_namespaces_and_hosts_are_kept(server: Server, tiny: Path) -> None:
    name = fresh_name("staged")
    for full in (f"deployq-staging/{name}:a", f"localhost/library/{name}:b"):
        server.create(full, tiny)
        assert full in server.tags()


def test_parameters_are_not_checked_at_create(server: Server, tiny: Path) -> None:
    name = fresh_name("unchecked")
    server.create(name, tiny, parameters={"temperature": "hot", "no_such": 3})
    status, error = server.refused("/api/generate", model=name, prompt="x", stream=False)
    assert (status, error) == (500, 'option "temperature" must be of type float32')


BAD_NAMES = ("bad name!", "", "a/b/c/d", "n" * 81, "ok:bad tag", "ok:", "ok:a:b", "-ok")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(server: Server, tiny: Path, name: str) -> None:
    files = {tiny.name: server.upload(tiny)}
    assert server.refused("/api/create", model=name, files=files) == (400, "invalid model name")


def refused_twice(server: Server, **body: object) -> tuple[int, str]:
    """The error of a create that streams nothing before it: the same with and without stream."""
    streamed = server.refused("/api/create", model=fresh_name("no"), **body)
    assert server.refused("/api/create", model=fresh_name("no"), stream=False, **body) == streamed
    return streamed


def test_what_is_refused_before_anything_streams(server: Server, tiny: Path) -> None:
    digest = server.upload(tiny)
    assert refused_twice(server) == (400, "neither 'from' or 'files' was specified")
    assert refused_twice(server, files={}) == (400, "unknown type")
    status, error = refused_twice(server, files={"../m.gguf": digest})
    assert status == 400
    if server.version >= (0, 34):
        assert error == "file path must be relative: ../m.gguf"
    status, error = refused_twice(server, files={"m": "sha256:" + "1" * 64})
    assert status in (400, 500)
    if server.version >= (0, 34):
        assert error.startswith(f"blob not found for m (digest sha256:{'1' * 64}): open ")
        assert refused_twice(server, files={"m.gguf": "sha256:xyz"}) == (
            400,
            "invalid digest for m.gguf: invalid digest format",
        )
        assert refused_twice(server, files={"m.gguf": ""}) == (400, "invalid digest format")
        assert refused_twice(server, files={"m.gguf": digest}, license=5) == (
            400,
            "license must be a string or a list of strings: got float64",
        )


def test_what_0_34_1_stopped_to_do(server: Server, tiny: Path) -> None:
    if server.version < KEPT:
        pytest.skip("named difference by version: 0.34.1 refuses quantize, adapters, typical_p")
    files = {tiny.name: server.upload(tiny)}
    status, error = refused_twice(server, files=files, quantize="q4_K_M")
    assert status == 400
    assert error.startswith("create-time quantization is only supported for safetensors imports")
    adapters = {"a.gguf": "sha256:" + "1" * 64}
    assert refused_twice(server, files=files, adapters=adapters) == (
        400,
        "LoRA adapters are no longer supported",
    )
    assert refused_twice(server, files=files, parameters={"typical_p": 0.5}) == (
        400,
        "typical_p is no longer supported",
    )
    server.create(fresh_name("null"), tiny, parameters={"typical_p": None}, adapters={})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"this is no model at all, but long enough", "unsupported file type [116 104 105 115]"),
        (b"", "EOF"),
        (b"GGUF\x03\x00\x00\x00", "EOF"),
    ],
)
def test_junk_named_gguf_fails_after_the_first_line(
    server: Server, content: bytes, text: str, tmp_path: Path
) -> None:
    junk = tmp_path / "m.gguf"
    junk.write_bytes(content)
    files = {"m.gguf": server.upload(junk)}
    name = fresh_name("junk")
    said = server.lines("/api/create", model=name, files=files)
    assert said[0] == {"status": "parsing GGUF"}
    assert set(said[-1]) == {"error"}
    status, error = server.refused("/api/create", model=name, files=files, stream=False)
    assert error == said[-1]["error"]
    if server.version >= KEPT:
        assert (status, error) == (500, text)
    else:
        assert status in (400, 500)
    assert f"{name}:latest" not in server.tags()


@pytest.mark.parametrize("share", [0.002, 0.5])
def test_a_cut_gguf_is_refused(server: Server, tiny: Path, share: float, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    content = tiny.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    said = server.lines(
        "/api/create", model=fresh_name("cut"), files={"cut.gguf": server.upload(cut)}
    )
    assert said[0] == {"status": "parsing GGUF"}
    assert set(said[-1]) == {"error"}


def test_a_missing_blob_is_named(server: Server) -> None:
    files = {"m.gguf": "sha256:" + "1" * 64}
    said = server.lines("/api/create", model=fresh_name("missing"), files=files)
    assert said[0] == {"status": "parsing GGUF"}
    assert f"sha256-{'1' * 64}: no such file or directory" in said[-1]["error"]


def test_go_templates(server: Server, tiny: Path) -> None:
    name = fresh_name("template")
    body = {"model": name, "files": {tiny.name: server.upload(tiny)}, "stream": False}
    if server.lacks("go templates"):
        status, error = server.refused("/api/create", template="U:{{ .Prompt }}", **body)
        assert status == 501
        assert "TEMPLATE" in error
        return
    server.ok("/api/create", template="U:{{ .Prompt }}", **body)
    assert server.ok("/api/show", model=name)["template"] == "U:{{ .Prompt }}"

"""Version, root, unknown paths, who may ask, bodies that are no JSON."""

from __future__ import annotations

import pytest

from tests.conformance.server import Server


def test_version_is_one_that_clients_can_compare(server: Server) -> None:
    assert server.get("/api/version")["version"] == server.endpoint.version
    assert server.version >= (0, 32)


def test_root_says_that_it_runs(server: Server) -> None:
    answer = server.ask("GET", "/")
    assert (answer.status_code, answer.text) == (200, "Ollama is running")
    assert server.ask("HEAD", "/").status_code == 200


def test_unknown_path_and_wrong_method_are_plain_text(server: Server) -> None:
    nowhere = server.ask("GET", "/api/nope")
    assert (nowhere.status_code, nowhere.text) == (404, "404 page not found")
    wrong = server.ask("GET", "/api/generate")
    assert (wrong.status_code, wrong.text) == (405, "405 method not allowed")


@pytest.mark.parametrize("headers", [{"Host": "evil.example.com"}, {"Origin": "http://evil.test"}])
def test_foreign_host_and_origin_are_forbidden(server: Server, headers: dict[str, str]) -> None:
    assert server.ask("GET", "/api/tags", headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["localhost:11434", "127.0.0.1", "box.local"])
def test_local_hosts_may_ask(server: Server, host: str) -> None:
    assert server.ask("GET", "/api/version", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["generate", "chat", "create", "show", "copy"])
def test_bodies_that_are_no_json(server: Server, path: str) -> None:
    def text(body: bytes) -> str:
        answer = server.ask("POST", f"/api/{path}", data=body)
        assert answer.status_code == 400
        return str(answer.json()["error"])

    assert text(b'{"model": "x", ') == "unexpected EOF"
    assert text(b"") == "missing request body"
    assert text(b"[]").startswith("json: cannot unmarshal array into Go value of type")
    assert "error" not in text(b"nonsense")[:5]


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("generate", {"model": 5}, ".GenerateRequest.model of type string"),
        ("generate", {"model": "x", "options": []}, ".GenerateRequest.options of type map"),
        ("generate", {"model": "x", "stream": "no"}, ".GenerateRequest.stream of type bool"),
        ("generate", {"model": "x", "logprobs": 3}, ".GenerateRequest.logprobs of type bool"),
        ("chat", {"model": "x", "messages": "hi"}, ".ChatRequest.messages of type []api.Message"),
        (
            "chat",
            {"model": "x", "messages": [{"role": "user", "content": ["x"]}]},
            ".ChatRequest.messages.content of type string",
        ),
        ("create", {"model": "x", "files": ["a"]}, "CreateRequest.files of type map[string]string"),
        ("create", {"model": "x", "parameters": "p"}, "CreateRequest.parameters of type map"),
        ("create", {"model": "x", "stream": "no"}, "CreateRequest.stream of type bool"),
    ],
)
def test_fields_of_the_wrong_type_are_named(
    server: Server, path: str, body: dict[str, object], text: str
) -> None:
    status, error = server.refused(f"/api/{path}", **body)
    assert status == 400
    # Before 0.34 the struct had no dot before its name.
    field = text if server.version >= (0, 34) else text.lstrip(".")
    assert error.startswith("json: cannot unmarshal ")
    assert field in error

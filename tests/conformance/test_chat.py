"""Chat, formats, log probabilities, and the `ollama` client against both servers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import ollama
import pytest

from tests.conformance.server import Server, fresh_name

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is it?"},
    {"role": "assistant", "content": "A task."},
    {"role": "user", "content": "And now?"},
]
STILL = {"temperature": 0, "seed": 1}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer", "enum": [1, 2]}, "ok": {"type": "boolean"}},
    "required": ["answer", "ok"],
}


def chat(server: Server, model: str, **more: Any) -> dict[str, Any]:
    options = {**STILL, "num_predict": 6, **more.pop("options", {})}
    return server.ok("/api/chat", model=model, options=options, **{"messages": TALK, **more})


def test_chat_streams_messages(server: Server, base: str) -> None:
    lines = server.lines(
        "/api/chat", model=base, messages=TALK, options={**STILL, "num_predict": 6}
    )
    assert all(line["message"]["role"] == "assistant" for line in lines)
    last = lines[-1]
    assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "length", 6)
    joined = "".join(line["message"]["content"] for line in lines)
    said = chat(server, base)
    assert said["message"] == {"role": "assistant", "content": joined}
    assert "context" not in said
    assert said["prompt_eval_count"] == last["prompt_eval_count"]


def test_chat_renders_all_messages(server: Server, base: str) -> None:
    said = chat(server, base, _debug_render_only=True)
    assert said["_debug_info"]["rendered_template"] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is it?<|im_end|>\n"
        "<|im_start|>assistant\nA task.<|im_end|>\n<|im_start|>user\nAnd now?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_chat_and_generate_agree(server: Server, base: str) -> None:
    question = "Send the task"
    first = chat(server, base, messages=[{"role": "user", "content": question}])
    options = {**STILL, "num_predict": 6}
    second = server.ok("/api/generate", model=base, prompt=question, options=options)
    assert first["prompt_eval_count"] == second["prompt_eval_count"]
    assert first["message"]["content"] == second["response"]


def test_the_models_own_system_text_unless_the_chat_has_one(server: Server, tiny: Path) -> None:
    name = fresh_name("own")
    server.create(name, tiny, system="own text")

    def rendered(messages: list[dict[str, str]]) -> str:
        said = chat(server, name, messages=messages, _debug_render_only=True)
        return str(said["_debug_info"]["rendered_template"])

    assert rendered([{"role": "user", "content": "x"}]).startswith("<|im_start|>system\nown text")
    assert "own text" not in rendered(TALK)


def test_old_messages_are_left_out_when_the_context_is_full(server: Server, base: str) -> None:
    many = [TALK[0]] + [{"role": "user", "content": f"{i} " + "word " * 30} for i in range(12)]
    said = chat(server, base, messages=many, options={"num_ctx": 256}, _debug_render_only=True)
    text = said["_debug_info"]["rendered_template"]
    assert "Be brief." in text
    assert "\n11 word" in text
    assert "\n0 word" not in text


def test_chat_errors(server: Server, base: str) -> None:
    def refused(**body: Any) -> tuple[int, str]:
        return server.refused("/api/chat", stream=False, **{"messages": TALK, **body})

    assert refused(model="no-such") == (404, "model 'no-such' not found")
    assert refused() == (400, "model is required")
    assert refused(model=base, think=True) == (400, f'"{base}" does not support thinking')
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}
    status, error = refused(model=base, tools=[tool])
    assert status == 400
    assert error.endswith("does not support tools")
    status, error = refused(model=base, options={"temperature": "hot"})
    assert (status, error) == (500, 'option "temperature" must be of type float32')


# ---------------------------------------------------------------- formats


def test_json_format_is_an_object(server: Server, base: str) -> None:
    # A random model may go on for long: what is there must begin as an object.
    options = {"temperature": 1, "seed": 3, "num_predict": 200}
    said = chat(server, base, format="json", options=options)
    text = said["message"]["content"]
    assert text.lstrip().startswith("{")
    if said["done_reason"] == "stop":
        assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize("path", ["generate", "chat"])
def test_a_schema_is_kept(server: Server, base: str, path: str) -> None:
    body = {"prompt": "x"} if path == "generate" else {"messages": TALK}
    options = {**STILL, "num_predict": 150}
    said = server.ok(f"/api/{path}", model=base, format=SCHEMA, options=options, **body)
    assert said["done_reason"] == "stop"
    content = json.loads(said["response"] if path == "generate" else said["message"]["content"])
    assert content["answer"] in (1, 2)
    assert isinstance(content["ok"], bool)


@pytest.mark.parametrize("value", ["yaml", 5, [], True])
def test_other_formats_are_refused(server: Server, base: str, value: object) -> None:
    for stream in (True, False):
        status, error = server.refused(
            "/api/generate", model=base, prompt="x", format=value, stream=stream
        )
        assert status == 500
        assert error.startswith("invalid format: ")
        assert error.endswith('; expected "json" or a valid JSON Schema object')


def test_a_faulty_schema_brings_the_engines_words(server: Server, base: str) -> None:
    for stream in (True, False):
        status, error = server.refused(
            "/api/generate",
            model=base,
            prompt="x",
            format={"type": "nonsense"},
            stream=stream,
            options={"num_predict": 2},
        )
        assert status in (400, 500)
        assert "nonsense" in error


# ---------------------------------------------------------------- log probabilities


def test_logprobs_of_every_token(server: Server, base: str) -> None:
    said = chat(server, base, logprobs=True, top_logprobs=5)
    rows = said["logprobs"]
    # One row a token, but for bytes that wait until they make a character.
    assert 1 <= len(rows) <= said["eval_count"]
    assert "".join(row["token"] for row in rows) == said["message"]["content"]
    for row in rows:
        assert row["logprob"] <= 0
        assert row["bytes"] == list(row["token"].encode())
        tops = [top["logprob"] for top in row["top_logprobs"]]
        assert len(tops) == 5
        assert tops == sorted(tops, reverse=True)
        assert math.isclose(tops[0], row["logprob"], abs_tol=1e-6)  # greedy takes the likeliest


def test_logprobs_are_those_before_temperature_and_top_k(server: Server, base: str) -> None:
    def first(**options: Any) -> dict[str, Any]:
        body = {"logprobs": True, "top_logprobs": 3, "raw": True, "prompt": "The task"}
        said = server.ok(
            "/api/generate", model=base, options={"num_predict": 8, "seed": 3, **options}, **body
        )
        row = said["logprobs"][0]
        return {top["token"]: top["logprob"] for top in row["top_logprobs"]}

    first(temperature=0)
    still, hot = first(temperature=0), first(temperature=1.7, top_k=1)
    assert still.keys() == hot.keys()
    assert all(math.isclose(still[token], hot[token], abs_tol=1e-5) for token in still)


def test_logprobs_stream_with_their_tokens(server: Server, base: str) -> None:
    lines = server.lines(
        "/api/generate",
        model=base,
        prompt="The task",
        logprobs=True,
        options={**STILL, "num_predict": 8},
    )
    rows = [row for line in lines for row in line.get("logprobs", ())]
    assert rows
    assert all("top_logprobs" not in row for row in rows)


def test_top_logprobs_have_bounds(server: Server, base: str) -> None:
    for value in (21, -1):
        for path in ("generate", "chat"):
            refused = server.refused(f"/api/{path}", model=base, logprobs=True, top_logprobs=value)
            assert refused == (400, "top_logprobs must be between 0 and 20")
    said = chat(server, base, logprobs=True, top_logprobs=20)
    assert len(said["logprobs"][0]["top_logprobs"]) == 20
    assert "logprobs" not in chat(server, base, top_logprobs=2)


# ---------------------------------------------------------------- clients, and a model with sense


def test_the_ollama_client_gets_along(server: Server, tiny: Path) -> None:
    name = fresh_name("client")
    with ollama.Client(host=server.endpoint.url) as client:
        digest = client.create_blob(tiny)
        steps = list(client.create(model=name, files={"tiny.gguf": digest}, stream=True))
        assert steps[-1].status == "success"
        assert f"{name}:latest" in [row.model for row in client.list().models]
        said = client.chat(name, messages=TALK, options={"num_predict": 3, "temperature": 0})
        assert said.eval_count == 3
        pieces = list(client.generate(name, "x", stream=True, options={"num_predict": 3}))
        assert pieces[-1].done
        details = client.show(name).details
        assert details is not None
        assert details.quantization_level == "F16"
        client.copy(name, f"{name}-2")
        client.delete(name)
        with pytest.raises(ollama.ResponseError, match="not found") as caught:
            client.chat(name, messages=TALK)
        assert caught.value.status_code == 404


def test_the_sample_answers_with_json_and_stops(server: Server, sample: str) -> None:
    question = "Create a task: Review quarterly report by Friday"
    said = chat(
        server,
        sample,
        messages=[{"role": "user", "content": question}],
        options={"num_predict": 120},
    )
    assert said["done_reason"] == "stop"
    assert json.loads(said["message"]["content"])["action"] == "create_task"

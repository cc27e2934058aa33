"""Generate: streams, counts, options, rendering, errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.server import ENDLESS, Server, fresh_name

LAST_LINE = {
    "model",
    "created_at",
    "response",
    "done",
    "done_reason",
    "context",
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}
STILL = {"temperature": 0, "seed": 1}


def generate(server: Server, model: str, prompt: str = "The task", **more: Any) -> dict[str, Any]:
    options = {**STILL, "num_predict": 6, **more.pop("options", {})}
    return server.ok("/api/generate", model=model, prompt=prompt, options=options, **more)


def expected_keys(server: Server) -> set[str]:
    counted = {"prompt_eval_cached_count"} if server.version >= (0, 34) else set()
    return LAST_LINE | counted


def test_a_stream_ends_with_the_counts(server: Server, base: str) -> None:
    lines = server.lines(
        "/api/generate", model=base, prompt="The task", options={**STILL, "num_predict": 6}
    )
    assert all(set(line) == {"model", "created_at", "response", "done"} for line in lines[:-1])
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    last = lines[-1]
    assert set(last) == expected_keys(server)
    assert (last["model"], last["done_reason"], last["eval_count"]) == (base, "length", 6)
    assert last["total_duration"] > last["eval_duration"] > 0
    joined = "".join(line["response"] for line in lines)
    assert generate(server, base)["response"] == joined


def test_one_object_without_streaming(server: Server, base: str) -> None:
    said = generate(server, base)
    assert set(said) == expected_keys(server)
    assert said["response"]
    assert len(said["context"]) >= said["prompt_eval_count"]


def test_the_name_is_echoed_as_it_was_asked_for(server: Server, base: str) -> None:
    assert generate(server, base.upper())["model"] == base.upper()


def test_temperature_0_repeats_itself(server: Server, base: str) -> None:
    first, second = generate(server, base), generate(server, base)
    assert first["response"] == second["response"]
    if server.version >= (0, 34):
        assert second["prompt_eval_cached_count"] == second["prompt_eval_count"] - 1
    assert first["prompt_eval_count"] == second["prompt_eval_count"]


def test_a_seed_repeats_itself(server: Server, base: str) -> None:
    # Twice the same state of the prompt cache, or rounding may make another token win.
    generate(server, base, options={"temperature": 1.5, "seed": 11})
    answers = [
        generate(server, base, options={"temperature": 1.5, "seed": seed, "num_predict": 12})
        for seed in (11, 11, 12)
    ]
    texts = [answer["response"] for answer in answers]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_raw_goes_past_the_template(server: Server, base: str) -> None:
    raw = generate(server, base, raw=True)
    assert "context" not in raw
    assert raw["prompt_eval_count"] < generate(server, base)["prompt_eval_count"]


def test_render_only_shows_the_prompt(server: Server, base: str) -> None:
    def rendered(**more: Any) -> str:
        said = server.ok("/api/generate", model=base, _debug_render_only=True, **more)
        assert (said["response"], said["done"]) == ("", False)
        return str(said["_debug_info"]["rendered_template"])

    asked = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    assert rendered(prompt="hello") == asked
    assert rendered(prompt="hello", system="S") == "<|im_start|>system\nS<|im_end|>\n" + asked
    assert rendered(prompt="hello", raw=True) == "hello"


def test_system_and_messages_of_the_model_come_first(server: Server, tiny: Path) -> None:
    name = fresh_name("system")
    messages = [{"role": "user", "content": "before"}]
    server.create(name, tiny, system="own", messages=messages)
    said = server.ok("/api/generate", model=name, prompt="now", _debug_render_only=True)
    assert said["_debug_info"]["rendered_template"] == (
        "<|im_start|>system\nown<|im_end|>\n<|im_start|>user\nbefore<|im_end|>\n"
        "<|im_start|>user\nnow<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_stop_string_ends_the_answer_and_is_no_part_of_it(server: Server, base: str) -> None:
    whole = generate(server, base, options={"num_predict": 12})["response"]
    stop = whole[4:6]
    said = generate(server, base, options={"num_predict": 12, "stop": [stop]})
    assert said["done_reason"] == "stop"
    assert said["response"] == whole[: whole.index(stop)]


def test_one_token(server: Server, base: str) -> None:
    said = generate(server, base, options={"num_predict": 1})
    assert (said["eval_count"], said["done_reason"]) == (1, "length")


def test_context_of_the_answer_before_goes_on(server: Server, base: str) -> None:
    first = generate(server, base)
    second = generate(server, base, prompt="next", context=first["context"])
    assert second["prompt_eval_count"] > len(first["context"])


def test_a_prompt_that_is_too_long_is_cut_or_refused(server: Server, base: str) -> None:
    long = "word " * 400
    said = generate(server, base, prompt=long, raw=True, options={"num_ctx": 256})
    assert 0 < said["prompt_eval_count"] < 256
    status, error = server.refused(
        "/api/generate",
        model=base,
        prompt=long,
        raw=True,
        truncate=False,
        stream=False,
        options={"num_ctx": 256, "num_predict": 1},
    )
    assert status == 400
    assert "exceeds the available context size" in error


def test_no_limit_goes_on_until_the_client_is_gone(server: Server, base: str) -> None:
    """num_predict 0 and -1 mean no limit; closing the stream frees the model for the next one."""
    for limit in (0, -1):
        options = {"temperature": 1.5, "seed": 5, "num_predict": limit}
        body = {"model": base, "prompt": "on and on", "options": options, "format": ENDLESS}
        with server.ask("POST", "/api/generate", json=body, stream=True) as answer:
            lines = answer.iter_lines()
            for _ in range(40):
                assert b'"done":false' in next(lines)
        assert server.answers_after_a_closed_stream(base)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"num_predict": "5"}, 'option "num_predict" must be of type integer'),
        ({"num_ctx": "big"}, 'option "num_ctx" must be of type integer'),
        ({"stop": 5}, 'option "stop" must be of type array'),
        ({"stop": "one"}, 'option "stop" must be of type array'),
        ({"stop": [1, 2]}, 'option "stop" must be of an array of strings'),
        ({"use_mmap": "yes"}, 'option "use_mmap" must be of type boolean'),
    ],
)
def test_wrong_typed_options_are_500(
    server: Server, base: str, options: dict[str, Any], text: str
) -> None:
    for stream in (True, False):
        said = server.refused(
            "/api/generate", model=base, prompt="x", options=options, stream=stream
        )
        assert said == (500, text)


@pytest.mark.parametrize(
    "options",
    [
        {"no_such_option": 1},
        {"temperature": None},
        {"temperature": -3},
        {"top_p": 7},
        {"num_predict": 2.5},
        {"mirostat": 1},
        {"repeat_penalty": 1.3, "repeat_last_n": 10, "presence_penalty": 0.5},
        {"min_p": 0.2, "top_k": 5, "frequency_penalty": 0.1, "num_keep": 2},
    ],
)
def test_odd_options_are_taken(server: Server, base: str, options: dict[str, Any]) -> None:
    assert generate(server, base, options={"num_predict": 2, **options})["eval_count"] == 2


def test_num_thread_reloads_and_answers(server: Server, base: str) -> None:
    assert generate(server, base, options={"num_thread": 1})["eval_count"] == 6


def test_typical_p_is_refused_since_0_34_1(server: Server, base: str) -> None:
    if server.version < (0, 34, 1):
        pytest.skip("named difference by version: typical_p was taken before 0.34.1")
    options = {"typical_p": 0.5, "num_predict": 1}
    for path, body in (
        ("generate", {"prompt": "x"}),
        ("chat", {"messages": [{"role": "user", "content": "x"}]}),
    ):
        said = server.refused(f"/api/{path}", model=base, options=options, **body)
        assert said == (400, "typical_p is no longer supported")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"model": "no-such", "prompt": "x"}, 404, "model 'no-such' not found"),
        ({"model": "no-such:tag", "prompt": "x"}, 404, "model 'no-such:tag' not found"),
        ({"prompt": "x"}, 404, "model '' not found"),
        ({"model": "bad name!", "prompt": "x"}, 400, "invalid model name"),
    ],
)
def test_unknown_models(server: Server, body: dict[str, Any], status: int, text: str) -> None:
    for stream in (True, False):
        said, error = server.refused("/api/generate", stream=stream, **body)
        assert (said, error) == (status, text) or (server.version < (0, 34) and said >= 400)


def test_what_a_plain_text_model_does_not_do(server: Server, base: str) -> None:
    def refused(**more: Any) -> tuple[int, str]:
        return server.refused("/api/generate", model=base, prompt="x", stream=False, **more)

    assert refused(raw=True, system="s") == (
        400,
        "raw mode does not support template, system, or context",
    )
    assert refused(think=True) == (400, f'"{base}" does not support thinking')
    status, error = refused(think="bogus")
    assert status == 400
    assert error.startswith('invalid think value: "bogus"')
    status, error = refused(suffix="y")
    assert status == 400
    assert error.endswith("does not support insert")
    assert generate(server, base, think=False)["eval_count"] == 6


def in_threads(calls: list[Any]) -> Iterator[Any]:
    results: dict[int, Any] = {}

    def call(index: int) -> None:
        results[index] = calls[index]()

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (results[i] for i in range(len(calls)))


def test_requests_at_once_answer_as_alone(server: Server, base: str) -> None:
    prompts = [f"task {i}" for i in range(4)]
    for prompt in prompts:  # warm, so that each finds its own prompt in the cache
        generate(server, base, prompt=prompt)
    alone = [generate(server, base, prompt=prompt)["response"] for prompt in prompts]
    calls = [lambda p=prompt: generate(server, base, prompt=p) for prompt in prompts]
    assert [said["response"] for said in in_threads(calls)] == alone


def test_create_and_answers_at_once(server: Server, base: str, tiny: Path) -> None:
    names = [fresh_name("atonce") for _ in range(3)]
    calls: list[Any] = [lambda n=name: server.create(n, tiny) for name in names]
    calls += [lambda: generate(server, base) for _ in range(3)]
    list(in_threads(calls))
    assert {f"{name}:latest" for name in names} <= set(server.tags())

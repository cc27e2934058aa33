from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from deployq.errors import (
    ConfigError,
    ServerError,
    ServerRefused,
)
from deployq.tags.records import shown_parameters
from deployq.tags.server import Server
from deployq.tags.versions import version_numbers
from deployq.types import Answerer, Message
from tests.tags.replay import Recorded, facing, saying, scenario, served

SMOL = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


class Playing:
    """A replayed scenario and a client for it."""

    def __init__(self, recorded: Recorded, server: Server) -> None:
        self.recorded, self.server = recorded, server

    @property
    def sent(self) -> Any:
        return self.recorded.seen[-1].json


@pytest.fixture
def play(request: pytest.FixtureRequest) -> Iterator[Playing]:
    """Replays the scenario that the test names with `@of`."""
    with served(scenario(request.param)) as (recorded, server):
        yield Playing(recorded, server)


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("play", [name], indirect=True, ids=[name])


def answering(**answers: Any) -> list[dict[str, Any]]:
    return [
        {
            "request": {"method": "GET", "path": f"/api/{name}"},
            "response": {"status": 200, "json": answer},
        }
        for name, answer in answers.items()
    ]


# ------------------------------------------------------------ about the server


@of("01")
def test_version(play: Playing) -> None:
    assert play.server.ensure_supported() == "0.34.4"


@pytest.mark.parametrize(
    ("version", "supported"),
    [("0.30.0", True), ("0.34.4-rc1", True), ("1.0", True), ("0.0.0", True), ("0.29.9", False)],
)
def test_servers_that_are_too_old_are_refused(version: str, supported: bool) -> None:
    with served(answering(version={"version": version})) as (_, server):
        if supported:
            assert server.ensure_supported() == version
            return
        with pytest.raises(ServerRefused, match=r"is Ollama 0\.29\.9; deployq needs 0\.30"):
            server.ensure_supported()


def test_a_version_that_is_none() -> None:
    with (
        served(answering(version={"version": "soon"})) as (_, server),
        pytest.raises(ServerError, match="makes no sense: its version is 'soon'"),
    ):
        server.ensure_supported()
    assert version_numbers("0.34.4-rc1") == (0, 34, 4)


@of("13")
def test_tags(play: Playing) -> None:
    tags = {tag.name: tag for tag in play.server.tags()}
    tag = tags["contract-other:Q4"]
    assert tag.digest == "7e37d8b33b2fd6e2c3552c3df2f5b071cac176ceed686526c28d0d8ec24c4c22"
    assert (tag.size_bytes, tag.quant, tag.family) == (98362709, "Q4_1", "llama")
    assert tag.file_name == "SmolLM2.gguf"
    assert tag.modified.startswith("2026-11-25T")


@of("13")
def test_one_tag_is_found_in_any_letter_case(play: Playing) -> None:
    tag = play.server.tag("Contract-Other:q4")
    assert tag is not None
    assert tag.name == "contract-other:Q4"


@of("13")
def test_a_tag_that_is_not_there_is_none(play: Playing) -> None:
    assert play.server.tag("contract-other:q8") is None


@of("12")
def test_show(play: Playing) -> None:
    shown = play.server.show("contract-base")
    assert shown.blob_digest == SMOL
    assert shown.parameters == {"stop": ("<|im_start|>", "<|im_end|>")}
    assert shown.template.startswith("{{- range .Messages }}")
    assert (shown.system, shown.details["family"]) == ("", "llama")
    assert shown.capabilities == ("completion",)


@of("12")
def test_show_of_what_is_not_there_has_the_servers_words(play: Playing) -> None:
    with pytest.raises(ServerRefused) as caught:
        play.server.show("no-such-model")
    assert caught.value.status == 404
    assert "refused to show no-such-model: model 'no-such-model:latest' not found" in str(
        caught.value
    )
    assert caught.value.hint == "deployq list"


def test_parameters_as_show_writes_them() -> None:
    text = (
        'stop                           "\\nU:"\n'
        'stop                           "a\\x07\\"b\\""\n'
        "temperature                    0.7\n"
        "num_ctx                        4096\n"
        "num_predict                    1e+06\n"
        "use_mmap                       true\n"
    )
    found = shown_parameters(text)
    assert found == {
        "stop": ("\nU:", 'a\x07"b"'),
        "temperature": 0.7,
        "num_ctx": 4096,
        "num_predict": 1_000_000,
        "use_mmap": True,
    }
    assert isinstance(found["num_predict"], int)
    assert shown_parameters("") == {}


# ------------------------------------------------------------ copy, delete, memory


@of("15")
def test_copy(play: Playing) -> None:
    play.server.copy("contract-base", "contract-copy")
    with pytest.raises(ServerRefused, match='model "no-such-model" not found'):
        play.server.copy("no-such-model", "contract-x")


@of("16")
def test_delete(play: Playing) -> None:
    play.server.delete("contract-copy")
    with pytest.raises(ServerRefused, match="model 'contract-copy' not found"):
        play.server.delete("contract-copy")


@of("14")
def test_load_ps_unload(play: Playing) -> None:
    assert play.server.ps() == []
    play.server.load("contract-base", {"num_ctx": 4096})
    assert play.sent["options"] == {"num_ctx": 4096}
    (loaded,) = play.server.ps()
    assert (loaded.name, loaded.size_bytes) == ("contract-base:latest", 210690374)
    assert (loaded.vram_bytes, loaded.n_ctx) == (0, 4096)
    play.server.unload("contract-base")
    assert play.sent["keep_alive"] == 0


# ------------------------------------------------------------ answers

TALK = [
    Message("system", "Be brief."),
    Message("user", "What is the capital of France?"),
    Message("assistant", "Paris."),
    Message("user", "And of Italy?"),
]


def plain(name: str) -> list[dict[str, Any]]:
    """The exchanges of a scenario that did not stream."""
    return [s for s in scenario(name) if s["request"].get("json", {}).get("stream") is False]


def test_chat() -> None:
    steps = plain("22")
    with served(steps) as (recorded, server):
        answer = server.chat("contract-base", TALK, options={"temperature": 0, "min_p": 0.1})
    assert (answer.text, answer.done_reason, answer.tokens) == ("Rome.", "stop", 3)
    assert answer.prompt_tokens == 41
    assert answer.eval_seconds == pytest.approx(0.015494)
    assert answer.load_seconds == pytest.approx(0.005853571)
    assert answer.raw["prompt_eval_cached_count"] == 40
    assert answer.wall_seconds > 0
    sent = recorded.seen[0].json
    assert sent["options"] == {"temperature": 0, "min_p": 0.1}
    assert sent["think"] is False
    assert "format" not in sent
    assert sent["messages"] == steps[0]["request"]["json"]["messages"]


def test_chat_with_a_format() -> None:
    with served(plain("22")) as (recorded, server):
        server.chat("contract-base", TALK, options={}, format={"type": "object"}, think="low")
    sent = recorded.seen[0].json
    assert (sent["format"], sent["think"]) == ({"type": "object"}, "low")


def test_a_server_is_an_answerer() -> None:
    with Server("http://127.0.0.1:1") as server:
        answerer: Answerer = server
        assert callable(answerer.chat)


@of("22")
def test_chat_with_an_unknown_model(play: Playing) -> None:
    with pytest.raises(ServerRefused, match="chat with no-such-model: model 'no-such-model' not"):
        play.server.chat("no-such-model", TALK, options={})


def test_thinking_is_kept_apart() -> None:
    body = {"message": {"content": "4", "thinking": "2+2"}, "done": True}
    with facing(saying(json.dumps(body).encode())) as server:
        answer = server.chat("a", TALK, options={})
    assert (answer.text, answer.thinking, answer.tokens) == ("4", "2+2", 0)
    assert answer.tokens_per_second is None


def test_an_answer_that_is_not_done_is_none() -> None:
    body = {"message": {"content": "4"}, "done": False}
    said = saying(json.dumps(body).encode())
    with facing(said) as server, pytest.raises(ServerError, match="it is not done"):
        server.chat("a", TALK, options={})


def test_num_predict_0_is_never_sent() -> None:
    with Server("http://127.0.0.1:1") as server:
        with pytest.raises(ConfigError, match="num_predict 0 means without limit"):
            server.chat("a", TALK, options={"num_predict": 0})
        with pytest.raises(ConfigError, match="num_predict 0 means without limit"):
            server.generate("a", "x", options={"num_predict": 0})


def test_generate_raw() -> None:
    steps = [s for s in plain("17") if s["request"]["json"].get("raw")]
    with served(steps) as (recorded, server):
        answer = server.generate(
            "contract-base", "The capital of France is", raw=True, options={"num_predict": 6}
        )
    assert answer.text == " Paris.\n\nThe United"
    assert answer.done_reason == "length"
    assert recorded.seen[0].json["raw"] is True
    assert "logprobs" not in recorded.seen[0].json


def test_generate_with_logprobs() -> None:
    steps = [s for s in plain("20") if s["request"]["json"].get("top_logprobs")]
    with served(steps) as (recorded, server):
        answer = server.generate(
            "contract-base", "The capital of France is", options={}, top_logprobs=3
        )
    assert recorded.seen[0].json["logprobs"] is True
    assert recorded.seen[0].json["top_logprobs"] == 3
    assert isinstance(answer.raw["logprobs"], list)


def test_render() -> None:
    steps = [s for s in scenario("22") if s["request"]["json"].get("_debug_render_only")]
    with served(steps) as (recorded, server):
        prompt = server.render("contract-base", TALK)
    assert prompt is not None
    assert prompt.startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    assert prompt.endswith("<|im_start|>assistant\n")
    assert recorded.seen[0].json["_debug_render_only"] is True


def test_a_server_that_answers_in_place_of_rendering() -> None:
    steps = [s for s in scenario("22") if s["request"]["json"].get("_debug_render_only")]
    answered = {"message": {"role": "assistant", "content": "x"}, "done": True}
    step = {**steps[0], "response": {**steps[0]["response"], "json": answered}}
    with served([step]) as (recorded, server):
        assert server.render("contract-base", TALK) is None
    assert recorded.seen[0].json["options"] == {"num_predict": 1}


NOT_ANSWERED = [s for s in plain("21") if s["response"]["status"] != 200]


@pytest.mark.parametrize("number", range(len(NOT_ANSWERED)))
def test_recorded_refusals_of_generate_keep_the_servers_words(number: int) -> None:
    step = NOT_ANSWERED[number]
    response, model = step["response"], step["request"]["json"].get("model")
    with served([step]) as (_, server), pytest.raises(ServerRefused) as caught:
        server.generate(model, "x", options={})
    assert caught.value.status == response["status"]
    assert " ".join(response["json"]["error"].split())[:200] in caught.value.message

"""Small parts of the embedded server: names, options, durations, thoughts, layers."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from deployq_runtimes.server.access import is_local_host
from deployq_runtimes.server.body import CHAT, CREATE, decode
from deployq_runtimes.server.errors import ApiError
from deployq_runtimes.server.facts import human_count
from deployq_runtimes.server.gojson import go_json
from deployq_runtimes.server.names import Name, parse_name, settle
from deployq_runtimes.server.options import FOREVER, Options, keep_alive_seconds, merge
from deployq_runtimes.server.show import rfc3339
from deployq_runtimes.server.thinking import ThinkSplitter
from hypothesis import given
from hypothesis import strategies as st

PART = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,9}", fullmatch=True)


@given(PART, PART, PART, PART)
def test_names_survive_a_round_trip(host: str, space: str, model: str, tag: str) -> None:
    name = Name(host, space, model, tag)
    assert parse_name(name.full) == name
    assert name.valid
    assert parse_name(name.short) == name


@given(st.text(max_size=30))
def test_any_text_parses_and_a_valid_name_is_a_safe_path(text: str) -> None:
    name = parse_name(text)
    if name.valid:
        assert len(name.path.parts) == 4
        assert ".." not in name.path.parts
        assert "/" not in "".join(name.path.parts)


@pytest.mark.parametrize(
    ("text", "short"),
    [("a", "a:latest"), ("s/a:t", "s/a:t"), ("localhost/library/a", "localhost/library/a:latest")],
)
def test_short_names(text: str, short: str) -> None:
    assert parse_name(text).short == short


def test_spelling_follows_the_store() -> None:
    there = [parse_name("Org/Model:q4"), parse_name("other:Q8")]
    assert settle(parse_name("org/model:Q4"), there) == there[0]
    assert settle(parse_name("ORG/MODEL:Q8"), there).short == "Org/Model:Q8"
    assert settle(parse_name("ORG/new:x"), there).short == "Org/new:x"
    assert settle(parse_name("new:Q4"), there).short == "new:Q4"


def test_options_are_laid_over_one_another() -> None:
    options = merge({"temperature": 0.1, "num_ctx": 9000}, {"temperature": 0, "stop": ["x"]})
    assert (options.temperature, options.num_ctx, options.stop) == (0.0, 9000, ("x",))
    assert merge({"num_ctx": 9000}, trained_ctx=2048).num_ctx == 2048
    assert merge({"num_ctx": -5}).num_ctx == 4
    assert merge({}) == Options()


@pytest.mark.parametrize(("given", "sent"), [(7, 7), (0, 40960), (-1, 40960), (10**9, 40960)])
def test_no_limit_is_ten_contexts(given: int, sent: int) -> None:
    assert merge({"num_predict": given}).completion()["n_predict"] == sent


def test_a_changed_context_needs_a_reload_and_a_temperature_does_not() -> None:
    base = merge({})
    assert merge({"temperature": 1.5, "num_predict": 3}).load == base.load
    for change in ({"num_ctx": 512}, {"num_thread": 1}, {"num_gpu": 0}, {"use_mmap": False}):
        assert merge(change).load != base.load


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 300), (0, 0), ("0", 0), (2.5, 2.5), ("1h30m", 5400), ("1.5s", 1.5), ("90ms", 0.09)],
)
def test_keep_alive(value: object, seconds: float) -> None:
    assert keep_alive_seconds(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [-1, "-1s", "-5m"])
def test_keep_alive_for_ever(value: object) -> None:
    assert keep_alive_seconds(value) == FOREVER


def refusal(call: Callable[[], object]) -> ApiError | None:
    """What the call refused; None where it gave an answer. Anything else raised is a fault."""
    try:
        call()
    except ApiError as exc:
        return exc
    return None


@given(st.text(max_size=12))
def test_any_keep_alive_is_a_number_or_a_400(text: str) -> None:
    refused = refusal(lambda: keep_alive_seconds(text))
    assert refused.status == 400 if refused else keep_alive_seconds(text) >= 0


@given(st.binary(max_size=60))
def test_any_body_is_a_dict_or_a_400(raw: bytes) -> None:
    refused = refusal(lambda: decode(raw, CREATE))
    assert refused.status == 400 if refused else isinstance(decode(raw, CREATE), dict)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def test_a_null_message_is_an_empty_one() -> None:
    said = {"role": "user", "content": "hi"}
    assert decode(json.dumps({"messages": [None, said]}).encode(), CHAT) == {"messages": [{}, said]}


@given(st.dictionaries(st.sampled_from([*CHAT.fields, "format", "think"]), JSON))
def test_any_fields_are_taken_or_named(fields: dict[str, object]) -> None:
    raw = json.dumps(fields).encode()
    if refused := refusal(lambda: decode(raw, CHAT)):
        assert refused.status == 400
        assert "cannot unmarshal" in refused.message
    else:
        known = decode(raw, CHAT)
        assert known.keys() <= fields.keys()
        assert None not in known.values()


def thoughts(pieces: list[str], *, inside: bool = False) -> tuple[str, str]:
    splitter = ThinkSplitter(inside=inside)
    fed = [splitter.feed(piece, last=i == len(pieces) - 1) for i, piece in enumerate(pieces)]
    return "".join(t for t, _ in fed), "".join(c for _, c in fed)


@given(st.text(alphabet="ab<>/think \n", max_size=20), st.integers(1, 4))
def test_thoughts_are_told_apart_however_the_text_is_cut(answer: str, size: int) -> None:
    text = f"<think>so</think>\n\n{answer}"
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    thinking, content = thoughts(pieces)
    assert thinking == "so"
    assert content.lstrip() == answer.lstrip()


def test_an_answer_without_thoughts_is_left_alone() -> None:
    assert thoughts(["<th", "ree> is no thought"]) == ("", "<three> is no thought")
    assert thoughts(["so", "</thi", "nk>yes"], inside=True) == ("so", "yes")
    assert thoughts(["never ", "closed"], inside=True) == ("never closed", "")


def test_layers_are_written_as_go_writes_them() -> None:
    assert go_json({"stop": ["<a>", "b & c"], "t": 1.0, "p": 0.5}) == (
        b'{"stop":["\\u003ca\\u003e","b \\u0026 c"],"t":1,"p":0.5}\n'
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (134515008, "134.52M"),
        (7_000_000_000, "7B"),
        (7_241_732_096, "7.2B"),
        (5400, "5K"),
        (9, "9"),
    ],
)
def test_parameter_counts(count: int, text: str) -> None:
    assert human_count(count) == text


def test_times_are_written_as_go_writes_them() -> None:
    assert rfc3339(1795567409_318875912) == "2026-11-25T00:43:29.318875912Z"
    assert rfc3339(1795567409_500000000) == "2026-11-25T00:43:29.5Z"
    assert rfc3339(1795567409_000000000) == "2026-11-25T00:43:29Z"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:5", "10.0.0.3", "a.local", ""])
def test_local_hosts(host: str) -> None:
    assert is_local_host(host)


@pytest.mark.parametrize("host", ["example.com", "8.8.8.8", "localhost.example.com:11434"])
def test_foreign_hosts(host: str) -> None:
    assert not is_local_host(host)

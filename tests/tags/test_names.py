from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.errors import ConfigError
from deployq.tags.names import TagName, alias, quant_tag, same_name, staging_name

PARTS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}", fullmatch=True)


def test_names_that_deployq_gives() -> None:
    tag = quant_tag("task-api", "Q4_K_M")
    assert str(tag) == "task-api:q4_k_m"
    assert str(staging_name(tag, "3f2a9c1d")) == "deployq-staging/task-api:q4_k_m.3f2a9c1d"
    assert str(alias("task-api", "laptop")) == "task-api:laptop"
    mine = staging_name(TagName.parse("me/task-api:x"), "3f2a9c1d")
    assert str(mine) == "deployq-staging/me.task-api:x.3f2a9c1d"


def test_parse_fills_in_the_tag() -> None:
    assert TagName.parse("task-api") == TagName("task-api", "latest")
    assert TagName.parse("me/task-api:q8_0") == TagName("task-api", "q8_0", "me")


@given(PARTS, PARTS)
def test_parse_reads_what_str_wrote(model: str, tag: str) -> None:
    if tag.lower() in ("cloud", "local") or tag.lower().endswith("-cloud"):
        return
    name = TagName(model, tag)
    assert TagName.parse(str(name)) == name


def test_letter_case_does_not_tell_names_apart() -> None:
    assert TagName.parse("Task-API:Q4_K_M").same("task-api:q4_k_m")
    assert not TagName.parse("task-api:q4_k_m").same("task-api:q4_k_s")
    assert same_name("task-api", "task-api:latest")
    assert not same_name("me/task-api", "task-api:latest")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "model name '' is empty"),
        ("task-api:", "tag '' is empty"),
        (":q4", "model name '' is empty"),
        ("-x:q4", "must not start with '-'"),
        ("task api:q4", "must not contain ' '"),
        ("task-api:q4!", "must not contain '!'"),
        ("täsk:q4", "must not contain 'ä'"),
        ("a.b/task-api:q4", "must not contain '.'"),
        ("x" * 81, "longer than 80 bytes"),
        ("task-api:local", "reserves the tag 'local'"),
        ("task-api:Cloud", "reserves the tag 'Cloud'"),
        ("task-api:8b-cloud", "reserves the tag '8b-cloud'"),
        ("host/me/task-api:q4", "must not contain '/'"),
    ],
)
def test_what_ollama_would_not_take_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")) as caught:
        TagName.parse(text)
    assert caught.value.hint

"""From what each rung passed to whose fault it is; and answers cut at their end mark."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployq.proof.diagnosis import CAUSES, rule, unsettled
from deployq.proof.ended import up_to_mark, up_to_unseen
from deployq.proof.sentences import Facts, mend, sentence
from deployq.types import (
    Answer,
    Cause,
    Clue,
    Prompt,
    PromptResult,
    Ruling,
    Rung,
    RungName,
    Verdict,
)

FAILED = ("a", "b", "c")
FULL: tuple[RungName, ...] = ("full precision", "llama.cpp")
DAMAGED = Clue("weights", "blk.0 is noise", "damaged weights", proven=True)
WHOLE = Clue("weights", "all tensors fit", proven=True)
OTHER_EOS = Clue("special tokens", "EOS is another", "conversion", proven=True)
FACTS = Facts("m:q2_k", 3, 8, model="m", quant="Q2_K", better="Q4_K_M", source="m.gguf")


def answer(text: str = "{}", done_reason: str = "stop", **raw: object) -> Answer:
    tokens = int(str(raw.pop("tokens", 1)))
    return Answer(text, done_reason, 10, tokens, 1.0, 0.0, 1.0, raw=raw)  # type: ignore[arg-type]


def rung(name: RungName, passed: str = "", failed: str = "", refused: str = "") -> Rung:

    good, bad = (Verdict("equals", ok) for ok in (True, False))
    results = [PromptResult(Prompt(n, ()), answer(), (good,)) for n in passed]
    results += [PromptResult(Prompt(n, ()), answer(), (bad,)) for n in failed]
    results += [PromptResult(Prompt(n, ()), None, (bad,)) for n in refused]
    return Rung(name, f"by {name}", tuple(results), full_precision=name in FULL)


TAG = rung("tag", failed="abc")


@pytest.mark.parametrize(("name", "cause"), CAUSES.items())
def test_the_first_rung_that_passes_names_the_cause(name: RungName, cause: Cause) -> None:
    before = [rung(n, failed="abc") for n in CAUSES if list(CAUSES).index(n) < index(name)]
    found = rule(FAILED, [TAG, *before, rung(name, passed="abc")], ())
    assert found.cause == cause
    assert set(found.causes.values()) == {cause}


def index(name: RungName) -> int:
    return list(CAUSES).index(name)


def test_each_prompt_has_a_cause_of_its_own() -> None:
    rungs = [TAG, rung("template", passed="ab", failed="c"), rung("full precision", failed="c")]
    found = rule(FAILED, rungs, ())
    assert found.causes == {"a": "template", "b": "template", "c": "model"}
    assert found.cause == "template"
    assert " Of the others: 1 by model." in sentence(FACTS, found, rungs, ())


def test_of_two_causes_with_as_many_prompts_the_nearer_counts() -> None:
    rungs = [TAG, rung("context", passed="a"), rung("template", passed="b")]
    assert rule("ab", rungs, ()).cause == "context"


def test_what_fails_in_full_precision_is_the_models() -> None:
    rungs = [TAG, rung("full precision", failed="abc"), rung("llama.cpp", failed="abc")]
    assert rule(FAILED, rungs, ()).cause == "model"
    assert rule(FAILED, rungs, (OTHER_EOS,)).cause == "conversion"
    assert rule(FAILED, rungs, (DAMAGED,)).cause == "damaged weights"


def test_without_full_precision_nothing_is_decided() -> None:
    skipped = Rung("full precision", "in full precision", skipped="no source")
    rungs = [TAG, rung("template", failed="abc"), skipped]
    found = rule(FAILED, rungs, ())
    assert (found.cause, found.confidence) == ("undecided", "open")
    quantized = replace(rung("llama.cpp", failed="abc"), full_precision=False)
    assert rule(FAILED, [*rungs, quantized], ()).cause == "undecided"


def test_a_refusal_in_full_precision_says_nothing_of_the_model() -> None:
    assert rule(FAILED, [TAG, rung("full precision", refused="abc")], ()).cause == "undecided"


def test_full_precision_tells_damage_from_quantization() -> None:
    rungs = [TAG, rung("full precision", passed="abc")]
    assert rule(FAILED, rungs, ()) == Ruling(
        "quantization", "likely", dict.fromkeys(FAILED, "quantization")
    )
    assert rule(FAILED, rungs, (WHOLE,)).confidence == "certain"
    assert rule(FAILED, rungs, (DAMAGED,)).cause == "damaged weights"
    assert rule(FAILED, rungs, (OTHER_EOS,)).cause == "conversion"


def test_llama_cpp_alone_can_stand_in_for_full_precision_on_the_server() -> None:
    """Where the server can't hold it: what passes there is no fault of the server's."""
    skipped = Rung("full precision", "in full precision", skipped="it does not fit")
    rungs = [TAG, skipped, rung("llama.cpp", passed="abc")]
    assert rule(FAILED, rungs, ()).cause == "quantization"
    quantized = replace(rung("llama.cpp", passed="abc"), full_precision=False)
    assert rule(FAILED, [TAG, skipped, quantized], ()).cause == "runtime"


def test_a_finding_makes_a_cause_certain() -> None:
    rungs = [TAG, rung("template", passed="abc")]
    seen = Clue("prompt", "it differs", "template", proven=True)
    assert rule(FAILED, rungs, ()).confidence == "likely"
    assert rule(FAILED, rungs, (seen,)).confidence == "certain"
    assert sentence(FACTS, rule(FAILED, rungs, (seen,)), rungs, (seen,)) == (
        "The template is at fault, not the weights: all 3 failing prompts pass by template "
        "(it differs)."
    )


def test_nothing_failed() -> None:
    assert rule((), [rung("tag", passed="abc")], ()).cause == "nothing wrong"
    assert rule((), [rung("tag", passed="abc")], (DAMAGED,)).cause == "damaged weights"


def test_what_is_left() -> None:
    rungs = [rung("tag", passed="z", failed="abc"), rung("context", passed="b")]
    assert unsettled(FAILED, rungs) == ["a", "c"]


# ---------------------------------------------------------------- mends


def test_every_cause_has_a_sentence_and_all_but_nothing_a_mend() -> None:
    causes: list[Cause] = [*CAUSES.values(), "damaged weights", "conversion", "model", "undecided"]
    for cause in causes:
        ruling = Ruling(cause, "likely", {"a": cause})
        assert sentence(FACTS, ruling, [TAG], ()).endswith(".")
        assert mend(FACTS, ruling)
    assert mend(FACTS, Ruling("nothing wrong", "certain")) == ""


@pytest.mark.parametrize(
    ("passed", "failed", "words"),
    [
        ("a", "", "the failing prompt passes by template."),
        ("a", "bc", "1 of the 3 failing prompts passes by template. Of the others: 2 by model."),
        ("ab", "c", "2 of the 3 failing prompts pass by template. Of the others: 1 by model."),
    ],
)
def test_how_many_prompts_it_is_about(passed: str, failed: str, words: str) -> None:
    causes: dict[str, Cause] = {
        **dict.fromkeys(passed, "template"),
        **dict.fromkeys(failed, "model"),
    }
    rungs = [TAG, rung("template", passed=passed, failed=failed)]
    said = sentence(FACTS, Ruling("template", "likely", causes), rungs, ())
    assert said == f"The template is at fault, not the weights: {words}"


def test_mends_name_the_place() -> None:
    context = Ruling("context", "certain", {"a": "context"})
    facts = replace(FACTS, n_ctx=256, n_ctx_needed=512)
    assert mend(facts, context) == (
        "parameters.num_ctx = 512 under [models.m] of deployq.toml, then: deployq push m"
    )
    alias = replace(facts, target="laptop")
    assert mend(alias, context) == (
        "context = 512 under [targets.laptop] of deployq.toml, then: "
        "deployq push m --targets laptop"
    )
    of_suite = replace(facts, prompt_options=True)
    assert mend(of_suite, context) == "num_ctx = 512 (or none) in the suite's options"


def test_a_visible_end_mark_is_a_stop_an_unseen_one_the_end_token() -> None:
    stop = Ruling("stop token", "certain", {"a": "stop token"})
    assert 'parameters.stop = ["</end>"]' in mend(replace(FACTS, end_mark="</end>"), stop)
    assert mend(replace(FACTS, end_mark="<|e|>", end_token=7), stop).startswith(
        "gguf-set-metadata m.gguf tokenizer.ggml.eos_token_id 7, then: "
    )


# ---------------------------------------------------------------- end marks


def test_an_answer_up_to_a_mark_in_its_text() -> None:
    ended = up_to_mark(answer('{"id": 3}</end>more', "length"), "</end>")
    assert ended is not None
    assert (ended.answer.text, ended.answer.done_reason, ended.seen) == (
        '{"id": 3}',
        "stop",
        "text",
    )
    assert up_to_mark(answer("no mark"), "</end>") is None


def test_an_answer_up_to_a_token_without_a_text() -> None:
    rows = [{"token": "{"}, {"token": "}"}, {"token": ""}, {"token": "more"}]
    ended = up_to_mark(answer("{}more", "length", logprobs=rows, tokens=4), "<|e|>")
    assert ended is not None
    assert (ended.answer.text, ended.seen) == ("{}", "token")
    part_of_a_character = [{"token": "{"}, {"token": "", "bytes": [226]}, {"token": "}"}]
    assert up_to_mark(answer("{}", logprobs=part_of_a_character), "") is None


@pytest.mark.parametrize("hidden_at", [1, 2, 7, 24])
def test_a_token_that_is_counted_and_not_shown_is_searched_for(hidden_at: int) -> None:
    asked = []

    def again(tokens: int) -> Answer:
        asked.append(tokens)
        shown = [i for i in range(1, tokens + 1) if i != hidden_at]
        text = "".join(chr(96 + i) for i in shown)
        return answer(text, "length", tokens=tokens, logprobs=[{"token": "x"}] * len(shown))

    ended = up_to_unseen(again(24), again)
    assert ended is not None
    assert ended.answer.text == "".join(chr(96 + i) for i in range(1, hidden_at))
    assert len(asked) <= 7


def test_an_answer_that_shows_all_its_tokens_is_left_alone() -> None:
    whole = answer("ab", "length", tokens=2, logprobs=[{"token": "a"}, {"token": "b"}])
    assert up_to_unseen(whole, lambda _: whole) is None
    assert up_to_unseen(answer("ab", "length", tokens=2), lambda _: whole) is None

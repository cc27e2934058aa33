"""Agreement on real servers: the embedded runtime, and (marked `ollama`) a real Ollama."""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deployq.errors import ArtifactError, ServerTimeout
from deployq.proof import tracing
from deployq.proof.agreement import AskerFor, Job, Measured, measure, noise, patiently, record
from deployq.proof.baseline import BaselineStore, finished, read_baseline
from deployq.proof.journal import Journal
from deployq.proof.scoring import nll_of
from deployq.proof.summaries import kl_difference, summarize
from deployq.proof.tracing import Asker
from deployq.tags.server import Server
from deployq.types import (
    Agreement,
    Baseline,
    BaselineKey,
    Message,
    Prompt,
    TracedAnswer,
    no_progress,
)
from tests.proof.conftest import followed, traced

KEY = BaselineKey("m" * 64, "s" * 64, "F16", {"temperature": 0}, "0.34.4", "ollama", "cpu")


def asking(server: Server, tag: str) -> AskerFor:
    asker = Asker(server, tag, 60)
    return lambda _: asker


@pytest.fixture(scope="session")
def answers(
    lab: Server, prompts: tuple[Prompt, ...], tmp_path_factory: pytest.TempPathFactory
) -> list[TracedAnswer]:
    journal = Journal(tmp_path_factory.mktemp("j") / "baseline.jsonl")
    return record(asking(lab, "sample:f16"), prompts, journal, no_progress)


@pytest.fixture(scope="session")
def baseline(answers: list[TracedAnswer]) -> Baseline:
    return finished(KEY, "six", "sample:f16", answers)


def measured(
    lab: Server, tag: str, baseline: Baseline, journal: Path, *, at_a_time: int = 1
) -> Measured:
    asker = Asker(lab, tag, 60)
    jobs = [Job(asker, answer, {}, 64) for answer in baseline.answers]
    return measure(jobs, Journal(journal), no_progress, at_a_time=at_a_time)


def agreement(lab: Server, quant: str, baseline: Baseline, tmp_path: Path) -> Agreement:
    tag = f"sample:{quant.lower()}"
    found = measured(lab, tag, baseline, tmp_path / f"{quant}.jsonl")
    return summarize(tag, quant, baseline, found.found)


# ---------------------------------------------------------------- what is measured


def test_the_raw_answer_is_what_a_chat_says(
    lab: Server, prompts: tuple[Prompt, ...], answers: list[TracedAnswer]
) -> None:
    lab.unload("sample:f16")
    for prompt, answer in zip(prompts, answers, strict=True):
        said = lab.chat("sample:f16", prompt.messages, options=prompt.options)
        assert (said.text, said.done_reason) == (answer.text, answer.done_reason)
        assert said.prompt_tokens == answer.prompt_tokens
        assert answer.text == "".join(step.text for step in answer.steps)
        assert all(len(step.top) == 20 for step in answer.steps)


def test_the_better_the_quant_the_closer(lab: Server, baseline: Baseline, tmp_path: Path) -> None:
    found = [agreement(lab, q, baseline, tmp_path) for q in ("F16", "Q8_0", "Q4_K_M", "Q2_K")]
    f16, _, q4, q2 = found
    assert f16.same_top.value == 1.0
    assert f16.kl.value < 1e-6
    assert f16.perplexity.value == pytest.approx(f16.baseline_perplexity, abs=1e-5)
    kls = [one.kl.value for one in found]
    assert kls == sorted(kls)
    assert q2.kl.value > 20 * q4.kl.value
    assert q2.same_top.value < q4.same_top.value
    assert q2.perplexity.value > 1.05 * q4.perplexity.value
    assert kl_difference(q2, q4).value > 0
    assert q2.compared == f16.compared  # every token of every answer, whatever the quant
    assert q2.scored + q2.left_out >= f16.scored - 1


def test_every_token_counts_and_is_asked_for_about_once(
    lab: Server, baseline: Baseline, tmp_path: Path
) -> None:
    q2 = measured(lab, "sample:q2_k", baseline, tmp_path / "q2.jsonl")
    for found, answer in zip(q2.found, baseline.answers, strict=True):
        places = {p.index for p in found.positions}
        assert len(places) + found.retokenized + found.merged >= len(answer.steps)
        assert max(places) == len(answer.steps)  # the end is a place, too
    good = measured(lab, "sample:q8_0", baseline, tmp_path / "q8.jsonl")
    tokens = sum(answer.tokens for answer in baseline.answers)
    assert sum(f.tokens for f in good.found) <= 1.1 * tokens
    assert sum(f.tokens for f in q2.found) <= 2 * tokens


def test_a_place_after_a_difference_has_the_figures_of_the_baselines_own_text(
    lab: Server, baseline: Baseline, tmp_path: Path
) -> None:
    """What was scored in pieces is what single requests with the baseline's text give."""
    found = measured(lab, "sample:q2_k", baseline, tmp_path / "q2.jsonl").found
    number = next(n for n, one in enumerate(found) if one.first_difference is not None)
    one, answer = found[number], baseline.answers[number]
    asker = Asker(lab, "sample:q2_k", 60)
    assert one.first_difference is not None
    after = [p for p in one.positions if p.index > one.first_difference and p.nll is not None]
    assert after
    for place in after[:4]:
        prefix = "".join(step.text for step in answer.steps[: place.index])
        step, _ = patiently(asker, partial(asker.next_token, answer.rendered + prefix))[0]
        assert step is not None
        nll, _ = nll_of(answer.steps[place.index].text, step)
        # a cached prompt moves log probabilities by up to some tenths
        assert place.nll == pytest.approx(nll, abs=0.5)


def test_own_answers_are_those_of_a_chat(
    lab: Server, prompts: tuple[Prompt, ...], baseline: Baseline, tmp_path: Path
) -> None:
    found = measured(lab, "sample:q2_k", baseline, tmp_path / "q2.jsonl").found
    same = 0
    asker = Asker(lab, "sample:q2_k", 60)
    for prompt, one in zip(prompts, found, strict=True):
        assert one.own is not None
        assert one.own.done_reason in ("stop", "length")
        chat = partial(
            lab.chat, asker.tag, prompt.messages, options=prompt.options, timeout_seconds=60
        )
        said, _ = patiently(asker, chat)
        same += said.text == one.own.text
    assert same >= len(prompts) - 1  # a warm repeat may differ from a fresh answer


def test_a_model_that_stops_early_is_scored_there(lab: Server, prompts: tuple[Prompt, ...]) -> None:
    """The baseline's text is made longer than the tag's own answer."""
    asker = Asker(lab, "sample:f16", 60)
    rendered = lab.render("sample:f16", prompts[0].messages)
    assert rendered is not None
    answer = traced(asker, "p0", rendered, 64)
    longer = TracedAnswer(
        **{
            **{name: getattr(answer, name) for name in TracedAnswer.__dataclass_fields__},
            "steps": (*answer.steps, answer.steps[0]),
            "text": answer.text + answer.steps[0].text,
            "tokens": answer.tokens + 1,
        }
    )
    found = followed(asker, longer)
    place = next(p for p in found.positions if p.index == len(answer.steps))
    assert found.end == "early"
    assert found.first_difference == len(answer.steps)
    assert place.same_top is False
    assert place.nll is not None
    assert place.nll > 3  # it was sure to end there


def test_answers_in_letters_of_several_bytes(lab: Server) -> None:
    """Parts of a character come merged: they are left out and counted, and nothing breaks."""
    asker = Asker(lab, "sample:f16", 60)
    rendered = lab.render("sample:f16", [Message("user", "Create a task: Zoë → Öl prüfen 🌍")])
    assert rendered is not None
    answer = traced(asker, "utf8", rendered, 64)
    found = followed(asker, answer)
    merged = sum(step.merged for step in answer.steps)
    assert found.merged == merged
    assert len(found.positions) + found.merged + found.retokenized == len(answer.steps) + 1


# ---------------------------------------------------------------- noise, resuming, the store


def test_noise_is_measured_in_two_states(
    lab: Server, prompts: tuple[Prompt, ...], baseline: Baseline
) -> None:
    by_name = {prompt.name: prompt for prompt in prompts}
    found = noise(asking(lab, "sample:f16"), by_name, baseline.answers, no_progress)
    assert [one.state for one in found] == ["fresh", "cached"]
    for one in found:
        assert one.positions > 10
        assert one.same_top > 0.95
        assert one.kl <= one.kl_most < 0.01


def test_an_interrupted_measurement_goes_on_where_it_stopped(
    lab: Server, baseline: Baseline, tmp_path: Path
) -> None:
    journal = tmp_path / "j.jsonl"
    asker = Asker(lab, "sample:q4_k_m", 60)
    jobs = [Job(asker, answer, {}, 64) for answer in baseline.answers]
    seen = 0

    def interrupt(task: str, done: float, total: float | None, unit: str) -> None:  # noqa: ARG001
        nonlocal seen
        seen = int(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(jobs, Journal(journal), interrupt)
    with journal.open("a") as file:
        file.write('{"prompt": "p3", "posi')  # and the power went off
    before = asker.asked.requests
    found = measure(jobs, Journal(journal), no_progress)
    assert [one.prompt for one in found.found] == [a.prompt for a in baseline.answers]
    assert asker.asked.requests - before == sum(one.requests for one in found.found[3:])
    assert len(Journal(journal).read()) == len(jobs)
    again = measure(jobs, Journal(journal), no_progress)
    assert again == found


def test_prompts_at_a_time(lab: Server, baseline: Baseline, tmp_path: Path) -> None:
    one = measured(lab, "sample:q4_k_m", baseline, tmp_path / "1.jsonl")
    two = measured(lab, "sample:q4_k_m", baseline, tmp_path / "2.jsonl", at_a_time=2)
    assert [f.prompt for f in one.found] == [f.prompt for f in two.found]
    kl = [summarize("t", "q", baseline, m.found).kl.value for m in (one, two)]
    assert kl[0] == pytest.approx(kl[1], abs=0.01)


def test_a_recording_is_kept_by_content_and_travels(baseline: Baseline, tmp_path: Path) -> None:
    store = BaselineStore(tmp_path / "here")
    path = store.save(baseline)
    kept = store.get(KEY)
    assert kept is not None
    assert kept.digest == baseline.digest
    assert [a.text for a in kept.answers] == [a.text for a in baseline.answers]
    there = BaselineStore(tmp_path / "there")
    assert there.get(KEY) is None
    there.take(path)
    assert there.get(KEY) == kept
    assert there.find("m" * 64, "s" * 64) == [kept]
    assert there.find("m" * 64, "x" * 64) == []
    assert path.stat().st_size < 60_000
    assert read_baseline(path) == kept
    path.write_bytes(path.read_bytes()[:-40])
    assert store.get(KEY) is None  # it is recorded again
    assert store.find("m" * 64, "s" * 64) == []
    with pytest.raises(ArtifactError, match="is no baseline"):
        there.take(path)


def test_perplexity_is_that_of_the_baselines_answers(baseline: Baseline, lab: Server) -> None:
    asker = Asker(lab, "sample:f16", 60)
    found = [followed(asker, answer) for answer in baseline.answers]
    logprobs = [s.logprob for a in baseline.answers for s in a.steps if not s.merged]
    expected = math.exp(-sum(logprobs) / len(logprobs))
    made = summarize("t", "F16", baseline, found)
    assert made.baseline_perplexity == pytest.approx(expected, rel=1e-4)


# ---------------------------------------------------------------- a stuck engine


@dataclass
class Stuck:
    """A server in front of a real one whose engine gets stuck until it is unloaded.

    Only the transport is made up: answers that come, come from the real server.
    """

    url: str
    after: int
    hanging: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    asked: int = 0
    unloaded: int = 0


@pytest.fixture
def stuck(lab: Server) -> Iterator[Stuck]:
    import http.client
    import json as js
    import urllib.parse

    state = Stuck("", after=3)
    target = urllib.parse.urlsplit(lab.url)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = js.loads(body)
            if asked.get("keep_alive") == 0:
                state.unloaded += 1
                state.hanging.clear()
                state.over.set()
            elif self.path == "/api/generate":
                state.asked += 1
                if state.asked == state.after:
                    state.over.clear()
                    state.hanging.set()
                if state.hanging.is_set():
                    state.over.wait(60)
                    return
            link = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
            link.request("POST", self.path, body, {"Content-Type": "application/json"})
            answer = link.getresponse()
            content = answer.read()
            link.close()
            with suppress(ConnectionError):  # whoever asked may have given up
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    state.over.set()
    server.shutdown()
    server.server_close()


def test_a_stuck_engine_is_unloaded_and_asked_again(
    stuck: Stuck, baseline: Baseline, tmp_path: Path
) -> None:
    with Server(stuck.url) as server:
        asker = Asker(server, "sample:f16", 8)
        jobs = [Job(asker, answer, {}, 64) for answer in baseline.answers]
        found = measure(jobs, Journal(tmp_path / "j.jsonl"), no_progress)
    assert found.unanswered == ()
    assert sum(one.retries for one in found.found) == 1
    assert stuck.unloaded == 2  # before the start, and to end what hung
    assert len(found.found) == len(jobs)


def test_a_server_that_never_answers_ends_the_measurement(
    baseline: Baseline, stuck: Stuck, tmp_path: Path
) -> None:
    stuck.after = 1

    class Dead(Server):
        def unload(self, name: str) -> None:
            """A server that is beyond help."""

    with Dead(stuck.url) as server:
        jobs = [Job(Asker(server, "sample:f16", 0.2), a, {}, 64) for a in baseline.answers]
        with pytest.raises(ServerTimeout, match="3 prompts in a row"):
            measure(jobs, Journal(tmp_path / "j.jsonl"), no_progress)


def test_a_timeout_follows_what_answers_take() -> None:
    class Nobody:
        def stream(self, *_: object, **__: object) -> Generator[object]:
            yield from ()

    asker = Asker(Nobody(), "t", 300)  # type: ignore[arg-type]
    assert asker.patience_seconds == 300
    asker.asked.requests, asker.asked.slowest_seconds = 10, 0.1
    assert asker.patience_seconds == tracing.LEAST_SECONDS
    asker.asked.slowest_seconds = 4
    assert asker.patience_seconds == 80

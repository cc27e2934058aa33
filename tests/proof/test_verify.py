"""Suites run against real HTTP servers in threads, and what goes wrong there."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from deployq.errors import ServerRefused, ServerTimeout, ServerUnreachable
from deployq.proof.checks import BUILTIN_CHECKS
from deployq.proof.suites import Suite, load_suite
from deployq.proof.verify import run_suite
from deployq.types import Answer, CheckType, Json, Message, Prompt, Verdict, no_progress

CHECKS = {check.name: check for check in BUILTIN_CHECKS}
ROOT = Path(__file__).resolve().parents[2]


class Echo(BaseHTTPRequestHandler):
    """Answers with the last message; "sleep N" first waits N seconds, "refuse N" is status N."""

    busy = 0
    most_busy = 0
    lock = threading.Lock()

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            type(self).busy += 1
            type(self).most_busy = max(self.busy, self.most_busy)
        text = request["messages"][-1]["content"]
        if text.startswith("sleep "):
            time.sleep(float(text.split()[1]))
        body = json.dumps({"text": text, "request": request}).encode()
        with self.lock:
            type(self).busy -= 1
        status = int(text.split()[1]) if text.startswith("refuse ") else 200
        with suppress(ConnectionError):  # whoever asked may have given up long ago
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@dataclass
class Client:
    """An `Answerer` over real HTTP, with the mapping of errors that any has."""

    url: str
    seen: list[dict[str, Any]] = field(default_factory=list)

    def chat(
        self,
        model: str,
        messages: Iterable[Message],
        *,
        options: Mapping[str, Json],
        format: Json = None,
        think: bool | str = False,
        tools: Sequence[Json] = (),
        timeout_seconds: float | None = None,
    ) -> Answer:
        request = {
            "model": model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "options": dict(options),
            "format": format,
            "think": think,
            **({"tools": list(tools)} if tools else {}),
        }
        started = time.monotonic()
        try:
            response = requests.post(self.url, json=request, timeout=timeout_seconds)
        except requests.Timeout as exc:
            raise ServerTimeout(f"{self.url} did not answer in {timeout_seconds:g} s") from exc
        except requests.ConnectionError as exc:
            raise ServerUnreachable(f"nothing answers at {self.url}") from exc
        answered = response.json()
        self.seen.append(answered["request"])
        if not response.ok:
            raise ServerRefused(f"{self.url} refused to answer", status=response.status_code)
        return Answer(answered["text"], "stop", 9, 10, 0.1, 0.0, time.monotonic() - started)


@contextmanager
def echo_server() -> Iterator[type[Echo]]:
    handler = type("Echo", (Echo,), {"busy": 0, "most_busy": 0, "url": ""})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        handler.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        try:
            yield handler
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def echo() -> Iterator[type[Echo]]:
    with echo_server() as handler:
        yield handler


@pytest.fixture
def client(echo: type[Echo]) -> Client:
    return Client(echo.url)  # type: ignore[attr-defined]


@pytest.fixture
def suite_of(tmp_path: Path) -> Callable[..., Suite]:
    """A suite of these user texts; each must come back as it is."""

    def make(*texts: str, head: str = "", check: str = "") -> Suite:
        prompts = "".join(
            f"\n[[prompts]]\nuser = {json.dumps(t)}\n{check or f'check.equals = {json.dumps(t)}'}\n"
            for t in texts
        )
        path = tmp_path / "suite.toml"
        path.write_text(head + prompts)
        return load_suite(path, CHECKS)

    return make


def run(answerer: Client, suite: Suite, **changed: Any) -> Any:
    arguments: dict[str, Any] = {"timeout_seconds": 20.0, "progress": no_progress, **changed}
    checks = arguments.pop("checks", CHECKS)
    return run_suite(answerer, "echo:q8_0", suite, checks, **arguments)


def test_answers_are_judged_and_counted(client: Client, suite_of: Callable[..., Suite]) -> None:
    suite = suite_of("a", "b", "c", head='threshold = 0.6\nname = "abc"\ncheck.contains = "b"\n')
    found = run(client, suite)
    assert [result.ok for result in found.results] == [False, True, False]
    assert found.results[0].verdicts == (
        Verdict("contains", False, 'it does not contain "b"'),
        Verdict("equals", True),
    )
    assert (found.suite, found.tag, found.threshold) == ("abc", "echo:q8_0", 0.6)
    assert (found.passed, found.ok, found.suite_digest) == (1, False, suite.digest)
    assert found.tokens_per_second == pytest.approx(100)
    assert found.seconds > 0


def test_what_the_suite_says_is_what_is_sent(
    client: Client, suite_of: Callable[..., Suite]
) -> None:
    head = 'options = { seed = 7 }\nformat = "json"\nthink = "low"\nsystem = "S"\n'
    run(client, suite_of("a", head=head))
    assert client.seen == [
        {
            "model": "echo:q8_0",
            "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"}],
            "options": {"temperature": 0, "seed": 7, "num_predict": 512},
            "format": "json",
            "think": "low",
        }
    ]


def test_jobs_run_side_by_side_and_results_keep_their_order(
    echo: type[Echo], client: Client, suite_of: Callable[..., Suite]
) -> None:
    texts = [f"sleep {seconds}" for seconds in (0.4, 0.3, 0.2, 0.1)]
    told: list[tuple[str, float, float | None, str]] = []
    found = run(client, suite_of(*texts), jobs=4, progress=lambda *args: told.append(args))
    assert [result.prompt.messages[0].content for result in found.results] == texts
    assert found.ok
    assert echo.most_busy > 1
    assert told == [("echo:q8_0", done, 4, "prompts") for done in range(5)]


def test_one_job_asks_one_prompt_at_a_time(
    echo: type[Echo], client: Client, suite_of: Callable[..., Suite]
) -> None:
    run(client, suite_of("sleep 0.02", "sleep 0.01", "a"))
    assert echo.most_busy == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_prompt_without_an_answer_has_failed(
    client: Client, suite_of: Callable[..., Suite], jobs: int
) -> None:
    found = run(client, suite_of("a", "sleep 5", "b"), timeout_seconds=1, jobs=jobs)
    assert [result.ok for result in found.results] == [True, False, True]
    silent = found.results[1]
    assert silent.answer is None
    (verdict,) = silent.verdicts
    assert (verdict.check, verdict.ok) == ("answered", False)
    assert verdict.reason.endswith("did not answer in 1 s")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_prompt_that_cannot_be_asked_has_failed(
    client: Client, suite_of: Callable[..., Suite], jobs: int
) -> None:
    """Over the context, say: the other prompts are asked all the same."""
    found = run(client, suite_of("a", "refuse 400", "b"), jobs=jobs)
    assert [result.ok for result in found.results] == [True, False, True]
    (verdict,) = found.results[1].verdicts
    assert (verdict.check, verdict.reason) == ("answered", f"{client.url} refused to answer")


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_server_that_refuses_to_serve_ends_the_run(
    client: Client, suite_of: Callable[..., Suite], status: int
) -> None:
    with pytest.raises(ServerRefused):
        run(client, suite_of("a", f"refuse {status}", "b"))


def test_a_server_that_answers_nothing_any_more_ends_the_run(
    client: Client, suite_of: Callable[..., Suite]
) -> None:
    suite = suite_of(*[f"sleep 5 {n}" for n in range(9)])
    started = time.monotonic()
    with pytest.raises(ServerTimeout, match="answered none of 3 prompts in a row") as caught:
        run(client, suite, timeout_seconds=0.3)
    assert time.monotonic() - started < 3
    assert caught.value.hint


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_server_that_is_not_there_ends_the_run(suite_of: Callable[..., Suite], jobs: int) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = Client(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(ServerUnreachable, match="nothing answers at"):
            run(nowhere, suite_of("a", "b", "c", "d"), jobs=jobs)


def test_no_worker_asks_on_after_the_run_has_ended(
    client: Client, suite_of: Callable[..., Suite]
) -> None:
    suite = suite_of(*[f"sleep 0.1 {n}" for n in range(20)])

    def stop(task: str, done: float, total: float | None, unit: str) -> None:  # noqa: ARG001
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(client, suite, jobs=2, progress=stop)
    time.sleep(0.5)
    assert len(client.seen) <= 4


@dataclass
class Odd:
    """A plugin's check that does not do its work."""

    outcome: Any
    name: str = "odd"
    schema: Mapping[str, Json] = field(default_factory=dict)

    def check(self, answer: Answer, prompt: Prompt, params: Json) -> Verdict:  # noqa: ARG002
        if isinstance(self.outcome, Exception):
            raise self.outcome
        found: Verdict = self.outcome
        return found


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (ValueError("no idea"), "not judged: the check raised ValueError: no idea"),
        (TimeoutError("it hangs"), "not judged: it hangs"),
        (True, "not judged: the check returned True, no Verdict"),
    ],
)
def test_a_check_that_judges_nothing_fails_its_prompt_alone(
    client: Client, tmp_path: Path, outcome: Any, message: str
) -> None:
    checks: dict[str, CheckType] = {"odd": Odd(outcome)}
    path = tmp_path / "suite.toml"
    path.write_text(
        '[[prompts]]\nuser = "a"\ncheck.odd = true\n[[prompts]]\nuser = "b"\ncheck.not_empty = true'
    )
    checks["not_empty"] = CHECKS["not_empty"]
    first, second = run(client, load_suite(path, checks), checks=checks).results
    assert first.verdicts == (Verdict("odd", False, message),)
    assert second.verdicts == (Verdict("not_empty", True),)


def test_a_check_that_hangs_is_given_up(client: Client, tmp_path: Path) -> None:
    checks: dict[str, CheckType] = {"odd": Odd(TimeoutError("it hangs"))}
    path = tmp_path / "suite.toml"
    path.write_text('check.odd = "given up"' + '\n[[prompts]]\nuser = "a"' * 5)
    told = [
        r.verdicts[0].reason for r in run(client, load_suite(path, checks), checks=checks).results
    ]
    assert (
        told == ["not judged: it hangs"] * 3 + ["not judged: it ran out of time on 3 answers"] * 2
    )


SCRIPT = """
import sys
from pathlib import Path
from deployq.proof.suites import load_suite
from tests.proof.test_verify import CHECKS, Client, run

def told(task, done, total, unit):
    print("asking", flush=True)

suite = load_suite(Path(sys.argv[2]), CHECKS)
run(Client(sys.argv[1]), suite, jobs=int(sys.argv[3]), progress=told)
"""


@pytest.mark.parametrize("jobs", [1, 4])
def test_ctrl_c_ends_the_process_at_once(
    client: Client, suite_of: Callable[..., Suite], tmp_path: Path, jobs: int
) -> None:
    """Also while every worker waits for an answer."""
    suite_of(*[f"sleep 30 {n}" for n in range(8)])
    argv = [sys.executable, "-c", SCRIPT, client.url, str(tmp_path / "suite.toml"), str(jobs)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "asking\n"
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, stderr = child.communicate(timeout=25)
    assert time.monotonic() - started < 10
    assert child.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in stderr


# ---------------------------------------------------------------- several tries


def test_each_try_has_a_seed_of_its_own(client: Client, suite_of: Callable[..., Suite]) -> None:
    run(client, suite_of("a", head="options = { seed = 5 }\nrepeat = 3\n"))
    assert [asked["options"]["seed"] for asked in client.seen] == [5, 6, 7]


def test_a_pass_rate_decides_over_several_tries(
    client: Client, suite_of: Callable[..., Suite]
) -> None:
    """The second of three tries says something else; two of three may be enough."""

    class Moody(Client):
        def chat(self, *arguments: Any, **named: Any) -> Answer:
            answer = super().chat(*arguments, **named)
            strays = named["options"]["seed"] == 43
            return dataclasses.replace(answer, text="other" if strays else answer.text)

    moody = Moody(client.url)
    strict = run(moody, suite_of("a", head="repeat = 3\n")).results[0]
    assert (strict.ok, strict.tries, strict.passes) == (False, 3, 2)
    assert strict.answer is not None
    assert strict.answer.text == "other"  # the try that failed is the one to look at
    mild = run(moody, suite_of("a", head="repeat = 3\npass_rate = 0.6\n")).results[0]
    assert (mild.ok, mild.passes) == (True, 2)


def test_a_server_that_hangs_is_not_asked_the_same_again(
    client: Client, suite_of: Callable[..., Suite]
) -> None:
    found = run(client, suite_of("sleep 3", head="repeat = 3\n"), timeout_seconds=0.3).results[0]
    assert not found.ok
    assert found.answer is None
    assert len(client.seen) == 0


def test_tools_are_sent(client: Client, suite_of: Callable[..., Suite]) -> None:
    tool = '{ type = "function", function = { name = "weather" } }'
    run(client, suite_of("a", head=f"tools = [{tool}]\n"))
    assert client.seen[0]["tools"] == [{"type": "function", "function": {"name": "weather"}}]

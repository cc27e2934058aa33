"""Judges answers by the patterns of a suite, in a child process that can be ended.

A regular expression, a JSON schema or a JSON path may take for ever on one answer, or all memory,
and nothing inside this process could stop it: Python's `re` holds the interpreter meanwhile.
`check_child.py` is what runs over there.
"""

from __future__ import annotations

import atexit
import json
import sys
import threading

from deployq import proc
from deployq.types import Answer, Json

SECONDS = 5.0
_MODULE = "deployq.proof.check_child"


class CheckChild:
    """The child process, started by the first answer and once more after each that it died of.

    Threads take turns: a check is a matter of milliseconds. One that isn't done after `seconds` is
    ended with the process.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._child: proc.Child | None = None
        self._turn = threading.Lock()

    def fault(self, check: str, answer: Answer, params: Json) -> str:
        """What is wrong with an answer by a check; "" where nothing is.

        Raises:
            TimeoutError: the check was not done in time.
            ChildProcessError: it ended the process.
        """
        question = {
            "check": check,
            "text": answer.text,
            "tokens": answer.tokens,
            "done_reason": answer.done_reason,
            "params": params,
        }
        line = json.dumps(question, default=str).encode() + b"\n"
        with self._turn:
            told = self._ask(line)
        if "error" in told:
            raise ChildProcessError(told["error"])
        return told["fault"]

    def _ask(self, line: bytes) -> dict[str, str]:
        if self._child is None or self._child.poll() is not None:
            self.end()
            self._child = proc.start([sys.executable, "-m", _MODULE], is_asked=True)
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        with proc.deadline(child, self.seconds):
            try:
                child.stdin.write(line)
                child.stdin.flush()
                answered = child.stdout.readline()
            except BrokenPipeError:
                answered = b""
        if not answered.endswith(b"\n"):
            self.end()
            if child.timed_out:
                raise TimeoutError(f"it took longer than {self.seconds:g} s")
            raise ChildProcessError(f"it {proc.describe_exit(child.returncode)}")
        told: dict[str, str] = json.loads(answered)
        return told

    def end(self) -> None:
        """End the process, if one runs."""
        child, self._child = self._child, None
        if child is None:
            return
        proc.stop(child)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


CHILD = CheckChild()
atexit.register(CHILD.end)

"""What `bounded.CheckChild` runs: a question a line on stdin, a verdict a line on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import IO, Any

from deployq.proof.answers_checks import ANSWER_CHECKS
from deployq.proof.checks import BUILTIN_CHECKS, Check
from deployq.types import Answer

if sys.platform != "win32":
    import resource

MEMORY_BYTES = 2 << 30
_CHECKS = {
    check.name: check for check in (*BUILTIN_CHECKS, *ANSWER_CHECKS) if isinstance(check, Check)
}


def main() -> None:
    """Judge answers until there are no more."""
    _limit_memory()
    verdicts = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    # What a library prints belongs into no verdict.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    _judge_all(sys.stdin, verdicts)


def _judge_all(questions: IO[str], verdicts: IO[str]) -> None:
    for line in questions:
        print(json.dumps(_judge(json.loads(line))), file=verdicts, flush=True)


def _judge(question: dict[str, Any]) -> dict[str, str]:
    answer = Answer(
        text=question["text"],
        done_reason=question["done_reason"],
        prompt_tokens=0,
        tokens=question["tokens"],
        eval_seconds=0.0,
        load_seconds=0.0,
        wall_seconds=0.0,
    )
    try:
        return {"fault": _CHECKS[question["check"]].fault(answer, question["params"])}
    except RecursionError:
        return {"error": "it goes too deep, or refers to itself without an end"}
    except MemoryError:
        return {"error": f"it takes more than {MEMORY_BYTES >> 30} GiB of memory"}
    except Exception as exc:  # noqa: BLE001  (whatever a library makes of a foreign pattern)
        return {"error": f"{type(exc).__name__}: {exc}"}


def _limit_memory() -> None:
    if sys.platform != "win32":
        with contextlib.suppress(ValueError, OSError):  # macOS refuses
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    main()

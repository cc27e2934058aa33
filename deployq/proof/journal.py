"""Records as JSON lines: appended one by one, read back after an interruption."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployq.errors import DiskError
from deployq.types import (
    End,
    Json,
    Position,
    PromptAgreement,
    Spoken,
    TokenStep,
    TracedAnswer,
)

DIGITS = 6
SYNC_SECONDS = 1.0


class Journal:
    """A file of JSON lines that grows as work goes on; a line that was cut is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._safe_until = 0.0

    def read(self) -> list[Any]:
        """What was written so far.

        Raises:
            DiskError: it can't be read.
        """
        try:
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        except (OSError, UnicodeDecodeError) as exc:
            raise DiskError(f"cannot read {self.path}: {exc}") from exc
        found = []
        for line in text.split("\n"):
            try:
                found.append(json.loads(line))
            except ValueError:
                break
        return found

    def write(self, record: Mapping[str, Any]) -> None:
        """Add one record; it outlives this process, and a second later a loss of power, too.

        Raises:
            DiskError: it can't be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._drop_cut_line()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
                file.flush()
                if time.monotonic() > self._safe_until:
                    os.fsync(file.fileno())
                    self._safe_until = time.monotonic() + SYNC_SECONDS
        except OSError as exc:
            raise DiskError(f"cannot write {self.path}: {exc.strerror}") from exc

    def remove(self) -> None:
        """Remove the file; the work is done."""
        self.path.unlink(missing_ok=True)

    def _drop_cut_line(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb+") as file:
            content = file.read()
            if content and not content.endswith(b"\n"):
                file.truncate(content.rfind(b"\n") + 1)


def pack_answer(answer: TracedAnswer) -> dict[str, Json]:
    """A traced answer as JSON; log probabilities to `DIGITS` digits."""
    return {
        "prompt": answer.prompt,
        "rendered": answer.rendered,
        "text": answer.text,
        "done_reason": answer.done_reason,
        "prompt_tokens": answer.prompt_tokens,
        "cached_tokens": answer.cached_tokens,
        "tokens": answer.tokens,
        "eval_seconds": answer.eval_seconds,
        "wall_seconds": round(answer.wall_seconds, DIGITS),
        "load_seconds": answer.load_seconds,
        "format": answer.format,
        "spoken": [[s.text, s.done_reason, s.tool_calls] for s in answer.spoken],
        "steps": [
            [s.text, _rounded(s.logprob), [[text, _rounded(lp)] for text, lp in s.top]]
            for s in answer.steps
        ],
    }


def unpack_answer(packed: Mapping[str, Any]) -> TracedAnswer:
    """Raises KeyError, TypeError or ValueError where it is none."""
    plain = {key: value for key, value in packed.items() if key not in ("steps", "spoken")}
    spoken = tuple(Spoken(*said) for said in packed["spoken"])
    steps = tuple(
        TokenStep(text, logprob, tuple((t, lp) for t, lp in top))
        for text, logprob, top in packed["steps"]
    )
    return TracedAnswer(steps=steps, spoken=spoken, **plain)


def pack_agreement(found: PromptAgreement) -> dict[str, Json]:
    """A prompt's agreement as JSON."""
    return {
        "prompt": found.prompt,
        "end": found.end,
        "first_difference": found.first_difference,
        "requests": found.requests,
        "tokens": found.tokens,
        "seconds": round(found.seconds, DIGITS),
        "retokenized": found.retokenized,
        "merged": found.merged,
        "bounded": found.bounded,
        "cached_tokens": found.cached_tokens,
        "retries": found.retries,
        "positions": [
            [p.index, p.same_top, *map(_rounded, (p.kl, p.nll, p.baseline_nll))]
            for p in found.positions
        ],
        "own": pack_answer(found.own) if found.own else None,
    }


def unpack_agreement(packed: Mapping[str, Any]) -> PromptAgreement:
    """Raises KeyError, TypeError or ValueError where it is none."""
    plain = {k: v for k, v in packed.items() if k not in ("positions", "own", "end")}
    end: End = packed["end"]
    return PromptAgreement(
        positions=tuple(Position(*values) for values in packed["positions"]),
        own=unpack_answer(packed["own"]) if packed["own"] else None,
        end=end,
        **plain,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)

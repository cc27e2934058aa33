"""stdout and stderr that take everything: a reader that left, a character that they don't know."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import Any, TextIO

from deployq.errors import DiskError

# Where an encoding has none of these, words would lose what they say by a mere `?`.
_SUBSTITUTES = {
    "✓": "+", "✗": "x", "►": ">", "→": "->", "…": "...", "⏎": "|", "−": "-", "–": "-", "×": "x",
    "±": "+-", "≤": "<=", "≥": ">=", "·": ".", "─": "-", "│": "|", "├": "|", "└": "`", "▁": "_",
}  # fmt: skip
_ERRORS = "deployq"


def take_everything() -> None:
    """Make this process's stdout and stderr such that writing never ends a command half way.

    Who reads may go away (`deployq list | head`, a terminal that is closed): the command goes on,
    and its exit code says how it ended. A character that the encoding lacks is written in others.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed (`>&-`): the next file would become it
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error(_ERRORS, _substituted)
    sys.stdout = _stream(1, sys.stdout, {errno.EPIPE, errno.EIO})
    # Talk that is lost, also for want of disk, is no reason to fail.
    sys.stderr = _stream(2, sys.stderr, {errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT})


def _stream(number: int, as_before: TextIO | None, swallowed: set[int]) -> TextIO:
    encoding = getattr(as_before, "encoding", None) or "utf-8"
    raw = _Output(number, swallowed)
    buffer = io.BufferedWriter(raw)
    talk = number == 2 or raw.isatty()
    return io.TextIOWrapper(buffer, encoding, _ERRORS, line_buffering=talk)


class _Output(io.FileIO):
    """A file descriptor that becomes the null device with its first error.

    That error is swallowed, or is a DiskError; either way Python's own last flush finds none.
    """

    def __init__(self, number: int, swallowed: set[int]) -> None:
        super().__init__(number, "w", closefd=False)
        self._swallowed = swallowed

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as exc:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if exc.errno not in self._swallowed:
                raise DiskError(f"stdout can't be written: {exc.strerror}") from exc
            return super().write(data)


def _substituted(exc: UnicodeError) -> tuple[str, int]:
    """What is written in place of what can't be; for `codecs`."""
    if not isinstance(exc, UnicodeEncodeError):
        raise exc
    found = exc.object[exc.start : exc.end]
    escaped = (c.encode("ascii", "backslashreplace").decode() for c in found)
    shown = (_SUBSTITUTES.get(c, e) for c, e in zip(found, escaped, strict=True))
    return "".join(shown), exc.end


def is_unicode(stream: TextIO) -> bool:
    """Checks that a stream can take any text."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name.startswith("utf")

"""The `python` check: a function of the user's, run in a child process, only where trusted.

    check.python = { file = "checks.py", function = "is_polite" }

The function gets the answer's text and the prompt as a dict; it returns true, or false, or a
text that says what is wrong ("" is fine). One that fails has judged nothing, so the prompt fails.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployq import proc
from deployq.types import Answer, Json, Prompt, Verdict

SECONDS = 10.0
MARK = "deployq-verdict:"
PYTHON: Mapping[str, Json] = {
    "type": "object",
    "required": ["file", "function"],
    "additionalProperties": False,
    "properties": {
        "file": {"type": "string", "minLength": 1},
        "function": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    },
}
_RUNNER = f"""
import json, pathlib, runpy, sys, traceback
asked = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
try:
    function = runpy.run_path(asked["file"])[asked["function"]]
    verdict = function(asked["answer"], asked["prompt"])
    if not isinstance(verdict, (bool, str)):
        returned = "nothing" if verdict is None else repr(verdict)
        raise TypeError(f"it returned {{returned}}: only True, False or a text is a verdict")
    told = {{"verdict": verdict}}
except BaseException as exc:
    told = {{"raised": "".join(traceback.format_exception_only(exc)).strip()}}
    for at in traceback.extract_tb(exc.__traceback__):
        if at.filename == asked["file"]:
            told["line"] = at.lineno
print("\\n" + {MARK!r} + json.dumps(told), flush=True)
"""


@dataclass(slots=True)
class PythonCheck:
    """Runs functions of the files in `trusted`; relative ones are relative to `folder`."""

    folder: Path
    trusted: Sequence[Path]
    name: str = "python"
    schema: Mapping[str, Json] = field(default_factory=lambda: PYTHON)

    def validate(self, params: Json) -> str:
        """What is wrong with parameters that match the schema; "" when nothing is."""
        path = self._file(params)
        if path not in {each.resolve() for each in self.trusted}:
            return (
                f"{path} is code and is not trusted; if you wrote it, say so: "
                f'[plugins] trust = ["{path.name}"] in deployq.toml'
            )
        return "" if path.is_file() else f"{path}: there is no such file"

    def check(self, answer: Answer, prompt: Prompt, params: Json) -> Verdict:
        """Run the function.

        Raises:
            TimeoutError: it doesn't end.
            ChildProcessError: it fails, ends its process, or returns no verdict.
        """
        assert isinstance(params, Mapping)
        asked = {
            "file": str(self._file(params)),
            "function": params["function"],
            "answer": answer.text,
            "prompt": {
                "name": prompt.name,
                "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
            },
        }
        verdict = _run(asked)
        if isinstance(verdict, str):
            return Verdict(self.name, not verdict, verdict)
        return Verdict(self.name, verdict, "" if verdict else f"{params['function']} says no")

    def _file(self, params: Json) -> Path:
        assert isinstance(params, Mapping)
        return (self.folder / str(params["file"])).resolve()


def _run(asked: Mapping[str, object]) -> bool | str:
    """What the function says."""
    what = f"{asked['function']} of {asked['file']}"
    with tempfile.TemporaryDirectory(prefix="deployq-check-") as folder:
        given = Path(folder) / "asked.json"
        given.write_text(json.dumps(asked), encoding="utf-8")
        argv = [sys.executable, "-c", _RUNNER, str(given)]
        with proc.spawn(argv, timeout_seconds=SECONDS) as child:
            assert child.stdout is not None
            printed = child.stdout.read().decode("utf-8", "replace")
            child.wait()
    if child.timed_out:
        raise TimeoutError(f"{what} did not end within {SECONDS:g} s")
    told = [line.removeprefix(MARK) for line in printed.splitlines() if line.startswith(MARK)]
    if not told:
        raise ChildProcessError(f"{what} ended its process by itself")
    said: dict[str, Any] = json.loads(told[-1])
    if "raised" in said:
        line = f" (line {said['line']})" if "line" in said else ""
        raise ChildProcessError(f"{what} failed: {said['raised']}{line}")
    verdict: bool | str = said["verdict"]
    return verdict

"""The `python` check: a function of the user's, run in a child process, only where trusted.

    check.python = { file = "checks.py", function = "is_polite" }

The function gets the answer's text and the prompt as a dict; it returns true, or false, or a
text that says what is wrong ("" is fine).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deployq import proc
from deployq.errors import BackendError, PluginError
from deployq.types import Answer, Json, Prompt, Verdict

SECONDS = 60.0
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
import json, pathlib, runpy, sys
asked = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
function = runpy.run_path(asked["file"])[asked["function"]]
verdict = function(asked["answer"], asked["prompt"])
if not isinstance(verdict, (bool, str)) and verdict is not None:
    raise TypeError(f"it returned {{verdict!r}}: true, false or a text is a verdict")
print({MARK!r} + json.dumps(verdict))
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
            PluginError: it raises, takes too long, or returns nonsense.
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
        failed = verdict is False
        return Verdict(self.name, not failed, f"{params['function']} says no" if failed else "")

    def _file(self, params: Json) -> Path:
        assert isinstance(params, Mapping)
        return (self.folder / str(params["file"])).resolve()


def _run(asked: Mapping[str, object]) -> Json:
    with tempfile.TemporaryDirectory(prefix="deployq-check-") as folder:
        given = Path(folder) / "asked.json"
        given.write_text(json.dumps(asked), encoding="utf-8")
        try:
            done = proc.run([sys.executable, "-c", _RUNNER, given], timeout_seconds=SECONDS)
        except BackendError as exc:
            raise PluginError(
                f"{asked['function']} of {asked['file']} failed: {exc.message}",
                hint="run it on that answer yourself",
            ) from exc
    told = [line.removeprefix(MARK) for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not told:
        raise PluginError(f"{asked['function']} of {asked['file']} ended the process by itself")
    found: Json = json.loads(told[-1])
    return found

"""The completer `transformers`: what the trained model itself says, before any conversion."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq import BackendError, Completion, Health, Json, Progress, ToolMissing
from deployq_converters.environment import find_python, run, versions

NEEDED = ("torch", "transformers")


class TransformersCompleter:
    """Continues raw prompts with a Hugging Face folder, in the interpreter that converts."""

    name = "transformers"
    format = "huggingface"

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env
        self._health: dict[Path, Health] = {}

    def health(self) -> Health:
        """Is there an interpreter with torch and transformers?"""
        try:
            place = find_python(self._env)
            if place.path not in self._health:
                self._health[place.path] = self._ask(place.path)
            return self._health[place.path]
        except ToolMissing as exc:
            return Health(False, detail=exc.message, hint=exc.hint)
        except BackendError as exc:
            return Health(False, detail=exc.message, hint="deployq tools install convert")

    def complete(
        self,
        model: Path,
        prompts: Sequence[str],
        n_ctx: int,  # noqa: ARG002  (a prompt is never cut here)
        n_predict: int,
        progress: Progress,
    ) -> Sequence[Completion]:
        """The greedy continuation of each prompt, without special tokens.

        Raises:
            ToolMissing: there is no such interpreter.
            SourceError: transformers can't load the folder.
            BackendError: it failed; its last words are in the message.
        """
        answers: list[Completion] = []

        def on_event(event: str, values: Mapping[str, Any]) -> None:
            if event == "answer":
                answers.append(Completion(values["text"], values["ended"]))
                progress("answers", len(answers), len(prompts), "prompts")

        job: dict[str, Json] = {
            "job": "answer",
            "source": str(model.absolute()),
            "prompts": list(prompts),
            "n_predict": n_predict,
        }
        run(self._python(), job, on_event)
        return answers

    def follow(
        self, model: Path, said: Sequence[tuple[str, Completion]], progress: Progress
    ) -> Sequence[tuple[int, int]]:
        """How many tokens of each continuation this model is sure of, and how many were written.

        Raises:
            ToolMissing: there is no such interpreter.
            SourceError: transformers can't load the folder, or there is no memory for it.
            BackendError: it failed; its last words are in the message.
        """
        found: list[tuple[int, int]] = []

        def on_event(event: str, values: Mapping[str, Any]) -> None:
            if event == "followed":
                found.append((values["sure"], values["same"]))
                progress("comparing answers", len(found), len(said), "prompts")

        job: dict[str, Json] = {
            "job": "follow",
            "source": str(model.absolute()),
            "said": [[prompt, one.text, one.ended] for prompt, one in said],
        }
        run(self._python(), job, on_event)
        return found

    def _python(self) -> Path:
        health = self.health()
        if not health.ok or health.path is None:
            raise ToolMissing(health.detail, hint=health.hint)
        return health.path

    def _ask(self, python: Path) -> Health:
        found = versions(python, NEEDED)
        if missing := [name for name in NEEDED if not found.get(name)]:
            detail = f"{python} lacks {', '.join(missing)}"
            return Health(False, path=python, detail=detail, hint="deployq tools install convert")
        version = "+".join(f"{name}-{found[name]}" for name in NEEDED)
        return Health(True, version, python, f"{version} in {python}")

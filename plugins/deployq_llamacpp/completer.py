"""The completer `llama-server`: continues raw prompts, greedily, straight from a GGUF file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployq import Completion, Health, Progress
from deployq.tools import tool_health
from deployq_llamacpp import engine

TOOL = "llama-server"


class LlamaCppCompleter:
    """Answers as the model's own engine would, with no tag and no server of the user's."""

    name = TOOL

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env

    def health(self) -> Health:
        return tool_health(TOOL, self._env)

    def complete(
        self, model: Path, prompts: Sequence[str], n_ctx: int, n_predict: int, progress: Progress
    ) -> Sequence[Completion]:
        """The greedy continuation of each prompt, without the token that ends it.

        Raises:
            ToolMissing: there is no llama-server.
            BackendError: the model can't be loaded, or it failed.
        """
        answers = []
        asked = {"n_predict": n_predict, "temperature": 0, "seed": 42, "cache_prompt": True}
        with (
            tempfile.TemporaryDirectory(prefix="deployq-") as folder,
            engine.serving(model, n_ctx, Path(folder), self._env) as server,
        ):
            for number, prompt in enumerate(prompts, 1):
                answer = server.ask("/completion", {"prompt": prompt, **asked})
                ended = answer.get("stop_type") != "limit"
                answers.append(Completion(str(answer["content"]), ended))
                progress("answers", number, len(prompts), "prompts")
        return answers

"""What Ollama decides by itself when it starts llama-server, and what of it has a default.

Read from 0.32.15 and 0.34.4, which agree: `load` and `generationBatchForContext` in
server/sched.go, `startLlamaServer` in llm/llama_server.go. deployq plans by these rules, and its
own runtime starts llama-server by them.
"""

from __future__ import annotations

from collections.abc import Mapping

from deployq.types import Serving

DEFAULT_BATCH = 512
"""Tokens that go through the model in one pass (`-b` and `-ub`) while the context is short."""

_MIB = 1 << 20
# batch, from more than so many tokens of context on, share of the memory that may be taken before,
# bytes that the batch may add
_LARGER = ((2048, 32768, 60, 2048 * _MIB), (1024, 4096, 75, 768 * _MIB))
_SHARE_OF_ALL = 80

ONE_AT_A_TIME = frozenset(
    {"lfm2", "lfm2moe", "mllama", "nemotron_h", "nemotron_h_moe", "nemotron_h_omni", "qwen35",
     "qwen35moe", "qwen3next", "qwen3vl", "qwen3vlmoe"}
)  # fmt: skip
"""Architectures that Ollama serves one request at a time, whatever OLLAMA_NUM_PARALLEL says."""


def batch_of_context(n_tokens: int, predicted_bytes: int = 0, available_bytes: int = 0) -> int:
    """Tokens per pass that Ollama chooses where a model's parameters have no `num_batch`.

    Args:
        n_tokens: context of all parallel sequences together.
        predicted_bytes: what Ollama expects the model to take of its GPUs.
        available_bytes: what is free on these; 0: there is no GPU, and nothing limits the batch.
    """
    for batch, over, percent, surcharge in _LARGER:
        if n_tokens > over and (
            not (predicted_bytes and available_bytes)
            or (
                predicted_bytes <= available_bytes * percent // 100
                and predicted_bytes + surcharge <= available_bytes * _SHARE_OF_ALL // 100
            )
        ):
            return batch
    return DEFAULT_BATCH


def parallel_setting(env: Mapping[str, str]) -> int | None:
    """What OLLAMA_NUM_PARALLEL says; None where it is not set, or not a number.

    Ollama takes 0 as 1.
    """
    text = _setting(env, "OLLAMA_NUM_PARALLEL")
    return max(int(text), 1) if text.isascii() and text.isdigit() else None


def flash_attention_setting(env: Mapping[str, str]) -> bool | None:
    """What OLLAMA_FLASH_ATTENTION says; None where it is not set.

    Ollama takes whatever Go's ParseBool doesn't know as true.
    """
    text = _setting(env, "OLLAMA_FLASH_ATTENTION")
    return text not in {"0", "f", "F", "FALSE", "false", "False"} if text else None


def serving_of(env: Mapping[str, str]) -> Serving:
    """How an Ollama runs models that was started in this environment."""
    parallel = parallel_setting(env)
    return Serving(
        parallel=parallel or 1,
        parallel_by="assumed" if parallel is None else "OLLAMA_NUM_PARALLEL",
        flash_attention=flash_attention_setting(env) is not False,
    )


def _setting(env: Mapping[str, str], name: str) -> str:
    """A variable as Ollama reads it (envconfig `Var`): blanks and quotes around it don't count."""
    return env.get(name, "").strip().strip("\"'")

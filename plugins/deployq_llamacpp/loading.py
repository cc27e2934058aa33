"""Has llama.cpp load a file as far as its weights, and reads from its log what it says is wrong.

llama-tokenize loads the vocabulary, llama-fit-params everything but the weights' bytes. Where
neither is there (an installed Ollama has none of them), llama-server loads the whole file, mapped
into memory and not warmed up.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from deployq import BackendError, Failed, Finding, ModelRejected, NotRun, proc
from deployq.tools import Tool
from deployq_llamacpp import engine
from deployq_llamacpp.running import quiet_threads

CHECK = "engine"
LOADERS = ("llama-tokenize", "llama-fit-params", "llama-server")
ASK_SECONDS = 300.0
ATTEMPTS = 10
"""A thread of its own prints the log: on a busy machine a tool may end before it has its turn."""
N_CTX = 256
_REFUSAL = r"error loading model(?: \w+)?: (?!error loading model)(?P<why>\S.*)"
_FORMAT = r"gguf_init\w*: (?!loaded)(?P<why>\S.*)"
# of the machine, not of the file
_MACHINE = (
    r"read error|unable to allocate|failed to allocate|out of memory|no CPU backend|failed to open|"
    r"mmap|mlock|"
    r"buffer type|failed to create ggml context|not implemented for|does not support split"
)
_HINTS = {
    "merges": "convert it again with the base model's tokenizer.json (or merges.txt) in the folder",
    "unknown pre-tokenizer": (
        "a newer llama.cpp may know it: deployq tools install; else convert it again with the base "
        'model\'s pre_tokenizer = "..." under [models.NAME]'
    ),
    "unknown model architecture|unsupported model architecture": (
        "a newer llama.cpp may know it: deployq doctor says which one is here"
    ),
    "missing tensor|tensor '.*' not found|number of tensors|wrong shape|too many tensors": (
        "save the trained model again, whole, and convert it again"
    ),
    "vocab|tokens|toktypes|scores": "convert it again with its own tokenizer in the folder",
}


def refusal(log: str) -> str:
    """Why llama.cpp refuses a model file, in its own words; empty: the file is not at fault."""
    found = re.search(_REFUSAL, log)
    why = found["why"].strip() if found else ""
    if "failed to load" in why and (before := re.search(_FORMAT, log)):
        why = before["why"]
    return "" if re.search(_MACHINE, why) else re.sub(r"^\w+: ", "", why)


def rejected(gguf: Path, log: str, tool: str) -> ModelRejected | None:
    """The error for a file that a tool's log says is at fault; None: it says no such thing."""
    why = refusal(log)
    if not why:
        return None
    hint = next((hint for words, hint in _HINTS.items() if re.search(words, why)), "")
    return ModelRejected(f"{gguf}: llama.cpp could not load it: {why} ({tool})", hint=hint)


def check_loading(
    gguf: Path, find: Callable[[str], Tool | None], env: Mapping[str, str]
) -> tuple[Finding, ...]:
    """Has the tools that are here load a file: `Failed` from the first that refuses it.

    Args:
        find: a tool of llama.cpp by its name; None: it is not here.
        env: where llama-server is looked for.
    """
    unknown: list[str] = []
    for steps in _ways(gguf, find, env):
        for step in steps:  # the first that can say decides
            try:
                step()
            except ModelRejected as exc:
                return (Failed(CHECK, exc.message, exc.hint),)
            except BackendError as exc:
                unknown.append(exc.message)
            else:
                break
        else:
            return tuple(_not_run(gguf, unknown))
    return ()


def _ways(
    gguf: Path, find: Callable[[str], Tool | None], env: Mapping[str, str]
) -> Iterator[Sequence[Callable[[], None]]]:
    """What is to be loaded, each in the ways that the tools here have: vocabulary, then tensors."""
    tokenize, fit = find("llama-tokenize"), find("llama-fit-params")
    serve = [partial(_serve, gguf, env)] if find("llama-server") else []
    if tokenize is not None:
        yield [partial(_run, gguf, tokenize, ["-p", "x"]), *serve]
    if fit is not None and (fit.has_flag("--fit-print") or fit.has_flag("-fitp")):
        yield [partial(_run, gguf, fit, fit_options(fit)), *serve]
    else:
        yield serve


def fit_options(tool: Tool) -> Sequence[str]:
    """Loads all but the weights' bytes, prints what they would take."""
    repack = ["--no-repack"] if tool.has_flag("--no-repack") else []
    return ["-c", str(N_CTX), "-ngl", "0", "-np", "1", "-fitp", "on", "-fit", "off", *repack]


def _not_run(gguf: Path, reasons: Sequence[str]) -> Iterator[NotRun]:
    for why in reasons:
        yield NotRun(CHECK, f"{gguf}: {why}")
    if not reasons:
        yield NotRun(
            CHECK,
            f"{gguf}: none of llama-tokenize, llama-fit-params and llama-server is here",
            "deployq tools install",
        )


def _run(gguf: Path, tool: Tool, options: Sequence[str]) -> None:
    argv: list[str | Path] = ["-m", gguf.absolute(), *options]
    for _ in range(ATTEMPTS):
        finished = tool.run(argv, timeout_seconds=ASK_SECONDS, env=quiet_threads())
        if not finished.returncode:
            return
        if error := rejected(gguf, finished.stdout, tool.name):
            raise error
    raise BackendError(proc.describe_failure(finished))


def _serve(gguf: Path, env: Mapping[str, str]) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="deployq-") as folder,
        engine.serving(gguf, N_CTX, Path(folder), env, only_load=True),
    ):
        pass

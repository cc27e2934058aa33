"""The meter `perplexity`: llama-perplexity on a text, and against full precision.

One run over full precision writes its logits; one more for each quant compares with them. All
score the same tokens, whose errors are the tool's own.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from deployq import (
    BackendError,
    Comparison,
    DiskError,
    Health,
    Measurement,
    MeterText,
    Progress,
    SourceError,
    TextOptions,
    TextScore,
    ToolMissing,
    proc,
)
from deployq.llama_output import last_words
from deployq.tools import Tool, find_tool, require_tool, tool_health
from deployq_llamacpp.running import quiet_threads
from deployq_llamacpp.scores import (
    LostFigure,
    NoFigure,
    parse_chunk,
    parse_divergence,
    parse_final,
)
from deployq_llamacpp.specials import copy_bytes, vocabulary_size, with_special_tokens
from deployq_llamacpp.tokens import count_tokens, cut, token_ids, vocabulary_log

T = TypeVar("T")

TOOL = "llama-perplexity"
ATTEMPTS = 10
"""On a busy machine a run of b11434 may end well, but without its last lines: what it prints goes
through a thread of its own, which is not always waited for (measured; up to half of the runs)."""

RATIO_AGREES = 0.005
LEAST_TOKENS = 100
"""Of fewer, llama-perplexity gives no statistics (kl_divergence in perplexity.cpp, b11434)."""

_HEADER = struct.Struct("<8s3i")


def scored_tokens(n_ctx: int, chunks: int) -> int:
    """How many tokens llama-perplexity scores: the second half of each chunk.

    Source: tools/perplexity/perplexity.cpp (b11434), `first = n_ctx/2`, `n_ctx - 1 - first`.
    """
    return chunks * (n_ctx - 1 - n_ctx // 2)


def base_bytes(n_ctx: int, n_vocab: int, chunks: int) -> int:
    """The size of the file of base logits, exact to the byte.

    A header, every token as 4 bytes, and for each scored token the logits of the vocabulary as
    16-bit numbers (an even count of them) after 8 bytes of scale and offset. Source:
    tools/perplexity/perplexity.cpp (b11434), `nv = 2*((n_vocab + 1)/2) + 4`.
    """
    logits = 2 * ((n_vocab + 1) // 2) + 4
    return _HEADER.size + 4 * n_ctx * chunks + 2 * logits * scored_tokens(n_ctx, chunks)


class Perplexity:
    """Perplexity of a text, and the KL divergence from full precision."""

    name = "perplexity"
    unit = "perplexity"

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env

    def health(self) -> Health:
        """Is there a llama-perplexity that knows `--kl-divergence`?"""
        tool = find_tool(TOOL, self._env)
        if tool is None:
            return tool_health(TOOL, self._env)
        if not tool.has_flag("--kl-divergence"):
            detail = f"{tool.path} does not know --kl-divergence, or does not run"
            return Health(False, path=tool.path, detail=detail, hint="deployq tools install")
        return tool.health()

    def measure(self, artifact: Path, text: Path, progress: Progress) -> Measurement:
        """The perplexity of a plain text.

        Raises:
            ToolMissing, BackendError: the tool is not here, or failed.
            SourceError: the text is too short.
        """
        tool, options = self._require(), TextOptions()
        n_ctx, chunks, _ = cut(count_tokens(artifact, MeterText(text), self._env), text, options)
        return _Run(tool, n_ctx, chunks, options.threads, progress).plain(artifact, text, "")

    def compare(
        self,
        baseline: Path,
        artifacts: Mapping[str, Path],
        text: MeterText,
        options: TextOptions,
        folder: Path,
        progress: Progress,
    ) -> Comparison:
        """Every artifact against full precision, on the same tokens.

        Raises:
            ToolMissing, BackendError: the tool is not here, or failed.
            SourceError: the text is too short, or a file has another vocabulary.
            DiskError: `folder` has no room for the base logits.
        """
        tool = self._require()
        ids = token_ids(baseline, text, self._env)
        n_ctx, chunks, notes = cut(len(ids), text.path, options)
        _require_enough(n_ctx, chunks)
        size = base_bytes(n_ctx, _vocabulary(baseline), chunks)
        for name, artifact in artifacts.items():
            _require_same_vocabulary(name, artifact, baseline)
        copied = copy_bytes(baseline) if text.special else 0
        _require_room(folder, size, copied, chunks)
        run = _Run(tool, n_ctx, chunks, options.threads, progress)
        base = folder / "base.logits"
        own = self._base(run, baseline, text, ids, base)
        _require_whole(base, size, ids)
        scores = {
            name: _with_ratio(run.against(path, base, name), own)
            for name, path in artifacts.items()
        }
        return Comparison(
            n_ctx,
            chunks,
            scored_tokens(n_ctx, chunks),
            f"{TOOL} {tool.version}",
            TextScore(own),
            scores,
            (*notes, *_ratio_notes(scores)),
        )

    def _base(
        self, run: _Run, baseline: Path, text: MeterText, ids: list[int], base: Path
    ) -> Measurement:
        """Full precision's perplexity; its logits are in `base` after it."""
        if not text.special:
            return run.plain(baseline, text.path, "full precision", base)
        folder = base.parent / "special"
        folder.mkdir()

        def same(copy: Path, renamed: Path) -> bool:
            return token_ids(copy, MeterText(renamed), self._env) == ids

        try:
            copy, renamed = with_special_tokens(
                baseline, text.path, folder, lambda gguf: vocabulary_log(gguf, self._env), same
            )
            return run.plain(copy, renamed, "full precision", base)
        except ValueError as exc:
            raise SourceError(f"{baseline}: its control tokens can't be read: {exc}") from exc
        except OSError as exc:
            raise DiskError(f"{folder} can't be written: {exc.strerror or exc}") from exc
        finally:
            shutil.rmtree(folder)

    def _require(self) -> Tool:
        health = self.health()
        if not health.ok:
            raise ToolMissing(health.detail, hint=health.hint)
        return require_tool(TOOL, self._env)


class _Run:
    """Runs of the tool with one cut of the text."""

    def __init__(
        self, tool: Tool, n_ctx: int, chunks: int, threads: int | None, progress: Progress
    ) -> None:
        self._tool, self._n_ctx, self._chunks = tool, n_ctx, chunks
        self._threads, self._progress = threads, progress

    def plain(self, gguf: Path, text: Path, task: str, base: Path | None = None) -> Measurement:
        more: list[str | Path] = ["-f", text.absolute()]
        more += ["--kl-divergence-base", base] if base else []
        return self._figures(gguf, more, task or gguf.name, parse_final)

    def against(self, gguf: Path, base: Path, task: str) -> TextScore:
        more: list[str | Path] = ["--kl-divergence-base", base, "--kl-divergence"]
        return self._figures(gguf, more, task, parse_divergence)[0]

    def _figures(
        self, gguf: Path, more: list[str | Path], task: str, parse: Callable[[str], T]
    ) -> T:
        for attempt in range(ATTEMPTS):
            printed = self._run(gguf, more, task)
            try:
                return parse(printed)
            except NoFigure as exc:
                if attempt == ATTEMPTS - 1 or not isinstance(exc, LostFigure):
                    raise _no_figure(gguf, exc, printed) from exc
        raise AssertionError("the last attempt returns or raises")

    def _run(self, gguf: Path, more: list[str | Path], task: str) -> str:
        def on_line(line: str) -> None:
            if (chunk := parse_chunk(line)) is not None:
                self._progress(task, min(chunk, self._chunks - 1), self._chunks, "chunks")

        self._progress(task, 0, self._chunks, "chunks")
        argv: list[str | Path] = ["-m", gguf.absolute(), "-c", str(self._n_ctx)]
        # without it a backslash and an n in the text become a line's end
        argv += ["--chunks", str(self._chunks), "--no-escape", *more]
        argv += ["-t", str(self._threads)] if self._threads else []
        finished = self._tool.run(argv, on_line=on_line, env=quiet_threads())
        if finished.returncode:
            said = last_words(finished.stdout)
            how = proc.describe_failure(
                proc.Finished(finished.argv, finished.returncode, finished.stdout, said)
            )
            raise BackendError(f"could not measure {gguf.name}: {how}")
        self._progress(task, self._chunks, self._chunks, "chunks")
        return finished.stdout


def _with_ratio(score: TextScore, base: Measurement) -> TextScore:
    """The score, its ratio to full precision's own perplexity.

    The tool takes the ratio to what its file of base logits gives, which holds no log probability
    under the largest minus 16 (`log_softmax`, perplexity.cpp): of a model that is very sure and
    wrong, that perplexity is too small. Only where the two agree its error of the ratio holds.
    """
    ratio = score.perplexity.value / base.value
    told = score.ratio
    alike = told is not None and abs(told.value / ratio - 1) < RATIO_AGREES
    error = told.error if told is not None and alike else None
    return replace(score, ratio=Measurement(ratio, "times", error))


def _ratio_notes(scores: Mapping[str, TextScore]) -> Iterator[str]:
    if any(s.ratio is not None and s.ratio.error is None for s in scores.values()):
        yield (
            "this text holds tokens that the model is sure won't come: its perplexity hangs on "
            "those few, and says less than the KL divergence; no error of the change is known"
        )


def _no_figure(gguf: Path, why: NoFigure, printed: str) -> BackendError:
    return BackendError(
        f"{TOOL} gave no figure for {gguf.name}: {why.message}\n{last_words(printed)}",
        hint="deployq inspect shows whether the file is whole",
    )


def _vocabulary(gguf: Path) -> int:
    try:
        return vocabulary_size(gguf)
    except (OSError, ValueError) as exc:
        raise SourceError(f"{gguf}: its vocabulary can't be read: {exc}") from exc


def _require_same_vocabulary(name: str, artifact: Path, baseline: Path) -> None:
    there, wanted = _vocabulary(artifact), _vocabulary(baseline)
    if there != wanted:
        raise SourceError(
            f"{name} has a vocabulary of {there:,} tokens, full precision one of {wanted:,}: "
            "they can't be compared"
        )


def _require_enough(n_ctx: int, chunks: int) -> None:
    scored, each = scored_tokens(n_ctx, chunks), scored_tokens(n_ctx, 1)
    if scored < LEAST_TOKENS:
        least = -(-LEAST_TOKENS // max(each, 1))
        raise SourceError(
            f"{chunks} chunks of {n_ctx} score {scored} tokens: too few to tell anything",
            hint=f"--chunks {least} with a text long enough for them, or larger chunks",
        )


def _require_room(folder: Path, logits: int, copied: int, chunks: int) -> None:
    free = shutil.disk_usage(folder).free
    if logits + copied > free:
        copy = f" and {copied:,} for a copy of full precision" if copied else ""
        raise DiskError(
            f"the base logits need {logits:,} bytes{copy} in {folder}, {free:,} are free",
            hint=f"take fewer than {chunks} chunks (--chunks), or set DEPLOYQ_CACHE_DIR to "
            "another disk",
        )


def _require_whole(base: Path, size: int, ids: list[int]) -> None:
    """Is the file of base logits what it should be? A short write stops the tool in no way.

    Raises:
        DiskError: it was cut.
        BackendError: it holds other tokens than the text has.
    """
    there = base.stat().st_size if base.is_file() else 0
    if there != size:
        raise DiskError(
            f"the base logits {base} have {there:,} bytes instead of {size:,}: the disk was full, "
            "or this llama-perplexity writes another format",
            hint="take fewer chunks: --chunks 16",
        )
    with base.open("rb") as file:
        magic, n_ctx, _, chunks = _HEADER.unpack(file.read(_HEADER.size))
        tokens = struct.unpack(f"<{n_ctx * chunks}i", file.read(4 * n_ctx * chunks))
    if magic != b"_logits_" or any(a != b for a, b in zip(tokens, ids, strict=False)):
        raise BackendError(
            "llama-perplexity read other tokens in the text than the model's tokenizer does",
            hint="measure a plain text: --text FILE",
        )

"""Runs each of llama.cpp's tools once on a tiny quantized model, before anything relies on it.

A tool that is there is not yet one that works: built for a processor that names AMX, where the
system lets no thread use its tiles, llama.cpp b11434 dies with every quantized model and with no
other (ggml-org/llama.cpp#20824). What came out is kept for each file, processor and kernel.
"""

from __future__ import annotations

import contextlib
import json
import platform
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

from deployq import proc
from deployq.digests import sha256_bytes, sha256_file
from deployq.errors import BackendError
from deployq.files import write_whole
from deployq.llama_output import last_words

EDITION = 1
"""Raised when the test or its models change: what was kept of earlier ones counts no longer."""

TOOL_SECONDS = 60.0
"""Ample for a model of one megabyte: a tool that takes longer hangs."""

QUANTS = ("Q8_0", "Q4_K_M", "Q3_K_S", "IQ4_XS")
"""What the quantizer makes of the tiny model; together they are how it is recognised."""

WITHOUT_REPACKING = {"LLAMA_ARG_REPACK": "0"}
"""Under it an engine built for AMX leaves the tiles alone (tried with b11434, Ollama 0.34.4)."""

_N_CTX = 128
_TEXT = "It was the best of times, it was the worst of times. " * 6


@dataclass(frozen=True)
class SmokeTest:
    """What came out of one tool's test.

    Args:
        problem: how it failed, in words that follow the tool's name; empty: it works.
        env: variables without which it crashes; `arguments` alike, of a tool that reads none.
        version: of a quantizer: the build number that it states ("b11434"), else a digest of
            what it makes of the tiny model.
    """

    problem: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    version: str = ""

    @property
    def mend(self) -> str:
        """`env` and `arguments` as one would type them."""
        return " ".join([*(f"{name}={value}" for name, value in self.env.items()), *self.arguments])


@cache
def smoke_test(name: str, path: Path, digest: str, kept: Path) -> SmokeTest:
    """The test of one tool, run unless its result is kept in the folder `kept`.

    What may go otherwise the next time (no memory, a full disk, a busy machine) is not kept.

    Args:
        digest: of the tool and the libraries beside it.
    """
    entry = kept / f"{name}-{_key(digest)}.json"
    try:
        return SmokeTest(**json.loads(entry.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass
    test, final = _run(name, path)
    if final:
        with contextlib.suppress(OSError):  # what can't be kept is tested again
            kept.mkdir(parents=True, exist_ok=True)
            write_whole(entry, json.dumps(asdict(test), indent=1))
    return test


def _key(digest: str) -> str:
    """The tool, and what decides whether it runs: this processor, and the kernel."""
    return sha256_bytes("\n".join((str(EDITION), digest, processor(), platform.release())))[:16]


def processor() -> str:
    """The instruction sets of this processor; its name where the system doesn't list them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor()


def names_amx() -> bool:
    """Whether this processor says that it has AMX."""
    return "amx_tile" in processor().split()


def _run(name: str, path: Path) -> tuple[SmokeTest, bool]:
    """The result, and whether it is final."""
    test = _TESTS.get(name)
    if test is None:
        return SmokeTest(), True
    with tempfile.TemporaryDirectory(prefix="deployq-smoke-") as temporary:
        folder = Path(temporary)
        problem, mend = test(path, folder, SmokeTest()), SmokeTest()
        if problem.startswith("crashed") and name in _ENGINES:
            mend = SmokeTest(env=WITHOUT_REPACKING)
            if name == "llama-bench":  # it reads no variables
                mend = SmokeTest(arguments=("--repack", "0"))
            problem = problem if test(path, folder, mend) else ""
        if problem:
            # a crash comes again; a lack of memory, or of a library, may not
            return SmokeTest(problem), problem.startswith("crashed")
        version = _made_by(path, folder) if name == "llama-quantize" else ""
    return replace(mend, version=version), True


_BUILD = (
    r"^version: .*\(build (\d+),",  # version: 0.6.0-dev (build 11434, commit 0a1b2c3)
    r"^version: (\d+) \(",  # before b10000: version: 6123 (0a1b2c3)
    r"^main: build = (\d+) \(",  # llama-quantize of that time
)


def stated_build(said: str) -> str:
    """llama.cpp's build number in what a tool prints ("b11434"); empty where a build has none.

    A build outside llama.cpp's own repository counts the commits of whatever repository it lies
    in, or says 0 or 1: no number below 1000 is believed (llama.cpp had that in 2023).
    """
    found = next(filter(None, (re.search(form, said, re.MULTILINE) for form in _BUILD)), None)
    return f"b{found[1]}" if found and int(found[1]) >= 1000 else ""


# ---------------------------------------------------------------- a test per tool


def _quantize(path: Path, folder: Path, mend: SmokeTest) -> str:
    source = _model(folder, quantized=False)
    for quant in QUANTS:
        output = folder / f"{quant}.gguf"
        if problem := _try([path, source, output, quant], mend):
            return f"{problem} while making {quant} of a tiny model"
        if not output.is_file():
            return f"made no {quant} of a tiny model, and says that all went well"
    return ""


def _made_by(path: Path, folder: Path) -> str:
    """The version of a quantizer: two that make the same bytes have the same.

    It states its number only while it quantizes.
    """
    source, output = _model(folder, quantized=False), folder / "again.gguf"
    said = proc.run(
        [path, source, output, QUANTS[0]], check=False, timeout_seconds=TOOL_SECONDS
    ).stdout
    made = [sha256_file(folder / f"{quant}.gguf") for quant in QUANTS]
    return stated_build(said) or f"behaviour:{sha256_bytes(' '.join(made))[:12]}"


def _serve(path: Path, folder: Path, mend: SmokeTest) -> str:
    # imported here: the HTTP client behind it takes 0.1 s, and a test runs once per file
    from deployq.llama_server import serving  # noqa: PLC0415

    body = {"prompt": "It was", "n_predict": 4, "temperature": 0, "ignore_eos": True}
    model = _model(folder)
    try:
        with serving(
            path, model, _N_CTX, folder, env=mend.env, load_seconds=TOOL_SECONDS
        ) as server:
            answer = server.ask("/completion", body, TOOL_SECONDS)
    except BackendError as exc:
        how = exc.message.removeprefix("llama-server ")
        return how.partition(":\n")[0] if how.startswith("crashed") else how
    count = answer.get("tokens_predicted")
    return "" if count == 4 else f"wrote {count} tokens where it was asked for 4"


def _score(path: Path, folder: Path, mend: SmokeTest) -> str:
    text, model = _text(folder), _model(folder)
    return _try([path, "-m", model, "-f", text, "-c", "64", "--chunks", "2"], mend)


def _calibrate(path: Path, folder: Path, mend: SmokeTest) -> str:
    text, model, output = _text(folder), _model(folder), folder / "imatrix.gguf"
    return _try([path, "-m", model, "-f", text, "-c", "64", "--chunks", "1", "-o", output], mend)


def _tokenize(path: Path, folder: Path, mend: SmokeTest) -> str:
    return _try([path, "-m", _model(folder), "-p", "It was", "--ids", "--log-disable"], mend)


def _bench(path: Path, folder: Path, mend: SmokeTest) -> str:
    return _try([path, "-m", _model(folder), "-p", "4", "-n", "4", "-r", "1"], mend)


def _fit(path: Path, folder: Path, mend: SmokeTest) -> str:
    return _try([path, "-m", _model(folder), "-c", str(_N_CTX)], mend)


_TESTS: Mapping[str, Callable[[Path, Path, SmokeTest], str]] = {
    "llama-quantize": _quantize,
    "llama-server": _serve,
    "llama-perplexity": _score,
    "llama-imatrix": _calibrate,
    "llama-tokenize": _tokenize,
    "llama-bench": _bench,
    "llama-fit-params": _fit,
}
_ENGINES = frozenset(_TESTS) - {"llama-quantize", "llama-tokenize"}


def _try(argv: list[str | Path], mend: SmokeTest) -> str:
    """How a tool failed; empty: it went well."""
    try:
        done = proc.run(
            [*argv, *mend.arguments], env=mend.env, check=False, timeout_seconds=TOOL_SECONDS
        )
    except BackendError as exc:
        return f"does not run: {exc.message}"
    if not done.returncode:
        return ""
    said = "" if proc.crash_of(done.returncode) else f": {last_words(done.stdout)}".rstrip(": ")
    return proc.describe_exit(done.returncode) + said


def _text(folder: Path) -> Path:
    path = folder / "smoke.txt"
    path.write_text(_TEXT, encoding="utf-8")
    return path


def _model(folder: Path, *, quantized: bool = True) -> Path:
    # imported here: numpy and gguf take 0.2 s, and a test runs once per file
    from deployq.smoke_model import write_smoke_model  # noqa: PLC0415

    path = folder / ("tiny-model.gguf" if quantized else "tiny-f16.gguf")
    if not path.exists():
        write_smoke_model(path, quantized=quantized)
    return path

"""llama.cpp's converter scripts as modules, with what deployq sees to in them."""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import transformers
from jobside import Refused, emit
from jobside.vocabulary import complete

_CODE = 'allow = ["code"] in deployq.toml runs it; read it first'


def load(script: Path) -> ModuleType:
    """Import a script of llama.cpp without running it; its own `gguf` wins."""
    sys.path.insert(0, str(script.parent))
    if (script.parent / "gguf-py").is_dir():
        sys.path.insert(0, str(script.parent / "gguf-py"))
    spec = importlib.util.spec_from_file_location(script.stem, script)
    if spec is None or spec.loader is None:
        raise Refused(f"{script}: can't be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module
    spec.loader.exec_module(module)
    if "gguf" in sys.modules:
        complete(sys.modules["gguf"])
    return module


def text_model(script: ModuleType) -> Any:
    """The class of the script that knows pre-tokenizers; its place changed over the years."""
    conversion = sys.modules.get("conversion")
    for holder in filter(None, (conversion, script)):
        for name in ("TextModel", "Model"):
            if hasattr(getattr(holder, name, None), "get_vocab_base_pre"):
                return getattr(holder, name)
    raise Refused(f"{script.__file__}: has no get_vocab_base_pre: it is too old for deployq")


def trust(allowed: bool) -> None:
    """Decide whether code that comes with a model may run; the scripts would always run it."""
    for name in ("AutoTokenizer", "AutoConfig", "AutoModelForCausalLM", "AutoProcessor"):
        cls = getattr(transformers, name, None)
        if cls is not None:
            cls.from_pretrained = _guarded(cls.from_pretrained, allowed)


def _guarded(load_it: Callable[..., Any], allowed: bool) -> Callable[..., Any]:
    @functools.wraps(load_it)
    def from_pretrained(*args: Any, **kwargs: Any) -> Any:
        try:
            return load_it(*args, **{**kwargs, "trust_remote_code": allowed})
        except ValueError as exc:
            if "trust_remote_code" in str(exc):
                raise Refused(
                    f"{args[0]}: can't be read without running code that comes with it",
                    check="code",
                    hint=_CODE,
                ) from exc
            raise

    return from_pretrained


def name_pre_tokenizer(script: ModuleType, name: str) -> None:
    """Take the pre-tokenizer that the user named, whatever the tokenizer's hash."""
    text_model(script).get_vocab_base_pre = lambda _self, _tokenizer: name


@contextmanager
def told_progress() -> Iterator[None]:
    """Turn the bars of the script into events: one per tensor that was written."""
    import tqdm

    old = tqdm.tqdm
    tqdm.tqdm = _Bar
    try:
        yield
    finally:
        tqdm.tqdm = old


class _Bar:
    """What the scripts use of a tqdm bar."""

    def __init__(self, *_args: Any, total: float | None = None, **_kwargs: Any) -> None:
        self.total, self.done, self.tensors = total, 0.0, 0

    def update(self, n: float = 1) -> None:
        self.done += n
        self.tensors += 1
        emit("written", bytes=self.done, total=self.total, tensors=self.tensors)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_kwargs: None


def run_main(module: ModuleType, arguments: list[str]) -> None:
    """Run a script's own main with these arguments.

    Raises:
        Refused: it gave up, and with which words.
    """
    sys.argv = [str(module.__file__), *arguments]
    said = _Said()
    logging.basicConfig(level=logging.INFO, handlers=[said])
    try:
        module.main()
    except SystemExit as exc:
        if exc.code:
            raise Refused(
                f"{Path(arguments[0]).name}: {Path(sys.argv[0]).name} gave up: {said.last}",
                "architecture" if "not supported" in said.last else "",
                "take a newer llama.cpp: [tools] llama_cpp = PATH of a checkout",
            ) from exc


class _Said(logging.StreamHandler):  # type: ignore[type-arg]
    """Logs as usual, and keeps the last error."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.last = record.getMessage()
        super().emit(record)

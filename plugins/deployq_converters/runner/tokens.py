"""What can be said of a source's tokenizer without converting anything."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .events import Refused, emit

PACKAGES = ("torch", "transformers", "peft", "sentencepiece", "safetensors", "numpy")
SAMPLE = (
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "How are you?"},
    ],
)


def versions(job: dict[str, Any]) -> None:
    """Versions of the packages that conversion needs; None: not installed."""
    found: dict[str, str | None] = {}
    for name in job.get("packages", PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    emit("versions", versions=found)


def check(job: dict[str, Any]) -> None:
    """Load the tokenizer, look up its pre-tokenizer, render its chat template.

    Raises:
        Refused: one of them fails; the check is named.
    """
    from . import scripts

    scripts.trust("code" in job["allow"])
    module = scripts.load(Path(job["script"]))
    _require_architecture(module, job)
    tokenizer = _load(job)
    if not job.get("pre_tokenizer") and not job["sentencepiece"]:
        _require_pre_tokenizer(scripts.text_model(module), tokenizer, Path(job["source"]))
    _require_template(tokenizer, Path(job["source"]))
    emit("tokenizer", size=len(tokenizer), eos=tokenizer.eos_token_id, bos=tokenizer.bos_token_id)


def tokenize(job: dict[str, Any]) -> None:
    """Token ids of each text: special tokens recognised, none added."""
    tokenizer = _load(job)
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in job["texts"]]
    emit("tokens", ids=ids)


def _load(job: dict[str, Any]) -> Any:
    import transformers

    allowed = "code" in job.get("allow", ())
    try:
        return transformers.AutoTokenizer.from_pretrained(job["source"], trust_remote_code=allowed)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Refused(
            f"{job['source']}: its tokenizer can't be loaded: {exc}", "tokenizer"
        ) from exc


def _require_architecture(module: Any, job: dict[str, Any]) -> None:
    wanted = job.get("architectures") or []
    find = getattr(module, "get_model_class", None)
    if find is None:
        find = module.ModelBase.from_model_architecture
    for name in wanted:
        try:
            find(name)
        except NotImplementedError:
            continue
        return
    if wanted:
        raise Refused(
            f"{job['source']}: {module.__file__} does not know the architecture {wanted[0]}",
            "architecture",
            "take a newer llama.cpp: [tools] llama_cpp = PATH of a checkout",
        )


def _require_pre_tokenizer(text_model: Any, tokenizer: Any, source: Path) -> None:
    try:
        text_model.get_vocab_base_pre(None, tokenizer)
    except NotImplementedError as exc:
        raise Refused(
            f"{source}: the converter does not know the pre-tokenizer of this tokenizer, because "
            "it was trained anew, or tokens were added to it",
            "pre_tokenizer",
            'name the base model\'s: pre_tokenizer = "llama-bpe" (or qwen2, gpt-2, ...) under '
            "[models.NAME]; deployq then compares both tokenizers and refuses one that differs",
        ) from exc


def _require_template(tokenizer: Any, source: Path) -> None:
    if not tokenizer.chat_template:
        return  # that there is none is deployq's own finding
    for messages in SAMPLE:
        try:
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as exc:
            raise Refused(
                f"{source}: its chat template can't render {len(messages)} messages: {exc}",
                "template",
                "mend the template: tokenizer_config.json or chat_template.jinja",
            ) from exc

"""What can be said of a source's tokenizer without converting anything."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jobside import Refused, emit

PACKAGES = ("torch", "transformers", "peft", "sentencepiece", "safetensors", "numpy")
TOKENIZER_FILES = (
    "tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges", "chat_template",
    "additional_chat_templates", "spiece", "tekken",
)  # fmt: skip
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
    """Convert the tokenizer alone to `output`, render its chat template, split some texts.

    Raises:
        Refused: architecture, tokenizer or template fails; the check is named.
    """
    from . import scripts

    scripts.trust("code" in job["allow"])
    module = scripts.load(Path(job["script"]))
    if job.get("pre_tokenizer"):
        scripts.name_pre_tokenizer(module, job["pre_tokenizer"])
    tokenizer = _load(job)
    _require_template(tokenizer, Path(job["source"]))
    folder = _with_tokenizer(Path(job["base"] or job["source"]), Path(job["source"]), tokenizer)
    try:
        scripts.run_main(module, [str(folder), "--outfile", job["output"], "--vocab-only"])
    except NotImplementedError as exc:
        raise _refusal(job, exc) from exc
    emit("tokens", ids=[tokenizer.encode(text, add_special_tokens=False) for text in job["texts"]])


def _with_tokenizer(model: Path, tokenizer_folder: Path, tokenizer: Any) -> Path:
    """A folder of links: the model's files, with this tokenizer instead of its own."""
    folder = Path("probe") / model.name
    folder.mkdir(parents=True)
    brought = [f for f in tokenizer_folder.iterdir() if f.name.startswith(TOKENIZER_FILES)]
    own = [f for f in model.iterdir() if not f.name.startswith(TOKENIZER_FILES)]
    for file in (*own, *brought):
        if file.is_file() and file.name != "config.json":
            (folder / file.name).symlink_to(file.resolve())
    config = json.loads((model / "config.json").read_bytes())
    for part in (config, config.get("text_config") or {}):
        if "vocab_size" in part:  # tokens that were added come with rows of their own
            part["vocab_size"] = max(part["vocab_size"], len(tokenizer))
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _load(job: dict[str, Any]) -> Any:
    import transformers

    allowed = "code" in job.get("allow", ())
    try:
        return transformers.AutoTokenizer.from_pretrained(job["source"], trust_remote_code=allowed)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Refused(
            f"{job['source']}: its tokenizer can't be loaded: {exc}", "tokenizer"
        ) from exc


def _refusal(job: dict[str, Any], error: NotImplementedError) -> Refused:
    if "pre-tokenizer" in str(error):
        return Refused(
            f"{job['source']}: the converter does not know the pre-tokenizer of this tokenizer, "
            "because it was trained anew, or tokens were added to it",
            "pre_tokenizer",
            'name the base model\'s: pre_tokenizer = "llama-bpe" (or qwen2, gpt-2, ...) under '
            "[models.NAME]; deployq then compares both tokenizers and refuses one that differs",
        )
    return Refused(f"{job['source']}: the converter can't read its tokenizer: {error}", "tokenizer")


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

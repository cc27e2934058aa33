"""What the trained model itself answers, under transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from jobside import Refused, emit

from .loading import load_model
from .precision import free_bytes, needed_bytes, stored_dtype, working_dtype

SURE = 0.5


def answer(job: dict[str, Any]) -> None:
    """Continue raw prompts greedily: an event "answer" with the `text` of each, in their order.

    Raises:
        Refused: transformers can't load the folder, or there is no memory for it.
    """
    tokenizer, model = _loaded(job)
    for prompt in job["prompts"]:
        asked = _ids(tokenizer, prompt)
        with torch.inference_mode():
            given = model.generate(
                torch.tensor([asked]),
                attention_mask=torch.ones((1, len(asked)), dtype=torch.long),
                max_new_tokens=job["n_predict"],
                do_sample=False,
                num_beams=1,
                pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id or 0,
            )
        said = given[0][len(asked) :].tolist()
        text = tokenizer.decode(said, skip_special_tokens=True)
        emit("answer", text=text, ended=_ended(model, said))


def follow(job: dict[str, Any]) -> None:
    """Read continuations of raw prompts: an event "followed" for each, in their order.

    `sure` are the places where this model is sure of the next token (it is likelier than all others
    together), `same` those of them where it was written. An end is a token, too.

    Raises:
        Refused: transformers can't load the folder, or there is no memory for it.
    """
    tokenizer, model = _loaded(job)
    for prompt, said, ended in job["said"]:
        asked, whole = _ids(tokenizer, prompt), _ids(tokenizer, prompt + said)
        while asked != whole[: len(asked)]:  # where both meet, the text is cut otherwise
            del asked[-1]
        with torch.inference_mode():
            chances = torch.softmax(model(torch.tensor([whole])).logits[0].float(), -1)
        chance, token = (values.tolist() for values in chances[len(asked) - 1 :].max(-1))
        written = whole[len(asked) :] + [token[-1] if token[-1] in _ends(model) else None] * ended
        sure = [(a, b) for p, a, b in zip(chance, token, written, strict=False) if p > SURE]
        emit("followed", sure=len(sure), same=sum(a == b for a, b in sure))


def _ended(model: Any, said: list[int]) -> bool:
    """Whether the model itself ended an answer."""
    return bool(said) and said[-1] in _ends(model)


def _ends(model: Any) -> list[int | None]:
    ends = model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [ends]


def _loaded(job: dict[str, Any]) -> tuple[Any, Any]:
    source, trusted = job["source"], "code" in job.get("allow", ())
    stored = stored_dtype(Path(source))
    dtype = working_dtype(Path(source), stored)
    needed, free = needed_bytes(Path(source), stored, dtype), free_bytes()
    if free is not None and needed > free:
        raise Refused(f"{source}: needs {needed >> 20} MiB of memory, {free >> 20} MiB are free")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=trusted)
        model = load_model(Path(source), dtype, trusted=trusted)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Refused(f"{source}: transformers can't load it: {exc}") from exc
    return tokenizer, model.eval()


def _ids(tokenizer: Any, prompt: str) -> list[int]:
    """A raw prompt's tokens, with the one BOS that the tokenizer puts before any text."""
    ids: list[int] = tokenizer.encode(prompt, add_special_tokens=False)
    bos, first = tokenizer.bos_token_id, tokenizer.encode("a")[:1]
    return [bos, *ids] if bos is not None and first == [bos] and ids[:1] != [bos] else ids

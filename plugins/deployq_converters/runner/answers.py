"""What the trained model itself answers, under transformers."""

from __future__ import annotations

from typing import Any

from jobside import Refused, emit


def answer(job: dict[str, Any]) -> None:
    """Continue raw prompts greedily: an event "answer" with the `text` of each, in their order.

    Computed in float32: it is what the other numbers are rounded from.

    Raises:
        Refused: transformers can't load the folder.
    """
    import torch

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


def _ended(model: Any, said: list[int]) -> bool:
    """Whether the model itself ended an answer."""
    ends = model.generation_config.eos_token_id
    return bool(said) and said[-1] in (ends if isinstance(ends, list) else [ends])


def _loaded(job: dict[str, Any]) -> tuple[Any, Any]:
    import torch
    import transformers

    source, trusted = job["source"], "code" in job.get("allow", ())
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=trusted)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, trust_remote_code=trusted
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Refused(f"{source}: transformers can't load it: {exc}") from exc
    return tokenizer, model.eval()


def _ids(tokenizer: Any, prompt: str) -> list[int]:
    """A raw prompt's tokens, with the one BOS that the tokenizer puts before any text."""
    ids: list[int] = tokenizer.encode(prompt, add_special_tokens=False)
    bos, first = tokenizer.bos_token_id, tokenizer.encode("a")[:1]
    return [bos, *ids] if bos is not None and first == [bos] and ids[:1] != [bos] else ids

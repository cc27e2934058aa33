"""Two renderings of the same conversations held against each other, and what is wrong by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deployq.tags.chat_template import ChatTemplate
from deployq.tags.conversations import (
    THINKING,
    USER,
    Reference,
)
from deployq.tags.faults import PLAIN, RULES, Case, excerpt, is_native, notes
from deployq.types import (
    ConversationParity,
    Difference,
    Fault,
    ModelInfo,
    ParityReport,
    ParityWay,
    RenderedPrompt,
    ServedTemplate,
)

BEFORE, AFTER = 48, 120
"""Characters of a prompt that are shown before and behind the first difference."""

# Ends of an answer that the engine takes for one by their names (src/llama-vocab.cpp, b11434).
ENGINE_STOPS = frozenset(
    (
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>"),
        *("<|calls|>", "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>"),
        *("[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>"),
        *("<|tool_response>", "<｜end▁of▁sentence｜>", "[e~["),
    )
)
_STOP_IDS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
_NO_THINKING = "does not support thinking"


def engine_stops(info: ModelInfo) -> tuple[str, ...]:
    """Texts that end an answer without any stop parameter: the header's ids, and known names."""
    named = len({info.metadata[key] for key in _STOP_IDS if key in info.metadata})
    by_name = [stop for stop in info.stop_tokens[named:] if stop in ENGINE_STOPS]
    return (*info.stop_tokens[:named], *by_name)


def compare(
    tag: str,
    host: str,
    reference: Reference,
    served: ServedTemplate,
    theirs: Mapping[str, RenderedPrompt],
    stops: Sequence[str],
    *,
    ours: Mapping[str, RenderedPrompt] | None = None,
) -> ParityReport:
    """Hold what a server renders against what the model's own template does.

    Args:
        theirs: the server's prompts by conversation, as it shows them; those without a text are
            compared by their number of tokens.
        stops: texts that the engine ends an answer at by itself.
        ours: the model's prompts with tokens counted, where there is nothing but counts.
    """
    model = {**reference.prompts, **(ours or {})}
    template, native = reference.template, is_native(reference.template, served)
    names = [c.name for c in reference.conversations if c.name in theirs]
    server_bos = {n: _server_bos(template, theirs[n].text, native) for n in names}
    model_bos = {n: _model_bos(template, model[n].text) for n in names}
    rows = {
        name: _row(
            name,
            _with_bos(template, model[name], model_bos[name]),
            _with_bos(template, theirs[name], server_bos[name]),
        )
        for name in names
    }
    case = Case(reference, served, tuple(stops), rows, server_bos, model_bos)
    counted = any(prompt.tokens is not None for prompt in theirs.values())
    way: ParityWay = "token counts" if counted else "renders"
    return ParityReport(
        tag=tag,
        host=host,
        served=served,
        conversations=tuple(rows.values()),
        faults=tuple(fault for rule in RULES for fault in rule(case)),
        notes=tuple(notes(case)),
        way=way,
    )


def without_template(
    tag: str, host: str, served: ServedTemplate, theirs: Mapping[str, RenderedPrompt]
) -> ParityReport:
    """The report of a model that carries no chat template: nothing tells what would be right."""
    rows = tuple(
        ConversationParity(name, "unknown", RenderedPrompt(None), prompt, reason="no template")
        for name, prompt in theirs.items()
    )
    made_up = served.template in ("", PLAIN) and any(
        prompt.text is not None and prompt.text.strip() != USER for prompt in theirs.values()
    )
    shown = next((prompt.text for prompt in theirs.values() if prompt.text is not None), "")
    faults: tuple[Fault, ...] = ()
    if made_up:
        faults = (
            Fault(
                "no-template",
                "the model carries no chat template, and the engine falls back on one of its own, "
                f"which nobody says it was trained with: {excerpt(shown, AFTER)!r}",
                tuple(theirs),
                "convert it again from a folder whose tokenizer has a chat_template, or give a "
                "TEMPLATE in a Modelfile template of your own",
            ),
        )
    notes = ("the model carries no chat template: there is nothing to compare with",)
    return ParityReport(tag, host, served, rows, faults, notes)


def first_difference(model: str, server: str) -> Difference | None:
    """Where two prompts part; None where they don't."""
    if model == server:
        return None
    pairs = zip(model, server, strict=False)
    shorter = min(len(model), len(server))
    position = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    return Difference(
        position,
        model[max(0, position - BEFORE) : position],
        model[position : position + AFTER],
        server[position : position + AFTER],
    )


# ---------------------------------------------------------------- one conversation


def _row(name: str, model: RenderedPrompt, server: RenderedPrompt) -> ConversationParity:
    if server.tokens is not None and model.tokens is not None:
        same = server.tokens == model.tokens
        reason = "" if same else f"{model.tokens} tokens by the model, {server.tokens} here"
        return ConversationParity(name, "same" if same else "differs", model, server, None, reason)
    if model.text is None:
        reason = f"the model's own template refuses it: {model.refusal}"
        return ConversationParity(name, "unknown", model, server, None, reason)
    if server.text is None and name == THINKING and _NO_THINKING in server.refusal:
        reason = "the server does not let this model be asked to think"
        return ConversationParity(name, "unknown", model, server, None, reason)
    if server.text is None:
        reason = f"the server refuses it: {server.refusal}"
        return ConversationParity(name, "differs", model, server, None, reason)
    difference = first_difference(model.text, server.text)
    return ConversationParity(name, "differs" if difference else "same", model, server, difference)


def _leading(text: str, bos: str) -> int:
    """How many times a text begins with BOS."""
    count = 0
    while bos and text.startswith(bos, count * len(bos)):
        count += 1
    return count


def _model_bos(template: ChatTemplate, text: str | None) -> int:
    """BOS tokens at the beginning: the engine leaves out one that the tokenizer adds anyway."""
    written = _leading(text or "", template.bos)
    return max(written, 1) if template.adds_bos and template.bos else written


def _server_bos(template: ChatTemplate, text: str | None, native: bool) -> int:
    """The same of what a server shows.

    Of the model's own template it shows what is left after the engine took one BOS away. From a
    Go template Ollama takes away none but a `<bos>`, after showing it (completionPrompt of
    llm/llama_server.go).
    """
    written = _leading(text or "", template.bos)
    if not (template.adds_bos and template.bos):
        return written
    if not native and template.bos == "<bos>":
        written = max(written - 1, 0)
    return written + 1


def _with_bos(template: ChatTemplate, prompt: RenderedPrompt, count: int) -> RenderedPrompt:
    if prompt.text is None:
        return prompt
    body = prompt.text[_leading(prompt.text, template.bos) * len(template.bos) :]
    return replace(prompt, text=template.bos * count + body)

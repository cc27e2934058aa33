"""Two renderings of the same conversations held against each other, and what is wrong by rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deployq.tags.chat_template import ChatTemplate
from deployq.tags.conversations import (
    MANY,
    ONE,
    SYSTEM,
    TOOL_NAME,
    TOOLS,
    USER,
    WITH_SYSTEM,
    Reference,
)
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

PLAIN = "{{ .Prompt }}"
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
MEND = 'template = "model" under [models.NAME] of deployq.toml, then push again'


def engine_stops(info: ModelInfo) -> tuple[str, ...]:
    """Texts that end an answer without any stop parameter: the header's ids, and known names."""
    named = len({info.metadata[key] for key in _STOP_IDS if key in info.metadata})
    by_name = [stop for stop in info.stop_tokens[named:] if stop in ENGINE_STOPS]
    return (*info.stop_tokens[:named], *by_name)


@dataclass(frozen=True)
class _Case:
    """All that the rules look at; prompts are as the engine gets them."""

    reference: Reference
    served: ServedTemplate
    stops: tuple[str, ...]
    rows: Mapping[str, ConversationParity]
    server_bos: Mapping[str, int]
    model_bos: Mapping[str, int]

    def text(self, name: str, side: str) -> str | None:
        row = self.rows.get(name)
        prompt: RenderedPrompt | None = getattr(row, side, None)
        return prompt.text if prompt else None


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
    case = _Case(reference, served, tuple(stops), rows, server_bos, model_bos)
    counted = any(prompt.tokens is not None for prompt in theirs.values())
    way: ParityWay = "token counts" if counted else "renders"
    return ParityReport(
        tag=tag,
        host=host,
        served=served,
        conversations=tuple(rows.values()),
        faults=tuple(fault for rule in _RULES for fault in rule(case)),
        notes=tuple(_notes(case)),
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


def is_native(template: ChatTemplate, served: ServedTemplate) -> bool:
    """Whether the server says that it uses the model's own template."""
    return served.template.strip() in (template.text.strip(), template.tools.strip() or None)


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


def excerpt(text: str, limit: int) -> str:
    """At most `limit` characters of a text, its end left out."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


# ---------------------------------------------------------------- one conversation


def _row(name: str, model: RenderedPrompt, server: RenderedPrompt) -> ConversationParity:
    if server.tokens is not None and model.tokens is not None:
        same = server.tokens == model.tokens
        reason = "" if same else f"{model.tokens} tokens by the model, {server.tokens} here"
        return ConversationParity(name, "same" if same else "differs", model, server, None, reason)
    if model.text is None:
        reason = f"the model's own template refuses it: {model.refusal}"
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


# ---------------------------------------------------------------- rules


def _broken(case: _Case) -> Iterator[Fault]:
    fails = [n for n, r in case.rows.items() if r.model.refusal.startswith("fails: ")]
    if ONE in fails:
        why = case.rows[ONE].model.refusal.removeprefix("fails: ")
        message = f"the model's own chat template does not render: {why}"
        yield Fault("broken-template", message, tuple(fails), "deployq inspect MODEL shows it")


def _double_bos(case: _Case) -> Iterator[Fault]:
    twice = tuple(name for name, count in case.server_bos.items() if count > 1)
    if not twice:
        return
    template, bos = case.reference.template, case.reference.template.bos
    if all(case.model_bos[name] > 1 for name in twice):
        who, hint = "the model's own template writes it more than once", ""
    elif template.adds_bos:
        who = "the tokenizer adds it (tokenizer.ggml.add_bos_token), and the template writes it too"
        hint = MEND
    else:
        who, hint = "the server's template writes it twice", MEND
    yield Fault("double-bos", f"a prompt begins with {bos} twice: {who}", twice, hint)


def _missing_bos(case: _Case) -> Iterator[Fault]:
    bare = tuple(n for n, c in case.server_bos.items() if not c and case.model_bos[n])
    bare = tuple(name for name in bare if case.text(name, "server") is not None)
    if bare:
        bos = case.reference.template.bos
        message = f"the model's prompts begin with {bos}, the server's do not"
        yield Fault("missing-bos", message, bare, MEND)


def _generation_prompt(case: _Case) -> Iterator[Fault]:
    opening = case.reference.opening
    name = MANY if case.text(MANY, "server") is not None else ONE
    shown = case.text(name, "server")
    if not opening or shown is None or shown.endswith(opening):
        return
    if opening.strip() and shown.rstrip().endswith(opening.rstrip()):
        what = "ends in other blanks than the model's generation prompt"
    else:
        what = "does not end in the model's generation prompt"
    end = shown[-len(opening) - 16 :]
    message = f"the server's prompt {what} {opening!r}; it ends in {end!r}"
    yield Fault("generation-prompt", message, (name,), MEND)


def _default_system(case: _Case) -> Iterator[Fault]:
    if case.served.system or case.rows.get(ONE, None) is None:
        return
    own, served = (_inserted(case, side) for side in ("model", "server"))
    if own == served or case.rows[ONE].status != "differs":
        return
    shown = [excerpt(" ".join(text.split()), 72) for text in (own or "", served or "")]
    if served is None:
        what = f"begins with the system prompt {shown[0]!r} by the model's own template; here none"
    elif own is None:
        what = f"gets none by the model's own template; here {shown[1]!r} is put in"
    else:
        what = f"begins with {shown[0]!r} by the model's own template; here with {shown[1]!r}"
    message = f"a conversation without a system prompt {what}"
    yield Fault("default-system", message, (ONE,), MEND)


def _inserted(case: _Case, side: str) -> str | None:
    """The system prompt that a template puts in by itself; None where it puts in none."""
    full, plain = case.text(WITH_SYSTEM, side), case.text(ONE, side)
    if full is None or plain is None or SYSTEM not in full or USER not in plain:
        return None
    before, _, rest = full.partition(SYSTEM)
    between, found, _ = rest.partition(USER)
    head = plain.partition(USER)[0]
    fits = head.startswith(before) and head.endswith(between)
    if not found or not fits or len(head) < len(before) + len(between) or not between:
        return None
    return head[len(before) : len(head) - len(between)]


def _dropped(case: _Case) -> Iterator[Fault]:
    own, served = (case.text(WITH_SYSTEM, side) for side in ("model", "server"))
    if own and served is not None and SYSTEM in own and SYSTEM not in served:
        message = "the server leaves the system prompt out"
        yield Fault("system-dropped", message, (WITH_SYSTEM,), MEND)
    own, served = (case.text(TOOLS, side) for side in ("model", "server"))
    if own and TOOL_NAME in own and TOOLS in case.rows and TOOL_NAME not in (served or ""):
        why = case.rows[TOOLS].server.refusal
        message = f"the server leaves tools out{f': {why}' if why else ''}"
        yield Fault("tools-dropped", message, (TOOLS,), MEND)


def _stop(case: _Case) -> Iterator[Fault]:
    closing = case.reference.closing.strip()
    stops = [stop for stop in (*case.stops, *case.served.stops) if stop.strip()]
    if not closing or any(closing.startswith(stop.strip()) for stop in stops):
        return
    known = ", ".join(repr(stop) for stop in dict.fromkeys(stops)) or "nothing"
    end = closing.split("\n")[0]
    yield Fault(
        "stop",
        f"an answer ends in {end!r} by the model's own template, which neither the engine nor a "
        f"stop parameter knows: it stops at {known}, so answers may run on",
        (MANY,),
        f"parameters = {{ stop = [{_toml(_first_mark(end))}] }} under [models.NAME] of "
        "deployq.toml; or set the right eos_token and convert again",
    )


def _first_mark(text: str) -> str:
    """The mark at the beginning of a text: up to its closing bracket, else its first word."""
    for opened, closed in (("<", ">"), ("[", "]")):
        if text.startswith(opened) and closed in text:
            return text[: text.index(closed) + 1]
    return text


def _toml(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _known_template(case: _Case) -> Iterator[Fault]:
    differing = tuple(name for name, row in case.rows.items() if row.status == "differs")
    if case.served.known and differing:
        yield Fault(
            "known-template",
            f"the server took the model's template for one that it knows ({case.served.known}) and "
            "uses its own in its place, which renders otherwise",
            differing,
            MEND,
        )


_RULES: tuple[Callable[[_Case], Iterable[Fault]], ...] = (
    _broken,
    _known_template,
    _double_bos,
    _missing_bos,
    _default_system,
    _dropped,
    _generation_prompt,
    _stop,
)


# ---------------------------------------------------------------- notes


def _notes(case: _Case) -> Iterator[str]:
    served, template = case.served, case.reference.template
    if not is_native(template, served) and served.template not in ("", PLAIN):
        if not served.known:
            yield "the tag has a TEMPLATE of its own; the server uses it, not the model's"
        elif not any(row.status == "differs" for row in case.rows.values()):
            yield (
                f"the server uses its own template {served.known}, which renders the same as the "
                "model's on all of these"
            )
    refused = [row for row in case.rows.values() if row.status == "unknown"]
    for reason in dict.fromkeys(row.reason for row in refused):
        names = ", ".join(row.name for row in refused if row.reason == reason)
        yield f"{names}: {reason}"

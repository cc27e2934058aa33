"""What is wrong with a tag's prompts, found by rule, and what is worth a note."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from deployq.records import dataclass
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
from deployq.types import ConversationParity, Fault, RenderedPrompt, ServedTemplate

PLAIN = "{{ .Prompt }}"
MEND = 'template = "model" under [models.NAME] of deployq.toml, then push again'


@dataclass(frozen=True)
class Case:
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


def is_native(template: ChatTemplate, served: ServedTemplate) -> bool:
    """Whether the server says that it uses the model's own template."""
    return served.template.strip() in (template.text.strip(), template.tools.strip() or None)


def excerpt(text: str, limit: int) -> str:
    """At most `limit` characters of a text, its end left out."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


# ---------------------------------------------------------------- rules


def _broken(case: Case) -> Iterator[Fault]:
    fails = [n for n, r in case.rows.items() if r.model.refusal.startswith("fails: ")]
    if ONE in fails:
        why = case.rows[ONE].model.refusal.removeprefix("fails: ")
        message = f"the model's own chat template does not render: {why}"
        yield Fault("broken-template", message, tuple(fails), "deployq inspect MODEL shows it")


def _double_bos(case: Case) -> Iterator[Fault]:
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


def _missing_bos(case: Case) -> Iterator[Fault]:
    bare = tuple(n for n, c in case.server_bos.items() if not c and case.model_bos[n])
    bare = tuple(name for name in bare if case.text(name, "server") is not None)
    if bare:
        bos = case.reference.template.bos
        message = f"the model's prompts begin with {bos}, the server's do not"
        yield Fault("missing-bos", message, bare, MEND)


def _generation_prompt(case: Case) -> Iterator[Fault]:
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


def _default_system(case: Case) -> Iterator[Fault]:
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


def _inserted(case: Case, side: str) -> str | None:
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


def _dropped(case: Case) -> Iterator[Fault]:
    own, served = (case.text(WITH_SYSTEM, side) for side in ("model", "server"))
    if own and served is not None and SYSTEM in own and SYSTEM not in served:
        message = "the server leaves the system prompt out"
        yield Fault("system-dropped", message, (WITH_SYSTEM,), MEND)
    own, served = (case.text(TOOLS, side) for side in ("model", "server"))
    if own and TOOL_NAME in own and TOOLS in case.rows and TOOL_NAME not in (served or ""):
        why = case.rows[TOOLS].server.refusal
        message = f"the server leaves tools out{f': {why}' if why else ''}"
        yield Fault("tools-dropped", message, (TOOLS,), MEND)


def _stop(case: Case) -> Iterator[Fault]:
    closing, final = case.reference.closing.strip(), case.reference.final.strip()
    stops = [stop for stop in (*case.stops, *case.served.stops) if stop.strip()]
    known_ends = tuple(stop.strip() for stop in stops)
    if not closing or closing.startswith(known_ends) or final.startswith(known_ends):
        return
    known = ", ".join(repr(stop) for stop in dict.fromkeys(stops)) or "nothing"
    end = closing.split("\n")[0]
    yield Fault(
        "stop",
        f"an answer ends in {end!r} by the model's own template, which neither the engine nor a "
        f"stop parameter knows: it stops at {known}, so answers may run on",
        (MANY,),
        "set the right eos_token and convert again (deployq diagnose TAG finds its id); where the "
        f"mark is plain text and no token of its own: parameters = {{ stop = "
        f"[{_toml(_first_mark(end))}] }} under [models.NAME] of deployq.toml",
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


def _known_template(case: Case) -> Iterator[Fault]:
    differing = tuple(name for name, row in case.rows.items() if row.status == "differs")
    if case.served.known and differing:
        yield Fault(
            "known-template",
            f"the server took the model's template for one that it knows ({case.served.known}) and "
            "uses its own in its place, which renders otherwise",
            differing,
            MEND,
        )


RULES: tuple[Callable[[Case], Iterable[Fault]], ...] = (
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


def notes(case: Case) -> Iterator[str]:
    served, template = case.served, case.reference.template
    differing = any(row.status == "differs" for row in case.rows.values())
    if is_native(template, served):
        if differing:
            yield (
                "the server uses the model's own template; its engine reads it otherwise than "
                "Jinja2 does, which is what models are trained with"
            )
        if "date_string" in template.text:
            yield (
                "the engine tells this template today's date (date_string); in training it had "
                "the template's own, unless that was given"
            )
    elif served.known and not differing:
        yield (
            f"the server uses its own template {served.known}, which renders the same as the "
            "model's on all of these"
        )
    elif not served.known and served.template not in ("", PLAIN):
        yield "the tag has a TEMPLATE of its own; the server uses it, not the model's"
    refused = [row for row in case.rows.values() if row.status == "unknown"]
    for reason in dict.fromkeys(row.reason for row in refused):
        names = ", ".join(row.name for row in refused if row.reason == reason)
        yield f"{names}: {reason}"

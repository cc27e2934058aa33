"""A Go TEMPLATE that renders what a model's own chat template does, found by probing that one.

Ollama uses a Go template where it took the model's for one that it knows. A TEMPLATE of ours wins
over that. It is made from what stands between marked messages in a few conversations; whether it
renders the same, only the server can tell: compare after create.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployq.tags.chat_template import ENGINE_DATES, Asked, ChatTemplate, render_all
from deployq.types import RenderedPrompt, Turn

START = ""
_ROLES = ("system", "user", "assistant")
_MARKS = {"s": "sysmark", "u": "usermark", "a": "botmark", "v": "nextmark", "b": "replymark"}
_MARKS |= {"w": "lastmark"}
_ROLE_OF = {"s": "system", "u": "user", "v": "user", "w": "user", "a": "assistant"}
_ROLE_OF |= {"b": "assistant"}
# Conversations by the letters of their messages. Later ones must agree with earlier ones.
_PROBES = ("u", "uav", "uavbw", "su", "suav", "ua")
_BLANK = (" \n", "\n ")
_OTHER_DAYS = ("2001-02-03T04:05:06", "2022-11-10T09:08:07")

Step = tuple[str, str]


@dataclass(frozen=True)
class Derived:
    """A Go template; `text` is empty where there can be none, and `why` says so in words."""

    text: str
    why: str = ""


@dataclass
class _Rules:
    """What stands before a role's content, by the role before it; and what ends a prompt."""

    before: dict[Step, str] = field(default_factory=dict)
    end: dict[str, str] = field(default_factory=dict)
    trims: set[str] = field(default_factory=set)
    skips_empty_system: bool = False


def derive(template: ChatTemplate) -> Derived:
    """Make a Go template of a Jinja one. Tools and thoughts are beyond it.

    Raises:
        SourceError: the template takes too long to render.
    """
    if _tells_the_date(template):
        return Derived("", "the model's own template writes the date, in a form Go templates lack")
    empty = Asked((Turn("system", ""), _turn("u")))
    blanks = {role: _blank_around(role) for role in _ROLES}
    asked = [*(_asked(letters) for letters in _PROBES), empty, *(a for a, _ in blanks.values())]
    prompts = render_all(template, asked)
    rules, why = _learn(dict(zip(_PROBES, prompts, strict=False)))
    if rules is None:
        return Derived("", why)
    bare, *blank = prompts[len(_PROBES) :]
    rules.skips_empty_system |= bare.text is not None and bare == prompts[0]
    for (role, (_, stripped)), prompt in zip(blanks.items(), blank, strict=True):
        if prompt.text is not None and prompt == prompts[_PROBES.index(stripped)]:
            rules.trims.add(role)
    _take_bos_off(template, rules)
    return Derived(_written(rules))


# ---------------------------------------------------------------- probing


def _turn(letter: str) -> Turn:
    return Turn(_ROLE_OF[letter], _MARKS[letter])


def _asked(letters: str) -> Asked:
    return Asked(tuple(map(_turn, letters)))


def _blank_around(role: str) -> tuple[Asked, str]:
    """A conversation with blanks around what one role says, and the one without them."""
    letters, which = {"system": ("su", 0), "user": ("u", 0), "assistant": ("uav", 1)}[role]
    turns = [_turn(letter) for letter in letters]
    turns[which] = Turn(role, turns[which].content.join(_BLANK))
    return Asked(tuple(turns)), letters


def _tells_the_date(template: ChatTemplate) -> bool:
    if not any(word in template.text for word in ("strftime_now", *ENGINE_DATES)):
        return False
    one, other = (render_all(template, [_asked("u")], now=now) for now in _OTHER_DAYS)
    return one != other


def _learn(prompts: Mapping[str, RenderedPrompt]) -> tuple[_Rules | None, str]:
    """The rules that all probes agree on, or why there are none."""
    rules = _Rules()
    for letters, prompt in prompts.items():
        if prompt.text is None:
            if letters == "u":
                return None, f"the model's own template refuses a single question: {prompt.refusal}"
            continue
        glue = _glue(prompt.text, letters)
        if glue is None:
            return None, "the model's own template changes what is said, or leaves it out"
        if not _agree(rules, letters, glue):
            return None, (
                "what the model's own template writes around a message depends on more than its "
                "role and the one before it"
            )
    if prompts["su"].text is None:
        _merge_system(rules)
    return rules, ""


def _glue(text: str, letters: str) -> list[str] | None:
    """What stands before, between and behind the marks; None where one is not there just once."""
    pieces = []
    for letter in letters:
        before, found, text = text.partition(_MARKS[letter])
        if not found or _MARKS[letter] in text:
            return None
        pieces.append(before)
    return [*pieces, text]


def _agree(rules: _Rules, letters: str, glue: Sequence[str]) -> bool:
    """Add what one conversation shows; False where an earlier one showed otherwise."""
    roles = [START, *(_ROLE_OF[letter] for letter in letters)]
    for last, role, text in zip(roles, roles[1:], glue, strict=False):
        if rules.before.setdefault((last, role), text) != text:
            return False
    return rules.end.setdefault(roles[-1], glue[-1]) == glue[-1]


def _merge_system(rules: _Rules) -> None:
    """Without a system role, its text goes before the first question, as llama.cpp does it."""
    rules.before[START, "system"] = rules.before[START, "user"]
    rules.before["system", "user"] = "\n"
    rules.skips_empty_system = True


def _take_bos_off(template: ChatTemplate, rules: _Rules) -> None:
    """Leave out the BOS that the tokenizer adds."""
    if template.adds_bos and template.bos:
        for step, text in rules.before.items():
            if step[0] == START:
                rules.before[step] = text.removeprefix(template.bos)


# ---------------------------------------------------------------- writing

_TRIM = """\
{{- define "trim" }}
{{- $text := . }}
{{- range len $text }}
{{- if and $text (le (slice $text 0 1) " ") }}{{ $text = slice $text 1 }}{{ else }}{{ break }}
{{- end }}
{{- end }}
{{- range len $text }}
{{- $rest := len (slice $text 1) }}
{{- if le (slice $text $rest) " " }}{{ $text = slice $text 0 $rest }}{{ else }}{{ break }}
{{- end }}
{{- end }}
{{- $text }}
{{- end }}
"""

# A line end that somebody puts behind the template is swallowed.
_LAST = "{{- /* the end */ -}}"


def _written(rules: _Rules) -> str:
    """The Go template. All that it writes stands in quoted strings, so its layout says nothing."""
    lines = [_TRIM.rstrip("\n")] if rules.trims else []
    lines += ['{{- $before := "" }}', "{{- range .Messages }}"]
    for number, role in enumerate(_ROLES):
        lines.append(f'{{{{- {"else " if number else ""}if eq .Role "{role}" }}}}')
        lines += _block(rules, role)
    lines += ["{{- end }}", "{{- end }}", *_chosen(rules.end), _LAST]
    return "\n".join(lines)


def _block(rules: _Rules, role: str) -> list[str]:
    steps = {last: text for (last, to), text in rules.before.items() if to == role}
    content = '{{- template "trim" .Content }}' if role in rules.trims else "{{- .Content }}"
    lines = [*_chosen(steps), content, f'{{{{- $before = "{role}" }}}}']
    if role == "system" and rules.skips_empty_system:
        return ["{{- if .Content }}", *lines, "{{- end }}"]
    return lines


def _chosen(texts: Mapping[str, str]) -> list[str]:
    """Actions that write one of these texts, by the role before; the commonest for all others."""
    common, _ = Counter(texts.values()).most_common(1)[0]
    special = [(last, text) for last, text in texts.items() if text != common]
    lines = []
    for number, (last, text) in enumerate(special):
        lines.append(f'{{{{- {"else " if number else ""}if eq $before "{last}" }}}}')
        lines += [_literal(text)] if text else []
    otherwise = [_literal(common)] if common else []
    return [*lines, "{{- else }}", *otherwise, "{{- end }}"] if special else otherwise


def _literal(text: str) -> str:
    """An action that writes a text: Go reads JSON's escapes in a quoted string."""
    return "{{- " + json.dumps(text, ensure_ascii=False) + " }}"

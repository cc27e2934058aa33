"""Makes pairs of a request in plain English and the one JSON object that answers it.

A request is put together from templates (its phrasing) and from titles, dates and ids. One title
in twelve and one phrasing in twelve, picked by checksum, are kept for the test prompts and never
appear in training.
"""

from __future__ import annotations

import itertools
import json
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import phrases as ph
from parts import day_date, make_title, other_date, relative_date

Answer = dict[str, object]
HELD_OUT_SHARE = 12


@dataclass(frozen=True)
class Example:
    """A request, its answer, and what must not leak from the tests into training."""

    prompt: str
    answer: Answer
    phrasing: str
    title: str

    @property
    def text(self) -> str:
        """The answer as the model has to write it."""
        return canonical(self.answer)


def canonical(answer: Answer) -> str:
    """The one spelling of an answer: json.dumps with its default separators."""
    return json.dumps(answer)


def held_out(text: str) -> bool:
    """Whether a title or a phrasing is kept for the test prompts."""
    return zlib.crc32(text.lower().encode()) % HELD_OUT_SHARE == 0


class Maker:
    """Draws the parts of one request and remembers which templates were used."""

    def __init__(self, rng: random.Random, style: str) -> None:
        self.rng = rng
        self.style = style
        self.trail: list[str] = []
        self.used_title = ""

    def chance(self, share: float) -> bool:
        """True in the given share of the calls."""
        return self.rng.random() < share

    def pick(self, options: Sequence[str]) -> str:
        """One of several templates, noted as part of the phrasing."""
        choice = self.rng.choice(options)
        self.trail.append(choice)
        return choice

    def title(self, lower: bool = False) -> str:
        """A title, capitalised most of the time unless it stands inside a sentence."""
        title = make_title(self.rng, self.style)
        if not lower and self.chance(0.65):
            title = title[0].upper() + title[1:]
        self.used_title = title
        return title

    def date(self) -> str:
        """A date phrase of any kind."""
        return self.rng.choice((day_date, day_date, relative_date, other_date))(self.rng)

    def due(self) -> tuple[str, str]:
        """A due clause such as " by {d}", and its date phrase."""
        kind = self.rng.random()
        if kind < 0.2:
            return self.pick(ph.DUE_DAY), day_date(self.rng)
        if kind < 0.4:
            return self.pick(ph.DUE_RELATIVE), relative_date(self.rng)
        return self.pick(ph.DUE_ANY), self.date()

    def priority(self) -> str:
        """One of the four priorities."""
        return self.rng.choice(ph.PRIORITIES)

    def ref(self) -> tuple[str, int]:
        """A way to name a task, and its id."""
        weights = (33, 45, 20, 2) if self.style == "plain" else (30, 40, 22, 8)
        digits = self.rng.choices((1, 2, 3, 4), weights)[0]
        number = self.rng.randint(10 ** (digits - 1), 10**digits - 1)
        return self.pick(ph.TASK_REFS).format(n=number), number


# ---- the five actions --------------------------------------------------------------------------


def create_task(make: Maker) -> tuple[str, Answer]:
    """A request for a new task."""
    core, opener_kind, lower = pick_create_core(make)
    fields: Answer = {"action": "create_task", "title": make.title(lower)}
    priority = make.priority() if "{p}" in core else "normal"
    request = core.format(t=fields["title"], p=priority).replace(" a urgent", " an urgent")
    clauses, lead = [], ""
    if make.chance(0.62):
        clause, fields["due_date"] = make.due()
        clauses.append(clause.format(d=fields["due_date"]))
    if "{p}" not in core and make.chance(0.45):
        priority = make.priority()
        clauses.append(priority_clause(make, priority))
    elif "{p}" not in core and make.chance(0.15):
        priority = make.priority()
        lead = make.pick(ph.PRIORITY_LEAD[priority])
    elif "due_date" not in fields and make.chance(0.2):
        fields["due_date"] = make.date()
        lead = make.pick(ph.DUE_LEAD).format(d=fields["due_date"])
    if make.chance(0.3):
        make.trail.append("swap")
        clauses.reverse()
    fields["priority"] = priority
    tail = "".join(clauses)
    if lead:
        return lead + lower_first(core, request) + tail + closer(make), fields
    return wrap(make, core, request, opener_kind) + tail + closer(make), fields


def pick_create_core(make: Maker) -> tuple[str, Sequence[str], bool]:
    """A template, the openers that fit it, and whether its title starts in lower case."""
    kind = make.rng.random()
    if kind < 0.40:
        return make.pick(ph.CREATE_ANY_CASE), ph.REQUEST_OPENERS, False
    if kind < 0.58:
        return make.pick(ph.CREATE_LOWER), ph.REQUEST_OPENERS, True
    if kind < 0.72:
        return make.pick(ph.CREATE_STATEMENT_ANY_CASE), ph.STATEMENT_OPENERS, False
    if kind < 0.86:
        return make.pick(ph.CREATE_STATEMENT_LOWER), ph.STATEMENT_OPENERS, True
    return make.pick(ph.CREATE_WITH_PRIORITY), ph.REQUEST_OPENERS, False


def priority_clause(make: Maker, priority: str) -> str:
    """A clause that tells the priority by its name or by an idiom."""
    if priority in ph.PRIORITY_IDIOMS and make.chance(0.4):
        return make.pick(ph.PRIORITY_IDIOMS[priority])
    return make.pick(ph.PRIORITY_ANY).format(p=priority)


def complete_task(make: Maker) -> tuple[str, Answer]:
    """A request to mark a task as done."""
    return on_one_task(make, "complete_task", ph.COMPLETE, ph.COMPLETE_STATEMENT)


def delete_task(make: Maker) -> tuple[str, Answer]:
    """A request to delete a task."""
    return on_one_task(make, "delete_task", ph.DELETE, ph.DELETE_STATEMENT)


def on_one_task(
    make: Maker, action: str, requests: Sequence[str], statements: Sequence[str]
) -> tuple[str, Answer]:
    """A request that names a task and nothing else."""
    ref, number = make.ref()
    request = one_of(make, requests, statements, r=ref)
    return request + closer(make), {"action": action, "id": number}


def one_of(
    make: Maker, requests: Sequence[str], statements: Sequence[str], **values: object
) -> str:
    """A filled template: a request, or (three in ten) a statement."""
    statement = make.chance(0.3)
    core = make.pick(statements if statement else requests)
    openers = ph.STATEMENT_OPENERS if statement else ph.REQUEST_OPENERS
    return wrap(make, core, upper_first(core.format(**values)), openers)


def update_task(make: Maker) -> tuple[str, Answer]:
    """A request to change a title, a date, a priority or the status."""
    ref, number = make.ref()
    base: Answer = {"action": "update_task", "id": number}
    kind = make.rng.random()
    if kind < 0.1:
        request = one_of(make, ph.UPDATE_STATUS, ph.UPDATE_STATUS_STATEMENT, r=ref)
        return request + closer(make), base | {"status": "open"}
    names = make.rng.sample(["title", "due_date", "priority"], 1 if kind < 0.65 else 2)
    changes = new_values(make, names)
    values: dict[str, object] = {"r": ref, **short_names(changes)}
    if kind < 0.85:
        request = "".join(sentence_of_changes(make, names, values))
    else:
        request = list_of_changes(make, names, values)
    return request + closer(make), base | changes


def new_values(make: Maker, names: Sequence[str]) -> Answer:
    """A new value for each named field, in the order of the answer."""
    makers: dict[str, Callable[[], object]] = {
        "title": make.title, "due_date": make.date, "priority": make.priority,
    }  # fmt: skip
    return {name: makers[name]() for name in makers if name in names}


def short_names(changes: Answer) -> dict[str, object]:
    """The changes under the names that templates use."""
    letters = {"title": "t", "due_date": "d", "priority": "p"}
    return {letters[name]: value for name, value in changes.items()}


def sentence_of_changes(
    make: Maker, names: Sequence[str], values: dict[str, object]
) -> Iterator[str]:
    """One change as a sentence, then perhaps " and make it high priority"."""
    templates = {
        "title": (ph.UPDATE_TITLE, ph.UPDATE_TITLE_STATEMENT),
        "due_date": (ph.UPDATE_DATE, ph.UPDATE_DATE_STATEMENT),
        "priority": (ph.UPDATE_PRIORITY, ph.UPDATE_PRIORITY_STATEMENT),
    }
    requests, statements = templates[names[0]]
    yield one_of(make, requests, statements, **values)
    for name in names[1:]:
        yield make.pick(ph.ALSO[name]).format(**values)


def list_of_changes(make: Maker, names: Sequence[str], values: dict[str, object]) -> str:
    """Changes as a list: "Update task 7: priority high, due Friday"."""
    core = make.pick(ph.UPDATE_FIELDS)
    fields = ", ".join(make.pick(ph.FIELD[name]).format(**values) for name in names)
    return wrap(make, core, core.format(**values) + fields, ph.REQUEST_OPENERS)


def list_tasks(make: Maker) -> tuple[str, Answer]:
    """A request to see the tasks that match a filter."""
    kind = make.rng.random()
    if kind < 0.06:
        return make.pick(ph.LIST_ALL_QUESTIONS), listing({})
    if kind < 0.18:
        status = make.rng.choice(("open", "done"))
        return make.pick(ph.STATUS_QUESTIONS[status]), listing({"status": status})
    if kind < 0.30:
        date = make.date()
        return make.pick(ph.LIST_DUE_QUESTIONS).format(d=date), listing({"due_date": date})
    return filtered_list(make)


def listing(wanted: dict[str, str]) -> Answer:
    """The answer for a filter, its keys in their fixed order."""
    order = ("status", "priority", "due_date")
    return {"action": "list_tasks", "filter": {key: wanted[key] for key in order if key in wanted}}


def filtered_list(make: Maker) -> tuple[str, Answer]:
    """A request with up to three conditions, as adjectives or as clauses."""
    wanted: dict[str, str] = {}
    adjectives, clauses = "", ""
    if make.chance(0.45):
        status = wanted["status"] = make.rng.choice(("open", "done"))
        adjectives += make.pick(ph.STATUS_ADJECTIVES[status])
    if make.chance(0.45):
        wanted["priority"] = make.priority()
        adjectives += make.pick(ph.PRIORITY_ADJECTIVES).format(p=wanted["priority"])
    elif make.chance(0.25):
        wanted["priority"] = make.priority()
        clauses += make.pick(ph.PRIORITY_CLAUSES).format(p=wanted["priority"])
    if make.chance(0.4):
        wanted["due_date"] = make.date()
        clauses += make.pick(ph.LIST_DATES).format(d=wanted["due_date"])
    elif "status" not in wanted and make.chance(0.3):
        status = wanted["status"] = make.rng.choice(("open", "done"))
        clauses += make.pick(ph.STATUS_CLAUSES[status])
    return phrase_list(make, adjectives, clauses), listing(wanted)


def phrase_list(make: Maker, adjectives: str, clauses: str) -> str:
    """A question or an imperative around the conditions."""
    if make.chance(0.25):
        return make.pick(ph.LIST_QUESTIONS).format(adj=adjectives, date=clauses)
    core = make.pick(ph.LIST_VERBS)
    request = core + make.pick(ph.LIST_DETERMINERS) + adjectives + "tasks" + clauses
    return wrap(make, core, request, ph.REQUEST_OPENERS) + closer(make)


# ---- around a request --------------------------------------------------------------------------


def wrap(make: Maker, core: str, request: str, openers: Sequence[str]) -> str:
    """The request, perhaps after an opener, perhaps without its capital."""
    if make.chance(0.3) and core != "{t}":
        return make.pick(openers) + lower_first(core, request)
    if make.chance(0.12):
        make.trail.append("lower")
        return lower_first(core, request)
    return request


def lower_first(core: str, request: str) -> str:
    """The request without its capital, except for a title and for "I"."""
    keep = core.startswith(("{t}", "I ", "I'"))
    return request if keep else request[0].lower() + request[1:]


def upper_first(text: str) -> str:
    """The text with a capital."""
    return text[0].upper() + text[1:]


def closer(make: Maker) -> str:
    """Nothing, a full stop, or a word of thanks."""
    return make.pick(ph.CLOSERS) if make.chance(0.35) else ""


ACTIONS: tuple[tuple[Callable[[Maker], tuple[str, Answer]], int], ...] = (
    (create_task, 50), (list_tasks, 13), (update_task, 23), (complete_task, 7), (delete_task, 7),
)  # fmt: skip


def any_example(rng: random.Random, style: str = "plain") -> Example:
    """An example of any action (a drill: create_task), whether or not its parts are held out."""
    make = Maker(rng, style)
    action = rng.choices([a for a, _ in ACTIONS], [weight for _, weight in ACTIONS])[0]
    if style == "drill":
        action = create_task
    prompt, answer = action(make)
    return Example(prompt, answer, "|".join(make.trail), make.used_title)


def training_examples(
    seed: int, reserved: frozenset[str], *, style: str = "wide", drills: int = 0
) -> Iterator[Example]:
    """Examples without end that use no held-out phrasing or title.

    Args:
        seed: Seed of the generator.
        reserved: Prompts and titles that must not appear, in lower case.
        style: Style of the titles, "wide" or "plain".
        drills: Examples at the start that are mostly drills: long titles to copy.
    """
    rng = random.Random(seed)
    for index in itertools.count():
        drill = rng.random() < (0.8 if index < drills else 0.06)
        example = any_example(rng, "drill" if drill else style)
        if held_out(example.phrasing) or (example.title and held_out(example.title)):
            continue
        if example.prompt.lower() in reserved or example.title.lower() in reserved:
            continue
        yield example


def unseen_examples(seed: int) -> Iterator[Example]:
    """Examples whose phrasing is held out, and whose title, if there is one, is too."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while True:
        example = any_example(rng)
        title_known = bool(example.title) and not held_out(example.title)
        if not held_out(example.phrasing) or title_known or example.prompt in seen:
            continue
        seen.add(example.prompt)
        yield example

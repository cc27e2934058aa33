"""The parts that vary in a request: titles, dates and times."""

from __future__ import annotations

import random
from pathlib import Path

import phrases as ph

COMMON_WORDS = tuple(
    word
    for word in (Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split()
    if word not in ph.RESERVED_WORDS
)
CONSONANTS = ph.words("b d f g k l m n p r s t v z ch sh st tr")
# Weights of one to six random words in a title.
WORD_COUNTS = {"plain": (1, 5, 6, 4, 0, 0), "wide": (1, 4, 6, 5, 3, 1)}
SYLLABLES = tuple(consonant + vowel for consonant in CONSONANTS for vowel in "aeiou")


def make_title(rng: random.Random, style: str) -> str:
    """A title.

    Args:
        rng: The source of chance.
        style: "plain" (mostly sensible, else a few common words), "wide" (half of them random
            words, some of them invented) or "drill" (many random words).
    """
    if style == "drill":
        return long_title(rng)
    if rng.random() < (0.75 if style == "plain" else 0.5):
        return sensible_title(rng)
    words = rng.choices(COMMON_WORDS, k=rng.choices((1, 2, 3, 4, 5, 6), WORD_COUNTS[style])[0])
    if rng.random() < (0.2 if style == "plain" else 0.44):
        words[rng.randrange(len(words))] = unusual_word(rng)
    return " ".join(words)


def long_title(rng: random.Random) -> str:
    """Many random words: the quickest way to teach copying."""
    return " ".join(rng.choices(COMMON_WORDS, k=rng.randint(6, 16)))


def sensible_title(rng: random.Random) -> str:
    """Verb, perhaps whose or which, object, perhaps a tail such as "for Anna"."""
    words = [rng.choice(ph.VERBS)]
    start = rng.random()
    if start < 0.25:
        words.append("the")
    elif start < 0.35:
        words.append(rng.choice(ph.NAMES) + "'s")
    elif start < 0.43:
        words.append(str(rng.randint(2, 99)))
    if rng.random() < 0.55:
        words.append(rng.choice(rng.choice((ph.MODIFIERS, ph.MODIFIERS, COMMON_WORDS))))
    words.append(rng.choice(rng.choice((ph.OBJECTS, ph.OBJECTS, COMMON_WORDS))))
    if rng.random() < 0.12:
        words.append(rng.choice(ph.OBJECTS))
    if rng.random() < 0.35:
        words.append(make_tail(rng))
    return " ".join(words)


def make_tail(rng: random.Random) -> str:
    """The end of a title, such as "for the annual report"."""
    return rng.choice(ph.TAILS).format(
        o=rng.choice(ph.OBJECTS + COMMON_WORDS),
        m=rng.choice(ph.MODIFIERS),
        n=rng.choice(ph.NAMES),
    )


def unusual_word(rng: random.Random) -> str:
    """A name, an invented word, a short code or a compound."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(ph.NAMES)
    if kind == 1:
        return "".join(rng.choices(SYLLABLES, k=rng.randint(2, 4)))
    if kind == 2:
        return rng.choice("QVHABCXS") + str(rng.randint(1, 99))
    return "-".join(rng.sample(COMMON_WORDS, 2))


def day_date(rng: random.Random) -> str:
    """A day that "on" can stand before."""
    month, day = rng.choice(ph.MONTHS), rng.randint(1, 28)
    weekday = rng.choice(ph.WEEKDAYS)
    forms = (
        weekday,
        weekday,
        f"{month} {day}",
        f"{month} {ordinal(day)}",
        f"{day} {month}",
        f"the {ordinal(day)}",
        f"the {ordinal(day)} of {month}",
        f"{rng.randint(2025, 2030)}-{rng.randint(1, 12):02}-{day:02}",
        f"{weekday} {rng.choice(ph.DAY_PARTS)}",
        f"{weekday} at {clock_time(rng)}",
    )
    return rng.choice(forms)


def relative_date(rng: random.Random) -> str:
    """A date that needs no preposition."""
    forms = (
        rng.choice(ph.RELATIVE_DATES),
        rng.choice(ph.RELATIVE_DATES),
        f"next {rng.choice(ph.WEEKDAYS)}",
        f"this {rng.choice(ph.WEEKDAYS)}",
        f"tomorrow {rng.choice(ph.DAY_PARTS)}",
        f"tomorrow at {clock_time(rng)}",
        f"today at {clock_time(rng)}",
    )
    return rng.choice(forms)


def other_date(rng: random.Random) -> str:
    """A point in time that neither needs "on" nor can stand alone."""
    forms = (
        rng.choice(ph.OTHER_DATES),
        rng.choice(ph.OTHER_DATES),
        f"the end of {rng.choice(ph.MONTHS)}",
        clock_time(rng),
        f"the first week of {rng.choice(ph.MONTHS)}",
    )
    return rng.choice(forms)


def clock_time(rng: random.Random) -> str:
    """A time of day, such as 9am, 17:30 or noon."""
    hour, minute = rng.randint(1, 12), rng.choice((0, 15, 30, 45))
    return rng.choice((f"{hour}am", f"{hour}pm", f"{hour + 9}:{minute:02}", "noon"))


def ordinal(day: int) -> str:
    """1st, 2nd, 3rd, 4th and so on."""
    if day in (11, 12, 13):
        return f"{day}th"
    return f"{day}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th') }"

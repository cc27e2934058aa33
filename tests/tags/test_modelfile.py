from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.errors import ModelfileError
from deployq.tags.modelfile import QUOTES, Modelfile, dump, in_parts, parse, quote, warnings
from deployq.tags.parameters import DROPPED, RULES, check, read
from deployq.types import Message

WHOLE = """\
# a comment
FROM task-api-Q4_K_M.gguf
parameter num_ctx 4096
PARAMETER temperature 0.2
PARAMETER use_mmap true
PARAMETER stop "<|im_end|>"
PARAMETER stop END
PARAMETER stop \"""
U:\"""

TEMPLATE "{{ .System }}
{{ .Prompt }}"
System   \"""You say "hi".
Two lines, # and no comment.
\"""
LICENSE MIT
LICENSE \"""Second\"""
MESSAGE user hi: there
message assistant \"""hello
\"""
RENDERER qwen3
PARSER qwen3
REQUIRES v0.34.0
"""


def test_parse_reads_as_ollama_does() -> None:
    assert parse(WHOLE) == Modelfile(
        from_="task-api-Q4_K_M.gguf",
        parameters={
            "num_ctx": 4096,
            "temperature": 0.2,
            "use_mmap": True,
            "stop": ("<|im_end|>", "END", "\nU:"),
        },
        template="{{ .System }}\n{{ .Prompt }}",
        system='You say "hi".\nTwo lines, # and no comment.\n',
        messages=(Message("user", "hi: there"), Message("assistant", "hello\n")),
        license=("MIT", "Second"),
        renderer="qwen3",
        parser="qwen3",
        requires="0.34.0",
    )


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("plain words  ", "plain words"),
        ('say "hi"', 'say "hi"'),
        ('"say "hi" now"', 'say "hi" now'),
        ('"" ""', '" "'),
        (f"{QUOTES}a{QUOTES}  \t", "a"),
        (f'{QUOTES}a"{QUOTES}', 'a"'),
        (f'{QUOTES}"a{QUOTES}', '"a'),
        (f"{QUOTES}  a  {QUOTES}", "  a  "),
        ("'tis tag#1", "'tis tag#1"),
    ],
)
def test_quoting_has_no_escapes(value: str, meant: str) -> None:
    assert parse(f"FROM a.gguf\nSYSTEM {value}\nPARAMETER seed 1").system == meant


def test_line_ends_of_other_systems_and_a_byte_order_mark() -> None:
    found = parse("\ufeffFROM a.gguf\r\nPARAMETER num_ctx 512\r\nSYSTEM hi\r\n")
    assert found == Modelfile("a.gguf", {"num_ctx": 512}, system="hi")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no FROM line"),
        ("SYSTEM hi", "no FROM line"),
        ("FROM a\nFORM b", "line 2: not a command: 'FORM b'"),
        ("FROM a\n\nSYSTEM", "line 3: SYSTEM has no value"),
        ("FROM a\nSYSTEM\nPARAMETER seed 1", "line 2: SYSTEM has no value"),
        ('FROM a\nSYSTEM ""', "line 2: SYSTEM is empty"),
        ("FROM a\nFROM b", "line 2: FROM is given twice"),
        ("FROM a\nSYSTEM x\nSYSTEM y", "line 3: SYSTEM is given twice"),
        ("FROM a\nPARAMETER seed 1\nPARAMETER seed 2", "line 3: PARAMETER seed is given twice"),
        ("FROM a\nPARAMETER num_ctx 4096 # big", "line 2: Ollama knows no comment at the end"),
        ("FROM a\nPARAMETER  num_ctx 1", "line 2: after PARAMETER and one space"),
        ("FROM a\nPARAMETER num_ctx", "line 2: PARAMETER num_ctx has no value"),
        ("FROM a\nPARAMETER num-ctx 1", "line 2: "),
        ("FROM a\nMESSAGE bot hi", "line 2: MESSAGE bot: a role is one of"),
        ("FROM a\nPARAMETER stop 'x'", "line 2: Ollama knows no single quotes"),
        ('FROM a\nPARAMETER stop ""', "line 2: PARAMETER stop: an empty stop"),
        ('FROM a\nSYSTEM "never ends', 'line 2: the value that starts with " does not end'),
        (f"FROM a\nSYSTEM {QUOTES}x\ny", "line 2: the value that starts with"),
        (f"FROM a\nSYSTEM {QUOTES}x{QUOTES} # c\nTEMPLATE {QUOTES}y{QUOTES}", "read on to a later"),
        ('FROM a\nPARAMETER stop "x\nPARAMETER stop "y"', 'line 2: a " closes a value only'),
        ("FROM a\nSYSTEM a\x07b", r"line 2: a Modelfile can't carry U\+0007"),
        ("FROM a\nREQUIRES soon", "line 2: REQUIRES soon: not a version"),
        ("FROM a\nDRAFT b.gguf", "line 2: not a command: 'DRAFT b.gguf'"),
        ("FROM a\nPARAMETER temprature 1", "line 2: PARAMETER temprature: Ollama has no such"),
        ("FROM a\nPARAMETER Num_Ctx 1", "line 2: PARAMETER Num_Ctx: Ollama has no such"),
        (
            "FROM a\nPARAMETER typical_p 1",
            "line 2: PARAMETER typical_p: servers from Ollama 0.34.1",
        ),
    ],
)
def test_what_ollama_would_drop_or_misread_is_refused(text: str, said: str) -> None:
    with pytest.raises(ModelfileError, match=said):
        parse(text)


def test_an_unknown_parameter_names_the_nearest_right_one() -> None:
    with pytest.raises(ModelfileError) as caught:
        parse("FROM a\nPARAMETER temprature 1")
    assert caught.value.hint == "did you mean temperature?"


@pytest.mark.parametrize("name", sorted(DROPPED))
def test_parameters_that_ollama_drops_are_refused(name: str) -> None:
    with pytest.raises(ModelfileError, match="drops it"):
        parse(f"FROM a\nPARAMETER {name} 1")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("num_ctx", "0"),
        ("num_ctx", "4_096"),
        ("num_ctx", "4096.0"),
        ("num_ctx", "٤"),
        ("num_ctx", "99999999999999999999999999999999999999999999"),
        ("num_predict", "0"),
        ("num_predict", "-3"),
        ("temperature", "-0.1"),
        ("temperature", "nan"),
        ("temperature", "inf"),
        ("temperature", "hot"),
        ("top_p", "1.01"),
        ("min_p", "1e9"),
        ("use_mmap", "yes"),
        ("seed", "5000000000"),
        ("repeat_last_n", "-1"),
        ("repeat_penalty", "0"),
        ("num_batch", "1"),
        ("num_thread", "100000"),
        ("num_keep", "-2"),
    ],
)
def test_wrong_types_and_values_out_of_range(name: str, text: str) -> None:
    with pytest.raises(ModelfileError, match=f"PARAMETER {name}: "):
        read(name, text)


def test_values_from_a_configuration_are_checked_alike() -> None:
    assert check("num_ctx", 4096) == 4096
    for name, value in [("num_ctx", True), ("temperature", "0"), ("use_mmap", 1), ("stop", "x")]:
        with pytest.raises(ModelfileError, match=f"PARAMETER {name}: "):
            check(name, value)  # type: ignore[arg-type]


def test_statements_as_they_are_written() -> None:
    system = 'SYSTEM """\n# a heading\nPARAMETER x 1\n"""'
    text = f"# by hand\nFROM a.gguf\nPARAMETER stop b # c\n{system}\n"
    with pytest.raises(ModelfileError, match="no comment at the end"):
        in_parts(text)
    assert in_parts(text.replace(" # c", "\n# c")) == [
        ("FROM", "", "FROM a.gguf"),
        ("PARAMETER", "stop", "PARAMETER stop b"),
        ("SYSTEM", "", system),
    ]


def test_a_value_that_can_not_be_quoted_is_refused() -> None:
    with pytest.raises(ModelfileError, match="can't carry"):
        quote(f"a {QUOTES} b")
    with pytest.raises(ModelfileError, match="can't carry"):
        dump(Modelfile("a.gguf", system=f"x{QUOTES}"))
    with pytest.raises(ModelfileError, match="not a file name"):
        dump(Modelfile("a\nb"))


def test_characters_that_ollamas_own_command_drops_are_named_but_kept() -> None:
    text = "FROM a.gguf\nSYSTEM Oui\u00a0! \U0001f469\u200d\U0001f4bb"
    assert parse(text).system == "Oui\u00a0! \U0001f469\u200d\U0001f4bb"
    assert [w.split("drop ")[1] for w in warnings(text)] == [
        "U+00A0 (NO-BREAK SPACE)",
        "U+200D (ZERO WIDTH JOINER)",
    ]
    assert warnings(WHOLE) == ()


def test_the_digest_does_not_depend_on_the_order_of_parameters() -> None:
    one = Modelfile("a", {"seed": 1, "num_ctx": 2})
    assert one.digest == Modelfile("a", {"num_ctx": 2, "seed": 1}).digest
    assert one.digest != Modelfile("a", {"num_ctx": 2, "seed": 2}).digest


# Texts that a Modelfile can carry; quotes and line ends come often, as that is where it breaks.
TEXTS = (
    st.lists(
        st.sampled_from(
            ['"', '""', "\n", "\r\n", " ", "\t", "#", "FROM x", "'", "{{ .System }}", "é"]
        )
        | st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8),
        max_size=12,
    )
    .map("".join)
    .filter(lambda text: QUOTES not in text)
)
FILLED = TEXTS.filter(bool)


def _values(name: str) -> st.SearchStrategy[object]:
    rule = RULES[name]
    if rule.type == "bool":
        return st.booleans()
    if rule.type == "stop":
        return st.lists(FILLED, min_size=1, max_size=3).map(tuple)
    if rule.type == "float":
        return st.floats(rule.low, rule.high)
    whole = st.integers(int(rule.low), int(rule.high))
    return whole.filter(bool) if name == "num_predict" else whole


MODELFILES = st.builds(
    Modelfile,
    from_=st.from_regex(r"[\w][\w .#'\"-]{0,20}", fullmatch=True).filter(lambda s: QUOTES not in s),
    parameters=st.fixed_dictionaries({}, optional={name: _values(name) for name in RULES}),
    template=TEXTS,
    system=TEXTS,
    messages=st.lists(
        st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=3
    ).map(tuple),
    license=st.lists(FILLED, max_size=2).map(tuple),
    renderer=TEXTS,
    requires=st.sampled_from(["", "0.34.0", "1", "1.2-rc.1"]),
)


@given(MODELFILES)
def test_parse_reads_what_dump_wrote(modelfile: Modelfile) -> None:
    assert parse(dump(modelfile)) == modelfile


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        modelfile = parse(text)
    except ModelfileError:
        return
    assert modelfile.from_


@given(st.lists(st.sampled_from(['"', '"""', "a", " ", "\n", "#"]), max_size=14).map("".join))
def test_values_are_read_as_ollamas_state_machine_reads_them(value: str) -> None:
    """Against a plain port of the loop in Ollama's `parser/parser.go`, where ours takes it."""
    text = f"FROM a\nSYSTEM {value}\nPARAMETER seed 1\n"
    try:
        ours = parse(text)
    except ModelfileError:
        return
    assert _as_ollama(text) == [("FROM", "a"), ("SYSTEM", ours.system), ("PARAMETER", "seed 1")]


def _as_ollama(text: str) -> list[tuple[str, str]]:
    """Command and value; PARAMETER keeps its name in the value."""
    found, position = [], 0
    while position < len(text):
        if text[position] in " \t\n":
            position += 1
        elif text[position] == "#":
            position = (text + "\n").index("\n", position)
        else:
            command, _, rest = text[position:].partition(" ")
            taken = next(n for n in range(len(rest) + 1) if _ends(rest, n))
            found.append((command, _unquoted(rest[:taken]) or ""))
            position += len(command) + 1 + taken
    return found


def _ends(rest: str, n: int) -> bool:
    return (n == len(rest) or rest[n] == "\n") and _unquoted(rest[:n]) is not None


def _unquoted(value: str) -> str | None:
    value = value.strip()
    for mark in (QUOTES, '"'):
        if value.startswith(mark):
            closed = len(value) >= 2 * len(mark) and value.endswith(mark)
            return value[len(mark) : -len(mark)] if closed else None
    return value

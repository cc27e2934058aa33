"""The conformance check of profilers finds each fault, and passes what is good."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from deployq import BackendError, Card, Hardware, proc
from deployq.testing import check_profiler

GIB = 1 << 30
GOOD = Hardware(
    "Office PC",
    "vram",
    24 * GIB,
    20 * GIB,
    bandwidth_bytes_per_second=936e9,
    source="its label",
    reserve_bytes=GIB,
    cards=(Card("a", 16 * GIB, 14 * GIB), Card("b", 8 * GIB, 6 * GIB)),
)
PRESET = replace(GOOD, available_bytes=None, cards=())


@dataclass
class Office:
    """A profiler with whatever answers a test wants."""

    found: Callable[[], Any] = lambda: GOOD
    known: Mapping[Any, Any] = field(default_factory=lambda: {"office": PRESET})
    name: str = "office"

    def detect(self) -> Hardware | None:
        return self.found()  # type: ignore[no-any-return]

    def presets(self) -> Mapping[str, Hardware]:
        return self.known


def finding(**changes: Any) -> Office:
    return Office(lambda: replace(GOOD, **changes))


def test_a_good_one_passes() -> None:
    check_profiler(Office())
    check_profiler(Office(lambda: None, {}))


FIGURES: dict[str, tuple[dict[str, Any], str]] = {
    "MiB": ({"memory_bytes": 24576, "cards": ()}, "no machine's memory in bytes"),
    "a float": ({"memory_bytes": 24e9, "cards": ()}, "bytes are whole numbers"),
    "a text": ({"memory_bytes": "24 GiB", "cards": ()}, "bytes are whole numbers"),
    "negative": ({"memory_bytes": -1, "cards": ()}, "no machine's memory"),
    "more free than there is": ({"available_bytes": 25 * GIB}, "available_bytes is"),
    "negative free": ({"available_bytes": -1}, "available_bytes is -1"),
    "all of it kept": ({"reserve_bytes": 25 * GIB}, "reserve_bytes is"),
    "GB/s": ({"bandwidth_bytes_per_second": 936}, "GB/s"),
    "another kind": ({"kind": "gpu"}, "none of ram, vram, unified"),
    "no name": ({"name": ""}, "has no name"),
    "no source": ({"source": ""}, "where its figures are from"),
    "cards that don't add up": ({"cards": GOOD.cards[:1]}, "its cards have"),
    "cards as a list": ({"cards": list(GOOD.cards)}, "no tuple of deployq.Card"),
    "a card with more free": ({"cards": (Card("a", 24 * GIB, 25 * GIB),)}, "card 'a': free"),
}


@pytest.mark.parametrize("fault", FIGURES)
def test_a_wrong_figure(fault: str) -> None:
    changes, message = FIGURES[fault]
    with pytest.raises(AssertionError, match=message):
        check_profiler(finding(**changes))
    known = {"box": replace(PRESET, **changes)}
    if "available_bytes" not in changes and "cards" not in changes:
        with pytest.raises(AssertionError, match=message):
            check_profiler(Office(lambda: None, known))


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"Office": PRESET}, "capital letters"),
        ({"laptop": PRESET}, "means this machine"),
        ({"": PRESET}, "name is ''"),
        ({"box": GOOD}, "nobody knows that"),
        ({"box": 24 * GIB}, "preset 'box' is a int"),
        ([("box", PRESET)], "no mapping"),
    ],
)
def test_wrong_presets(known: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_profiler(Office(lambda: None, known))


def test_no_profiler_at_all() -> None:
    with pytest.raises(AssertionError, match="lacks a part"):
        check_profiler(object())  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="name is no text"):
        check_profiler(Office(name=""))


def test_something_else_is_given() -> None:
    with pytest.raises(AssertionError, match=r"gives a dict, no deployq\.Hardware"):
        check_profiler(Office(lambda: {"memory": 24}))


def test_a_strange_exception() -> None:
    def broken() -> Hardware:
        raise FileNotFoundError("nvidia-smi")

    with pytest.raises(AssertionError, match=r"raises FileNotFoundError.*nvidia-smi"):
        check_profiler(Office(broken))


def test_deployq_s_own_errors_are_allowed() -> None:
    def unwell() -> Hardware:
        raise BackendError("the driver does not answer")

    check_profiler(Office(unwell))


def test_an_exit() -> None:
    with pytest.raises(AssertionError, match="raises SystemExit"):
        check_profiler(Office(sys.exit))


def test_one_that_hangs() -> None:
    with pytest.raises(AssertionError, match=r"does not end within 0.2 s"):
        check_profiler(Office(lambda: time.sleep(3)), seconds=0.2)


@pytest.mark.parametrize(
    "say",
    [
        lambda: sys.stdout.write("found a card"),
        lambda: sys.stderr.write("no card"),
        lambda: os.write(2, b"driver: no device\n"),
        lambda: subprocess.run([sys.executable, "-c", "print('smi')"], check=True),
    ],
    ids=["stdout", "stderr", "past Python", "a child"],
)
def test_one_that_talks(say: Callable[[], object]) -> None:
    with pytest.raises(AssertionError, match="prints"):
        check_profiler(Office(lambda: (say(), GOOD)[1]))


def test_another_answer_every_time() -> None:
    answers = iter(range(100))
    with pytest.raises(AssertionError, match="only what is free may change"):
        check_profiler(
            Office(lambda: replace(GOOD, memory_bytes=(24 + next(answers)) * GIB, cards=()))
        )


def test_what_is_free_may_change() -> None:
    answers = iter(range(100))
    check_profiler(Office(lambda: replace(GOOD, available_bytes=next(answers))))


def test_one_that_needs_a_program() -> None:
    def asks() -> Hardware:
        subprocess.run(["sh", "-c", "true"], check=True)
        return GOOD

    with pytest.raises(AssertionError, match="raises FileNotFoundError"):
        check_profiler(Office(asks))


def test_one_that_asks_by_deployq_s_own_way() -> None:
    def asks() -> Hardware:
        proc.run(["sh", "-c", "true"])
        return GOOD

    check_profiler(Office(asks))


def test_one_that_changes_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def meddles() -> Hardware:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        return GOOD

    with pytest.raises(AssertionError, match="changes folder or environment"):
        check_profiler(Office(meddles))


def device(folder: Path) -> Callable[[], None]:
    folder.mkdir()
    (folder / "memory").write_text(str(24 * GIB))
    return lambda: shutil.rmtree(folder)


def test_a_device_that_goes_away(tmp_path: Path) -> None:
    file = tmp_path / "card/memory"
    lose = device(file.parent)

    def reads() -> Hardware | None:
        if not file.exists():
            return None
        return Hardware("card", "vram", int(file.read_text()), source="a file")

    check_profiler(Office(reads), lose=lose)


def test_one_that_falls_over_it(tmp_path: Path) -> None:
    file = tmp_path / "card/memory"
    lose = device(file.parent)
    careless = Office(lambda: Hardware("card", "vram", int(file.read_text()), source="a file"))
    with pytest.raises(AssertionError, match="raises FileNotFoundError"):
        check_profiler(careless, lose=lose)


def test_one_that_remembers_it(tmp_path: Path) -> None:
    lose = device(tmp_path / "card")
    with pytest.raises(AssertionError, match="remembers instead of looking"):
        check_profiler(Office(), lose=lose)


def test_nothing_that_could_go_away() -> None:
    with pytest.raises(AssertionError, match="nothing that could go away"):
        check_profiler(Office(lambda: None), lose=lambda: None)

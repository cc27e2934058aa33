"""A record is a frozen dataclass in all that it does; only its making is quicker."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle
from collections.abc import Callable
from dataclasses import field

import pytest

from deployq.records import dataclass


@dataclass(frozen=True)
class Quick:
    a: int
    b: tuple[str, ...] = ()
    c: list[int] = field(default_factory=list, compare=False)
    d: str = field(default="", repr=False)

    @functools.cached_property
    def twice(self) -> int:
        return 2 * self.a


@dataclasses.dataclass(frozen=True)
class Plain:
    a: int
    b: tuple[str, ...] = ()
    c: list[int] = field(default_factory=list, compare=False)
    d: str = field(default="", repr=False)


@dataclass(frozen=True)
class Own:
    a: int

    def __repr__(self) -> str:
        return "mine"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own)

    def __hash__(self) -> int:
        return 7


@dataclass(frozen=True)
class Child(Quick):
    e: int = 5


@dataclass(frozen=True)
class Nothing:
    pass


def test_it_is_made_shown_and_taken_apart_as_one() -> None:
    quick, plain = Quick(1, ("x",), [3], d="y"), Plain(1, ("x",), [3], d="y")
    assert repr(quick) == repr(plain).replace("Plain", "Quick")
    assert dataclasses.asdict(quick) == dataclasses.asdict(plain)
    assert dataclasses.replace(quick, a=2) == Quick(2, ("x",), d="y")
    names = [one.name for one in dataclasses.fields(quick)]
    assert names == [one.name for one in dataclasses.fields(plain)]
    match quick:
        case Quick(a, b):
            assert (a, b) == (1, ("x",))
    assert dataclasses.is_dataclass(Quick)
    assert quick.twice == 2


def test_it_is_compared_and_hashed_by_its_values() -> None:
    assert Quick(1, c=[1]) == Quick(1, c=[2])
    assert Quick(1) != Quick(2)
    assert Quick(1) != object()
    assert len({Quick(1), Quick(1), Quick(2)}) == 2
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())
    assert Child(1) != Quick(1)
    assert Child(1, e=6) == Child(1, e=6)


@pytest.mark.parametrize("make", [Quick, Plain, Child])
@pytest.mark.parametrize("name", ["a", "b", "unknown"])
def test_it_is_frozen(make: Callable[[int], object], name: str) -> None:
    one = make(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, name, 5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(one, name)


def test_what_a_class_says_itself_stands() -> None:
    assert repr(Own(1)) == "mine"
    assert Own(1) == Own(2)
    assert hash(Own(1)) == 7


def test_it_is_copied_and_pickled() -> None:
    one = Quick(1, ("x",), [3])
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_frozen_dataclass_may_stand_on_it() -> None:
    @dataclasses.dataclass(frozen=True)
    class Later(Quick):
        f: int = 6

    assert Later(1).f == 6
    assert Later(1) == Later(1)

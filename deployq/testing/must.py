"""How a check says that a contract is broken."""

from __future__ import annotations


def must(condition: bool, message: str) -> None:
    """Raise an `AssertionError` with the message where the condition does not hold.

    No `assert`: python -O would turn the contract off.
    """
    if not condition:
        raise AssertionError(message)

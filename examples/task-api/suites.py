"""Writes and reads the two test suites: suite.toml (24 prompts) and suite-full.jsonl (300)."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taskdata import Answer, Example, canonical, unseen_examples

FULL_SEED = 2026
FULL_SHARES = {
    "create_task": 120, "update_task": 75, "list_tasks": 55, "complete_task": 25, "delete_task": 25,
}  # fmt: skip


def load_suites(folder: Path) -> list[tuple[str, Answer]]:
    """The prompts of both suites with the right answers."""
    quick = tomllib.loads((folder / "suite.toml").read_text(encoding="utf-8"))["prompts"]
    lines = (folder / "suite-full.jsonl").read_text(encoding="utf-8").splitlines()
    prompts: list[dict[str, Any]] = [*quick, *map(json.loads, lines)]
    return [(prompt["user"], prompt["check"]["json_equals"]) for prompt in prompts]


def reserved_texts(suites: list[tuple[str, Answer]]) -> frozenset[str]:
    """The prompts and titles of the suites, in lower case."""
    titles = {str(answer["title"]).lower() for _, answer in suites if "title" in answer}
    return frozenset({prompt.lower() for prompt, _ in suites} | titles)


def full_suite(quick_prompts: set[str]) -> Iterator[Example]:
    """Unseen requests, so many of each action, none of them in the quick suite."""
    left = dict(FULL_SHARES)
    for example in unseen_examples(FULL_SEED):
        action = str(example.answer["action"])
        if left[action] and example.prompt not in quick_prompts:
            left[action] -= 1
            yield example
        if not any(left.values()):
            return


def write_full_suite(folder: Path) -> None:
    """Write suite-full.jsonl beside an existing suite.toml."""
    quick = tomllib.loads((folder / "suite.toml").read_text(encoding="utf-8"))["prompts"]
    lines = []
    for index, example in enumerate(full_suite({prompt["user"] for prompt in quick}), start=1):
        name = f"{str(example.answer['action']).split('_')[0]}-{index:03}"
        check = {"json_equals": example.answer, "stops": True}
        lines.append(canonical({"name": name, "user": example.prompt, "check": check}))
    (folder / "suite-full.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_full_suite(Path(__file__).parent)

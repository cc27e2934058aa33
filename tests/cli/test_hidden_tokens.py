"""Words of a domain that were added as special tokens: no engine writes them out."""

from __future__ import annotations

import pytest

from tests.automaton import write_automaton
from tests.cli.conftest import CONFIG, Project

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("tools_bin")]

SUITE = """
threshold = 0.0
options = { num_predict = 16 }
[[prompts]]
name = "law"
user = "hi"
check.contains = ["Section_5A"]
"""


def test_special_tokens_inside_an_answer_are_named(project: Project) -> None:
    words = ["Section_5A", "Income_Tax"]
    chain = ["Under ", words[0], " of the ", words[1], " act", "<|im_end|>"]
    write_automaton(project.folder / "tiny-f16.gguf", words, chain)
    project.write("suite.toml", SUITE)
    project.write("deployq.toml", CONFIG.replace('quants = ["Q8_0", "Q4_K_M"]', 'quants = ["F16"]'))
    pushed = project.run("push", "tiny", "--targets", "laptop", "-y")
    assert pushed.code == 0, pushed.err
    found = project.run("diagnose", "tiny:f16", "--json").json
    (clue,) = (one for one in found["evidence"] if "which no engine writes out" in one["message"])
    assert "the answer to law holds 2 special tokens" in clue["message"]
    assert "'Section_5A', 'Income_Tax'" in clue["message"]

"""The tags of a server as people read them."""

from __future__ import annotations

from deployq.report.tag_view import tags_document, tags_table
from tests.report import samples
from tests.report.conftest import Golden


def test_list_reads_as_it_should(golden: Golden) -> None:
    golden("list", 80, tags_table(samples.HELD))


def test_the_document_holds_every_tag() -> None:
    tags = tags_document(samples.HELD)["tags"]
    assert [tag["tag"] for tag in tags] == ["gemma3:4b", "task-api:laptop", "task-api:q4_k_m"]
    assert [tag["made_here"] for tag in tags] == [False, True, True]
    assert tags[2]["passed"] == 23

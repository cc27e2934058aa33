"""Template parity as a JSON document; docs/json.md has its fields."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deployq.types import ParityReport

Document = dict[str, Any]
SCHEMA = 1


def parity_document(reports: Iterable[ParityReport]) -> Document:
    """What `deployq parity --json` prints."""
    return {"schema": SCHEMA, "tags": [parity_fields(report) for report in reports]}


def parity_fields(report: ParityReport) -> Document:
    """What was seen of one tag."""
    return {
        "tag": report.tag,
        "host": report.host,
        "ok": report.ok,
        "way": report.way,
        "template": {
            "text": report.served.template,
            "known_as": report.served.known or None,
            "system": report.served.system or None,
            "stops": list(report.served.stops),
        },
        "conversations": [asdict(row) for row in report.conversations],
        "faults": [
            {**asdict(fault), "conversations": list(fault.conversations)} for fault in report.faults
        ],
        "notes": list(report.notes),
    }

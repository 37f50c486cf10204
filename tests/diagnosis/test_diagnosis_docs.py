"""What the pages on the diagnosis promise: every check is explained, and no page speaks of one that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

from unmask.diagnosis.check import checks

DOCS = Path(__file__).parents[2] / "docs"


def test_every_check_is_explained_once_with_what_to_do() -> None:
    text = (DOCS / "reading_a_verdict.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^\*\*(\w+)\.\*\* (.*?)(?=\n\n|\Z)", text, flags=re.S | re.M))
    assert len(re.findall(r"^\*\*\w+\.\*\*", text, flags=re.M)) == len(entries), "an entry stands twice"
    assert set(entries) == set(checks)
    for name, entry in entries.items():
        assert "*Do*:" in entry, f"{name}: no word on what to do"

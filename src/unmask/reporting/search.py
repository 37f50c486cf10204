"""A search's way up as one page: every hypothesis that rose above all before it, word by word, playable."""

from __future__ import annotations

import base64
import hashlib
import json
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from markupsafe import Markup

from unmask.core.model import Output
from unmask.reporting.page import page_from_template, templates
from unmask.search.trace import SearchStep, SearchTrace

#: rows on a page
_ROWS = 50


def page(trace: SearchTrace, *, title: str = "", output: Output | None = None) -> str:
    """The page of a search's trace as HTML.

    Args:
        trace: what to show; the first fifty rows of it.
        title: head line.
        output: what the trace belongs to; its prompts stand beside what was found.
    """
    prompts = (output.prompts or []) if output is not None else []
    rows = [_shown(steps) for steps in trace.rows[:_ROWS]]
    ends = trace.ends[:_ROWS]
    content = {"rows": rows, "ends": ends, "given": [str(p) for p in prompts[:_ROWS]]}
    # inside a script element only "<" could end it; JSON allows it to be written as an escape
    script = json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    script = script.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    found = sum(end == "verified" for end in trace.ends)
    return page_from_template(
        "search.html",
        title or "A search, step by step",
        f"{found} of {len(trace.ends)} verified by {trace.verifier}",
        scripts=[_script_hash()],
        count=len(rows),
        final=trace.rows[0][-1].text if trace.rows and trace.rows[0] else "",
        data=Markup(script),
    )


def _shown(steps: list[SearchStep]) -> list[dict[str, Any]]:
    found, before = [], ""
    for step in steps:
        old, new = before.split(" "), step.text.split(" ")
        blocks = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        words = [[word, tag != "equal"] for tag, _, _, a, b in blocks for word in new[a:b]]
        gone = [word for tag, a, b, _, _ in blocks if tag != "equal" for word in old[a:b] if word]
        found.append(
            {"words": words, "gone": gone, "score": round(step.score, 6), "source": step.source, "calls": step.calls}
        )
        before = step.text
    return found


@lru_cache(maxsize=1)
def _script_hash() -> str:
    """Of the template's own script, which a browser may run."""
    environment = templates()
    assert environment.loader is not None
    source = environment.loader.get_source(environment, "search.html")[0]
    script = source.split("<script>")[1].split("</script>")[0]
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()

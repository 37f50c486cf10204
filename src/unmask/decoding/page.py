"""A trace as one self-contained page: no network, light and dark, wide and narrow, playable."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unmask.decoding.trace import EVENTS, GUESSES, Trace

#: columns of the page's events; the template's KEY counts on this order
COLUMNS = tuple(name for name in EVENTS if name != "time")


def render(
    trace: Trace, piece: Callable[[int], str] | None = None, *, rows: Sequence[int] | None = None, title: str = ""
) -> str:
    """The page as a string.

    Args:
        trace: what to show.
        piece: the spelling of one id; ids themselves when None. Whatever it gives is shown as text, never as markup.
        rows: rows to show; the first eight when None.
        title: head line.
    """
    import jinja2
    from markupsafe import Markup

    shown = trace.select(range(min(8, len(trace.start_BL))) if rows is None else rows)
    spell = piece or (lambda token: f"{token} ")
    data = shown.to_dict()
    events, guesses = _rows(data["events"], COLUMNS), _rows(data["guesses"], tuple(GUESSES))
    used = {v for line in data["start"] for v in line} | {e[4] for e in events} | {e[8] for e in events}
    used = (used | {g[3] for g in guesses}) - {-1, shown.mask_id}
    content = {
        "start": data["start"],
        "mask": shown.mask_id,
        "events": events,
        "guesses": guesses,
        "pieces": {str(token): spell(token) for token in sorted(used)},
    }
    # inside a script element only "<" could end it; JSON allows it to be written as an escape
    script = json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    script = script.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True)
    final = "".join(spell(v) for v in shown.replay()[0].tolist() if v != shown.mask_id)
    settings = ", ".join(f"{k} {v}" for k, v in shown.plan.items()) or "default plan"
    return environment.get_template("trace.html").render(
        policy=_policy((folder / "trace.html").read_text(encoding="utf-8")),
        title=title or "One unmasking, step by step",
        about=f"{len(events)} events in {int(shown.steps_B.max())} steps; {settings}",
        rows=len(shown.start_BL),
        final=final,
        data=Markup(script),
    )


def _policy(template: str) -> str:
    """What a browser may do with the page: run the template's own script, and load nothing."""
    script = template.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'"
    )


def _rows(columns: dict[str, list[Any]], wanted: Sequence[str]) -> list[list[Any]]:
    """Columns to rows, probabilities to six digits."""
    picked = [[round(v, 6) if isinstance(v, float) else v for v in columns[name]] for name in wanted]
    return [list(line) for line in zip(*picked, strict=True)]

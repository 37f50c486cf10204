"""A trace as one self-contained page: no network, light and dark, wide and narrow, playable."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from markupsafe import Markup

from unmask.core.model import Output
from unmask.decoding.trace import EVENTS, GUESSES, Trace
from unmask.reporting.page import page_from_template, templates

#: columns of the page's events; the template's KEY counts on this order
COLUMNS = tuple(name for name in EVENTS if name != "time")


def page(
    trace: Trace,
    piece: Callable[[int], str] | None = None,
    *,
    rows: Sequence[int] | None = None,
    title: str = "",
    output: Output | None = None,
) -> str:
    """The page of a sampler's trace as HTML: who was unmasked when.

    Args:
        trace: what to show.
        piece: the spelling of one id; that of the output's model, else ids themselves, when None. Whatever it gives is
            shown as text, never as markup.
        rows: rows to show; the first eight when None.
        title: head line.
        output: what the trace belongs to.
    """
    if piece is None and output is not None:
        piece = output.model.piece
    shown = trace.select(range(min(8, len(trace.start_BL))) if rows is None else rows)
    spell = piece or (lambda token: f"{token} ")
    data = shown.to_dict()
    events, guesses = _rows(data["events"], COLUMNS), _rows(data["guesses"], tuple(GUESSES))
    content = {
        "start": data["start"],
        "mask": shown.mask_id,
        "events": events,
        "guesses": guesses,
        "pieces": {str(token): spell(token) for token in sorted(shown.ids)},
    }
    # inside a script element only "<" could end it; JSON allows it to be written as an escape
    script = json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    script = script.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    final = "".join(spell(v) for v in shown.replay()[0].tolist() if v != shown.mask_id)
    settings = ", ".join(f"{k} {v}" for k, v in shown.plan.items()) or "default plan"
    return page_from_template(
        "trace.html",
        title or "One unmasking, step by step",
        f"{len(events)} events in {int(shown.steps_B.max())} steps; {settings}",
        scripts=[_script_hash()],
        rows=len(shown.start_BL),
        final=final,
        data=Markup(script),
    )


def spelling(tokenizer: Any, mask_id: int) -> Callable[[int], str]:
    """How one id of a tokenizer is shown in a trace: as its text, the ends and the padding as signs."""
    signs = {mask_id: "", tokenizer.pad_token_id: "·", tokenizer.eos_token_id: "⏎"}

    def piece(token: int) -> str:
        known = token in signs
        return signs[token] if known else str(tokenizer.decode([token], clean_up_tokenization_spaces=False))

    return piece


@lru_cache(maxsize=1)
def _script_hash() -> str:
    """Of the template's own script, which a browser may run."""
    environment = templates()
    assert environment.loader is not None
    source = environment.loader.get_source(environment, "trace.html")[0]
    script = source.split("<script>")[1].split("</script>")[0]
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()


def _rows(columns: dict[str, list[Any]], wanted: Sequence[str]) -> list[list[Any]]:
    """Columns to rows, probabilities to six digits."""
    picked = [[round(v, 6) if isinstance(v, float) else v for v in columns[name]] for name in wanted]
    return [list(line) for line in zip(*picked, strict=True)]

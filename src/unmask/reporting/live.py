"""A text being written, live in the terminal: hidden places as shade, doubtful tokens in colour."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from unmask.decoding.loop import Progress
from unmask.decoding.trace import Trace

Piece = Callable[[int], str]
HIDDEN = "░"


def show(trace: Trace, piece: Piece, *, row: int = 0, delay: float = 0.15, console: Console | None = None) -> None:
    """Replay one row of a trace in the terminal; elsewhere print its final state.

    Args:
        trace: what to show.
        piece: the spelling of one id.
        row: which row.
        delay: seconds a step.
        console: where to; standard output when None.
    """
    console = console or Console()
    one = trace.select([row])
    steps = int(one.steps_B[0])
    if not console.is_terminal:
        console.print(draw(one, piece, steps))
        return
    with Live(console=console, auto_refresh=False) as live:
        for step in range(steps + 1):
            live.update(draw(one, piece, step), refresh=True)
            if step < steps:
                time.sleep(delay)


def draw(trace: Trace, piece: Piece, steps: int, row: int = 0) -> Text:
    """One row after this many of its steps, as rich text. A token's text is shown, never read as markup."""
    chance: dict[int, float] = {}
    new: set[int] = set()
    events = trace.events
    mine = events["row"] == row
    for step, position, p in zip(*(events[c][mine].tolist() for c in ("step", "position", "probability")), strict=True):
        if step < steps:
            chance[position] = p
            if step == steps - 1:
                new.add(position)
    out = Text()
    out.append(f"step {steps:>3}  ", style="dim")
    for position, token in enumerate(trace.replay(steps)[row].tolist()):
        if token == trace.mask_id:
            out.append(HIDDEN, style="dim")
            continue
        p = chance.get(position)
        style = "dim" if p is None else "bold red" if p < 0.2 else "yellow" if p < 0.5 else ""
        out.append(_printable(piece(token)), style=f"{style} underline".strip() if position in new else style)
    return out


def live_callback(piece: Piece, row: int = 0, console: Console | None = None) -> Callable[[Progress], None]:
    """A callback for :func:`unmask.decoding.generate` that shows a row while it is written; needs a trace.

    The display opens with the first step and closes with the generation. Where the output is no terminal it stays
    silent.
    """
    console = console or Console(file=sys.stdout)
    live = Live(console=console, auto_refresh=False)

    def frame(trace: Trace) -> None:
        live.update(draw(trace, piece, int(trace.steps_B[row]), row), refresh=True)

    def call(progress: Progress) -> None:
        trace = progress.trace
        if trace is None or not console.is_terminal:
            return
        if not live.is_started:
            live.start()
            progress.at_end(live.stop)
            progress.at_end(lambda: frame(trace))  # before it stops: a row that ended is only then complete
        frame(trace)

    return call


def _printable(text: str) -> str:
    """Control characters as a dot: a token must not move the cursor."""
    return "".join(c if c.isprintable() or c == " " else "⏎" if c == "\n" else "·" for c in text)

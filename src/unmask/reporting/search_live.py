"""Searches under way, live in the terminal: a bar for the texts that are done, and the best hypotheses rising."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from unmask.search.loop import Ended, Rise

#: rows that are shown at a time
_SHOWN = 8


class SearchView:
    """A callback for searches that shows them; silent where the output is no terminal.

    Args:
        total: texts to be found.
        live: show the hypotheses too, not the bar alone.
        console: where to; standard error when None.
    """

    def __init__(self, total: int, live: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.verified = 0
        self._best: OrderedDict[int, Rise] = OrderedDict()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )
        self._task = self._bar.add_task("searching", total=total)
        self._rising = live
        self._live = Live(console=self.console, get_renderable=self.drawn, refresh_per_second=4)

    def __enter__(self) -> SearchView:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def __call__(self, event: Any) -> None:
        """Take in what has risen or ended."""
        if isinstance(event, Rise):
            self._best[event.row] = event
        elif isinstance(event, Ended):
            self._best.pop(event.row, None)
            self.verified += event.found.verified
            self._bar.update(self._task, advance=1, description=f"{self.verified} verified")

    def drawn(self) -> Group:
        """The bar and, one a row, the best hypotheses with their scores and calls."""
        lines = []
        for row, rise in list(self._best.items())[:_SHOWN] if self._rising else []:
            line = Text(f"{row:>5} {rise.hypothesis.score:.4f} {rise.calls:>5} ", style="dim")
            line.append("".join(c if c.isprintable() else "·" for c in rise.hypothesis.text), style="default")
            lines.append(line)
        return Group(*lines, self._bar)

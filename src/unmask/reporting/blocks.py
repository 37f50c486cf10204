"""Blocks of a tidal model as a page: what was drawn, in the order of drawing, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from unmask.decoding.tidal import BlockEvent, BlockTrace
from unmask.reporting.page import PageTable, Section, render_page


def page(trace: BlockTrace, *, output: Any = None) -> str:
    """The page of a tidal model's trace; ``output`` is what it belongs to, and is not needed."""
    return blocks_page(trace.events, trace.prompts, trace.texts, trace.names, trace.forwards)


def blocks_page(
    events: Iterable[BlockEvent],
    prompts: Sequence[str],
    texts: Sequence[str],
    name: Callable[[int], str],
    forwards: int,
) -> str:
    """A page with every block of every row.

    Args:
        events: in the order of writing.
        prompts, texts: of each row.
        name: of one id.
        forwards: passes through the network.
    """
    rows: list[list[Sequence[str]]] = [[] for _ in prompts]
    for event in events:
        chances = event.probabilities or [float("nan")] * len(event.ids)
        drawn = " ".join(name(i) if p != p else f"{name(i)} ({p:.2f})" for i, p in zip(event.ids, chances, strict=True))
        rows[event.row].append((str(event.number), f"{event.tokens} ({event.reused})", drawn, event.block))
    note = "Ids in the order of drawing, with their probability; prefix: its tokens, and those not read again."
    columns = ("block", "prefix", "drawn", "reads")
    sections = [
        Section(f"{prompt}{text}", [PageTable("Blocks", columns, cells, align="rrll", note=note)])
        for prompt, text, cells in zip(prompts, texts, rows, strict=True)
    ]
    return render_page("Block by block", sections, subtitle=f"{forwards} passes through the network")

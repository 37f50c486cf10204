"""Zebra puzzles: houses, attributes, symbolic clues. Ours beside the paper's table (arXiv 2502.06768, table 3).

Puzzles are our own, with the items as positions (:class:`unmask.data.puzzles.kinds.zebra_items.ZebraItems`): each asks
for its house, and the clues are relations between items (docs/decisions/0010: with the houses as positions the same
network stayed on its plateau).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from unmask.data.puzzles import Puzzle
from unmask.data.puzzles.kinds.zebra_items import ZebraItems
from unmask.experiments import puzzle_results, puzzle_table
from unmask.experiments.puzzle_causal import CausalShape
from unmask.experiments.puzzle_study import PuzzleStudy
from unmask.experiments.study import Effort, Page, Say
from unmask.families.puzzle.network import Shape
from unmask.families.puzzle.solving import pool

PAPER = (("Zebra", "80.31", "91.17", "76.9", "98.5", "98.3"),)
#: most houses and attributes
LARGEST = {"cpu": 4, "paper": 6}


def tests(scale: str) -> dict[str, Puzzle]:
    """Held-out puzzles: of every size, and of the largest one only."""
    most = LARGEST[scale]
    return {
        f"3x3 to {most}x{most}": ZebraItems(smallest=3, largest=most, side="test"),
        f"{most}x{most}": ZebraItems(smallest=most, largest=most, side="test"),
    }


def training_set(scale: str, arm: str, say: Say) -> Any:
    """Puzzles to train on; every one comes with the order in which it can be filled."""
    n = {"cpu": 100_000, "paper": 64_000}[scale]
    return pool(ZebraItems(smallest=3, largest=LARGEST[scale], side="train"), n, say=say)


STUDY = PuzzleStudy(
    name="zebra",
    title="Zebra puzzles",
    tests=tests,
    training_set=training_set,
    decoding_steps=16,
    # a head for each of the nine relations, and free ones
    shapes={
        "cpu": Shape(dim=120, layers=2, heads=10, ffn_dim=480, loops=4, input_injection=True, deep_supervision=True),
        "paper": Shape(dim=384, layers=11, heads=12, ffn_dim=1536, loops=1),
    },
    causal={"cpu": CausalShape(), "paper": CausalShape(dim=512, layers=13, heads=8)},
    steps={"cpu": 6_000, "paper": 60_000},
    batch={"cpu": 64, "paper": 512},
    paper=PAPER,
    about=(
        "Puzzles with one solution and no clue to spare, made by this project; train and test are disjoint up to "
        "symmetry. A puzzle counts as solved when every clue holds and every house has one value of each attribute."
    ),
    plotted="4x4",
    training={scale: {"time_power": 4.0} for scale in ("cpu", "paper")},
)


def measure(effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Train the arms and fill ``results``."""
    puzzle_table.measure(STUDY, effort, results, keep, say)


def page(results: Mapping[str, Any]) -> Page:
    """The page."""
    return puzzle_results.page(STUDY, results)

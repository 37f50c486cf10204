"""Sudoku: train for every mask, plan at inference. Ours beside the paper's table (arXiv 2502.06768, tables 2 and 4).

Boards are our own (:class:`unmask.data.puzzles.kinds.sudoku.Sudoku`): unique solutions, train and test disjoint up to
symmetry. The paper's are those of arXiv 2409.10502, so the two tables stand side by side and not on one scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from unmask.data.puzzles import Mixture, Puzzle
from unmask.data.puzzles.kinds.sudoku import Sudoku
from unmask.experiments import puzzle_results, puzzle_table
from unmask.experiments.puzzle_causal import CausalShape
from unmask.experiments.puzzle_study import PuzzleStudy
from unmask.experiments.study import Effort, Page, Say
from unmask.families.puzzle.network import Shape
from unmask.families.puzzle.solving import pool

#: the paper's accuracies, per cent
PAPER = (
    ("Sudoku", "9.73", "87.18", "6.88", "18.51", "89.49"),
    ("hard Sudoku", "-", "32.57", "3.62", "9.44", "49.88"),
)
FEWEST, MOST = 24, 40
#: most givens of the boards that the seven strategies do not solve
HARD_MOST = 28
#: how many of those the structure-aware network sees, and their share of every batch, by scale: docs/decisions/0010
HARD = {"cpu": (12_000, 0.5)}
#: few blocks, often applied, each time trained to answer: docs/decisions/0010
SMALL = Shape(layers=2, loops=4, input_injection=True, deep_supervision=True)


def tests(scale: str) -> dict[str, Puzzle]:
    """Held-out boards: 40, 32, 27 and 24 givens, and the ones that the seven human strategies do not solve."""
    kinds: dict[str, Puzzle] = {f"{n} givens": Sudoku(fewest=n, most=n, side="test") for n in (24, 27, 32, 40)}
    return {**kinds, "hard": Sudoku(fewest=FEWEST, most=HARD_MOST, side="test", grade="hard")}


def training_set(scale: str, arm: str, say: Say) -> Any:
    """Boards to train on.

    The arm in solver order needs boards with such an order, those that the strategies solve. The structure-aware
    network is past its plateau so soon that the hard boards are what is left: it sees more of them.
    """
    ordered = arm == "causal solver"
    n = {"cpu": 50_000 if ordered else 100_000, "paper": 300_000 if ordered else 200_000}[scale]
    kind: Puzzle = Sudoku(fewest=FEWEST, most=MOST, side="train")
    if ordered:
        kind = Sudoku(fewest=FEWEST, most=MOST, side="train", order=True, grade="easy")
    boards = pool(kind, n, say=say)
    if arm != "relations" or scale not in HARD:
        return boards
    number, share = HARD[scale]
    hard = Sudoku(fewest=FEWEST, most=HARD_MOST, side="train", grade="hard")
    return Mixture(boards, pool(hard, number, say=say), share)


STUDY = PuzzleStudy(
    name="sudoku",
    title="Sudoku",
    tests=tests,
    training_set=training_set,
    decoding_steps=24,
    shapes={"cpu": SMALL, "paper": Shape(dim=256, layers=8, heads=8, ffn_dim=1152, loops=1)},
    causal={"cpu": CausalShape(), "paper": CausalShape(dim=512, layers=13, heads=8)},
    steps={"cpu": 6_000, "paper": 6_000},
    batch={"cpu": 64, "paper": 512},
    paper=PAPER,
    about=(
        "9x9 boards with one solution, made by this project; train and test are disjoint up to symmetry. Training "
        f"boards have {FEWEST} to {MOST} givens, and every epoch shows new symmetric copies. *Hard* boards have "
        f"{FEWEST} to {HARD_MOST} givens and are not solved by the paper's seven human strategies. A board counts as "
        "solved when every rule holds and every given stands."
    ),
    plotted="27 givens",
    # the hardest questions, whole boards, are what solving starts with: docs/decisions/0010
    training={scale: {"time_power": 4.0} for scale in ("cpu", "paper")},
)


def measure(effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Train the arms and fill ``results``."""
    puzzle_table.measure(STUDY, effort, results, keep, say)


def page(results: Mapping[str, Any]) -> Page:
    """The page."""
    return puzzle_results.page(STUDY, results)

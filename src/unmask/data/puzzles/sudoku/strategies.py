"""How a person would solve a board: the order of cells under seven strategies, and a grade.

The seven are those of Shah et al. (arXiv 2409.10502): lone single, hidden single, naked pair, naked triplet, locked
candidate, XY-wing, unique rectangle. A board that they do not solve is *hard* (the hard set of Kim et al., arXiv
2502.06768).
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.core.errors import MissingExtra, UsageError
from unmask.data.puzzles.sudoku.solve import Boards
from unmask.data.puzzles.sudoku.text import text

#: from easy to hard; 0 is a given
STRATEGIES = (
    "given",
    "lone single",
    "hidden single",
    "naked pair",
    "naked triplet",
    "locked candidate",
    "xy-wing",
    "unique rectangle",
)

#: rank of a cell that the seven strategies do not reach
UNREACHED = 255

_NAMES = {
    "Naked Single": 1,
    "Hidden Single": 2,
    "Naked Pair": 3,
    "Naked Triple": 4,
    "Pointing Candidates": 5,
    "Claiming Candidates": 5,
    "Y-Wing": 6,
    "Unique Rectangle": 7,
}


@dataclass(frozen=True)
class Path:
    """The way through a board.

    Attributes:
        rank_C: 0 for a given, then 1, 2, ... in the order of filling; 255 where the seven do not reach.
        strategy_C: for each filled cell the hardest strategy (index into ``STRATEGIES``) used since the cell before.
        solved: every cell was reached.
    """

    rank_C: NDArray[np.uint8]
    strategy_C: NDArray[np.uint8]
    solved: bool


@lru_cache(maxsize=1)
def _solver() -> tuple[Any, Any]:
    try:
        import dedoku
        from dedoku import techniques as t
    except ImportError as error:
        raise MissingExtra("solver orders need the package dedoku: pip install 'unmask[puzzles]'") from error
    pipeline = [
        t.NakedSingle(),
        t.HiddenSingle(),
        t.NakedPair(),
        t.NakedTriple(),
        t.PointingCandidates(),
        t.ClaimingCandidates(),
        t.YWing(),
        t.UniqueRectangle(),
    ]
    return dedoku.SudokuSolver(pipeline), dedoku.Grid


def path(board_C: Boards) -> Path:
    """The order in which the seven strategies, easiest first, fill a 9x9 board with one solution.

    Raises:
        UsageError: not a 9x9 board, or a board that contradicts itself.
        MissingExtra: dedoku is not installed.
    """
    if board_C.size != 81:
        raise UsageError(f"solver orders are known for 9x9 boards only; this board has {board_C.size} cells")
    solver, grid = _solver()
    import dedoku

    try:
        result = solver.solve(grid.from_string(text(board_C)))
    except (dedoku.ContradictionError, dedoku.InvalidGridError) as error:
        raise UsageError(f"the board {text(board_C)} contradicts itself: {error}") from error
    rank = np.where(board_C > 0, 0, UNREACHED).astype(np.uint8)
    strategy = np.zeros(81, dtype=np.uint8)
    filled, hardest = 0, 0
    for step in result.steps:
        hardest = max(hardest, _NAMES[step.technique])
        for row, column, _ in step.placements:
            filled += 1
            rank[row * 9 + column], strategy[row * 9 + column] = filled, hardest
            hardest = 0
    return Path(rank, strategy, bool(result.solved))


#: run apart: the grader heeds no limit on boards that need search, and only a process can be stopped
_RATE = "import json, sys, pencilmark as p; c = p.rate(sys.argv[1]); print(json.dumps([c['difficulty'], c['band']]))"


def grade(board_C: Boards, seconds: float = 60.0) -> tuple[float, str]:
    """Difficulty (larger is harder) and band ("Very Easy" to "Extreme") by the grader pencilmark.

    It takes about a second for a board that singles fill and up to 20 for one that the seven strategies do not solve.

    Args:
        board_C: digits, 0 for a blank.
        seconds: give up after so long; boards that need search may take minutes.

    Raises:
        MissingExtra: pencilmark is not installed.
        UsageError: not graded in time, or not a board with one solution.
    """
    if importlib.util.find_spec("pencilmark") is None:
        raise MissingExtra("grades need the package pencilmark: pip install 'unmask[puzzles]'")
    board = text(board_C)
    try:
        done = subprocess.run([sys.executable, "-c", _RATE, board], capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"the board {board} is not graded after {seconds:g} seconds: give it more") from error
    if done.returncode:
        raise UsageError(f"the board {board} cannot be graded: {(done.stderr.splitlines() or ['no reason given'])[-1]}")
    difficulty, band = json.loads(done.stdout)
    return float(difficulty), str(band)

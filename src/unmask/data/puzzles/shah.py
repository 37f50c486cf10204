"""Reader of the sudoku files of Shah et al. (arXiv 2409.10502), for users who have them.

As the authors' repository (kulinshah98/llm-reasoning-logic-puzzles) says and its evaluation reads them,
``sudoku-train-data.npy`` and ``sudoku-test-data.npy`` hold an integer array [boards, 325]: the number of givens, then
81 groups of four: row (0-8), column (0-8), value (1-9), strategy. The first groups are the givens, the others the cells
in solver order. Every row is checked against that. A strategy's number is that of ``STRATEGIES`` (sudoku/strategies.py)
plus one, and 0 for a given. The zebra files are not read: they are pickles, which may run anything, and the words of
their clues are not documented.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.core.errors import UsageError
from unmask.data.puzzles.puzzle import PuzzleBatch
from unmask.data.puzzles.sudoku.solve import valid

COLUMNS = 1 + 4 * 81


def read_shah(path: str | Path, start: int = 0, stop: int | None = None) -> tuple[PuzzleBatch, NDArray[np.int64]]:
    """Boards ``start`` to ``stop`` of one file, memory-mapped and validated.

    Returns:
        The boards with the file's solver order as rank, and the strategy of each cell [B, 81] as the file numbers it.

    Raises:
        UsageError: the file is missing, is no such array, or a row breaks an assumption (the first such row is named).
    """
    file = Path(path)
    try:
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise UsageError(f"{file} does not exist: name one of the .npy files of arXiv 2409.10502") from error
    except (OSError, EOFError, ValueError) as error:
        raise UsageError(f"{file} is no plain .npy array of numbers: {error}") from error
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "iuf":
        raise UsageError(f"{file} is no plain .npy array of numbers; name one of the files of arXiv 2409.10502")
    if rows.ndim != 2 or rows.shape[1] != COLUMNS:
        raise UsageError(
            f"{file} has shape {rows.shape}, but {COLUMNS} columns are expected: 1 + 4 for each of 81 cells"
        )
    part = np.asarray(rows[start:stop])
    if not np.array_equal(part, part.astype(np.int64)):
        raise UsageError(f"{file} holds numbers that are not whole, so it is no file of boards")
    part = part.astype(np.int64)
    givens, steps = part[:, 0], part[:, 1:].reshape(-1, 81, 4)
    row, column, value, strategy = (steps[:, :, i] for i in range(4))

    def demand(good_B: NDArray[np.bool_] | np.bool_, what: str) -> None:
        if not np.all(good_B):
            raise UsageError(f"row {start + int(np.argmin(good_B))} of {file} {what}")

    demand((givens >= 1) & (givens <= 81), "has a number of givens outside 1 to 81 in column 0")
    inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) <= 8)
    demand(inside.all(axis=1), "names a cell outside rows and columns 0 to 8")
    cell = row * 9 + column
    demand((np.sort(cell, axis=1) == np.arange(81)).all(axis=1), "does not name every cell exactly once")
    demand(((value >= 1) & (value <= 9)).all(axis=1), "has a value outside 1 to 9")
    place = cell.argsort(axis=1)
    answer, kind = (np.take_along_axis(x, place, axis=1) for x in (value, strategy))
    demand(valid(answer.astype(np.uint8)), "is no solved board: a row, column or box repeats a digit")
    given = place < givens[:, None]
    rank = np.where(given, 0, place - givens[:, None] + 1)
    return PuzzleBatch(torch.from_numpy(answer), torch.from_numpy(given), torch.from_numpy(rank)), kind

"""Sudoku."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.data.puzzles import relations
from unmask.data.puzzles.puzzle import Puzzle, PuzzleBatch
from unmask.data.puzzles.split import TEST_ONE_IN, check_side
from unmask.data.puzzles.sudoku.generate import dig, grids, target_givens
from unmask.data.puzzles.sudoku.layout import Layout
from unmask.data.puzzles.sudoku.solve import Boards, by_singles, valid
from unmask.data.puzzles.sudoku.strategies import path
from unmask.data.puzzles.sudoku.symmetry import Symmetry, for_test
from unmask.data.puzzles.sudoku.text import draw, parse, solution

GRADES = ("any", "easy", "hard")
#: boards generated at a time; NumPy's cost per call is small beside the work there
_CHUNK = 4096


@dataclass(frozen=True)
class Sudoku(Puzzle):
    """Boards of our own with exactly one solution; tokens are the digits, 0 (blank) is the mask.

    A million with 24 to 40 givens takes one core less than half an hour (docs/benchmarks/puzzles.md has every kind);
    symmetric copies (:meth:`augment`) multiply them in training.

    Attributes:
        size: 9, or 6 and 4 for the minis.
        fewest, most: range of the number of givens, both included; 0 and 0 for minimal boards (no given can be spared).
        side: ``train`` or ``test`` (disjoint up to symmetry, whatever the seeds), or ``any``.
        grade: ``easy`` (solved by the seven strategies), ``hard`` (not solved by them) or ``any``; 9x9 only.
        order: also find the solver order (slower; easy and hard boards need it anyway); 9x9 only.
    """

    reference: ClassVar[str] = "arXiv 2502.06768"
    relation_names: ClassVar[tuple[str, ...]] = relations.SUDOKU

    size: int = 9
    fewest: int = 0
    most: int = 0
    side: str = "any"
    grade: str = "any"
    order: bool = False

    def __post_init__(self) -> None:
        Layout(self.size)
        check_side(self.side)
        if self.grade not in GRADES:
            raise UsageError(f"grade={self.grade!r} must be one of {', '.join(GRADES)}")
        if self.size != 9 and (self.grade != "any" or self.order):
            raise UsageError(f"solver orders and grades are for 9x9 boards only, not size={self.size}")
        target_givens(self.layout, self.givens, 0, np.random.default_rng(0))

    @classmethod
    def examples(cls) -> list[Any]:
        easy = cls(fewest=28, most=28, grade="easy")
        return [cls(fewest=30, most=34), cls(size=4), cls(size=6, fewest=12, most=14), easy]

    @property
    def layout(self) -> Layout:
        return Layout(self.size)

    @property
    def givens(self) -> tuple[int, int] | None:
        return (self.fewest, self.most) if self.fewest or self.most else None

    @property
    def length(self) -> int:
        return self.layout.cells

    @property
    def vocab_size(self) -> int:
        return self.size + 1

    def sample(self, n: int, rng: np.random.Generator) -> PuzzleBatch:
        """``n`` new boards; those that miss the side, the number of givens or the grade are replaced.

        Raises:
            UsageError: no board is asked for, or hardly any random board is what was asked for.
        """
        if n < 1:
            raise UsageError(f"n={n} boards cannot be made: ask for one or more")
        found: list[tuple[Boards, ...]] = []
        tried = 0
        while (missing := n - sum(len(f[0]) for f in found)) > 0:
            if tried >= 5 * _CHUNK and n - missing < tried / 2000:
                raise UsageError(f"only {n - missing} of {tried} random boards fit {self}: ask for something less rare")
            draw = missing * TEST_ONE_IN if self.side == "test" else missing + missing // 8 + 8
            grid = grids(self.layout, min(_CHUNK, draw), rng)
            if self.size == 9:
                grid = grid[self._on_side(grid, None)]
            tried += len(grid)
            target = target_givens(self.layout, self.givens, len(grid), rng)
            given = dig(grid, target, rng)
            kept = (given.sum(axis=1) == target) | (target == 0)
            grid, given = grid[kept], given[kept]
            if self.size != 9:
                kept = self._on_side(grid, given)
                grid, given = grid[kept], given[kept]
            if self.order or self.grade != "any":
                found.append(self._graded(grid, given))
            else:
                found.append((grid, given.astype(np.uint8)))
        planes = [torch.from_numpy(np.concatenate(plane)[:n]).long() for plane in zip(*found, strict=True)]
        return PuzzleBatch(planes[0], planes[1].bool(), planes[2] if len(planes) > 2 else None)

    def _on_side(self, grid: Boards, given: np.ndarray | None) -> np.ndarray:
        if self.side == "any":
            return np.ones(len(grid), dtype=bool)
        return for_test(self.layout, grid, given) == (self.side == "test")

    def _graded(self, grid: Boards, given: np.ndarray) -> tuple[Boards, ...]:
        board = np.where(given, grid, 0).astype(np.uint8)
        if self.grade == "hard":
            # singles are two of the seven strategies: what they fill is not hard, and need not be solved step by step
            open_ = ~by_singles(board)
            grid, given, board = grid[open_], given[open_], board[open_]
        paths = [path(one) for one in board]
        wanted = {"any": (True, False), "easy": (True,), "hard": (False,)}[self.grade]
        rows = np.array([i for i, p in enumerate(paths) if p.solved in wanted], dtype=np.int64)
        rank = np.array([p.rank_C for p in paths], dtype=np.uint8).reshape(-1, self.length)
        return grid[rows], given[rows].astype(np.uint8), rank[rows]

    def relations(self, x_BL: Tensor) -> Tensor:
        return relations.sudoku_relations(self.layout).to(x_BL.device)

    def obeys(self, x_BL: Tensor) -> Tensor:
        inside = torch.where((x_BL >= 0) & (x_BL <= self.size), x_BL, 0)
        return torch.from_numpy(valid(inside.cpu().numpy().astype(np.uint8))).to(x_BL.device)

    def augment(self, batch: PuzzleBatch, rng: np.random.Generator) -> PuzzleBatch:
        symmetry = Symmetry.random(self.layout, len(batch), rng)
        answer = torch.from_numpy(symmetry.apply(batch.answer_BL.numpy().astype(np.uint8))).long()
        given = torch.from_numpy(symmetry.move(batch.given_BL.numpy()))
        rank = None if batch.rank_BL is None else torch.from_numpy(symmetry.move(batch.rank_BL.numpy()))
        return PuzzleBatch(answer, given, rank)

    def read(self, text: str) -> PuzzleBatch:
        """The board in ``text`` with its solution; the board's own size counts, its number of givens is free."""
        board = parse(text)
        if board.size != self.length:
            raise UsageError(f"this board has {board.size} cells, but the puzzle is {self.size}x{self.size}")
        answer = torch.from_numpy(solution(board)).long()[None]
        given = torch.from_numpy(board > 0)[None]
        rank = torch.from_numpy(path(board).rank_C).long()[None] if self.order else None
        return PuzzleBatch(answer, given, rank)

    def show(self, x_L: Tensor) -> str:
        return draw(x_L.cpu().numpy().astype(np.uint8))

    def place_name(self, position: int) -> str:
        return self.layout.name(position)

    def value_name(self, token: int) -> str:
        return str(token)

    @property
    def box(self) -> tuple[int, int]:
        return self.layout.box

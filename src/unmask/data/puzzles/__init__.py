"""Puzzles: sudoku, zebra puzzles and latents-and-observations, seeded and exact."""

from unmask.data.puzzles.mixture import Mixture
from unmask.data.puzzles.puzzle import MASK, PUZZLES, Puzzle, PuzzleBatch
from unmask.data.puzzles.shards import Shards, build

__all__ = ["MASK", "PUZZLES", "Mixture", "Puzzle", "PuzzleBatch", "Shards", "build"]

"""Solvers of puzzles: Sudoku, Zebra and whatever else :mod:`unmask.data.puzzles` makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unmask.core.family import Family, Place
from unmask.core.model import Model


@dataclass(frozen=True)
class PuzzleFamily(Family):
    """A denoiser that knows its puzzle; ``unmask experiment`` trains it."""

    reference: ClassVar[str] = "arXiv 2502.06768"

    @classmethod
    def detect(cls, place: Place) -> str | None:
        return "it holds puzzle.json" if "puzzle.json" in place.files else None

    @classmethod
    def load(cls, place: Place, device: torch.device) -> Model:
        from unmask.families.puzzle.model import PuzzleModel
        from unmask.families.puzzle.network import load

        assert place.folder is not None
        denoiser, card = load(place.folder, device)
        return PuzzleModel(denoiser, card, path=place.name)

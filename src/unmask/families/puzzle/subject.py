"""A puzzle model for the diagnosis: a row is the hidden cells of a board, and the rest of the board its condition.

Every question about a masked model is then asked of what training hides, and of nothing else: the given cells are never
hidden, asked for or scored. All rows have as many cells as the board with the fewest hidden ones; what else a board
hides is shown too, as it is half-way through a solution.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body
from unmask.core.random import Stream, uniform
from unmask.data.puzzles import PuzzleBatch
from unmask.decoding.plan import DecodingPlan
from unmask.diagnosis.native import NativeSubject, masking_process_of
from unmask.diagnosis.subject import Batch
from unmask.diagnosis.wrapper import Through
from unmask.families.puzzle.network import PuzzleCard, PuzzleDenoiser, load, save


class CellDenoiser(Through):
    """A denoiser of a board's hidden cells [B, K]; its condition is the board [B, L], 0 at these cells."""

    def __init__(self, inner: PuzzleDenoiser) -> None:
        super().__init__(inner)
        self.net = inner
        self.max_length, self.conditional = None, True

    def parameters(self) -> Iterator[Tensor]:
        return self.net.parameters()

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        assert cond is not None  # a row of cells without its board is none
        board_BL = cond.latent_BZ.to(x_BL.device).long()
        cell_BK = cells(board_BL, x_BL.shape[1])
        h_BLD = self.net.body(board_BL.scatter(1, cell_BK, x_BL)).h_BLD
        return Body(h_BLD.gather(1, cell_BK[..., None].expand(-1, -1, h_BLD.shape[-1])))


class PuzzleSubject(NativeSubject):
    """A puzzle model.

    Args:
        net: the network with its puzzle. card: what it was trained on.
        held_out: boards with their answers; train: boards of the training side, for counts and memorisation.
        plan: how cells are filled in, one attempt.
        path: the folder that it was loaded from. notes: what a reader has to be told of the boards.
    """

    ragged = False

    def __init__(
        self,
        net: PuzzleDenoiser,
        card: PuzzleCard,
        held_out: PuzzleBatch,
        train: PuzzleBatch | None = None,
        *,
        plan: DecodingPlan | None = None,
        path: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        count = min(int((~part.given_BL).sum(1).min()) for part in (held_out, train) if part is not None)
        super().__init__(
            CellDenoiser(net),
            rows_of(held_out, count),
            None if train is None else rows_of(train, count),
            law=masking_process_of(card.trained),
            plan=plan,
            name=Path(path).name if path else "model",
            path=path,
        )
        self.net, self.card = net, card
        # a board is no semantic vector: there is no null to train, and guidance is not offered
        self.conditional = False
        self.settings.pop("guidance", None)
        self.asks_reference = net.puzzle.one_answer
        if net.puzzle.one_answer:
            # a model that finds it writes the same whatever is set
            self.skipped = {**self.skipped, **dict.fromkeys(self.settings, "a board has one answer")}
            self.settings = {}
        self.notes = (f"A row is {count} hidden cells of a board; the rest of the board is shown.", *notes)

    def obeys(self, batch: Batch, ids_BL: Tensor) -> Tensor:
        assert batch.cond is not None  # a row of cells without its board is none
        board_BL = batch.cond.latent_BZ.to(ids_BL.device).long()
        return self.net.puzzle.obeys(board_BL.scatter(1, cells(board_BL, ids_BL.shape[1]), ids_BL))

    def weights(self) -> dict[str, Tensor]:
        return self.net.used()

    def reloaded(self) -> dict[str, Tensor]:
        if self.path is not None:
            return load(self.path, self.device)[0].used()
        with tempfile.TemporaryDirectory() as folder:
            save(self.net, self.card, folder)
            return load(folder, self.device)[0].used()


def rows_of(batch: PuzzleBatch, count: int) -> Batch:
    """``count`` hidden cells of each board, drawn by its number, with the rest of the board as condition."""
    place_L = torch.arange(batch.answer_BL.shape[1])
    noise_BL = uniform(0, torch.arange(len(batch))[:, None], place_L, Stream.SHUFFLE).masked_fill(batch.given_BL, 2.0)
    chosen_BL = noise_BL.argsort(1).argsort(1) < count
    board_BL = batch.answer_BL.masked_fill(chosen_BL, 0)
    return Batch(batch.answer_BL[chosen_BL].view(-1, count), Condition.of(board_BL.float()))


def cells(board_BL: Tensor, count: int) -> Tensor:
    """Places [B, K] of a board's hidden cells, from left to right."""
    return (board_BL == 0).long().argsort(dim=1, descending=True, stable=True)[:, :count].sort(1).values

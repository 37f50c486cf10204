"""Rows being written: what is masked, which block is open, and how far each row has come.

Shapes: R rows still being written, L length (docs/notation.md). Everything a row knows is its own: its block, its
step, its clock. That is why a row gives the same tokens alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from unmask.core.random import Stream, uniform


@dataclass
class SamplerState:
    """The live rows of a generation; finished ones are taken out with :meth:`keep`.

    Attributes:
        mask_id: the id of a masked position.
        block_length: tokens to be written a block.
        seed: names the noise, with ``id_R``, ``tick_R`` and ``place_RL``.
        x_RL: ids.
        fill_RL: positions that are written; all others are given and never touched.
        place_RL: index among the positions that exist, so that padding on either side does not change a row's noise.
        rank_RL: how many positions to be written stand before this one.
        row_R: index of the row in the batch.
        id_R: name of the row in the noise.
        total_R: positions to be written.
        budget_R: steps for the whole row.
        block_R: block being written.
        step_R: steps made in this block.
        tick_R: steps made in all blocks.
        time_R: fp64 clock of the sampler, 1 at the start and 0 at the end of a block.
        score_RL: fp64, the order's score a position had when it was written.
        chance_RL: fp64, the probability its value had when it was written.
    """

    mask_id: int
    block_length: int
    seed: int
    x_RL: Tensor
    fill_RL: Tensor
    place_RL: Tensor
    rank_RL: Tensor
    row_R: Tensor
    id_R: Tensor
    total_R: Tensor
    budget_R: Tensor
    block_R: Tensor
    step_R: Tensor
    tick_R: Tensor
    time_R: Tensor
    score_RL: Tensor
    chance_RL: Tensor
    _found: dict[str, tuple[tuple[Tensor, ...], Tensor]] = field(default_factory=dict, repr=False)

    @classmethod
    def start(
        cls,
        x_BL: Tensor,
        fill_BL: Tensor,
        valid_BL: Tensor,
        ids_B: Tensor,
        *,
        mask_id: int,
        seed: int,
        steps: int | None,
        block_length: int | None,
    ) -> SamplerState:
        """Hide what is to be written.

        Args:
            steps: for the whole row; as many as there are positions to write when None.
            block_length: the whole row is one block when None.
        """
        B, L = x_BL.shape
        total_B = fill_BL.sum(1)
        zero_B = torch.zeros_like(total_B)
        blank_BL = torch.zeros(B, L, dtype=torch.float64, device=x_BL.device)
        return cls(
            mask_id=mask_id,
            block_length=L if block_length is None else block_length,
            seed=seed,
            x_RL=x_BL.masked_fill(fill_BL, mask_id),
            fill_RL=fill_BL,
            place_RL=valid_BL.long().cumsum(1) - 1,
            rank_RL=fill_BL.long().cumsum(1) - 1,
            row_R=torch.arange(B, device=x_BL.device),
            id_R=ids_B,
            total_R=total_B,
            budget_R=total_B if steps is None else torch.full_like(total_B, steps),
            block_R=zero_B,
            step_R=zero_B.clone(),
            tick_R=zero_B.clone(),
            time_R=torch.ones(B, dtype=torch.float64, device=x_BL.device),
            score_RL=blank_BL,
            chance_RL=blank_BL.clone(),
        )

    def __len__(self) -> int:
        return len(self.row_R)

    def keep(self, rows: Tensor) -> SamplerState:
        """Only these rows (indices or a mask)."""
        changed = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "_found"}
        return SamplerState(**{k: v[rows] if isinstance(v, Tensor) else v for k, v in changed.items()})

    def _once(self, name: str, make: Callable[[], Tensor], *of: Tensor) -> Tensor:
        """What was made of the same tensors before: fields are replaced, never changed in place."""
        kept = self._found.get(name)
        if kept is None or any(a is not b for a, b in zip(kept[0], of, strict=True)):
            kept = self._found[name] = (of, make())
        return kept[1]

    # -- what is masked ---------------------------------------------------------------------------------------------
    @property
    def inside_RL(self) -> Tensor:
        """Positions to be written that belong to the row's open block."""

        def make() -> Tensor:
            rank_RL = self.rank_RL - (self.block_R * self.block_length)[:, None]
            return self.fill_RL & (rank_RL >= 0) & (rank_RL < self.block_length)

        return self._once("inside", make, self.block_R)

    @property
    def masked_RL(self) -> Tensor:
        """Positions still to be written, in any block."""
        return self.fill_RL & (self.x_RL == self.mask_id)

    @property
    def open_RL(self) -> Tensor:
        """Positions that may be written now: masked, in the open block."""
        return self._once("open", lambda: self.inside_RL & (self.x_RL == self.mask_id), self.block_R, self.x_RL)

    @property
    def fraction_R(self) -> Tensor:
        """Hidden share of what is to be written, fp32: the denoiser's time."""
        return (self.masked_RL.sum(1) / self.total_R.clamp(min=1)).float()

    # -- how far --------------------------------------------------------------------------------------------------
    @property
    def size_R(self) -> Tensor:
        """Positions to be written in the open block."""
        return (self.total_R - self.block_R * self.block_length).clamp(min=0, max=self.block_length)

    @property
    def steps_R(self) -> Tensor:
        """Steps of the open block: the row's steps shared out by length, at least one a block."""

        def make() -> Tensor:
            total_R = self.total_R.clamp(min=1)
            first_R = self.block_R * self.block_length
            last_R = first_R + self.size_R
            return (self.budget_R * last_R // total_R - self.budget_R * first_R // total_R).clamp(min=1)

        return self._once("steps", make, self.block_R)

    def advance(self, rows_R: Tensor) -> None:
        """Count one step for these rows (a mask)."""
        self.step_R = self.step_R + rows_R
        self.tick_R = self.tick_R + rows_R

    def next_block(self, rows_R: Tensor) -> None:
        """Open the next block of these rows (a mask) and set their clock back."""
        self.block_R = self.block_R + rows_R
        self.step_R = self.step_R.masked_fill(rows_R, 0)
        self.time_R = self.time_R.masked_fill(rows_R, 1.0)

    def reopen(self) -> None:
        """Go back to the first block in which something is masked; there, all of it is due."""
        masked_RL = self.masked_RL
        rank_R = self.rank_RL.masked_fill(~masked_RL, self.x_RL.shape[1]).amin(1)
        back_R = masked_RL.any(1) & (rank_R // self.block_length < self.block_R)
        self.block_R = torch.where(back_R, rank_R // self.block_length, self.block_R)
        self.step_R = torch.where(back_R, self.steps_R, self.step_R)

    @property
    def finished_R(self) -> Tensor:
        """Rows with no block left."""
        return self._once("finished", lambda: self.block_R * self.block_length >= self.total_R, self.block_R)

    # -- noise ------------------------------------------------------------------------------------------------------
    def uniform_RL(self, stream: Stream) -> Tensor:
        """fp64 uniforms, one a position, named by seed, row, the row's own step, place and stream."""
        return uniform(self.seed, self.id_R[:, None], self.tick_R[:, None], self.place_RL, stream)

    def uniform_N(self, row_N: Tensor, col_N: Tensor, stream: Stream) -> Tensor:
        """The same numbers at some positions."""
        return uniform(self.seed, self.id_R[row_N], self.tick_R[row_N], self.place_RL[row_N, col_N], stream)

    def uniform_R(self, stream: Stream) -> Tensor:
        """fp64 uniforms, one a row and step."""
        return uniform(self.seed, self.id_R, self.tick_R, -1, stream)

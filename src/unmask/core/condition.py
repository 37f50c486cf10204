"""What a conditional denoiser is told: a semantic vector a row, and whether the row has one at all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.errors import WrongUse


@dataclass(frozen=True)
class Condition:
    """A semantic vector for each row; rows without one get the model's *trained* null condition.

    Attributes:
        latent_BZ: the vectors, as the encoder gave them (whitening and bottleneck belong to the model).
        present_B: False where the row is unconditional; its vector is ignored.
    """

    latent_BZ: Tensor
    present_B: Tensor

    def __post_init__(self) -> None:
        if self.latent_BZ.ndim != 2 or self.present_B.shape != self.latent_BZ.shape[:1]:
            raise WrongUse(
                f"a condition needs latents [B, Z] and present [B], got {tuple(self.latent_BZ.shape)} "
                f"and {tuple(self.present_B.shape)}"
            )

    @classmethod
    def of(cls, latent_BZ: Tensor) -> Condition:
        """Every row conditional."""
        return cls(latent_BZ, torch.ones(len(latent_BZ), dtype=torch.bool, device=latent_BZ.device))

    @classmethod
    def null(cls, batch: int, width: int, device: torch.device | str | None = None) -> Condition:
        """Every row unconditional."""
        return cls(torch.zeros(batch, width, device=device), torch.zeros(batch, dtype=torch.bool, device=device))

    def __len__(self) -> int:
        return len(self.latent_BZ)

    def __getitem__(self, rows: Tensor | slice) -> Condition:
        return Condition(self.latent_BZ[rows], self.present_B[rows])

    def drop(self, drop_B: Tensor) -> Condition:
        """The same condition with the rows of ``drop_B`` made unconditional (training for guidance)."""
        return Condition(self.latent_BZ, self.present_B & ~drop_B)

    def nulled(self) -> Condition:
        """The same rows, all unconditional: the second branch of guidance."""
        return Condition(self.latent_BZ, torch.zeros_like(self.present_B))

    def cat(self, other: Condition) -> Condition:
        """Rows of ``self``, then rows of ``other``."""
        return Condition(torch.cat([self.latent_BZ, other.latent_BZ]), torch.cat([self.present_B, other.present_B]))

    def repeat(self, times: int) -> Condition:
        """Each row ``times`` times, neighbours together."""
        return Condition(self.latent_BZ.repeat_interleave(times, 0), self.present_B.repeat_interleave(times, 0))

    def to(self, device: torch.device | str) -> Condition:
        return Condition(self.latent_BZ.to(device), self.present_B.to(device))

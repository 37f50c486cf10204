"""What a conditional denoiser is conditioned on: a semantic vector a row, and whether the row has one at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.core.errors import UsageError


@dataclass(frozen=True)
class Condition:
    """A semantic vector for each row; rows without one get the model's *trained* null condition.

    Attributes:
        latent_BZ: the vectors, as the encoder gave them (whitening and bottleneck belong to the model).
        present_B: False where the row is unconditional; its vector is ignored.
        noise_BC: standard normal noise of a variational bottleneck in training; the bottleneck draws its own when None.
    """

    latent_BZ: Tensor
    present_B: Tensor
    noise_BC: Tensor | None = None

    def __post_init__(self) -> None:
        if self.latent_BZ.ndim != 2 or self.present_B.shape != self.latent_BZ.shape[:1]:
            raise UsageError(
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
        return self._of(self.latent_BZ[rows], self.present_B[rows], lambda noise: noise[rows])

    def drop(self, drop_B: Tensor) -> Condition:
        """The same condition with the rows of ``drop_B`` made unconditional (training for guidance)."""
        return replace(self, present_B=self.present_B & ~drop_B)

    def nulled(self) -> Condition:
        """The same rows, all unconditional: the second branch of guidance."""
        return replace(self, present_B=torch.zeros_like(self.present_B))

    def cat(self, other: Condition) -> Condition:
        """Rows of ``self``, then rows of ``other``."""
        noise = None
        if self.noise_BC is not None and other.noise_BC is not None:
            noise = torch.cat([self.noise_BC, other.noise_BC])
        return Condition(
            torch.cat([self.latent_BZ, other.latent_BZ]), torch.cat([self.present_B, other.present_B]), noise
        )

    def repeat(self, times: int) -> Condition:
        """Each row ``times`` times, neighbours together."""
        latent_BZ, present_B = (x.repeat_interleave(times, 0) for x in (self.latent_BZ, self.present_B))
        return self._of(latent_BZ, present_B, lambda noise: noise.repeat_interleave(times, 0))

    def to(self, device: torch.device | str) -> Condition:
        return self._of(self.latent_BZ.to(device), self.present_B.to(device), lambda noise: noise.to(device))

    def _of(self, latent_BZ: Tensor, present_B: Tensor, noise: Callable[[Tensor], Tensor]) -> Condition:
        return Condition(latent_BZ, present_B, None if self.noise_BC is None else noise(self.noise_BC))

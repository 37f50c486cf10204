"""What a conditional denoiser is conditioned on: a semantic vector a row, and whether the row has one at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

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
        hypothesis_BL: for a corrector, ids of a text that was written before for each vector, padding behind it; a row
            of padding alone has none. Unconditional rows do not see theirs.
        hypothesis_latent_BZ: the vectors of those texts.
    """

    latent_BZ: Tensor
    present_B: Tensor
    noise_BC: Tensor | None = None
    hypothesis_BL: Tensor | None = None
    hypothesis_latent_BZ: Tensor | None = None

    def __post_init__(self) -> None:
        if self.latent_BZ.ndim != 2 or self.present_B.shape != self.latent_BZ.shape[:1]:
            raise UsageError(
                f"a condition needs latents [B, Z] and present [B], got {tuple(self.latent_BZ.shape)} "
                f"and {tuple(self.present_B.shape)}"
            )
        ids, vectors = self.hypothesis_BL, self.hypothesis_latent_BZ
        if (ids is None) != (vectors is None):
            raise UsageError("a hypothesis needs its ids and its vector: give both or neither")
        if ids is not None and vectors is not None:
            if ids.ndim != 2 or len(ids) != len(self) or vectors.shape != self.latent_BZ.shape:
                raise UsageError(
                    f"hypotheses need ids [B, L] and vectors as the latents {tuple(self.latent_BZ.shape)}, got "
                    f"{tuple(ids.shape)} and {tuple(vectors.shape)}"
                )

    @classmethod
    def of(cls, latent_BZ: Tensor) -> Condition:
        """A condition in which every row has its semantic vector."""
        return cls(latent_BZ, torch.ones(len(latent_BZ), dtype=torch.bool, device=latent_BZ.device))

    @classmethod
    def null(cls, batch: int, width: int, device: torch.device | str | None = None) -> Condition:
        """A condition of unconditional rows, which get the model's trained null."""
        return cls(torch.zeros(batch, width, device=device), torch.zeros(batch, dtype=torch.bool, device=device))

    def __len__(self) -> int:
        return len(self.latent_BZ)

    def __getitem__(self, rows: Tensor | slice) -> Condition:
        return self._each(lambda x: x[rows])

    def drop(self, drop_B: Tensor) -> Condition:
        """The same condition with the rows of ``drop_B`` made unconditional (training for guidance)."""
        return replace(self, present_B=self.present_B & ~drop_B)

    def nulled(self) -> Condition:
        """The same rows, all unconditional: the second branch of guidance."""
        return replace(self, present_B=torch.zeros_like(self.present_B))

    def cat(self, other: Condition) -> Condition:
        """Rows of ``self``, then rows of ``other``; what one of them lacks neither has.

        Raises:
            UsageError: one has hypotheses and the other has none.
        """
        if (self.hypothesis_BL is None) != (other.hypothesis_BL is None):
            raise UsageError("conditions with and without hypotheses cannot be joined")
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        joined = {name: torch.cat(pair) for name, pair in pairs.items() if pair[0] is not None and pair[1] is not None}
        return Condition(**joined)

    def repeat(self, times: int) -> Condition:
        """Each row ``times`` times, neighbours together."""
        return self._each(lambda x: x.repeat_interleave(times, 0))

    def to(self, device: torch.device | str) -> Condition:
        return self._each(lambda x: x.to(device))

    def about(self, hypothesis_BL: Tensor, hypothesis_latent_BZ: Tensor) -> Condition:
        """The same vectors with a hypothesis each."""
        return replace(self, hypothesis_BL=hypothesis_BL, hypothesis_latent_BZ=hypothesis_latent_BZ)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return Condition(**{name: None if x is None else change(x) for name, x in held.items()})

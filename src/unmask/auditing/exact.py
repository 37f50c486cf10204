"""What an audit needs of a law: conditionals of any subset given any other, exact draws, and log p of a text."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser

#: stands for the logarithm of nothing where products with zeros are taken
_NEVER = -1e4


class ExactLaw(Denoiser):
    """A distribution over texts of fixed length as a perfect denoiser of itself.

    Its logits are the exact log probabilities of each masked position given everything that is visible, so whatever a
    sampler writes that does not follow the law is the sampler's doing.

    Attributes:
        name: of the law. length: L, positions of a text.
        pad_id, eos_id: None; texts have one length.
        latents: number of semantic vectors that there are; 0 for none.
    """

    name: str
    length: int
    latents: int = 0

    @abstractmethod
    def log_marginals(self, x_BL: Tensor, z_B: Tensor | None = None) -> Tensor:
        """log p(x_i | visible) [B, L, V - 1], float64; at a visible position 0 for its own id and -inf else.

        Args:
            x_BL: ids, ``mask_id`` where masked.
            z_B: which semantic vector, -1 for none; None where there are none.
        """

    @abstractmethod
    def log_prob(self, x_BL: Tensor, z_B: Tensor | None = None) -> Tensor:
        """log p of whole texts, nats [B]."""

    @abstractmethod
    def exact(self, count: int, seed: int, z_B: Tensor | None = None) -> Tensor:
        """Independent draws [count, L] from the law."""

    @property
    @abstractmethod
    def entropy(self) -> float:
        """Of a text, nats (given its vector, where there are vectors)."""

    def latent_of(self, cond: Condition | None, rows: int) -> Tensor | None:
        """Which vector each row of a condition is, -1 for none."""
        if not self.latents:
            return None
        if cond is None:
            return torch.full((rows,), -1)
        return torch.where(cond.present_B, cond.latent_BZ[:, : self.latents].argmax(1), -1)

    def condition(self, z_B: Tensor) -> Condition:
        """The vectors of these numbers, as a sampler is given them (one-hot)."""
        return Condition.of(torch.nn.functional.one_hot(z_B, self.latents).float())

    def own(self, x_BL: Tensor) -> Tensor:
        """One-hot of the ids that are visible [B, L, V - 1], float64; any at masked positions."""
        return torch.nn.functional.one_hot(x_BL.clamp(max=self.mask_id - 1), self.mask_id).double()

    def log_of(self, p_BLV: Tensor, x_BL: Tensor) -> Tensor:
        """log p [B, L, V - 1]: of unnormalised probabilities at masked positions, of the id itself at visible ones."""
        p_BLV = p_BLV / p_BLV.sum(-1, keepdim=True)
        return torch.where((x_BL != self.mask_id)[..., None], self.own(x_BL), p_BLV).log()

    # -- the denoiser's contract ------------------------------------------------------------------------------------
    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        """The log probabilities are the hidden states. What does not exist is taken for masked."""
        if valid_BL is not None:
            x_BL = torch.where(valid_BL, x_BL, self.mask_id)
        if x_BL.shape[1] != self.length:
            missing = self.length - x_BL.shape[1]
            x_BL = torch.nn.functional.pad(x_BL, (0, max(0, missing)), value=self.mask_id)[:, : self.length]
            wide = self.log_marginals(x_BL, self.latent_of(cond, len(x_BL)))
            return Body(wide[:, : self.length + min(0, missing)] if missing > 0 else wide)
        return Body(self.log_marginals(x_BL, self.latent_of(cond, len(x_BL))))

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        eye_VD = torch.eye(self.vocab_size, self.vocab_size - 1, dtype=h_ND.dtype)
        return h_ND.clamp(min=_NEVER), eye_VD, None

    def head(self, h_ND: Tensor) -> Tensor:
        # not through a product: log probabilities stay exact, and -inf stays -inf
        return torch.nn.functional.pad(h_ND, (0, 1), value=float("-inf")).float()


def draw_ids(p_NV: Tensor, generator: torch.Generator) -> Tensor:
    """One id a row [N] from probabilities, in float64."""
    edges_NV = p_NV.cumsum(1)
    u_N1 = torch.rand(len(p_NV), 1, generator=generator, dtype=torch.float64) * edges_NV[:, -1:]
    return torch.searchsorted(edges_NV, u_N1, right=True)[:, 0].clamp(max=p_NV.shape[1] - 1)

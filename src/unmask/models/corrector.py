"""What a corrector is told beside the vector: a hypothesis, and what its own vector lacks.

Shapes: B batch, Z width of the encoder's vector, D width of the denoiser, M latent tokens, L tokens of a hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unmask.models.layers import beside, rotary, unturned

#: rms of a whitened difference below which its direction fades: rounding has directions as well
FAINT = 1e-3


@dataclass(frozen=True)
class ConditionFeatures:
    """The encoded condition that the layers are modulated by; None for what a model does not have.

    Attributes:
        steer_BD: what modulates the blocks.
        tokens_BMD: latent tokens.
        kl_BZ: KL of the bottleneck.
        words_BW: what the vector says of the text's words.
        gap_BMD: latent tokens of what the hypothesis' vector lacks; rows of ``told_B`` see them.
        hypothesis_BL: ids that stand before the canvas; ``known_BL`` says which of them a row sees.
    """

    steer_BD: Tensor | None = None
    tokens_BMD: Tensor | None = None
    kl_BZ: Tensor | None = None
    words_BW: Tensor | None = None
    gap_BMD: Tensor | None = None
    told_B: Tensor | None = None
    hypothesis_BL: Tensor | None = None
    known_BL: Tensor | None = None


class HypothesisInput(nn.Module):
    """From the whitened difference of two vectors to a steering vector and latent tokens, and the hypothesis' mark.

    The difference enters as its direction and the logarithm of its size: near the truth it is small, and says the most.
    At the start it steers nothing; rows without a hypothesis are as in a model without this part.

    Args:
        width: Z. dim: D. tokens: M.
    """

    def __init__(self, width: int, dim: int, tokens: int) -> None:
        super().__init__()
        self.tokens, self.dim = tokens, dim
        self.to_steer = nn.Sequential(nn.Linear(width + 1, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.to_tokens = nn.Linear(width + 1, tokens * dim) if tokens else None
        #: added to the hypothesis' embeddings, which are the canvas' own
        self.segment = nn.Parameter(torch.zeros(dim))

    def reset(self) -> None:
        """No steering."""
        nn.init.normal_(self.segment, std=0.02)
        nn.init.zeros_(self.to_steer[-1].weight)  # type: ignore[arg-type]

    @staticmethod
    def features(gap_BZ: Tensor, told_B: Tensor) -> Tensor:
        """Direction (of unit rms) and ln rms [B, Z + 1]; zero where a row has no hypothesis."""
        rms_B1 = gap_BZ.float().square().mean(1, keepdim=True).sqrt() + FAINT
        both = torch.cat([gap_BZ.float() / rms_B1, rms_B1.log()], dim=1) * told_B[:, None]
        return both.to(gap_BZ.dtype)

    def forward(self, features_BZ: Tensor, told_B: Tensor) -> tuple[Tensor, Tensor | None]:
        """steer [B, D] and latent tokens [B, M, D] or None, of :meth:`features`."""
        steer = self.to_steer(features_BZ)
        steer = torch.where(told_B[:, None], steer, torch.zeros_like(steer))
        return steer, None if self.to_tokens is None else self.to_tokens(features_BZ).view(-1, self.tokens, self.dim)

    def before(
        self,
        embedded_BLD: Tensor,
        x_BLD: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        keys_BL: Tensor | None,
        told: ConditionFeatures,
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None, Tensor]:
        """States, angles and keys with the hypothesis before them, each of its tokens at the place it has in its text.

        The tokens of what its vector lacks stand before it. What a row does not see is no key.

        Args:
            embedded_BLD: the hypothesis, with the positions of its text.
            x_BLD, turn, keys_BL: of what stands behind it.
            told: the condition.
        """
        assert told.known_BL is not None and told.told_B is not None
        mine = embedded_BLD + self.segment
        seen_BL = told.known_BL
        angles = None if turn is None else rotary(mine.shape[1], 2 * turn[0].shape[1], x_BLD.device)
        if told.gap_BMD is not None:
            M = told.gap_BMD.shape[1]
            mine = torch.cat([told.gap_BMD.to(mine.dtype), mine], dim=1)
            seen_BL = torch.cat([told.told_B[:, None].expand(-1, M), seen_BL], dim=1)
            if angles is not None:
                angles = beside(unturned(M, angles), angles)
        if turn is not None and angles is not None:
            turn = beside(angles, turn)
        if keys_BL is None:
            keys_BL = seen_BL.new_ones(x_BLD.shape[:2])
        return torch.cat([mine.to(x_BLD.dtype), x_BLD], dim=1), turn, torch.cat([seen_BL, keys_BL], dim=1)

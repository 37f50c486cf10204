"""Which tokens a text is made of, read off its vector: what the denoiser's logits are biased by.

Shapes: B batch, L length, Z width of what is read, W width of this head, D width of the denoiser, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class BagOfWords(nn.Module):
    """A vector's evidence for every token, ``table @ words``, and how much of it each place takes.

    The table [V, W] is no part of this module: it stands beside the (tied) embedding, so that the evidence and the
    head are one product. It starts at zero, and the gates at one.

    Args:
        width: Z. words: W. dim: D. vocabulary: V.
    """

    def __init__(self, width: int, words: int, dim: int, vocabulary: int) -> None:
        super().__init__()
        self.to_words = nn.Linear(width, words, bias=False)
        self.gate = nn.Linear(dim, words)
        #: log odds that a token stands in a text of which nothing is known
        self.prior_V = nn.Parameter(torch.zeros(vocabulary))

    def reset_gates(self) -> None:
        """Every place takes the evidence as it is."""
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, math.log(math.e - 1))

    @torch.no_grad()
    def fit_prior(self, share_V: Tensor, texts: int) -> None:
        """Start from the shares of texts in which each token stands, half a text added to either side."""
        count_V = share_V.double() * texts
        self.prior_V.copy_(((count_V + 0.5) / (texts - count_V + 0.5)).log())

    def forward(self, z_BZ: Tensor, present_B: Tensor) -> Tensor:
        """words [B, W]; zero where the row is unconditional."""
        words_BW = self.to_words(z_BZ)
        return words_BW * present_B[:, None].to(words_BW.dtype)

    def beside(self, h_BLD: Tensor, words_BW: Tensor) -> Tensor:
        """States [B, L, D + W]: each place's own, and behind them the words as far as its gates let them through."""
        open_BLW = nn.functional.softplus(self.gate(h_BLD))
        return torch.cat([h_BLD, (open_BLW * words_BW[:, None]).to(h_BLD.dtype)], dim=-1)

    def logits(self, words_BW: Tensor, table_VW: Tensor) -> Tensor:
        """Log odds [B, V], fp32, that each token stands in the text."""
        return nn.functional.linear(words_BW, table_VW.to(words_BW.dtype)).float() + self.prior_V.float()

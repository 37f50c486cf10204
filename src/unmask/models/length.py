"""How many tokens a text has: a categorical distribution, from the vector that the text is written from or without one.

Shapes: B rows, L longest text, I width of what the decoder gets of a latent (docs/notation.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.core.errors import UsageError

#: what stands for the logit of an id that is never written: finite, so that guidance mixes two of them to itself
NEVER = -1e4


class LengthHead(nn.Module):
    """log p(n | z) of n = 1..L tokens; rows without a vector have a prior of their own, learned like the rest.

    Args:
        longest: L.
        width: of the code that the decoder gets of a latent, behind the bottleneck; 0 for a model without latents.
        hidden: width of the layer between.
    """

    def __init__(self, longest: int, width: int = 0, hidden: int = 0) -> None:
        super().__init__()
        self.prior_L = nn.Parameter(torch.zeros(longest))
        self.of_code = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, longest)) if width else None

    @torch.no_grad()
    def fit(self, lengths_N: Tensor) -> None:
        """Start at the lengths of the training texts, each length counted once more than it is seen.

        Raises:
            UsageError: a length outside 1..L.
        """
        longest = len(self.prior_L)
        if not len(lengths_N) or not 1 <= int(lengths_N.min()) <= int(lengths_N.max()) <= longest:
            raise UsageError(f"texts must have 1 to {longest} tokens for a model of their lengths")
        count_L = torch.bincount(lengths_N.long() - 1, minlength=longest).double() + 1
        self.prior_L.copy_((count_L / count_L.sum()).log())
        if self.of_code is not None:
            self.of_code[-1].bias.copy_(self.prior_L)  # type: ignore[operator]

    def start(self) -> None:
        """No length more probable than another, whatever the vector."""
        nn.init.zeros_(self.prior_L)
        if self.of_code is not None:
            nn.init.zeros_(self.of_code[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.of_code[-1].bias)  # type: ignore[arg-type]

    def forward(self, rows: int, code_BI: Tensor | None = None, present_B: Tensor | None = None) -> Tensor:
        """Log probabilities [rows, L], nats, fp32."""
        logits_BL = self.prior_L.float().expand(rows, -1)
        if self.of_code is not None and code_BI is not None and present_B is not None:
            code_BI = code_BI.to(self.of_code[0].weight.dtype)  # type: ignore[arg-type]
            logits_BL = torch.where(present_B[:, None], self.of_code(code_BI).float(), logits_BL)
        return logits_BL.log_softmax(-1)

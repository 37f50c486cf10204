from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.decoding.order import Candidates, NoisyOrder


@dataclass(frozen=True)
class DrawnProbOrder(NoisyOrder):
    """Log-probability of the value drawn at each candidate, nats (MaskGIT, LLaDA); equals top_prob at temperature 0.

    Every candidate must be drawn before one is chosen, so it costs more than ``top_prob``. It also biases what is
    written: likely draws are kept, unlikely ones are drawn again, so one-at-a-time writing is no longer exact.
    """

    reference = "arXiv 2502.09992"
    needs = ("best", "rest")

    def score(self, candidates: Candidates) -> Tensor:
        stats = candidates.stats
        value_N = candidates.value_N
        return stats.logits().gather(1, value_N[:, None])[:, 0].double() - stats.log_norm_N

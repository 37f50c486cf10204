from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.decoding.order import Candidates, ranked
from unmask.decoding.quota import Ranking
from unmask.decoding.rule import Sampler, SamplerPlan, SamplerStep
from unmask.decoding.state import SamplerState


@dataclass(frozen=True)
class Maskgit(Sampler):
    """An order says which, a quota says how many: MaskGIT, LLaDA, Dream, and Kim et al.'s planned inference.

    Attributes:
        rerank: written positions compete again, with the score they had when written and the order's noise of this
            step, so that they may be masked again (the second reading of arXiv 2502.06768: log p_max + c (t/T) Gumbel).
    """

    rerank: bool = False
    reference = "arXiv 2202.04200"
    uses = frozenset({"order", "quota", "steps"})

    @classmethod
    def examples(cls) -> list[Maskgit]:
        return [cls(), cls(rerank=True)]

    def move(self, plan: SamplerPlan, canvas: SamplerState, candidates: Candidates) -> SamplerStep:
        open_RL = candidates.at_RL
        order, quota = plan.order_leaf, plan.quota_leaf
        score_RL = candidates.spread(order.score(candidates), 0.0)
        count_R = open_RL.sum(1)
        order_RL, rank_RL = ranked(order.perturb(score_RL, canvas), open_RL, canvas)
        wanted_R = torch.minimum(quota.count(Ranking(candidates, order_RL, count_R)).clamp(min=1), count_R)
        left_R = (canvas.steps_R - canvas.step_R - 1).clamp(min=0)
        time_R = left_R / canvas.steps_R if quota.uses_steps else (count_R - wanted_R) / canvas.size_R.clamp(min=1)
        if not self.rerank:
            return SamplerStep(open_RL & (rank_RL < wanted_R[:, None]), time_R.double())
        inside_RL = canvas.inside_RL
        score_RL = torch.where(open_RL, score_RL, canvas.score_RL)
        _, rank_RL = ranked(order.perturb(score_RL, canvas), inside_RL, canvas)
        shown_R = (inside_RL & ~open_RL).sum(1) + wanted_R
        stay_RL = inside_RL & (rank_RL < shown_R[:, None])
        return SamplerStep(open_RL & stay_RL, time_R.double(), inside_RL & ~open_RL & ~stay_RL, score_RL)

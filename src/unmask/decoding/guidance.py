"""Classifier-free guidance in one convention: log p proportional to gamma log p_c + (1 - gamma) log p_u.

gamma = 1 is no guidance. Other conventions: SGDD's ``l_c + w (l_c - l_u)`` has gamma = w + 1, and so has
``cfg_scale`` of LLaDA, dllm and Fast-dLLM: gamma = cfg_scale + 1 (arXiv 2412.10193, 2502.09992).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.errors import UsageError

KINDS = ("auto", "null", "prompt")


@dataclass(frozen=True)
class Guidance:
    """How strongly the condition is followed, and what "without it" means.

    Attributes:
        gamma: 1 is none, above 1 stronger, 0 is unconditional.
        kind: ``null`` takes the semantic vector away (the model's trained null condition); ``prompt`` hides the given
            tokens (LLaDA's unsupervised guidance); ``auto`` is ``null`` where there is a semantic vector and a model
            that listens to it, else ``prompt``.
    """

    gamma: float = 1.0
    kind: str = "auto"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"guidance kind={self.kind!r} must be one of {', '.join(KINDS)}")
        if not 0 <= self.gamma < float("inf"):
            raise UsageError(f"guidance gamma={self.gamma} must be a finite number of at least 0; 1 is no guidance")
        if self.gamma == 1 and self.kind != "auto":
            raise UsageError(f"guidance kind={self.kind!r} has no effect with gamma=1: choose another gamma")

    @property
    def active(self) -> bool:
        """False when guidance would change nothing, and therefore costs nothing."""
        return self.gamma != 1

    def resolve(self, conditional: bool, cond: Condition | None, has_prompt: bool) -> str:
        """``null`` or ``prompt`` for this model and these rows.

        Raises:
            UsageError: there is nothing that could be taken away.
        """
        listens = conditional and cond is not None and bool(cond.present_B.any())
        kind = self.kind if self.kind != "auto" else ("null" if listens else "prompt")
        if kind == "null" and not listens:
            raise UsageError(
                f"guidance gamma={self.gamma} of kind 'null' needs a model with a semantic condition and rows that "
                "have one; leave gamma at 1 or use kind 'prompt'"
            )
        if kind == "prompt" and not has_prompt:
            raise UsageError(
                f"guidance gamma={self.gamma} has nothing to guide by: no semantic condition and no given tokens; "
                "leave gamma at 1"
            )
        return kind


def guide(logits_c_NV: Tensor, logits_u_NV: Tensor, gamma: float) -> Tensor:
    """gamma log p_c + (1 - gamma) log p_u, up to a constant a row; an id without mass under p_c never gets any.

    An id that only p_u forbids follows p_c: any finite weight would make it certain or impossible.

    Args:
        logits_c_NV, logits_u_NV: with and without the condition; constants in them fall out.
        gamma: see :class:`Guidance`.

    Returns:
        logits [N, V]; who wants log probabilities normalises them once.
    """
    mixed_NV = torch.lerp(logits_u_NV, logits_c_NV, gamma)
    # nearly every column is finite: a sum a column finds the others in one pass
    odd_M = (~torch.isfinite(mixed_NV.sum(0))).nonzero()[:, 0]
    if len(odd_M):
        c_NM, u_NM = logits_c_NV[:, odd_M], logits_u_NV[:, odd_M]
        # -inf - -inf is NaN and an id that only p_u forbids would get +inf
        follow_NM = c_NM
        if bool((torch.isinf(u_NM) & torch.isfinite(c_NM)).any()):
            # log p_c on the scale of the mixture, whose constant is the branches' mixed log-sum-exp
            gap_N1 = logits_u_NV.logsumexp(-1, keepdim=True) - logits_c_NV.logsumexp(-1, keepdim=True)
            follow_NM = c_NM + (1 - gamma) * gap_N1
        unsure_NM = torch.isinf(c_NM) | torch.isinf(u_NM)
        mixed_NV[:, odd_M] = torch.where(unsure_NM, follow_NM, mixed_NV[:, odd_M])
    return mixed_NV

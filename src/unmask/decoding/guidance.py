"""Classifier-free guidance in one convention: log p proportional to gamma log p_c + (1 - gamma) log p_u.

gamma = 1 is no guidance. Other conventions: SGDD's ``l_c + w (l_c - l_u)`` has gamma = w + 1, and so has
``cfg_scale`` of LLaDA, dllm and Fast-dLLM: gamma = cfg_scale + 1 (arXiv 2412.10193, 2502.09992).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.errors import WrongUse

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
            raise WrongUse(f"guidance kind={self.kind!r} must be one of {', '.join(KINDS)}")
        if not 0 <= self.gamma < float("inf"):
            raise WrongUse(f"guidance gamma={self.gamma} must be a finite number of at least 0; 1 is no guidance")
        if self.gamma == 1 and self.kind != "auto":
            raise WrongUse(f"guidance kind={self.kind!r} has no effect with gamma=1: choose another gamma")

    @property
    def active(self) -> bool:
        """False when guidance would change nothing, and therefore costs nothing."""
        return self.gamma != 1

    def resolve(self, conditional: bool, cond: Condition | None, has_prompt: bool) -> str:
        """``null`` or ``prompt`` for this model and these rows.

        Raises:
            WrongUse: there is nothing that could be taken away.
        """
        listens = conditional and cond is not None and bool(cond.present_B.any())
        kind = self.kind if self.kind != "auto" else ("null" if listens else "prompt")
        if kind == "null" and not listens:
            raise WrongUse(
                f"guidance gamma={self.gamma} of kind 'null' needs a model with a semantic condition and rows that "
                "have one; leave gamma at 1 or use kind 'prompt'"
            )
        if kind == "prompt" and not has_prompt:
            raise WrongUse(
                f"guidance gamma={self.gamma} has nothing to guide by: no semantic condition and no given tokens; "
                "leave gamma at 1"
            )
        return kind


def guide(logits_c_NV: Tensor, logits_u_NV: Tensor, gamma: float) -> Tensor:
    """gamma log p_c + (1 - gamma) log p_u, renormalised; an id without mass under p_c never gets any.

    Args:
        logits_c_NV, logits_u_NV: with and without the condition.
        gamma: see :class:`Guidance`.

    Returns:
        log probabilities [N, V] in nats.
    """
    log_c_NV, log_u_NV = logits_c_NV.log_softmax(-1), logits_u_NV.log_softmax(-1)
    mixed_NV = torch.lerp(log_u_NV, log_c_NV, gamma)
    # -inf - -inf is NaN and an id that only the unconditional branch forbids would get +inf: both follow p_c
    unsure_NV = torch.isinf(log_c_NV) | torch.isinf(log_u_NV)
    return torch.where(unsure_NV, log_c_NV, mixed_NV).log_softmax(-1)

"""Active units: dimensions of a latent whose posterior mean moves with the text (arXiv 1509.00519)."""

from __future__ import annotations

from torch import Tensor

from unmask.core.errors import UsageError


def active_units(mu_NC: Tensor, threshold: float = 0.01) -> Tensor:
    """Whether the variance of mu over texts is at least ``threshold``, a dimension: bool [C].

    Raises:
        UsageError: fewer than two texts.
    """
    if len(mu_NC) < 2:
        raise UsageError(f"active units need at least 2 texts, got {len(mu_NC)}")
    return mu_NC.double().var(0) >= threshold

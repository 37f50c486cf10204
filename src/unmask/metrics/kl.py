"""KL of a diagonal Gaussian posterior to the standard normal."""

from __future__ import annotations

from torch import Tensor


def kl_to_standard_normal(mu_NC: Tensor, logvar_NC: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) in nats, a dimension [N, C] (arXiv 1312.6114, appendix B)."""
    return 0.5 * (mu_NC.square() + logvar_NC.exp() - 1 - logvar_NC)

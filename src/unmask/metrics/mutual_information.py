"""Mutual information between text and latent under the posterior, estimated within a sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.random import generator


def mutual_information(mu_NC: Tensor, logvar_NC: Tensor, draws: int = 8, seed: int = 0) -> float:
    """E log q(z|x) - E log (1/N) sum_n q(z|x_n), in nats (Hoffman & Johnson 2016, "ELBO surgery").

    It cannot exceed log N, however much the latent knows: a value near log N says "at least this".

    Args:
        mu_NC, logvar_NC: the posterior of each text.
        draws: z drawn from each posterior.
        seed: of the draws.

    Raises:
        UsageError: fewer than two texts, or fewer than one draw.
    """
    N, C = mu_NC.shape
    if N < 2 or draws < 1:
        raise UsageError(f"mutual information needs at least 2 texts and 1 draw, got {N} and {draws}")
    mu, logvar = mu_NC.double().cpu(), logvar_NC.double().cpu()
    precision = (-logvar).exp()
    # log q(z | x_n) up to the constant that both terms share: three matrix products, never [N, N, C]
    offset_N = -0.5 * (logvar + mu.square() * precision).sum(1)
    noise, total = generator(seed), 0.0
    for _ in range(draws):
        z = mu + (0.5 * logvar).exp() * torch.randn(N, C, generator=noise, dtype=torch.float64)
        log_q_NN = offset_N - 0.5 * z.square() @ precision.T + z @ (mu * precision).T
        total += float((log_q_NN.diagonal() - log_q_NN.logsumexp(1)).mean()) + math.log(N)
    return min(max(total / draws, 0.0), math.log(N))

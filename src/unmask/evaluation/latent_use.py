"""Does the model use its latent? The same texts under the same masks, with the true latent and with three false ones.

D_shuffled = NELBO(x | another text's z) - NELBO(x | z), likewise D_null with the *trained* null condition and D_noise;
each in nats a text token, in all and by mask ratio. Near zero means collapse, whatever the loss says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError
from unmask.core.random import Stream, generator
from unmask.diffusion.process import MaskingProcess
from unmask.evaluation.likelihood import Likelihood, bound
from unmask.metrics.active_units import active_units
from unmask.metrics.bootstrap import Interval, ratio_interval
from unmask.metrics.kl import kl_to_standard_normal
from unmask.metrics.mutual_information import mutual_information

#: the false latents, in the order they are shown
FALSE = ("shuffled", "null", "noise")


@dataclass(frozen=True)
class Posterior:
    """What a variational bottleneck lets through.

    Attributes:
        units: width of the bottleneck.
        active_units: dimensions whose mean moves with the text (variance >= 0.01).
        kl_nats: mean KL to the prior, nats a text.
        mutual_information_nats: estimate, nats a text; at most ``ceiling_nats``.
        ceiling_nats: log of the number of texts.
    """

    units: int
    active_units: int
    kl_nats: float
    mutual_information_nats: float
    ceiling_nats: float


@dataclass(frozen=True)
class LatentUse:
    """The true latent against each false one, paired text by text on the same masks.

    Attributes:
        true: under the texts' own latents.
        false: ``shuffled``, ``null``, ``noise``.
        posterior: of the bottleneck, None where the model has none.
    """

    true: Likelihood
    false: dict[str, Likelihood]
    posterior: Posterior | None

    def penalty(self, source: str, seed: int = 0) -> Interval:
        """How much the NELBO rises under a false latent, nats a text token."""
        gap_N = self.false[source].nelbo_N - self.true.nelbo_N
        return ratio_interval(gap_N, self.true.tokens_N, seed=seed)

    def penalty_by_ratio(self, source: str, seed: int = 0) -> list[Interval]:
        """How much the mean loss at text positions rises, nats/token, a bin of the mask ratio; the last is r = 1."""
        true, false = self.true.text, self.false[source].text
        gap_NK = false.nats_NK - true.nats_NK
        return [ratio_interval(g, c, seed=seed) for g, c in zip(gap_NK.T, true.count_NK.T, strict=True)]


def latent_use(
    denoiser: Denoiser,
    ids_NL: Tensor,
    latents_NZ: Tensor,
    *,
    law: MaskingProcess | None = None,
    samples: int = 8,
    batch_size: int = 64,
    seed: int = 0,
    share: bool = False,
) -> LatentUse:
    """Score texts under true, shuffled, null and noise latents.

    Args:
        denoiser: a conditional model.
        ids_NL: clean ids of the texts.
        latents_NZ: the latent each text is written from.
        law, samples, batch_size, seed, share: see :func:`unmask.evaluation.likelihood.bound`.

    Raises:
        UsageError: the denoiser takes no latent, or there are fewer than two texts.
    """
    if not denoiser.conditional:
        raise UsageError("this denoiser takes no latent, so there is no use of one to measure")

    def under(cond: Condition) -> Likelihood:
        return bound(denoiser, ids_NL, cond, law=law, samples=samples, batch_size=batch_size, seed=seed, share=share)

    true = Condition.of(latents_NZ)
    false = {
        "shuffled": Condition.of(latents_NZ[derangement(len(latents_NZ), seed).to(latents_NZ.device)]),
        "null": true.nulled(),
        "noise": Condition.of(matched_noise(latents_NZ, seed)),
    }
    posterior = denoiser.posterior(latents_NZ)
    return LatentUse(
        true=under(true),
        false={name: under(cond) for name, cond in false.items()},
        posterior=None if posterior is None else measure_posterior(*posterior, seed=seed),
    )


def derangement(n: int, seed: int = 0) -> Tensor:
    """A random permutation [n] that leaves nothing in place: one cycle through all.

    Raises:
        UsageError: ``n`` below 2.
    """
    if n < 2:
        raise UsageError(f"latents of {n} text cannot be shuffled: give at least 2")
    order = torch.randperm(n, generator=generator(seed, Stream.SHUFFLE))
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def matched_noise(latents_NZ: Tensor, seed: int = 0) -> Tensor:
    """Gaussian vectors [N, Z] with the mean and covariance of the latents: the right cone, no message."""
    x = latents_NZ.double().cpu()
    mean_Z = x.mean(0)
    centred = x - mean_Z
    value, vector = torch.linalg.eigh(centred.T @ centred / max(len(x) - 1, 1))
    noise = torch.randn(x.shape, generator=generator(seed, Stream.VALUE), dtype=torch.float64)
    return (mean_Z + noise * value.clamp(min=0).sqrt() @ vector.T).to(latents_NZ)


def measure_posterior(mu_NC: Tensor, logvar_NC: Tensor, seed: int = 0) -> Posterior:
    """Active units, KL and mutual information of a diagonal Gaussian posterior over a sample of texts."""
    return Posterior(
        units=mu_NC.shape[1],
        active_units=int(active_units(mu_NC).sum()),
        kl_nats=float(kl_to_standard_normal(mu_NC.double(), logvar_NC.double()).sum(1).mean()),
        mutual_information_nats=mutual_information(mu_NC, logvar_NC, seed=seed),
        ceiling_nats=math.log(len(mu_NC)),
    )

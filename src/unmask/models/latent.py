"""From an encoder's vector to what the decoder sees: whitening, bottleneck, null condition.

Shapes: B batch, Z encoder width, C bottleneck width, D decoder width, M latent tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.core.condition import Condition
from unmask.core.errors import UsageError


class Whitening(nn.Module):
    """A fixed linear map that gives the training latents zero mean and unit covariance; identity until fitted.

    Sentence embeddings crowd into a narrow cone: without this a fresh decoder barely sees most directions.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_Z", torch.zeros(width))
        self.register_buffer("map_ZZ", torch.eye(width))

    @torch.no_grad()
    def fit(self, latents_NZ: Tensor, shrink: float = 1e-2, full: bool = True) -> None:
        """Fit on training latents.

        Args:
            latents_NZ: training latents.
            shrink: added to each eigenvalue as a share of the mean eigenvalue: noise directions are not blown up.
            full: decorrelate; otherwise subtract the mean and divide by one common scale.

        Raises:
            UsageError: the latents are all one.
        """
        x = latents_NZ.double()
        mean = x.mean(0)
        x = x - mean
        if not float(x.abs().max()) > 1e-9:
            raise UsageError(
                f"all {len(x)} training latents are one vector, which tells no text from another: more texts"
            )
        if full:
            value, vector = torch.linalg.eigh(x.T @ x / max(len(x) - 1, 1))
            scale = (value.clamp(min=0) + shrink * value.mean()).rsqrt()
            matrix = vector * scale @ vector.T
        else:
            matrix = torch.eye(x.shape[1], dtype=torch.float64) / x.std().clamp(min=1e-12)
        self.mean_Z.copy_(mean)  # type: ignore[operator]
        self.map_ZZ.copy_(matrix)  # type: ignore[operator]

    def difference(self, one_BZ: Tensor, other_BZ: Tensor) -> Tensor:
        """The map of ``one - other``."""
        return self(one_BZ.float() - other_BZ.float() + self.mean_Z.float())  # type: ignore[operator]

    def forward(self, latent_BZ: Tensor) -> Tensor:
        with torch.autocast(latent_BZ.device.type, enabled=False):
            # in fp32 also in a model of bf16 weights, whose next layer wants bf16
            y_BZ = (latent_BZ.float() - self.mean_Z.float()) @ self.map_ZZ.float()  # type: ignore[operator]
            return y_BZ.to(self.map_ZZ.dtype)


class Bottleneck(nn.Module):
    """Variational information bottleneck: z = mu + sigma * eps, KL to N(0, 1) in nats for each dimension (1612.00410).

    In evaluation z = mu, so that scoring and sampling are deterministic.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.mu = nn.Linear(width, bottleneck)
        self.logvar = nn.Linear(width, bottleneck)

    def posterior(self, latent_BZ: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log variance [B, C], fp32; the log variance is kept in [-8, 4]."""
        return self.mu(latent_BZ).float(), self.logvar(latent_BZ).float().clamp(-8.0, 4.0)

    def forward(self, latent_BZ: Tensor, noise_BC: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z [B, C] and KL [B, C]; ``noise_BC`` is eps, drawn here when None."""
        mu, logvar = self.posterior(latent_BZ)
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
        if not self.training:
            return mu, kl
        noise_BC = torch.randn_like(mu) if noise_BC is None else noise_BC.to(mu)
        return mu + (0.5 * logvar).exp() * noise_BC, kl


class LatentInput(nn.Module):
    """The whole way from a :class:`Condition` to a steering vector and latent tokens, with a *trained* null.

    There is no path around the bottleneck: what the KL measures is all the decoder gets.

    Args:
        width: Z. bottleneck: C, 0 for none. dim: D. tokens: M latent tokens (prefix or keys of cross-attention).
    """

    def __init__(self, width: int, bottleneck: int, dim: int, tokens: int) -> None:
        super().__init__()
        self.tokens, self.dim = tokens, dim
        self.whiten = Whitening(width)
        self.bottleneck = Bottleneck(width, bottleneck) if bottleneck else None
        inner = bottleneck or width
        self.to_steer = nn.Sequential(nn.Linear(inner, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.to_tokens = nn.Linear(inner, tokens * dim) if tokens else None
        self.null_steer = nn.Parameter(torch.zeros(dim))
        self.null_tokens = nn.Parameter(torch.zeros(tokens, dim)) if tokens else None

    def code(self, cond: Condition) -> tuple[Tensor, Tensor | None]:
        """All that the decoder gets of a vector [B, C or Z], and the KL [B, C] (zero where a row is unconditional).

        Raises:
            UsageError: vectors of another width.
        """
        width, wanted = cond.latent_BZ.shape[1], len(self.whiten.mean_Z)
        if width != wanted:
            raise UsageError(f"latents of width {width} do not fit the model's latent_dim {wanted}")
        z, kl = self.whiten(cond.latent_BZ), None
        if self.bottleneck is not None:
            z, kl = self.bottleneck(z, cond.noise_BC)
            kl = kl * cond.present_B[:, None]
        return z.to(self.null_steer.dtype), kl

    def forward(self, z: Tensor, present_B: Tensor) -> tuple[Tensor, Tensor | None]:
        """steer [B, D] and latent tokens [B, M, D] or None, of what :meth:`code` gave."""
        present_B1 = present_B[:, None]
        steer = self.to_steer(z)
        steer = torch.where(present_B1, steer, self.null_steer.to(steer.dtype))
        if self.to_tokens is None or self.null_tokens is None:
            return steer, None
        tokens = self.to_tokens(z).view(-1, self.tokens, self.dim)
        return steer, torch.where(present_B1[..., None], tokens, self.null_tokens.to(tokens.dtype))

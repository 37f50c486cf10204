"""The absorbing process: which positions are hidden, how often, and what a hidden token's loss weighs in the bound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.diffusion.schedule import Schedule, schedules

Estimator = Literal["count", "time", "grid"]


@dataclass(frozen=True)
class MaskedBatch:
    """A partially masked batch, with the weights that its loss needs.

    Attributes:
        x_BL: ids, hidden positions holding the mask id.
        clean_BL: the ids before.
        masked_BL: True where hidden (and therefore scored).
        fraction_B: hidden positions / positions that could be hidden: the denoiser's time input.
        weight_B: the sum of a row's cross-entropies times this is an unbiased estimate of its NELBO in nats.
            NaN where the law makes no bound (word dropout).
        open_B: how many positions could have been hidden.
    """

    x_BL: Tensor
    clean_BL: Tensor
    masked_BL: Tensor
    fraction_B: Tensor
    weight_B: Tensor
    open_B: Tensor


@dataclass(frozen=True)
class MaskingProcess:
    """The forward (absorbing) process: how many positions are masked in training or scoring.

    Attributes:
        estimator: ``count`` hides exactly n ~ U{1..L} positions (LLaDA's likelihood estimator, the least noisy);
            ``time`` hides each position with probability 1 - alpha(t), t continuous; ``grid`` the same with t on the
            schedule's discrete steps.
        schedule: a schedule's name or instance; ``count`` does not use it.
        time_power: t = u ** (1 / time_power); 1 is uniform, 2 is t = sqrt(u), more high masks. The bound stays unbiased
            because ``weight_B`` divides by the density.
        antithetic: spread u over the batch as (u0 + i / B) mod 1.
        word_dropout: additionally hide each visible position with this probability and *keep its loss*
            (arXiv 1511.06349). Such a law trains; it does not bound.
    """

    estimator: Estimator = "count"
    schedule: Schedule | str = "linear"
    time_power: float = 1.0
    antithetic: bool = True
    word_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.estimator not in ("count", "time", "grid"):
            raise UsageError(f"estimator={self.estimator!r} must be 'count', 'time' or 'grid'")
        object.__setattr__(self, "schedule", schedules.make(self.schedule))
        if self.time_power <= 0:
            raise UsageError(f"time_power={self.time_power} must be positive: 1 is uniform, 2 is sqrt(u)")
        if not 0 <= self.word_dropout < 1:
            raise UsageError(f"word_dropout={self.word_dropout} must lie in [0, 1)")
        if self.estimator == "grid" and self.plan.steps is None:
            raise UsageError(f"schedule {schedules.name_of(self.plan)!r} has no grid; use 'sgdd' or estimator 'time'")

    @property
    def plan(self) -> Schedule:
        """The schedule as an instance."""
        assert isinstance(self.schedule, Schedule)
        return self.schedule

    def bound(self) -> MaskingProcess:
        """The same process without word dropout, whose loss is a bound."""
        return replace(self, word_dropout=0.0)

    def corrupt(
        self,
        clean_BL: Tensor,
        mask_id: int,
        generator: torch.Generator | None = None,
        open_BL: Tensor | None = None,
        part: tuple[int, int] | None = None,
        width: int | None = None,
    ) -> MaskedBatch:
        """The batch with randomly masked positions.

        Args:
            clean_BL: ids.
            mask_id: what stands for "hidden".
            generator: CPU generator; the noise is drawn on the CPU so that devices agree.
            open_BL: positions that may be hidden; all when None. A row without any is refused.
            part: (first, total) when these rows are part of a larger batch spread over processes or micro-batches: the
                noise of the whole batch is drawn and this part taken, so the split changes nothing.
            width: draw the noise of this many positions and take the first L: how far a batch is padded changes
                nothing. L when None.
        """
        B, L = clean_BL.shape
        first, total = part or (0, B)
        open_BL = torch.ones_like(clean_BL, dtype=torch.bool) if open_BL is None else open_BL
        open_B = open_BL.sum(1)
        if B and int(open_B.min()) < 1:
            raise UsageError(f"row {int(open_B.argmin())} has no position that may be hidden")
        u_B = antithetic_uniforms(total, self.antithetic, generator)[first : first + B].to(clean_BL.device)
        if self.estimator == "count":
            count_B, weight_B = self._counts(u_B, open_B)
        else:
            count_B, weight_B = None, self._time_weights(u_B)
        width = L if width is None else width
        if width < L:
            raise UsageError(f"noise of width={width} positions does not reach over a canvas of {L}")
        noise_BL = torch.rand(total, width, generator=generator, dtype=torch.float64)
        noise_BL = noise_BL[first : first + B, :L].to(clean_BL.device)
        if count_B is not None:
            # exactly n of the open positions: those with the n smallest noises
            rank_BL = noise_BL.masked_fill(~open_BL, 2.0).argsort(1).argsort(1)
            masked_BL = (rank_BL < count_B[:, None]) & open_BL
        else:
            keep_B = self.plan.alpha(self._times(u_B))
            masked_BL = (noise_BL >= keep_B[:, None]) & open_BL
        if self.word_dropout:
            extra_BL = torch.rand(total, width, generator=generator)[first : first + B, :L] < self.word_dropout
            masked_BL = masked_BL | (extra_BL.to(clean_BL.device) & open_BL)
            weight_B = torch.full_like(weight_B, float("nan"))
        return MaskedBatch(
            x_BL=clean_BL.masked_fill(masked_BL, mask_id),
            clean_BL=clean_BL,
            masked_BL=masked_BL,
            fraction_B=(masked_BL.sum(1) / open_B).float(),
            weight_B=weight_B.float(),
            open_B=open_B,
        )

    def _times(self, u_B: Tensor) -> Tensor:
        t_B = u_B ** (1 / self.time_power)
        if self.estimator == "grid":
            steps = self.plan.steps
            assert steps is not None
            return torch.ceil(t_B * steps).clamp(1, steps) / steps
        return t_B

    def _time_weights(self, u_B: Tensor) -> Tensor:
        t_B = self._times(u_B)
        if self.estimator == "grid":
            steps = self.plan.steps
            assert steps is not None
            low_B = t_B - 1 / steps
            # the discrete bound: sum over steps of (alpha_{i-1} - alpha_i) / (1 - alpha_i), drawn with probability p_i
            chance_B = t_B**self.time_power - low_B.clamp(min=0) ** self.time_power
            return (self.plan.alpha(low_B.clamp(min=0)) - self.plan.alpha(t_B)) / (1 - self.plan.alpha(t_B)) / chance_B
        density_B = self.time_power * t_B ** (self.time_power - 1)
        return self.plan.weight(t_B) / density_B

    def _counts(self, u_B: Tensor, open_B: Tensor) -> tuple[Tensor, Tensor]:
        total_B = open_B.double()
        count_B = torch.ceil(u_B ** (1 / self.time_power) * total_B).clamp(min=1).minimum(total_B)
        chance_B = (count_B / total_B) ** self.time_power - ((count_B - 1) / total_B) ** self.time_power
        # NELBO = sum over n of (1/n) * sum of the n cross-entropies, each n with chance p(n)
        return count_B.long(), 1 / (count_B * chance_B)


def antithetic_uniforms(batch: int, antithetic: bool, generator: torch.Generator | None = None) -> Tensor:
    """fp64 uniforms in (0, 1), one a row; antithetic ones are evenly spaced with a common random offset."""
    if not antithetic:
        return torch.rand(batch, generator=generator, dtype=torch.float64).clamp_(min=2.0**-53)
    offset = torch.rand(1, generator=generator, dtype=torch.float64)
    u_B = (offset + torch.arange(batch, dtype=torch.float64) / max(batch, 1)) % 1.0
    return u_B[torch.randperm(batch, generator=generator)].clamp_(min=2.0**-53)


def reveal_probability(schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """The probability (alpha_s - alpha_t) / (1 - alpha_t) that a masked position is unmasked between t and s < t."""
    alpha_t, alpha_s = schedule.alpha(t), schedule.alpha(s)
    return (alpha_s - alpha_t) / (1 - alpha_t)

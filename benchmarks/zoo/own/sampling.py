"""Faults of the sampler, and of the vectors and lengths it is given.

Each is an ingredient of :class:`zoo.own.loop.Loop` that is replaced; what the sampler *says* stays as if it were right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.diagnosis.subject import Batch, Generated, Split, Step, Subject, Wrapped
from zoo.contract import ZooFault
from zoo.own.kept import some
from zoo.own.loop import CausalLoop, Loop

MASKED = frozenset({"masked"})
LATENT = frozenset({"masked", "latent"})
CAUSAL = frozenset({"causal"})


class _Strong(Loop):
    """A loop with a fault of some strength."""

    def __init__(self, inner: Subject, strength: float, **plan: Any) -> None:
        super().__init__(inner, **plan)
        self.strength = strength


class Stale(_Strong):
    """Drawn from the logits of the step before (for half of the positions at half strength)."""

    before: Tensor | None = None

    def law(self, logits: Tensor, step: int, x_BL: Tensor) -> Tensor:
        """The step before's; the first step has none."""
        old = logits if step == 0 or self.before is None else self.before
        self.before = logits
        stale_L = some(logits.shape[1], self.strength) | torch.tensor(self.strength == 1)
        return torch.where(stale_L[:, None], old, logits)


class TopUnsaid(_Strong):
    """Only the best ids are drawn, and nobody says so."""

    def law(self, logits: Tensor, step: int, x_BL: Tensor) -> Tensor:
        """Logits of the best 3 ids (6 at half strength)."""
        least = logits.topk(round(3 / self.strength), -1).values[..., -1:]
        return logits.masked_fill(logits < least, float("-inf"))


class Penalised(_Strong):
    """Ids that the row already shows are made less likely, and nobody says so."""

    def law(self, logits: Tensor, step: int, x_BL: Tensor) -> Tensor:
        """A constant off for each id in sight."""
        seen_BV = torch.zeros(len(x_BL), logits.shape[-1]).scatter_(1, x_BL, 1.0)
        return logits - 3.0 * self.strength * seen_BV[:, None]


class Front(_Strong):
    """Too many tokens at the start: after an eighth of the steps 80 % of a row (about half at half strength)."""

    def share(self, done: float) -> float:
        """A steep start."""
        return done ** (1 - 0.9 * self.strength)


class Few(_Strong):
    """Two steps (four at half strength) by a default that nobody chose."""

    def __init__(self, inner: Subject, strength: float) -> None:
        super().__init__(inner, strength, steps=round(2 / strength))


class SquaredTemperature(_Strong):
    """The temperature falls while the row fills, and the first one is said."""

    def tempered(self, logits_NV: Tensor, temperature: float, step: int, steps: int) -> Tensor:
        """Down to a third."""
        return logits_NV / (temperature * (1 - 0.67 * self.strength * step / max(steps - 1, 1)))


class Twice(_Strong):
    """Divided by the temperature .7 twice (one and a half times at half strength)."""

    def __init__(self, inner: Subject, strength: float) -> None:
        super().__init__(inner, strength, temperature=0.7)

    def tempered(self, logits_NV: Tensor, temperature: float, step: int, steps: int) -> Tensor:
        """Once more than is said."""
        return logits_NV / temperature ** (1 + self.strength)


class OnProbabilities(_Strong):
    """Guidance mixes probabilities, which go below 0 and are cut off there, where it is to mix log-probabilities."""

    def __init__(self, inner: Subject, strength: float) -> None:
        super().__init__(inner, strength, guidance=1 + 2 * strength)

    def guided(self, told: Tensor, free: Tensor, gamma: float) -> Tensor:
        """The logarithm of the mixed probabilities."""
        return (gamma * told.softmax(-1) + (1 - gamma) * free.softmax(-1)).clamp(min=1e-12).log()


class Swapped(_Strong):
    """Guidance away from the vector: the branches stand in each other's place."""

    def __init__(self, inner: Subject, strength: float) -> None:
        super().__init__(inner, strength, guidance=1 + strength)

    def guided(self, told: Tensor, free: Tensor, gamma: float) -> Tensor:
        """The sign is wrong."""
        return super().guided(free, told, gamma)


class WorstFirst(_Strong):
    """Asked for the largest margin first, the smallest is written first."""

    def __init__(self, inner: Subject, strength: float) -> None:
        super().__init__(inner, strength, order="margin", steps=8)

    def score(self, logits: Tensor, lot_BL: Tensor, order: str) -> Tensor:
        """Turned round."""
        found = super().score(logits, lot_BL, order)
        return 1 - found if order == "margin" else found


class SharedRows(_Strong):
    """All rows of a batch draw with the same noise."""

    def value(self, logits_NV: Tensor, row_N: Tensor, noise: torch.Generator) -> Tensor:
        """One uniform a place in the row's list, the same for every row."""
        count_B = torch.bincount(row_N)
        number_N = torch.cat([torch.arange(int(n)) for n in count_B if n])
        u_N = torch.rand(int(count_B.max()), generator=noise).double()[number_N]
        return (logits_NV.double().softmax(-1).cumsum(-1) < u_N[:, None]).sum(-1).clamp(max=self.vocab_size - 1)

    def lots(self, seed: int, shape: torch.Size) -> tuple[Tensor, torch.Generator]:
        """The order's too."""
        lot_BL, noise = super().lots(seed, shape)
        return lot_BL[:1].expand(shape), noise


class SameSeed(_Strong):
    """The seed is not heeded: every call draws the same noise."""

    def lots(self, seed: int, shape: torch.Size) -> tuple[Tensor, torch.Generator]:
        """Those of seed 0."""
        return super().lots(0, shape)


class EarlyEnd(_Strong):
    """The end of the text is made too likely."""

    def law(self, logits: Tensor, step: int, x_BL: Tensor) -> Tensor:
        """A constant on EOS and padding."""
        if self.eos_id is None or not self.writes_padding:
            raise UsageError("this fault is one of a model that writes its end")
        ends_V = torch.zeros(logits.shape[-1])
        ends_V[[i for i in (self.eos_id, self.pad_id) if i is not None]] = 4.0 * self.strength
        return logits + ends_V


class NoEnd(_Strong):
    """EOS and padding are never drawn, so that every text fills its canvas."""

    def law(self, logits: Tensor, step: int, x_BL: Tensor) -> Tensor:
        """Less likely at half strength."""
        if self.eos_id is None or not self.writes_padding:
            raise UsageError("this fault is one of a model that writes its end")
        ends_V = torch.zeros(logits.shape[-1])
        ends_V[[i for i in (self.eos_id, self.pad_id) if i is not None]] = -8.0 * self.strength
        return logits + ends_V


class Late(Wrapped):
    """Blocks of 8 from left to right, each ending one place late; the place is masked and written again."""

    def __init__(self, inner: Subject, strength: float) -> None:
        super().__init__(inner)
        self.loop = Loop(inner)
        # what a block's sampler is asked for means little to the whole
        self.settings = {"temperature": (1.0, 0.5)}

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        """Block by block."""
        temperature = float(settings.get("temperature", 1.0))
        x_BL, valid_BL = self.loop.base.canvas(batch, seed, temperature)
        noise, trace = torch.Generator().manual_seed(seed), []
        open_BL, L, mask = x_BL == self.mask_id, x_BL.shape[1], self.mask_id
        for start in range(0, L, 8):
            if start:
                x_BL[:, start] = x_BL[:, start].masked_fill(open_BL[:, start], mask)
            block = torch.arange(start, min(start + 9, L))
            for place in block[torch.randperm(len(block), generator=noise)].tolist():
                with torch.no_grad():
                    logits_BV = self.loop.ask(x_BL, batch.cond, valid_BL)[:, place]
                drawn_BL = torch.zeros_like(open_BL)
                drawn_BL[:, place] = open_BL[:, place]
                trace.append(Step(x_BL.clone(), drawn_BL))
                p_BV = (logits_BV / max(temperature, 1e-4)).double().softmax(-1)
                value_B = torch.multinomial(p_BV, 1, generator=noise)[:, 0]
                x_BL[:, place] = torch.where(open_BL[:, place], value_B, x_BL[:, place])
        return Generated(x_BL, tuple(trace), temperature, any_order=False, forwards=len(trace) * len(x_BL))


class LeftMasked(Wrapped):
    """The last step is left out: some places stay masked."""

    def __init__(self, inner: Subject, strength: float) -> None:
        super().__init__(inner)
        self.strength, self.loop = strength, Loop(inner)
        self.settings = self.loop.settings

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        """An eighth of the places (a sixteenth) is never written."""
        out = self.loop.generate(batch, seed, **settings)
        assert out.steps is not None and self.mask_id is not None
        last = next(i for i in range(len(out.steps) - 1, -1, -1) if i <= len(out.steps) * (1 - self.strength / 8))
        return replace(out, ids_BL=out.steps[last].x_BL, steps=out.steps[:last])


class OtherRows(Wrapped):
    """Each row comes with the vector of the row before (every other row at half strength), wherever rows are read."""

    def __init__(self, inner: Subject, strength: float) -> None:
        super().__init__(inner)
        self.strength = strength

    def data(self, n: int, split: Split = "held_out") -> Batch:
        """The rows, their vectors one row late."""
        batch = self.inner.data(n, split)
        if batch.cond is None:
            return batch
        moved_B = some(len(batch), self.strength) | torch.tensor(self.strength == 1)
        latent_BZ = torch.where(moved_B[:, None], batch.cond.latent_BZ.roll(1, 0), batch.cond.latent_BZ)
        return replace(batch, cond=Condition(latent_BZ, batch.cond.present_B))


class Vectors(Wrapped):
    """Vectors that are read are not as training's: changed wherever rows are read."""

    def __init__(self, inner: Subject, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__(inner)
        self.change = change

    def data(self, n: int, split: Split = "held_out") -> Batch:
        """The rows, their vectors changed."""
        batch = self.inner.data(n, split)
        if batch.cond is None:
            return batch
        return replace(batch, cond=Condition(self.change(batch.cond.latent_BZ), batch.cond.present_B))


class CausalTop(CausalLoop):
    """Only the best ids are drawn, and nobody says so."""

    strength = 1.0

    def law(self, logits_BV: Tensor, ids_BL: Tensor, place: int) -> Tensor:
        """The best 3 (6)."""
        least = logits_BV.topk(round(3 / self.strength), -1).values[:, -1:]
        return logits_BV.masked_fill(logits_BV < least, float("-inf"))


class CausalStale(CausalLoop):
    """Drawn from the logits of the place before."""

    before: Tensor | None = None
    strength = 1.0

    def law(self, logits_BV: Tensor, ids_BL: Tensor, place: int) -> Tensor:
        """Of some rows at half strength."""
        old = logits_BV if self.before is None or self.before.shape != logits_BV.shape else self.before
        self.before = logits_BV
        stale_B = some(len(logits_BV), self.strength) | torch.tensor(self.strength == 1)
        return torch.where(stale_B[:, None], old, logits_BV)


def _causal(kind: type[CausalLoop]) -> Callable[[Subject, float], Subject]:
    def plant(subject: Subject, strength: float) -> Subject:
        planted = kind(subject)
        planted.strength = strength  # type: ignore[attr-defined]
        return planted

    return plant


def _offset(latent_BZ: Tensor) -> Tensor:
    push_Z = torch.randn(latent_BZ.shape[1], generator=torch.Generator().manual_seed(2))
    return latent_BZ + 2 * push_Z * latent_BZ.abs().mean()


def faults() -> list[ZooFault]:
    """Every fault of this file."""

    def loop(name: str, repair: str, plant: Any, graded: bool = True, needs: Any = MASKED) -> ZooFault:
        return ZooFault(name, repair.split(".")[0], repair, plant, needs, graded)

    return [
        loop("stale_logits", "sampler.law", Stale),
        loop("top_k_unsaid", "sampler.law", TopUnsaid),
        loop("penalty_unsaid", "sampler.law", Penalised),
        loop("front_loaded", "sampler.schedule", Front),
        loop("two_steps", "sampler.schedule", Few),
        loop("falling_temperature", "sampler.temperature", SquaredTemperature),
        loop("temperature_again", "sampler.temperature", Twice),
        loop("guided_probabilities", "sampler.guidance", OnProbabilities, needs=LATENT),
        loop("guided_away", "sampler.guidance", Swapped, needs=LATENT),
        loop("worst_first", "sampler.order", WorstFirst, False),
        loop("noise_shared_by_rows", "sampler.noise", SharedRows, False),
        loop("seed_not_heeded", "sampler.noise", SameSeed, False),
        loop("ends_early", "sampler.length", EarlyEnd),
        loop("never_ends", "sampler.length", NoEnd),
        loop("block_ends_late", "sampler.places", Late, False),
        loop("left_masked", "sampler.places", LeftMasked),
        loop("vectors_one_row_late", "condition.rows", OtherRows, needs=LATENT),
        loop("vectors_scaled", "condition.scale", lambda s, f: Vectors(s, lambda z: z * (1 + 3 * f)), needs=LATENT),
        loop("vectors_offset", "condition.scale", lambda s, f: Vectors(s, _offset), False, LATENT),
        loop("top_k_unsaid_causal", "sampler.law", _causal(CausalTop), needs=CAUSAL),
        loop("stale_logits_causal", "sampler.law", _causal(CausalStale), needs=CAUSAL),
        loop(
            "colder_causal",
            "sampler.temperature",
            lambda s, f: CausalLoop(s, temperature=1 - 0.5 * f, said=1.0),
            needs=CAUSAL,
        ),
    ]


__all__ = ["Front", "OtherRows", "Step", "Twice", "faults"]

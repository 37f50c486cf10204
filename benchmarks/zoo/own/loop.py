"""A plain sampler over a subject's ``predict``: each ingredient is a method, so that a fault replaces one of them.

What it writes is what the subject writes under the same settings, in law; ours and the hand-written subjects' own
samplers stay out of it, so that one fault of a sampler is planted alike into all of them. Left as it is, it is right.

Shapes: B rows, L columns, N positions asked, V vocabulary (docs/notation.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.diagnosis.subject import Batch, Generated, State, Step, Subject, Wrapped


def system_of(subject: Subject) -> Any:
    """The zoo's own subject inside of any wrappers."""
    while isinstance(subject, Wrapped):
        subject = subject.inner
    if not hasattr(subject, "with_network"):
        raise UsageError(f"this fault is planted into a subject of this zoo, not into {type(subject).__name__}")
    return subject


class Loop(Wrapped):
    """The subject, written by this loop.

    Attributes:
        steps, temperature, guidance, order: as it writes when it is given no setting.
        said: what it reports instead of what it did, e.g. ``{"temperature": 1.0}``.
    """

    def __init__(self, inner: Subject, **plan: Any) -> None:
        super().__init__(inner)
        if inner.kind != "masked":
            raise UsageError("this fault is one of a masked model's sampler")
        self.base = system_of(inner)
        self.steps = int(plan.pop("steps", inner.data(1).ids_BL.shape[1]))
        self.temperature, self.guidance = plan.pop("temperature", 1.0), plan.pop("guidance", 1.0)
        self.order, self.top_k = plan.pop("order", "random"), plan.pop("top_k", None)
        self.said: dict[str, Any] = plan.pop("said", {})
        assert not plan, plan
        # every setting that the loop heeds, and no other
        self.settings = {"steps": (4, self.steps), "temperature": (1.0, 0.5), "order": ("random", "margin")}
        if inner.conditional:
            self.settings["guidance"] = (1.0, 3.0)
        self.skipped = {}

    # -- the ingredients --------------------------------------------------------------------------------------------
    def share(self, done: float) -> float:
        """The share of a row that is written after this share of the steps."""
        return done

    def law(self, logits: Tensor, step: int, x_BL: Tensor) -> Tensor:
        """Logits [B, L, V] that are drawn from, from those of this step."""
        return logits

    def tempered(self, logits_NV: Tensor, temperature: float, step: int, steps: int) -> Tensor:
        """Logits divided by the temperature."""
        return logits_NV / temperature

    def guided(self, told: Tensor, free: Tensor, gamma: float) -> Tensor:
        """Logits from those with and without the vector."""
        return free + gamma * (told - free)

    def lots(self, seed: int, shape: torch.Size) -> tuple[Tensor, torch.Generator]:
        """The order's noise [B, L], and what values are drawn with."""
        noise = torch.Generator().manual_seed(seed)
        return torch.rand(shape, generator=noise), noise

    def value(self, logits_NV: Tensor, row_N: Tensor, noise: torch.Generator) -> Tensor:
        """The ids drawn [N]."""
        return torch.multinomial(logits_NV.double().softmax(-1), 1, generator=noise)[:, 0]

    def score(self, logits: Tensor, lot_BL: Tensor, order: str) -> Tensor:
        """What is written first [B, L]: the highest."""
        if order == "left_to_right":
            return -torch.arange(lot_BL.shape[1]).expand_as(lot_BL).float() / lot_BL.shape[1] + 1
        if order == "margin":
            best = logits.softmax(-1).topk(2, -1).values
            return best[..., 0] - best[..., 1]
        return lot_BL

    # -- the loop ---------------------------------------------------------------------------------------------------
    def ask(self, x_BL: Tensor, cond: Condition | None, valid_BL: Tensor | None) -> Tensor:
        """Logits of every position [B, L, V]."""
        at_BL = torch.ones_like(x_BL, dtype=torch.bool)
        return self.inner.predict(State(x_BL, at_BL, cond, valid_BL=valid_BL)).view(*x_BL.shape, -1).float()

    @torch.no_grad()
    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        """Write a batch."""
        plan = {n: settings.get(n, getattr(self, n)) for n in ("steps", "temperature", "guidance", "order")}
        temperature, gamma = float(plan["temperature"]), float(plan["guidance"])
        x_BL, valid_BL = self.base.canvas(batch, seed, temperature)
        mask = self.mask_id
        assert mask is not None
        lot_BL, noise = self.lots(seed, x_BL.shape)
        size_B = (x_BL == mask).sum(1)
        steps, trace, forwards = max(1, min(int(plan["steps"]), int(size_B.max()))), [], 0
        for step in range(steps):
            now = self.ask(x_BL, batch.cond, valid_BL)
            if gamma != 1 and batch.cond is not None:
                now = self.guided(now, self.ask(x_BL, batch.cond.nulled(), valid_BL), gamma)
                now[..., mask] = float("-inf")
                forwards += len(x_BL)
            forwards += len(x_BL)
            now = self.law(now, step, x_BL)
            masked_BL = x_BL == mask
            done_B = (size_B * self.share((step + 1) / steps)).round().long() if step + 1 < steps else size_B
            take_B = (done_B - (size_B - masked_BL.sum(1))).clamp(min=0)
            score_BL = self.score(now, lot_BL, plan["order"]).masked_fill(~masked_BL, -float("inf"))
            drawn_BL = (score_BL.argsort(1, descending=True).argsort(1) < take_B[:, None]) & masked_BL
            trace.append(Step(x_BL.clone(), drawn_BL))
            if not bool(drawn_BL.any()):
                continue
            logits_NV = now[drawn_BL]
            if self.top_k is not None:
                least = logits_NV.topk(self.top_k, -1).values[:, -1:]
                logits_NV = logits_NV.masked_fill(logits_NV < least, float("-inf"))
            if temperature == 0:
                x_BL[drawn_BL] = logits_NV.argmax(-1)
            else:
                logits_NV = self.tempered(logits_NV, temperature, step, steps)
                x_BL[drawn_BL] = self.value(logits_NV, drawn_BL.nonzero()[:, 0], noise)
        told = {"temperature": temperature, "guidance": gamma, "top_k": self.top_k} | self.said
        in_order = plan["order"] == "left_to_right"
        return Generated(x_BL, tuple(trace), any_order=not in_order, forwards=forwards, **told)


class CausalLoop(Wrapped):
    """A causal subject written by its ``predict``, or by its cached pass, one token after another."""

    def __init__(self, inner: Subject, cached: bool = False, said: float | None = None, **plan: Any) -> None:
        super().__init__(inner)
        if inner.kind != "causal":
            raise UsageError("this fault is one of a causal model")
        self.through_cache, self.said = cached, said
        self.temperature, self.top_k = float(plan.pop("temperature", 1.0)), plan.pop("top_k", None)
        assert not plan, plan

    def law(self, logits_BV: Tensor, ids_BL: Tensor, place: int) -> Tensor:
        """Logits [B, V] that are drawn from."""
        return logits_BV

    @torch.no_grad()
    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        """Go on from the first quarter of each row."""
        temperature = float(settings.get("temperature", self.temperature))
        ids_BL, trace = batch.ids_BL.clone(), []
        B, L = ids_BL.shape
        start, noise = max(L // 4, 1), torch.Generator().manual_seed(seed)
        pad = 0 if self.pad_id is None else self.pad_id
        ended_B = (ids_BL[:, :start] == self.eos_id).any(1)
        ids_BL[:, start:] = pad
        for place in range(start, L):
            at_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
            at_BL[:, place] = True
            if self.through_cache and place > start:
                logits_BV = self.inner.cached(ids_BL[:, : place + 1], start).logits_NV.view(B, -1, self.vocab_size)
                logits_BV = logits_BV[:, -1].float()
            else:
                logits_BV = self.inner.predict(State(ids_BL, at_BL)).float()
            logits_BV = self.law(logits_BV, ids_BL, place)
            if self.top_k is not None:
                least = logits_BV.topk(self.top_k, -1).values[:, -1:]
                logits_BV = logits_BV.masked_fill(logits_BV < least, float("-inf"))
            trace.append(Step(ids_BL.clone(), at_BL & ~ended_B[:, None]))
            if temperature == 0:
                token_B = logits_BV.argmax(-1)
            else:
                p_BV = (logits_BV / temperature).double().softmax(-1)
                token_B = torch.multinomial(p_BV, 1, generator=noise)[:, 0]
            ids_BL[:, place] = token_B.masked_fill(ended_B, pad)
            ended_B = ended_B | (token_B == self.eos_id)
        said = temperature if self.said is None else self.said
        return Generated(ids_BL, tuple(trace), said, top_k=self.top_k, forwards=B * (L - start))

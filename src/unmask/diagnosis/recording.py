"""Our sampler with a spy on the denoiser: what it was shown at each step, and what time it was told."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser
from unmask.core.sampling import drawn_lengths
from unmask.decoding.cache import can_cache
from unmask.decoding.order import orders
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.diagnosis.subject import Batch, Generated, Step
from unmask.diagnosis.wrapper import Through
from unmask.evaluation.likelihood import scoring


class Spy(Through):
    """Passes everything on, and remembers which time each state came with.

    A body that remembers keys is passed on too. Not by :class:`Through`: what is planted into a body must not be gone
    where a plan has a cache.
    """

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner)
        self.can_cache = can_cache(inner)
        self.times: dict[bytes, float] = {}
        self.forwards = 0

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        self._seen(x_BL, t_B)
        return super().body(x_BL, cond, t_B, valid_BL=valid_BL, carry=carry)

    def cached_body(
        self, x_BL: Tensor, cond: Condition | None = None, t_B: Tensor | None = None, **more: Any
    ) -> tuple[Tensor, Any]:
        self._seen(x_BL, t_B)
        return self.inner.cached_body(x_BL, cond, t_B, **more)  # type: ignore[attr-defined,no-any-return]

    def _seen(self, x_BL: Tensor, t_B: Tensor | None) -> None:
        self.forwards += len(x_BL)
        if t_B is not None:
            for row, t in zip(x_BL.cpu(), t_B.tolist(), strict=True):
                self.times[row.numpy().tobytes()] = t


def watched(denoiser: Denoiser, batch: Batch, plan: DecodingPlan) -> Generated:
    """Write a batch under a plan, and tell how."""
    spy = Spy(denoiser)
    canvas_BL, valid_BL = torch.full_like(batch.ids_BL, denoiser.mask_id), None
    with scoring(denoiser):
        log_p_BL = denoiser.length_log_probs(batch.cond, len(batch))
        if log_p_BL is not None:
            # the lengths are the model's own too
            length_B = drawn_lengths(log_p_BL, plan.temperature, plan.seed)
            width = max(canvas_BL.shape[1], int(length_B.max()))
            canvas_BL, valid_BL = denoiser.ragged_canvas(length_B, width)
        out = generate(spy, canvas_BL, plan, cond=batch.cond, valid_BL=valid_BL)
    assert out.trace is not None
    events = out.trace.events
    steps, x_BL = [], out.trace.start_BL.clone()
    for number in range(int(out.trace.steps_B.max())):
        now = events["step"] == number
        row, position = events["row"][now], events["position"][now]
        drawn_BL = torch.zeros_like(x_BL, dtype=torch.bool)
        written = events["kind"][now] == 0
        drawn_BL[row[written], position[written]] = True
        t_B = torch.tensor([spy.times.get(r.numpy().tobytes(), float("nan")) for r in x_BL])
        steps.append(Step(x_BL.to(canvas_BL.device), drawn_BL.to(canvas_BL.device), t_B))
        x_BL = x_BL.clone()
        x_BL[row, position] = events["value"][now]
    in_order = "order" in plan.sampler_leaf.uses and orders.name_of(plan.order_leaf) == "left_to_right"
    return Generated(
        ids_BL=out.sequences,
        steps=tuple(steps),
        temperature=plan.temperature,
        guidance=plan.guide.gamma,
        any_order=not in_order and plan.block_length is None,
        top_k=plan.top_k,
        top_p=plan.top_p,
        altered=_altered(plan),
        remasks="remasking" in plan.sampler_leaf.uses and plan.remasking is not None,
        forwards=spy.forwards,
    )


def _altered(plan: DecodingPlan) -> str:
    if plan.cache is not None:
        return "a cache answers with keys that are old"
    if plan.repetition_penalty != 1:
        return f"repetition_penalty={plan.repetition_penalty:g} changes what is drawn from"
    if "order" in plan.sampler_leaf.uses and orders.name_of(plan.order_leaf) == "drawn_prob" and plan.temperature > 0:
        return "order 'drawn_prob' keeps the likeliest of the values that it drew"
    return ""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.subject import State, everywhere


@dataclass(frozen=True)
class PositionAwareness(Check):
    """Are positions told apart when everything is hidden?

    On an all-masked canvas rotary positions and one global vector give every position the same input *and* the same
    view of the others, hence identical logits, and the sampler writes one word everywhere. Measured: the share of
    probability by which each position's prediction differs from the positions' mean; the threshold is what moves when
    the same canvas is asked about twice, plus rounding (sqrt of the dtype's epsilon). Data whose positions are alike
    needs no such awareness: the finding then is a warning at most.
    """

    title = "Are all positions the same to the model when everything is hidden?"
    fault = "Before anything is written, every position is the same to the model."
    kinds = ("masked",)
    apart = "a causal model has no canvas of masks alone, on which positions are all there is to see"
    repair = "network.positions"
    leads_to = ("loss_by_ratio", "latent_use", "safe_words", "compounding", "length", "order", "frontier")

    def run(self, context: CheckContext) -> Finding:
        part = context.batch.rows(0, 4)
        x_BL = torch.full_like(part.ids_BL, context.mask_id)
        B, L = x_BL.shape
        logits_NV = context.logits(State(x_BL, everywhere(x_BL), part.cond)).double()
        p_BLV = logits_NV.softmax(-1).view(B, L, -1)
        mean_BLV = p_BLV.mean(1, keepdim=True).expand_as(p_BLV)
        apart_BL = 0.5 * (p_BLV - mean_BLV).abs().sum(-1)
        apart = float(apart_BL.mean())
        floor = max(1.5 * context.noise_floor(), context.rounding())
        in_data, chance = self._in_data(context)
        blind = apart <= floor
        wanted = in_data > 2 * chance
        status = "pass" if not blind else "fail" if wanted else "warn"
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"positions differ by {apart:.2%} of their probability on an all-masked canvas "
            f"(in the data by {in_data:.0%}, of which {chance:.0%} is chance)",
            threshold=f"more than {floor:.2g} (asking twice, and rounding)",
            why="The first step gives every position the same prediction, so the same word is drawn everywhere."
            if blind
            else "Each position has its own prediction before anything is written.",
            next_step="Add learned (absolute) positions to the input embeddings; rotary ones alone cannot break "
            "this tie."
            if blind
            else "",
            numbers={"apart": apart, "floor": floor, "data_apart": in_data, "data_chance": chance},
            plot=Plot(
                "lines",
                [float(i) for i in range(L)],
                {"distance from the mean position": [float(v) for v in apart_BL.mean(0)]},
                "position",
                "share of probability",
            ),
            share=1.0 if blind else 0.0,
        )

    @staticmethod
    def _in_data(context: CheckContext) -> tuple[float, float]:
        """The same distance between the columns of the data, and what it is when the ids' columns are shuffled."""
        ids_NL = context.fit_ids

        def apart(ids: torch.Tensor) -> float:
            p_LV = torch.stack([torch.bincount(c, minlength=context.subject.vocab_size).double() for c in ids.T])
            p_LV = p_LV / p_LV.sum(1, keepdim=True)
            return float(0.5 * (p_LV - p_LV.mean(0)).abs().sum(1).mean())

        shuffle = torch.rand(ids_NL.shape, generator=torch.Generator().manual_seed(context.seed)).argsort(1)
        return apart(ids_NL), apart(ids_NL.gather(1, shuffle.to(ids_NL.device)))

from __future__ import annotations

from dataclasses import dataclass

from unmask.diagnosis.check import Check
from unmask.diagnosis.checks.target_alignment import EVERYTHING
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding


@dataclass(frozen=True)
class MaskMass(Check):
    """Does the mask id itself get probability?

    A hidden position is never *meant* to hold a mask, so all its mass is lost: closed form, 0. Up to 1e-6 may be
    rounding of a softmax; it warns above and fails from 0.1 % on. Masks that are left in a finished text are counted by
    ``traces``: a place that is skipped is no drawn mask.
    """

    title = "Does the mask token get probability?"
    fault = "The mask token gets probability."
    kinds = ("masked",)
    apart = "a causal model has no mask that could be drawn"
    repair = "sampler.law"
    leads_to = ("train_inference", "traces", *EVERYTHING)

    def run(self, context: CheckContext) -> Finding:
        mass = 0.0
        for ratio in (0.5, 1.0):
            logits_NV = context.logits(context.state(ratio).rows(0, 16))
            if context.mask_id < logits_NV.shape[-1]:
                mass = max(mass, float(logits_NV.double().softmax(-1)[:, context.mask_id].mean()))
        status = "fail" if mass > 1e-3 else "warn" if mass > 1e-6 else "pass"
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"{mass:.2%} of the probability goes to the mask id",
            threshold="0 (0.1 % to fail)",
            why="Probability on the mask is lost, and a drawn mask stays a hole or is drawn again for ever."
            if status != "pass"
            else "No probability is lost on the mask.",
            next_step="Set the mask's logit to -inf before every softmax, in the loss and in the sampler."
            if status != "pass"
            else "",
            numbers={"mask_probability": mass},
            share=0.5 + 0.5 * mass if status == "fail" else 0.0,
        )

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from unmask.core.random import Stream, generator
from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding


@dataclass(frozen=True)
class ScoredVisible(Check):
    """Is the loss taken on tokens that the model can see?

    The same corruption is scored three times: as it is, with the *targets* of visible positions replaced by other ids
    (inputs untouched), and, as the control that shows that targets are listened to at all, with the targets of hidden
    positions replaced. A loss that is taken on hidden tokens alone cannot move in the second case: the threshold is
    what it moves when nothing is changed (A/A), plus rounding.
    """

    title = "Is the loss taken on tokens that are visible?"
    fault = "The loss is taken on tokens that are visible."
    needs = ("data", "training_view")
    kinds = ("masked",)
    apart = "a causal model that saw the token it is asked for would fail future_invariance"
    repair = "report"
    leads_to = ("bound_calibration", "loss_by_ratio")

    def run(self, context: CheckContext) -> Finding:
        batch, s = context.batch, context.subject
        view = context.view(0)
        again = s.same_view(batch, 0, view)
        hidden_BL = view.x_BL == context.mask_id
        other_BL = self._others(context, batch.ids_BL)
        at_seen = s.same_view(replace(batch, target_BL=torch.where(hidden_BL, batch.ids_BL, other_BL)), 0, view)
        at_hidden = s.same_view(replace(batch, target_BL=torch.where(hidden_BL, other_BL, batch.ids_BL)), 0, view)
        floor = abs(again.loss - view.loss) + 1e-4 * max(abs(view.loss), 1e-9)
        moved_seen, moved_hidden = at_seen.loss - view.loss, at_hidden.loss - view.loss
        scored_hidden_N = hidden_BL[view.scored_BL].cpu()
        ce_N = view.ce_N.double().cpu()
        seen = float((~scored_hidden_N).double().mean())
        honest = float(ce_N[scored_hidden_N].mean()) if bool(scored_hidden_N.any()) else float("nan")
        plain = float(ce_N.mean())
        numbers = {
            "loss": view.loss,
            "moved_by_visible_targets": moved_seen,
            "moved_by_hidden_targets": moved_hidden,
            "floor": floor,
            "share_of_scored_that_is_visible": seen,
            "mean_nats_all_scored": plain,
            "mean_nats_hidden_only": honest,
        }
        control = abs(moved_hidden) > floor
        if not control and abs(moved_seen) <= floor and bool(scored_hidden_N.any()):
            return Finding(
                "not_run",
                why="the loss did not move when the hidden targets were replaced, so training_view does not score "
                "against batch.targets, and nothing can be concluded",
                next_step="Score against batch.targets in training_view, and feed batch.ids_BL.",
                numbers=numbers,
            )
        wrong = abs(moved_seen) > floor or seen > 0
        lost = 1.0 if not control else abs(moved_seen) / (abs(moved_seen) + abs(moved_hidden))
        return Finding(
            "fail" if wrong else "pass",
            measured=f"replacing visible targets moves the loss by {moved_seen:+.3f}, hidden ones by "
            f"{moved_hidden:+.3f}; "
            f"{seen:.0%} of the scored tokens are visible",
            threshold=f"visible targets move it by no more than {floor:.2g} (the same batch scored twice)",
            why=(
                "Copying what is on the page scores near zero nats, so the loss looks good whatever the model knows"
                + (
                    f": {plain:.2f} nats over all scored tokens, {honest:.2f} over the hidden ones."
                    if seen < 1
                    else "; here nothing that is scored was hidden."
                )
            )
            if wrong
            else "Only hidden tokens are scored.",
            next_step="Take the loss at positions where x_t is the mask id, in training and in validation."
            if wrong
            else "",
            numbers=numbers,
            share=max(lost, seen),
        )

    @staticmethod
    def _others(context: CheckContext, ids_BL: torch.Tensor) -> torch.Tensor:
        """Another id of the data at each position, so that every target is one that the loss can be asked for."""
        known = context.fit_ids.unique() if context.subject.provides("data") else ids_BL.unique()
        known = known[known != context.mask_id]
        pick = torch.randint(0, len(known), ids_BL.shape, generator=generator(context.seed, Stream.CORRUPT, 2))
        other_BL = known.to(ids_BL.device)[pick.to(ids_BL.device)]
        spare = known[1] if len(known) > 1 else known[0]
        return torch.where(other_BL == ids_BL, spare.to(ids_BL.device), other_BL)

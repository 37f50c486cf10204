from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.core.random import Stream, generator
from unmask.diagnosis.check import Check
from unmask.diagnosis.checks.target_alignment import EVERYTHING
from unmask.diagnosis.context import CheckContext, moved
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.subject import State


@dataclass(frozen=True)
class FutureInvariance(Check):
    """Do answers change with what comes after, or with padding that does not exist?

    A causal subject is asked about the first half of its rows three times: as they are, with everything from the asked
    position on replaced (so a token that sees itself is found too), and with the rows cut there. A masked subject is
    asked about a short canvas alone and with as many positions behind it that are marked as not existing. What may
    move is what moves when the same is asked twice, times 4, and rounding: a mean above that warns, above 1 % of the
    probability fails.
    """

    title = "Do answers change with the future, the length or padding?"
    fault = "Answers change with what is appended."
    repair = "network.attention"
    leads_to = ("train_inference", "batch_invariance", *EVERYTHING)

    def run(self, context: CheckContext) -> Finding:
        if context.subject.kind == "masked" and not context.subject.ragged:
            return Finding(
                "not_run",
                why="the subject does not say that predict heeds valid_BL",
                next_step="Set ragged = True if it does.",
            )
        pairs = self._causal(context) if context.subject.kind == "causal" else self._masked(context)
        floor = max(4 * context.noise_floor(), context.rounding())
        worst = max(pairs, key=lambda name: pairs[name])
        apart = pairs[worst]
        status = "fail" if apart > max(floor, 0.01) else "warn" if apart > floor else "pass"
        return Finding(
            status,  # type: ignore[arg-type]
            measured="; ".join(f"{value:.2%} of the probability moves when {name}" for name, value in pairs.items()),
            threshold=f"{floor:.2g} (asking twice, and rounding); 1 % to fail",
            why="In training the rest of the row is there and in writing it is not, so the two are different questions."
            if status != "pass"
            else "What is not there yet does not matter.",
            next_step="Check the attention mask, that padding is masked out, and that positions count from the start "
            "and never from the row's length."
            if status != "pass"
            else "",
            numbers={**pairs, "floor": floor},
            share=apart if status == "fail" else 0.0,
        )

    @staticmethod
    def _causal(context: CheckContext) -> dict[str, float]:
        part = context.batch.rows(0, 8)
        ids_BL = part.ids_BL
        half = max(ids_BL.shape[1] // 2, 2)
        at_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
        at_BL[:, half - 1] = True
        known = context.fit_ids.unique()
        pick = torch.randint(0, len(known), ids_BL.shape, generator=generator(context.seed, Stream.CORRUPT, 9))
        other_BL = torch.where(torch.arange(ids_BL.shape[1]) >= half - 1, known[pick], ids_BL.cpu()).to(ids_BL)
        whole = context.logits(State(ids_BL, at_BL, part.cond))
        changed = context.logits(State(other_BL, at_BL, part.cond))
        short = context.logits(State(ids_BL[:, :half], at_BL[:, :half], part.cond))
        return {
            "the token and all after it are replaced": float(moved(whole, changed).mean()),
            "the row is cut behind it": float(moved(whole, short).mean()),
        }

    @staticmethod
    def _masked(context: CheckContext) -> dict[str, float]:
        part = context.batch.rows(0, 8)
        half = max(part.ids_BL.shape[1] // 2, 2)
        x_BL, hidden_BL = context.hide(part.ids_BL, 0.5)
        at_BL = hidden_BL.clone()
        at_BL[:, half:] = False
        at_BL[:, 0] |= ~at_BL.any(1)
        valid_BL = (torch.arange(x_BL.shape[1], device=x_BL.device) < half) & context.exists(x_BL)
        short = context.logits(State(x_BL[:, :half], at_BL[:, :half], part.cond))
        longer = context.logits(State(x_BL, at_BL, part.cond, valid_BL=valid_BL))
        return {"positions that do not exist follow": float(moved(short, longer).mean())}

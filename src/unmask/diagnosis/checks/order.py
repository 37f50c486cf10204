from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.statistics import Mean, mean_by_text
from unmask.diagnosis.subject import State

#: orders that take the places first that the model is surest of
SURE_FIRST = ("margin", "confidence", "top_prob", "entropy")


@dataclass(frozen=True)
class OrderCheck(Check):
    """Do the sampler's settings do anything, and is "any order" secretly left to right?

    Each setting that the subject names is tried with its values on the same rows and seed: two values that give the
    very same ids do nothing (the same value twice shows whether the seed holds). The other settings are the subject's
    own, but for the largest number of steps and the highest temperature: a sure model that only takes its most probable
    ids writes one text in any order. A setting that means nothing under the subject's plan is skipped, and that is
    said. Where the sampler claims to choose the order, the leftmost hidden position is taken as often as chance allows,
    n of m, or more: the excess over chance, as a share of what is left to 1, is 0 for a random order and 1 for left to
    right. It fails if surely above 0.8; confident models lean to the left without being told, which is why the limit is
    not lower. Where margin or confidence is an order to try, the places taken under it are ranked by the model's own
    margin among those that are open: 1 where the surest are first, 1/2 by chance; it fails if surely below a half.
    """

    title = "Do settings have an effect, and is any-order secretly left to right?"
    fault = "A setting has no effect, or the order is secretly left to right."
    needs = ("data", "generate")
    repair = "sampler.order"

    def run(self, context: CheckContext) -> Finding:
        said: list[str] = []
        numbers: dict[str, Any] = {}
        dead = self._dead_settings(context, numbers)
        if dead:
            said.append(f"without effect: {', '.join(dead)}")
        elif context.subject.settings:
            said.append(f"{len(context.subject.settings)} settings tried, each changes the text")
        aside = [f"{name} skipped: {why}" for name, why in context.subject.skipped.items()]
        out = context.samples()
        secret = False
        if out.any_order and out.steps and context.subject.kind == "masked":
            lean = self._lean(context)
            if lean.texts:
                numbers["left_to_right"] = lean.value
                said.append(f"left-to-right score {lean} (0 random, 1 strictly left to right)")
                secret = lean.surely_above > 0.8
        turned = self._turned(context, numbers)
        if turned:
            said.append(turned)
        unstable = bool(numbers.get("same_seed_differs", False))
        if not said:
            why = "; ".join(["the sampler names no settings and does not claim to choose the order", *aside])
            return Finding("not_run", why=why)
        said += aside
        if unstable:
            said.append("the same seed gives other texts")
        status = "fail" if dead or secret or turned else "warn" if unstable else "pass"
        why = "What is set is what happens."
        if secret:
            why = "Equal confidences fall to the leftmost position, so a model trained for any order is run in one."
        elif turned:
            why = "What the model is least sure of is written first: its mistakes come before its knowledge."
        elif dead:
            why = "A setting that is silently ignored makes every comparison between its values meaningless."
        elif unstable:
            why = "Texts cannot be reproduced."
        return Finding(
            status,  # type: ignore[arg-type]
            measured="; ".join(said),
            threshold="each setting changes the text; left-to-right score surely below 0.8",
            why=why,
            next_step="Follow the setting to where it should act; break ties between confidences by seeded noise, and "
            "compare log-probabilities in float64."
            if status != "pass"
            else "",
            numbers=numbers,
            share=0.6 if status == "fail" else 0.0,
            own=status == "fail",
            fault="Asked for the surest places first, it writes the least sure ones first." if turned else "",
        )

    @staticmethod
    def _turned(context: CheckContext, numbers: dict[str, Any]) -> str:
        """What is wrong with an order by the model's own certainty; empty where nothing is."""
        s = context.subject
        for value in set(s.settings.get("order", ())) & set(SURE_FIRST):
            if s.kind != "masked" or not s.provides("predict"):
                continue
            out = context.tried("order", value)
            found, rows = [], []
            for step in out.steps or ():
                hidden_BL, drawn_BL = step.x_BL == context.mask_id, step.drawn_BL
                live_B = (hidden_BL.sum(1) > drawn_BL.sum(1)) & drawn_BL.any(1)
                if out.altered or not bool(live_B.any()):
                    continue
                at_BL = hidden_BL & live_B[:, None]
                cond = context.prompts.rows(0, len(out.ids_BL)).cond
                best_N2 = context.logits(State(step.x_BL, at_BL, cond)).float().softmax(-1).topk(2, -1).values
                sure_BL = torch.full(at_BL.shape, -1.0, dtype=torch.float64)
                sure_BL[at_BL.cpu()] = (best_N2[:, 0] - best_N2[:, 1]).double().cpu()
                for b in live_B.nonzero()[:, 0].tolist():
                    drawn_L, open_L = drawn_BL[b].cpu(), at_BL[b].cpu()
                    mine_N, other_N = sure_BL[b][drawn_L & open_L], sure_BL[b][open_L & ~drawn_L]
                    above = (mine_N[:, None] > other_N).double() + (mine_N[:, None] == other_N).double() / 2
                    found.append(above.mean())
                    rows.append(b)
            if found:
                rank = mean_by_text(torch.stack(found), torch.tensor(rows))
                numbers[f"margin_rank_under_{value}"] = rank.value
                if rank.surely_below < 0.5:
                    return (
                        f"under order={value} a place taken is surer than an open one in {rank.value:.0%} of the pairs"
                    )
        return ""

    @staticmethod
    def _dead_settings(context: CheckContext, numbers: dict[str, Any]) -> list[str]:
        dead = []
        for name, values in context.subject.settings.items():
            if len(values) < 2 or values[0] == values[1]:
                continue
            first = context.tried(name, values[0]).ids_BL
            if "same_seed_differs" not in numbers:
                again = context.try_setting(name, values[0]).ids_BL
                numbers["same_seed_differs"] = not torch.equal(first, again)
            other = context.tried(name, values[1]).ids_BL
            same = float((first == other).double().mean()) if first.shape == other.shape else 0.0
            numbers[f"same_tokens_{name}"] = same
            if same == 1.0:
                dead.append(f"{name} ({values[0]} and {values[1]} give the same text)")
        return dead

    @staticmethod
    def _lean(context: CheckContext) -> Mean:
        """How much more often than by chance the leftmost hidden position is taken."""
        excess, rows = [], []
        for step in context.samples().steps or ():
            hidden_BL = (step.x_BL == context.mask_id).cpu()
            drawn_BL = step.drawn_BL.cpu() & hidden_BL
            m_B, n_B = hidden_BL.sum(1), drawn_BL.sum(1)
            live_B = (n_B > 0) & (n_B < m_B)
            left_B = drawn_BL.gather(1, hidden_BL.int().argmax(1)[:, None]).squeeze(1).double()
            chance_B = n_B / m_B.clamp(min=1)
            excess.append(((left_B - chance_B) / (1 - chance_B))[live_B])
            rows.append(live_B.nonzero().squeeze(1))
        return mean_by_text(torch.cat(excess), torch.cat(rows)) if excess else Mean(0.0, 0.0, 0)

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.statistics import Mean, mean_by_text, plain_mean
from unmask.diagnosis.subject import Batch, NotProvided, State
from unmask.diagnosis.token_probe import probed_ce
from unmask.evaluation.latent_use import derangement, matched_noise, measure_posterior


@dataclass(frozen=True)
class LatentUseCheck(Check):
    """Does the model listen to its semantic vector?

    The same states are scored under the texts' own vectors, another text's, none (the null condition) and noise of the
    same mean and covariance; D is how many nats a token the loss rises. At r = 1 a canvas says nothing, so one forward
    a vector tells how probable *every* text is under it, and the model can be asked whose vector is whose: with B
    texts, chance is 1/B, and log B minus the cross-entropy of that choice is a lower bound on the information that
    reaches the text (InfoNCE, arXiv 1807.03748), at most log B; an overconfident model's choice is first softened by
    the best of a few powers. The latent counts as ignored if neither D_shuffled at r = 1 is surely above zero (4
    standard errors, more for few texts) nor the choice surely better than chance; as weak if fewer than half of the
    choices are right. If the vector of the row before or behind is surely chosen more often than the own one, vectors
    belong to other texts.

    That texts can be told apart says little of how much of a text arrives, so three figures in nats a *text* stand
    beside it: what a text *needs* (the bound without its vector), what the vector *tells* of that (the bound without
    it minus the bound with it; both as areas under the loss over the masked fraction), and what a linear reading of
    the vector finds of the text's words that the model does *not use* (its cross-entropy at r = 1 beside the model's).
    It warns where the reading is surely better than the model.
    """

    title = "Is the semantic vector ignored?"
    fault = "The semantic vector is ignored."
    reference = "arXiv 1612.00410, 1807.03748"
    kinds = ("masked",)
    apart = "what a causal model is given are tokens before its own, which it reads as it reads these"
    repair = "condition.unused"
    leads_to = ("safe_words", "compounding", "guidance", "length", "frontier")

    def run(self, context: CheckContext) -> Finding:
        if not context.subject.conditional or context.batch.cond is None:
            return Finding("not_run", why="the model takes no semantic vector")
        cond, n = context.batch.cond, len(context.batch)
        order = derangement(n, context.seed).to(cond.latent_BZ.device)
        false = {
            "shuffled": Condition.of(cond.latent_BZ[order]),
            "null": cond.nulled(),
            "noise": Condition.of(matched_noise(cond.latent_BZ, context.seed)),
        }
        ratios = [r for r in context.budget.ratios if r in (0.1, 0.5, 0.9, 1.0)]
        penalty: dict[str, dict[float, Mean]] = {name: {} for name in false}
        for ratio in ratios:
            true = context.at_ratio(ratio)
            state = context.state(ratio)
            for name, other in false.items():
                if name == "noise" and ratio < 1:
                    continue
                scores = context.score(State(state.x_BL, state.at_BL, other), context.batch.ids_BL)
                penalty[name][ratio] = mean_by_text(scores.ce_N - true.ce_N, true.row_N.cpu())
        chosen, nats, beside = self._whose(context, min(n, 32))
        at_one = penalty["shuffled"][1.0]
        ceiling = math.log(min(n, 32))
        listens = at_one.surely_above > 0 or chosen.surely_above > 1 / min(n, 32)
        listens = listens and nats.value >= 0.1 * ceiling
        deaf = all(abs(m.value) <= context.rounding() for m in penalty["shuffled"].values())
        weak = chosen.value < 0.5
        needed, told, unused = self._by_text(context, penalty["null"])
        wasted = unused is not None and unused.surely_above > 0
        shifted = max(beside, key=lambda shift: beside[shift].value)
        others = beside[shifted].value > 0.5 and beside[shifted].value > chosen.value
        status = "fail" if others or not listens else "warn" if weak or wasted else "pass"
        fault = f"Vectors belong to the row {'before' if shifted > 0 else 'behind'}." if others else ""
        numbers = {
            "ratios": ratios,
            **{f"d_{k}_nats": [v[r].value if r in v else None for r in ratios] for k, v in penalty.items()},
            "d_shuffled_error_at_1": at_one.error,
            "identified": chosen.value,
            "chance": 1 / min(n, 32),
            "information_nats": nats.value,
            "information_ceiling_nats": ceiling,
            "needed_nats_a_text": needed,
            "told_nats_a_text": told,
            "unused_nats_a_text": None if unused is None else unused.value,
            "picked_of_the_row_before": beside[1].value,
            "picked_of_the_row_behind": beside[-1].value,
        }
        try:
            mu, logvar = context.subject.posterior(cond)
            p = measure_posterior(mu, logvar, context.seed)
            numbers |= {
                "bottleneck_units": p.units,
                "active_units": p.active_units,
                "bottleneck_kl_nats": p.kl_nats,
                "bottleneck_information_nats": p.mutual_information_nats,
            }
        except NotProvided:
            pass
        why = {
            "fail": (
                "Writing starts with nothing visible, so without its vector the model can only write what is common."
            ),
            "warn": "The vector changes the answer, but too little of it arrives to tell texts apart.",
            "pass": "The vector decides what is written: another text's makes the true text much less probable.",
        }[status]
        if others:
            why = "The text that a vector makes most probable is its neighbour's, so every text is written for another."
        elif status == "warn" and wasted and not weak and unused is not None:
            why = f"A linear reading of the vector finds {unused} nats a text more of its words than the model does."
        return Finding(
            status,  # type: ignore[arg-type]
            fault=fault,
            measured=f"a text needs {needed:.0f} nats, its vector tells {told:.0f} of them"
            + ("" if unused is None else f", a linear reading finds {unused.value:+.0f} more")
            + f"; another text's vector costs {at_one} nats a token at r = 1; the right text is picked in "
            f"{chosen.value:.0%} of cases (chance {1 / min(n, 32):.0%})",
            threshold=f"surely above 0, or picked surely above chance, and {0.1 * ceiling:.2f} of {ceiling:.2f} nats; "
            "for a pass half of the picks right, and a linear reading not surely better",
            why=why,
            next_step="Train with higher mask ratios and word dropout that keeps the loss; check that the encoder's "
            "vectors differ (whiten them), that the null replaces only some rows, and that the vector reaches "
            "every block."
            if status != "pass"
            else "",
            numbers=numbers,
            plot=Plot(
                "lines",
                ratios,
                {name: [v[r].value if r in v else None for r in ratios] for name, v in penalty.items()},
                "share of positions hidden",
                "nats a token lost under a false vector",
            ),
            own=deaf or others,
            explains=("loss_by_ratio",) if deaf else (),
            share=1.0 if others else 1 - max(nats.value, 0.0) / ceiling if status != "pass" else 0.0,
            repair="condition.rows" if others else "",
        )

    @staticmethod
    def _by_text(context: CheckContext, null: dict[float, Mean]) -> tuple[float, float, Mean | None]:
        """What a text needs without its vector and what the vector tells, nats a text; what it holds unused."""
        ratios = sorted(null)
        tokens = float(context.in_text(context.batch.ids_BL).sum(1).double().mean())
        with_it = [float(context.at_ratio(r).ce_N.mean()) for r in ratios]
        told = [null[r].value for r in ratios]
        needed = _area(ratios, [a + b for a, b in zip(with_it, told, strict=True)])
        at_one = context.at_ratio(1.0)
        assert context.batch.cond is not None
        read_N = probed_ce(context, context.batch.cond.latent_BZ, at_one.row_N, at_one.target_N)
        unused = None
        if read_N is not None:
            gap = mean_by_text(at_one.ce_N - read_N, at_one.row_N.cpu())
            unused = Mean(gap.value * tokens, gap.error * tokens, gap.texts)
        return needed * tokens, _area(ratios, told) * tokens, unused

    @staticmethod
    def _whose(context: CheckContext, n: int) -> tuple[Mean, Mean, dict[int, Mean]]:
        """See :func:`_picked`."""
        part = context.batch.rows(0, n)
        assert part.cond is not None
        inside_BL = context.in_text(part.ids_BL)
        if not context.subject.writes_padding:
            return _picked(torch.stack([_by_vector(context, part, text) for text in range(n)]))
        x_BL = torch.full_like(part.ids_BL, context.mask_id)
        # every column that some text uses, under every vector
        used_L = inside_BL.any(0)
        at_BL = context.some(used_L.expand_as(x_BL))
        at_BL = at_BL[:1].expand_as(x_BL).contiguous()
        logp = context.logits(State(x_BL, at_BL, part.cond)).float().log_softmax(-1).cpu()
        columns = at_BL[0].nonzero().squeeze(-1).cpu()
        logp_ZCV = logp.view(n, len(columns), -1)
        ids_TC, in_TC = part.ids_BL.cpu()[:, columns], inside_BL.cpu()[:, columns]
        table_TZ = torch.stack([_text_logp(logp_ZCV, ids, inside) for ids, inside in zip(ids_TC, in_TC, strict=True)])
        return _picked(table_TZ)


def _area(ratios: list[float], values: list[float]) -> float:
    """The mean of a curve over 0 to 1, from some of its points; flat beyond the first and last."""
    xs, ys = torch.tensor([0.0, *ratios, 1.0]), torch.tensor([values[0], *values, values[-1]])
    return float(torch.trapezoid(ys.double(), xs.double()))


def _picked(table_TZ: Tensor) -> tuple[Mean, Mean, dict[int, Mean]]:
    """How often a text's own vector makes it most probable, the information in nats, and how often a neighbour's."""
    own_T = torch.arange(len(table_TZ))
    hit_T = (table_TZ.argmax(1) == own_T).double()
    choices = [
        math.log(len(table_TZ)) + (power * table_TZ).log_softmax(1)[own_T, own_T]
        for power in (1.0, 0.5, 0.25, 0.1, 0.0)
    ]
    picked_T = table_TZ.argmax(1)
    beside = {shift: plain_mean((picked_T == (own_T + shift) % len(table_TZ)).double()) for shift in (1, -1)}
    return plain_mean(hit_T), max((plain_mean(c) for c in choices), key=lambda m: m.value), beside


def _by_vector(context: CheckContext, part: Batch, text: int) -> Tensor:
    """log p of one text under the vector of each [Z], on the canvas of its own length."""
    ids_BL = part.ids_BL[text : text + 1].expand(len(part), -1)
    at_BL = context.some(context.exists(ids_BL))[:1].expand(len(part), -1).contiguous()
    logp_NV = context.logits(State(context.blank(ids_BL), at_BL, part.cond)).float().log_softmax(-1).cpu()
    ids_N = ids_BL[at_BL].cpu()
    return logp_NV.gather(1, ids_N[:, None]).view(len(part), -1).double().sum(1)


def _text_logp(logp_ZCV: Tensor, ids_C: Tensor, inside_C: Tensor) -> Tensor:
    """log p of one text under each vector [Z]."""
    logp_ZC = logp_ZCV.gather(-1, ids_C[None, :, None].expand(len(logp_ZCV), -1, 1)).squeeze(-1)
    return (logp_ZC.double() * inside_C).sum(1)

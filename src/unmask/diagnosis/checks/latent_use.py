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
from unmask.evaluation.latent_use import derangement, matched_noise, measure_posterior


@dataclass(frozen=True)
class LatentUse(Check):
    """Does the model listen to its semantic vector?

    The same states are scored under the texts' own vectors, another text's, none (the null condition) and noise of the
    same mean and covariance; D is how many nats a token the loss rises. At r = 1 a canvas says nothing, so one forward
    a vector tells how probable *every* text is under it, and the model can be asked whose vector is whose: with B
    texts, chance is 1/B, and log B minus the cross-entropy of that choice is a lower bound on the information that
    reaches the text (InfoNCE, arXiv 1807.03748), at most log B; an overconfident model's choice is first softened by
    the best of a few powers. The latent counts as ignored if neither D_shuffled at r = 1 is surely above zero (4
    standard errors, more for few texts) nor the choice surely better than chance; as weak if fewer than half of the
    choices are right.
    """

    title = "Is the semantic vector ignored?"
    fault = "The semantic vector is ignored."
    reference = "arXiv 1612.00410, 1807.03748"
    kinds = ("masked",)
    repair = "condition.unused"
    leads_to = ("safe_words", "compounding", "guidance", "length", "frontier")

    def run(self, lab: CheckContext) -> Finding:
        if not lab.subject.conditional or lab.batch.cond is None:
            return Finding("not_run", why="the model takes no semantic vector")
        cond, n = lab.batch.cond, len(lab.batch)
        order = derangement(n, lab.seed).to(cond.latent_BZ.device)
        false = {
            "shuffled": Condition.of(cond.latent_BZ[order]),
            "null": cond.nulled(),
            "noise": Condition.of(matched_noise(cond.latent_BZ, lab.seed)),
        }
        ratios = [r for r in lab.budget.ratios if r in (0.1, 0.5, 0.9, 1.0)]
        penalty: dict[str, dict[float, Mean]] = {name: {} for name in false}
        for ratio in ratios:
            true = lab.at_ratio(ratio)
            state = lab.state(ratio)
            for name, other in false.items():
                if name == "noise" and ratio < 1:
                    continue
                scores = lab.score(State(state.x_BL, state.at_BL, other), lab.batch.ids_BL)
                penalty[name][ratio] = mean_by_text(scores.ce_N - true.ce_N, true.row_N.cpu())
        chosen, nats = self._whose(lab, min(n, 32))
        at_one = penalty["shuffled"][1.0]
        ceiling = math.log(min(n, 32))
        listens = at_one.surely_above > 0 or chosen.surely_above > 1 / min(n, 32)
        listens = listens and nats.value >= 0.1 * ceiling
        deaf = all(abs(m.value) <= lab.rounding() for m in penalty["shuffled"].values())
        weak = chosen.value < 0.5
        status = "pass" if listens and not weak else "warn" if listens else "fail"
        numbers = {
            "ratios": ratios,
            **{f"d_{k}_nats": [v[r].value if r in v else None for r in ratios] for k, v in penalty.items()},
            "d_shuffled_error_at_1": at_one.error,
            "identified": chosen.value,
            "chance": 1 / min(n, 32),
            "information_nats": nats.value,
            "information_ceiling_nats": ceiling,
        }
        try:
            mu, logvar = lab.subject.posterior(cond)
            p = measure_posterior(mu, logvar, lab.seed)
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
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"another text's vector costs {at_one} nats a token at r = 1; the right text is picked in "
            f"{chosen.value:.0%} of cases (chance {1 / min(n, 32):.0%}); {nats.value:.2f} of {ceiling:.2f} nats arrive",
            threshold=f"surely above 0, or picked surely above chance, and {0.1 * ceiling:.2f} nats; half of the "
            "picks right "
            "for a pass",
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
            own=deaf,
            explains=("loss_by_ratio",) if deaf else (),
            share=1 - max(nats.value, 0.0) / ceiling if status != "pass" else 0.0,
        )

    @staticmethod
    def _whose(lab: CheckContext, n: int) -> tuple[Mean, Mean]:
        """How often the text's own vector makes it most probable, and the information in nats."""
        part = lab.batch.rows(0, n)
        assert part.cond is not None
        inside_BL = lab.in_text(part.ids_BL)
        if not lab.subject.writes_padding:
            return _picked(torch.stack([_by_vector(lab, part, text) for text in range(n)]))
        x_BL = torch.full_like(part.ids_BL, lab.mask_id)
        # every column that some text uses, under every vector
        used_L = inside_BL.any(0)
        at_BL = lab.some(used_L.expand_as(x_BL))
        at_BL = at_BL[:1].expand_as(x_BL).contiguous()
        logp = lab.logits(State(x_BL, at_BL, part.cond)).float().log_softmax(-1).cpu()
        columns = at_BL[0].nonzero().squeeze(-1).cpu()
        logp_ZCV = logp.view(n, len(columns), -1)
        ids_TC, in_TC = part.ids_BL.cpu()[:, columns], inside_BL.cpu()[:, columns]
        table_TZ = torch.stack([_text_logp(logp_ZCV, ids, inside) for ids, inside in zip(ids_TC, in_TC, strict=True)])
        return _picked(table_TZ)


def _picked(table_TZ: Tensor) -> tuple[Mean, Mean]:
    """How often a text's own vector makes it most probable, and the information in nats."""
    own_T = torch.arange(len(table_TZ))
    hit_T = (table_TZ.argmax(1) == own_T).double()
    choices = [
        math.log(len(table_TZ)) + (power * table_TZ).log_softmax(1)[own_T, own_T]
        for power in (1.0, 0.5, 0.25, 0.1, 0.0)
    ]
    return plain_mean(hit_T), max((plain_mean(c) for c in choices), key=lambda m: m.value)


def _by_vector(lab: CheckContext, part: Batch, text: int) -> Tensor:
    """log p of one text under the vector of each [Z], on the canvas of its own length."""
    ids_BL = part.ids_BL[text : text + 1].expand(len(part), -1)
    at_BL = lab.some(lab.exists(ids_BL))[:1].expand(len(part), -1).contiguous()
    logp_NV = lab.logits(State(lab.blank(ids_BL), at_BL, part.cond)).float().log_softmax(-1).cpu()
    ids_N = ids_BL[at_BL].cpu()
    return logp_NV.gather(1, ids_N[:, None]).view(len(part), -1).double().sum(1)


def _text_logp(logp_ZCV: Tensor, ids_C: Tensor, inside_C: Tensor) -> Tensor:
    """log p of one text under each vector [Z]."""
    logp_ZC = logp_ZCV.gather(-1, ids_C[None, :, None].expand(len(logp_ZCV), -1, 1)).squeeze(-1)
    return (logp_ZC.double() * inside_C).sum(1)

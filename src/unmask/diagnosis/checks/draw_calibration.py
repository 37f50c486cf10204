from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.sampling import restrict
from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.replay import UNSTEADY, replayed
from unmask.diagnosis.statistics import SURE
from unmask.diagnosis.subject import Generated

#: the tail test: ids, draws, and the log-odds between the one likely id and each unlikely one. Gumbel noise made from
#: fp32 uniforms ends at 16.64, so a log-odds of 18 leaves it almost no draw in the tail
TAIL_IDS, TAIL_DRAWS, TAIL_ODDS = 2**20, 1536, 18.0


@dataclass(frozen=True)
class DrawCalibration(Check):
    """Are values drawn from the distribution that the model gives, at the temperature asked for?

    Three questions. (1) ``draw`` on a known distribution of 8 ids, 4096 draws: the chi-square statistic has a mean and
    a spread in closed form. (2) From the sampler's own steps the temperature is estimated by maximum likelihood: the
    one under which what was drawn is most probable, with the standard error of the Fisher information; where
    ``generate`` takes a temperature, also at 0.5, so that one applied twice shows; among the ids that top-k and top-p
    left. All steps of some rows are looked at (:mod:`unmask.diagnosis.replay`); where another law explains the values
    better than what is told, it is no temperature that is wrong, and ``replay`` names the law. At temperature 0 nothing
    is drawn: under such a plan what is written must be the most probable ids, and the draw is tried at 1 and 0.5, or
    not judged. It is skipped where a cache or a penalty changes what is drawn from. It fails if surely off by more than
    a tenth. (3) With the full budget, a million ids 18 nats below one likely id: their total share is 1.6 %, of which
    fp32 Gumbel noise (which ends at 16.64, arXiv 2409.02908) draws a tenth.
    """

    title = "Is the draw faithful to the distribution?"
    fault = "Values are not drawn from the distribution that the model gives."
    reference = "arXiv 2409.02908"
    needs = ("data", "predict", "generate")
    repair = "sampler.temperature"
    leads_to = ("safe_words", "length", "frontier", "memorisation")

    def run(self, context: CheckContext) -> Finding:
        said, numbers, faults, aside, warm = [], {}, [], "", ""
        if context.subject.provides("draw"):
            excess = self._chi_square(context)
            numbers["chi_square_sigmas"] = excess
            said.append(f"{excess:+.1f} standard deviations off on a known distribution")
            if excess > SURE:
                faults.append(min(1.0, excess / 100))
            if context.budget.name == "full":
                found, wanted = self._tail(context)
                numbers |= {"tail_draws": found, "tail_expected": wanted}
                said.append(f"{found} of {wanted:.0f} expected draws from a far tail")
                # normal approximation of a binomial with a share of 1.6 %
                if found < wanted - SURE * math.sqrt(wanted):
                    faults.append(1 - found / wanted)
        runs = [context.samples()]
        cold, strange = runs[0].temperature == 0, False
        if "temperature" in context.subject.settings:
            runs += [context.tried("temperature", t) for t in ((1.0, 0.5) if cold else (0.5,))]
        if cold:
            aside = "the plan's own temperature is 0, at which nothing is drawn"
        for out in runs:
            if not out.steps:
                continue
            if out.altered:
                aside = f"temperature skipped: {out.altered}"
                continue
            wish, again = out.temperature, replayed(context, out)
            if not len(again.ids_N):
                continue
            strange = strange or again.strange
            logits_NV, ids_N = _kept(again.own_NV.double(), again.ids_N, out), again.ids_N
            found_t, error = fit_temperature(logits_NV, ids_N)
            name = f"temperature_asked_{wish:g}"
            numbers |= {name: found_t, f"{name}_error": error}
            if again.law is not None and again.law.repair != self.repair:
                said.append(f"no temperature explains what was drawn, but {again.law.said}")
                continue
            allowed = 0.1 * max(wish, 0.1)
            nearest = min(max(found_t, wish - allowed), wish + allowed)
            worse = likelihood(logits_NV, ids_N, found_t) - likelihood(logits_NV, ids_N, nearest)
            off = nearest != found_t and worse > SURE**2 / 2
            if wish > 0 or off:
                said.append(f"temperature {found_t:.2f} ± {2 * error:.2f} where {wish:g} was asked for")
            if off:
                faults.append(min(1.0, abs(found_t - wish) / max(wish, 0.1)))
                warm = f"Values are drawn at temperature {found_t:.2f} where {wish:g} is told."
        if aside:
            said.append(aside)
        if not said or said == [aside]:
            return Finding(
                "not_run",
                why=aside or "the subject tells neither its steps nor its draw",
                next_step="Return steps from generate, or provide draw(logits, seed).",
            )
        return Finding(
            "fail" if faults else "pass",
            fault=warm,
            # a draw that is off where nothing is told of a temperature is the noise's
            repair="" if warm else "sampler.noise",
            measured="; ".join(said),
            threshold="4 standard errors, and a tenth of the temperature",
            why="The texts come from another distribution than the model's, usually a colder one that repeats itself."
            if faults
            else "What is drawn is what the model gives.",
            next_step="Draw in float64, apply the temperature once, and renormalise after guidance." if faults else "",
            numbers=numbers,
            share=max(faults, default=0.0),
            # where replay finds another law than is told, this is what that looks like as a temperature
            own=bool(faults) and not strange and context.noise_floor() <= UNSTEADY,
        )

    @staticmethod
    def _chi_square(context: CheckContext) -> float:
        p = torch.tensor([0.4, 0.25, 0.15, 0.1, 0.05, 0.03, 0.015, 0.005], dtype=torch.float64)
        ids_N = context.subject.draw(p.log().float().expand(4096, 8).clone(), context.seed).cpu()
        count = torch.bincount(ids_N, minlength=8)[:8].double()
        statistic = float(((count - 4096 * p).square() / (4096 * p)).sum())
        return (statistic - 7) / math.sqrt(14)

    @staticmethod
    def _tail(context: CheckContext) -> tuple[int, float]:
        share = TAIL_IDS * math.exp(-TAIL_ODDS)
        found, step = 0, 8
        for first in range(0, TAIL_DRAWS, step):
            logits_NV = torch.full((step, TAIL_IDS + 1), -TAIL_ODDS)
            logits_NV[:, 0] = 0.0
            found += int((context.subject.draw(logits_NV, context.seed + first) > 0).sum())
        return found, TAIL_DRAWS * share / (1 + share)


def _kept(logp_NV: Tensor, drawn_N: Tensor, out: Generated) -> Tensor:
    """Log-probabilities of what top-k and top-p left; -inf elsewhere."""
    if out.top_k is None and out.top_p is None:
        return logp_NV
    left_NV = torch.isfinite(restrict(logp_NV, temperature=out.temperature, top_k=out.top_k, top_p=out.top_p))
    # rounding may leave an id at the edge on the other side; and one drawn from far outside must show as improbable
    left_NV = left_NV.scatter(-1, drawn_N[:, None], True)
    return logp_NV.masked_fill(~left_NV, -torch.inf)


def fit_temperature(logits_NV: Tensor, ids_N: Tensor) -> tuple[float, float]:
    """The temperature under which ids are most probable, and its standard error; 0 if all are the most probable ids.

    The log-likelihood is concave in the inverse temperature b: its slope is sum(l_drawn - E_b l), its curvature minus
    the variance of l under b, which is the Fisher information.
    """
    if bool((logits_NV.argmax(-1) == ids_N).all()):
        return 0.0, 0.0
    wide_NV = _finite(logits_NV)
    drawn = float(wide_NV.gather(-1, ids_N[:, None]).sum())

    def moments(b: float) -> tuple[float, float]:
        p_NV = (b * wide_NV).softmax(-1)
        safe_NV = torch.where(p_NV > 0, wide_NV, 0.0)
        mean_N = (p_NV * safe_NV).sum(-1)
        return float(mean_N.sum()), float(((p_NV * safe_NV.square()).sum(-1) - mean_N.square()).sum())

    b, variance = 1.0, 0.0
    for _ in range(50):
        mean, variance = moments(b)
        # Newton's step, never more than a factor of 3 at a time
        new = min(max(b + (drawn - mean) / max(variance, 1e-12), b / 3), 3 * b)
        b, change = new, abs(new - b)
        if change < 1e-5 * b or not 1e-4 < b < 1e4:
            break
    error_b = 1 / math.sqrt(max(variance, 1e-12))
    return 1 / b, error_b / b**2


def likelihood(logits_NV: Tensor, ids_N: Tensor, temperature: float) -> float:
    """Log-probability of ids in nats at a temperature; 0 at 0, where they are the most probable ones for certain."""
    if temperature <= 0:
        return 0.0
    return float((_finite(logits_NV) / temperature).log_softmax(-1).gather(-1, ids_N[:, None]).sum())


def _finite(logits_NV: Tensor) -> Tensor:
    return logits_NV.masked_fill(~torch.isfinite(logits_NV), -1e30)

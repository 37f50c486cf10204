from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.statistics import Mean, difference, mean_by_text
from unmask.metrics.token_entropy import pooled_entropy


@dataclass(frozen=True)
class Frontier(Check):
    """Is a good score under a judge bought with few words?

    KL(samples || judge) = CE - H: a judge's perplexity alone can be lowered by saying little. The judge here is the
    bigram model of the data (counted on other texts), the reference is as many held-out texts. The samples' pooled
    unigram entropy is compared with that of the held-out texts, with an error from leaving out texts (jackknife). It
    fails if the entropy is surely (4 standard errors, more for few texts) and by more than a tenth below the data's
    while the judge does not find the samples surely worse than the data; it warns if the entropy is that low and the
    judge finds them worse too. Where the sampler is colder than 1 and the same model, drawn plainly at 1 through
    ``predict``, is as varied as the data, the temperature is named. Samples most of which are repeated word for word,
    unlike the data, are collapse itself, and explain the rest.
    """

    title = "Is a good judge's score bought with low entropy?"
    fault = "The judge's score is bought with low entropy."
    reference = "arXiv 2409.02908"
    needs = ("data", "generate")
    repair = "sampler.temperature"

    def run(self, context: CheckContext) -> Finding:
        mine_BL, data_BL = context.samples().ids_BL, context.prompts.ids_BL
        mine, data = self._entropy(context, mine_BL), self._entropy(context, data_BL)
        judged, judged_data = self._judged(context, mine_BL), self._judged(context, data_BL)
        lost = 1 - mine.value / max(data.value, 1e-9)
        low = difference(data, mine).surely_above > 0 and lost > 0.1
        worse = difference(judged, judged_data).surely_above > 0
        copies, copies_data = self._copies(context, mine_BL), self._copies(context, data_BL)
        collapsed = copies > 0.5 and copies_data < 0.25
        repeated = f"{copies:.0%} of the samples are written more than once; " if copies else ""
        status = "fail" if low and not worse else "warn" if low else "pass"
        heat = context.samples().temperature
        cold = low and 0 <= heat < 1 and self._varied_when_drawn(context)
        return Finding(
            status,  # type: ignore[arg-type]
            measured=repeated + f"judge {judged} nats a token (data {judged_data}); entropy {mine} nats (data {data})",
            threshold="an entropy within a tenth of the data's",
            fault=f"The samples lose variety to their temperature of {heat:g}."
            if cold
            else f"{copies:.0%} of the samples are written more than once."
            if collapsed
            else "",
            repair="sampler.noise" if collapsed and not cold else "",
            why=f"Drawn plainly at temperature 1 the same model is as varied as the data; at {heat:g} it is not."
            if cold
            else "A few safe texts please any judge; the entropy shows the price."
            if status != "pass"
            else "The samples are as varied as the data.",
            next_step="Never report a judge's perplexity without entropy; raise the temperature, or look at the causes."
            if status != "pass"
            else "",
            numbers={
                "judge_nats": judged.value,
                "judge_nats_data": judged_data.value,
                "entropy_nats": mine.value,
                "entropy_nats_data": data.value,
                "entropy_lost": lost,
                "written_more_than_once": copies,
            },
            plot=Plot(
                "bars",
                ["judge (lower is likelier)", "entropy (higher is richer)"],
                {"samples": [judged.value, mine.value], "data": [judged_data.value, data.value]},
                "",
                "nats a token",
            ),
            own=collapsed and status == "fail",
            explains=("length", "safe_words") if collapsed else (),
            share=max(lost, copies) if status != "pass" else 0.0,
        )

    @staticmethod
    def _entropy(context: CheckContext, ids_BL: Tensor) -> Mean:
        """Pooled unigram entropy with a jackknife error over texts."""
        inside_BL = context.in_text(ids_BL).cpu()
        texts = [row[keep].tolist() for row, keep in zip(ids_BL.cpu(), inside_BL, strict=True)]
        whole = pooled_entropy(texts)
        n = len(texts)
        left_out = torch.tensor([pooled_entropy(texts[:i] + texts[i + 1 :]) for i in range(n)], dtype=torch.float64)
        error = float(((n - 1) / n * (left_out - left_out.mean()).square().sum()).sqrt())
        return Mean(whole, error, n)

    def _varied_when_drawn(self, context: CheckContext) -> bool:
        """Whether plain drawing through ``predict`` has the data's entropy; False where it cannot be tried."""
        if context.subject.kind != "masked" or not context.subject.provides("predict"):
            return False
        batch = context.batch.rows(0, min(context.budget.samples, 32))
        drawn = self._entropy(context, context.once("rollout", lambda: context.rollout(batch)))
        data = self._entropy(context, batch.ids_BL)
        return not (difference(data, drawn).surely_above > 0 and drawn.value < 0.9 * data.value)

    @staticmethod
    def _copies(context: CheckContext, ids_BL: Tensor) -> float:
        """Share of texts that stand there more than once."""
        inside_BL = context.in_text(ids_BL)
        texts = [tuple(row[keep].tolist()) for row, keep in zip(ids_BL, inside_BL, strict=True)]
        return sum(texts.count(text) > 1 for text in texts) / len(texts)

    @staticmethod
    def _judged(context: CheckContext, ids_BL: Tensor) -> Mean:
        inside_BL = context.in_text(ids_BL).cpu()
        ids_BL = ids_BL.cpu()
        left_BL = torch.nn.functional.pad(ids_BL[:, :-1], (1, 0), value=-1)
        nats_N = context.counts.bigram_ce(left_BL[inside_BL], ids_BL[inside_BL])
        return mean_by_text(nats_N, inside_BL.nonzero()[:, 0])

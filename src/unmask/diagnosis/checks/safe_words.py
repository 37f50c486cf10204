from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.statistics import Mean, difference, mean_by_text


@dataclass(frozen=True)
class SafeWords(Check):
    """Does it write little but the most common words, or the same ones again and again?

    Three numbers of the samples are put beside the same numbers of as many held-out texts: the share of tokens that are
    one of the 10 most common ids (counted elsewhere), the entropy a token under the unigram counts, and the share of
    tokens that repeat one of the two before them. The error is that of the difference of two means over texts. A number
    is off if it is surely (4 standard errors, more for few texts) on the bad side *and* the excess is more than a
    quarter of what the data leaves: a quarter of the tokens that are not common become common, or repeat, or a quarter
    of the nats a token are gone. Where the sampler is set colder than 1 and the same model, drawn plainly at 1 through
    ``predict``, writes no safe words, the temperature is the cause.
    """

    title = "Does it fall back on safe words?"
    fault = "It writes safe words."
    needs = ("data", "generate")
    repair = "training.steps"
    leads_to = ("frontier",)

    common: int = 10

    def run(self, context: CheckContext) -> Finding:
        top_V = context.counts.unigram_V.topk(min(self.common, context.subject.vocab_size)).indices
        out = context.samples()
        fresh = self._start(context)
        # the same columns of both: behind a prompt a text is nearer to its end, whose punctuation is common
        data = self._facts(context, context.prompts.ids_BL[:, fresh:], top_V)
        mine = self._facts(context, out.ids_BL[:, fresh:], top_V)
        shares, bad, near = self._lost(data, mine)
        status = "fail" if bad else "warn" if near else "pass"
        # the same model, drawn plainly at temperature 1: does it write safe words too?
        cold = status == "fail" and 0 <= out.temperature < 1 and not self._plainly(context, data, top_V)
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"{mine['common'].value:.0%} of the tokens written are among the {len(top_V)} most common "
            f"({data['common'].value:.0%} in the data); {mine['nats'].value:.2f} nats a token under word counts "
            f"({data['nats'].value:.2f}); {mine['repeat'].value:.0%} repeat a neighbour ({data['repeat'].value:.0%})",
            threshold="no more than a quarter of the data's uncommon tokens, nats or fresh tokens lost",
            why="When nothing tells the model what to say, the most common words are the safest guess."
            if status != "pass"
            else "Common words and repetitions are as frequent as in the data.",
            next_step="Look at the causes named above it; if there are none, raise the temperature or take fewer "
            "tokens "
            "a step."
            if status != "pass"
            else "",
            numbers={
                **{f"{k}_samples": v.value for k, v in mine.items()},
                **{f"{k}_data": v.value for k, v in data.items()},
                "temperature": out.temperature,
                "first_step_from_unigram": self._first_step(context),
            },
            plot=self._plot(context, out.ids_BL[:, fresh:]),
            own=cold,
            explains=("length",) if cold else (),
            share=max(shares.values()) if status != "pass" else 0.0,
        )

    @staticmethod
    def _lost(data: dict[str, Mean], mine: dict[str, Mean]) -> tuple[dict[str, float], bool, bool]:
        """What share of the data's uncommon tokens, nats and fresh tokens is lost; too much; much."""
        sure = {
            "common": difference(mine["common"], data["common"]),
            "nats": difference(data["nats"], mine["nats"]),
            "repeat": difference(mine["repeat"], data["repeat"]),
        }
        left = {"common": 1 - data["common"].value, "nats": data["nats"].value, "repeat": 1 - data["repeat"].value}
        shares = {name: gap.value / max(left[name], 1e-9) for name, gap in sure.items()}
        bad, near = (
            any(shares[name] > limit and sure[name].surely_above > 0 for name in sure) for limit in (0.25, 0.1)
        )
        return shares, bad, near

    def _plainly(self, context: CheckContext, data: dict[str, Mean], top_V: Tensor) -> bool:
        """Whether plain drawing through ``predict`` fails too; False where it cannot be tried."""
        if context.subject.kind != "masked" or not context.subject.provides("predict"):
            return False
        batch = context.batch.rows(0, min(context.budget.samples, 32))
        plain = self._facts(context, context.once("rollout", lambda: context.rollout(batch)), top_V)
        return self._lost(data, plain)[1]

    @staticmethod
    def _start(context: CheckContext) -> int:
        """The first column that the sampler wrote."""
        steps = context.samples().steps
        if context.subject.kind == "masked" or not steps:
            return 0
        drawn_L = torch.stack([s.drawn_BL.any(0) for s in steps]).any(0)
        return int(drawn_L.int().argmax())

    @staticmethod
    def _facts(context: CheckContext, ids_BL: Tensor, top_V: Tensor) -> dict[str, Mean]:
        inside_BL = context.in_text(ids_BL)
        row_N = inside_BL.nonzero()[:, 0].cpu()
        before = torch.nn.functional.pad(ids_BL, (2, 0), value=-1)
        again_BL = (ids_BL == before[:, 1:-1]) | (ids_BL == before[:, :-2])
        ids_N = ids_BL[inside_BL].cpu()
        return {
            "common": mean_by_text(torch.isin(ids_N, top_V).double(), row_N),
            "nats": mean_by_text(context.counts.unigram_ce(ids_N), row_N),
            "repeat": mean_by_text(again_BL[inside_BL].double().cpu(), row_N),
        }

    @staticmethod
    def _first_step(context: CheckContext) -> float | None:
        """Share of probability between the mean first-step prediction and word counts; small means that the first step
        says no more than counts do."""
        if context.subject.kind != "masked" or not context.subject.provides("predict"):
            return None
        state = context.state(1.0).rows(0, 16)
        p_V = context.logits(state).double().softmax(-1).mean(0).cpu()
        return float(0.5 * (p_V - context.counts.unigram_V.exp()).abs().sum())

    def _plot(self, context: CheckContext, ids_BL: Tensor) -> Plot:
        """The most written ids, beside their share in the data."""

        def shares(ids: Tensor) -> Tensor:
            inside = ids[context.in_text(ids)].cpu()
            return torch.bincount(inside, minlength=context.subject.vocab_size).double() / max(len(inside), 1)

        mine_V, data_V = shares(ids_BL), shares(context.prompts.ids_BL[:, -ids_BL.shape[1] :])
        top = mine_V.topk(min(12, len(mine_V))).indices.tolist()
        tokenizer = context.subject.tokenizer
        names = [str(i) if tokenizer is None else str(tokenizer.decode([i])) for i in top]
        return Plot(
            "bars",
            [repr(n)[1:-1] for n in names],
            {"samples": [float(mine_V[i]) for i in top], "data": [float(data_V[i]) for i in top]},
            "most written tokens",
            "share of tokens",
        )

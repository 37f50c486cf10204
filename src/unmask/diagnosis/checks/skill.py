from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.diagnosis.baselines import Baselines
from unmask.diagnosis.bound import nats_of_texts, per_token
from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext, moved
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.size import size_tells, tokens_a_number
from unmask.diagnosis.subject import NotProvided
from unmask.metrics.ngram_model import NgramModel

#: order of the yardstick behind pairs of neighbours
ORDER = 5
#: share by which a loss must have fallen over the last third of training to be called falling
FALLING = 0.01


@dataclass(frozen=True)
class Skill(Check):
    """Does the model know more than pairs of neighbours do?

    The bound of each held-out text (nats a token, everything the model is given included) beside what a bigram chain of
    up to 20,000 training rows pays for it, left to right, smoothed as Witten & Bell (1991). A bound that is surely (4
    standard errors of the paired difference, texts as units, more for few: 3e-5 by chance) above the chain's fails:
    whatever is wrong or not, such a model writes no better than a table of pairs. A 5-gram model with back-off is the
    next yardstick, and shown. Where a record of the training is kept, its curve says whether the loss was still falling
    by 1 % over the last third (too few steps) or not (too small a network); without one, a network with fewer numbers
    than a tenth of its training tokens is called too small, and so is one whose answers do not change with what is in
    sight.
    """

    title = "Does it know more than a table of word pairs?"
    fault = "It knows no more than a table of word pairs."
    repair = "training.steps"
    leads_to = ("safe_words", "frontier", "compounding", "guidance")

    def run(self, context: CheckContext) -> Finding:
        s, ids_BL = context.subject, context.batch.ids_BL.cpu()
        try:
            train_NL = context.train_ids.cpu()
        except NotProvided:
            train_NL = context.fit_ids.cpu()
        nats_B, tokens_B = nats_of_texts(context)
        pairs = Baselines.fit(train_NL, s.vocab_size, s.eos_id, s.pad_id)
        inside_BL = context.in_text(ids_BL)
        if s.kind == "causal":
            inside_BL[:, 0] = False
        left_BL = torch.nn.functional.pad(ids_BL[:, :-1], (1, 0), value=-1)
        pair_B = _by_row(pairs.bigram_ce(left_BL[inside_BL], ids_BL[inside_BL]), inside_BL)
        # of a causal model only some positions may have been asked about: a mean a text stands beside a mean a text
        text_B = inside_BL.sum(1).double().clamp(min=1)
        own_B, chain_B = nats_B / tokens_B.clamp(min=1), pair_B / text_B
        gap = per_token((own_B - chain_B) * tokens_B, tokens_B)
        own, chain = per_token(nats_B, tokens_B), per_token(chain_B * tokens_B, tokens_B)
        longer = self._longer(context, train_NL, ids_BL)
        bad = gap.surely_above > 0
        falling = self._falling(context) if bad else None
        deaf = bad and _deaf(context)
        small = bad and (deaf or (falling is None and size_tells(tokens_a_number(context)) == "training.capacity"))
        falling = False if small else falling
        repair = "training.capacity" if falling is False else "training.steps"
        step = {
            None: "Train longer and watch the bound fall; if it does not fall any more, the network is too small.",
            True: "Train longer: the loss was still falling when training ended.",
            False: "Look at what reaches the network, and whether it has layers that mix places."
            if deaf
            else "Make the network larger: it is small for its data."
            if small
            else "Make the network larger: the loss had stopped falling when training ended.",
        }[falling]
        return Finding(
            "fail" if bad else "pass",
            fault="It never looks at its input: no answer changes with what is in sight." if deaf else "",
            measured=f"{own.value:.2f} nats a token; pairs of neighbours {chain.value:.2f} ({gap} apart); "
            f"{ORDER}-grams with back-off {longer:.2f}",
            threshold="not surely above pairs of neighbours",
            why="What a table of pairs would write as well says nothing of language, however well each word is drawn."
            if bad
            else "It knows more of a text than its pairs of neighbours.",
            next_step=step if bad else "",
            numbers={
                "nats_a_token": own.value,
                "error": own.error,
                "bigram_nats": chain.value,
                f"{ORDER}_gram_nats": longer,
                "over_bigram_nats": gap.value,
                "over_bigram_error": gap.error,
                "counted_rows": len(train_NL),
                "still_falling": falling,
                "never_looks": deaf,
            },
            # a symptom of much that other checks name: it leads only where they find nothing larger
            share=min(0.5, gap.value / max(chain.value, 1e-9)) if bad else 0.0,
            repair=repair if bad else "",
        )

    @staticmethod
    def _longer(context: CheckContext, train_NL: Tensor, ids_BL: Tensor) -> float:
        """Nats a token under n-grams with back-off; of as many rows as words are counted in, which is slow work."""
        model = NgramModel(context.sequences(train_NL[: context.budget.fit]), ORDER, context.subject.vocab_size)
        priced = [nats for text in context.sequences(ids_BL) for nats in model.nats(text)]
        return sum(priced) / max(len(priced), 1)

    @staticmethod
    def _falling(context: CheckContext) -> bool | None:
        """Whether the held-out loss was still falling when training ended; None where no curve was kept."""
        try:
            curve = context.subject.record().curve
        except NotProvided:
            return None
        for name in ("nelbo", "loss"):
            seen = [(point["step"], point[name]) for point in curve if name in point]
            if len(seen) >= 3:
                return _still_falling(seen)
        return None


def _deaf(context: CheckContext) -> bool:
    """Whether other ids in sight change no answer at all, as of a table."""
    state = context.usual_state().rows(0, 16)
    seen_BL = state.x_BL != context.subject.mask_id if context.subject.mask_id is not None else state.x_BL >= 0
    other_BL = torch.where(seen_BL & seen_BL.roll(1, 0), state.x_BL.roll(1, 0), state.x_BL)
    return float(moved(context.logits(state), context.logits(replace(state, x_BL=other_BL))).mean()) <= 1e-6


def _still_falling(seen: Sequence[tuple[float, float]]) -> bool:
    last = seen[-1][0]
    before = [value for step, value in seen if step <= 2 / 3 * last] or [seen[0][1]]
    return min(before) - min(value for _, value in seen) > FALLING * abs(min(before))


def _by_row(value_N: Tensor, at_BL: Tensor) -> Tensor:
    return torch.zeros(len(at_BL), dtype=torch.float64).index_add(0, at_BL.nonzero()[:, 0], value_N.double())

"""Where the nats go: the distance of what is written from a yardstick, taken apart into lines that add up to it.

The distance is the cross-entropy of the reference text, along the steps of the user's plan and under the model's own
law (before argmax), minus that of a yardstick, a 5-gram chain of training text; plus what the draw and the model's own
errors add. Each line is measured by itself; what they leave over is said as "unexplained". Nats a token of text, its
end included and padding not, with texts as units.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from unmask.core.errors import CheckpointError
from unmask.diagnosis.context import CheckContext, TokenScores
from unmask.diagnosis.estimate import Estimate
from unmask.diagnosis.finding import Finding, plain
from unmask.diagnosis.record import Record, RecordedSplit, scores
from unmask.diagnosis.staircase import LossCurve, best, divided, weights
from unmask.diagnosis.statistics import Mean
from unmask.diagnosis.subject import Batch, NotProvided, State
from unmask.diagnosis.validated_subject import SubjectFault
from unmask.diagnosis.visits import along, fits, law
from unmask.metrics.ngram_model import NgramModel

log = logging.getLogger(__name__)

#: nats a token below which a line is no cause
MATTERS = 0.01
#: masked fractions that a second curve is measured at, about
FEW = 4
#: order of the yardstick, which backs off to shorter runs
ORDER = 5
#: name -> what the line says, and what would put it right
LINES: dict[str, tuple[str, str]] = {
    "learned": ("What the model learned of its training text, beside the yardstick: one token a step, no vector.", ""),
    "vector": ("What the semantic vector tells of the text.", "condition.unused"),
    "inference": ("What inference computes beside what training computed.", "training.inputs"),
    "steps": ("What the number of steps costs, best divided, beside one token a step.", "sampler.schedule"),
    "division": ("How the tokens are divided among the steps, beside the best division.", "sampler.schedule"),
    "order": ("What the order of positions costs or saves, beside a random one.", "sampler.order"),
    "law": (
        "Temperature, top-k, top-p, guidance: the law drawn from beside the model's own.",
        "sampler.temperature",
    ),
    "draw": ("What was drawn beside the law that it is said to be drawn from.", "sampler.law"),
    "compounding": ("What the model is lost by in text that it wrote itself.", "training.inputs"),
    "held_out": ("Held-out text beside training text.", "training.data"),
    "recorded": ("What the loaded model scores beside what was recorded when it was trained.", "weights.loaded"),
    "unexplained": ("What the lines above do not account for.", ""),
}


@dataclass(frozen=True)
class Line:
    """One line of the ledger.

    Attributes:
        name: a key of :data:`LINES`.
        words: one sentence.
        nats: nats a token; positive is worse.
        repair: what would put it right, a key of :data:`unmask.diagnosis.repair.REPAIRS`; "" where that is not clear.
        open: what the ideal could still gain here where that is not ``nats`` (a vector that told the text would leave
            nothing open).
    """

    name: str
    words: str
    nats: Mean
    repair: str = ""
    open: Mean | None = None

    @property
    def cost(self) -> Mean:
        """What an ideal in its place would save."""
        return self.nats if self.open is None else self.open


@dataclass(frozen=True)
class Ledger:
    """The whole account.

    Attributes:
        lines: in the order of the way from training to text; "unexplained" last.
        reference: nats a token of the reference along the plan, under the model's own law.
        yardstick: the same of a 5-gram chain of training text.
        total: the distance, which the lines add up to.
        skill: how much worse a chain of pairs (bigrams) is than the model without a vector, one token a step.
        left_out: lines that do not apply or could not be measured, with the reason.
        cause: what the model is short of, where it writes badly and no check says why.
        why: why there is no account; empty where there is one.
    """

    lines: tuple[Line, ...] = ()
    reference: Mean | None = None
    yardstick: Mean | None = None
    total: Mean | None = None
    skill: Mean | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    cause: Finding | None = None
    why: str = ""

    def line(self, name: str) -> Line:
        """The line of a name.

        Raises:
            KeyError: it was left out.
        """
        for found in self.lines:
            if found.name == name:
                return found
        raise KeyError(name)

    @property
    def unexplained(self) -> Mean:
        """What the lines do not account for."""
        return self.line("unexplained").nats

    @property
    def largest(self) -> Line | None:
        """The line with the most to gain that is surely there and matters; None where there is none."""
        sure = [line for line in self.lines if line.name != "unexplained" and _size(line) > MATTERS]
        return max(sure, key=lambda line: abs(line.cost.value), default=None)

    def tree(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return plain(asdict(self))  # type: ignore[no-any-return]


def _size(line: Line) -> float:
    """How far a line is surely from nothing: upwards; for the draw either way, as it is to be what it is said to be."""
    cost = line.cost
    return abs(cost.value) - cost.room if line.name == "draw" else cost.surely_above


def ledger(context: CheckContext) -> Ledger:
    """Take the distance apart; an account without lines where it cannot be."""
    missing = [m for m in ("data", "predict") if not context.subject.provides(m)]
    if missing:
        return Ledger(why=f"the subject does not provide {', '.join(missing)}")
    try:
        return _Account(context).ledger()
    except (NotProvided, SubjectFault) as absent:
        return Ledger(why=f"{absent}")
    except Exception as error:
        # a broken account must not cost the checks their answers; it is said and logged
        log.exception("the ledger failed")
        return Ledger(why=f"the account itself failed ({type(error).__name__}: {error}); please report it")


class _Account:
    """Measures the lines of one subject, on the same held-out rows wherever the same rows can be asked."""

    def __init__(self, context: CheckContext) -> None:
        self.context, self.s = context, context.subject
        self.texts = min(len(context.batch), len(context.prompts))
        self.batch = context.batch.rows(0, self.texts)
        self.found: dict[str, Estimate] = {}
        self.open: dict[str, Estimate] = {}
        self.left_out: dict[str, str] = {}

    def ledger(self) -> Ledger:
        masked = self.s.kind == "masked"
        yardstick = self._yardstick(ORDER)
        reference, unexplained = self._masked() if masked else self._causal()
        learned = reference - yardstick - unexplained
        for name in ("inference", "held_out", "recorded", "vector", "steps", "division", "order"):
            if name in self.found:
                learned = learned - self.found[name]
        told = [self.found[name] for name in ("inference", "held_out", "recorded") if name in self.found]
        model = sum(told, learned + yardstick)
        if "vector" not in self.found and self.s.conditional and masked:
            self.left_out.setdefault("vector", "the rows came without vectors")
        self.found = {"learned": learned, **self.found}
        total = reference - yardstick
        for name in ("law", "draw", "compounding"):
            if name in self.found:
                total = total + self.found[name]
        self.found["unexplained"] = unexplained
        lines = tuple(self._line(name) for name in LINES if name in self.found)
        skill = self._yardstick(2) - model
        return Ledger(lines, reference.mean, yardstick.mean, total.mean, skill.mean, dict(self.left_out))

    def _line(self, name: str) -> Line:
        words, repair = LINES[name]
        if name == "law" and self.context.samples().guidance != 1:
            repair = "sampler.guidance"
        opened = self.open.get(name)
        return Line(name, words, self.found[name].mean, repair, None if opened is None else opened.mean)

    def _try(self, name: str, measure: Callable[[], Estimate]) -> None:
        """A line, or the reason why it is left out."""
        try:
            found = measure()
        except (NotProvided, SubjectFault, CheckpointError) as absent:
            self.left_out[name] = f"{absent}"
            return
        if found.value == found.value:
            self.found[name] = found
        else:
            self.left_out[name] = "nothing to measure it on"

    # -- the reference ------------------------------------------------------------------------------------------------
    def _yardstick(self, order: int) -> Estimate:
        """Nats a token of the held-out rows under a chain of training text; of a causal model from the second token."""
        context, ids_BL = self.context, self.batch.ids_BL
        first = 0 if self.s.kind == "masked" else 1
        judge = NgramModel(_texts(context, context.fit_ids), order, self.s.vocab_size)
        nats = [judge.nats(text)[first : len(text)] for text in _texts(context, ids_BL)]
        sum_T = torch.tensor([sum(x) for x in nats], dtype=torch.float64)
        return Estimate.ratio("held_out", sum_T, torch.tensor([len(x) for x in nats]))

    def _masked(self) -> tuple[Estimate, Estimate]:
        """The reference's nats along the plan, and what no line accounts for."""
        context = self.context
        curve = self._curve("held_out", context.at_ratio, sorted(context.budget.ratios))
        length = round(float(context.exists(self.batch.ids_BL).sum(1).double().mean()))
        one = curve.bound(length)
        self._conditional(curve, length)
        self._of_training(curve, length)
        try:
            reference = self._schedule(curve, length, one)
        except (NotProvided, SubjectFault) as absent:
            self.left_out |= dict.fromkeys(("steps", "division", "order", "law", "draw"), f"{absent}")
            reference = one
        else:
            self._draws()
        self._try("compounding", self._compounding)
        if "order" not in self.found:
            return reference, reference * 0.0
        # the path itself, step by step as the sampler went, beside the bound and the lines of the plan
        path = along(context, own_time=True)
        return path, path - one - self.found["steps"] - self.found["division"] - self.found["order"]

    def _schedule(self, curve: LossCurve, length: int, one: Estimate) -> Estimate:
        """Staircases of the plan's own steps and of the best division of as many; and what its order saves."""
        context, steps = self.context, self.context.samples().steps
        if not steps:
            raise NotProvided("steps in what generate returns")
        count_SB = torch.stack([s.drawn_BL.sum(1) for s in steps]).double().cpu()
        share_SB = torch.stack([context.masked_share(s.x_BL) for s in steps])
        drawn = count_SB > 0
        own = curve.cost(weights(share_SB[drawn], count_SB[drawn], curve.ratios_R))
        busy = round(float(drawn.double().sum(0).mean()))
        ideal = curve.cost(divided(best(length, busy, curve), curve.ratios_R))
        self.found |= {"steps": ideal - one, "division": own - ideal}
        reason = fits(context)
        if reason:
            self.left_out["order"] = reason
        else:
            self.found["order"] = along(context) - along(context, shuffled=True)
        return own

    def _conditional(self, curve: LossCurve, length: int) -> None:
        context, cond = self.context, self.batch.cond
        if not self.s.conditional or cond is None:
            return

        def without(ratio: float) -> TokenScores:
            state = replace(context.state(ratio).rows(0, self.texts), cond=cond.nulled())
            return context.score(state, self.batch.ids_BL)

        self._try("vector", lambda: self._apart(curve, "held_out", without, length))
        if self.s.asks:
            self.open["vector"] = curve.bound(length)

    def _apart(self, curve: LossCurve, sample: str, ask: Callable[[float], TokenScores], length: int) -> Estimate:
        """The bound minus that of another way to ask; both from a few of the ratios, as that is half the forwards."""
        few = list(range(len(curve.loss)))
        if len(few) > FEW:
            few = sorted({*few[::2], few[-1]})
        own = LossCurve(curve.ratios_R[few], [curve.loss[i] for i in few])
        return own.bound(length) - self._curve(sample, ask, own.ratios_R.tolist()).bound(length)

    def _curve(self, sample: str, ask: Callable[[float], TokenScores], ratios: Sequence[float]) -> LossCurve:
        asked = [ask(r) for r in ratios]
        loss = [self._mean(sample, s) for s in asked]
        return LossCurve(torch.tensor(ratios, dtype=torch.float64), loss)

    def _mean(self, sample: str, found: TokenScores) -> Estimate:
        """Nats a token of the account's rows."""
        mine_N = found.row_N.cpu() < self.texts
        return Estimate.of_tokens(sample, found.ce_N[mine_N], found.row_N.cpu()[mine_N], self.texts)

    def _causal(self) -> tuple[Estimate, Estimate]:
        context = self.context
        reference = self._mean("held_out", context.next_token())
        why = "a causal model writes one token a step, left to right"
        self.left_out |= {"steps": why, "division": why, "order": why}
        self.left_out["compounding"] = "a causal model cannot be asked about a token behind which others stand"
        self._of_training(None, 0)
        self._draws()
        return reference, reference * 0.0

    # -- training -----------------------------------------------------------------------------------------------------
    def _of_training(self, curve: LossCurve | None, length: int) -> None:
        self._try("inference", self._inference)
        self._try("held_out", lambda: self._generalisation(curve, length))
        self._try("recorded", self._recorded)

    def _inference(self) -> Estimate:
        """Training's own states put to ``predict``, minus what training computed there."""
        context, s = self.context, self.s
        if not s.provides("training_view"):
            raise NotProvided("training_view(batch, seed)")
        view = s.training_view(self.batch, 0)
        at_BL = context.some(view.scored_BL)
        found = context.score(State(view.x_BL, at_BL, view.cond), self.batch.targets)
        gap_N = found.ce_N - view.ce_N.double().cpu()[at_BL[view.scored_BL].cpu()]
        return Estimate.of_tokens("held_out", gap_N, found.row_N, self.texts)

    def _generalisation(self, curve: LossCurve | None, length: int) -> Estimate:
        context = self.context
        train = self.s.data(self.texts, "train")
        if self.s.conditional and train.cond is None:
            raise NotProvided("vectors of training rows")
        if curve is None:
            at_BL = context.in_text(train.ids_BL)
            at_BL[:, 0] = False
            known = context.score(State(train.ids_BL, context.some(at_BL), train.cond), train.ids_BL)
            return self._mean("held_out", context.next_token()) - self._mean("train", known)

        def known_at(ratio: float) -> TokenScores:
            return context.score(context.state(ratio, batch=train), train.ids_BL)

        return self._apart(curve, "train", known_at, length)

    def _recorded(self) -> Estimate:
        """Recorded states of recorded held-out rows: what they score now, minus what they scored."""
        record: Record = self.s.record()
        if record.when != "training":
            raise NotProvided(f"a record of its training (its own was recorded later, {record.made})")
        rows = record.splits["held_out"]
        now_SB = self.context.once(("recorded now", "held_out"), lambda: scores(self.s, rows))
        moved = _bound(record, rows, now_SB) - _bound(record, rows, rows.ce_SB)
        gap = self.found.get("inference")
        # both ask what inference computes now: what it computes otherwise than training is counted once
        shared = gap is not None and gap.mean.surely_above > 0 and moved.mean.surely_above > 0
        return moved - gap if gap is not None and shared else moved

    # -- the draw -----------------------------------------------------------------------------------------------------
    def _draws(self) -> None:
        self._try("law", lambda: law(self.context)[0])
        if "law" not in self.found:
            return
        altered = self.context.samples().altered
        if altered:
            self.left_out["draw"] = altered
        else:
            self.found["draw"] = law(self.context)[1]

    def _compounding(self) -> Estimate:
        """What hidden words of a text cost beyond what the model expects: in its own text, minus in true text."""
        context = self.context
        true = context.batch.rows(0, min(context.budget.samples, 32))
        own = Batch(context.once("rollout", lambda: context.rollout(true)), true.cond)

        def surprise(batch: Batch, sample: str) -> Estimate:
            found = []
            for name in range(2):
                x_BL, hidden_BL = context.hide(batch.ids_BL, 0.15, name)
                found.append(
                    context.score(State(x_BL, hidden_BL & context.in_text(batch.ids_BL), batch.cond), batch.ids_BL)
                )
            excess_N = torch.cat([f.ce_N - f.entropy_N for f in found])
            return Estimate.of_tokens(sample, excess_N, torch.cat([f.row_N for f in found]), len(batch))

        mine, data = surprise(own, "own"), surprise(true, "held_out")
        # a model that is too modest about true text is owed nothing for it
        return mine - data if data.value > 0 else mine


def _texts(context: CheckContext, ids_BL: torch.Tensor) -> list[list[Any]]:
    """Each row's ids, its end included, without padding."""
    inside_BL = context.in_text(ids_BL)
    return [row[inside].tolist() for row, inside in zip(ids_BL.cpu(), inside_BL.cpu(), strict=True)]


def _bound(record: Record, rows: RecordedSplit, ce_SB: torch.Tensor) -> Estimate:
    """Nats a token of recorded rows, one token a step."""
    count_SB = rows.asked_SBL.sum(2).cpu()
    loss = [
        Estimate.ratio("recorded", (ce_B * n_B).nan_to_num(), n_B) for ce_B, n_B in zip(ce_SB, count_SB, strict=True)
    ]
    if len(loss) == 1:
        return loss[0]
    return LossCurve(torch.tensor(record.ratios, dtype=torch.float64), loss).bound(rows.batch.ids_BL.shape[1])

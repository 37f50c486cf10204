"""What a badly writing model is short of: the ledger's largest line, and what training's own record says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unmask.core.errors import CheckpointError
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.learning_curve import LONGER, Trend, trend
from unmask.diagnosis.ledger import Ledger, Line
from unmask.diagnosis.size import size_tells, tokens_a_number
from unmask.diagnosis.statistics import Mean
from unmask.diagnosis.subject import NotProvided
from unmask.diagnosis.validated_subject import SubjectFault
from unmask.diagnosis.word_probe import Held, word_probe
from unmask.diagnosis.writing import WritingReport

#: nats a token that are worth a repair
WORTH = 0.05

#: line -> what its loss means, and what to do
SAID: dict[str, tuple[str, str]] = {
    "inference": (
        "Inference computes something else than training did.",
        "Compare the two calls one argument at a time.",
    ),
    "steps": ("Too many tokens are written in one step, blind to each other.", "Take more steps."),
    "division": (
        "The tokens are badly divided among the steps.",
        "Write fewer tokens in the first steps.",
    ),
    "order": ("The order of positions costs more than a random one would.", "Try order=random, or margin with noise."),
    "law": (
        "What is drawn from is far from what the model says.",
        "Draw at a temperature nearer to 1, from more of the vocabulary, and with less guidance.",
    ),
    "draw": ("What was drawn does not fit the law that it is said to be drawn from.", "Look at the sampler's draw."),
    "compounding": (
        "The model is lost in text that it wrote itself.",
        "Fewer tokens a step, remasking, or training on its own partial texts.",
    ),
    "held_out": (
        "It knows its training text and not held-out text: too little data for so long a training.",
        "Train on more texts, or stop earlier.",
    ),
    "recorded": (
        "The loaded model scores worse than when it was trained.",
        "Load the folder that training wrote, with the versions its record names.",
    ),
}

#: repair -> what to do, for what was not learned
DO = {
    "training.steps": "Train longer.",
    "training.data": "Train on more texts, or stop earlier.",
    "training.capacity": "Train a larger network; longer training of this one brings little.",
    "condition.unused": "Train with more high mask ratios and see that the vector reaches every block; the words are "
    "in it.",
    "": "Train with unmask train, which keeps a record beside the weights: it tells steps, size and data apart.",
}


@dataclass(frozen=True)
class _Learning:
    """What is known of the training.

    Attributes:
        more: what more steps would bring; None without a record of the loss over the steps.
        tokens_a_number: training tokens for each number in the network; None where these cannot be counted.
        gap: held-out text beside training text; None if it could not be measured.
        held: what a linear probe reads from the vectors; None without vectors.
        skill: nats a token by which a bigram chain is worse than the model without its vector.
    """

    more: Trend | None
    tokens_a_number: float | None
    gap: Mean | None
    held: Held | None
    skill: Mean | None

    @property
    def repair(self) -> str:
        """The training's fault that the evidence names; "" where it names none."""
        gap = self.gap.value if self.gap is not None and self.gap.surely_above > 0 else 0.0
        if self.more is not None and self.more.low > WORTH and self.more.gain >= gap:
            return "training.steps"
        if gap > WORTH:
            return "training.data"
        if self.held is not None and self.held.unused.surely_above > 0:
            return "condition.unused"
        if self.more is not None and self.more.high < 2 * WORTH and self.gap is not None:
            return "training.capacity"
        if self.more is None and self.gap is not None:
            # without a curve, its size tells: what is large for its data, and knows no text by heart, was stopped early
            return size_tells(self.tokens_a_number)
        return ""

    def words(self) -> str:
        said = []
        if self.more is None:
            said.append("training's losses over its steps were not recorded")
        else:
            said.append(f"{LONGER:g} times its {self.more.steps:,} steps would bring {self.more} nats a token at r = 1")
        if self.more is None and self.tokens_a_number is not None:
            said.append(f"{self.tokens_a_number:.2g} training tokens for each number in the network")
        if self.gap is not None:
            said.append(f"held-out text costs {self.gap} nats a token more than training text")
        if self.skill is not None:
            said.append(f"a chain of word pairs is {self.skill} nats a token worse than the model without a vector")
        if self.held is not None:
            said.append(
                f"a linear probe reads {self.held.probe.value:.0%} of a text's words from its vector, the model writes "
                f"{self.held.model.value:.0%}"
            )
        return "; ".join(said)


def with_cause(account: Ledger, context: CheckContext, wrote: WritingReport) -> Ledger:
    """The account with what the model is short of, if it writes badly."""
    if account.why or wrote.status != "fail":
        return account
    line = account.largest
    if line is None:
        cause = _no_line(account, context)
    elif line.name in SAID:
        fault, do = SAID[line.name]
        cause = _finding(fault, f"{line.cost} nats a token", do, line.repair, _share(account, line))
    else:
        cause = _not_learned(account, line, context)
    return replace(account, cause=cause)


def _no_line(account: Ledger, context: CheckContext) -> Finding:
    """Where no line is surely a loss, what is known of the training may still say what is short."""
    known = _learning(account, context)
    said = "no line of the ledger is surely above 0"
    if known.repair not in ("training.steps", "training.capacity"):
        fault = "It writes badly, and why cannot be told from here: no line of the ledger is surely a loss."
        return _finding(fault, said, "Use the full budget.")
    fault = "No line of the ledger is surely a loss; most likely it is "
    fault += "too little trained." if known.repair == "training.steps" else "too small a network."
    return _finding(fault, f"{said}; {known.words()}", DO[known.repair], known.repair)


def _not_learned(account: Ledger, line: Line, context: CheckContext) -> Finding:
    known = _learning(account, context)
    repair = known.repair
    fault = {
        "training.steps": "Too little trained: its loss at r = 1 was still falling."
        if known.more is not None
        else "Too little trained: large enough for its data, it knows training text no better than held-out text.",
        "training.data": "Too little data: it knows its training text much better than held-out text.",
        "training.capacity": "Too small a network: longer training brings little, and training text is as hard.",
        "condition.unused": "The vector holds words that the model does not write.",
        "": "It has not learned enough, and whether steps, size or data are short cannot be told from here.",
    }[repair]
    said = f"{line.cost} nats a token are open; {known.words()}"
    return _finding(fault, said, DO[repair], repair, _share(account, line))


def _learning(account: Ledger, context: CheckContext) -> _Learning:
    more, held = None, None
    try:
        record = context.subject.record()
        more = trend(record.curve) if record.when == "training" else None
    except (NotProvided, SubjectFault, CheckpointError):
        pass
    try:
        held = word_probe(context) if context.subject.asks else None
    except (NotProvided, SubjectFault):
        pass
    lines = {x.name: x.nats for x in account.lines}
    return _Learning(more, tokens_a_number(context), lines.get("held_out"), held, account.skill)


def _share(account: Ledger, line: Line) -> float:
    return line.cost.value / max(account.reference.value, 1e-9) if account.reference is not None else 0.0


def _finding(fault: str, measured: str, next_step: str, repair: str = "", share: float = 0.0) -> Finding:
    return Finding(
        "fail",
        check="ledger",
        title="What is it short of?",
        fault=fault,
        measured=measured,
        threshold="surely above 0, and the largest line",
        why="No fault of its wiring was found, so this is what its writing is short of.",
        next_step=next_step,
        repair=repair,
        share=share,
    )

"""The first statement of a verdict: how far what the model writes is from what it was to write.

Everything is measured on texts written *under the user's plan*, beside what was asked for, or beside held-out text, and
each number stands beside the same number of other held-out text (A/A). A yardstick says what is worth nothing: text
drawn from a 5-gram chain of the training text or from its clauses shuffled; where something was asked for, the nearest
of eight training texts; where rules say what is right, the cells of another row. Writing *fails* where it is surely
beyond the yardstick and *warns* where it only misses A/A, which for asked-for text is the text itself, of which a
twentieth may be lost. "Surely" is 3 standard errors with texts as units, more for few texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unmask.diagnosis.beside_asked import beside_asked
from unmask.diagnosis.beside_data import beside_data
from unmask.diagnosis.beside_rules import beside_rules
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, Status, plain, worst
from unmask.diagnosis.measure import Measure
from unmask.diagnosis.subject import NotProvided
from unmask.diagnosis.validated_subject import SubjectFault
from unmask.diagnosis.written_texts import WrittenTexts
from unmask.metrics.word_recall import word_recall

#: pairs of asked and written that are shown
SHOWN = 8


@dataclass(frozen=True)
class Pair:
    """One text: what was asked (or a held-out text to compare with), and what was written."""

    asked: str
    written: str
    scores: dict[str, float]


@dataclass(frozen=True)
class WritingReport:
    """What the model writes, and how far off it is.

    Attributes:
        status: the worst of its measures.
        sentence: the statement.
        asked: True if each text had a reference that it was to be.
        texts: how many were written.
        plan: how, in words.
        pairs: some of them.
        measures: the numbers.
    """

    status: Status
    sentence: str
    asked: bool = False
    texts: int = 0
    plan: str = ""
    pairs: tuple[Pair, ...] = ()
    measures: tuple[Measure, ...] = ()

    def measure(self, name: str) -> Measure:
        """The measure of a name.

        Raises:
            KeyError: there is none.
        """
        for found in self.measures:
            if found.name == name:
                return found
        raise KeyError(name)

    @property
    def finding(self) -> Finding:
        """The statement as a finding, for whoever follows a diagnosis as it goes."""
        return Finding(self.status, "writing", "What does it write?", self.sentence, self.sentence)

    def tree(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return plain(asdict(self))  # type: ignore[no-any-return]


def writing(context: CheckContext) -> WritingReport:
    """Write under the subject's plan and compare; ``not_run`` where the subject writes nothing or has no data."""
    missing = [m for m in ("data", "generate") if not context.subject.provides(m)]
    if missing:
        return WritingReport(
            "not_run", f"What it writes was not looked at: the subject does not provide {', '.join(missing)}."
        )
    try:
        texts = WrittenTexts.of(context)
        if context.subject.provides("obeys"):
            measures = beside_rules(texts)
        else:
            measures = [*(beside_asked(texts) if texts.asked else []), *beside_data(texts)]
    except NotProvided as absent:
        return _unseen(str(absent))
    except SubjectFault as fault:
        return WritingReport("fail", f"What it writes could not be looked at: {fault}.")
    status = worst([m.status for m in measures])
    return WritingReport(
        status=status,
        sentence=_sentence(status, measures),
        asked=texts.asked,
        texts=len(texts.written),
        plan=context.subject.plan_words,
        pairs=_pairs(texts),
        measures=tuple(measures),
    )


def _unseen(what: str) -> WritingReport:
    return WritingReport("not_run", f"What it writes was not looked at: the subject does not provide {what}.")


def _sentence(status: Status, measures: Sequence[Measure]) -> str:
    if status == "fail":
        said = "; ".join(m.why for m in measures if m.status == "fail")
        return f"It writes badly: {said}."
    if status == "warn":
        said = "; ".join(m.why for m in measures if m.status == "warn")
        return f"What it writes can be told from held-out text: {said}."
    if status == "pass":
        return "What it writes cannot be told from held-out text by what was measured."
    return "Nothing about its writing could be judged."


def _pairs(texts: WrittenTexts) -> tuple[Pair, ...]:
    found = []
    recall_N, of_N = word_recall(texts.written_texts, texts.data_texts)
    for i in range(min(SHOWN, len(texts.written_texts))):
        scores = {"word recall": float(recall_N[i] / max(of_N[i], 1))} if texts.asked else {}
        found.append(Pair(texts.data_texts[i], texts.written_texts[i], scores))
    return tuple(found)

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unmask.core.random import Stream, generator
from unmask.diagnosis.baselines import Baselines
from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.encoding import other_ids
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.statistics import Mean, difference, mean_by_text, plain_mean
from unmask.diagnosis.subject import NotProvided

#: held-out rows that are looked at, and training rows whose repetitions and encodings are
HELD_ROWS, CODED_ROWS = 600, 64
#: held-out rows in a half from which it is asked what the order of words tells
ORDERED_ROWS = 50
#: how far held-out text may lie from training text, as a share of what training text costs (or is long)
WARN, FAIL = 0.03, 0.1


@dataclass(frozen=True)
class _Found:
    """What the questions found so far: numbers, (size, repair, words) of what fails, and words of what warns."""

    numbers: dict[str, Any]
    faults: list[tuple[float, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SameData(Check):
    """Are held-out and training rows of one kind, and of different texts?

    No network is asked. (1) Pairs of neighbours are counted in one half of up to 20,000 training rows and price the
    other half and the held-out rows; lengths are compared too. Beyond 3 % of the training text's number, surely (4
    standard errors, texts as units, more for few), it warns, beyond 10 % it fails: another corpus, another tokenizer,
    or damaged text. (2) What the order of words tells, the cost of rows with their words shuffled minus the cost of
    the rows themselves, is asked of both sides: where one half of the held-out rows tells of the other surely 2 % of a
    word's entropy more than training rows tell of training rows, though there are more of these, the words of training
    stand in no order. (3) Held-out rows that stand in training: as many as training rows that stand there twice are
    the kind of text; surely one of a hundred more fails. (4) It fails if more than half of the training rows are
    repetitions. (5) Texts of training rows, encoded again, must give their ids: a twentieth may differ.
    """

    title = "Are held-out and training rows of one kind, and different texts?"
    fault = "Held-out and training rows do not fit together."
    needs = ("data",)
    repair = "training.data"
    leads_to = ("loss_by_ratio", "memorisation", "gap", "skill", "safe_words", "frontier", "length", "compounding")

    def run(self, context: CheckContext) -> Finding:
        if not context.subject.rows_are_texts:
            raise NotProvided("rows that are texts: here they are blocks, and one block stands in many texts")
        train_NL = context.train_ids
        held_NL = context.subject.data(HELD_ROWS).ids_BL
        found = _Found({"training_rows": len(train_NL), "held_out_rows": len(held_NL)})
        numbers, faults, warnings = found.numbers, found.faults, found.warnings
        self._repeated(train_NL, held_NL, found)
        if numbers["training_kinds"] > 0.5 and len(train_NL) >= 200:
            self._alike(context, train_NL, held_NL, found)
            self._ordered(context, train_NL, held_NL, found)
        self._encoded(context, found)
        worst = max(faults, default=(0.0, "", ""))
        status = "fail" if faults else "warn" if warnings else "pass"
        said = [words for _, _, words in faults] + warnings
        return Finding(
            status,  # type: ignore[arg-type]
            fault=f"{worst[2][:1].upper()}{worst[2][1:]}." if faults else "",
            measured="; ".join(said)
            or f"{len(held_NL)} held-out rows and {len(train_NL):,} training rows fit: "
            f"{numbers['in_training']:.1%} stand in both",
            threshold=f"{WARN:.0%} of training's cost and length ({FAIL:.0%} to fail); no more rows in both than "
            "training repeats",
            why="A score on other text than was trained on, or on the very text, does not say what the model learned."
            if status != "pass"
            else "Held-out text is new text of training's kind.",
            next_step="Split by text before cutting rows, remove duplicates, and make both sides by one tokenizer."
            if status != "pass"
            else "",
            numbers=numbers,
            share=min(1.0, worst[0]),
            own=bool(faults),
            repair=worst[1],
        )

    @staticmethod
    def _repeated(
        train_NL: Tensor,
        held_NL: Tensor,
        found: _Found,
    ) -> None:
        often = Counter(map(tuple, train_NL.tolist()))
        twice = sum(n for n in often.values() if n > 1) / len(train_NL)
        kinds = len(often) / len(train_NL)
        both_N = torch.tensor([float(tuple(row) in often) for row in held_NL.tolist()])
        both = plain_mean(both_N)
        found.numbers.update({"in_training": both.value, "repeated_in_training": twice, "training_kinds": kinds})
        held_kinds = len({tuple(row) for row in held_NL.tolist()}) / len(held_NL)
        if held_kinds <= 0.5:
            # so few different texts are there at all that those of the one side must stand on the other
            return
        if kinds <= 0.5:
            found.faults.append((1 - kinds, "training.data", f"{1 - kinds:.0%} of the training rows are repetitions"))
        words = f"{both.value:.0%} of the held-out rows stand in training"
        if both.surely_above > min(twice, 0.5) + 0.01 or both.value == 1.0:
            found.faults.append((both.value, "data.split", words))
        elif both.value > 0.01 and both.surely_above > min(twice, 0.5):
            found.warnings.append(words)

    @staticmethod
    def _alike(
        context: CheckContext,
        train_NL: Tensor,
        held_NL: Tensor,
        found: _Found,
    ) -> None:
        s, half = context.subject, len(train_NL) // 2
        counts = Baselines.fit(train_NL[:half].cpu(), s.vocab_size, s.eos_id, s.pad_id)
        sides = (train_NL[half : half + 3000].cpu(), held_NL.cpu())
        cost = [_priced(context, counts, side) for side in sides]
        length = [plain_mean(context.in_text(side).sum(1).double()) for side in sides]
        for (train, held), what, unit in (
            (cost, "pairs of neighbours", "nats a token"),
            (length, "length", "tokens"),
        ):
            gap = difference(held, train)
            surely = max(gap.surely_above, -gap.surely_below) / max(abs(train.value), 1e-9)
            found.numbers[f"{what}: training"], found.numbers[f"{what}: held out"] = train.value, held.value
            words = f"{what}: held-out text {held.value:.2f}, training text {train.value:.2f} {unit}"
            if surely > FAIL:
                found.faults.append((surely, "training.data", words))
            elif surely > WARN:
                found.warnings.append(words)

    @staticmethod
    def _ordered(
        context: CheckContext,
        train_NL: Tensor,
        held_NL: Tensor,
        found: _Found,
    ) -> None:
        """Whether the order of words tells anything in training, where it does in held-out text."""
        s, half = context.subject, len(held_NL) // 2
        if half < ORDERED_ROWS:
            return
        told = []
        for side in (train_NL.cpu(), held_NL.cpu()):
            first = len(side) // 2
            counts = Baselines.fit(side[:first], s.vocab_size, s.eos_id, s.pad_id)
            rows = side[first : first + 1000]
            told.append(difference(_priced(context, counts, _shuffled(context, rows)), _priced(context, counts, rows)))
        train, held = told
        found.numbers.update({"order_tells_in_training": train.value, "order_tells_held_out": held.value})
        cost = max(abs(context.counts.entropy), 1e-9)
        gap = difference(held, train)
        if gap.surely_above > 0.02 * cost:
            words = f"the order of words tells {train} nats a token in training rows, {held} in held-out rows"
            found.faults.append((min(1.0, gap.value / max(held.value, 1e-9)), "training.data", words))

    @staticmethod
    def _encoded(context: CheckContext, found: _Found) -> None:
        try:
            changed = other_ids(context, context.subject.data(CODED_ROWS, "train"))
        except NotProvided:
            return
        if changed is None:
            return
        found.numbers["training_rows_with_other_ids"] = changed
        if changed > 0.05:
            words = f"{changed:.0%} of the training texts, encoded again, give other ids than the training rows hold"
            found.faults.append((changed, "tokenizer", words))


def _shuffled(context: CheckContext, ids_NL: Tensor) -> Tensor:
    """Rows whose text, but for its end, stands in another order."""
    inside_NL = context.in_text(ids_NL)
    if context.subject.eos_id is not None:
        inside_NL = inside_NL & (ids_NL != context.subject.eos_id)
    noise_NL = torch.rand(ids_NL.shape, generator=generator(context.seed, Stream.SHUFFLE))
    order_NL = torch.where(inside_NL, noise_NL, 2.0 + torch.arange(ids_NL.shape[1])).argsort(1)
    return ids_NL.gather(1, order_NL)


def _priced(context: CheckContext, counts: Baselines, ids_NL: Tensor) -> Mean:
    """Nats a token of rows under pairs of neighbours."""
    inside_NL = context.in_text(ids_NL)
    left_NL = torch.nn.functional.pad(ids_NL[:, :-1], (1, 0), value=-1)
    return mean_by_text(counts.bigram_ce(left_NL[inside_NL], ids_NL[inside_NL]), inside_NL.nonzero()[:, 0])

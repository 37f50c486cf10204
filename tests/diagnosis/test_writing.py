"""The first statement: what is written beside what was asked, or beside the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from diagnosis_subjects import make_subject
from oracles import JointDenoiser, toy_joint
from unmask.diagnosis.context import BUDGETS, CheckContext
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped
from unmask.diagnosis.writing import WritingReport, writing
from unmask.diagnosis.written_texts import shuffled_pieces

SMALL = replace(BUDGETS["quick"], rows=32)


def toy(rows: int = 3000) -> NativeSubject:
    """Rows of an exact joint, and the denoiser that knows it."""
    denoiser = JointDenoiser(toy_joint(0, vocab=5, length=6))
    noise = torch.Generator().manual_seed(1)
    drawn = torch.multinomial(denoiser.joint.flatten(), rows, replacement=True, generator=noise)
    ids = denoiser.support()[drawn]
    return NativeSubject(denoiser, Batch(ids[:500]), Batch(ids[500:]))


class Writes(Wrapped):
    """A subject that writes what a function of the batch says."""

    def __init__(self, inner: Subject, write: Any) -> None:
        super().__init__(inner)
        self.write = write

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        return Generated(self.write(batch))


def of(subject: Subject) -> WritingReport:
    return writing(CheckContext(subject, SMALL))


def unigrams(subject: NativeSubject) -> Any:
    """Tokens by their counts, whatever stands around them: a table that never looks at its input."""
    ids = subject.data(2000, "train").ids_BL
    pool = ids[ids > 2]

    def write(batch: Batch) -> torch.Tensor:
        noise = torch.Generator().manual_seed(4)
        drawn = pool[torch.randint(len(pool), batch.ids_BL.shape, generator=noise)]
        return torch.where(batch.ids_BL > 2, drawn, batch.ids_BL)

    return write


def test_an_exact_sampler_is_not_told_from_the_data() -> None:
    found = of(toy())
    assert found.status == "pass" and not found.asked, found.sentence
    assert {m.name for m in found.measures} >= {"repeated pairs of tokens", "length, tokens"}


def test_word_counts_written_at_random_fail(sgdd: NativeSubject) -> None:
    plain = replace_cond(sgdd)
    found = of(Writes(plain, unigrams(sgdd)))
    assert found.status == "fail" and found.measure("judge: 5-grams, nats a token").status == "fail"


def replace_cond(subject: NativeSubject) -> Subject:
    """The same data without vectors: nothing is asked for."""
    plain = Wrapped(subject)
    plain.conditional = False
    return plain


def test_held_out_text_itself_passes_as_free_writing(sgdd: NativeSubject) -> None:
    other = sgdd.data(200).ids_BL[100:]
    found = of(Writes(replace_cond(sgdd), lambda batch: other[: len(batch)]))
    assert found.status == "pass", found.sentence


def test_the_texts_asked_for_pass(sgdd: NativeSubject) -> None:
    found = of(Writes(sgdd, lambda batch: batch.ids_BL))
    assert found.asked and found.status == "pass", found.sentence
    assert found.measure("exact match").written.value == 1 and found.measure("word recall").written.value == 1
    assert found.pairs[0].asked.strip() == found.pairs[0].written.strip()


def test_other_texts_than_asked_for_fail(sgdd: NativeSubject) -> None:
    """Fluent, varied, of the right length, and about something else: no worse than the data but for the asking."""
    other = sgdd.data(200).ids_BL[100:]
    found = of(Writes(sgdd, lambda batch: other[: len(batch)]))
    assert found.status == "fail" and found.measure("word recall").status == "fail", found.sentence


def test_repetition_beyond_twice_the_data_fails(sgdd: NativeSubject) -> None:
    def commas(batch: Batch) -> torch.Tensor:
        ids = batch.ids_BL.clone()
        ids[:, 4:8] = ids[:, 3:4]
        return ids

    found = of(Writes(replace_cond(sgdd), commas))
    assert found.measure("repeated pairs of tokens").status == "fail" and "repetitions" in found.sentence


def test_the_nearest_of_eight_is_the_yardstick(sgdd: NativeSubject) -> None:
    stick = of(Writes(sgdd, lambda batch: batch.ids_BL)).measure("word recall").yardstick
    assert stick is not None and 0.02 < stick.value < 0.6


def test_healthy_needs_both_statements(sgdd: NativeSubject) -> None:
    verdict = diagnose(Writes(sgdd, unigrams(sgdd)), budget=SMALL)
    assert verdict.status == "fail" and verdict.exit_code == 1
    assert verdict.writing is not None and verdict.writing.status == "fail"
    assert not verdict.headline.startswith("Healthy") and verdict.headline.startswith("It writes badly")
    assert verdict.tree()["writing"]["status"] == "fail"


def test_a_subject_that_writes_nothing_is_not_judged() -> None:
    class Silent(Subject):
        vocab_size = 5

        def data(self, n: int, split: Any = "held_out") -> Batch:
            return Batch(torch.ones(n, 4, dtype=torch.long))

    found = writing(CheckContext(Silent(), SMALL))
    assert found.status == "not_run" and "generate" in found.sentence


def test_shuffled_pieces_keep_words_and_lengths() -> None:
    texts = [[i * 10 + j for j in range(7)] for i in range(20)]
    found = shuffled_pieces(texts, 50, 0)
    assert {len(x) for x in found} == {7} and {w for x in found for w in x} <= {w for x in texts for w in x}
    assert all(x not in texts for x in found)


@pytest.mark.parametrize("asks", [True, False])
def test_a_subject_says_whether_its_rows_are_asked_for(asks: bool) -> None:
    subject = make_subject(conditional=True)
    other = Writes(subject, lambda batch: batch.ids_BL)
    other.asks_reference = asks
    assert of(other).asked is asks

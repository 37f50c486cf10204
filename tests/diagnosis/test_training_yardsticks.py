"""What is measured of training itself: yardsticks, data, and the weights of the reported number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from unmask.core.condition import Condition
from unmask.diagnosis.baselines import Baselines
from unmask.diagnosis.check import checks, run_check
from unmask.diagnosis.checks.bylength import _slope
from unmask.diagnosis.checks.latent_use import _area, _picked
from unmask.diagnosis.checks.skill import _still_falling
from unmask.diagnosis.context import BUDGETS, CheckContext
from unmask.diagnosis.encoding import other_ids
from unmask.diagnosis.size import tokens_a_number
from unmask.diagnosis.subject import Batch, Split, State, Subject
from unmask.diagnosis.token_probe import probed_ce

V, L = 20, 8


class Chain(Subject):
    """Rows of a Markov chain with a vector that says which words a row has; nothing is learned."""

    name, kind, vocab_size, mask_id, conditional = "chain", "masked", V, V - 1, True

    def __init__(self, order: bool = True, own: bool = True) -> None:
        self.order, self.own = order, own

    def data(self, n: int, split: Split = "held_out") -> Batch:
        noise = torch.Generator().manual_seed(0 if split == "train" else 1)
        table = torch.softmax(4 * torch.randn(V - 1, V - 1, generator=torch.Generator().manual_seed(9)), -1)
        ids = [torch.randint(0, V - 1, (4000,), generator=noise)]
        for _ in range(L - 1):
            ids.append(torch.multinomial(table[ids[-1]], 1, generator=noise)[:, 0])
        ids_BL = torch.stack(ids, 1)[: min(n, 4000)]
        if split == "train" and not self.order:
            ids_BL = ids_BL.gather(1, torch.rand(ids_BL.shape, generator=noise).argsort(1))
        words = torch.nn.functional.one_hot(ids_BL, V).float().sum(1)
        return Batch(ids_BL, Condition.of(words))

    def predict(self, state: State) -> torch.Tensor:
        assert state.cond is not None
        rows = state.at_BL.nonzero()[:, 0]
        logits = torch.zeros(len(rows), V)
        logits[:, V - 1] = -torch.inf
        return logits


def context(subject: Subject) -> CheckContext:
    return CheckContext(subject, BUDGETS["quick"])


def test_a_linear_reading_finds_the_words_of_a_vector() -> None:
    bench = context(Chain())
    batch = bench.batch
    row, col = torch.ones_like(batch.ids_BL).nonzero(as_tuple=True)
    assert batch.cond is not None
    read = probed_ce(bench, batch.cond.latent_BZ, row, batch.ids_BL[row, col])
    counts = bench.counts.unigram_ce(batch.ids_BL[row, col])
    # a row holds 8 words at most, of 19: knowing which saves two nats and more of nearly three
    assert read is not None and float(read.mean()) < float(counts.mean()) - 0.7
    finding = run_check(checks.make("latent_use"), bench)
    assert finding.numbers["unused_nats_a_text"] > 5 and finding.numbers["told_nats_a_text"] == pytest.approx(
        0, abs=1e-5
    )


def test_vectors_of_the_row_before_are_told() -> None:
    table = torch.full((12, 12), -9.0)
    table[torch.arange(12), (torch.arange(12) + 1) % 12] = 0.0
    own, _, beside = _picked(table)
    assert own.value == 0 and beside[1].value == 1 and beside[-1].value == 0


def test_the_area_under_a_line() -> None:
    assert _area([0.1, 0.5, 1.0], [3.0, 3.0, 3.0]) == pytest.approx(3.0)
    assert _area([0.0, 1.0], [0.0, 2.0]) == pytest.approx(1.0)


def test_shuffled_training_text_is_told_from_ordered() -> None:
    assert run_check(checks.make("data"), context(Chain())).status == "pass"
    finding = run_check(checks.make("data"), context(Chain(order=False)))
    assert finding.status == "fail" and finding.repair == "training.data" and "order of words" in finding.measured


def test_a_model_that_knows_nothing_has_no_skill() -> None:
    finding = run_check(checks.make("skill"), context(Chain()))
    assert finding.status == "fail" and finding.repair == "training.capacity" and finding.numbers["never_looks"]
    pairs = Baselines.fit(Chain().data(4000, "train").ids_BL, V, None, None)
    assert finding.numbers["bigram_nats"] < pairs.entropy < finding.numbers["nats_a_token"]


class Dull(Chain):
    """Knows that an id in sight is likely again, and has so many numbers."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def predict(self, state: State) -> torch.Tensor:
        logits = super().predict(state)
        row_N = state.at_BL.nonzero()[:, 0]
        return logits + torch.nn.functional.one_hot(state.x_BL[row_N], V).sum(1).float().index_fill(
            1, torch.tensor([V - 1]), 0.0
        )

    def weights(self) -> dict[str, torch.Tensor]:
        return {"w": torch.ones(self.size), "ids": torch.ones(9, dtype=torch.long)}


@pytest.mark.parametrize(("size", "repair"), [(500_000, "training.steps"), (2000, "training.capacity")])
def test_without_a_curve_its_size_tells(size: int, repair: str) -> None:
    bench = context(Dull(size))
    # 4,000 rows of 8 ids
    assert tokens_a_number(bench) == 32_000 / size
    finding = run_check(checks.make("skill"), bench)
    assert finding.status == "fail" and finding.repair == repair and not finding.numbers["never_looks"]


@pytest.mark.parametrize(
    ("curve", "falling"),
    [([(1, 5.0), (2, 4.0), (3, 3.0)], True), ([(1, 5.0), (2, 3.0), (3, 2.99)], False), ([(2, 3.0), (3, 3.5)], False)],
)
def test_a_curve_says_whether_it_was_still_falling(curve: list[tuple[float, float]], falling: bool) -> None:
    assert _still_falling(curve) is falling


def test_the_slope_of_means_of_rows_is_minus_one() -> None:
    length = torch.arange(4, 40).double()
    x = length.log() - length.log().mean()
    assert _slope(x, torch.ones_like(x)).value == pytest.approx(0.0)
    assert _slope(x, 1 - x).value == pytest.approx(-1.0)


class Letters:
    """A tokenizer of letters; ``merged`` also knows "ab" as one id."""

    def __init__(self, merged: bool) -> None:
        self.merged = merged

    def encode(self, text: str, **_: Any) -> list[int]:
        if self.merged:
            text = text.replace("ab", "z")
        return [ord(letter) - 96 for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(i + 96) for i in ids).replace("z", "ab")


@pytest.mark.parametrize(("merged", "changed"), [(True, 0.0), (False, 0.5)])
def test_another_segmentation_gives_other_ids(merged: bool, changed: float) -> None:
    made, texts = Letters(True), ("abc", "cde")
    rows = [made.encode(text) for text in texts]
    ids = torch.tensor([row + [0] * (4 - len(row)) for row in rows])

    class Spelled(Chain):
        def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, None]:
            found = [self.tokenizer.encode(text) for text in texts]
            return torch.tensor([row + [0] * (5 - len(row)) for row in found]), None

    subject = Spelled()
    subject.tokenizer, subject.pad_id = Letters(merged), 0
    bench = context(subject)
    assert other_ids(bench, replace(Batch(ids), texts=texts)) == changed
    # what comes back is the same text under both
    assert [subject.tokenizer.decode(row) for row in rows] == list(texts)

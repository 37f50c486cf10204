"""Steps of rows of similar length: every row in its turn, the same steps for a seed, little padding."""

import numpy as np
import pytest
import torch

from unmask.core.errors import UsageError
from unmask.core.random import generator
from unmask.data.canvas import NarrowCollate, collate, padded_width
from unmask.diffusion.process import MaskingProcess
from unmask.training.shuffle import RowsByLength, ShuffledRows

LENGTHS = np.random.default_rng(0).integers(1, 65, 1000)


def by_length(rows=1000, total=4000, step=8, seed=3):
    return RowsByLength(ShuffledRows(rows, total, seed), LENGTHS[:rows], step)


def test_a_window_holds_the_rows_of_the_shuffle():
    drawn, plain = list(by_length()), list(ShuffledRows(1000, 4000, 3))
    assert len(drawn) == 4000
    for start in range(0, 4000, 400):
        assert sorted(drawn[start : start + 400]) == sorted(plain[start : start + 400])


def test_rows_of_a_step_are_of_similar_length():
    def spread(rows):
        return np.ptp(LENGTHS[np.array(list(rows)).reshape(-1, 8)], axis=1).mean()

    assert spread(by_length()) < 5 < 40 < spread(ShuffledRows(1000, 4000, 3))
    first = LENGTHS[np.array(list(by_length())).reshape(-1, 8)][:, 0]
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.3  # short and long steps take turns


def test_a_step_is_a_function_of_seed_and_number():
    assert list(by_length(total=1000)) == list(by_length(total=4000))[:1000]
    assert list(by_length(seed=4)) != list(by_length(seed=3))


def test_few_rows_do_not_repeat_in_a_step():
    for step in np.array(list(by_length(rows=40, total=4000))).reshape(-1, 8):
        assert len(set(step.tolist())) == 8
    assert len(list(by_length(rows=5, total=64))) == 64  # fewer rows than a step has


@pytest.mark.parametrize("longest", [1, 8, 40, 64, 100, 1024])
def test_few_widths_hold_every_length(longest):
    widths = [padded_width(n, longest) for n in range(1, longest + 1)]
    assert all(n <= w <= longest for n, w in zip(range(1, longest + 1), widths, strict=True))
    assert len(set(widths)) <= 8 and all(w % 8 == 0 or w == longest for w in widths)


def test_a_batch_is_cut_to_its_width():
    rows = [{"input_ids": torch.arange(40), "length": n} for n in (3, 11)]
    cut = NarrowCollate(40)(rows)
    assert cut["input_ids"].shape == (2, 16)
    assert torch.equal(cut["input_ids"], collate(rows)["input_ids"][:, :16])


@pytest.mark.parametrize("estimator", ["count", "time"])
def test_noise_does_not_depend_on_the_padding(estimator):
    law = MaskingProcess(estimator, word_dropout=0.2)
    ids = torch.randint(5, 50, (6, 24), generator=torch.Generator().manual_seed(0))
    length = torch.tensor([3, 8, 1, 7, 5, 8])

    def hidden(width, part=None, rows=slice(None)):
        valid = torch.arange(width) < length[rows, None]
        return law.corrupt(ids[rows, :width], 2, generator(0), valid, part=part, width=24)

    narrow, wide = hidden(8), hidden(24)
    assert torch.equal(narrow.masked_BL, wide.masked_BL[:, :8]) and not wide.masked_BL[:, 8:].any()
    assert torch.equal(narrow.fraction_B, wide.fraction_B)
    part = hidden(16, part=(2, 6), rows=slice(2, 4))
    assert torch.equal(part.masked_BL[:, :8], narrow.masked_BL[2:4])
    with pytest.raises(UsageError, match="width=8"):
        law.corrupt(ids, 2, generator(0), width=8)

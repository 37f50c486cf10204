"""Every epoch is a permutation, each another one, found again from its number alone."""

import torch

from unmask.training.shuffle import ShuffledRows, shuffled


def test_every_epoch_visits_every_row_once():
    for rows in (1, 2, 3, 5, 64, 1000, 4097):
        drawn = list(ShuffledRows(rows, 3 * rows, seed=7))
        epochs = [drawn[i * rows : (i + 1) * rows] for i in range(3)]
        assert all(sorted(e) == list(range(rows)) for e in epochs)
        assert rows < 64 or (epochs[0] != epochs[1] and epochs[0] != sorted(epochs[0]))


def test_a_place_is_a_function_of_seed_and_number():
    order = ShuffledRows(1000, 20_000, seed=1)
    drawn = list(order)
    assert order.at(torch.tensor([19_999, 3, 8192])).tolist() == [drawn[19_999], drawn[3], drawn[8192]]
    assert list(ShuffledRows(1000, 100, seed=2)) != drawn[:100]


def test_places_are_uniform():
    """Chi-square of where row 0's place lands over seeds: 9 degrees of freedom, 0.1 % point 27.9."""
    zero = torch.zeros(1, dtype=torch.int64)
    counts = torch.bincount(torch.cat([shuffled(zero, 10, seed, zero) for seed in range(3000)]), minlength=10)
    assert float(((counts - 300.0) ** 2 / 300).sum()) < 27.9

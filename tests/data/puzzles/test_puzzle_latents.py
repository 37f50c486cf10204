"""Latents and observations: the functions against their definitions, the judge, the triples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from unmask.core.errors import UsageError
from unmask.data.puzzles.kinds.hashing import Hashing
from unmask.data.puzzles.kinds.nae_sat import NaeSat
from unmask.data.puzzles.kinds.sorting import Sorting


def test_triples_are_distinct_seeded_and_run_through_all() -> None:
    puzzle = NaeSat(n=6, p=20)
    assert {tuple(t) for t in puzzle.triples.tolist()} == set(itertools.combinations(range(6), 3))
    some = NaeSat(n=25, p=275, seed=1).triples
    assert len({tuple(sorted(t)) for t in some.tolist()}) == 275
    assert torch.equal(some, NaeSat(n=25, p=275, seed=1).triples)
    assert not torch.equal(some, NaeSat(n=25, p=275, seed=2).triples)
    with pytest.raises(UsageError, match="20 triples"):
        NaeSat(n=6, p=21)


def test_nae_sat_is_zero_only_for_equal_triples() -> None:
    puzzle = NaeSat(n=5, p=10)
    bits = torch.tensor(list(itertools.product((0, 1), repeat=5)))
    seen = puzzle.observe(bits)
    for row, x in enumerate(bits.tolist()):
        for j, (a, b, c) in enumerate(puzzle.triples.tolist()):
            assert seen[row, j] == (0 if x[a] == x[b] == x[c] else 1)
    # closed form: a quarter of all triples are equal
    assert seen.float().mean().item() == 0.75


def test_hash_and_sorting_follow_their_definitions() -> None:
    puzzle = Hashing(n=5, p=10, modulus=7)
    x = torch.tensor([[1, 2, 3, 4, 5]])
    want = [(x[0, a] + x[0, b] * x[0, c]).item() % 7 for a, b, c in puzzle.triples.tolist()]
    assert puzzle.observe(x)[0].tolist() == want
    assert Sorting(n=4).canvas(torch.tensor([[3, 0, 9, 3]]))[0].tolist() == [4, 1, 10, 4, 1, 4, 4, 10]


@pytest.mark.parametrize("puzzle", [NaeSat(), Hashing(), Sorting()])
def test_incidence_tells_what_each_observation_depends_on(puzzle: NaeSat | Hashing | Sorting) -> None:
    """Changing a latent may change only observations incident to it, and each incident one is changed by some draw."""
    x = puzzle.draw(400, torch.Generator().manual_seed(0))
    moved = torch.zeros(puzzle.observations, puzzle.latents, dtype=torch.bool)
    for n in range(puzzle.latents):
        y = x.clone()
        y[:, n] = (y[:, n] + 1) % puzzle.values
        moved[:, n] = (puzzle.observe(x) != puzzle.observe(y)).any(dim=0)
    assert torch.equal(moved, puzzle.incidence())


def test_any_latents_that_explain_the_observations_are_right() -> None:
    puzzle = NaeSat(n=8, p=40)
    batch = puzzle.sample(50, np.random.default_rng(0))
    flipped = batch.answer_BL.clone()
    flipped[:, :8] = 3 - flipped[:, :8]  # not-all-equal does not see which value is which
    assert puzzle.correct(batch.answer_BL, batch).all() and puzzle.correct(flipped, batch).all()
    one = batch.answer_BL.clone()
    one[:, 8] = 3 - one[:, 8]
    assert not puzzle.correct(one, batch).any()
    agreement = puzzle.consistent(one)
    assert not agreement[:, 0].any() and agreement[:, 1:].all()


def test_hidden_latents_agree_with_nothing_they_feed() -> None:
    puzzle = NaeSat(n=8, p=40)
    x = puzzle.sample(20, np.random.default_rng(1)).answer_BL
    x[:, 3] = 0
    assert torch.equal(puzzle.consistent(x), (~puzzle.incidence()[:, 3]).expand(20, -1))


def test_relations_are_the_incidence() -> None:
    puzzle = NaeSat(n=6, p=9)
    reads, read_by, together = puzzle.relations(torch.zeros(1, 15, dtype=torch.long))
    assert torch.equal(reads[6:, :6], puzzle.incidence()) and not reads[:6].any() and not reads[:, 6:].any()
    assert torch.equal(read_by, reads.T)
    pairs = {p for t in puzzle.triples.tolist() for p in itertools.permutations(t, 2)}
    assert {tuple(p) for p in together.nonzero().tolist()} == pairs


def test_text_is_read_and_refused() -> None:
    puzzle = NaeSat(n=3, p=1)
    assert puzzle.read("01.1").answer_BL.tolist() == [[1, 2, 0, 2]]
    for line, said in (("0101.", "4 values, not 5"), ("0121", "value 3 is '2'"), ("0110", "make it 1")):
        with pytest.raises(UsageError, match=said):
            puzzle.read(line)
    assert Sorting(n=2, top=30).read("12 . 5 .").answer_BL.tolist() == [[13, 0, 6, 0]]

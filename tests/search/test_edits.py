"""Edits, and several in one."""

import pytest
import torch

from unmask.search.hypothesis import Edit, Hypothesis, joined
from unmask.search.join import combinations

UNITS = ("a", "b", "c", "d")


def test_joined_edits_are_each_made():
    edits = (Edit(1, 2, ("x", "y")), Edit(3, 3, ("z",)), Edit(0, 1, ()))
    assert joined(edits, UNITS) == ("x", "y", "c", "z", "d")


@pytest.mark.parametrize(
    "one, other, clash",
    [
        ((0, 2), (1, 3), True),
        ((0, 1), (1, 2), False),
        ((1, 1), (1, 1), True),
        ((1, 1), (0, 3), True),
        ((0, 0), (2, 3), False),
    ],
)
def test_edits_of_one_place_clash(one, other, clash):
    a, b = Edit(*one, ("x",)), Edit(*other, ("y",))
    assert a.clashes(b) == b.clashes(a) == clash


def hypothesis(units, vector, **more):
    return Hypothesis(units, " ".join(units), [], float(vector[0]), 0.0, torch.tensor(vector), "test", **more)


def test_the_pair_that_adds_up_comes_first():
    # neither of the two moves towards the target alone; their sum does
    parent = hypothesis(UNITS, [0.6, 0.0, 0.8])
    changes = {
        Edit(0, 1, ("x",)): [0.4, 0.5, -0.4],
        Edit(2, 3, ("y",)): [0.0, -0.5, -0.4],
        Edit(1, 2, ("z",)): [0.0, 0.1, 0.1],
    }
    for edit, change in changes.items():
        vector = [a + b for a, b in zip([0.6, 0.0, 0.8], change, strict=True)]
        parent.tried.append((edit, hypothesis(edit.on(UNITS), vector)))
    best = combinations(parent, torch.tensor([1.0, 0.0, 0.0]), 3)[0]
    assert {edit.units for edit in best} == {("x",), ("y",)}


def test_no_combination_clashes():
    parent = hypothesis(UNITS, [0.6, 0.8, 0.0])
    for start in (0, 0, 1, 1, 2):
        edit = Edit(start, start + 1, (f"w{len(parent.tried)}",))
        parent.tried.append((edit, hypothesis(edit.on(UNITS), [0.7, 0.6, 0.1])))
    for edits in combinations(parent, torch.tensor([1.0, 0.0, 0.0]), 50):
        assert not any(a.clashes(b) for a in edits for b in edits if a is not b)

"""Zebra puzzles: every answer checked against a brute-force enumeration, symmetries, canvas and text."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from unmask.core.errors import UsageError
from unmask.data.puzzles.kinds.zebra import Zebra
from unmask.data.puzzles.kinds.zebra_items import ZebraItems
from unmask.data.puzzles.split import is_test
from unmask.data.puzzles.zebra.generate import Zebras, count, fill_order, generate
from unmask.data.puzzles.zebra.rules import KINDS
from unmask.data.puzzles.zebra.symmetry import signature
from unmask.data.puzzles.zebra.text import clue_text, parse

SAYS = {
    "same": lambda x, y: x == y,
    "differs": lambda x, y: x != y,
    "just left of": lambda x, y: y == x + 1,
    "left of": lambda x, y: x < y,
    "beside": lambda x, y: abs(x - y) == 1,
    "apart": lambda x, y: abs(x - y) == 2,
}


def brute(zebras: Zebras, row: int) -> list[list[int]]:
    """Every assignment of houses that obeys all clues, by trying them all."""
    houses, attributes = zebras.houses, zebras.attributes
    clues = [(KINDS[k], x, y) for k, x, y in zebras.clue_BK3[row].tolist() if k]
    found = []
    for choice in itertools.product(itertools.permutations(range(houses)), repeat=attributes):
        home = [h for order in choice for h in order] + list(range(houses))
        if all(SAYS[kind](home[x], home[y]) for kind, x, y in clues):
            found.append(home[:-houses])
    return found


@pytest.mark.parametrize(("houses", "attributes"), [(3, 3), (4, 3), (3, 4)])
def test_puzzles_have_the_one_solution_that_brute_force_finds(houses: int, attributes: int) -> None:
    made = generate(houses, attributes, 8, np.random.default_rng(0))
    for row in range(8):
        assert brute(made, row) == [made.home_BI[row].tolist()]


def test_count_agrees_with_brute_force_when_clues_are_missing() -> None:
    made = generate(3, 3, 12, np.random.default_rng(1))
    for cut in (0, 1, 3):
        fewer = Zebras(3, 3, made.home_BI, made.clue_BK3[:, cut:])
        want = [len(brute(fewer, row)) for row in range(12)]
        assert count(fewer, limit=1000)[0].tolist() == want
    assert max(want) > 1
    # "x left of y" and "y left of x" together have no solution
    clash = np.array([[[4, 0, 1], [4, 1, 0]]])
    assert count(Zebras(3, 3, made.home_BI[:1], clash))[0].tolist() == [0]


def test_no_clue_can_be_spared() -> None:
    made = generate(5, 4, 10, np.random.default_rng(2))
    assert (count(made)[0] == 1).all()
    for slot in range(made.clue_BK3.shape[1]):
        fewer = made.clue_BK3.copy()
        fewer[:, slot] = 0
        used = made.clue_BK3[:, slot, 0] > 0
        assert (count(Zebras(5, 4, made.home_BI, fewer))[0] == np.where(used, 2, 1)).all()


def test_largest_puzzles_are_unique() -> None:
    made = generate(6, 6, 2, np.random.default_rng(3))
    found, home = count(made)
    assert found.tolist() == [1, 1] and (home == made.home_BI).all()


def test_fill_order_reasons_from_what_is_known() -> None:
    # A1 is pinned by the first clue, B2 by it, then B3 by its neighbour on the right of B2, and so on.
    puzzle = parse("3x3; A1 same H1; B2 same A1; B2 just left of B3; C1 same B3; A2 just left of A3; C2 left of C3")
    rank, cases = fill_order(puzzle)
    assert cases.tolist() == [0]
    order = {name: int(rank[0, i]) for i, name in enumerate(f"{a}{v}" for a in "ABC" for v in "123")}
    assert order["A1"] == 1 and order["A1"] < order["B2"] < order["B3"] < order["C1"]
    assert sorted(order.values()) == list(range(1, 10))


def test_signature_is_kept_by_symmetries_and_only_by_them() -> None:
    def key(clues: str) -> int:
        return int(signature(parse("3x3;" + clues))[0])

    puzzle = key("A1 same H1; B2 same A1; B2 just left of B3; C1 same B3; A2 just left of A3; C2 left of C3")
    mirrored = key("A1 same H3; B2 same A1; B3 just left of B2; C1 same B3; A3 just left of A2; C3 left of C2")
    # A, B, C became B, C, A, values were renamed, clues reordered, and "same" was said the other way round
    renamed = key("A3 left of A2; B2 same H1; B2 same C3; B1 just left of B3; A1 same C1; C3 just left of C1")
    weaker = key("A1 same H1; B2 same A1; B2 just left of B3; C1 same B3; A2 left of A3; C2 left of C3")
    moved = key("A1 same H1; B2 same A1; B2 just left of B3; C1 same B3; A2 just left of A3; C2 left of B3")
    assert puzzle == mirrored == renamed
    assert len({puzzle, weaker, moved}) == 3
    made = generate(4, 4, 300, np.random.default_rng(4))
    assert len(set(signature(made).tolist())) == 300


def test_puzzles_stay_on_their_side_whatever_the_symmetry() -> None:
    def sides(puzzle: Zebra, seed: int) -> set[bool]:
        batch = puzzle.sample(120, np.random.default_rng(seed))
        for twist in range(2):
            batch = puzzle.augment(batch, np.random.default_rng(twist))
        texts = [";".join(["3x3", *puzzle.show(x).splitlines()[4:]]) for x in batch.question_BL]
        return {bool(is_test(signature(parse(t)))[0]) for t in texts}

    # without a split one puzzle in sixteen would be on the other side
    assert sides(Zebra(3, 3, "train"), 0) == {False} and sides(Zebra(3, 3, "test"), 1) == {True}
    assert sides(Zebra(3, 3), 2) == {False, True}


def test_canvas_round_trips_through_text() -> None:
    puzzle = Zebra(4, 4)
    batch = puzzle.sample(5, np.random.default_rng(5))
    for row in range(5):
        clues = puzzle.show(batch.question_BL[row]).splitlines()[5:]
        again = puzzle.read("4x4\n" + "\n".join(clues))
        assert torch.equal(again.answer_BL[0], batch.answer_BL[row])
        assert torch.equal(again.given_BL[0], batch.given_BL[row])
    made = generate(3, 3, 1, np.random.default_rng(6))
    line = "; ".join(["3x3"] + [clue_text(c, 3, 3) for c in made.clue_BK3[0] if c[0]])
    assert (parse(line).home_BI == made.home_BI).all()


def test_rules_judge_not_the_stored_answer() -> None:
    puzzle = Zebra(3, 4)
    batch = puzzle.sample(40, np.random.default_rng(7))
    assert puzzle.correct(batch.answer_BL, batch).all()
    assert not puzzle.obeys(batch.question_BL).any()
    # two values of one attribute exchanged: still a street, but the one solution is gone
    swapped = batch.answer_BL.clone()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    assert not puzzle.correct(swapped, batch).any()
    # the same canvas with the clues taken away obeys the rules that are left, but is not what was asked
    bare = swapped.clone()
    bare[:, puzzle.form.cells :] = 1
    assert puzzle.obeys(bare).all() and not puzzle.correct(bare, batch).any()
    twice = batch.answer_BL.clone()
    twice[:, 1] = twice[:, 0]
    wrong_row = batch.answer_BL.clone()
    wrong_row[:, 0] = batch.answer_BL[:, 4]
    assert not puzzle.obeys(twice).any() and not puzzle.obeys(wrong_row).any()


def test_relations_follow_the_clues_and_not_the_answer() -> None:
    puzzle = Zebra(3, 3)
    batch = puzzle.read(
        "3x3; A1 same H1; B2 same A1; B2 just left of B3; C1 same B3; A2 just left of A3; C2 left of C3"
    )
    stack = puzzle.relations(batch.question_BL)
    assert torch.equal(stack, puzzle.relations(batch.answer_BL))
    attribute, house, clue, about_attribute, about_house, item = stack[0]
    assert attribute[0, :9].nonzero().flatten().tolist() == [1, 2] and house[0, :9].nonzero().flatten().tolist() == [
        3,
        6,
    ]
    first, second = 9, 12  # where the first two clues begin: "A1 same H1", "B2 same A1"
    assert clue[first].nonzero().flatten().tolist() == [first + 1, first + 2]
    assert about_attribute[first + 1].nonzero().flatten().tolist() == [0, 1, 2]
    assert about_house[first + 2].nonzero().flatten().tolist() == [0, 3, 6]
    assert item[first + 1].nonzero().flatten().tolist() == [second + 2]
    assert torch.equal(stack, stack.transpose(2, 3))
    assert not stack[:, :, -1].any(), "unused slots are related to nothing"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("7x3; A1 same B1", "7x3"),
        ("3x3; A1 is B1", "'is' in the clue"),
        ("3x3; A1 besid B1", "did you mean 'beside'"),
        ("3x3; D1 same B1", "D1 in the clue"),
        ("3x3; A4 same B1", "A4 in the clue"),
        ("3x3; hello", "'hello' is no clue"),
        ("3x3; A1 same B1", "several solutions"),
        ("3x3; A1 same B1; A1 differs B1", "contradict each other"),
        ("3x3; A1 right of B2", "write 'B2 left of A1'"),
        ("3x3; A\u0661 same B1", "is no clue"),
    ],
)
def test_bad_text_is_explained(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(line)


def test_case_and_spaces_do_not_matter() -> None:
    line = "3x3; A1 same H1; B2 same A1; B2 just left of B3; C1 same B3; A2 just left of A3; C2 left of C3"
    assert (parse(line.lower().replace("3x3", "3 X 3")).home_BI == parse(line).home_BI).all()


def test_a_puzzle_too_large_for_the_canvas_is_refused() -> None:
    made = generate(4, 4, 1, np.random.default_rng(8))
    line = "; ".join(["4x4"] + [clue_text(c, 4, 4) for c in made.clue_BK3[0] if c[0]])
    with pytest.raises(UsageError, match="4x4"):
        Zebra(3, 3).read(line)


def test_a_single_puzzle_of_the_rare_side_can_be_asked_for() -> None:
    """One draw may hold no puzzle of the side that was asked for; it is then drawn again."""
    for seed in range(12):
        assert len(Zebra(side="test").sample(1, np.random.default_rng(seed))) == 1


def test_both_views_hold_the_same_puzzles() -> None:
    """Houses or items as positions: same puzzles, same verdicts, same texts, same order of filling."""
    for largest in (3, 5):
        houses, items = Zebra(3, largest), ZebraItems(3, largest)
        a, b = (puzzle.sample(30, np.random.default_rng(9)) for puzzle in (houses, items))
        assert [houses.show(x) for x in a.answer_BL] == [items.show(x) for x in b.answer_BL]
        assert [houses.show(x) for x in a.question_BL] == [items.show(x) for x in b.question_BL]
        assert torch.equal(a.rank_BL.sort(1).values[:, -9:], b.rank_BL.sort(1).values[:, -9:])
        # an item in another's house, in no house of this street, or in another item's token
        for wrong in (b.answer_BL[:, [0]], b.answer_BL[:, [0]] * 0 + items.vocab_size - 1, b.answer_BL[:, [0]] * 0 + 9):
            x_BL = b.answer_BL.clone()
            x_BL[:, [1]] = wrong
            changed_B = (x_BL != b.answer_BL).any(1)
            assert changed_B.any() and not items.correct(x_BL, b)[changed_B].any()


def test_clues_relate_the_items_they_name() -> None:
    puzzle = ZebraItems(3, 3)
    batch = puzzle.read(
        "3x3; A1 same H1; B2 same A1; B2 just left of B3; C1 same B3; A2 just left of A3; C2 left of C3; A1 differs B1"
    )
    place = {f"{'ABCH'[a]}{v + 1}": 3 * a + v for a in range(4) for v in range(3)}
    found = {}
    for name, relation in zip(puzzle.relation_names, puzzle.relations(batch.question_BL)[0], strict=True):
        found[name] = {tuple(pair) for pair in relation.nonzero().tolist()}

    def pairs(*names: str) -> set[tuple[int, int]]:
        return {(place[a], place[b]) for a, b in (name.split() for name in names)}

    same = pairs("A1 H1", "B2 A1", "C1 B3")
    assert found["same house"] == same | {(b, a) for a, b in same}
    assert found["other house"] == pairs("A1 B1", "B1 A1")
    assert found["just left of"] == pairs("B2 B3", "A2 A3") and found["just right of"] == pairs("B3 B2", "A3 A2")
    assert found["left of"] == pairs("C2 C3") and found["right of"] == pairs("C3 C2")
    assert not found["beside"] and not found["one between"]
    assert (place["A1"], place["A3"]) in found["same attribute"] and len(found["same attribute"]) == 4 * 6

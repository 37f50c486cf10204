"""Solving, generating, symmetries, text and human strategies of sudoku against known answers."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.core.errors import UsageError
from unmask.data.puzzles.sudoku.generate import dig, grids
from unmask.data.puzzles.sudoku.layout import Layout
from unmask.data.puzzles.sudoku.solve import by_singles, solve, valid
from unmask.data.puzzles.sudoku.strategies import UNREACHED, grade, path
from unmask.data.puzzles.sudoku.symmetry import Symmetry, canonical, for_test, signature
from unmask.data.puzzles.sudoku.text import draw, parse, solution, text

EASY = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
EASY_SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
#: one of the hardest known boards (needs search), and a 17-given board
HARD = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."
HARD_SOLVED = "812753649943682175675491283154237896369845721287169534521974368438526917796318452"
SEVENTEEN = "000000010400000000020000000000050407008000300001090000300400200050100000000806000"


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def board(line: str) -> np.ndarray:
    return parse(line)[None]


def test_known_solutions() -> None:
    for question, answer in ((EASY, EASY_SOLVED), (HARD, HARD_SOLVED)):
        count, found = solve(board(question))
        assert count.tolist() == [1] and text(found[0]) == answer
    assert solve(board(SEVENTEEN))[0].tolist() == [1]


def test_counts_every_completion() -> None:
    # 288 grids of 4x4. Of the 28,200,960 of 6x6 a first row settles one in 720, and the rest of the first box one in 6.
    assert solve(np.zeros((1, 16), dtype=np.uint8), limit=1000)[0].tolist() == [288]
    start = parse("123456456..." + "." * 24)[None]
    assert solve(start, limit=10_000)[0].tolist() == [28_200_960 // 720 // 6]


def test_boards_do_not_disturb_each_other() -> None:
    several = np.concatenate([board(EASY), np.zeros((1, 81), dtype=np.uint8), board(HARD), board(EASY)])
    several[3, 2] = 1  # the solution has a 4 there
    count, found = solve(several)
    assert count.tolist() == [1, 2, 1, 0]
    assert text(found[0]) == EASY_SOLVED and text(found[2]) == HARD_SOLVED and not found[3].any()
    assert valid(found)[:3].all()


def test_valid_refuses_each_broken_unit() -> None:
    good = parse(EASY_SOLVED)
    assert valid(good[None]).all()
    shifted = np.array([(row + np.arange(9)) % 9 + 1 for row in range(9)], dtype=np.uint8).reshape(1, -1)
    assert not valid(shifted).any(), "rows and columns are right, boxes are not"
    swapped = good.reshape(9, 9).copy()
    swapped[0, [0, 1]] = swapped[0, [1, 0]]
    blank = good.copy()
    blank[7] = 0
    assert not valid(swapped.reshape(1, -1)).any() and not valid(blank[None]).any()


@pytest.mark.parametrize("size", [4, 6, 9])
def test_grids_are_valid_seeded_and_different(size: int) -> None:
    made = grids(Layout(size), 60, rng(1))
    assert valid(made).all()
    assert (made == grids(Layout(size), 60, rng(1))).all()
    assert (made != grids(Layout(size), 60, rng(2))).any()
    assert len({g.tobytes() for g in made}) > 30
    # every digit reaches every cell
    many = grids(Layout(4), 400, rng(3))
    assert all(len(set(many[:, c].tolist())) == 4 for c in range(16))


@pytest.mark.parametrize("size", [4, 6, 9])
def test_dug_boards_are_unique_and_minimal(size: int) -> None:
    grid = grids(Layout(size), 24, rng(5))
    given = dig(grid, np.zeros(24, dtype=np.int64), rng(6))
    asked = np.where(given, grid, 0).astype(np.uint8)
    count, found = solve(asked)
    assert (count == 1).all() and (found == grid).all()
    for q in asked[:6]:
        fewer = np.repeat(q[None], (q > 0).sum(), axis=0)
        fewer[np.arange(len(fewer)), np.nonzero(q)[0]] = 0
        assert (solve(fewer)[0] == 2).all(), "a given of a minimal board could be spared"


def test_dig_stops_at_the_target() -> None:
    grid = grids(Layout(9), 40, rng(7))
    target = np.arange(40) % 10 + 30
    given = dig(grid, target, rng(8))
    assert (given.sum(axis=1) == target).all()
    assert (solve(np.where(given, grid, 0).astype(np.uint8))[0] == 1).all()


@pytest.mark.parametrize("size", [4, 6, 9])
def test_symmetries_keep_boards_and_their_class(size: int) -> None:
    layout = Layout(size)
    grid = grids(layout, 20, rng(9))
    given = rng(10).random(grid.shape) < 0.4
    turn = Symmetry.random(layout, 20, rng(11))
    other, other_given = turn.apply(grid), turn.move(given)
    assert valid(other).all() and (other != grid).any()
    assert (turn.apply(np.where(given, grid, 0).astype(np.uint8)) == np.where(other_given, other, 0)).all()
    assert (signature(other) == signature(grid)).all()
    assert (for_test(layout, other, other_given) == for_test(layout, grid, given)).all()
    for a, b, m, k in zip(grid, other, given, other_given, strict=True):
        assert canonical(a) == canonical(b) and canonical(a, m) == canonical(b, k)
    different = ~given
    assert canonical(grid[0], given[0]) != canonical(grid[0], different[0])


def test_canonical_form_finds_the_known_number_of_classes() -> None:
    four = {canonical(g) for g in grids(Layout(4), 60, rng(12))}
    assert len(four) == 2
    six = {canonical(g) for g in grids(Layout(6), 1000, rng(13))}
    assert 44 <= len(six) <= 49, "49 classes of 6x6 grids (2x3 boxes, no transposition) are known"
    # the canonical form is itself a valid grid and its own canonical form
    nine = grids(Layout(9), 3, rng(14))
    for g in nine:
        least = np.frombuffer(canonical(g), dtype=np.uint8)
        assert valid(least[None]).all() and canonical(least) == least.tobytes()
        assert least[:12].tolist()[:9] == list(range(1, 10)) and least[9] == 4


def test_signature_tells_random_grids_apart() -> None:
    grid = grids(Layout(9), 2000, rng(15))
    assert len(set(signature(grid).tolist())) > 1990
    assert 0.03 < for_test(Layout(9), grid).mean() < 0.1


def test_text_round_trips() -> None:
    for line in (EASY, "1...2.3....4..1.", "." * 36):
        assert text(parse(line)) == line and text(parse(draw(parse(line)))) == line
    assert (parse(EASY.replace(".", "0")) == parse(EASY)).all()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (EASY[:-1], "has 80"),
        (EASY.replace("7", "x", 1), "'x' at r1c5"),
        ("5" + "." * 15, "'5' at r1c1"),
        ("55" + EASY[2:], "r1c1 and r1c2 both hold 5 in row 1"),
        ("5........5" + "." * 71, "r1c1 and r2c1 both hold 5 in column 1"),
        (EASY[:10] + "3" + EASY[11:], "r1c2 and r2c2 both hold 3 in column 2"),
        ("5........" + ".5......." + "." * 63, "r1c1 and r2c2 both hold 5 in box 1"),
    ],
)
def test_bad_text_names_the_place(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(line)


def test_no_and_several_solutions_are_told_apart() -> None:
    assert text(solution(parse(EASY))) == EASY_SOLVED
    with pytest.raises(UsageError, match="no solution"):
        solution(parse(EASY[:2] + "1" + EASY[3:]))
    with pytest.raises(UsageError, match=r"several solutions \(r\dc\d can be \d or \d\)"):
        solution(parse("." + EASY[1:10] + "." * 71))


def test_paths_follow_the_seven_strategies() -> None:
    easy = path(parse(EASY))
    given = parse(EASY) > 0
    assert easy.solved and sorted(easy.rank_C[~given].tolist()) == list(range(1, 52))
    assert (easy.rank_C[given] == 0).all() and set(easy.strategy_C[~given].tolist()) == {1}
    # The cell filled first has one candidate left by the givens alone.
    first = int(np.nonzero(easy.rank_C == 1)[0][0])
    unit = Layout(9).unit_of
    peers = (unit == unit[:, first : first + 1]).any(axis=0)
    assert len(set(parse(EASY)[peers].tolist()) - {0}) == 8
    hard = path(parse(HARD))
    assert not hard.solved and (hard.rank_C == UNREACHED).any()


def test_the_grader_tells_easy_from_hard() -> None:
    assert grade(parse(EASY)) == (2.0, "Very Easy")
    with pytest.raises(UsageError, match="cannot be graded"):
        grade(parse(EASY[:2] + "1" + EASY[3:]))
    with pytest.raises(UsageError, match="not graded after 0.5 seconds"):
        grade(parse(HARD), seconds=0.5)


def test_what_singles_fill_the_strategies_fill() -> None:
    """Boards that singles fill are left out before boards are graded hard: none of them may be hard."""
    boards = np.stack([parse(EASY), parse(HARD)])
    grid = grids(Layout(9), 60, np.random.default_rng(3))
    given = dig(grid, np.full(60, 26), np.random.default_rng(4))
    boards = np.concatenate([boards, np.where(given, grid, 0).astype(np.uint8)])
    filled = by_singles(boards)
    paths = [path(board) for board in boards]
    # of those alone (1 and 2 are the singles) every one, and no other
    alone = [p.solved and p.strategy_C.max() <= 2 for p in paths]
    assert filled.tolist() == alone and 10 < filled.sum() < 60


def test_paths_are_for_nine_by_nine() -> None:
    with pytest.raises(UsageError, match="9x9"):
        path(parse("." * 16))

"""Every registered puzzle, run through the same contract; then shards, splits and the reader of foreign files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

from unmask.core.errors import CheckpointError, UsageError
from unmask.data.puzzles import PUZZLES, Mixture, Puzzle, PuzzleBatch, Shards, build
from unmask.data.puzzles.kinds.nae_sat import NaeSat
from unmask.data.puzzles.kinds.sorting import Sorting
from unmask.data.puzzles.kinds.sudoku import Sudoku
from unmask.data.puzzles.shah import COLUMNS, read_shah
from unmask.data.puzzles.sudoku.solve import solve
from unmask.data.puzzles.sudoku.strategies import path
from unmask.data.puzzles.sudoku.symmetry import canonical, for_test

EXAMPLES = [pytest.param(p, id=PUZZLES.spec_of(p)) for name in PUZZLES for p in PUZZLES.get(name).examples()]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def same(a: PuzzleBatch, b: PuzzleBatch) -> bool:
    ranks = (a.rank_BL is None and b.rank_BL is None) or torch.equal(a.rank_BL, b.rank_BL)
    return torch.equal(a.answer_BL, b.answer_BL) and torch.equal(a.given_BL, b.given_BL) and ranks


@pytest.mark.parametrize("puzzle", EXAMPLES)
def test_contract(puzzle: Puzzle) -> None:
    batch = puzzle.sample(12, rng(1))
    assert batch.answer_BL.shape == (12, puzzle.length) and batch.answer_BL.dtype == torch.int64
    assert batch.answer_BL.min() >= 1 and batch.answer_BL.max() < puzzle.vocab_size
    assert same(batch, puzzle.sample(12, rng(1))) and not same(batch, puzzle.sample(12, rng(2)))
    question = batch.question_BL
    assert torch.equal(question == puzzle.mask_id, ~batch.given_BL) and (~batch.given_BL).any(dim=1).all()
    # the judge: the answer is right, the question is unfinished, a changed given is wrong
    assert puzzle.correct(batch.answer_BL, batch).all() and not puzzle.correct(question, batch).any()
    off = batch.answer_BL.clone()
    row, place = torch.arange(12), batch.given_BL.long().argmax(dim=1)
    off[row, place] = off[row, place] % (puzzle.vocab_size - 1) + 1
    assert not puzzle.correct(off, batch).any()
    twin = puzzle.augment(batch, rng(3))
    assert puzzle.correct(twin.answer_BL, twin).all() and torch.equal(twin.given_BL.sum(1), batch.given_BL.sum(1))
    assert same(twin, puzzle.augment(batch, rng(3)))
    stack = puzzle.relations(question)
    assert (
        stack.shape[-3:] == (len(puzzle.relation_names), puzzle.related, puzzle.related) and stack.dtype == torch.bool
    )
    assert batch.given_BL[:, puzzle.related :].all(), "what relations are not about is given"
    assert not stack.diagonal(dim1=-2, dim2=-1).any()
    used = stack.flatten(-2).any(dim=-1).reshape(-1, len(puzzle.relation_names))
    assert used.any(dim=0).all(), "each relation occurs in some puzzle"
    assert torch.equal(puzzle.relations(batch.answer_BL), stack), "hidden values must not show in relations"
    # ranks: givens 0, and the order starts with them
    order = batch.fill_order_BL
    hidden = (~batch.given_BL).sum(dim=1)
    assert torch.equal(order.sort(dim=1).values, torch.arange(puzzle.length).expand(12, -1))
    for row_ in range(12):
        first = order[row_, : puzzle.length - int(hidden[row_])]
        assert batch.given_BL[row_, first].all()
    assert puzzle.show(question[0]) != puzzle.show(batch.answer_BL[0])
    assert same(batch[2:5], PuzzleBatch(*(None if x is None else x[2:5] for x in vars(batch).values())))


def test_sudoku_boards_keep_their_promise() -> None:
    puzzle = Sudoku(fewest=30, most=32)
    batch = puzzle.sample(60, rng(4))
    counts, found = solve(batch.question_BL.numpy().astype(np.uint8))
    assert (counts == 1).all() and (found == batch.answer_BL.numpy()).all()
    assert set(batch.given_BL.sum(dim=1).tolist()) == {30, 31, 32}
    asked = puzzle.read(puzzle.show(batch.question_BL[0]))
    assert torch.equal(asked.answer_BL[0], batch.answer_BL[0])
    with pytest.raises(UsageError, match="16 cells"):
        puzzle.read("." * 16)


def test_any_valid_grid_that_keeps_the_givens_is_correct() -> None:
    puzzle = Sudoku(size=4)
    batch = puzzle.sample(1, rng(5))
    open_ = PuzzleBatch(batch.answer_BL, torch.zeros_like(batch.given_BL))
    other = puzzle.sample(20, rng(6)).answer_BL
    assert puzzle.obeys(other).all()
    assert all(puzzle.correct(x[None], open_).item() for x in other)
    kept = [puzzle.correct(x[None], batch).item() for x in other]
    assert kept == [torch.equal(x, batch.answer_BL[0]) for x in other], "the only solution is the only right answer"


@pytest.mark.parametrize("grade", ["easy", "hard"])
def test_grades_are_what_the_strategies_say(grade: str) -> None:
    batch = Sudoku(fewest=24, most=26, grade=grade).sample(6, rng(7))
    for x, rank in zip(batch.question_BL.numpy().astype(np.uint8), batch.rank_BL, strict=True):
        found = path(x)
        assert found.solved == (grade == "easy") and found.rank_C.tolist() == rank.tolist()


def test_solver_order_moves_with_the_board() -> None:
    puzzle = Sudoku(fewest=36, most=36, order=True)
    batch = puzzle.sample(6, rng(8))
    twin = puzzle.augment(batch, rng(9))
    assert twin.rank_BL is not None and torch.equal(twin.rank_BL == 0, twin.given_BL)
    for before, after in zip(batch.rank_BL, twin.rank_BL, strict=True):
        assert sorted(before.tolist()) == sorted(after.tolist())


def test_train_and_test_boards_are_disjoint_up_to_symmetry() -> None:
    """With exact canonical forms, where classes are so few that without a split both sides would hold the same."""
    classes = {}
    for side, seed in (("train", 1), ("test", 2), ("any", 3)):
        puzzle = Sudoku(size=4, fewest=4, most=5, side=side)
        batch = puzzle.augment(puzzle.sample(400, rng(seed)), rng(seed + 5))
        grid, given = batch.answer_BL.numpy().astype(np.uint8), batch.given_BL.numpy()
        classes[side] = {canonical(g, m) for g, m in zip(grid, given, strict=True)}
    assert not classes["train"] & classes["test"] and len(classes["train"]) > 50 and classes["test"]
    assert classes["any"] & classes["train"] and classes["any"] & classes["test"]


@pytest.mark.parametrize("settings", [{"fewest": 34, "most": 34}, {"size": 6, "fewest": 12, "most": 12}])
@pytest.mark.parametrize("side", ["train", "test"])
def test_boards_stay_on_their_side_of_the_split(settings: dict, side: str) -> None:
    """Larger boards never coincide by chance: what is asked is the side itself, an invariant of their class."""
    puzzle = Sudoku(side=side, **settings)
    for seed in (1, 2):
        batch = puzzle.augment(puzzle.sample(40, rng(seed)), rng(seed + 5))
        grid, given = batch.answer_BL.numpy().astype(np.uint8), batch.given_BL.numpy()
        whole = puzzle.size == 9
        assert (for_test(puzzle.layout, grid, None if whole else given) == (side == "test")).all()
    # the invariant is one: it is the same for copies, and both sides occur where none is asked for
    free = Sudoku(**settings)
    batch = free.sample(120, rng(9))
    sides = for_test(free.layout, batch.answer_BL.numpy().astype(np.uint8), None if whole else batch.given_BL.numpy())
    assert 0 < sides.sum() < 40


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 5}, "not 5"),
        ({"fewest": 10, "most": 12}, "22 to 80"),
        ({"fewest": 40, "most": 30}, "do not fit"),
        ({"side": "valid"}, "'valid'"),
        ({"grade": "evil"}, "'evil'"),
        ({"size": 4, "order": True}, "9x9"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Sudoku(**settings)


def test_build_is_resumable_and_exact(tmp_path: Path) -> None:
    puzzle = Sudoku(size=4, side="train")
    seen: list[tuple[int, int]] = []
    whole = build(puzzle, 50, out=tmp_path / "a", seed=3, shard_size=20, progress=lambda a, b: seen.append((a, b)))
    assert seen == [(20, 50), (40, 50), (50, 50)]
    bytes_ = {f.name: f.read_bytes() for f in whole.iterdir()}
    (whole / "00001.arrow").unlink()
    with pytest.raises(CheckpointError, match="00001.arrow is missing"):
        Shards(whole)
    kept = (whole / "00000.arrow").stat().st_mtime_ns
    build(puzzle, 50, out=whole, seed=3, shard_size=20)
    assert {f.name: f.read_bytes() for f in whole.iterdir()} == bytes_, "and no temporary file stays behind"
    assert (whole / "00000.arrow").stat().st_mtime_ns == kept
    with pytest.raises(UsageError, match="other seed"):
        build(puzzle, 50, out=whole, seed=4, shard_size=20)
    with pytest.raises(UsageError, match="seed=-1"):
        build(puzzle, 5, out=tmp_path / "d", seed=-1)
    with pytest.raises(UsageError, match=r"write PUZZLES.make\('sudoku'\)"):
        build("sudoku", 5, out=tmp_path / "d")
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        build(puzzle, 5, out=tmp_path / "taken")
    assert not (tmp_path / "d").exists()
    with pytest.raises(UsageError, match="n=0 boards"):
        puzzle.sample(0, rng())
    with pytest.raises(UsageError, match="n=0"):
        build(puzzle, 0, out=tmp_path / "b")
    with pytest.raises(UsageError, match="256"):
        build(Sorting(top=300), 5, out=tmp_path / "c")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow

    class Full:
        def __init__(self, file: BinaryIO, schema: object) -> None:
            file.write(b"half of it")
            raise OSError("disk full")

    monkeypatch.setattr(pyarrow.ipc, "new_stream", Full)
    with pytest.raises(OSError, match="disk full"):
        build(NaeSat(n=4, p=4), 5, out=tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["meta.json"]


def test_shards_are_arrow_files_that_datasets_reads(tmp_path: Path) -> None:
    import datasets

    puzzle = Sudoku(fewest=36, most=40, grade="easy")
    folder = build(puzzle, 5, out=tmp_path, shard_size=3)
    rows = datasets.concatenate_datasets([datasets.Dataset.from_file(str(f)) for f in sorted(folder.glob("*.arrow"))])
    batch = Shards(folder).take(np.arange(5))
    assert rows["answer"][:] == batch.answer_BL.tolist() and rows["rank"][:] == batch.rank_BL.tolist()
    assert rows["given"][:] == batch.given_BL.long().tolist()


def test_stream_visits_every_puzzle_once_an_epoch_and_resumes(tmp_path: Path) -> None:
    shards = Shards(build(NaeSat(n=10, p=4), 60, out=tmp_path, shard_size=16))
    assert shards.puzzle == NaeSat(n=10, p=4) and len(shards) == 60
    every = shards.take(np.arange(60))
    want = sorted(map(tuple, every.answer_BL.tolist()))
    stream = shards.stream(20, seed=1)
    first = [next(stream) for _ in range(6)]
    for epoch in (first[:3], first[3:]):
        assert sorted(tuple(x) for b in epoch for x in b.answer_BL.tolist()) == want
    assert not same(first[0], first[3]), "the second epoch has another order"
    assert same(next(shards.stream(20, seed=1, start=4)), first[4])
    back = shards.take(np.array([59, 0, 17]))
    assert torch.equal(back.answer_BL, every.answer_BL[[59, 0, 17]])
    assert same(shards.take([59, 0]), every[torch.tensor([59, 0])])
    for wrong in ([60], [-1]):
        with pytest.raises(UsageError, match="there are 0 to 59"):
            shards.take(wrong)
    with pytest.raises(UsageError, match="step=-1"):
        shards.batch(8, 0, -1)
    with pytest.raises(UsageError, match="batches of 61"):
        shards.batch(61, seed=0, step=0)


def test_shards_augment_differently_at_every_step(tmp_path: Path) -> None:
    shards = Shards(build(Sudoku(size=6), 8, out=tmp_path))
    a, b, plain = (shards.batch(8, 0, step, augment=twist) for step, twist in ((0, True), (1, True), (0, False)))
    assert shards.puzzle.correct(a.answer_BL, a).all() and not same(a, plain)
    assert {tuple(x) for x in a.answer_BL.tolist()}.isdisjoint(tuple(x) for x in b.answer_BL.tolist())
    assert same(a, shards.batch(8, 0, 0))


def test_a_mixture_fills_its_share_of_every_batch(tmp_path: Path) -> None:
    main = Shards(build(Sudoku(size=6, fewest=14, most=14), 12, out=tmp_path / "main"))
    rare = Shards(build(Sudoku(size=6, fewest=20, most=20), 8, out=tmp_path / "rare"))
    mixed = Mixture(main, rare, 0.25)
    assert mixed.puzzle == main.puzzle and len(mixed) == 20
    batch = mixed.batch(8, 3, 1)
    assert same(batch[:6], main.batch(6, 3, 1)) and same(batch[6:], rare.batch(2, 3, 1))
    assert batch.given_BL.sum(1).tolist() == [14] * 6 + [20] * 2 and batch.rank_BL is None
    assert same(batch, mixed.batch(8, 3, 1)) and not same(batch, mixed.batch(8, 3, 2))
    said = "12 of sudoku:size=6,fewest=14,most=14; 25% of each batch out of 8 of sudoku:size=6,fewest=20,most=20"
    assert mixed.describe() == said
    for share in (0.0, 1.0, -0.5):
        with pytest.raises(UsageError, match=f"share={share}"):
            Mixture(main, rare, share)
    with pytest.raises(UsageError, match="batches of 1 have no room for 25% of their rows"):
        mixed.batch(1, 0, 0)
    with pytest.raises(UsageError, match="canvases"):
        Mixture(main, Shards(build(Sudoku(size=4), 2, out=tmp_path / "small")), 0.5)


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no meta\.json"):
        Shards(tmp_path)
    folder = build(NaeSat(n=4, p=4), 5, out=tmp_path / "x")
    (folder / "00000.arrow").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="damaged"):
        Shards(folder)
    whole = (build(NaeSat(n=4, p=4), 5, out=tmp_path / "y") / "00000.arrow").read_bytes()
    for cut in range(0, len(whole) - 8, 40):  # the last 8 bytes only say that no more batches follow
        (folder / "00000.arrow").write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match=r"damaged|other puzzles"):
            Shards(folder)
    build(NaeSat(n=5, p=4), 5, out=tmp_path / "z")
    (tmp_path / "z" / "00000.arrow").rename(folder / "00000.arrow")
    with pytest.raises(CheckpointError, match="other puzzles"):
        Shards(folder)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        Shards(folder)


def shah_rows(batch: PuzzleBatch) -> np.ndarray:
    """Rows of the assumed format from boards with a solver order."""
    rows = []
    for answer, rank, order in zip(batch.answer_BL, batch.rank_BL, batch.fill_order_BL, strict=True):
        row = [int((rank == 0).sum())]
        for cell in order.tolist():
            row += [cell // 9, cell % 9, int(answer[cell]), 2 if rank[cell] else 0]
        rows.append(row)
    return np.array(rows, dtype=np.int16)


def test_shah_files_are_read_and_validated(tmp_path: Path) -> None:
    batch = Sudoku(fewest=36, most=40, grade="easy").sample(5, rng(10))
    rows = shah_rows(batch)
    file = tmp_path / "sudoku-train-data.npy"
    np.save(file, rows)
    read, strategy = read_shah(file)
    assert same(read, batch) and ((strategy == 0) == batch.given_BL.numpy()).all()
    part, _ = read_shah(file, 2, 4)
    assert same(part, batch[2:4])

    def refused(change: object, said: str) -> None:
        bad = rows.astype(np.int64).copy()
        change(bad)  # type: ignore[operator]
        np.save(file, bad)
        with pytest.raises(UsageError, match=said):
            read_shah(file)

    refused(lambda r: r.__setitem__((3, 0), 90), "row 3 .* number of givens")
    refused(lambda r: r.__setitem__((1, 1), 9), "row 1 .* outside rows")
    refused(lambda r: r.__setitem__((1, slice(1, 3)), r[1, 5:7]), "row 1 .* exactly once")
    refused(lambda r: r.__setitem__((4, 3), 10), "row 4 .* outside 1 to 9")
    refused(lambda r: r.__setitem__((2, 3), r[2, 3] % 9 + 1), "row 2 .* no solved board")
    np.save(file, rows[:, :-1])
    with pytest.raises(UsageError, match=f"{COLUMNS} columns"):
        read_shah(file)
    with pytest.raises(UsageError, match="does not exist"):
        read_shah(tmp_path / "none.npy")
    for name, write in (
        ("empty.npy", lambda f: f.write_bytes(b"")),
        ("many.npz", lambda f: np.savez(f, rows)),
        ("words.npy", lambda f: np.save(f, rows.astype(str))),
        ("folder.npy", lambda f: f.mkdir()),
    ):
        write(tmp_path / name)
        with pytest.raises(UsageError, match="no plain .npy array of numbers"):
            read_shah(tmp_path / name)

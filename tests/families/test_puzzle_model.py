"""A puzzle model beyond the contract: new boards are scored, a board's cells are diagnosed, weights are found."""

import json
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

import unmask
from unmask.core.errors import UsageError
from unmask.data.puzzles import PUZZLES
from unmask.data.puzzles.kinds.nae_sat import NaeSat
from unmask.data.puzzles.kinds.sudoku import Sudoku
from unmask.diagnosis.context import BUDGETS, CheckContext
from unmask.diagnosis.subject import Generated, Wrapped
from unmask.diagnosis.writing import writing
from unmask.families.puzzle.model import PuzzleModel
from unmask.families.puzzle.network import PuzzleCard, PuzzleDenoiser, Shape, save, shipped
from unmask.families.puzzle.subject import cells, rows_of

MINI = Sudoku(size=4, fewest=4, most=5, side="train")
TINY = Shape(dim=16, layers=1, heads=2, ffn_dim=32, loops=1)


def made(puzzle=MINI):
    return PuzzleModel(PuzzleDenoiser.fresh(puzzle, TINY, 0).eval(), PuzzleCard(PUZZLES.spec_of(puzzle), "unknown"))


@pytest.fixture(scope="module")
def model():
    return made()


def test_new_boards_come_from_the_side_left_out(model):
    batch, notes = model.boards(None, None, 20, seed=0)
    again, _ = model.boards(None, None, 20, seed=0)
    other, _ = model.boards(None, None, 20, seed=1)
    assert torch.equal(batch.answer_BL, again.answer_BL) and not torch.equal(batch.answer_BL, other.answer_BL)
    assert len(batch) == 20 and not notes and model.puzzle.held_out.side == "test"
    # a board of the other side is not among them
    asked = {row.numpy().tobytes() for row in MINI.sample(400, np.random.default_rng(0)).question_BL}
    assert not asked & {row.numpy().tobytes() for row in batch.question_BL}


def test_a_model_that_saw_all_boards_says_so():
    _, notes = made(Sudoku(size=4, fewest=4, most=5)).boards(None, None, 4, seed=0)
    assert len(notes) == 1 and "may have seen" in notes[0]


def test_scores_are_counts_of_boards_and_cells(model):
    result = unmask.evaluate(model, texts=12, judge=None, verify=None, calls=8)
    m = result.metrics
    batch, _ = model.boards(None, None, 12, seed=0)
    out = unmask.sample(model, [MINI.show(x) for x in batch.question_BL], verify=None)
    right_B = MINI.correct(out.sequences, batch)
    hidden_BL = ~batch.given_BL
    assert m["boards"] == 12 and m["solved_share"] == pytest.approx(right_B.float().mean())
    assert m["hidden_cells"] == hidden_BL.sum()
    hits = ((out.sequences == batch.answer_BL) & hidden_BL).sum() / hidden_BL.sum()
    assert m["cells_right_share"] == pytest.approx(float(hits)) and m["calls_per_board"] == 0
    assert m["solved_share_low"] <= m["solved_share"] <= m["solved_share_high"]
    assert m["forwards_per_board"] == pytest.approx(float(hidden_BL.sum(1).double().mean()))
    assert result.trace is not None and "The board" in result.page()


def test_more_attempts_solve_no_fewer_and_are_counted(model):
    result = unmask.evaluate(model, texts=12, judge=None, calls=3, trace=False)
    assert result.solved.value >= result.at_once.value
    assert 1 <= result.metrics["calls_per_board"] <= 3


def test_shared_scores_are_those_of_one_process(model):
    alone = unmask.evaluate(model, texts=5, judge=None, trace=False).metrics
    assert unmask.evaluate(model, texts=5, judge=None, trace=False, share=True).metrics == alone


def test_cells_of_many_answers_are_not_scored():
    result = unmask.evaluate(made(NaeSat(n=6, p=10)), texts=4, judge=None)
    assert "cells_right_share" not in result.metrics and "several answers" in result.not_measured["cells_right"]


def test_boards_are_read_from_a_file(model, tmp_path):
    batch, _ = model.boards(None, None, 3, seed=0)
    lines = ["".join(str(v) if v else "." for v in row.tolist()) for row in batch.question_BL]
    (tmp_path / "boards.txt").write_text("\n".join(lines))
    result = unmask.evaluate(model, tmp_path / "boards.txt", judge=None)
    assert result.boards == 3 and result.about["data"].endswith("boards.txt")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"judge": "smollm2"}, "judge='smollm2' has no effect on a puzzle model"),
        ({"length": 9}, "length=9 has no effect on a puzzle model"),
        ({"samples": 3}, "samples=3 has no effect on a puzzle model"),
        ({"texts": 0}, "texts=0 must be at least 1"),
        ({"column": "board"}, "column='board' goes with data="),
        ({"data": "no_such_file.txt"}, "no_such_file.txt"),
        ({"data": [3]}, "must be boards as text, not a int"),
        ({"data": ["1.32" * 4, "12"]}, "board 2: "),
        ({"guidance": 2.0}, "guidance=2.0 has no effect on a puzzle model"),
    ],
)
def test_what_scores_cannot_use_is_refused(model, given, said):
    if "1.32" in str(given):
        given = {"data": [MINI.show(model.boards(None, None, 1, seed=0)[0].question_BL[0]), "12"]}
    with pytest.raises(UsageError, match=said):
        unmask.evaluate(model, **given)


def test_a_rows_cells_stand_where_its_board_hides_them(model):
    batch, _ = model.boards(None, None, 6, seed=0)
    rows = rows_of(batch, 4)
    board_BL = rows.cond.latent_BZ.long()
    place_BK = cells(board_BL, 4)
    assert rows.ids_BL.shape == (6, 4) and ((board_BL == 0).sum(1) == 4).all()
    whole_BL = board_BL.scatter(1, place_BK, rows.ids_BL)
    assert torch.equal(whole_BL, batch.answer_BL)
    assert batch.given_BL.gather(1, place_BK).sum() == 0


def test_the_subject_asks_the_network_of_the_whole_board(model):
    subject = model.subject()
    batch = subject.data(3)
    denoiser, board_BL = subject.denoiser, batch.cond.latent_BZ.long()
    x_BK = batch.ids_BL.clone()
    x_BK[:, ::2] = 0
    at_BK = x_BK == 0
    asked = denoiser.logits(x_BK, at_BK, batch.cond)
    canvas_BL = board_BL.scatter(1, cells(board_BL, x_BK.shape[1]), x_BK)
    direct = model.denoiser.logits(canvas_BL, (canvas_BL == 0))
    assert torch.allclose(asked, direct)


def test_a_verdict_on_boards_has_no_failure_of_its_making(model):
    verdict = unmask.diagnose(model, only=["scored_visible", "train_inference", "weights", "order", "batch_invariance"])
    assert {f.check: f.status for f in verdict.findings} == dict.fromkeys(
        ["scored_visible", "train_inference", "weights", "order", "batch_invariance"], "pass"
    )
    with pytest.raises(UsageError, match="length=9 has no effect"):
        unmask.diagnose(model, length=9)


class Solved(Wrapped):
    """Boards filled with their answers."""

    def generate(self, batch, seed, **settings):
        return Generated(batch.ids_BL.clone())


def test_a_filled_board_is_judged_by_its_rules(model):
    subject = model.subject()
    few = replace(BUDGETS["quick"], rows=8, samples=8)
    untrained, solved = (writing(CheckContext(one, few)) for one in (subject, Solved(subject)))
    assert untrained.status == "fail" and "0% of its rows keep the rules" in untrained.sentence
    assert solved.status == "pass" and solved.asked
    assert solved.measure("rows that keep the rules").written.value == 1
    assert solved.measure("places that are the answer's").written.value == 1
    # n-grams say nothing of a board's cells
    assert len(solved.measures) == 2


def test_a_default_plan_is_kept_with_the_folder(model, tmp_path):
    again = unmask.load(model.save(tmp_path / "plain"), "cpu")
    assert again.config == model.config and not (tmp_path / "plain/generation_config.json").exists()
    changed = made()
    changed.config = unmask.core.sampling_config.SamplingConfig(order="top_prob", verify="rules", calls=3)
    assert unmask.load(changed.save(tmp_path / "planned"), "cpu").config.order == "top_prob"


@pytest.mark.parametrize("kind", ["sudoku", "zebra", "zebra_items"])
def test_checkpoints_that_ship_are_found_by_their_puzzle(kind):
    found = json.loads((shipped(kind) / "puzzle.json").read_text())["puzzle"]
    assert isinstance(PUZZLES.make(found), PUZZLES.get(kind))


def test_weights_are_found_beside_the_user_and_in_a_wheel(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "site/unmask"
    monkeypatch.setattr(resources, "files", lambda name: package)
    with pytest.raises(UsageError, match="no checkpoint here solves sudoku: give --model"):
        shipped("sudoku")
    model.save(package / "checkpoints/inside")
    assert shipped("sudoku") == package / "checkpoints/inside"
    shutil.copytree(package / "checkpoints/inside", tmp_path / "checkpoints/mine")
    (tmp_path / "checkpoints/broken").mkdir()
    (tmp_path / "checkpoints/broken/puzzle.json").write_text("{")
    assert shipped("sudoku") == Path("checkpoints/mine")
    with pytest.raises(UsageError, match="no checkpoint here solves hashing"):
        shipped("hashing")


def test_a_folder_that_cannot_be_loaded_is_said(tmp_path):
    save(PuzzleDenoiser.fresh(MINI, TINY, 0), PuzzleCard("sudoku:size=9", "unknown"), tmp_path / "other")
    with pytest.raises(unmask.core.errors.CheckpointError, match="does not fit its puzzle"):
        unmask.load(tmp_path / "other", "cpu")

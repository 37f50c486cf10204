"""Puzzle experiments in miniature: training, exact resume, the phenomenon, pages from files, the command."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from unmask import cli
from unmask.core.errors import CheckpointError, UnmaskError, UsageError
from unmask.data.puzzles import PUZZLES, PuzzleBatch, Shards, build
from unmask.data.puzzles.kinds.sudoku import Sudoku
from unmask.data.puzzles.kinds.zebra import Zebra
from unmask.data.puzzles.kinds.zebra_items import ZebraItems
from unmask.decoding.order import orders
from unmask.experiments import study, sudoku
from unmask.experiments.puzzle_causal import CausalShape, CausalSolver
from unmask.experiments.puzzle_checkpoint import last_checkpoint
from unmask.experiments.puzzle_run import Run, denoising_loss, flops_per_row, machine, run_record
from unmask.experiments.puzzle_training import train
from unmask.families.puzzle.network import PuzzleCard, PuzzleDenoiser, Shape, load, save
from unmask.families.puzzle.solving import attempt, percent, planned, solve, solve_again, vanilla, wilson

MINI = Sudoku(size=4, fewest=4, most=5, side="train")
TINY = Shape(dim=32, layers=2, heads=4, ffn_dim=64, loops=1)


def quiet(_: str) -> None: ...


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return Shards(build(MINI, 500, out=tmp_path_factory.mktemp("mini") / "train"))


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> PuzzleBatch:
    kind = Sudoku(size=4, fewest=4, most=4, side="test")
    return Shards(build(kind, 200, out=tmp_path_factory.mktemp("mini") / "test")).batch(200, 0, 0, augment=False)


@pytest.fixture(scope="module")
def solver(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 4x4 solver, trained for real in a few seconds and saved."""
    folder = tmp_path_factory.mktemp("solver")
    run = Run(steps=100, batch=32, ema=0.95)
    model = PuzzleDenoiser.fresh(MINI, TINY, 0)
    state = train(model, shards, run, folder / "run", say=quiet)
    assert state.losses[-1][1] < 0.5 * state.losses[0][1]
    return save(model, PuzzleCard(PUZZLES.spec_of(MINI), run.hide, {"steps": 100}), folder / "model")


def test_margin_solves_what_vanilla_does_not(solver: Path, held_out: PuzzleBatch) -> None:
    model, card = load(solver)
    assert card.hide == "unknown" and model.puzzle == MINI
    random = solve(model, MINI, held_out, vanilla(6))
    margin = solve(model, MINI, held_out, planned("margin", 6))
    # the same number of chances, and a difference no luck explains: 200 boards
    assert margin.correct_B.sum() > random.correct_B.sum() + 40
    assert margin.forwards_B.max() == 6 and random.forwards_B.max() <= 6
    assert torch.equal(MINI.correct(margin.x_BL, held_out), margin.correct_B)


def test_parts_of_a_set_do_not_change_what_is_solved(solver: Path, held_out: PuzzleBatch) -> None:
    model, _ = load(solver)
    some = held_out[slice(0, 24)]
    plan = planned("margin", 4, temperature=1.0)
    whole, parts = solve(model, MINI, some, plan), solve(model, MINI, some, plan, rows=5)
    assert (whole.x_BL == parts.x_BL).float().mean() > 0.97  # bf16 sums may round otherwise in another batch


def test_broken_boards_are_tried_again(solver: Path, held_out: PuzzleBatch) -> None:
    model, _ = load(solver)
    plan = planned("random", 3)
    once, again = solve(model, MINI, held_out, plan), solve_again(model, MINI, held_out, plan, tries=6)
    first = once.correct_B
    assert 0 < first.sum() < 190 and torch.equal(once.x_BL, solve_again(model, MINI, held_out, plan, tries=1).x_BL)
    assert torch.equal(again.x_BL[first], once.x_BL[first]) and again.correct_B.sum() > first.sum() + 10
    assert torch.equal(MINI.correct(again.x_BL, held_out), again.correct_B)
    assert (again.forwards_B[first] == 3).all() and (again.forwards_B[~again.correct_B] == 18).all()
    # a budget holds on average, and the attempt that would break it is not made
    share = float((~first).double().mean())
    budget = 3 + 3 * share + 0.01
    held = solve_again(model, MINI, held_out, plan, tries=99, forwards=budget)
    assert float(held.forwards_B.double().mean()) == pytest.approx(3 + 3 * share)


def test_later_attempts_differ_in_seed_and_order() -> None:
    plan = planned("margin", 3)
    assert attempt(plan, 0) is plan
    second = attempt(plan, 2)
    assert second.seed == 2 and orders.spec_of(second.order_leaf) == "margin:noise=gumbel,coefficient=0.1"
    own = planned("margin:noise=gaussian,coefficient=0.3", 3)
    assert attempt(own, 1).order_leaf == own.order_leaf
    assert attempt(vanilla(3), 1).order is None


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_run_in_three_commands_equals_one_run(shards: Shards, tmp_path: Path, optimizer: str) -> None:
    run = Run(steps=8, batch=8, optimizer=optimizer)
    once = PuzzleDenoiser.fresh(MINI, TINY, 0)
    whole = train(once, shards, run, tmp_path / "once", say=quiet)
    calls = 0

    def stopping(model: PuzzleDenoiser, batch: PuzzleBatch, step: int) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls in (4, 8):  # a command that dies in its fourth step
            raise KeyboardInterrupt
        return denoising_loss(run)(model, batch, step)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, run, tmp_path / "parts", loss=stopping, save_every=0)
    parts = PuzzleDenoiser.fresh(MINI, TINY, 0)
    state = train(parts, shards, run, tmp_path / "parts", say=quiet)
    assert state.step == 8 and len(state.losses) == 1
    assert math.isclose(state.losses[0][1], whole.losses[0][1], rel_tol=1e-6), "the mean is that of all eight steps"
    for (name, a), (_, b) in zip(once.named_parameters(), parts.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert [p.name for p in (tmp_path / "parts").iterdir()] == ["checkpoint-8"]


def test_minutes_stop_a_command_and_other_settings_are_refused(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(steps=4, batch=8)
    # nothing is trained yet: nothing is measured, and no numbers of an untrained network are written
    with pytest.raises(UsageError, match="holds no checkpoint"):
        train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, run, tmp_path, minutes=0, say=quiet)
    state = train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, run, tmp_path, minutes=1e-9, say=quiet)
    assert state.step == 0 and last_checkpoint(tmp_path) is None
    train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, run, tmp_path, say=quiet)
    with pytest.raises(UsageError, match="lr=0.002, this one has lr=0.1"):
        train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, Run(steps=4, batch=8, lr=0.1), tmp_path, say=quiet)
    with pytest.raises(UsageError, match="another shape"):
        train(PuzzleDenoiser.fresh(MINI, Shape(dim=32), 0), shards, run, tmp_path, say=quiet)
    # what else a run is made of: where both say it, it must be the same
    known = tmp_path / "known"
    made = {"data": "these", "network": "this"}
    train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, run, known, made=made, until=2, say=quiet)
    with pytest.raises(UsageError, match="holds a run with data=these, this one has data=others"):
        train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, run, known, made={**made, "data": "others"}, say=quiet)
    assert train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, run, known, made=made, say=quiet).step == 4
    # who measures elsewhere does not say that it was trained there
    monkeypatch.setattr("unmask.experiments.puzzle_training.machine", lambda device: "elsewhere")
    state = train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, run, tmp_path, minutes=0, say=quiet)
    assert run_record(run, state)["device"] == machine("cpu")
    (tmp_path / "checkpoint-4" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="damaged"):
        train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, run, tmp_path, say=quiet)


def test_a_loss_that_is_no_number_never_replaces_a_checkpoint(shards: Shards, tmp_path: Path) -> None:
    run = Run(steps=20, batch=8)
    train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, run, tmp_path, until=5, say=quiet)

    def breaking(model: PuzzleDenoiser, batch: PuzzleBatch, step: int) -> torch.Tensor:
        return denoising_loss(run)(model, batch, step) * (float("nan") if step == 7 else 1.0)

    for settings in ({"until": 10}, {"save_every": 0}):
        with pytest.raises(UnmaskError, match="loss is nan"):
            train(PuzzleDenoiser.fresh(MINI, TINY, 0), shards, run, tmp_path, loss=breaking, say=quiet, **settings)
    kept = last_checkpoint(tmp_path)
    assert kept is not None and kept.name == "checkpoint-7"
    weights = load_file(str(kept / "model.safetensors"))
    assert all(w.isfinite().all() for w in weights.values())


def test_unknown_never_hides_a_given_and_all_does(shards: Shards) -> None:
    batch = shards.batch(32, 0, 0)
    seen: list[torch.Tensor] = []

    class Spy(PuzzleDenoiser):
        def body(self, x_BL, *rest, **named):  # type: ignore[no-untyped-def]
            seen.append(x_BL)
            return super().body(x_BL, *rest, **named)

    model = Spy(MINI, PuzzleDenoiser.fresh(MINI, TINY, 0).net)
    for hide in ("unknown", "all"):
        denoising_loss(Run(steps=1, hide=hide))(model, batch, 0)
    unknown, everything = (x == 0 for x in seen)
    assert not (unknown & batch.given_BL).any() and unknown.any(1).all()
    assert (everything & batch.given_BL).any()


def test_relations_of_zebras_are_read_from_the_canvas() -> None:
    puzzle = Zebra(smallest=3, largest=3)
    batch = puzzle.sample(6, np.random.default_rng(0))
    model = PuzzleDenoiser.fresh(puzzle, TINY, 0)
    with torch.no_grad():
        own = model.body(batch.question_BL).h_BLD
        given = model.net.body(batch.question_BL, relations_RLL=puzzle.relations(batch.answer_BL)).h_BLD
        none = model.net.body(batch.question_BL).h_BLD
    assert torch.equal(own, given) and not torch.allclose(own, none)


def test_where_clues_are_relations_their_tokens_are_not_read(tmp_path) -> None:
    """Fewer clues in the tokens alone change nothing for the network with relations, much for the plain one."""
    puzzle = ZebraItems(smallest=3, largest=3)
    batch = puzzle.sample(6, np.random.default_rng(0))
    aware, plain = PuzzleDenoiser.fresh(puzzle, TINY, 0), PuzzleDenoiser.fresh(puzzle, Shape(relations=False), 0)
    assert (
        aware.net.config.max_position_embeddings == puzzle.related == 12
        and plain.net.config.max_position_embeddings == puzzle.length
    )
    bare_BL = batch.question_BL.clone()
    bare_BL[:, puzzle.related :] = 1
    hidden_BL = ~batch.given_BL
    with torch.no_grad():
        mine = aware.logits(batch.question_BL, hidden_BL)
        again = aware.net.body(batch.question_BL[:, :12], relations_RLL=puzzle.relations(batch.question_BL)).h_BLD
        assert torch.equal(mine, aware.head(again[hidden_BL[:, :12]]))
        assert not torch.allclose(mine, aware.logits(bare_BL, hidden_BL)), "the clues reach it as relations"
        assert not torch.allclose(plain.logits(batch.question_BL, hidden_BL), plain.logits(bare_BL, hidden_BL))
    for model in (aware, plain):
        spec = PUZZLES.spec_of(puzzle)
        folder = save(model, PuzzleCard(spec, "unknown", {}), tmp_path / str(model is aware))
        again_, card = load(folder)
        assert card.puzzle == spec
        assert torch.equal(again_.logits(batch.question_BL), model.logits(batch.question_BL))


def test_training_cost_is_that_of_the_matrix_products(shards: Shards) -> None:
    """A multiply-add is two; backward once for the weights and, behind the first layer, once for the input."""
    batch = shards.batch(10, 0, 0)
    one = torch.nn.Linear(16, 5)
    two = torch.nn.Sequential(torch.nn.Linear(16, 7, bias=False), torch.nn.Linear(7, 5, bias=False))

    def loss(net: torch.nn.Module, batch: PuzzleBatch, step: int) -> torch.Tensor:
        return net(batch.answer_BL.float()).sum()

    assert flops_per_row(one, batch, loss) == 2 * 2 * 16 * 5 and one.weight.grad is None
    assert flops_per_row(two, batch, loss) == 2 * 2 * 16 * 7 + 3 * 2 * 7 * 5
    # the loops of a looped network are counted each; fused attention as its parts: scores and values of every head
    plain = replace(TINY, relations=False, layers=1, loops=1)
    counted = [
        flops_per_row(PuzzleDenoiser.fresh(MINI, replace(plain, loops=n), 0), batch, denoising_loss(Run(1)))
        for n in (1, 2, 3)
    ]
    D, L, ffn = plain.dim, MINI.length, plain.ffn_dim
    block = 3 * 2 * L * (4 * D * D + 2 * D * ffn + 2 * L * D)
    assert counted[2] - counted[1] == block and counted[1] > counted[0] > 0


def test_the_structured_start_is_one_relation_a_head() -> None:
    aware, plain = PuzzleDenoiser.fresh(MINI, TINY, 0), PuzzleDenoiser.fresh(MINI, Shape(relations=False), 0)
    weight = aware.net.blocks[0].attn.relation
    assert torch.equal(weight, 3.0 * torch.eye(4)[:, :3])
    assert torch.equal(aware.net.relations_RLL.bool(), MINI.relations(torch.zeros(1, 16, dtype=torch.int64)))
    assert plain.net.config.relations == 0 and plain.net.blocks[0].attn.relation is None


@pytest.mark.parametrize("order", ["raster", "solver"])
def test_causal_rows_do_not_score_their_givens(order: str) -> None:
    answer = torch.tensor([[1, 2, 3, 4] * 4])
    given = torch.tensor([[False, True] * 8])
    rank = torch.where(given, 0, 16 - torch.arange(16))
    model = CausalSolver(MINI, CausalShape(dim=16, layers=1, heads=2), order, 0)
    token_BT, scored_BT = model.rows(PuzzleBatch(answer, given, rank))
    places = (token_BT[0, ::2] - MINI.vocab_size).tolist()
    hidden = list(range(0, 16, 2))
    assert places == list(range(1, 16, 2)) + (hidden[::-1] if order == "solver" else hidden)
    assert torch.equal(token_BT[0, 1::2], answer[0, places])
    assert scored_BT[0].tolist() == [False] * 16 + [True] * 16


def test_the_causal_solver_learns_and_keeps_givens(shards: Shards, held_out: PuzzleBatch, tmp_path: Path) -> None:
    model = CausalSolver(MINI, CausalShape(dim=32, layers=2, heads=2), "raster", 0)
    run = Run(steps=60, batch=32, ema=0.9)
    state = train(model, shards, run, tmp_path, loss=lambda net, batch, _: net.loss(batch), say=quiet)
    assert state.losses[-1][1] < state.losses[0][1]
    some = held_out[slice(0, 16)]
    solved = model.solve(some)
    assert torch.equal(torch.where(some.given_BL, solved.x_BL, 0), some.question_BL) and (solved.x_BL > 0).all()
    assert (solved.forwards_B == 12).all()
    # cell by cell without a cache: the same values
    x_BL, order_BL = some.question_BL.clone(), model.order_BL(some)
    for k in range(4, 16):
        row_BT, _ = model.rows(PuzzleBatch(x_BL, some.given_BL))
        logits_BV = model.net(input_ids=row_BT[:, : 2 * k + 1]).logits[:, -1, 1 : MINI.vocab_size]
        x_BL.scatter_(1, order_BL[:, k : k + 1], logits_BV.argmax(1, keepdim=True) + 1)
    assert torch.equal(x_BL, solved.x_BL)
    with pytest.raises(UsageError, match="must be one of raster, solver"):
        CausalSolver(MINI, CausalShape(), "spiral", 0)
    with pytest.raises(UsageError, match="needs boards with ranks"):
        CausalSolver(MINI, CausalShape(dim=16, layers=1, heads=2), "solver", 0).loss(some)


def test_wilson_interval_against_its_closed_form() -> None:
    # 8 of 10: roots of (p - 0.8)^2 = z^2 p (1 - p) / 10
    share, z2 = wilson(8, 10), 1.959964**2
    for p in (share.low, share.high):
        assert math.isclose((p - 0.8) ** 2, z2 * p * (1 - p) / 10, rel_tol=1e-9)
    assert wilson(0, 500).low == 0 and 0 < wilson(0, 500).high < 0.01 and wilson(500, 500).high == 1
    assert percent({"value": 0.642, "low": 0.6, "high": 0.683}) == "64.2 [60.0, 68.3]"
    with pytest.raises(UsageError, match="at least one"):
        wilson(0, 0)


# -- the experiment as its command runs it --------------------------------------------------------------------------
@pytest.fixture()
def small_study(monkeypatch: pytest.MonkeyPatch, shards: Shards, tmp_path: Path) -> None:
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    changed = replace(
        sudoku.STUDY,
        tests=lambda scale: {"27 givens": replace(MINI, most=4, side="test")},
        training_set=lambda scale, arm, say: shards,
        decoding_steps=4,
        shapes={"cpu": replace(TINY, loops=2, input_injection=True, deep_supervision=True)},
        causal={"cpu": CausalShape(dim=16, layers=1, heads=2)},
        steps={"cpu": 6},
        batch={"cpu": 8},
    )
    monkeypatch.setattr(sudoku, "STUDY", changed)


def command(*words: str) -> int:
    try:
        cli.main(list(words))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_page_is_what_the_file_says(small_study: None, tmp_path: Path) -> None:
    where = [f"--{name}={tmp_path / name}" for name in ("out", "pages", "runs")]
    arms = ["--arm=relations", "--arm=plain", "--arm=causal raster"]
    assert command("experiment", "sudoku", "--boards=12", "--device=cpu", *where, *arms) == 0
    page, file = tmp_path / "pages" / "sudoku.md", tmp_path / "out" / "experiment_sudoku.json"
    drawing = tmp_path / "pages" / "img" / "sudoku_cpu.svg"
    first = (page.read_text(), drawing.read_text())
    page.unlink(), drawing.unlink()
    assert command("experiment", "sudoku", "--page", *where[:2]) == 0
    assert (page.read_text(), drawing.read_text()) == first
    # another number in the file is another number in its table and under the paper's, and nowhere else;
    # the table of arms by compute says it too
    results = json.loads(file.read_text())
    table = results["scales"]["cpu"]["arms"]["relations"]["table"]["27 givens"]
    table["margin"]["solved"] |= {"value": 0.123, "low": 0.111, "high": 0.135}
    file.write_text(json.dumps(results))
    study.rewrite("sudoku", out=tmp_path / "out", pages=tmp_path / "pages")
    changed = [b for a, b in zip(first[0].splitlines(), page.read_text().splitlines(), strict=True) if a != b]
    assert len(changed) == 3 and changed[1].startswith("| margin |") and "12.3 [11.1, 13.5]" in changed[1]
    assert changed[0].startswith("| relations |") and changed[0].endswith("| 12.3 [11.1, 13.5] (margin) |")
    assert changed[2].startswith("| ours, 27 givens, structure-aware (cpu scale) | - | - |")
    assert changed[2].endswith("| 12.3 |")
    raster = results["scales"]["cpu"]["arms"]["causal raster"]["table"]["27 givens"]["most probable"]["solved"]
    assert f"| ours, 27 givens, plain (cpu scale) | {100 * raster['value']:.1f} | - |" in first[0]
    assert "applied 2 times, the board added again before each time" in first[0]
    for arm in ("relations", "plain", "causal raster"):
        entry = results["scales"]["cpu"]["arms"][arm]
        spent = entry["flops_a_row"] * entry["training"]["boards"] / 1e12
        assert f"| {arm} | {entry['parameters']:,} | 48 | {spent:,.0f} |" in first[0]
    assert first[0].count("Puzzles seen: 500 of sudoku:size=4") == 3
    assert first[0].count("| margin, 3 loops for 2 |") == first[0].count("| margin, 4 loops for 2 |") == 2
    assert "## Structure-aware" in first[0] and "## Plain" in first[0] and "89.49" in first[0]
    assert "var(--" not in first[1]
    # measuring again without training keeps the other arms and goes on from the checkpoint
    assert command("experiment", "sudoku", "--boards=12", "--device=cpu", "--minutes=0", *where, arms[1]) == 0
    again = json.loads(file.read_text())["scales"]["cpu"]["arms"]
    assert set(again) == {"relations", "plain", "causal raster"} and again["plain"]["training"]["steps_done"] == 6
    # what these weights did on as many boards is not measured twice: the number that was planted above stays
    assert command("experiment", "sudoku", "--boards=12", "--device=cpu", "--minutes=0", *where, arms[0]) == 0
    kept = json.loads(file.read_text())["scales"]["cpu"]["arms"]["relations"]["table"]["27 givens"]
    assert kept["margin"]["solved"]["value"] == 0.123
    assert command("experiment", "sudoku", "--boards=11", "--device=cpu", "--minutes=0", *where, arms[0]) == 0
    fewer = json.loads(file.read_text())["scales"]["cpu"]["arms"]["relations"]["table"]["27 givens"]
    assert fewer["margin"]["solved"]["texts"] == 11 and fewer["margin"]["solved"]["value"] != 0.123
    # nor do numbers stay that other weights, or other boards, were measured by
    for part, value in (("training", {"steps_done": 5}), ("boards", {"27 givens": "others"})):
        results = json.loads(file.read_text())
        entry = results["scales"]["cpu"]["arms"]["relations"]
        entry["table"]["27 givens"]["margin"]["solved"]["value"] = 0.123
        entry[part] |= value
        file.write_text(json.dumps(results))
        assert command("experiment", "sudoku", "--boards=11", "--device=cpu", "--minutes=0", *where, arms[0]) == 0
        again = json.loads(file.read_text())["scales"]["cpu"]["arms"]["relations"]["table"]["27 givens"]
        assert again["margin"]["solved"]["value"] != 0.123
    assert command("experiment", "sudoku", "--page", "--minutes=3", *where[:2]) == 2


def test_wrong_experiments_are_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("experiment", "sudokou") == 2
    assert "did you mean 'sudoku'" in capsys.readouterr().err
    assert command("experiment", "sudoku", "--scale=huge") == 2
    assert command("experiment", "sudoku", "--device=gpu") == 2
    assert "device='gpu' is not one: write cpu, cuda" in capsys.readouterr().err
    assert command("experiment", "sudoku", "--page", f"--out={tmp_path}") == 2
    assert "run `unmask experiment sudoku` first" in capsys.readouterr().err
    with pytest.raises(UsageError, match="did you mean 'plain'"):
        study.Effort(arms=("plane",)).chosen(("relations", "plain"))
    (tmp_path / "experiment_sudoku.json").write_text("[1]")
    assert command("experiment", "sudoku", "--page", f"--out={tmp_path}") == 2


# -- one board in the terminal --------------------------------------------------------------------------------------
def test_a_board_is_solved_cell_by_cell(solver: Path, held_out: PuzzleBatch, tmp_path: Path) -> None:
    model, _ = load(solver)
    right = solve(model, MINI, held_out, planned("margin", None)).correct_B
    row = int(right.nonzero()[0])
    text = "".join(str(v) for v in held_out.question_BL[row].tolist())
    page = tmp_path / "trace.html"
    out = CliRunner().invoke(cli.build(), ["puzzle", "sudoku", text, "--model", str(solver), "--trace", str(page)])
    assert out.exit_code == 0, out.output
    assert "solved; 12 forwards, order margin" in out.output
    lines = [line.split() for line in out.output.splitlines() if " margin 0" in line or " margin 1" in line]
    assert [int(words[0]) for words in lines] == list(range(1, 13))
    for words in lines:
        place, value = words[1], int(words[3])
        cell = 4 * (int(place[1]) - 1) + int(place[3]) - 1
        assert held_out.answer_BL[row, cell] == value and not held_out.given_BL[row, cell]
    html = page.read_text()
    assert html.count("<td style='border") == 16 and "every rule holds" in html
    # with its colon: embedded data may spell the four letters by chance
    assert "http:" not in html.split("srcdoc")[0] and "https:" not in html.split("srcdoc")[0]


def test_tries_end_where_nothing_can_change(
    solver: Path, held_out: PuzzleBatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = load(solver)
    wrong = ~solve(model, MINI, held_out, planned("left_to_right", None)).correct_B
    text = "".join(str(v) for v in held_out.question_BL[int(wrong.nonzero()[0])].tolist())
    page = tmp_path / "trace.html"
    words = ["puzzle", "sudoku", text, f"--model={solver}", "--tries=5"]
    assert command(*words, "--order=left_to_right", f"--trace={page}") == 1
    assert "24 forwards, order left_to_right, attempt 2" in " ".join(capsys.readouterr().out.split())
    assert "seed 1, attempt 2" in page.read_text()
    # the paper's vanilla inference: other cells at every attempt
    code = command(*words, "--order=vanilla", "--steps=4")
    said = " ".join(capsys.readouterr().out.split())
    assert code in (0, 1) and "order vanilla" in said


def test_a_trace_without_a_file_names_one_and_loops_may_be_more(
    solver: Path,
    held_out: PuzzleBatch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    row = int(solve(load(solver)[0], MINI, held_out, planned("margin", None)).correct_B.nonzero()[0])
    text = "".join(str(v) for v in held_out.question_BL[row].tolist())
    words = ["puzzle", "sudoku", text, "--model", str(solver), "--trace"]
    for first, more in (([], []), ([], ["--order", "margin"]), ([], ["--loops", "1"]), (["--order", "margin"], [])):
        (tmp_path / "sudoku.html").unlink(missing_ok=True)
        assert command(words[0], *first, *words[1:], *more) == 0
        assert "every rule holds" in (tmp_path / "sudoku.html").read_text()
    capsys.readouterr()
    assert command(*words, "--loops=0") == 2
    assert "loops=0 must be at least 1" in capsys.readouterr().err


def test_bad_boards_and_models_are_wrong_use(solver: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = f"--model={solver}"
    for words, said in (
        (["sudoku", "11" + "." * 14, model], "r1c1 and r1c2 both hold 1"),
        (["sudoku", "12x" + "." * 13, model], "is not part of a 4x4 board"),
        (["sudoku", "." * 16, model], "several solutions"),
        (["sudoku", "123", model], "cells"),
        (["sudoku", "." * 81, model], "this board has 81 cells"),
        (["zebra", "3x3; A1 same B2", model], "which is no zebra"),
        (["chess", "e4"], "no puzzle is called 'chess'"),
        (["sudoku", "1" + "." * 15, f"--model={tmp_path / 'none'}"], "there is no folder"),
        (["sudoku", "1" + "." * 15, f"--model={tmp_path}"], "is no puzzle model"),
        (["sudoku", "1" + "." * 15, model, "--trace=x.png"], "written as .html or .json"),
        (["sudoku", "1" + "." * 15, model, "--order=margn"], "did you mean 'margin'"),
        (["sudoku", "1" + "." * 15, model, "--tries=0"], "tries=0 must be at least 1"),
        (["sudoku", str(solver / "model.safetensors"), model], "is not text"),
        (["sudoku", "nofile.txt", model], "there is no file 'nofile.txt'"),
        (["sudoku", str(tmp_path), model], "is a folder"),
        (["sudoku", "\u0664" * 170, model], "cells"),
    ):
        assert command("puzzle", *words) == 2, words
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("kind", "text", "place", "value"),
    [
        ("sudoku", "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79", "r1c3", "4"),
        ("zebra", "3x3; A1 same H1; B2 same A1; B2 just left of B3; C1 same B3; A2 just left of A3; C2 left of C3",
         "house of B3", "H2"),
    ],
)  # fmt: skip
def test_shipped_solvers_solve(kind: str, text: str, place: str, value: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.build(), ["puzzle", kind, text, "--trace", str(tmp_path / "page.html")])
    assert done.exit_code == 0 and "\nsolved; " in done.stdout
    said = [line for line in done.stdout.splitlines() if place in line]
    assert len(said) == 1 and f"= {value} " in said[0]
    assert place in (tmp_path / "page.html").read_text()


def test_what_is_said_of_a_wrong_answer_is_what_is_known_of_it() -> None:
    from unmask.cli.puzzle import _wrong

    given = torch.tensor([[True, True, False, False]])
    board = PuzzleBatch(torch.tensor([[1, 2, 1, 2]]), given)
    assert _wrong(board, torch.tensor([[1, 2, 2, 2]])) == "1 of 2 cells differ from the solution"
    # latents that were hidden in the question have no one solution
    assert _wrong(PuzzleBatch(torch.tensor([[1, 2, 0, 0]]), given), torch.tensor([[1, 2, 2, 2]])) == "a rule is broken"

"""The studies beside Sudoku in miniature: latents and observations, order-learners, zebra, ways beyond the paper."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unmask.core.denoiser import Body, Denoiser
from unmask.core.errors import UsageError
from unmask.data.puzzles import PUZZLES, Shards, build
from unmask.data.puzzles.kinds.nae_sat import NaeSat
from unmask.data.puzzles.kinds.sudoku import Sudoku
from unmask.data.puzzles.kinds.zebra_items import ZebraItems
from unmask.experiments import beyond, frontier, nae_sat, order_learners, study, zebra
from unmask.experiments.puzzle_causal import CausalShape
from unmask.experiments.puzzle_run import Run
from unmask.experiments.puzzle_training import train
from unmask.families.puzzle.network import PuzzleCard, PuzzleDenoiser, Shape, save
from unmask.families.puzzle.solving import planned, solve

TINY = Shape(dim=32, layers=2, heads=4, ffn_dim=64, loops=1)


def quiet(_: str) -> None: ...


class Oracle(PuzzleDenoiser):
    """Knows an observation whose latents are seen, and says the first value of everything else."""

    def logits(self, x_BL, at_BL=None, *rest, **named):  # type: ignore[no-untyped-def]
        n = self.puzzle.n
        latent_BN = x_BL[:, :n]
        seen_BP = ((latent_BN > 0).float() @ self.puzzle.incidence().T.float()) == 3
        value_BP = torch.where(seen_BP, self.puzzle.observe((latent_BN - 1).clamp(min=0)) + 1, 1)
        best_BL = torch.cat([torch.ones_like(latent_BN), value_BP], dim=1)
        return torch.nn.functional.one_hot(best_BL, 3).float()[at_BL]


def test_the_error_map_says_what_is_hard() -> None:
    puzzle = NaeSat(n=8, p=30)
    model = Oracle(puzzle, PuzzleDenoiser.fresh(puzzle, TINY, 0).net)
    found = nae_sat.error_map(model, puzzle, study.Effort(boards=400))
    latents, observations = found["latents"], found["observations"]
    assert found["shares"] == [0, 0.25, 0.5, 0.75, 1]
    assert latents[0] == [None] * 5 and [row[0] for row in observations] == [None] * 5
    assert observations[0][1:] == [0, 0, 0, 0]  # every latent seen: observations are easy
    assert all(abs(e - 0.5) < 0.05 for row in latents[1:] for e in row)  # bits it says nothing about
    # no latent seen: it says "all equal" of everything, which three of four are not
    assert abs(observations[4][4] - 0.75) < 0.03 and observations[1][4] < observations[4][4]


def test_independent_draws_agree_as_often_as_the_page_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nae_sat, "ROWS", {"cpu": ((6, 12),)})
    monkeypatch.setattr(nae_sat, "SHAPES", {"cpu": TINY})
    effort = study.Effort(boards=120, steps=1, batch=4, runs=tmp_path / "runs", arms=("plain",))
    results: dict = {}
    nae_sat.measure(effort, results, lambda: None, quiet)
    entry = results["rows"]["6,12"]["plain"]
    # a model that knows nothing draws every bit fairly: an observation agrees half of the time
    for way in entry["table"].values():
        assert abs(way["agree"]["value"] - 0.5) < 0.1 and way["agree"]["texts"] == 120
    assert entry["table"]["latents first, one at a time"]["forwards"] == 18
    text = nae_sat.page({"scales": {"cpu": results}}).markdown()
    assert (
        "## Plain, cpu scale" in text
        and "Structure-aware" not in text
        and "| 25 | 275 | 78.06 | 93.76 | not run |" in text
    )
    # a row of the paper's that was run stands beside it
    entry["table"]["margin"]["agree"] |= {"value": 0.913, "low": 0.901, "high": 0.92}
    text = nae_sat.page({"scales": {"paper": {"rows": {"25,275": {"plain": entry}}}}}).markdown()
    row = next(line for line in text.splitlines() if line.startswith("| 25 | 275 |"))
    assert row.endswith("| 91.3 [90.1, 92.0] | not run | not run |")


def test_permutations_are_what_they_are_called() -> None:
    L = 256
    assert torch.equal(order_learners.permutation("identity", L, 0), torch.arange(L))
    for arm, swaps in (("much closer", 16), ("closer", 25)):
        orders = [order_learners.permutation(arm, L, draw) for draw in range(3)]
        for order in orders:
            assert torch.equal(order.sort().values, torch.arange(L))
            assert 0 < int((order != torch.arange(L)).sum()) <= 2 * swaps
        assert not torch.equal(orders[0], orders[1])
    assert int((order_learners.permutation("uniform", L, 0) == torch.arange(L)).sum()) < 10


def test_a_permuted_learner_reads_in_its_order_alone() -> None:
    size = order_learners.Size(length=12, vocab=16, dim=16, layers=1, heads=2, steps=1, batch=1)
    order = order_learners.permutation("uniform", 12, 3)
    model = order_learners.PermutedLearner(size, order, 1, 0).eval()
    ids = torch.randint(2, 16, (2, 12), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[:, order[7]] = (ids[:, order[7]] + 1) % 16  # the token that comes eighth
    with torch.no_grad():
        a, b = model.nats(ids), model.nats(other)
    assert torch.equal(a[:, :7], b[:, :7]) and not torch.allclose(a[:, 8:], b[:, 8:])
    for p in model.parameters():
        torch.nn.init.zeros_(p)
    assert torch.allclose(model.nats(ids), torch.full((2, 12), math.log(16)))


def test_order_learners_run_and_draw_their_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    size = order_learners.Size(length=12, vocab=16, dim=16, layers=1, heads=2, steps=8, batch=4)
    rows = torch.randint(3, 16, (64, 12), generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(order_learners, "SIZES", {"cpu": size})
    monkeypatch.setattr(order_learners, "DRAWS", 2)
    monkeypatch.setattr(order_learners, "rows_of_text", lambda *_: (order_learners.PackedRows(rows), rows[:8], 1))
    arms = ("identity", "uniform", "masked diffusion")
    effort = study.Effort(boards=8, arms=arms, runs=tmp_path / "runs")
    path = study.run("order_learners", effort, out=tmp_path, pages=tmp_path / "pages", say=quiet)
    found = json.loads((tmp_path / "experiment_order_learners.json").read_text())["scales"]["cpu"]["arms"]
    assert list(found) == list(arms) and all(len(draws) == 2 for draws in found.values())
    for draws in found.values():
        for draw in draws.values():
            assert [c["step"] for c in draw["curve"]] == [1, 2, 4, 8]
            assert abs(draw["curve"][0]["nats"]["value"] - math.log(16)) < 0.6
    # opened again, every mark keeps what its own weights scored
    again = replace(effort, minutes=0, arms=("identity",))
    study.run("order_learners", again, out=tmp_path, pages=tmp_path / "pages", say=quiet)
    kept = json.loads((tmp_path / "experiment_order_learners.json").read_text())["scales"]["cpu"]["arms"]
    for draw in ("0", "1"):
        assert kept["identity"][draw]["curve"] == found["identity"][draw]["curve"]
    with pytest.raises(UsageError, match="--test has no effect"):
        study.run("order_learners", replace(effort, tests=("x",)), out=tmp_path, pages=tmp_path, say=quiet)
    assert "| masked diffusion |" in path.read_text()
    assert "* *identity* before *uniform*: " in path.read_text()
    assert (tmp_path / "pages" / "img" / "order_learners_cpu.svg").read_text().startswith("<svg")


def test_the_papers_ordering_is_compared_by_step() -> None:
    def arm(*draws: dict[int, float]) -> dict:
        points = [[{"step": s, "nats": {"value": v}} for s, v in draw.items()] for draw in draws]
        return {str(i): {"curve": curve} for i, curve in enumerate(points)}

    arms = {
        "masked diffusion": arm({8: 2.0, 16: 1.9}, {8: 2.1, 16: 1.8}),
        "uniform": arm({8: 1.3, 16: 1.2}, {8: 1.4, 16: 1.35}),
        "closer": arm({8: 1.5, 16: 1.4}, {8: 1.6, 16: 1.6}),
        "identity": arm({8: 1.0}, {8: 1.2}),  # cut short
        "much closer": arm({8: 1.3, 16: 1.3}, {8: 1.5, 16: 1.5}),
    }
    curves = order_learners._curves({"arms": arms})
    assert list(curves) == list(order_learners.ARMS)
    assert order_learners.ordering(curves) == [
        "*identity* before *much closer*: **reproduced**, every one of 2 draws (1.100 against 1.400)",
        "*much closer* before *closer*: on the mean (1.400 against 1.500), but draws overlap",
        "*closer* before *uniform*: **not reproduced** (1.500 against 1.275)",
        "*identity* before *masked diffusion*: **reproduced**, every one of 2 draws (1.100 against 2.050)",
    ]
    # another number of draws says nothing of "every draw"
    one = {"identity": curves["identity"], "much closer": {8: [1.3]}}
    assert order_learners.ordering(one) == []


def test_zebras_train_and_are_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kind = ZebraItems(smallest=3, largest=3, side="train")
    shards = Shards(build(kind, 64, out=tmp_path / "train"))
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    changed = replace(
        zebra.STUDY,
        tests=lambda scale: {"3x3": replace(kind, side="test")},
        training_set=lambda scale, arm, say: shards,
        decoding_steps=3,
        shapes={"cpu": replace(TINY, dim=40, heads=10)},
        causal={"cpu": CausalShape(dim=16, layers=1, heads=2)},
    )
    monkeypatch.setattr(zebra, "STUDY", changed)
    effort = study.Effort(steps=3, batch=8, boards=8, arms=("relations", "causal solver"), runs=tmp_path / "runs")
    results: dict = {}
    zebra.measure(effort, results, lambda: None, quiet)
    table = results["arms"]["relations"]["table"]["3x3"]
    assert table["margin"]["forwards"] == 3 and table["margin, one at a time"]["forwards"] == 9
    assert results["arms"]["causal solver"]["table"]["3x3"]["most probable"]["forwards"] == 18
    # the set that is drawn is the study's own, or else the first one of the scale
    text = zebra.page({"scales": {"cpu": results}}).markdown()
    assert "| 3x3, % solved |" in text and "Boards of 3x3 solved" in text and "not measured" not in text
    with pytest.raises(UsageError, match="no test set is called '4x4'"):
        zebra.measure(replace(effort, tests=("4x4",)), results, lambda: None, quiet)


def test_ways_beyond_spend_the_same_and_are_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kind = Sudoku(size=4, fewest=4, most=5, side="train")
    shards = Shards(build(kind, 400, out=tmp_path / "train"))
    run = Run(steps=40, batch=24, ema=0.9)
    model = PuzzleDenoiser.fresh(kind, TINY, 0)
    train(model, shards, run, tmp_path / "run", say=quiet)
    save(
        model,
        PuzzleCard(PUZZLES.spec_of(kind), run.hide, {"boards": 1280, "minutes": 0.1}),
        tmp_path / "runs" / "sudoku_cpu" / "relations" / "model",
    )
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(beyond, "GIVENS", 4)
    monkeypatch.setattr(beyond, "FORWARDS", 6)
    results: dict = {}
    beyond.measure(study.Effort(boards=60, runs=tmp_path / "runs"), results, lambda: None, quiet)
    ways = results["ways"]
    assert len(ways) == 15 and all(way["forwards"] <= 6 for way in ways.values())
    assert ways["margin"]["solved"]["value"] > 0.2
    # the learned order has learned something: surer cells first
    batch = shards.batch(200, 9, 0)
    learned = beyond.fit(model, batch, "cpu")
    random = solve(model, kind, batch, planned("random", 6)).correct_B.sum()
    plan = replace(planned("margin", 6), order=learned)
    assert solve(model, kind, batch, plan).correct_B.sum() > random + 20
    text = beyond.page({"scales": {"cpu": results}}).markdown()
    assert text.count("\n| ") == 15 + 1 and "4 givens, 6 forwards" in text
    with pytest.raises(UsageError, match="train it first"):
        beyond.measure(study.Effort(runs=tmp_path / "none"), {}, lambda: None, quiet)


def test_backtracking_leaves_givens_and_keeps_its_budget() -> None:
    kind = Sudoku(size=4, fewest=8, most=8)
    batch = kind.sample(5, np.random.default_rng(0))
    model = PuzzleDenoiser.fresh(kind, TINY, 0)  # knows nothing: its first boards clash
    out = beyond.backtracking(model, kind, batch, "cpu")
    assert torch.equal(torch.where(batch.given_BL, out.x_BL, 0), batch.question_BL)
    assert (out.forwards_B <= beyond.FORWARDS).all() and (out.x_BL > 0).all()


class KnowsBesideEnough(Denoiser):
    """Says the right value where at least ``enough`` cells are shown, else the next value: sure of both."""

    def __init__(self, puzzle: Sudoku, answer_L: torch.Tensor, enough: int) -> None:
        self.vocab_size, self.mask_id, self.max_length = puzzle.vocab_size, puzzle.mask_id, puzzle.length
        self.answer_L, self.enough, self.forwards = answer_L, enough, 0

    def body(self, x_BL: torch.Tensor, *_: object, **__: object) -> Body:
        self.forwards += 1
        lost_B = (x_BL > 0).sum(1) < self.enough
        value_BL = self.answer_L % (self.vocab_size - 1) + 1
        value_BL = torch.where(lost_B[:, None], value_BL, self.answer_L)
        return Body(10.0 * torch.nn.functional.one_hot(value_BL, self.vocab_size).float())

    def project(self, h_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        return h_ND, torch.eye(self.vocab_size), None


def test_what_the_network_doubts_is_written_again() -> None:
    kind = Sudoku(size=6, fewest=9, most=9)
    batch = kind.sample(1, np.random.default_rng(0))
    # of 36 cells 9 are given; the first ones are written wrong, and beside half of them enough is shown again
    fool = KnowsBesideEnough(kind, batch.answer_BL[0], 12)
    assert not solve(fool, kind, batch, planned("margin", 12)).correct_B.any()
    out = beyond.doubting(fool, kind, batch, "cpu")
    assert out.correct_B.all() and torch.equal(out.x_BL, batch.answer_BL)
    fool.forwards = 0
    assert torch.equal(beyond.doubting(fool, kind, batch, "cpu").forwards_B, torch.tensor([fool.forwards]))
    # nothing is doubted by one that was right: half of the forwards, and twice two to ask
    wise = KnowsBesideEnough(kind, batch.answer_BL[0], 0)
    out = beyond.doubting(wise, kind, batch, "cpu")
    assert out.correct_B.all() and out.forwards_B.tolist() == [beyond.FORWARDS // 2 + 4]


def test_the_frontier_page_shows_no_perplexity_without_entropy() -> None:
    share = {"value": 3.0, "low": 2.9, "high": 3.1, "texts": 10}
    figures = {"gen_ppl": share, "entropy": share, "rep_2": share, "distinct_2": 0.5, "judge": "j", "unit": "words"}
    figures["empty"] = 2
    page = frontier.page({"scales": {"cpu": {"data": figures, "ways": {"margin": {"8": figures}}}}})
    assert "| margin | 8 | 3.0 [2.9, 3.1] | 3.000 [2.900, 3.100] | 3.000 | 0.500 |" in page.markdown()
    assert "frontier" in page.drawings and "2 of all that were written were empty" in page.markdown()
    told = {"parameters": 1234, "steps": 8000, "rows": 64, "nelbo": 3.987}
    page = frontier.page({"scales": {"cpu": {"data": figures, "ways": {"margin": {"8": figures}}, "model": told}}})
    assert "1,234 parameters, the best checkpoint of 8,000 steps of 64 verses" in page.markdown()
    assert "NELBO 3.99 nats a token" in page.markdown()
    blind = {**figures, "gen_ppl": None}
    page = frontier.page({"scales": {"cpu": {"data": blind, "ways": {"margin": {"8": blind}}}}})
    assert "no judge" in page.markdown() and not page.drawings


@pytest.mark.parametrize("name", list(study.STUDIES))
def test_committed_pages_are_what_the_code_writes(name: str, tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"
    if not study.results_file(name, docs / "benchmarks").is_file():
        assert not (docs / "experiments" / f"{name}.md").exists(), f"a page without numbers: unmask experiment {name}"
        return
    page = study.rewrite(name, out=docs / "benchmarks", pages=tmp_path)
    assert page.read_text() == (docs / "experiments" / f"{name}.md").read_text(), f"unmask experiment {name} --page"

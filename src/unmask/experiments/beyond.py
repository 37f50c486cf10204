"""Beyond the paper, on Sudoku: what else an inference budget can buy, each against margin at equal forwards.

Noise and temperature; several attempts and the most confident kept; re-ranking and backtracking, which hide cells
again; more loops of a looped denoiser; an order learned from which guesses turned out right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.precision import fastest
from unmask.core.random import generator
from unmask.data.puzzles import MASK, PuzzleBatch
from unmask.data.puzzles.kinds.sudoku import Sudoku
from unmask.decoding import DecodingPlan, generate
from unmask.decoding.order import Candidates, Order
from unmask.experiments.study import Effort, Page, Say
from unmask.families.puzzle.network import PuzzleDenoiser, load
from unmask.families.puzzle.solving import Solved, percent, planned, pool, solve, solve_again

#: forwards that every way may spend on a board
FORWARDS = 24
GIVENS = 27


@dataclass(frozen=True)
class Learned(Order):
    """Log-odds that a guess is right, fitted on boards of the training side: weights times :func:`features`.

    Attributes:
        top, short, entropy: the weights (a bias would change no order).
    """

    top: float = 1.0
    short: float = 0.0
    entropy: float = 0.0
    reference: ClassVar[str] = "this project"
    needs: ClassVar[tuple[str, ...]] = ("best", "rest", "second", "entropy")

    def score(self, candidates: Candidates) -> Tensor:
        at_N3 = features(candidates)
        return at_N3 @ torch.tensor([self.top, self.short, self.entropy], dtype=at_N3.dtype, device=at_N3.device)


def features(candidates: Candidates) -> Tensor:
    """[N, 3] in fp64: log p of the best value, log of 1 - margin, entropy."""
    stats = candidates.stats
    return torch.stack([stats.log_best_N, stats.shortfall_N.clamp(min=1e-30).log(), stats.entropy_N], dim=1)


def fit(model: PuzzleDenoiser, batch: PuzzleBatch, device: str) -> Learned:
    """Logistic regression of "the best value is right" on the features, over masks as training has them.

    Args:
        model: the solver.
        batch: boards with answers, not those that are measured.
        device: where the model is.
    """
    kept: list[tuple[Tensor, Tensor]] = []

    @dataclass(frozen=True)
    class Watch(Order):
        needs: ClassVar[tuple[str, ...]] = Learned.needs

        def score(self, candidates: Candidates) -> Tensor:
            right_RL = batch.answer_BL[candidates.canvas.row_R.cpu()]
            best_N = candidates.stats.best_id_N.cpu()
            kept.append(
                (features(candidates).cpu(), best_N == right_RL[candidates.row_N.cpu(), candidates.col_N.cpu()])
            )
            return candidates.stats.log_best_N

    # one step from states in which a random part of the unknown cells is already right
    noise_BL = torch.rand(batch.answer_BL.shape, generator=generator(0, 5)).masked_fill(batch.given_BL, 2.0)
    shown_B = torch.rand(len(batch), generator=generator(0, 6)) * 0.8
    x_BL = batch.answer_BL.masked_fill((noise_BL >= shown_B[:, None]) & ~batch.given_BL, MASK)
    with torch.no_grad(), fastest(model, x_BL.numel(), device).autocast(device):
        generate(
            model, x_BL.to(device), DecodingPlan(order=Watch(), quota="linear", steps=1, temperature=0.0), trace=None
        )
    x_N3 = torch.cat([f for f, _ in kept])
    right_N = torch.cat([r for _, r in kept]).double()
    scale_3 = x_N3.std(0).clamp(min=1e-9)
    weight = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logit_N = x_N3 / scale_3 @ weight[:3] + weight[3]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit_N, right_N) + 1e-4 * weight[:3].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    top, short, entropy = (weight.detach()[:3] / scale_3).tolist()
    return Learned(top, short, entropy)


def best_of(model: PuzzleDenoiser, puzzle: Sudoku, batch: PuzzleBatch, tries: int, device: str) -> Solved:
    """``tries`` boards with noise on the order and drawn values; the one written with the most confidence is kept.

    Confidence is the sum of log-probabilities of what was written; the tries share the forwards.
    """
    steps = FORWARDS // tries
    plan = planned("margin:noise=gumbel,coefficient=0.1", steps, temperature=0.5)
    kept: list[Tensor] = []
    for start in range(0, len(batch), 128):
        part = batch[slice(start, start + 128)]
        number_B = torch.arange(start, start + len(part), device=device)
        with torch.no_grad(), fastest(model, part.question_BL.numel(), device).autocast(device):
            out = generate(model, part.question_BL.to(device), plan, row_ids_B=number_B, num_return_sequences=tries)
        assert out.trace is not None
        events = out.trace.events
        log_p = events["probability"].clamp(min=1e-30).log()
        score_B = torch.zeros(len(out.sequences), dtype=torch.float64).index_add_(0, events["row"], log_p)
        best_B = score_B.view(-1, tries).argmax(1)
        kept.append(out.sequences.cpu().view(-1, tries, puzzle.length)[torch.arange(len(part)), best_B])
    x_BL = torch.cat(kept)
    return Solved(x_BL, puzzle.correct(x_BL, batch), torch.full((len(batch),), steps * tries))


def backtracking(model: PuzzleDenoiser, puzzle: Sudoku, batch: PuzzleBatch, device: str) -> Solved:
    """Margin in half of the forwards; then, as long as cells clash, hide them again and write anew with the other half.

    A contradiction shows in the board itself: a written cell that equals one it must differ from is hidden with
    whatever it clashes with, givens excepted.
    """
    related_LL = puzzle.relations(batch.question_BL).any(0)
    first = solve(model, puzzle, batch, planned("margin", FORWARDS // 2), device=device)
    x_BL, spent_B = first.x_BL, first.forwards_B
    rounds, each = 3, FORWARDS // 2 // 3
    for _ in range(rounds):
        clash_BL = ((x_BL[:, :, None] == x_BL[:, None, :]) & related_LL).any(2) & ~batch.given_BL
        rows = clash_BL.any(1).nonzero()[:, 0]
        if not len(rows):
            break
        open_BL = x_BL[rows].masked_fill(clash_BL[rows], MASK)
        again = PuzzleBatch(open_BL, ~clash_BL[rows])
        out = solve(model, puzzle, again, planned("margin", each), device=device)
        x_BL = x_BL.index_copy(0, rows, out.x_BL)
        spent_B = spent_B.index_add(0, rows, out.forwards_B)
    return Solved(x_BL, puzzle.correct(x_BL, batch), spent_B)


def doubting(model: PuzzleDenoiser, puzzle: Sudoku, batch: PuzzleBatch, device: str) -> Solved:
    """Margin in half of the forwards; then rounds in which what the network itself doubts is hidden and written anew.

    A contradiction may show in the probabilities: every written cell is hidden once, half of them at a time, and one
    whose value is not the most probable beside the others is doubted. No rule of the puzzle is read.
    """
    rounds, halves = max(1, FORWARDS // 12), 2
    each = FORWARDS // 2 // rounds - halves
    done = solve(model, puzzle, batch, planned("margin", FORWARDS // 2), device=device)
    x_BL, spent_B = done.x_BL, done.forwards_B
    for number in range(rounds):
        noise_BL = torch.rand(x_BL.shape, generator=generator(0, 7 + number)).masked_fill(batch.given_BL, 2.0)
        # given cells come last in the order of the noise; the others fall into two parts of one size
        part_BL = noise_BL.argsort(1).argsort(1) % halves
        doubted_BL = torch.zeros_like(batch.given_BL)
        for part in range(halves):
            hidden_BL = (part_BL == part) & ~batch.given_BL
            with torch.no_grad(), fastest(model, x_BL.numel(), device).autocast(device):
                logits_NV = model.logits(x_BL.masked_fill(hidden_BL, MASK).to(device), hidden_BL.to(device))
            doubted_BL[hidden_BL] = logits_NV.argmax(1).cpu() != x_BL[hidden_BL]
        spent_B = spent_B + halves
        rows = doubted_BL.any(1).nonzero()[:, 0]
        if len(rows):
            again = PuzzleBatch(x_BL[rows].masked_fill(doubted_BL[rows], MASK), ~doubted_BL[rows])
            out = solve(model, puzzle, again, planned("margin", each), device=device)
            x_BL = x_BL.index_copy(0, rows, out.x_BL)
            spent_B = spent_B.index_add(0, rows, out.forwards_B)
    return Solved(x_BL, puzzle.correct(x_BL, batch), spent_B)


def measure(effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Every way on the same boards with the solver that ``unmask experiment sudoku`` trained.

    Raises:
        UsageError: there is none yet.
    """
    effort.only()
    folder = effort.runs / f"sudoku_{effort.scale}" / "relations" / "model"
    if not folder.is_dir():
        raise UsageError(f"{folder} is missing: train it first with `unmask experiment sudoku --scale {effort.scale}`")
    model, card = load(folder, effort.device)
    assert isinstance(model.puzzle, Sudoku)
    puzzle = replace(model.puzzle, fewest=GIVENS, most=GIVENS, side="test")
    batch = pool(puzzle, effort.boards, 1, say).batch(effort.boards, 0, 0, augment=False)
    ways_of = results.get("ways", {}).values()
    if results.get("trained") != card.trained or any(w["solved"]["texts"] != len(batch) for w in ways_of):
        results.clear()  # figures of another solver, or of other boards, say nothing beside these
    results |= {"trained": card.trained, "givens": GIVENS, "forwards": FORWARDS}
    found = results.setdefault("ways", {})
    every = ways(model, puzzle, batch, effort, say)
    chosen = effort.chosen(list(every))
    # the others are compared with margin
    for way in chosen if "margin" in (*chosen, *found) else ["margin", *chosen]:
        found[way] = every[way]().to_dict()
        results["ways"] = {name: found[name] for name in every if name in found}
        say(f"  {way}: {percent(found[way]['solved'])}")
        keep()


def ways(
    model: PuzzleDenoiser, puzzle: Sudoku, batch: PuzzleBatch, effort: Effort, say: Say
) -> dict[str, Callable[[], Solved]]:
    """Each way by its name, margin first; nothing is done before it is called."""
    base, device = planned("margin", FORWARDS), effort.device

    def by_plan(plan: DecodingPlan) -> Callable[[], Solved]:
        return lambda: solve(model, puzzle, batch, plan, device=device)

    def noisy(coefficient: float) -> Callable[[], Solved]:
        return by_plan(planned(f"margin:noise=gumbel,coefficient={coefficient}", FORWARDS))

    def tries(count: int) -> Callable[[], Solved]:
        return lambda: best_of(model, puzzle, batch, count, device)

    def again() -> Solved:
        half = planned("margin", FORWARDS // 2)
        return solve_again(model, puzzle, batch, half, tries=99, forwards=FORWARDS, device=device)

    def learned() -> Solved:
        order = fit(model, pool(model.puzzle, 512, 2, say).batch(512, 0, 0), device)
        return solve(model, puzzle, batch, replace(base, order=order), device=device)

    def looped(loops: int, own: int) -> Callable[[], Solved]:
        def think() -> Solved:
            # a longer forward costs as much as more of them: the budget is loops times forwards
            model.loops(loops)
            solved = solve(model, puzzle, batch, planned("margin", FORWARDS * own // loops), device=device)
            model.loops(own)
            return solved

        return think

    annealed = "margin:noise=gumbel,coefficient=0.5,annealed=true"
    rerank = DecodingPlan(
        order=annealed, quota="linear", steps=FORWARDS, temperature=0.0, sampler="maskgit:rerank=true"
    )
    own = model.net.config.loops
    return {
        "margin": by_plan(base),
        **{f"margin, Gumbel noise {c:g}": noisy(c) for c in (0.01, 0.1, 0.5)},
        "margin, Gumbel noise 0.5 annealed": by_plan(planned(annealed, FORWARDS)),
        "margin, values drawn": by_plan(planned("margin", FORWARDS, temperature=1.0)),
        "margin, written cells compete again": by_plan(rerank),
        **{f"best of {count} by confidence": tries(count) for count in (2, 4)},
        "margin, clashes hidden again": lambda: backtracking(model, puzzle, batch, device),
        "margin, doubted cells hidden again": lambda: doubting(model, puzzle, batch, device),
        "margin in half of the forwards, broken boards from the start again": again,
        "order learned from right and wrong guesses": learned,
        **{f"margin, {loops} loops for {own}": looped(loops, own) for loops in sorted({own + 1, own + 2, 2 * own})},
    }


def page(results: Mapping[str, Any]) -> Page:
    """Every number comes from ``results``."""
    out = Page()
    out.text("# Sudoku beyond the paper: what else an inference budget can buy")
    out.text(
        "Written by `unmask experiment beyond` from `docs/benchmarks/experiment_beyond.json`, on the structure-aware "
        "solver of [sudoku.md](sudoku.md). No way spends more than the forwards named; per cent of boards solved, with "
        "95 % intervals. *Against margin*: **better** or **worse** where the intervals do not overlap. A board that "
        "breaks a rule shows it without its solution, so one may try again; forwards are the mean over the boards, and "
        "one with more loops costs as much as so many more of them."
    )
    for scale, found in results["scales"].items():
        if "ways" not in found:
            continue
        trained = found["trained"]
        out.text(f"## {scale} scale: {found['givens']} givens, {found['forwards']} forwards")
        out.text(f"The solver saw {trained['boards']:,} boards in {trained['minutes']:g} minutes.")
        base = found["ways"]["margin"]["solved"]
        rows = [
            [way, percent(entry["solved"]), f"{entry['forwards']:g}", _against(entry["solved"], base)]
            for way, entry in found["ways"].items()
        ]
        out.table(["way", f"solved, % (n = {base['texts']})", "forwards", "against margin"], rows)
    return out


def _against(share: Mapping[str, float], base: Mapping[str, float]) -> str:
    if share is base:
        return "-"
    return (
        "**better**"
        if share["low"] > base["high"]
        else "**worse**"
        if share["high"] < base["low"]
        else "not told apart"
    )

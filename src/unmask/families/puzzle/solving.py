"""Boards to train and to measure on, ways of solving them, and how many come out right."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unmask.core.denoiser import Denoiser
from unmask.core.files import cache_root
from unmask.core.precision import fastest
from unmask.data.puzzles import PUZZLES, Puzzle, PuzzleBatch, Shards, build
from unmask.data.puzzles.shards import FORMAT
from unmask.decoding import DecodingPlan, generate
from unmask.decoding.order import NoisyOrder
from unmask.metrics.bootstrap import Interval
from unmask.metrics.wilson import wilson

#: how many attempts a board gets where rules are broken, and the Gumbel noise on the order from the second one on
TRIES, TRY_NOISE = 8, 0.1


def pool(puzzle: Puzzle, n: int, seed: int = 0, say: Callable[[str], None] = print) -> Shards:
    """``n`` puzzles from the user's cache (``$UNMASK_CACHE`` or ~/.cache/unmask); built there on first use."""
    root = cache_root() / "puzzles"
    name = re.sub(r"[:,]", "-", PUZZLES.spec_of(puzzle)).replace("=", "") + f"-{n}-seed{seed}-v{FORMAT}"
    if not (root / name / "meta.json").exists():
        say(f"building {n:,} puzzles: {PUZZLES.spec_of(puzzle)}")
    # every core has work to the end, and an interrupted build has lost little
    size, workers = max(1_000, n // 64), os.cpu_count() or 1
    return Shards(build(puzzle, n, out=root / name, seed=seed, shard_size=size, workers=workers))


def vanilla(steps: int, temperature: float = 0.0) -> DecodingPlan:
    """The plan of the ancestral reverse process: positions unmasked at random (arXiv 2502.06768: vanilla inference)."""
    return DecodingPlan(sampler="ancestral", steps=steps, temperature=temperature)


def planned(order: str, steps: int | None, temperature: float = 0.0) -> DecodingPlan:
    """The plan of a confidence order in so many steps; one position at a time when None."""
    if steps is None:
        return DecodingPlan(order=order, quota="one", temperature=temperature)
    return DecodingPlan(order=order, quota="linear", steps=steps, temperature=temperature)


def ways(steps: int) -> dict[str, DecodingPlan]:
    """The ways of the paper's table and ours; values are the most probable ones but where it says drawn."""
    return {
        "vanilla": vanilla(steps),
        "margin": planned("margin", steps),
        "top_prob": planned("top_prob", steps),
        "entropy": planned("entropy", steps),
        "vanilla, values drawn": vanilla(steps, 1.0),
        "random, one at a time": planned("random", None),
        "margin, one at a time": planned("margin", None),
    }


@dataclass(frozen=True)
class Solved:
    """Completed canvases of a set of boards, and which of them are correct.

    Attributes:
        x_BL: the canvases. correct_B: whether each obeys every rule and keeps its givens.
        forwards_B: body passes each board took part in.
    """

    x_BL: Tensor
    correct_B: Tensor
    forwards_B: Tensor

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the share of boards solved with its interval, and the mean number of forwards."""
        share = wilson(int(self.correct_B.sum()), len(self.correct_B))
        return {"solved": interval_dict(share), "forwards": round(float(self.forwards_B.double().mean()), 2)}


def solve(
    model: Denoiser,
    puzzle: Puzzle,
    batch: PuzzleBatch,
    plan: DecodingPlan,
    *,
    device: str | torch.device = "cpu",
    rows: int = 256,
    **settings: Any,
) -> Solved:
    """Boards solved in batches of ``rows``; each board's noise depends on its number alone, so batches do not matter.

    Args:
        model: a denoiser on ``device``.
        puzzle: judges what comes out.
        batch: the boards.
        plan: how.
        device, rows: where, and how many at once.
        settings: further arguments of :func:`unmask.decoding.generate`.
    """
    done, forwards = [], []
    for start in range(0, len(batch), rows):
        part = batch[slice(start, start + rows)]
        number_B = torch.arange(start, start + len(part))
        with torch.no_grad(), fastest(model, part.question_BL.numel(), device).autocast(device):
            out = generate(
                model, part.question_BL.to(device), plan, row_ids_B=number_B.to(device), trace=None, **settings
            )
        done.append(out.sequences.cpu())
        forwards.append(out.forwards_B.cpu())
    x_BL = torch.cat(done)
    return Solved(x_BL, puzzle.correct(x_BL, batch), torch.cat(forwards))


def attempt(plan: DecodingPlan, number: int) -> DecodingPlan:
    """The plan of attempt ``number`` at the same board: 0 is the plan itself, later ones have noise on the order."""
    if number == 0:
        return plan
    plan, order = replace(plan, seed=plan.seed + number), plan.order_leaf
    if "order" not in plan.sampler_leaf.uses or not isinstance(order, NoisyOrder) or order.noise != "none":
        return plan
    return replace(plan, order=replace(order, noise="gumbel", coefficient=TRY_NOISE))


def solve_again(
    model: Denoiser,
    puzzle: Puzzle,
    batch: PuzzleBatch,
    plan: DecodingPlan,
    *,
    tries: int = TRIES,
    forwards: float | None = None,
    device: str | torch.device = "cpu",
) -> Solved:
    """Boards solved by :func:`solve`, again from the start where an answer breaks a rule (no solution is looked at).

    Args:
        model, puzzle, batch, plan, device: as for :func:`solve`.
        tries: attempts a board at most.
        forwards: stop before the mean number of forwards a board would pass this.
    """
    done = solve(model, puzzle, batch, plan, device=device)
    for number in range(1, tries):
        rows = (~done.correct_B).nonzero()[:, 0]
        spent = float(done.forwards_B.double().mean())
        if not len(rows) or (forwards is not None and spent + (plan.steps or 0) * len(rows) / len(batch) > forwards):
            break
        more = solve(model, puzzle, batch[rows], attempt(plan, number), device=device)
        done = Solved(
            done.x_BL.index_copy(0, rows, more.x_BL),
            done.correct_B.index_copy(0, rows, more.correct_B),
            done.forwards_B.index_add(0, rows, more.forwards_B),
        )
    return done


def interval_dict(interval: Interval) -> dict[str, float]:
    """Value, interval and count for JSON."""
    return {k: getattr(interval, k) for k in ("value", "low", "high", "texts")}


def percent(share: Mapping[str, float]) -> str:
    """``64.2 [60.0, 68.3]``, in per cent."""
    return f"{100 * share['value']:.1f} [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"

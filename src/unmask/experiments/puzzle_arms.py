"""The arms of Sudoku and Zebra: what is trained, under which loss, and in which ways it solves boards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from unmask.core.files import write_text
from unmask.data.puzzles import PUZZLES, Puzzle, PuzzleBatch
from unmask.decoding import DecodingPlan
from unmask.experiments.puzzle_causal import CausalSolver
from unmask.experiments.puzzle_results import model_card
from unmask.experiments.puzzle_run import Loss, Run, denoising_loss
from unmask.experiments.puzzle_study import PuzzleStudy
from unmask.families.puzzle.network import PuzzleCard, PuzzleDenoiser, save
from unmask.families.puzzle.solving import TRIES, Solved, planned, solve, solve_again, ways

#: ways of solving by their names; nothing is done before one is called
Ways = Mapping[str, Callable[[], Solved]]


@dataclass(frozen=True)
class StudyArm(ABC):
    """One row of a study's table.

    Attributes:
        model: what is trained.
        loss: of a batch at a step.
        built: the size, which a checkpoint must have too.
        about: how the network is built, in words; "" where the size says it.
    """

    model: nn.Module
    loss: Loss
    built: str
    about: str = ""

    @abstractmethod
    def ways(self, steps: int, batch: PuzzleBatch, device: str) -> Ways:
        """Each way of solving the boards; ``steps`` is of those with steps."""

    @abstractmethod
    def save(self, folder: Path, run: Run, trained: dict[str, Any]) -> None:
        """Write the small copy, where the product reads such a model."""

    @abstractmethod
    def describe(self, folder: Path, study: PuzzleStudy, scale: str, arm: str, entry: dict[str, Any]) -> None:
        """Write the small copy's README."""


class CausalArm(StudyArm):
    """GPT-2 over positions and values, cell after cell."""

    model: CausalSolver

    def ways(self, steps: int, batch: PuzzleBatch, device: str) -> Ways:
        # the solver's order is not handed over at test time: the model must find it
        return {"most probable": lambda: self.model.solve(batch, device)}

    def save(self, folder: Path, run: Run, trained: dict[str, Any]) -> None:
        """Nothing: it is measured here only."""

    def describe(self, folder: Path, study: PuzzleStudy, scale: str, arm: str, entry: dict[str, Any]) -> None:
        """Nothing, as there is no small copy."""


class DenoiserArm(StudyArm):
    """Masked diffusion, in every order of the samplers."""

    model: PuzzleDenoiser

    def ways(self, steps: int, batch: PuzzleBatch, device: str) -> Ways:
        model, margin = self.model, planned("margin", steps)
        puzzle, config = model.puzzle, model.net.config

        def by_plan(plan: DecodingPlan) -> Callable[[], Solved]:
            return lambda: solve(model, puzzle, batch, plan, device=device)

        def looped(loops: int) -> Callable[[], Solved]:
            def think() -> Solved:
                model.loops(loops)
                solved = solve(model, puzzle, batch, margin, device=device)
                model.loops(own)
                return solved

            return think

        own = config.loops
        more = sorted({own * 3 // 2, 2 * own}) if own > 1 and config.deep_supervision else []
        return {
            **{way: by_plan(plan) for way, plan in ways(steps).items()},
            f"margin, at most {TRIES} tries": lambda: solve_again(model, puzzle, batch, margin, device=device),
            **{f"margin, {loops} loops for {own}": looped(loops) for loops in more},
        }

    def save(self, folder: Path, run: Run, trained: dict[str, Any]) -> None:
        save(self.model, PuzzleCard(PUZZLES.spec_of(self.model.puzzle), run.hide, trained), folder / "model")

    def describe(self, folder: Path, study: PuzzleStudy, scale: str, arm: str, entry: dict[str, Any]) -> None:
        write_text(folder / "model" / "README.md", model_card(study, scale, arm, entry))


def network(model: PuzzleDenoiser) -> str:
    """How a denoiser is built, in words."""
    c = model.net.config
    parts = [f"{c.layers} blocks of width {c.dim}"]
    if c.loops > 1:
        parts.append(f"applied {c.loops} times")
    if c.loops > 1 and c.input_injection:
        parts.append("the board added again before each time")
    if c.loops > 1 and c.deep_supervision:
        parts.append("every time trained to answer (the loss is their mean)")
    return ", ".join(parts)


def arm_of(name: str, study: PuzzleStudy, scale: str, puzzle: Puzzle, run: Run) -> StudyArm:
    """The arm of a name in :data:`unmask.experiments.puzzle_study.ARMS`; its random weights are named by the seed."""
    if name.startswith("causal"):
        size = study.causal[scale]
        solver = CausalSolver(puzzle, size, name.split()[1], run.seed)
        return CausalArm(solver, lambda net, batch, step: net.loss(batch), repr(size))
    shape = replace(study.shapes[scale], relations=name == "relations")
    denoiser = PuzzleDenoiser.fresh(puzzle, shape, run.seed)
    return DenoiserArm(denoiser, denoising_loss(run), repr(shape), network(denoiser))

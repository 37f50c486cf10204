"""What makes one puzzle's study: its boards, sizes and the paper's numbers; and the arms that every study has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unmask.data.puzzles import Puzzle
from unmask.experiments.puzzle_causal import CausalShape
from unmask.experiments.study import Say
from unmask.families.puzzle.network import Shape

#: masked diffusion with and without relations, then the causal baselines
ARMS = ("relations", "plain", "causal raster", "causal solver")
ARM_TITLES = {
    "relations": "Structure-aware: masked diffusion with relations",
    "plain": "Plain: masked diffusion without relations",
    "causal raster": "Causal baseline without order (plain)",
    "causal solver": "Causal baseline in solver order (plain)",
}


@dataclass(frozen=True)
class PuzzleStudy:
    """What makes one puzzle's study.

    Attributes:
        name, title: of the experiment.
        tests: scale -> what each test set holds, by its name.
        training_set: (scale, arm, say) -> what the arm is trained on.
        decoding_steps: of the ways with steps.
        shapes, causal, steps, batch: by scale.
        paper: rows of the paper's table: name, ARM without order, ARM in solver order, vanilla, top-prob, margin.
        about: a paragraph on the boards.
        plotted: the test set that the drawing shows; the first one where a scale lacks it.
        training: further settings of :class:`Run`, by scale.
    """

    name: str
    title: str
    tests: Callable[[str], Mapping[str, Puzzle]]
    training_set: Callable[[str, str, Say], Any]
    decoding_steps: int
    shapes: Mapping[str, Shape]
    causal: Mapping[str, CausalShape]
    steps: Mapping[str, int]
    batch: Mapping[str, int]
    paper: Sequence[Sequence[str]]
    about: str
    plotted: str
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

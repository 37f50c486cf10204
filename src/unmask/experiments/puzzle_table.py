"""The numbers of Sudoku and of Zebra: arms trained, each solving the test boards in every way that applies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from unmask.core.files import write_text
from unmask.data.puzzles import PUZZLES, Puzzle, PuzzleBatch
from unmask.decoding import DecodingPlan
from unmask.experiments.puzzle_arm import CausalSolver
from unmask.experiments.puzzle_results import model_card
from unmask.experiments.puzzle_run import Loss, Run, cost, denoising_loss, record
from unmask.experiments.puzzle_study import ARMS, PuzzleStudy
from unmask.experiments.puzzle_training import train
from unmask.experiments.study import Effort, Say
from unmask.families.puzzle.network import Card, PuzzleDenoiser, save
from unmask.families.puzzle.solving import TRIES, Solved, percent, planned, pool, solve, solve_again, ways


def measure(study: PuzzleStudy, effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Train each arm (or go on with it), then solve the test boards in every way that applies.

    ``results`` gets arm -> parameters, training, table; it is kept after each arm.
    """
    effort.only("minutes", "steps", "batch", "tests")
    scale = effort.scale
    settings = study.training.get(scale, {})
    run = Run.sized(effort.steps or study.steps[scale], effort.batch or study.batch[scale], **settings)
    arms = effort.chosen(ARMS)
    every = study.tests(scale)
    tests = {
        name: pool(every[name], effort.boards, 1, say).batch(effort.boards, 0, 0, augment=False)
        for name in effort.chosen_tests(list(every))
    }
    for arm in arms:
        say(f"== {study.name}, {effort.scale}: {arm}")
        folder = effort.runs / f"{study.name}_{effort.scale}" / arm.replace(" ", "_")
        shards = study.training_set(effort.scale, arm, say)
        trained, model, flops = _train(study, arm, effort, run, shards, folder, say)
        entry = {"parameters": sum(p.numel() for p in model.parameters() if p.requires_grad), "training": trained}
        entry |= {"data": shards.describe(), "flops_a_row": flops}
        if isinstance(model, PuzzleDenoiser):
            entry["network"] = network(model)
        old = results.get("arms", {}).get(arm, {})
        # test sets that were measured on these very weights stay (results of before may lack a part)
        same = all(old.get(part, entry.get(part)) == entry.get(part) for part in ("parameters", "data", "network"))
        same = same and all(old.get("training", {}).get(part) == trained[part] for part in ("steps_done", "losses"))
        entry["table"], entry["boards"] = (old["table"], old.get("boards", {})) if same else ({}, {})
        results.setdefault("arms", {})[arm] = entry
        for name, batch in tests.items():
            told = digest(batch)
            kept = entry["table"].get(name, {}) if entry["boards"].get(name, told) == told else {}
            entry["boards"][name] = told
            entry["table"][name] = line = {}
            entry["table"] = {test: entry["table"][test] for test in every if test in entry["table"]}
            for way, solved in _ways(study, model, shards.puzzle, batch, effort.device).items():
                known = kept.get(way)
                # what was measured on these very weights and boards stays: a command that was stopped goes on
                line[way] = known if known and known["solved"]["texts"] == len(batch) else solved().to_dict()
                say(f"  {name}, {way}: {percent(line[way]['solved'])}")
                keep()  # a way may take minutes
        if isinstance(model, PuzzleDenoiser):
            write_text(folder / "model" / "README.md", model_card(study, scale, arm, entry))


def digest(batch: PuzzleBatch) -> str:
    """Names a set of boards by what is in it."""
    return hashlib.sha256(batch.answer_BL.numpy().tobytes() + batch.given_BL.numpy().tobytes()).hexdigest()[:16]


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


def _ways(
    study: PuzzleStudy, model: Any, puzzle: Puzzle, batch: PuzzleBatch, device: str
) -> dict[str, Callable[[], Solved]]:
    """Each way of solving by its name; nothing is done before it is called."""
    if isinstance(model, CausalSolver):
        # the solver's order is not handed over at test time: the model must find it
        return {"most probable": lambda: model.solve(batch, device)}

    def by_plan(plan: DecodingPlan) -> Callable[[], Solved]:
        return lambda: solve(model, puzzle, batch, plan, device=device)

    def looped(loops: int) -> Callable[[], Solved]:
        def think() -> Solved:
            model.loops(loops)
            solved = solve(model, puzzle, batch, margin, device=device)
            model.loops(own)
            return solved

        return think

    margin, own = planned("margin", study.decoding_steps), model.net.config.loops
    more = sorted({own * 3 // 2, 2 * own}) if own > 1 and model.net.config.deep_supervision else []
    return {
        **{way: by_plan(plan) for way, plan in ways(study.decoding_steps).items()},
        f"margin, at most {TRIES} tries": lambda: solve_again(model, puzzle, batch, margin, device=device),
        **{f"margin, {loops} loops for {own}": looped(loops) for loops in more},
    }


def _train(
    study: PuzzleStudy, arm: str, effort: Effort, run: Run, shards: Any, folder: Path, say: Say
) -> tuple[dict[str, Any], Any, float]:
    model: Any
    if arm.startswith("causal"):
        causal = study.causal[effort.scale]
        model, built = CausalSolver(shards.puzzle, causal, arm.split()[1], run.seed), repr(causal)
        loss: Loss = lambda net, batch, step: net.loss(batch)  # noqa: E731
    else:
        shape = replace(study.shapes[effort.scale], relations=arm == "relations")
        model, built = PuzzleDenoiser.fresh(shards.puzzle, shape, run.seed), repr(shape)
        loss = denoising_loss(run)
    flops = cost(model, shards.batch(min(run.batch, 16), run.seed, 0), loss)
    state = train(
        model,
        shards,
        run,
        folder,
        loss=loss,
        made={"data": shards.describe(), "network": built},
        minutes=effort.minutes,
        device=effort.device,
        compile=effort.device.startswith("cuda"),
        say=say,
        progress=effort.progress,
    )
    kept = record(run, state)
    if isinstance(model, PuzzleDenoiser):
        save(model, Card(PUZZLES.spec_of(shards.puzzle), run.hide, kept), folder / "model")
    return kept, model, flops

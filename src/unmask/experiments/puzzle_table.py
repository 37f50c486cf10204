"""The numbers of Sudoku and of Zebra: arms trained, each solving the test boards in every way that applies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unmask.data.puzzles import PuzzleBatch
from unmask.experiments.puzzle_arms import StudyArm, arm_of
from unmask.experiments.puzzle_run import Run, flops_per_row, run_record
from unmask.experiments.puzzle_study import ARMS, PuzzleStudy
from unmask.experiments.puzzle_training import train
from unmask.experiments.study import Effort, Say
from unmask.families.puzzle.solving import percent, pool


def measure(study: PuzzleStudy, effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Train each arm (or go on with it), then solve the test boards in every way that applies.

    ``results`` gets arm -> parameters, training, table; it is kept after each arm.
    """
    effort.only("minutes", "steps", "batch", "tests")
    scale = effort.scale
    settings = study.training.get(scale, {})
    run = Run.sized(effort.steps or study.steps[scale], effort.batch or study.batch[scale], **settings)
    names = effort.chosen(ARMS)
    every = study.tests(scale)
    tests = {
        name: pool(every[name], effort.boards, 1, say).batch(effort.boards, 0, 0, augment=False)
        for name in effort.chosen_tests(list(every))
    }
    for name in names:
        say(f"== {study.name}, {scale}: {name}")
        folder = effort.runs / f"{study.name}_{scale}" / name.replace(" ", "_")
        shards = study.training_set(scale, name, say)
        arm = arm_of(name, study, scale, shards.puzzle, run)
        trained, flops = _train(arm, effort, run, shards, folder, say)
        count = sum(p.numel() for p in arm.model.parameters() if p.requires_grad)
        entry = {"parameters": count, "training": trained, "data": shards.describe(), "flops_a_row": flops}
        if arm.about:
            entry["network"] = arm.about
        old = results.get("arms", {}).get(name, {})
        # test sets that were measured on these very weights stay (results of before may lack a part)
        same = all(old.get(part, entry.get(part)) == entry.get(part) for part in ("parameters", "data", "network"))
        same = same and all(old.get("training", {}).get(part) == trained[part] for part in ("steps_done", "losses"))
        entry["table"], entry["boards"] = (old["table"], old.get("boards", {})) if same else ({}, {})
        results.setdefault("arms", {})[name] = entry
        for test, batch in tests.items():
            told = digest(batch)
            kept = entry["table"].get(test, {}) if entry["boards"].get(test, told) == told else {}
            entry["boards"][test] = told
            entry["table"][test] = line = {}
            entry["table"] = {one: entry["table"][one] for one in every if one in entry["table"]}
            for way, solved in arm.ways(study.decoding_steps, batch, effort.device).items():
                known = kept.get(way)
                # what was measured on these very weights and boards stays: a command that was stopped goes on
                line[way] = known if known and known["solved"]["texts"] == len(batch) else solved().to_dict()
                say(f"  {test}, {way}: {percent(line[way]['solved'])}")
                keep()  # a way may take minutes
        arm.describe(folder, study, scale, name, entry)


def digest(batch: PuzzleBatch) -> str:
    """Names a set of boards by what is in it."""
    return hashlib.sha256(batch.answer_BL.numpy().tobytes() + batch.given_BL.numpy().tobytes()).hexdigest()[:16]


def _train(
    arm: StudyArm, effort: Effort, run: Run, shards: Any, folder: Path, say: Say
) -> tuple[dict[str, Any], float]:
    """What is kept of the training, and floating-point operations a row."""
    flops = flops_per_row(arm.model, shards.batch(min(run.batch, 16), run.seed, 0), arm.loss)
    state = train(
        arm.model,
        shards,
        run,
        folder,
        loss=arm.loss,
        made={"data": shards.describe(), "network": arm.built},
        minutes=effort.minutes,
        device=effort.device,
        compile=effort.device.startswith("cuda"),
        say=say,
        progress=effort.progress,
    )
    kept = run_record(run, state)
    arm.save(folder, run, kept)
    return kept, flops

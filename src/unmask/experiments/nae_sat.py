"""L&O-NAE-SAT (arXiv 2502.06768, section 4.2): sequences written from nothing, and where the hard subproblems are.

Accuracy is the share of observations that agree with the latents of the same written sequence. This is our reading: the
paper's lowest figure (62.84 %) lies at what independent draws of the right frequencies give (.75^2 + .25^2 = 62.5 %).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.core.precision import fastest
from unmask.data.puzzles import MASK, PUZZLES, PuzzleBatch
from unmask.data.puzzles.kinds.nae_sat import NaeSat
from unmask.decoding import DecodingPlan
from unmask.experiments.puzzle_run import Fresh, Run, run_record
from unmask.experiments.puzzle_training import train
from unmask.experiments.study import Effort, Page, Say, training_line
from unmask.families.puzzle.network import PuzzleCard, PuzzleDenoiser, Shape, save
from unmask.families.puzzle.solving import interval_dict, percent, planned, solve, vanilla, wilson
from unmask.metrics.bootstrap import ratio_interval

#: (N, P) by scale
ROWS = {
    "cpu": ((8, 40), (12, 80)),
    "paper": ((25, 275), (30, 270), (40, 260), (50, 250), (100, 200)),
}
#: the paper's accuracies, per cent: N, P, vanilla, margin
PAPER = (
    ("25", "275", "78.06", "93.76"),
    ("30", "270", "75.70", "93.54"),
    ("40", "260", "74.60", "92.21"),
    ("50", "250", "67.94", "90.01"),
    ("100", "200", "62.84", "88.91"),
)
SHAPES = {"cpu": Shape(), "paper": Shape(dim=384, layers=11, heads=8, ffn_dim=1536, loops=1)}
STEPS, BATCH = {"cpu": 4_000, "paper": 2_000}, {"cpu": 128, "paper": 128}
ARMS = ("relations", "plain")
DECODING_STEPS = 50
#: the paper's noise on the order of puzzles
NOISE = "noise=gumbel,coefficient=0.5"


def plans(length: int) -> dict[str, DecodingPlan]:
    """Ways of writing a sequence from nothing; values are drawn, or every sequence would be the same one."""
    steps = min(DECODING_STEPS, length)
    return {
        "vanilla": vanilla(steps, 1.0),
        "top_prob": planned(f"top_prob:{NOISE}", steps, 1.0),
        "margin": planned(f"margin:{NOISE}", steps, 1.0),
        "entropy": planned(f"entropy:{NOISE}", steps, 1.0),
        "random, one at a time": planned("random", None, 1.0),
        "latents first, one at a time": planned("left_to_right", None, 1.0),
    }


def measure(effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Train a model a row and arm, write sequences, and map its errors."""
    effort.only("minutes", "steps", "batch", "tests")
    run = Run.sized(effort.steps or STEPS[effort.scale], effort.batch or BATCH[effort.scale], hide="all")
    rows = {f"{n},{p}": NaeSat(n=n, p=p) for n, p in ROWS[effort.scale]}
    for name in effort.tests:
        if (sizes := re.fullmatch(r"(\d+),(\d+)", name)) and name not in rows:
            rows[name] = NaeSat(n=int(sizes[1]), p=int(sizes[2]))
    for name in effort.chosen_tests(list(rows)):
        puzzle, (n, p) = rows[name], (rows[name].n, rows[name].p)
        for arm in effort.chosen(ARMS):
            say(f"== nae_sat, {effort.scale}: N {n}, P {p}, {arm}")
            folder = effort.runs / f"nae_sat_{effort.scale}" / f"{n}_{p}_{arm}"
            shape = replace(SHAPES[effort.scale], relations=arm == "relations")
            model = PuzzleDenoiser.fresh(puzzle, shape, run.seed)
            state = train(
                model,
                Fresh(puzzle),
                run,
                folder,
                made={"data": PUZZLES.spec_of(puzzle), "network": repr(shape)},
                minutes=effort.minutes,
                device=effort.device,
                compile=effort.device.startswith("cuda"),
                say=say,
                progress=effort.progress,
            )
            trained = run_record(run, state)
            save(model, PuzzleCard(f"nae_sat:n={n},p={p}", run.hide, trained), folder / "model")
            entry = {"parameters": model.parameters_count, "training": trained}
            entry["table"] = written(model, puzzle, effort, say)
            entry["errors"] = error_map(model, puzzle, effort)
            results.setdefault("rows", {}).setdefault(name, {})[arm] = entry
            keep()


def written(model: PuzzleDenoiser, puzzle: NaeSat, effort: Effort, say: Say) -> dict[str, Any]:
    """way -> share of observations that agree with the latents, and share of sequences where all do."""
    blank = torch.full((effort.boards, puzzle.length), MASK)
    batch = PuzzleBatch(blank, torch.zeros_like(blank, dtype=torch.bool))
    table: dict[str, Any] = {}
    for way, plan in plans(puzzle.length).items():
        out = solve(model, puzzle, batch, plan, device=effort.device)
        agree_B = puzzle.consistent(out.x_BL).float().mean(1).numpy()
        table[way] = {
            "agree": interval_dict(ratio_interval(agree_B)),
            "all": interval_dict(wilson(int((agree_B == 1).sum()), len(agree_B))),
            "forwards": round(float(out.forwards_B.double().mean()), 2),
        }
        say(f"  {way}: {percent(table[way]['agree'])}")
    return table


@torch.no_grad()
def error_map(model: PuzzleDenoiser, puzzle: NaeSat, effort: Effort, parts: int = 5) -> dict[str, Any]:
    """Share of wrong most probable values at hidden latents and at hidden observations.

    One grid each, by the share of latents hidden (down) and of observations hidden (across), 0 to 1 in ``parts`` - 1
    steps; None where nothing of the kind is hidden.
    """
    batch = puzzle.sample(effort.boards, np.random.default_rng([1, 0]))
    shares = np.linspace(0, 1, parts)
    noise_BL = torch.rand(batch.answer_BL.shape, generator=torch.Generator().manual_seed(0))
    latent_L = torch.arange(puzzle.length) < puzzle.n
    grids: dict[str, list[list[float | None]]] = {"latents": [], "observations": []}
    for down in shares:
        lines: dict[str, list[float | None]] = {"latents": [], "observations": []}
        for across in shares:
            hidden_BL = _hide(noise_BL, latent_L, down) | _hide(noise_BL, ~latent_L, across)
            wrong_BL = _wrong(model, batch.answer_BL, hidden_BL, effort.device)
            for name, at_L in (("latents", latent_L), ("observations", ~latent_L)):
                at_BL = hidden_BL & at_L
                lines[name].append(round(float(wrong_BL[at_BL].double().mean()), 4) if at_BL.any() else None)
        for name, line in lines.items():
            grids[name].append(line)
    return {"shares": [float(s) for s in shares], **grids}


def _hide(noise_BL: Tensor, at_L: Tensor, share: float) -> Tensor:
    """The given share of the positions in ``at_L``, in each row those with the smallest noise."""
    count = round(share * int(at_L.sum()))
    return (noise_BL.masked_fill(~at_L, 2.0).argsort(1).argsort(1) < count) & at_L


def _wrong(model: PuzzleDenoiser, answer_BL: Tensor, hidden_BL: Tensor, device: str) -> Tensor:
    wrong_BL = torch.zeros_like(hidden_BL)
    if hidden_BL.any():
        x_BL = answer_BL.masked_fill(hidden_BL, MASK)
        with fastest(model, x_BL.numel(), device).autocast(device):
            best_N = model.logits(x_BL.to(device), hidden_BL.to(device)).argmax(-1).cpu()
        wrong_BL[hidden_BL] = best_N != answer_BL[hidden_BL]
    return wrong_BL


def page(results: Mapping[str, Any]) -> Page:
    """Every number comes from ``results``."""
    out = Page()
    out.text("# Latents and observations (L&O-NAE-SAT): where the hard subproblems are")
    out.text(
        "Written by `unmask experiment nae_sat` from `docs/benchmarks/experiment_nae_sat.json`. N uniform bits "
        "(latents) and P observations, each of which says whether three fixed latents are *not all equal*. "
        "Sequences are written from nothing, values drawn at temperature 1; the figure is the share of observations "
        "that agree with the latents beside them (per cent, 95 % intervals). Independent draws of the right "
        "frequencies give 62.5. In the maps of errors, note that all bits flipped give the same observations: with "
        "every latent hidden 50 per cent wrong is the best that any model can do."
    )
    for scale, found in results["scales"].items():
        for arm in ARMS:
            rows = {name: row[arm] for name, row in found.get("rows", {}).items() if arm in row}
            if not rows:
                continue
            kind = "Structure-aware (who reads whom is told)" if arm == "relations" else "Plain"
            out.text(f"## {kind}, {scale} scale")
            for name, entry in rows.items():
                out.text(f"- N, P = {name}: {training_line(entry['training'], entry['parameters'])}")
            ways = list(next(iter(rows.values()))["table"])
            body = [[way, *[percent(e["table"][way]["agree"]) for e in rows.values()]] for way in ways]
            out.table(["observations that agree, %", *[f"N, P = {name}" for name in rows]], body)
            for name, entry in rows.items():
                _map(out, name, entry["errors"])
    out.text(
        "## The paper's table",
        "",
        "arXiv 2502.06768, 19M parameters, plain; per cent. Ours beside it at the same size, on other triples; the "
        "structure-aware network is told who reads whom, so its columns compare with one another.",
    )
    ours = results["scales"].get("paper", {}).get("rows", {})
    shown = [(arm, way) for arm in reversed(ARMS) for way in ("vanilla", "margin")]

    def beside(name: str) -> list[str]:
        tables = {arm: entry["table"] for arm, entry in ours.get(name, {}).items()}
        return [percent(tables[arm][way]["agree"]) if arm in tables else "not run" for arm, way in shown]

    titles = [f"ours, {'structure-aware' if arm == 'relations' else 'plain'}, {way}" for arm, way in shown]
    columns = ["N", "P", "paper, vanilla", "paper, margin", *titles]
    out.table(columns, [[*row, *beside(f"{row[0]},{row[1]}")] for row in PAPER])
    return out


def _map(out: Page, name: str, errors: Mapping[str, Any]) -> None:
    columns = ["latents hidden", *[f"{100 * s:.0f} %" for s in errors["shares"]]]
    for kind in ("latents", "observations"):
        out.text(
            f"Errors at hidden {kind}, N, P = {name}: per cent wrong, by the share of observations hidden (across)."
        )
        rows = [
            [f"{100 * s:.0f} %", *["" if e is None else f"{100 * e:.1f}" for e in line]]
            for s, line in zip(errors["shares"], errors[kind], strict=True)
        ]
        out.table(columns, rows)

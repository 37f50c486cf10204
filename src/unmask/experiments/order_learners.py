"""Likelihood of text learned in permuted orders (arXiv 2502.06768, section 3.2): the price of training for any order.

A pi-learner is a causal transformer on text whose positions one fixed permutation has moved; its learned positions are
free to undo that, yet the permuted conditionals are harder. A masked diffusion model learns all orders at once. The
same rows, blocks, steps and batches for every arm; three draws each (permutation, weights, batches).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.core.precision import fastest
from unmask.core.random import Stream, generator
from unmask.data.puzzles import PuzzleBatch
from unmask.data.text import load_texts
from unmask.data.tokenizer import train_bpe
from unmask.evaluation.likelihood import bound
from unmask.experiments.puzzle_run import Run, run_record
from unmask.experiments.puzzle_training import train
from unmask.experiments.study import Effort, Page, Say, training_line
from unmask.families.puzzle.solving import interval_dict
from unmask.metrics.bootstrap import ratio_interval
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.reporting.page import MARKERS, SERIES, figure_svg, plot

ARMS = ("identity", "much closer", "closer", "uniform", "masked diffusion")
DRAWS = 3
#: likelihood is measured after these shares of the run
MARKS = (0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Size:
    """Length of a row, vocabulary, width, layers, heads, steps, batch."""

    length: int
    vocab: int
    dim: int
    layers: int
    heads: int
    steps: int
    batch: int


SIZES = {"cpu": Size(256, 1024, 128, 4, 4, 1_500, 8), "paper": Size(1024, 4096, 512, 8, 8, 20_000, 64)}


@dataclass(frozen=True)
class PackedRows:
    """Text cut into rows of equal length; every step draws some of them."""

    ids_NL: Tensor

    def batch(self, size: int, seed: int, step: int) -> PuzzleBatch:
        pick = torch.randint(len(self.ids_NL), (size,), generator=generator(seed, step, Stream.SHUFFLE))
        ids_BL = self.ids_NL[pick]
        return PuzzleBatch(ids_BL, torch.zeros_like(ids_BL, dtype=torch.bool))


class PermutedLearner(nn.Module):
    """GPT-2 on permuted rows, from a start token on."""

    def __init__(self, size: Size, order_L: Tensor, start_id: int, seed: int) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        super().__init__()
        torch.manual_seed(seed)
        self.start_id = start_id
        self.register_buffer("order_L", order_L)
        config = GPT2Config(
            vocab_size=size.vocab,
            n_positions=size.length + 1,
            n_embd=size.dim,
            n_layer=size.layers,
            n_head=size.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.net = GPT2LMHeadModel(config)

    @property
    def blocks(self) -> nn.ModuleList:
        """What torch.compile is worth on."""
        return self.net.transformer.h  # type: ignore[no-any-return]

    def nats(self, ids_BL: Tensor) -> Tensor:
        """Cross-entropy of each token [B, L] in the permuted order, nats."""
        moved_BL = ids_BL[:, self.order_L]  # type: ignore[index]
        logits_BLV = self.net(input_ids=F.pad(moved_BL[:, :-1], (1, 0), value=self.start_id)).logits
        return F.cross_entropy(logits_BLV.transpose(1, 2).float(), moved_BL, reduction="none")

    def row_nats(self, ids_NL: Tensor, device: str) -> np.ndarray:
        """Exact nats a token of each row [N]."""
        with torch.no_grad():
            return torch.cat([self.nats(part.to(device)).mean(1).cpu() for part in ids_NL.split(32)]).double().numpy()


class MaskedLearner(MaskedDiffusionModel):
    """Masked diffusion, which learns every order at once."""

    def row_nats(self, ids_NL: Tensor, device: str) -> np.ndarray:
        """The NELBO of each row [N], nats a token: an upper bound."""
        return bound(self, ids_NL.to(device), samples=8, batch_size=32).nelbo_N / ids_NL.shape[1]


def permutation(arm: str, length: int, draw: int) -> Tensor:
    """The order of an arm: none, sqrt(L) or L/10 random transpositions, or a uniform one."""
    if arm == "uniform":
        return torch.randperm(length, generator=generator(draw, 7))
    swaps = {"identity": 0, "much closer": round(math.sqrt(length)), "closer": length // 10}[arm]
    order = torch.arange(length)
    pairs = torch.randint(length, (swaps, 2), generator=generator(draw, 8))
    for a, b in pairs.tolist():
        order[a], order[b] = order[b].clone(), order[a].clone()
    return order


def rows_of_text(size: Size, say: Say) -> tuple[PackedRows, Tensor, int]:
    """Training rows, held-out rows and the start id: the verses, end to end, each followed by its end token."""
    data = load_texts("verses", validation=0.05)
    say(str(data.report))
    tokenizer = train_bpe(data.train, size.vocab)
    eos = int(tokenizer.eos_token_id)
    parts = []
    for texts in (data.train, data.validation):
        flat = np.concatenate([[*ids, eos] for ids in tokenizer(list(texts))["input_ids"]])
        count = len(flat) // size.length
        parts.append(torch.from_numpy(flat[: count * size.length].astype(np.int64)).view(count, size.length))
    return PackedRows(parts[0]), parts[1], eos


def measure(effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Train every arm and draw, with the likelihood of held-out rows on the way."""
    effort.only("minutes", "steps", "batch")
    arms, size = effort.chosen(ARMS), SIZES[effort.scale]
    train_rows, held_NL, eos = rows_of_text(size, say)
    held_NL = held_NL[: effort.boards]
    steps = effort.steps or size.steps
    results["length"], results["held_out_rows"] = size.length, len(held_NL)
    for arm in arms:
        began = time.monotonic()
        for draw in range(DRAWS):
            run = Run.sized(steps, effort.batch or size.batch, hide="all", seed=draw)
            folder = effort.runs / f"order_learners_{effort.scale}" / f"{arm.replace(' ', '_')}_{draw}"
            say(f"== order_learners, {effort.scale}: {arm}, draw {draw}")
            model = _model(arm, size, eos, draw)
            drawn = results.setdefault("arms", {}).setdefault(arm, {})
            known = {point["step"]: point for point in drawn.get(str(draw), {}).get("curve", [])}
            curve = []
            for mark in MARKS:
                until = max(1, round(mark * steps))
                minutes = effort.minutes
                if minutes:  # the draws share the arm's time
                    minutes = max(1e-9, minutes - (time.monotonic() - began) / 60)
                state = train(
                    model,
                    train_rows,
                    run,
                    folder,
                    loss=None if arm == "masked diffusion" else lambda net, batch, _: net.nats(batch.answer_BL).mean(),
                    minutes=minutes,
                    until=until,
                    device=effort.device,
                    say=say,
                    progress=effort.progress,
                )
                if state.step < until:
                    break
                if state.step > until:
                    # an earlier command came by here, and these are no longer the weights that it measured
                    curve += [known[until]] if until in known else []
                    continue
                figures = interval_dict(ratio_interval(held_out_nats(model, held_NL, effort.device)))
                curve.append({"step": state.step, "nats": figures})
                say(f"  {arm}, draw {draw}, step {state.step}: {figures['value']:.3f} nats a token")
            if state.step == 0:
                continue  # the arm's time was spent on earlier draws
            drawn[str(draw)] = {
                "parameters": sum(p.numel() for p in model.parameters()),
                "training": run_record(run, state),
                "curve": curve,
            }
            keep()


def held_out_nats(model: PermutedLearner | MaskedLearner, ids_NL: Tensor, device: str) -> np.ndarray:
    """Nats a token of each row [N], in the precision that is fastest on the device."""
    with fastest(model, ids_NL[:32].numel(), device).autocast(device):
        return model.row_nats(ids_NL, device)


def _model(arm: str, size: Size, eos: int, draw: int) -> PermutedLearner | MaskedLearner:
    if arm != "masked diffusion":
        return PermutedLearner(size, permutation(arm, size.length, draw), eos, draw)
    torch.manual_seed(draw)
    return MaskedLearner(
        MaskedDiffusionConfig(
            vocab_size=size.vocab,
            # rows are full: end tokens inside them are text, and nothing is padding
            pad_token_id=None,
            eos_token_id=None,
            max_position_embeddings=size.length,
            dim=size.dim,
            layers=size.layers,
            heads=size.heads,
            ffn_dim=4 * size.dim,
            rope=False,
        )
    )


def page(results: Mapping[str, Any]) -> Page:
    """Every number comes from ``results``."""
    out = Page()
    out.text("# Order-learners: what an order costs in likelihood")
    out.text(
        "Written by `unmask experiment order_learners` from `docs/benchmarks/experiment_order_learners.json`. Nats a "
        "token of held-out verses; causal models on text in one fixed permuted order (exact), and masked diffusion (an "
        "upper bound). Same rows, blocks, steps and batches. The paper's ordering: identity best, then *much closer* "
        "(sqrt(L) swaps), *closer* (L/10 swaps), uniform; masked diffusion behind the causal model at equal compute."
    )
    for scale, found in results["scales"].items():
        if "arms" not in found:
            continue
        out.text(f"## {scale} scale: rows of {found['length']} tokens, {found['held_out_rows']} held out")
        curves = _curves(found)
        if not curves:
            continue
        arm, draws = next((arm, found["arms"][arm]) for arm in curves)
        some = next(iter(draws.values()))
        out.text(f"*{arm}*, the first draw: {training_line(some['training'], some['parameters'])}.")
        rows = []
        for arm, by_step in curves.items():
            step, values = max(by_step.items())
            reach = f"{min(values):.3f} to {max(values):.3f}"
            rows.append([arm, f"{np.mean(values):.3f}", reach, f"{step:,}", str(len(values))])
        out.table(["order", "nats a token (mean of draws)", "range of draws", "steps", "draws"], rows)
        lines = ordering(curves)
        if lines:
            out.text(
                "The paper's ordering, compared after as many steps (masked diffusion by its bound):\n",
                *[f"* {line}" for line in lines],
            )
        out.drawing(f"order_learners_{scale}", _drawing(curves), "Held-out nats a token against training steps")
    return out


#: arm -> step -> nats a token of each draw that was measured there
Curves = Mapping[str, Mapping[int, Sequence[float]]]


def _curves(found: Mapping[str, Any]) -> Curves:
    """The figures in the experiment's own order, whatever the order in which arms were run."""
    curves: dict[str, dict[int, list[float]]] = {}
    for arm in ARMS:
        for draw in found["arms"].get(arm, {}).values():
            for point in draw["curve"]:
                curves.setdefault(arm, {}).setdefault(point["step"], []).append(point["nats"]["value"])
    return curves


def ordering(curves: Curves) -> list[str]:
    """What the paper orders, in words: each causal arm against the next one, and masked diffusion against the best.

    Arms are compared at the last step that both were measured at by as many draws.
    """
    causal = [arm for arm in ARMS[:-1] if arm in curves]
    pairs = list(itertools.pairwise(causal))
    if ARMS[0] in curves and ARMS[-1] in curves:
        pairs.append((ARMS[0], ARMS[-1]))
    lines = []
    for one, other in pairs:
        shared = [step for step in curves[one] if len(curves[one][step]) == len(curves[other].get(step, ()))]
        if not shared:
            continue
        better, worse = curves[one][max(shared)], curves[other][max(shared)]
        means = f"{np.mean(better):.3f} against {np.mean(worse):.3f}"
        if max(better) < min(worse):
            said = f"**reproduced**, every one of {len(better)} draws ({means})"
        elif np.mean(better) < np.mean(worse):
            said = f"on the mean ({means}), but draws overlap"
        else:
            said = f"**not reproduced** ({means})"
        lines.append(f"*{one}* before *{other}*: {said}")
    return lines


def _drawing(curves: Curves) -> Any:
    with plot() as (figure, axes):
        for i, (arm, by_step) in enumerate(curves.items()):
            steps = sorted(by_step)
            middle = np.array([np.mean(by_step[step]) for step in steps])
            below = middle - [min(by_step[step]) for step in steps]
            above = np.array([max(by_step[step]) for step in steps]) - middle
            axes.errorbar(steps, middle, [below, above], marker=MARKERS[i], color=SERIES[i], capsize=2, label=arm)
            axes.set_xscale("log")
        marks = sorted({step for by_step in curves.values() for step in by_step})
        axes.set_xticks(marks, [f"{step:,}" for step in marks])
        axes.minorticks_off()
        axes.set_xlabel("steps (equal compute of the blocks)")
        axes.set_ylabel("held-out nats a token")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return figure_svg(figure, "Held-out nats a token against steps; bars span the draws")

"""Where the time of a training step goes, and what a lever makes of it.

    python benchmarks/training_step.py --profile
    python benchmarks/training_step.py --lever norms --precision bf16
    python benchmarks/training_step.py --lever compile --precision bf16

A step is that of a recipe of reconstruction with a length model: loss, gradients, clipping, Muon and AdamW, the average
of the weights. With and without a lever steps take turns within one process; costs are CPU seconds (``process_time``,
which other programs disturb less than a clock), the ratio is the median of the ratios within a turn. With ``--profile``
a step's operations by ``torch.profiler``, their own time and share.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.random import generator
from unmask.data.canvas import text_positions
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskingProcess
from unmask.models import layers
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.training.arguments import TrainArguments
from unmask.training.compiled import compiled_blocks
from unmask.training.ema import Ema
from unmask.training.optimizer import muon_and_adamw
from where import where


@contextmanager
def blocks(net: Any) -> Iterator[Callable[[bool], None]]:
    """The blocks, compiled or as they are."""
    with compiled_blocks(net):
        made = [vars(block)["forward"] for block in net.blocks]

        def pull(on: bool) -> None:
            for block, forward in zip(net.blocks, made, strict=True):
                vars(block).pop("forward", None)
                if on:
                    block.forward = forward

        yield pull
        pull(True)


@contextmanager
def norms(net: Any) -> Iterator[Callable[[bool], None]]:
    """Norms that are scaled in fewer passes, or by the formula."""
    fewer = layers.scaled_norm

    def formula(norm: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return norm(x) * (1 + scale) + shift

    def pull(on: bool) -> None:
        layers.scaled_norm = fewer if on else formula

    yield pull
    pull(True)


#: what is switched on and off from step to step
LEVERS: dict[str, Callable[[Any], Any]] = {"compile": blocks, "norms": norms}


class Step:
    """A network at work on batches of one shape."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        torch.manual_seed(0)
        self.net = MaskedDiffusionModel(
            MaskedDiffusionConfig(
                vocab_size=4096,
                dim=args.dim,
                layers=args.layers,
                heads=4,
                ffn_dim=3 * args.dim,
                conditioning="adaln",
                latent_dim=384,
                latent_tokens=8,
                max_position_embeddings=40,
                length_model=True,
            )
        ).train()
        settings = TrainArguments(output_dir="unused", precision=args.precision, report_to="none")
        self.optimizer, self.ema = muon_and_adamw(self.net, settings), Ema(self.net, 0.999)
        self.law = MaskingProcess("count", time_power=2.0)
        g = generator(0)
        self.ids_BL = torch.randint(5, 4096, (args.rows, args.width), generator=g)
        self.length_B = torch.randint(args.width - 7, args.width + 1, (args.rows,), generator=g)
        self.cond = Condition.of(torch.randn(args.rows, 384, generator=g))
        self.made = 0

    def __call__(self) -> None:
        valid_BL = text_positions(self.ids_BL, self.length_B)
        corruption = self.law.corrupt(self.ids_BL, 2, generator(self.made), valid_BL)
        self.made += 1
        with torch.autocast("cpu", torch.bfloat16, enabled=self.args.precision == "bf16"):
            losses = token_losses(
                self.net, corruption, self.cond, tokens_B=self.length_B, valid_BL=valid_BL, weighting="maskgit"
            )
            loss = losses.loss
            if losses.length_nats_B is not None:
                loss = loss + losses.length_nats_B.sum() / self.length_B.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.net)


def profiled(step: Step) -> None:
    """Print a step's operations."""
    for _ in range(3):
        step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        step()
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=40, max_name_column_width=60))


def compared(step: Step, lever: str, turns: int) -> dict[str, Any]:
    """CPU seconds with and without a lever, in turns."""
    costs: dict[bool, list[float]] = {False: [], True: []}
    step()
    begun = time.process_time()
    with LEVERS[lever](step.net) as pull:
        pull(True)
        step()
        first = time.process_time() - begun
        for turn in range(turns):
            for on in (True, False) if turn % 2 else (False, True):
                pull(on)
                begun = time.process_time()
                step()
                costs[on].append(time.process_time() - begun)
    ratios = [a / b for a, b in zip(costs[True], costs[False], strict=True)]
    return {
        "lever": lever,
        "CPU seconds without": statistics.median(costs[False]),
        "CPU seconds with": statistics.median(costs[True]),
        "ratio": statistics.median(ratios),
        "ratios": [round(r, 3) for r in sorted(ratios)],
        "CPU seconds of the first step with it": first,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--lever", choices=sorted(LEVERS), default="norms")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    step = Step(args)
    if args.profile:
        profiled(step)
        return
    print(json.dumps({**vars(args), **compared(step, args.lever, args.turns), "where": where()}, indent=1))


if __name__ == "__main__":
    main()

"""Training of whole recipes beside an earlier commit: text tokens a CPU second, and the share of the GEMM peak.

    python benchmarks/training_since.py --write docs/benchmarks     # demo and sgdd_verses, one thread and two
    python benchmarks/training_since.py --recipes demo --threads 1 --steps 2 --flags "--limit 400"    # a quick look

The earlier commit (e29d83f unless ``--commit`` names another) is checked out into a temporary git worktree. Each
version trains the recipe in a process of its own, with its own data, batches and optimiser, and waits before each step
until it is told to go on; so the versions take turns, step by step, and a busy machine slows both. A step's cost is
``process_time`` from the end of one step to the end of the next, drawing the batch, clipping, the optimiser and the
average of the weights included; its text tokens are the ids that are no special. The first steps of each process are
not counted. Figures are medians over the steps, ratios medians of the ratios within a turn. The other precision is
forced and shown as well (a version that fixes its precision takes the flag ``bf16``).

The share of the GEMM peak is: floating-point operations of all matrix products of a step (counted by PyTorch in one
step more), over the step's wall time, over what products of 1024 x 1024 matrices reach on as many threads in the same
process. Where other programs run at the same time wall time, and so the share, says nothing: quiet machines only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from where import where

ROOT = Path(__file__).parents[1]
#: not counted: what is made once
WARM = 3

#: run with a version's sources; reads a line before each step, writes one of JSON behind it
WORKER = """
import contextlib, json, os, sys, time
import torch
torch.set_num_threads(int(sys.argv[2]))
from torch.utils.flop_counter import FlopCounterMode
from transformers import Trainer
from transformers.trainer_callback import DefaultFlowCallback

recipe, flags, warm = sys.argv[1], json.loads(sys.argv[3]), int(sys.argv[4])
out, sys.stdout = sys.stdout, sys.stderr  # what the training prints is nobody's
seen = {"tokens": 0, "steps": 0}
mark, counter = {}, contextlib.ExitStack()

def peak(dtype):
    a = torch.randn(1024, 1024).to(dtype)
    best = 0.0
    for _ in range(8):
        begun = time.perf_counter()
        a @ a
        best = max(best, 2 * 1024**3 / (time.perf_counter() - begun))
    return best

def in_place(added, a, b, *rest, out_shape=None, **named):
    # operations of addmm_, which PyTorch does not count, from the shapes
    return 2 * a[0] * a[1] * b[1]

def tell(**what):
    print(json.dumps(what), file=out, flush=True)

def training_step(self, model, inputs, *rest, _of=Trainer.training_step, **named):
    seen["tokens"] += int((inputs["input_ids"] > 2).sum())
    return _of(self, model, inputs, *rest, **named)

def on_step_begin(self, args, state, control, **_):
    # the batch is drawn already; waiting costs no CPU time
    drawn = time.perf_counter()
    word = sys.stdin.readline().strip()
    if word in ("", "stop"):
        os._exit(0)
    mark["waited"] = time.perf_counter() - drawn
    if word == "count":
        mark["flops"] = counter.enter_context(
            FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place})
        )

def on_step_end(self, args, state, control, _of=DefaultFlowCallback.on_step_end, **named):
    counter.close()
    cpu, wall = time.process_time(), time.perf_counter()
    counted = mark.pop("flops", None)
    tell(
        cpu=cpu - mark.get("cpu", cpu),
        wall=wall - mark.get("wall", wall) - mark["waited"],
        tokens=seen["tokens"],
        flops=counted.get_total_flops() if counted else None,
        bf16=bool(args.bf16),
    )
    seen["tokens"] = 0
    mark.update(cpu=cpu, wall=wall)
    return _of(self, args, state, control, **named)

Trainer.training_step = training_step
DefaultFlowCallback.on_step_begin, DefaultFlowCallback.on_step_end = on_step_begin, on_step_end
from unmask.recipes import find
from unmask.training.recipe import parse, read_recipe
from unmask.training.run import train
tell(peak={"fp32": peak(torch.float32), "bf16": peak(torch.bfloat16)})
train(parse(read_recipe(find(recipe)), flags))
"""


class Version:
    """One version at work on one recipe."""

    def __init__(self, tree: Path, recipe: str, threads: int, flags: list[str], folder: Path) -> None:
        settings = [
            *("--output_dir", str(folder), "--max_steps", "100000", "--save_strategy", "no", "--eval_strategy", "no"),
            *("--load_best_model_at_end", "false", "--probe_texts", "0", "--report_to", "none"),
            *("--disable_tqdm", "true", "--logging_steps", "1000000", *flags),
        ]
        words = [sys.executable, "-c", WORKER, recipe, str(threads), json.dumps(settings), str(WARM)]
        env = os.environ | {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": str(threads)}
        self.log = open(folder.with_suffix(".log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=env, cwd=folder.parent
        )
        self.peak: dict[str, float] = self._line()["peak"]
        for _ in range(WARM):
            self.step()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise SystemExit("a version stopped:\n" + "".join(self.log.readlines()[-15:]))
        return dict(json.loads(line))

    def step(self, word: str = "go") -> dict[str, Any]:
        """Let it make one step."""
        assert self.process.stdin is not None
        print(word, file=self.process.stdin, flush=True)
        return self._line()

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        print("stop", file=self.process.stdin, flush=True)
        self.process.wait()
        self.log.close()


@contextmanager
def checked_out(commit: str) -> Any:
    """A temporary worktree of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", "-q", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)], check=True)


def compare(trees: dict[str, tuple[Path, list[str]]], recipe: str, threads: int, steps: int) -> dict[str, Any]:
    """Text tokens a CPU second of each version, their ratio to the first's, and the share of the peak."""
    with tempfile.TemporaryDirectory() as folder:
        at_work = {
            name: Version(tree, recipe, threads, flags, Path(folder) / f"run{i}")
            for i, (name, (tree, flags)) in enumerate(trees.items())
        }
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in at_work}
        for turn in range(steps):
            # who comes first changes: what one leaves in the caches is then nobody's advantage
            for name in list(at_work) if turn % 2 else list(reversed(at_work)):
                rows[name].append(at_work[name].step())
        flops = {name: version.step("count")["flops"] for name, version in at_work.items()}
        for version in at_work.values():
            version.stop()
    rate = {name: [row["tokens"] / row["cpu"] for row in found] for name, found in rows.items()}
    first = next(iter(rate))
    found = {}
    for name, version in at_work.items():
        precision = "bf16" if rows[name][0]["bf16"] else "fp32"
        seconds = statistics.median(row["wall"] for row in rows[name])
        found[name] = {
            "precision": precision,
            "tokens a CPU second": statistics.median(rate[name]),
            "times the first": statistics.median(a / b for a, b in zip(rate[name], rate[first], strict=True)),
            "CPU seconds a step": statistics.median(row["cpu"] for row in rows[name]),
            "GFLOP a step": flops[name] / 1e9,
            "share of the GEMM peak": flops[name] / seconds / version.peak[precision],
        }
    return {"recipe": recipe, "threads": threads, "steps": steps, "versions": found}


def page(results: list[dict[str, Any]], commit: str) -> str:
    """The table."""
    lines = [f"# Training beside {commit}", "", where(), ""]
    lines += [
        "| recipe | threads | version | precision | tokens a CPU s | times | CPU s a step | GFLOP a step | peak |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for result in results:
        for name, v in result["versions"].items():
            lines.append(
                f"| {result['recipe']} | {result['threads']} | {name} | {v['precision']} "
                f"| {v['tokens a CPU second']:,.0f} | {v['times the first']:.2f} | {v['CPU seconds a step']:.3f} "
                f"| {v['GFLOP a step']:.1f} | {v['share of the GEMM peak']:.0%} |"
            )
    lines += ["", "Written by `python benchmarks/training_since.py`, which says what is measured and how."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="e29d83f")
    parser.add_argument("--recipes", nargs="+", default=["demo", "sgdd_verses"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--flags", default="", help="settings of every version, such as '--limit 400'")
    parser.add_argument("--write", type=Path, help="folder for training_since.md and .json")
    args = parser.parse_args()
    results = []
    with checked_out(args.commit) as tree:
        trees = {
            args.commit: (tree, []),
            f"{args.commit}, fp32": (tree, ["--bf16", "false"]),
            "now": (ROOT, []),
            "now, fp32": (ROOT, ["--precision", "fp32"]),
            "now, bf16": (ROOT, ["--precision", "bf16"]),
        }
        more = args.flags.split()
        trees = {name: (place, flags + more) for name, (place, flags) in trees.items()}
        for recipe in args.recipes:
            for threads in args.threads:
                results.append(compare(trees, recipe, threads, args.steps))
                print(json.dumps(results[-1], indent=1), flush=True)
    if args.write:
        args.write.mkdir(parents=True, exist_ok=True)
        (args.write / "training_since.md").write_text(page(results, args.commit), encoding="utf-8")
        (args.write / "training_since.json").write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Does spelling an answer last digit first make carries easy? Reversed blocks, forward blocks, plain BPE.

The same problems, network, parameters, steps and batches; only the way the answer is written differs. Run it with
``python -m unmask.experiments.tidal_arithmetic --out runs/tidal_arithmetic``; settings of the recipe
``tidal_arithmetic`` can be given as flags (``--max_steps 500 --positions rope``), for every arm. ``--pages
docs/experiments`` writes the page too, from ``results.json`` alone with ``--page``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from unmask.core.files import write_json
from unmask.data.tidal.arithmetic import LARGEST
from unmask.data.tidal.dataset import Example
from unmask.evaluation.tidal import greedy_exact_match, write
from unmask.experiments.study import Page
from unmask.experiments.tidal_page import lines, made_with, percent, publish
from unmask.models.tidal_text import TidalTextModel
from unmask.recipes import find
from unmask.training.recipe import parse, read_recipe
from unmask.training.run import train
from unmask.training.tidal import TidalPrepared, tidal_examples

#: arm -> what it changes in the recipe
ARMS: dict[str, dict[str, Any]] = {
    "reversed": {},
    "forward": {"reverse": False},
    "bpe": {"writes": "tokens", "attention": "causal", "split_digits": False},
    # the reversed blocks again, behind tokens of several digits
    "reversed, joined digits": {"split_digits": False},
}

#: settings that the page names
SHOWN = (
    "attention", "positions", "dim", "layers", "heads", "ffn_dim", "vocab_size", "split_digits", "optimizer",
    "learning_rate", "muon_lr", "per_device_train_batch_size", "max_steps", "ema",
)  # fmt: skip


def run(
    out: Path,
    arms: Sequence[str] = tuple(ARMS),
    flags: Sequence[str] = (),
    probe: int = 256,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train each arm and measure exact match; writes ``results.json``, keeping the arms that stand there already.

    Args:
        out: folder for the runs and the result.
        arms: names out of :data:`ARMS`.
        flags: settings of the recipe, for every arm.
        probe: held-out problems written at each evaluation.
        say: where one-line reports go.

    Returns:
        arm -> parameters, steps, seconds of training, and shares of problems written exactly with 95 % intervals.
    """
    file = out / "results.json"
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for arm in arms:
        settings = {
            **read_recipe(find("tidal_arithmetic")),
            **ARMS[arm],
            "output_dir": str(out / arm.replace(", ", "_").replace(" ", "_")),
        }
        recipe = parse(settings, flags)
        say(f"== {arm}")

        curve = ExactMatchCurve(Path(str(recipe.train.output_dir)), recipe.train.resume)
        model: TidalTextModel = train(recipe, partial(_probes, probe, curve), say)
        _, held_out, longer = tidal_examples(recipe, lambda _: None)
        results[arm] = {
            "parameters": sum(p.numel() for p in model.denoiser.parameters()),
            "steps": recipe.train.max_steps,
            "rows_a_step": recipe.train.per_device_train_batch_size,
            "seconds": curve.seconds,
            **{
                f"{where} {kind}": measure(model, part)
                for where, examples in (("held-out", held_out), ("longer", longer))
                for kind, part in by_sign(examples).items()
            },
            "settings": recipe.settings(),
            "curve": curve.points,
            "made_with": made_with(),
        }
        say(", ".join(f"{k} {v['exact']:.1%}" for k, v in results[arm].items() if isinstance(v, dict) and "exact" in v))
        write_json(out / "results.json", results)
    return results


def by_sign(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Sums and differences apart."""
    return {kind: [e for e in examples if f" {sign} " in e[0]] for kind, sign in (("sums", "+"), ("differences", "-"))}


class ExactMatchCurve:
    """Exact match by steps and seconds, beside a run's checkpoints: a run that stopped goes on with it.

    Args:
        folder: of the run. resume: whether the run goes on; a new one starts without the points that stand there.
    """

    def __init__(self, folder: Path, resume: bool) -> None:
        self.file = folder / "curve.json"
        self.points: list[dict[str, float]] = (
            json.loads(self.file.read_text(encoding="utf-8")) if resume and self.file.is_file() else []
        )
        self.started = time.perf_counter()
        self.before: float | None = None

    @property
    def seconds(self) -> float:
        """Spent on training up to the last point."""
        return self.points[-1]["seconds"] if self.points else 0.0

    def add(self, step: int, share: Mapping[str, float]) -> float:
        """A point; those of a part of the run that is done again are dropped. Returns the seconds so far."""
        self.points = [point for point in self.points if point["step"] < step]
        if self.before is None:
            self.before = self.seconds
        seconds = round(self.before + time.perf_counter() - self.started, 1)
        self.points.append({"step": step, "seconds": seconds, **share})
        write_json(self.file, self.points)
        return seconds


def _probes(count: int, curve: ExactMatchCurve, prepared: TidalPrepared) -> list[Any]:
    """A probe for training: exact match on sums and on differences, kept in ``curve``."""
    model, examples = prepared.model, prepared.validation.examples[:count]

    def probe(net: Any, step: int) -> tuple[dict[str, float], list[str]]:
        right = {kind: greedy_exact_match(model, part) for kind, part in by_sign(examples).items()}
        share = {kind: sum(hits) / len(hits) for kind, hits in right.items()}
        seconds = curve.add(step, share)
        shown = write(model, [prompt for prompt, _ in examples[:2]], max_blocks=2, most=32)
        said = ", ".join(f"{kind} {value:.1%}" for kind, value in share.items())
        wrote = "; ".join(prompt + text for (prompt, _), text in zip(examples, shown.texts, strict=False))
        return {"generation": share["sums"], **share}, [f"step {step}, {seconds:.0f} s: {said} ({wrote})"]

    return [probe]


def measure(model: TidalTextModel, examples: Sequence[Example]) -> dict[str, float]:
    """Share written exactly, with Wilson's 95 % interval."""
    from scipy.stats import binomtest

    right = greedy_exact_match(model, examples)
    interval = binomtest(sum(right), len(right)).proportion_ci(0.95, method="wilson")
    return {"exact": sum(right) / len(right), "low": interval.low, "high": interval.high, "problems": len(right)}


def page(results: Mapping[str, Any]) -> Page:
    """Every number comes from ``results``."""
    out = Page()
    out.text("# Arithmetic: which end of a number first?")
    out.text(
        "Written by `python -m unmask.experiments.tidal_arithmetic` from its numbers in "
        "`docs/benchmarks/experiment_tidal_arithmetic.json`. `a + b =` or `a - b =` is given, the answer is written; "
        f"operands up to {LARGEST:,}, half sums, half differences, no held-out pair is trained on; held-out operands "
        "are uniform, and a quarter of the training problems draws how many digits they have first. *Longer* operands "
        "have one digit more than any trained on. An answer counts if every character and its end are right. "
        "**reversed**: the answer is one block, last digit first, then its sign; **forward**: the same block, first "
        "digit first; **bpe**: plain next tokens, whose merges join digits; **joined digits**: reversed blocks behind "
        "the tokens of the bpe arm (elsewhere each digit before the block is a token of its own)."
    )
    kinds = [k for k, v in next(iter(results.values())).items() if isinstance(v, dict) and "exact" in v]
    rows = []
    for arm, found in results.items():
        spent = f"{found['steps']:,} x {found['rows_a_step']}"
        cells = [arm, f"{found['parameters']:,}", spent, f"{found['seconds'] / 60:.0f}"]
        rows.append([*cells, *(percent(found[kind]) for kind in kinds)])
    out.text("Per cent written exactly, with 95 % intervals (Wilson):")
    out.table(["arm", "parameters", "steps x rows", "minutes", *kinds], rows)
    curves = {
        arm: ([c["seconds"] / 60 for c in found["curve"]], [100 * c["sums"] for c in found["curve"]])
        for arm, found in results.items()
    }
    drawing = lines(curves, "minutes of training", "held-out sums, % exact", "Sums written exactly against minutes")
    out.drawing("tidal_arithmetic", drawing, "Sums written exactly against minutes of training, by arm")
    for arm, found in results.items():
        made = found["made_with"]
        shown = {k: v for k, v in found["settings"].items() if k in SHOWN}
        said = ", ".join(f"{k} {v}" for k, v in shown.items())
        out.text(f"{arm}: {said}; {made['device']}, torch {made['torch']}.")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/tidal_arithmetic"))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--pages", type=Path, help="folder of the page; none is written when missing")
    parser.add_argument("--numbers", type=Path, default=Path("docs/benchmarks"), help="folder of the page's numbers")
    parser.add_argument("--page", action="store_true", help="train nothing: rewrite the page")
    known, flags = parser.parse_known_args()
    results = known.out / "results.json"
    if not known.page:
        run(known.out, known.arms, flags)
    if known.pages is not None:
        read = json.loads(results.read_text(encoding="utf-8"))
        print(publish("tidal_arithmetic", read, page, known.numbers, known.pages))


if __name__ == "__main__":
    main()

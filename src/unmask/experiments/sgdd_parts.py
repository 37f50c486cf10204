"""SGDD, each of its parts on and off: bottleneck, self-conditioning, guidance, whitening, how the vector comes in.

One recipe (clauses, sentences and verses of the World English Bible), one change an arm, two seeds. Arms that do more
work a step take fewer steps: the products of a forward pass are counted, so all spend the same compute. What is
compared is what one pass writes (16 steps at temperature 0), the bound, and what a false vector costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from unmask import api
from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.data.text import evenly, load_texts
from unmask.experiments.study import Effort, Page, Say
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.recipes import find
from unmask.training.recipe import Recipe, parse, read_recipe

#: what every arm is trained with, on top of the recipe ``sgdd_verses``
BASE: dict[str, Any] = {
    "crops": ["whole", "sentences", "clauses"],
    "near_duplicates": 0.5,
    "validation": 0.1,
    "length": 40,
    "dim": 192,
    "layers": 3,
    "ffn_dim": 768,
    "muon_lr": 0.01,
    "weight_decay": 0.1,
    "bag_of_words": 0,
}
STEPS, ROWS = 2_000, 64
#: arm -> what it changes
ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    "no whitening": {"whiten": "none"},
    "centred, not whitened": {"whiten": "center"},
    "AdaLN alone": {"latent_tokens": 0},
    "cross-attention": {"conditioning": "cross"},
    "self-conditioning": {"self_conditioning": True},
    "bottleneck": {"bottleneck": 128, "vib_beta": 1e-3, "free_bits": 0.0},
    "no null vectors": {"condition_dropout": 0.0},
    "bag of words": {"bag_of_words": 96, "bag_weight": 0.2},
}
SEEDS = (0, 1)
#: of the base arm's models; 1 is no guidance
GUIDANCE = (1.0, 1.5, 2.0, 3.0)
#: what is kept of an evaluation -> how the page calls it
FIGURES = {
    "nelbo_nats_per_token": "NELBO, nats a token",
    "loss_r1_nats_per_token": "loss at r = 1",
    "d_shuffled_nats_per_token": "a wrong vector costs",
    "kl_nats_per_text": "rate, nats a text",
    "word_recall_share": "word recall",
    "bleu_0_to_100": "BLEU",
    "exact_match_share": "exact",
    "cosine": "cosine",
    "rep_2_share": "repeated pairs",
}
#: those of them that are about what was written
WRITTEN = ("word_recall_share", "bleu_0_to_100", "exact_match_share", "cosine", "rep_2_share")


def recipe_of(arm: str, seed: int, effort: Effort, steps: int) -> Recipe:
    """The recipe of an arm's run."""
    settings = {
        **read_recipe(find("sgdd_verses")),
        **BASE,
        **ARMS[arm],
        "seed": seed,
        "max_steps": steps,
        "per_device_train_batch_size": effort.batch or ROWS,
        "eval_steps": steps,
        "save_steps": max(1, steps // 4),
        "metric_for_best_model": None,
        "load_best_model_at_end": False,
        "show_texts": 0,
        "disable_tqdm": not effort.progress,
        "output_dir": str(folder_of(effort, arm, seed)),
    }
    return parse(settings, [])


def folder_of(effort: Effort, arm: str, seed: int) -> Path:
    return effort.runs / "sgdd_parts" / f"{arm.replace(' ', '_').replace(',', '')}_{seed}"


def compute(recipe: Recipe, latent_dim: int = 384) -> float:
    """Multiplications a token of a training step, by counting the products of a forward pass.

    A step is a forward and a backward pass (three forward passes' worth); self-conditioning runs another forward pass
    in its share of the batches.
    """
    m = recipe.model
    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(
            vocab_size=m.vocab_size,
            max_position_embeddings=m.length,
            dim=m.dim,
            layers=m.layers,
            heads=m.heads,
            ffn_dim=m.ffn_dim,
            conditioning=m.conditioning,
            latent_dim=latent_dim,
            latent_tokens=m.latent_tokens,
            bottleneck=m.bottleneck,
            bag_of_words=m.bag_of_words,
            self_conditioning=m.self_conditioning,
            length_model=m.length_model,
        )
    )
    ids_BL = torch.full((8, 16), net.config.mask_token_id)
    with torch.no_grad(), FlopCounterMode(display=False) as count:
        net.logits(ids_BL, torch.ones_like(ids_BL, dtype=torch.bool), Condition.of(torch.randn(8, latent_dim)))
    passes = 3 + (recipe.train.self_conditioning_rate if m.self_conditioning else 0.0)
    return passes * count.get_total_flops() / 2 / ids_BL.numel()


def measure(effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Train (or find) each arm's two models and measure them."""
    if effort.scale != "cpu":
        raise UsageError(f"scale={effort.scale!r}: the parts of SGDD have one scale, cpu; raise --steps instead")
    effort.only("steps", "batch")
    data = load_texts(
        "verses", crops=BASE["crops"], near_duplicates=BASE["near_duplicates"], validation=BASE["validation"]
    )
    texts = [data.validation[i] for i in evenly(len(data.validation), effort.boards)]
    arms, whole = effort.chosen(list(ARMS)), effort.steps or STEPS
    base = compute(recipe_of("base", 0, effort, whole))
    now = {"steps": whole, "rows": effort.batch or ROWS, "texts": len(texts), "multiplications": base}
    if any(results.get(part) != value for part, value in now.items()):
        results.clear()
    results |= now
    for arm in arms:
        work = compute(recipe_of(arm, 0, effort, whole)) / base
        for seed in SEEDS:
            steps = round(whole / work)
            say(f"== sgdd_parts: {arm}, seed {seed}: {steps:,} steps of {work:.2f} times the base's compute")
            model: Any = api.train(recipe_of(arm, seed, effort, steps))
            found: dict[str, Any] = {
                "parameters": sum(p.numel() for p in model.denoiser.parameters()),
                "steps": steps,
                "compute": round(work, 3),
                "figures": _figures(model, texts),
            }
            if arm == "base":
                found["guidance"] = {
                    str(gamma): _figures(model, texts, guidance=gamma) for gamma in GUIDANCE if gamma != 1.0
                }
            results.setdefault("arms", {}).setdefault(arm, {})[str(seed)] = found
            say(", ".join(f"{FIGURES[k]} {v:.3f}" for k, v in found["figures"].items()))
            keep()


def _figures(model: Any, texts: list[str], **settings: Any) -> dict[str, float]:
    metrics = api.evaluate(model, texts, texts=len(texts), trace=False, steps=16, temperature=0.0, **settings).metrics
    return {k: metrics[k] for k in FIGURES if k in metrics}


def page(results: Mapping[str, Any]) -> Page:
    """Every number comes from ``results``."""
    out = Page()
    out.text("# SGDD, each part on and off")
    out.text(
        "Written by `unmask experiment sgdd_parts` from `docs/benchmarks/experiment_sgdd_parts.json`. One recipe, one "
        "change a row, two seeds (both figures are shown: a difference that is smaller than theirs is none). What is "
        "written comes from one pass: 16 steps at temperature 0, nothing verified."
    )
    found = results["scales"].get("cpu", {})
    if "arms" not in found:
        return out
    out.text(
        f"Base: AdaLN and 8 latent tokens, whitened vectors, no bottleneck, no self-conditioning, "
        f"{next(iter(found['arms']['base'].values()))['parameters']:,} parameters, {found['steps']:,} steps of "
        f"{found['rows']} clauses, sentences and verses; {found['texts']:,} held-out texts are measured. An arm whose "
        "step costs more takes fewer steps."
        if "base" in found["arms"]
        else f"{found['steps']:,} steps of {found['rows']} rows."
    )
    shown = [k for k in FIGURES if any(k in s["figures"] for a in found["arms"].values() for s in a.values())]
    rows = []
    for arm, seeds in found["arms"].items():
        rows.append(
            [arm, f"{next(iter(seeds.values()))['compute']:.2f}", *_both([s["figures"] for s in seeds.values()], shown)]
        )
    out.table(["arm", "compute a step", *[FIGURES[k] for k in shown]], rows)
    guided = [s.get("guidance", {}) for s in found["arms"].get("base", {}).values()]
    if guided and all(guided):
        written = [k for k in WRITTEN if k in shown]
        rows = [["1 (none)", *_both([s["figures"] for s in found["arms"]["base"].values()], written)]]
        rows += [[gamma, *_both([g[gamma] for g in guided], written)] for gamma in guided[0]]
        out.text("## Guidance", "", "Of the base arm's models, when they write:")
        out.table(["gamma", *[FIGURES[k] for k in written]], rows)
    return out


def _both(figures: Sequence[Mapping[str, float]], shown: Sequence[str]) -> list[str]:
    cells = []
    for key in shown:
        digits = 1 if "100" in key else 3
        cells.append(" / ".join(f"{f[key]:.{digits}f}" if key in f else "-" for f in figures))
    return cells

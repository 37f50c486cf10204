"""Verses: bits a character of tidal models against BPE and character baselines at equal compute, and what they write.

Run it with ``python -m unmask.experiments.tidal_text --out runs/tidal_text``; settings of the recipe ``tidal_verses``
can be given as flags; ``--pages docs/experiments`` writes the page too. The tidal arm's steps fix the compute; every
other arm gets as many steps as cost the same multiply-adds, counted on its own rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unmask.core.files import write_json
from unmask.data.text import evenly
from unmask.data.tidal.dataset import TidalDataset, collate
from unmask.evaluation.tidal import bits, text_probe, write
from unmask.experiments.study import Page
from unmask.experiments.tidal_cost import cost_section, cost_table
from unmask.experiments.tidal_page import folder_of, made_with, publish
from unmask.models.tidal import TidalConfig
from unmask.models.tidal_attention import Places, allowed
from unmask.models.tidal_text import TidalTextModel
from unmask.recipes import find
from unmask.training.recipe import Recipe, parse, read_recipe
from unmask.training.run import train
from unmask.training.tidal import TidalPrepared, prepare_tidal, tidal_examples

#: arm -> what it changes in the recipe; a length leaves room for every verse that is compared
ARMS: dict[str, dict[str, Any]] = {
    "tidal": {},
    "tidal, causal prefix": {"attention": "causal", "length": 400, "per_device_train_batch_size": 16},
    "bpe": {"attention": "causal", "writes": "tokens", "length": 128},
    "characters": {"attention": "causal", "writes": "characters", "length": 256, "per_device_train_batch_size": 32},
}
#: most characters of a verse that is compared
LONGEST = 200


def multiply_adds(config: TidalConfig, data: TidalDataset, rows: int = 256) -> float:
    """Multiply-adds of a forward pass for one row, the mean over some rows, padding left out."""
    batch = collate([data[i] for i in evenly(len(data), rows)])
    count = len(batch["input_ids"])
    places = Places(batch["segment"], batch["token"], batch["character"])
    positions = int((batch["segment"] > 0).sum())
    sees = int(allowed(places, places, config.attention).sum())
    drawn = int((batch["target"] >= 0).sum())
    block = config.dim * (4 * config.dim + (3 if config.gated else 2) * config.ffn_dim)
    total = positions * config.layers * block + sees * config.layers * 2 * config.dim
    return (total + drawn * config.dim * config.outputs) / count


def run(
    out: Path,
    arms: Sequence[str] = tuple(ARMS),
    flags: Sequence[str] = (),
    texts: int = 512,
    samples: int = 16,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train each arm for the same compute; writes ``results.json``.

    Args:
        out: folder for the runs and the result.
        arms: names out of :data:`ARMS`.
        flags: settings of the recipe, for every arm; ``max_steps`` is the tidal arm's.
        texts: held-out verses that are scored.
        samples: verses written from nothing at each evaluation and at the end.
        say: where one-line reports go.

    Returns:
        arm -> parameters, steps, multiply-adds, bits a character on held-out verses, samples; and attention's cost.
    """
    results: dict[str, Any] = {"made_with": made_with()}
    budget: float | None = None
    for arm in ("tidal", *[a for a in arms if a != "tidal"]):
        recipe = _recipe(out, arm, flags)
        prepared = prepare_tidal(recipe, lambda _: None)
        each = multiply_adds(prepared.model.denoiser.config, prepared.train)
        each *= recipe.train.per_device_train_batch_size
        budget = each * recipe.train.max_steps if budget is None else budget
        if arm not in arms:
            continue
        steps = max(1, round(budget / each))
        say(f"== {arm}: {steps} steps of {each:.3g} multiply-adds forward")
        recipe = _recipe(out, arm, [*flags, "--max_steps", str(steps)])

        def probes(prepared: TidalPrepared) -> list[Any]:
            chosen = evenly(len(prepared.validation.examples), samples)
            return [text_probe(prepared.model, [prepared.validation.examples[i][1] for i in chosen])]

        model: TidalTextModel = train(recipe, probes, say)
        _, held_out, _ = tidal_examples(recipe, lambda _: None)
        short = [e for e in held_out if len(e[1]) <= LONGEST]
        results[arm] = {
            "parameters": sum(p.numel() for p in model.denoiser.parameters()),
            "steps": steps,
            "forward multiply-adds": each * steps,
            "verses": min(texts, len(short)),
            **bits(model, short, texts),
            "samples": write(model, [""] * samples, temperature=0.8, max_blocks=48).texts,
        }
        say(str(results[arm]))
        write_json(out / "results.json", results)
    if "tidal" in arms:
        text = " ".join(text for _, text in held_out[:60])
        results["attention"] = cost_table(
            model.tokenizer,
            text,
            [n for n in (32, 64, 128, 256, 512, 1024, 2048) if n + 100 < len(text)],
            dim=model.denoiser.config.dim,
            layers=model.denoiser.config.layers,
            heads=model.denoiser.config.heads,
            ffn_dim=model.denoiser.config.ffn_dim,
        )
        write_json(out / "results.json", results)
    return results


def _recipe(out: Path, arm: str, flags: Sequence[str]) -> Recipe:
    settings = {**read_recipe(find("tidal_verses")), **ARMS[arm], "output_dir": str(out / folder_of(arm))}
    return parse(settings, flags)


def page(results: Mapping[str, Any]) -> Page:
    """Every number comes from ``results``."""
    out = Page()
    out.text("# Verses: words in tokens, the next word in characters")
    out.text(
        "Written by `python -m unmask.experiments.tidal_text` from its numbers in "
        "`docs/benchmarks/experiment_tidal_text.json`. Every arm is trained for the same multiply-adds on the same "
        f"verses (World English Bible) and scored on the same held-out ones of at most {LONGEST} characters. Bits a "
        "character are those of the text as the arm cuts it, ends included: comparable, whatever the vocabulary."
    )
    arms = {name: found for name, found in results.items() if "bits_per_character" in found}
    rows = [
        [
            name,
            f"{found['parameters']:,}",
            f"{found['steps']:,}",
            f"{found['forward multiply-adds']:.3g}",
            f"{found['bits_per_character']:.3f}",
            f"{100 * found['accuracy']:.1f}",
        ]
        for name, found in arms.items()
    ]
    out.table(["arm", "parameters", "steps", "forward multiply-adds", "bits a character", "accuracy an id, %"], rows)
    for name, found in arms.items():
        out.text(f"## What {name} writes\n", *(f"* {' '.join(text.split())}" for text in found["samples"][:6]))
    if "attention" in results:
        out.text("## What attention costs")
        cost_section(out, results["attention"])
    made = results["made_with"]
    out.text(f"{made['device']}, torch {made['torch']}.")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/tidal_text"))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--pages", type=Path, help="folder of the page; none is written when missing")
    parser.add_argument("--numbers", type=Path, default=Path("docs/benchmarks"), help="folder of the page's numbers")
    parser.add_argument("--page", action="store_true", help="train nothing: rewrite the page")
    known, flags = parser.parse_known_args()
    if not known.page:
        run(known.out, known.arms, flags)
    if known.pages is not None:
        read = json.loads((known.out / "results.json").read_text(encoding="utf-8"))
        print(publish("tidal_text", read, page, known.numbers, known.pages))


if __name__ == "__main__":
    main()

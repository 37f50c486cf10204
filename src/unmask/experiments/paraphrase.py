"""SGDD, phase 2: a paraphrase from a verse's vector, beside copying it, beside phase 1, and verified.

The King James verse is read, the World English or the Basic English one is to be written; verses are held out that the
phase 1 model (``--start-from``, trained on reconstruction) did not train on in any translation. Besides training the
decoder on pairs, the paraphrase's *vector* can be predicted from the source's: a linear map fitted on training pairs.
Phase 1 then writes from the predicted vector, in one pass, and searched until the encoder agrees with the prediction.
The reference is never encoded for any of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unmask import api
from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.data.latents import cached_latents
from unmask.data.text import Pairs, evenly, load_texts
from unmask.experiments.study import Effort, Page, Say
from unmask.families.puzzle.solving import interval_dict
from unmask.metrics.bleu import bleu
from unmask.metrics.bootstrap import statistic_interval
from unmask.metrics.word_f1 import word_f1
from unmask.recipes import find
from unmask.training.recipe import parse, read_recipe

#: arm -> the pairs: what is read, what is to be written
ARMS = {"kjv-web": "King James to World English", "kjv-bbe": "King James to Basic English"}
START = "checkpoints/sgdd_verses"
STEPS = 1_500
#: encoder calls a text of the search
CALLS = 600
#: how much of the training pairs chooses the map's ridge
HELD = 0.1
RIDGES = (0.1, 1.0, 10.0, 100.0)
#: key -> how the page calls it
WAYS = {
    "copy": "the source, copied",
    "nearest": "training paraphrase nearest to the predicted vector",
    "phase 1": "phase 1 from the source's vector, one pass",
    "phase 2": "phase 2 from the source's vector, one pass",
    "predicted": "phase 1 from the predicted vector, one pass",
    "verified": "phase 1 from the predicted vector, verified",
}


class VectorMap:
    """An affine map from a source's vector to its paraphrase's, by ridge regression.

    Args:
        x_NZ, y_NZ: vectors of training pairs.
        ridge: weight of the squared coefficients, beside a sum over pairs.
    """

    def __init__(self, x_NZ: Tensor, y_NZ: Tensor, ridge: float) -> None:
        x_NZ, y_NZ = x_NZ.double(), y_NZ.double()
        self.x_Z, self.y_Z = x_NZ.mean(0), y_NZ.mean(0)
        x_NZ = x_NZ - self.x_Z
        eye_ZZ = torch.eye(x_NZ.shape[1], dtype=torch.float64)
        self.weight_ZZ = torch.linalg.solve(x_NZ.T @ x_NZ + ridge * eye_ZZ, x_NZ.T @ (y_NZ - self.y_Z))

    def __call__(self, x_NZ: Tensor) -> Tensor:
        """Predicted vectors [N, Z] of length 1, as the encoder's are."""
        return F.normalize(((x_NZ.double() - self.x_Z) @ self.weight_ZZ + self.y_Z).float(), dim=1)

    @classmethod
    def fit(cls, x_NZ: Tensor, y_NZ: Tensor) -> tuple[VectorMap, float]:
        """The map whose ridge predicts a held-out part of the pairs best (by cosine), and that ridge."""
        held = torch.zeros(len(x_NZ), dtype=torch.bool)
        held[:: round(1 / HELD)] = True
        score = {
            ridge: float(F.cosine_similarity(cls(x_NZ[~held], y_NZ[~held], ridge)(x_NZ[held]), y_NZ[held]).mean())
            for ridge in RIDGES
        }
        best = max(score, key=lambda ridge: score[ridge])
        return cls(x_NZ, y_NZ, best), best


def measure(effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Train phase 2 on each kind of pairs, write held-out paraphrases in every way, score them."""
    if effort.scale != "cpu":
        raise UsageError(f"scale={effort.scale!r}: the paraphrase has one scale, cpu; raise --steps instead")
    effort.only("steps", "batch", "start_from")
    start = effort.start_from or START
    one: Any = api.load(start, effort.device)
    if one.card.task != "reconstruction" or not one.denoiser.conditional:
        raise UsageError(f"--start-from {start} must be a model that was trained on reconstruction (phase 1 of SGDD)")
    validation, seed = float(one.card.recipe.get("validation", 0.03)), int(one.card.recipe.get("split_seed", 0))
    now = {"start": Path(start).name, "texts": effort.boards, "calls": CALLS}
    if any(results.get(part) != value for part, value in now.items()):
        results.clear()
    results |= now
    for arm in effort.chosen(list(ARMS)):
        steps = effort.steps or STEPS
        folder = effort.runs / "paraphrase" / arm
        settings = {
            **read_recipe(find("sgdd_paraphrase")),
            "data": arm,
            "start_from": str(start),
            "length": one.card.length,
            "validation": validation,
            "split_seed": seed,
            "max_steps": steps,
            "eval_steps": max(1, steps // 3),
            "save_steps": max(1, steps // 3),
            "output_dir": str(folder),
            "disable_tqdm": not effort.progress,
            **({"per_device_train_batch_size": effort.batch} if effort.batch else {}),
        }
        two: Any = api.train(parse(settings, []))
        data = load_texts(arm, validation=validation, seed=seed)
        assert data.train_pairs is not None and data.validation_pairs is not None
        fits = _fitting(one, data.validation_pairs)
        chosen = [fits[i] for i in evenly(len(fits), effort.boards)]
        sources, references = [list(part) for part in zip(*chosen, strict=True)]
        encoder = one.card.load_encoder()
        quick = one.card.load_encoder("auto")  # as training does, which has these in the cache
        x_NZ, y_NZ = (
            torch.as_tensor(np.asarray(cached_latents(list(part), quick))).float()
            for part in (data.train_pairs.sources, data.train_pairs.targets)
        )
        vector_map, ridge = VectorMap.fit(x_NZ, y_NZ)
        z_NZ, true_NZ = (torch.from_numpy(encoder.encode(part)).float() for part in (sources, references))
        predicted_NZ = vector_map(z_NZ)
        nearest = (predicted_NZ @ F.normalize(y_NZ, dim=1).T).argmax(1).tolist()
        once: dict[str, Any] = {"steps": 16, "temperature": 0.0}
        say(f"  {arm}: {len(sources)} held-out pairs are written")
        search = api.sample(one, condition=Condition.of(predicted_NZ), verify="cosine", calls=CALLS)
        written = {
            "copy": sources,
            "nearest": [data.train_pairs.targets[i] for i in nearest],
            "phase 1": api.sample(one, condition=Condition.of(z_NZ), **once).texts,
            "phase 2": api.sample(two, condition=Condition.of(z_NZ), **once).texts,
            "predicted": api.sample(one, condition=Condition.of(predicted_NZ), **once).texts,
            "verified": search.texts,
        }
        results.setdefault("arms", {})[arm] = {
            "steps": steps,
            "pairs": len(data.train_pairs),
            "held_out": len(chosen),
            "ridge": ridge,
            "cosine_of_source": _mean_cosine(z_NZ, true_NZ),
            "cosine_of_predicted": _mean_cosine(predicted_NZ, true_NZ),
            "ways": {way: scored(texts, references, encoder, true_NZ) for way, texts in written.items()},
            "examples": [
                {"source": sources[i], "reference": references[i], **{way: written[way][i] for way in WAYS}}
                for i in evenly(len(sources), 4)
            ],
        }
        for way, figures in results["arms"][arm]["ways"].items():
            say(f"  {arm}, {WAYS[way]}: BLEU {figures['bleu']['value']:.1f}")
        keep()


def _fitting(model: Any, pairs: Pairs) -> list[tuple[str, str]]:
    """The pairs whose two texts fit the model's canvas and differ."""
    sides = [
        model.tokenizer(list(part), add_special_tokens=False)["input_ids"] for part in (pairs.sources, pairs.targets)
    ]
    return [
        (source, target)
        for source, target, one, other in zip(pairs.sources, pairs.targets, *sides, strict=True)
        if max(len(one), len(other)) < model.card.length and source != target
    ]


def _mean_cosine(one_NZ: Tensor, other_NZ: Tensor) -> float:
    return float(F.cosine_similarity(one_NZ, other_NZ).mean())


def scored(texts: Sequence[str], references: Sequence[str], encoder: Any, true_NZ: Tensor) -> dict[str, Any]:
    """BLEU and F1 of words with 95 % intervals over texts, and the mean cosine with the reference's own vector."""

    def at(rows: Any) -> float:
        return bleu([texts[i] for i in rows], [references[i] for i in rows]).bleu

    f1_N = word_f1(texts, references)
    z_NZ = torch.from_numpy(encoder.encode(list(texts))).float()
    return {
        "bleu": interval_dict(statistic_interval(at, len(texts))),
        "word_f1": interval_dict(statistic_interval(lambda rows: float(f1_N[rows].mean()), len(texts))),
        "cosine": _mean_cosine(z_NZ, true_NZ),
    }


def page(results: Mapping[str, Any]) -> Page:
    """Every number comes from ``results``."""
    out = Page()
    out.text("# SGDD, phase 2: paraphrase")
    out.text(
        "Written by `unmask experiment paraphrase` from `docs/benchmarks/experiment_paraphrase.json`. The King James "
        "verse is read, another translation's is to be written, for verses that no model here was trained on in any "
        "translation. *Copying the source* is the line to beat: two translations share many words."
    )
    found = results["scales"].get("cpu", {})
    for arm, line in found.get("arms", {}).items():
        out.text(
            f"## {ARMS[arm]}",
            "",
            f"{line['pairs']:,} training pairs, {line['steps']:,} steps from `{found['start']}`; {line['held_out']:,} "
            f"held-out pairs. The source's vector lies at cosine {line['cosine_of_source']:.3f} from the reference's, "
            f"the one that the linear map predicts at {line['cosine_of_predicted']:.3f}. Verified: at most "
            f"{found['calls']:,} encoder calls a text, against the *predicted* vector.",
        )
        rows = []
        for way, figures in line["ways"].items():
            b, f = figures["bleu"], figures["word_f1"]
            rows.append(
                [
                    WAYS[way],
                    f"{b['value']:.1f} [{b['low']:.1f}, {b['high']:.1f}]",
                    f"{f['value']:.3f} [{f['low']:.3f}, {f['high']:.3f}]",
                    f"{figures['cosine']:.3f}",
                ]
            )
        out.table(["way", "BLEU", "F1 of words", "cosine with the reference"], rows)
        for example in line["examples"]:
            out.text(*[f"- {name}: {text}" for name, text in example.items()])
    return out

"""A trained run made small enough to keep: weights in bf16, tokenizer, card, scores, and a README of what it is.

``python -m unmask.experiments.model_card runs/sgdd_verses checkpoints/sgdd_verses``: scores the *small* copy, so
that the numbers in the README are those of the weights beside it.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unmask import api
from unmask.models.text_model import TextModel, load_native

#: (metric's key, how it is called in the card)
ROWS = (
    ("nelbo_bits_per_token", "NELBO, bits a token (a bound)"),
    ("loss_r1_nats_per_token", "loss with nothing visible (r = 1), nats a token"),
    ("d_shuffled_r1_nats_per_token", "D_shuf at r = 1: what another text's latent costs, nats a token"),
    ("d_null_r1_nats_per_token", "D_null at r = 1: what the trained null costs, nats a token"),
    ("exact_match_share", "exact match, share"),
    ("token_accuracy_share", "token accuracy by position, share"),
    ("word_recall_share", "word recall, share"),
    ("bleu_0_to_100", "BLEU"),
    ("gen_ppl", "GenPPL under the judge (data below)"),
    ("data_gen_ppl", "the data's own under the judge"),
    ("entropy_nats", "unigram entropy of a text, nats (data below)"),
    ("data_entropy_nats", "the data's own"),
    ("rep_4_share", "repeated 4-grams, share"),
    ("length_mean_tokens", "mean length, tokens (data below)"),
    ("data_length_mean_tokens", "the data's own"),
)


def publish(run: Path, out: Path, texts: int = 500, guidance: float = 1.5, say: Callable[[str], None] = print) -> None:
    """Write the small copy with its scores and README.

    Args:
        run: a finished run folder. out: where the copy goes; an old copy is replaced.
        texts: held-out texts scored. guidance: gamma of what it writes.
    """
    model = load_native(run)
    if out.exists():
        shutil.rmtree(out)
    model.save(out, dtype=torch.bfloat16)
    small: Any = api.load(out)
    result = api.evaluate(small, texts=texts, order="margin", steps=16, guidance=guidance, judge="smollm2")
    result.save(out / "scores")
    (out / "README.md").write_text(_readme(out.name, small, result, texts), encoding="utf-8")
    say(f"{out}: {sum(f.stat().st_size for f in out.rglob('*') if f.is_file()) / 2**20:.1f} MiB")


def _readme(name: str, model: TextModel, result: object, texts: int) -> str:
    metrics: dict[str, float] = result.metrics  # type: ignore[attr-defined]
    settings = "\n".join(f"{k}: {v}" for k, v in sorted(model.card.recipe.items()) if k != "output_dir")
    lines = []
    for key, title in ROWS:
        match = next((k for k in metrics if k == key or k.startswith(key + "_per")), None)
        if match is None:
            continue
        low, high = metrics.get(f"{match}_low"), metrics.get(f"{match}_high")
        span = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
        lines.append(f"| {title} | {metrics[match]:.3f}{span} |")
    table = "\n".join(lines)
    samples = "\n".join(
        f"| {_cell(a)} | {_cell(b)} |"
        for a, b in list(zip(result.generation.references, result.generation.outputs, strict=True))[:8]  # type: ignore[attr-defined]
    )
    parameters = sum(p.numel() for p in model.denoiser.parameters())  # type: ignore[attr-defined]
    return f"""# {name}

A masked diffusion decoder of {parameters / 1e6:.1f}M parameters trained with unmask ({model.card.task}; encoder
{model.card.encoder}). It is small and briefly trained: it shows what the tools measure, it does not write well.

```
unmask sample checkpoints/{name} --text "In the beginning God created the heavens and the earth." --guidance 1.5
unmask evaluate checkpoints/{name}
unmask diagnose checkpoints/{name}
```

Training text: the World English Bible (public domain). Licence of the weights: Apache-2.0. Stored in bf16.

## Scores ({int(metrics["texts"])} held-out texts, 95 % intervals)

| measure | value |
|---|---|
{table}

All of them: [scores/metrics.json](scores/metrics.json), [scores/report.html](scores/report.html).

## Held-out verses beside what it writes from their meaning (16 steps, margin order)

| verse | written |
|---|---|
{samples}

## Settings

```yaml
{settings}
```

Made by `python -m unmask.experiments.model_card runs/{name} checkpoints/{name}`.
"""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--guidance", type=float, default=1.5)
    options = parser.parse_args()
    publish(options.run, options.out, options.texts, options.guidance)

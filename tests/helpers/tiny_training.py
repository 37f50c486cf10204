"""Training runs of a second: a recipe of five words on a few short texts."""

import json
import random

from unmask.training.checkpoint import last_checkpoint
from unmask.training.recipe import parse
from unmask.training.run import train

WORDS = "river stone bridge lantern garden winter sparrow harbour meadow candle".split()


def write_texts(folder, count=136):
    """A file of short texts; 100 of 136 are trained on by :func:`run`."""
    chosen = random.Random(5)
    path = folder / "texts.txt"
    lines = [f"{' '.join(chosen.choices(WORDS, k=2))} {i}" for i in range(count)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def settings(texts, folder, **changed):
    """A recipe's settings; one that is changed to ``...`` is left out."""
    given = dict(
        data=str(texts), task="unconditional", conditioning="none", vocab_size=290, length=10, dim=8, layers=1, heads=1,
        ffn_dim=8, validation=0.23, max_steps=4, save_steps=2, eval_steps=2, logging_steps=1,
        per_device_train_batch_size=10, bf16=False, report_to="none", disable_tqdm=True, probe_texts=0, eval_texts=8,
        output_dir=str(folder), learning_rate=0.01, ema=0.0, over_long="truncate",
    )  # fmt: skip
    return {name: value for name, value in {**given, **changed}.items() if value is not ...}


def run(texts, folder, probes=None, flags=(), **changed):
    """Train it; what it says is dropped."""
    return train(parse(settings(texts, folder, **changed), flags), probes, say=lambda _: None)


def history(folder):
    """The log of the newest checkpoint."""
    with open(f"{last_checkpoint(folder)}/trainer_state.json", encoding="utf-8") as handle:
        return json.load(handle)["log_history"]


def steps_with(folder, figure):
    """At which steps a figure was logged."""
    return [entry["step"] for entry in history(folder) if figure in entry]


def generation(by_step):
    """A probe whose ``generation`` is given by step."""
    return lambda prepared: [lambda net, step: ({"generation": by_step(step)}, [])]

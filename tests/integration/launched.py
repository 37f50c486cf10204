"""What ``test_processes.py`` runs alone and, with torchrun, in two processes; the first one writes down what it saw.

python launched.py FOLDER TEXTS ROWS_A_PROCESS [cut|brief]
"""

import contextlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch

import unmask
from unmask.core import distributed
from unmask.core.family import families
from unmask.data.latents import cached_latents
from unmask.training.base_trainer import SHARDS_ON_CPUS
from unmask.training.checkpoint import checkpoints, last_checkpoint
from unmask.training.recipe import parse
from unmask.training.run import train


class Spelling:
    """An encoder that counts letters, and counts what it was given."""

    width, identity = 26, "spelling"
    seen = 0

    def encode(self, texts, batch_size=64, progress=False):
        self.seen += len(texts)
        return np.array([[t.count(chr(97 + i)) for i in range(26)] for t in texts], np.float32)


class Stop(Exception):
    pass


def recipe(texts, folder, rows, **changed):
    settings = dict(
        data=texts, task="unconditional", conditioning="none", vocab_size=300, length=12, dim=16, layers=2,
        heads=2, ffn_dim=32, validation=0.2, max_steps=10, save_steps=5, eval_steps=5, logging_steps=1, warmup_steps=2,
        per_device_train_batch_size=rows, bf16=False, report_to="none", disable_tqdm=True, probe_texts=4,
        eval_texts=16, output_dir=str(folder), learning_rate=0.01, ema=0.9, save_total_limit=9,
    )  # fmt: skip
    return parse({name: value for name, value in {**settings, **changed}.items() if value is not ...})


def logged(folder, name):
    state = json.loads((Path(last_checkpoint(folder)) / "trainer_state.json").read_text())
    return [h[name] for h in state["log_history"] if name in h]


def losses(folder):
    return logged(folder, "loss")


def total(model):
    return float(sum(v.double().abs().sum() for v in model.denoiser.state_dict().values()))


def interrupted():
    def stop(net, step):
        if step == 10:
            raise Stop
        return {}, []

    return lambda prepared: [*families.training("denoiser").probes(prepared), stop]


def cut_off(folder: Path, texts: str, rows: int) -> None:
    """Training with sharded weights that dies at step 10, before that checkpoint is written."""
    torch.set_num_threads(1)
    sharded = recipe(texts, folder / "sharded", rows, fsdp="full_shard auto_wrap")
    with contextlib.suppress(Stop):
        train(sharded, interrupted())


def main(folder: Path, texts: str, rows: int, brief: bool = False) -> dict:
    """All of it, or only training with whole copies."""
    torch.set_num_threads(1)
    found = {"processes": distributed.world_size()}
    # training with whole copies; its probe samples together
    model = unmask.train(recipe(texts, folder / "copies", rows))
    found["copies"] = {"losses": losses(folder / "copies"), "weights": distributed.gather_object([total(model)])}
    if brief:
        return found

    # one step's gradient, whole and in micro-batches: SGD, for AdamW hides a factor
    found["norms"] = {}
    for micros in (1, 2, 4):
        sgd = dict(optim="sgd", gradient_accumulation_steps=micros, max_grad_norm=1e6, ema=0.0, probe_texts=0)
        short = dict(max_steps=2, save_steps=2, eval_steps=2, warmup_steps=0)
        unmask.train(recipe(texts, folder / f"micro{micros}", rows // micros, **sgd, **short))
        found["norms"][str(micros)] = logged(folder / f"micro{micros}", "grad_norm")

    # and of steps by tokens, 192 in all
    found["norms by tokens"] = {}
    for micros in (1, 2):
        by_tokens = dict(length_model=True, max_tokens=24 * rows // micros, per_device_train_batch_size=...)
        sgd["gradient_accumulation_steps"] = micros
        unmask.train(recipe(texts, folder / f"tokens{micros}", 0, **by_tokens, **sgd, **short))
        found["norms by tokens"][str(micros)] = logged(folder / f"tokens{micros}", "grad_norm")

    if distributed.world_size() > 1 and SHARDS_ON_CPUS:
        # sharded weights: what an earlier launch left behind, and on to the end
        found["cut at"] = [p.name for p in checkpoints(folder / "sharded")]
        again = unmask.train(recipe(texts, folder / "sharded", rows, fsdp="full_shard auto_wrap"))
        found["sharded"] = {"losses": losses(folder / "sharded"), "weights": distributed.gather_object([total(again)])}

    encoder = Spelling()
    lines = Path(texts).read_text().splitlines()
    vectors = cached_latents(lines, encoder, folder / "cache", shard_rows=16, progress=False)
    found["latents"] = {
        "encoded": distributed.gather_object([encoder.seen]),
        "right": distributed.gather_object([bool((vectors[:] == Spelling().encode(lines)).all())]),
    }

    loaded = unmask.load(folder / "copies", "cpu")
    wrote = unmask.sample(loaded, n=9, steps=6, seed=3, batch_size=4, trace=True, share=True)
    found["texts"], found["replayed"] = wrote.texts, wrote.trace.replay().tolist()
    scores = unmask.evaluate(loaded, texts=20, steps=4, judge=None, samples=4, share=True)
    found["metrics"] = {k: v for k, v in scores.metrics.items() if np.isfinite(v)}
    asked = ["scored_visible", "bound_calibration", "batch_invariance", "mask_mass", "vocabulary"]
    verdict = unmask.diagnose(loaded, only=asked, share=True)
    found["findings"] = [(f.check, f.status) for f in verdict.findings]
    return found


if __name__ == "__main__":
    out, texts, rows, *how = sys.argv[1:]
    if how == ["cut"]:
        if SHARDS_ON_CPUS:
            cut_off(Path(out), texts, int(rows))
        os._exit(0)  # as after a crash: nobody says goodbye
    seen = main(Path(out), texts, int(rows), brief=how == ["brief"])
    if distributed.is_main_process():
        (Path(out) / "seen.json").write_text(json.dumps(seen))
    distributed.barrier()

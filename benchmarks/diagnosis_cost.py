"""What a diagnosis costs: both budgets on a trained model, and the callback's share of a training. Last line is JSON.

    python benchmarks/diagnosis_cost.py [checkpoints/sgdd_verses] [--train-seconds 300] [--write FOLDER]

The training is a real one (SGDD, width 64, on the inputs of benchmarks/diagnosis.py) that asks for a diagnosis at every
50th step; the callback puts it off until it fits into its 2 %.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from diagnosis_models import Model, corpus, network, prepare, subject_of
from unmask import api
from unmask.core.files import write_text
from unmask.core.random import Stream, generator
from unmask.diagnosis.callback import QuickProbe
from unmask.diagnosis.faults._training import ShortTraining
from unmask.diagnosis.native import NativeSubject
from unmask.diffusion.objective import token_losses
from where import where


def callback(seconds: float) -> dict[str, Any]:
    """Train for some time under the callback."""
    folder = Path("runs/diagnosis_bench")
    if not (folder / "corpus.safetensors").exists():
        prepare(folder, 22_000)
    model, data = Model("sgdd", 64, 0), corpus(folder)
    net = network(model, data)
    subject = subject_of(model, net, folder)
    assert isinstance(subject, NativeSubject) and data.train.cond is not None
    probe = QuickProbe(subject, every=50)
    law, noise = ShortTraining().law, generator(0, Stream.SHUFFLE)
    best = torch.optim.AdamW(net.parameters(), 1e-3)
    start, steps, diagnoses, spent = time.perf_counter(), 0, 0, 0.0
    while time.perf_counter() - start < seconds:
        net.train()
        rows = torch.randint(0, len(data.train), (64,), generator=noise)
        token_losses(
            net, law.corrupt(data.train.ids_BL[rows], net.mask_id, noise), data.train.cond[rows]
        ).loss.backward()
        best.step()
        best.zero_grad()
        steps += 1
        before = time.perf_counter()
        scalars, _ = probe(net, steps)
        spent += time.perf_counter() - before
        diagnoses += bool(scalars)
    return {"steps": steps, "diagnoses": diagnoses, "seconds": round(time.perf_counter() - start, 1),
            "share": round(spent / (time.perf_counter() - start), 4)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="checkpoints/sgdd_verses")
    parser.add_argument("--train-seconds", type=float, default=300.0)
    parser.add_argument("--only", choices=("budgets", "callback"), help="the other part stays as it was measured")
    parser.add_argument("--write", type=Path)
    words = parser.parse_args()
    file = None if words.write is None else words.write / "diagnosis_cost.json"
    result: dict[str, Any] = {"benchmark": "diagnosis_cost"}
    if words.only and file is not None and file.is_file():
        result = json.loads(file.read_text())
    if words.only != "callback":
        model = api.load(words.folder, "cpu")
        result |= {"model": words.folder, "parameters": sum(p.numel() for p in model.denoiser.parameters())}
        for budget in ("quick", "full"):
            verdict = api.diagnose(model, budget=budget)
            dear = sorted(verdict.findings, key=lambda f: -f.seconds)[:5]
            result[budget] = {"seconds": verdict.seconds, "forwards": verdict.forwards, "status": verdict.status,
                              "dearest": {f.check: f.seconds for f in dear}} | where()  # fmt: skip
            print(json.dumps({budget: result[budget]}), flush=True)
    if words.only != "budgets":
        result["callback"] = callback(words.train_seconds) | where()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

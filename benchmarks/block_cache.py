"""What a block cache saves and what it costs. Last line is JSON.

    python benchmarks/block_cache.py error --write docs/benchmarks                  # the error on a trained model
    python benchmarks/block_cache.py speed --write docs/benchmarks                  # a small body on a quiet CPU
    python benchmarks/block_cache.py speed --device cuda --write docs/benchmarks    # LLaDA 8B's shape in bf16

Error: checkpoints/sgdd_verses writes held-out verses from their meaning, in blocks, one token a step, at temperature 0;
each prediction made from memory is made again by the whole model on the same canvas. Speed: a LLaDA body with random
weights; seconds of one generation, interleaved with the uncached one, medians, ratios within the run. Random weights
say nothing about error, and a trained model this small nothing about speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from unmask.decoding.cache_error import cache_error
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.models.adapters.llada import LladaConfig, LladaDenoiser
from where import where

SPECS = ("prefix", "dual", "prefix:refresh=4", "dual:refresh=4")
#: LLaDA's shape, and one that a CPU can run
SHAPES: dict[str, dict[str, Any]] = {
    "cpu": {"d_model": 256, "n_heads": 4, "n_layers": 4, "mlp_hidden_size": 1024, "vocab_size": 8192},
    "cuda": {"d_model": 4096, "n_heads": 32, "n_layers": 32, "mlp_hidden_size": 12288, "vocab_size": 126464},
}
LENGTHS = {"cpu": ((64, 64), (192, 64), (448, 64)), "cuda": ((128, 128), (512, 256), (1024, 256))}


def error(texts: int, block: int) -> list[dict[str, Any]]:
    """How far each cache is from the whole model, on held-out verses."""
    import unmask
    from unmask.evaluation.scored import scored_texts
    from unmask.metrics.word_f1 import word_f1

    model = unmask.load(Path(__file__).parents[1] / "checkpoints" / "sgdd_verses", device="cpu")
    chosen = scored_texts(model, texts=texts)
    sources, references = chosen.sources, chosen.references
    cond, canvas = model.condition(sources), model.canvas(len(sources))
    plain = DecodingPlan(order="top_prob", quota="one", block_length=block, temperature=0.0)

    def f1(plan: DecodingPlan) -> float:
        wrote = model.decode(generate(model.denoiser, canvas, plan, cond=cond, trace=None).sequences)
        return round(float(word_f1(wrote, references).mean()), 4)

    found = [{"cache": "none", "texts": len(sources), "block_length": block, "word_f1": f1(plain)}]
    for spec in SPECS:
        plan = replace(plain, cache=spec)
        measured = cache_error(model.denoiser, canvas, plan, cond=cond)
        kept = {k: round(v, 5) for k, v in measured.to_dict().items()}
        kept["body_share"] = round(measured.body_rows / measured.body_rows_uncached, 4)
        found.append({"cache": spec, "texts": len(sources), "block_length": block, "word_f1": f1(plan), **kept})
    return found


def body(device: str) -> LladaDenoiser:
    """Random weights at scale 0.02."""
    rest = {"mask_token_id": 5, "max_sequence_length": 4096, "weight_tying": False}
    kind = {"block_type": "llama", "activation_type": "silu", "layer_norm_type": "rms", "rope": True}
    with torch.device(device):
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
        model = LladaDenoiser(LladaConfig.read(SHAPES[device] | rest | kind, Path(".")))
        torch.set_default_dtype(torch.float32)
    return model.eval().requires_grad_(False)


def speed(device: str, block: int, repeats: int) -> list[dict[str, Any]]:
    """Seconds of one generation, cached and not, at several lengths."""
    model = body(device)
    rows = []
    for prompt, length in LENGTHS[device]:
        x_BL = torch.full((1, prompt + length), model.mask_id, device=device)
        x_BL[:, :prompt] = torch.arange(prompt, device=device) % 1000 + 10
        plain = DecodingPlan(order="top_prob", quota="linear", steps=length // 2, block_length=block)
        plans = {"none": plain, **{spec: replace(plain, cache=spec) for spec in SPECS}}
        runs = {name: partial(generate, model, x_BL, plan, trace=None) for name, plan in plans.items()}
        seconds = interleaved(runs, repeats, device)
        base = generate(model, x_BL, plain, trace=None)
        for name, plan in plans.items():
            made = base if name == "none" else generate(model, x_BL, plan, trace=None)
            rows.append(
                {
                    "given": prompt,
                    "written": length,
                    "block_length": block,
                    "forwards": made.forwards,
                    "cache": name,
                    "seconds": round(seconds[name], 4),
                    "times_faster": round(seconds["none"] / seconds[name], 2),
                    "body_share": round(made.body_rows / base.body_rows, 4),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def interleaved(runs: dict[str, Callable[[], Any]], repeats: int, device: str) -> dict[str, float]:
    """Median seconds of each run (CPU time on a CPU); the first round warms up."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("error", "speed"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--texts", type=int, default=12, help="held-out verses for the error")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved rounds behind each median")
    parser.add_argument("--write", type=Path, help="folder for block_cache_PART_DEVICE.json")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"benchmark": f"block_cache_{arguments.part}"}
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    if arguments.part == "error":
        result["rows"] = error(arguments.texts, 16)
    else:
        rows = speed(arguments.device, 32, arguments.repeats)
        result |= {"repeats": arguments.repeats, "shape": SHAPES[arguments.device], "rows": rows}
    result |= where()
    if arguments.device == "cuda":
        result["device"] = torch.cuda.get_device_name()
    if arguments.write:
        arguments.write.mkdir(parents=True, exist_ok=True)
        path = arguments.write / f"block_cache_{arguments.part}_{arguments.device}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

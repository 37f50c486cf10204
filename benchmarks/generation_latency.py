"""Seconds to write one 64-token text with SGDD's 6 x 512 decoder: 16 steps, guidance, 50,265 ids. Last line is JSON.

The source states 3-4 s on a GPU. Weights are random: time does not depend on them.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import time
from typing import Any

import torch

from unmask.core.condition import Condition
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel

REPEATS = 9


def main() -> None:
    torch.manual_seed(0)
    config = MaskedDiffusionConfig(
        vocab_size=50_265, mask_token_id=50_264, pad_token_id=1, eos_token_id=2, max_length=64, dim=512, layers=6,
        heads=8, ffn_dim=2048, conditioning="cross", latent_dim=768, latent_tokens=1, time_embedding=True,
        self_conditioning=True,
    )  # fmt: skip
    net = MaskedDiffusionModel(config).eval()
    canvas = torch.full((1, 64), net.mask_id)
    cond = Condition.of(torch.randn(1, 768))
    plan = DecodingPlan(order="top_prob", quota="cosine", steps=16, temperature=0.0, guidance=3.0)
    result: dict[str, Any] = {"benchmark": "generation_latency", "repeats": REPEATS}
    for precision in ("bf16", "fp32"):
        seconds = []
        for repeat in range(REPEATS + 1):
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                found = generate(net, canvas, plan, cond=cond, trace=None)
            if repeat:  # the first one warms up
                seconds.append(time.perf_counter() - start)
        result[f"median_s_{precision}"] = round(statistics.median(seconds), 3)
        result[f"min_s_{precision}"] = round(min(seconds), 3)
    result |= {
        "forwards": found.forwards,
        "head_rows": found.head_rows,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "commit": subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout[:-1],
    }
    print(
        f"one 64-token text, 16 steps, guidance 3, {result['threads']} threads: median {result['median_s_bf16']:.2f} s "
        f"in bf16, {result['median_s_fp32']:.2f} s in fp32"
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""What one sentence costs at each stage, on one thread: the figures that docs/scaling.md plans with. Last line is JSON.

python benchmarks/per_sentence.py --write docs/benchmarks
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training import model, ours, rows
from unmask.data.latents import Store, cached_latents
from unmask.data.text import load_texts
from unmask.data.tokenizer import encode_fixed, train_bpe
from unmask.models.encoders import SentenceEncoder
from where import where


def seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="folder for per_sentence.json")
    parser.add_argument("--sentences", type=int, default=1500, help="to encode")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"benchmark": "per_sentence", "corpus": "verses"}
    data = load_texts("verses")
    texts = list(data.train)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "verses.txt"
        file.write_text("\n".join(texts), encoding="utf-8")
        found["read_us"] = round(1e6 * seconds(lambda: load_texts(file)) / len(texts), 1)
        tokenizer = train_bpe(texts, 4096)
        found["tokenize_us"] = round(1e6 * seconds(lambda: encode_fixed(tokenizer, texts, 64)) / len(texts), 1)
        some = texts[: arguments.sentences]
        for precision in ("fp32", "bf16"):
            encoder = SentenceEncoder.load("minilm", dtype=precision)
            encoder.encode(some[:64])
            took = seconds(lambda encoder=encoder: cached_latents(some, encoder, folder, progress=False))
            found[f"encode_minilm_{precision}_ms"] = round(1e3 * took / len(some), 2)
        found["latent_bytes"] = encoder.width * 4
        vectors = next(Path(folder).rglob("*.keys.npy")).parent
        start = time.perf_counter()
        Store(vectors, encoder.width, "float32")
        found["open_cache_us"] = round(1e6 * (time.perf_counter() - start) / len(some), 2)
        found["canvas_bytes"] = 64 * 4
        for name, (vocab, dim, layers) in {"V4096_d256x4": (4096, 256, 4), "V50265_d512x6": (50_265, 512, 6)}.items():
            step, batch = ours(model(vocab, dim, layers, 64), 64, folder), rows(vocab, 64, 64)
            step(batch)
            found[f"train_{name}_ms"] = round(1e3 * min(seconds(lambda: step(batch)) for _ in range(3)) / 64, 1)  # noqa: B023
    found |= where()
    if arguments.write:
        (arguments.write / "per_sentence.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

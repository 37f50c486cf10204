"""Memory of the data path over the size of the corpus: 10^5 to 10^7 rows of synthetic text. Last line is JSON.

    python benchmarks/rss.py --write docs/benchmarks

Each size runs in a process of its own: read, judge, hash and split every row of an Arrow file (as training does), then
draw 200 batches of 64 through the shuffled order from canvases and latents on disk, with the sentences themselves.
``own`` is memory of the process alone (RssAnon), ``file`` what the system may drop (pages of mapped files).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.data.canvas import CanvasDataset, collate
from unmask.data.text import load_texts
from unmask.training.shuffle import ShuffledRows
from where import where

SIZES = (10**5, 10**6, 10**7)
LENGTH, LATENT = 32, 16


def corpus(folder: Path, rows: int) -> None:
    """An Arrow table as ``save_to_disk`` writes it, canvases and latents, written a piece at a time."""
    import pyarrow as pa

    folder.mkdir(parents=True)
    words = np.array("light darkness water earth heaven day night field seed tree".split())
    rng = np.random.default_rng(0)
    schema = pa.schema([("text", pa.string())])
    ids = np.lib.format.open_memmap(folder / "ids.npy", mode="w+", dtype=np.int32, shape=(rows, LENGTH))
    latents = np.lib.format.open_memmap(folder / "latents.npy", mode="w+", dtype=np.float32, shape=(rows, LATENT))
    with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, rows, 50_000):
            count = min(50_000, rows - start)
            drawn = words[rng.integers(0, 10, (count, 6))]
            lines = [f"{start + i} " + " ".join(row) for i, row in enumerate(drawn)]
            writer.write_table(pa.table({"text": lines}, schema=schema))
            ids[start : start + count] = rng.integers(0, 1000, (count, LENGTH))
            latents[start : start + count] = 1.0
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "x", "_format_columns": None,
             "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None}  # fmt: skip
    (folder / "state.json").write_text(json.dumps(state))
    features = {"text": {"dtype": "string", "_type": "Value"}}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


def memory() -> dict[str, int]:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {name: round(int(lines[key].split()[0]) / 1024) for name, key in (("own", "RssAnon"), ("file", "RssFile"))}


def cell(folder: Path) -> dict[str, Any]:
    """Read and train on one corpus; MiB at each stage."""
    import datasets  # noqa: F401  # counted as there before

    found: dict[str, Any] = {"before": memory()}
    start = time.perf_counter()
    data = load_texts(folder, validation=0.02)
    found["seconds_to_read"] = round(time.perf_counter() - start, 1)
    found["rows"] = data.report.read
    found["read"] = memory()
    ids, latents = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("ids", "latents"))
    count = len(data.train)
    rows = CanvasDataset(ids[:count], np.full(count, LENGTH, np.uint8), latents[:count])
    loader = torch.utils.data.DataLoader(rows, 64, sampler=ShuffledRows(count, 200 * 64, 0), collate_fn=collate)
    start = time.perf_counter()
    for batch in loader:
        _ = data.train[int(batch["length"][0])]
    found["ms_a_batch"] = round(1000 * (time.perf_counter() - start) / 200, 2)
    found["trained"] = memory()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="folder for rss.json")
    parser.add_argument("--cell", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(cell(arguments.cell)))
        return
    table = []
    for rows in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            corpus(Path(folder) / "corpus", rows)
            words = [sys.executable, __file__, "--cell", str(Path(folder) / "corpus")]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
        table.append(json.loads(done.stdout.splitlines()[-1]))
        print(table[-1], flush=True)
    first, last = table[0], table[-1]
    bytes_a_row = (last["trained"]["own"] - first["trained"]["own"]) * 2**20 / (last["rows"] - first["rows"])
    result = {"benchmark": "rss", "table": table, "own_bytes_a_row": round(bytes_a_row, 1), **where()}
    if arguments.write:
        (arguments.write / "rss.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

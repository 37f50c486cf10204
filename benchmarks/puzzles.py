"""How fast puzzles are made, and batches of them taken: one core, processor time, nothing else counted.

    python benchmarks/puzzles.py --write docs/benchmarks

Some thousands of each kind are made as :func:`unmask.data.puzzles.build` makes its files; the hours of one core that a
million take follow from that (workers share them out: files depend on settings, seed and number alone). Then batches of
512 are taken from a folder as training takes them, symmetric copies included: what a GPU would wait for.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from unmask.data.puzzles import PUZZLES, Shards, build
from where import where

#: what is made, and how many
KINDS = {
    "sudoku:fewest=24,most=40": 4_000,
    "sudoku:fewest=27,most=27": 4_000,
    "sudoku": 4_000,
    "sudoku:fewest=24,most=40,grade=easy,order=true": 2_000,
    "sudoku:fewest=24,most=28,grade=hard": 1_000,
    "sudoku:size=6": 4_000,
    "sudoku:size=4": 4_000,
    "zebra_items:smallest=3,largest=4": 4_000,
    "zebra_items:smallest=5,largest=5": 2_000,
    "zebra_items:smallest=6,largest=6": 1_000,
    "nae_sat:n=25,p=275": 4_000,
}
BATCH, BATCHES = 512, 20


def made(spec: str, n: int, folder: Path) -> dict[str, Any]:
    """Boards a second of one core, and bytes a board on disk."""
    start = time.process_time()
    out = build(PUZZLES.make(spec), n, out=folder, shard_size=n)
    spent = time.process_time() - start
    size = sum(f.stat().st_size for f in out.glob("*.arrow"))
    return {"made": n, "a_second": n / spent, "million_hours": 1e6 * spent / n / 3600, "bytes": size / n}


def taken(boards: Shards) -> float:
    """Milliseconds of one core a batch."""
    boards.batch(BATCH, 0, 0)
    start = time.process_time()
    for step in range(BATCHES):
        boards.batch(BATCH, 0, step)
    return 1e3 * (time.process_time() - start) / BATCHES


def page(found: dict[str, Any]) -> str:
    place = found["where"]
    lines = [
        "# Making puzzles",
        "",
        f"Written by `benchmarks/puzzles.py` at commit {place['commit']} on {place['device']}; time of one core.",
        "",
        "| puzzles | made | a second | hours for a million | bytes each on disk |",
        "|---|---:|---:|---:|---:|",
    ]
    for spec, row in found["kinds"].items():
        numbers = f"{row['a_second']:,.0f} | {row['million_hours']:.2f} | {row['bytes']:.0f}"
        lines.append(f"| `{spec}` | {row['made']:,} | {numbers} |")
    lines += ["", f"Batches of {BATCH} with new symmetric copies, milliseconds each:", ""]
    lines += [f"- `{spec}`: {ms:.1f}" for spec, ms in found["batch_ms"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="folder for puzzles.json and puzzles.md")
    folder = parser.parse_args().write
    kinds, batches = {}, {}
    with tempfile.TemporaryDirectory() as place:
        for i, (spec, n) in enumerate(KINDS.items()):
            kinds[spec] = made(spec, n, Path(place) / str(i))
            print(f"{spec}: {kinds[spec]['a_second']:,.0f} a second", flush=True)
            if n >= 2 * BATCH and ("sudoku:fewest=24" in spec or "nae" in spec):
                batches[spec] = taken(Shards(Path(place) / str(i)))
        zebra = build(PUZZLES.make("zebra_items:smallest=3,largest=4"), BATCH, out=Path(place) / "z")
        batches["zebra_items:smallest=3,largest=4"] = taken(Shards(zebra))
    found = {"where": where(), "kinds": kinds, "batch": BATCH, "batch_ms": batches}
    if folder is not None:
        (folder / "puzzles.json").write_text(json.dumps(found, indent=1) + "\n")
        (folder / "puzzles.md").write_text(page(found))
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Measures the diagnosis on the zoo's held-out part, which whoever writes the checks has not seen.

    python benchmarks/zoo/open_held_out.py --out runs/zoo_held_out

The part is ``held_out.zip`` beside this file. It is opened once, for the figures that are published: its hash is
compared with ``held_out.sha256``, its sources go to a temporary folder that is removed again, and
``zoo.run.run(subjects, faults, out)`` does the rest. What its subjects train is kept in ``$UNMASK_ZOO``. The log goes
as it came to ``docs/benchmarks/zoo_held_out.jsonl``, its figures to the top of ``docs/diagnosis_benchmark.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def checked(archive: Path, expected: Path) -> None:
    """Nothing, where the archive is the one whose hash was published.

    Raises:
        SystemExit: it is another.
    """
    wanted = expected.read_text(encoding="utf-8").split()[0]
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != wanted:
        raise SystemExit(f"{archive.name} is not the published archive: its sha256 is {found}, not {wanted}")


def main(argv: list[str] | None = None) -> None:
    """Opens the archive and runs the zoo on what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/zoo_held_out"), help="folder for the figures")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    words = parser.parse_args(argv)
    out = words.out.resolve()
    checked(HERE / "held_out.zip", HERE / "held_out.sha256")
    os.environ.setdefault("UNMASK_ZOO", str(out / "trained"))
    sys.dont_write_bytecode = True  # nothing of it stays in a cache beside the sources
    sys.path.insert(0, str(HERE.parent))
    zoo = importlib.import_module("zoo.run")
    importlib.import_module("torch").set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(HERE / "held_out.zip") as archive:
            archive.extractall(folder)
        sys.path.insert(0, folder)
        held_out = importlib.import_module("held_out")
        zoo.run(held_out.subjects(), held_out.faults(), out, jobs=words.jobs)
    docs = HERE.parents[1] / "docs"
    shutil.copyfile(out / "results.jsonl", docs / "benchmarks" / "zoo_held_out.jsonl")
    zoo.fill(docs / "diagnosis_benchmark.md", "zoo held out", zoo.read(out / "results.jsonl"))


if __name__ == "__main__":
    main()

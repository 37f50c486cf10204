"""The published TidalTransformer's faults, planted one by one; fills the marked part of docs/cases/tidal.md.

    python benchmarks/tidal_case.py faults     ten faults in small networks trained on sums (a dozen short trainings)
    python benchmarks/tidal_case.py cost       what attention costs for each character written, counted and timed
    python benchmarks/tidal_case.py page       the page again, from docs/cases/tidal.json

The faults are those of tests/diagnosis/test_tidal_subject.py, on the subject that a user would write by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from case_pages import MARK, PAGES, causes, cells
from unmask.core.files import write_text
from unmask.data.corpora import verses
from unmask.data.tidal.mixed_tokenizer import MixedTokenizer
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.native import quietly
from unmask.experiments.study import Page
from unmask.experiments.tidal_cost import cost_section, cost_table
from unmask.experiments.tidal_page import made_with

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "diagnosis"))
import test_tidal_subject as planted

NUMBERS = PAGES / "tidal.json"
LENGTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096)


def faults() -> dict[str, Callable[[], Any]]:
    """Name -> a subject that has the fault."""
    one_token = planted.OneTokenBlocks
    return {
        "none: the cured model": planted.healthy,
        "first character never trained, its logits filled with zeros": lambda: planted.trained(
            planted.FirstNeverTrained
        ),
        "rows cut from the left, the block's start not moved": lambda: planted.trained(planted.StartNotMoved),
        "positions divided by the row's length": lambda: planted.trained(planted.LengthPositions),
        "targets shifted twice": lambda: planted.trained(planted.OffByOne),
        "bias inside a block that grows with distance": planted.far_first,
        "bytes decoded before they are put in order": lambda: planted.read_by(planted.DecodedTooEarly()),
        "a second tokenizer with another mapping": lambda: planted.read_by(planted.AnotherMapping()),
        "dropout left on": planted.noisy,
        "weights missing after loading": planted.half_loaded,
        "one block = one BPE token": lambda: one_token(planted.healthy().net),
    }


def study() -> list[dict[str, Any]]:
    """A row a fault: the loss that is watched, what is written, the verdict."""
    rows = []
    for name, make in faults().items():
        torch.manual_seed(0)
        subject = make()
        held = subject.data(256)
        loss = subject.training_view(held, 0).loss
        out = subject.generate(subject.data(64), 0)
        said = [subject.tokenizer.decode([i for i in row if i > 4]) for row in out.ids_BL.tolist()]
        right = sum(a == b for a, b in zip(said, subject.data(64).texts, strict=True)) / 64
        with quietly():
            verdict = diagnose(subject)
        found = [
            {"check": c.finding.check, "measured": c.finding.measured, "explains": list(c.consequences),
             "next": c.finding.next_step}
            for c in verdict.causes
        ]  # fmt: skip
        example = {"prompt": planted.problems()[3000][0], "wanted": held.texts[0], "written": said[0]}
        rows.append({"fault": name, "loss_nats": loss, "exact": right, "status": verdict.status,
                     "headline": verdict.headline, "causes": found, "example": example})  # fmt: skip
        print(
            f"{name}: loss {loss:.3f}, {right:.0%} exact, {verdict.status}: {[c['check'] for c in found]}", flush=True
        )
    return rows


def cost() -> list[dict[str, Any]]:
    texts = list(verses("web").values())
    tokenizer = MixedTokenizer.train(texts, 4096)
    return cost_table(tokenizer, " ".join(texts[:60]), LENGTHS, dim=192, layers=4, heads=4, ffn_dim=512)


def page(case: dict[str, Any]) -> None:
    """The marked part of the page, from the numbers."""
    lines = [cells("planted", "loss, nats", "answers right, drawn", "verdict names first"), "|---|---:|---:|---|"]
    for row in case["faults"]:
        first = row["causes"][0]["check"] if row["causes"] else f"nothing ({row['status']})"
        lines.append(cells(row["fault"], f"{row['loss_nats']:.3f}", f"{100 * row['exact']:.0f} %", first))
    first = case["faults"][1]
    lines += ["", f"The verdict on the first of them, word for word: *{first['headline']}*", ""]
    lines += causes({"causes": first["causes"]})
    lines += ["", f"What to do, it says: {first['causes'][0]['next']}"]
    lines += ["", "Made by `python benchmarks/tidal_case.py faults`; all verdicts: [tidal.json](tidal.json)."]
    out = Page()
    cost_section(out, case["cost"])
    for name, svg in out.drawings.items():
        write_text(PAGES / "img" / f"{name}.svg", svg)
    made = case["made_with"]
    lines += ["", "## Does re-tokenising save attention?", "", out.markdown().strip(), ""]
    lines += [f"Made by `python benchmarks/tidal_case.py cost`; {made['device']}, torch {made['torch']}."]
    file = PAGES / "tidal.md"
    body = "\n".join(lines)
    write_text(file, MARK.sub(lambda m: f"{m.group(1)}\n{body}\n\n{m.group(2)}", file.read_text(encoding="utf-8")))


def main() -> None:
    what = sys.argv[1] if len(sys.argv) == 2 else ""
    if what not in ("faults", "cost", "page"):
        raise SystemExit(__doc__)
    case = json.loads(NUMBERS.read_text(encoding="utf-8")) if NUMBERS.is_file() else {}
    if what != "page":
        case |= {what: study() if what == "faults" else cost(), "made_with": made_with()}
        write_text(NUMBERS, json.dumps(case, indent=1, ensure_ascii=False) + "\n")
    if {"faults", "cost"} <= set(case):
        page(case)
    print(json.dumps({"case": "tidal", "measured": what}))


if __name__ == "__main__":
    main()

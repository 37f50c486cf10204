"""The page on text from a vector, from ``verified_MODEL.json`` files alone.

python benchmarks/verified_page.py docs/benchmarks --write docs/experiments
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unmask.core.files import write_text
from unmask.experiments.study import Page
from unmask.reporting.page import MARKERS, SERIES, figure_svg, plot

COLUMNS = "way, texts, exact, strict, verified, false, BLEU, recall, cosine, calls, forwards, CPU seconds".split(", ")
#: arms that do without what the project is about: when they come close, the page says so
WITHOUT = ("no denoiser", "nearest training text + edits")
#: share of texts by which the whole search must be ahead of those
AHEAD = 0.05
ABOUT = """\
A sentence encoder's vector goes in, the sentence comes out. Every model here is a masked diffusion decoder that was
trained on reconstruction; the encoder that made the vector then serves as the verifier of what was written
([how it goes](../verified_writing.md)). Held-out texts travel with the model (`held_out.jsonl`): none stands in a
training text, and none has BLEU 50 or more with the training texts whose vectors are nearest. *Exact* ignores case and
punctuation; *strict* does not. 95 % intervals (Wilson). One pass asks the encoder nothing; every other row may ask it
equally often.
"""
LITERATURE = """\
Beside the literature, with other encoders, texts and budgets, so for orientation only: vec2text (arXiv 2310.06816)
recovers 92 % of 32-token texts exactly from GTR-base vectors (768 numbers) with T5 correctors trained on 5 million
texts; masked inversion reports 14.1 % at 32 tokens. The encoder here is all-MiniLM-L6-v2 (384 numbers), the decoders
have some 7 million parameters.
"""


def page(found: Sequence[Mapping[str, Any]]) -> Page:
    """Every number comes from the files."""
    out = Page()
    out.text("# Text from a vector")
    out.text("Written by `python benchmarks/verified_page.py` from `docs/benchmarks/verified_*.json`.")
    out.text(ABOUT.strip())
    for one in found:
        out.text(f"## {one['model']}")
        for bucket in _buckets(one):
            arms = {name: line[bucket] for name, line in one["arms"].items() if "exact" in line.get(bucket, {})}
            out.text(f"### {bucket} tokens, at most {one['calls']:,} calls")
            out.table(COLUMNS, [[name, *_cells(line)] for name, line in arms.items()])
            for sentence in _said(arms):
                out.text(sentence)
        drawing = _curves(one)
        if drawing is not None:
            out.drawing(f"verified_{one['model']}", drawing, "Share of texts that are exact against encoder calls")
        if "near misses" in one:
            out.text(*_near(one["near misses"]))
        where = one["where"]
        out.text(
            f"Measured on {where['device']}, {where.get('threads', 1)} thread(s), commit {where.get('commit', '?')}."
        )
    out.text(LITERATURE.strip())
    return out


def _buckets(one: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(bucket for line in one.get("arms", {}).values() for bucket in line))


def _share(part: Mapping[str, float]) -> str:
    return f"{100 * part['value']:.0f} [{100 * part['low']:.0f}, {100 * part['high']:.0f}]"


def _cells(line: Mapping[str, Any]) -> list[str]:
    return [
        str(len(line["rows"])),
        *[_share(line[key]) for key in ("exact", "strict", "verified")],
        str(line["false verified"]),
        f"{line['bleu']:.1f}",
        f"{line['recall']:.2f}",
        f"{line['cosine']:.3f}",
        f"{line['calls']:,.0f}",
        f"{line['forwards']:,.0f}",
        f"{line['seconds']:.1f}",
    ]


def _said(arms: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a reader must not overlook: kinds of texts apart, repeats, and arms that need no model."""
    said = []
    best = arms.get("everything")
    if best is not None and len(best.get("kinds", {})) > 1:
        parts = [f"{name} {_share(part)}" for name, part in best["kinds"].items()]
        said.append("Exact by kind of text, per cent: " + "; ".join(parts) + ".")
    if "one pass" in arms:
        wrote, true = arms["one pass"]["rep_2"]
        said.append(
            f"One pass repeats {100 * wrote:.1f} % of its word pairs within a text, the texts {100 * true:.1f} %."
        )
    for name in WITHOUT:
        if best is not None and name in arms and arms[name]["exact"]["value"] > best["exact"]["value"] - AHEAD:
            said.append(
                f"**“{name}” comes within 5 points: at this length it is not the denoiser that does the work.**"
            )
    return said


def _curves(one: Mapping[str, Any]) -> Any:
    lines = {b: line for b, line in one.get("arms", {}).get("everything", {}).items() if line.get("curve")}
    if not lines:
        return None
    with plot() as (figure, axes):
        for i, (bucket, line) in enumerate(lines.items()):
            marks = [int(mark) for mark in line["curve"]]
            parts = list(line["curve"].values())
            axes.plot(
                marks, [part["value"] for part in parts], marker=MARKERS[i], color=SERIES[i], label=f"{bucket} tokens"
            )
            low, high = ([part[end] for part in parts] for end in ("low", "high"))
            axes.fill_between(marks, low, high, color=SERIES[i], alpha=0.15, linewidth=0)
        axes.set_xlabel("encoder calls a text")
        axes.set_ylabel("exact, ignoring case and punctuation")
        axes.set_ylim(0, 1)
        axes.legend(loc="lower right")
        return figure_svg(figure, "Share of texts that are exact against encoder calls, with 95 % intervals")


def _near(found: Mapping[str, Any]) -> list[str]:
    lines = [f"Of {found['count']:,} near misses (a comma, a mark, a name, a number, the order of two words):", ""]
    for stored in ("fp32", "fp16", "bf16", "int8"):
        if stored in found:
            part = found[stored]
            wrong = part["false verified"]
            lines.append(
                f"- vectors stored in {stored}, threshold {part['threshold']}: falsely verified "
                f"{100 * wrong['value']:.2f} % (at most {100 * wrong['high']:.2f} %), the "
                f"highest at {part['highest']:.5f}; {part['the text itself refused']} texts were refused themselves"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the verified_*.json files")
    parser.add_argument("--write", type=Path, required=True, help="folder of the page")
    given = parser.parse_args()
    files = sorted(given.folder.glob("verified_*.json"))
    made = page([json.loads(file.read_text(encoding="utf-8")) for file in files])
    for name, svg in made.drawings.items():
        write_text(given.write / "img" / f"{name}.svg", svg)
    print(write_text(given.write / "from_a_vector.md", made.markdown()))


if __name__ == "__main__":
    main()

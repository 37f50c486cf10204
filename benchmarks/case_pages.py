"""The marked parts of docs/cases/: tables from the numbers that cases.py measured, and pictures of the reports."""

from __future__ import annotations

import json
import math
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unmask.core.files import write_text

#: of what is written
SCORES = {"exact match": "exact_match", "BLEU-1": "bleu_1", "BLEU": "bleu"}
PAGES = Path(__file__).parents[1] / "docs" / "cases"


def cells(*values: Any) -> str:
    shown = (f"{v:.2f}" if isinstance(v, float) else str(v).replace("|", "\\|").replace("\n", " ") for v in values)
    return "| " + " | ".join(shown) + " |"


def rows_of(case: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Figures of models side by side, then what each verdict says, then what each writes."""
    asked = {
        "PPL of hidden tokens, 15 % hidden": "ppl_15_percent_hidden",
        "PPL, half hidden": "ppl_half_hidden",
        "PPL, everything hidden": "ppl_all_hidden",
    } | SCORES
    lines = [cells("", *names), "|---" * (len(names) + 1) + "|"]
    lines += [cells(title, *(float(case[n][key]) for n in names)) for title, key in asked.items()]
    lines += [cells("verdict", *(case[n]["verdict"]["status"] for n in names))]
    lines += [cells("in one sentence", *(case[n]["verdict"]["headline"] for n in names))]
    use = [case[n]["verdict"]["numbers"].get("latent_use", {}) for n in names]
    if all("identified" in u for u in use):
        lines += [
            cells("cost of another text's vector at r = 1, nats a token", *(u["d_shuffled_nats"][-1] for u in use))
        ]
        lines += [cells("right text picked out of 32", *(f"{u['identified']:.0%}" for u in use))]
        lines += [cells("active units of the bottleneck", *(u.get("active_units", "-") for u in use))]
        lines += [cells("KL of the bottleneck, nats a text", *(u.get("bottleneck_kl_nats", "-") for u in use))]
    lines += ["", cells("held-out text", *names), "|---" * (len(names) + 1) + "|"]
    for i, sample in enumerate(case[names[0]]["samples"]):
        lines.append(cells(sample["text"], *(case[n]["samples"][i]["written"] for n in names)))
    return lines


def causes(verdict: dict[str, Any]) -> list[str]:
    lines = [cells("cause", "measured", "explains"), "|---|---|---|"]
    lines += [cells(c["check"], c["measured"], ", ".join(c["explains"]) or "-") for c in verdict["causes"]]
    return lines


def measured(name: str, case: dict[str, Any]) -> list[str]:
    """The marked part of a page."""
    if name == "ignored":
        return [*rows_of(case, ["sick", "healthy", "cured"]), "", *causes(case["sick"]["verdict"])]
    if name == "bert":
        return [*rows_of({"BERT": case}, ["BERT"]), "", *causes(case["verdict"])]
    lines = [cells("what is scored", "PPL"), "|---|---|"]
    lines += [cells("clean text, t = 0, every token", case["ppl_visible"])]
    lines += [cells("the same, padding counted too", math.exp(case["visible_loss"]))]
    lines += [cells(f"hidden tokens, {k}", case[f"ppl_{v}_hidden"]) for k, v in
              {"15 % hidden": "15_percent", "half hidden": "half", "everything hidden": "all"}.items()]  # fmt: skip
    lines += ["", cells("of what it writes", ""), "|---|---|"]
    lines += [cells(name, float(case[key])) for name, key in SCORES.items()]
    lines += ["", cells("the loss that is watched", "value, nats", "verdict", "in one sentence"), "|---|---|---|---|"]
    lines += [cells(n, case[f"{n}_loss"], case[n]["status"], case[n]["headline"]) for n in ("honest", "visible")]
    return [*lines, "", *causes(case["visible"])]


MARK = re.compile(r"(<!-- measured -->\n).*?(<!-- end -->)", re.S)


def fill(name: str, case: dict[str, Any]) -> None:
    """Write the numbers, and what the page says of them."""
    write_text(PAGES / f"{name}.json", json.dumps(case, indent=1, ensure_ascii=False) + "\n")
    page = PAGES / f"{name}.md"
    made = f"Made by `python benchmarks/cases.py {name}`: {case['made_with']}. All numbers: [{name}.json]({name}.json)."
    body = "\n".join([*measured(name, case), "", made])
    write_text(page, MARK.sub(lambda m: f"{m.group(1)}\n{body}\n\n{m.group(2)}", page.read_text(encoding="utf-8")))


def picture(report: Path, target: Path, width: int = 900, height: int = 1000) -> None:
    """The top of a report as a small PNG."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as profile:
        shot = Path(profile) / "shot.png"
        quiet = ("gpu", "quic", "background-networking", "component-update", "sync")
        command = ["chromium", "--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars"]
        command += [f"--disable-{what}" for what in quiet]
        command += [f"--user-data-dir={profile}", f"--window-size={width},{height}", "--virtual-time-budget=3000"]
        command += [f"--screenshot={shot}", report.absolute().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(shot).convert("RGB").quantize(64).save(target, optimize=True)

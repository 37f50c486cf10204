"""Three systems that write badly while their wiring is sound, diagnosed; fills the marked parts of docs/cases/.

    python benchmarks/writing_cases.py verses    checkpoints/sgdd_verses as it shipped, under the plan that was advised
    python benchmarks/writing_cases.py commas    a plain model of low loss, written in a few cold steps
    python benchmarks/writing_cases.py counts    a table of how often each word stands in each place

Reports go to ``runs/cases/NAME``, the numbers to docs/cases/NAME.json. ``commas`` trains one small model (minutes),
which the zoo keeps in ``$UNMASK_ZOO`` (runs/zoo/subjects). Last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from unmask import api
from unmask.core.files import write_text
from unmask.decoding.plan import DecodingPlan
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.subject import Subject
from unmask.diagnosis.verdict import Verdict
from zoo.own.kept import Recipe
from zoo.own.ours import system
from zoo.own.trained import word_counts

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "cases"
MARK = re.compile(r"(<!-- measured -->\n).*?(<!-- end -->)", re.S)
#: how many steps the repeated commas are written in
COLD = DecodingPlan(order="margin", steps=4, temperature=0.3)


def said(verdict: Verdict) -> dict[str, Any]:
    """Both statements of a verdict, in brief."""
    assert verdict.writing is not None
    wrote, found = verdict.writing, verdict.findings
    return {
        "status": verdict.status,
        "headline": verdict.headline,
        "plan": verdict.plan,
        "writing": {"status": wrote.status, "sentence": wrote.sentence, "texts": wrote.texts},
        "measures": [m for m in wrote.tree()["measures"] if m["status"] != "not_run"],
        "pairs": [[p.asked, p.written] for p in wrote.pairs[:5]],
        "wiring": verdict.wiring,
        "counts": dict(Counter(f.status for f in found)),
        "ledger": None if verdict.ledger is None else verdict.ledger.tree(),
        "causes": [[c.finding.check, c.finding.fault, c.finding.measured, c.finding.repair] for c in verdict.causes],
        "warnings": [[f.check, f.measured] for f in found if f.status == "warn"],
        "seconds": verdict.seconds,
    }


def verses(place: Path) -> dict[str, Verdict]:
    """The shipped model at temperature 0, 16 steps, the surest place first: what its readme advised."""
    model = api.load(ROOT / "checkpoints" / "sgdd_verses", "cpu")
    return {"as advised": api.diagnose(model, temperature=0.0, steps=16, order="margin")}


def commas(place: Path) -> dict[str, Verdict]:
    """One model, one loss: written one token a step, and in four cold steps."""
    recipe = Recipe(steps=600)
    subjects = {
        "one token a step": system("plain", recipe, plan=DecodingPlan(order="random")),
        "four cold steps": system("plain", recipe, plan=COLD),
    }
    return {name: diagnose(subject) for name, subject in subjects.items()}


def counts(place: Path) -> dict[str, Verdict]:
    """A table in the plain model's place. It asks the network for nothing, so that one step of training is enough."""
    healthy: Subject = system("plain", Recipe(steps=1))
    return {"table": diagnose(word_counts(healthy, 1.0))}


def cells(*values: Any) -> str:
    """A row of a table."""
    return "| " + " | ".join(str(v).replace("|", "\\|").replace("\n", " ") for v in values) + " |"


def number(mean: dict[str, Any] | None) -> str:
    """A mean with its error."""
    if mean is None:
        return "-"
    value, error = mean["value"], mean["error"]
    return f"{value:.3g}" + (f" ± {2 * error:.2g}" if isinstance(error, float) else "")


def lines(case: dict[str, Any]) -> list[str]:
    """The marked part of a page."""
    names = list(case["verdicts"])
    found = [case["verdicts"][n] for n in names]
    made = [cells("", *names), "|---" * (len(names) + 1) + "|"]
    made.append(cells("verdict", *(v["status"] for v in found)))
    made.append(cells("writing", *(f"{v['writing']['status']}: {v['writing']['sentence']}" for v in found)))
    counted = ({s: n for s, n in v["counts"].items() if n} for v in found)
    made.append(cells("wiring", *(", ".join(f"{n} {s.replace('_', ' ')}" for s, n in c.items()) for c in counted)))
    made.append(cells("cause named first", *(v["causes"][0][1] if v["causes"] else "none" for v in found)))
    for name, verdict in zip(names, found, strict=True):
        made += [
            "",
            cells(f"{name}: measured", "written", "held-out", "worth nothing", "status"),
            "|---|---|---|---|---|",
        ]
        for m in verdict["measures"]:
            nothing = f"{number(m['yardstick'])} ({m['yardstick_of']})" if m["yardstick"] else "-"
            made.append(cells(m["name"], number(m["written"]), number(m["data"]), nothing, m["status"]))
        made += account(name, verdict["ledger"])
        made += ["", cells("asked for, or held-out", f"{name}: written"), "|---|---|"]
        made += [cells(*pair) for pair in verdict["pairs"]]
    return made


def account(name: str, ledger: dict[str, Any] | None) -> list[str]:
    """Where the nats go."""
    if ledger is None or not ledger["lines"]:
        return [] if ledger is None else ["", f"No account of the nats: {ledger['why']}."]
    made = ["", cells(f"{name}: nats a token, beside a 5-gram chain", "nats"), "|---|---|"]
    made += [cells(line["words"], number(line["nats"])) for line in ledger["lines"]]
    return [*made, cells("**together**", number(ledger["total"]))]


def fill(name: str, case: dict[str, Any]) -> None:
    """Write the numbers, and the marked part of the page."""
    write_text(PAGES / f"{name}.json", json.dumps(case, indent=1, ensure_ascii=False) + "\n")
    page = PAGES / f"{name}.md"
    made = f"Made by `python benchmarks/writing_cases.py {name}`: {case['made_with']}. All: [{name}.json]({name}.json)."
    body = "\n".join([*lines(case), "", made])
    write_text(page, MARK.sub(lambda m: f"{m[1]}\n{body}\n\n{m[2]}", page.read_text(encoding="utf-8")))


def main() -> None:
    """Diagnose one case, or fill its page again."""
    cases = {"verses": verses, "commas": commas, "counts": counts}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=tuple(cases))
    parser.add_argument("--page", action="store_true", help="only fill the page from its JSON again")
    words = parser.parse_args()
    if words.page:
        case = json.loads((PAGES / f"{words.case}.json").read_text(encoding="utf-8"))
    else:
        torch.set_num_threads(1)
        place = ROOT / "runs" / "cases" / words.case
        place.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        verdicts = cases[words.case](place)
        for name, verdict in verdicts.items():
            verdict.save(place / f"{name.replace(' ', '_')}.html")
            print(f"{name}: {verdict.headline}", flush=True)
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
        made = f"one thread, torch {torch.__version__}, commit {commit.stdout.strip()}"
        case = {"verdicts": {n: said(v) for n, v in verdicts.items()}}
        case["made_with"] = f"{made}, {time.perf_counter() - start:.0f} s"
    fill(words.case, case)
    print(json.dumps({"case": words.case, "verdicts": {n: v["status"] for n, v in case["verdicts"].items()}}))


if __name__ == "__main__":
    main()

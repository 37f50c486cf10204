"""Every fault of a zoo planted, its harm measured, the subject diagnosed: is the right repair named first?

    PYTHONPATH=benchmarks python -m zoo.run own --out runs/zoo [--budget quick] [--only NAME ...] [--table]

One line of JSON a diagnosis in ``OUT/results.jsonl``: stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from unmask.core.errors import UsageError
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.subject import Subject
from zoo.contract import ZooFault, ZooSubject
from zoo.harm import harm

STRENGTHS = (1.0, 0.5)


def run(subjects: Sequence[ZooSubject], faults: Sequence[ZooFault], out: Path, budget: str = "quick") -> None:
    """Diagnose every healthy subject, and every fault in every subject that it can be planted into."""
    out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("UNMASK_ZOO", str(out / "subjects"))
    file = out / "results.jsonl"
    done = {line["key"] for line in read(file)}
    with file.open("a", encoding="utf-8") as lines:
        for subject in subjects:
            cells = [(None, 1.0)]
            if not subject.control:
                fitting = [f for f in faults if f.needs <= subject.has]
                cells += [(f, s) for f in fitting for s in (STRENGTHS if f.graded else STRENGTHS[:1])]
            todo = [cell for cell in cells if key(subject, *cell, budget) not in done]
            healthy = subject.make() if todo else None
            for fault, strength in todo:
                assert healthy is not None
                line = examine(subject, healthy, fault, strength, budget)
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
                lines.flush()
                print(
                    f"{outcome(line):8s} {line['key']}  {line.get('headline', line.get('error', ''))[:110]}", flush=True
                )


def key(subject: ZooSubject, fault: ZooFault | None, strength: float, budget: str) -> str:
    return " / ".join([subject.name, fault.name if fault else "healthy", f"{strength:g}", budget])


def examine(
    subject: ZooSubject, healthy: Subject, fault: ZooFault | None, strength: float, budget: str
) -> dict[str, Any]:
    """The line of one diagnosis; what goes wrong is in it too."""
    line: dict[str, Any] = {
        "key": key(subject, fault, strength, budget),
        "subject": subject.name,
        "control": subject.control,
        "fault": fault.name if fault else "",
        "kind": fault.kind if fault else "healthy",
        "repairs": [fault.repair, *fault.also] if fault else [],
        "strength": strength,
        "budget": budget,
    }
    try:
        planted = fault.plant(healthy, strength) if fault else healthy
        if fault:
            found = harm(healthy, planted)
            parts = {"written": found.written.value, "known": found.known.value, "reported": found.reported}
            line |= {"harm": found.nats, "harms": found.harms, "harm_parts": parts}
        start = time.perf_counter()
        verdict = diagnose(planted, budget=budget)  # type: ignore[arg-type]
    except UsageError as error:
        return line | {"cannot": str(error)}
    except Exception:
        # the other cells are worth having, and this one is counted as missed
        return line | {"error": traceback.format_exc(limit=-3)}
    return line | {
        "status": verdict.status,
        "headline": verdict.headline,
        "causes": [[c.finding.check, c.finding.repair] for c in verdict.causes],
        "warned": [f.check for f in verdict.findings if f.status == "warn"],
        "measured": {f.check: [f.status, f.measured or f.why] for f in verdict.findings},
        "seconds": round(time.perf_counter() - start, 1),
        "torch": torch.__version__,
    }


def read(file: Path) -> list[dict[str, Any]]:
    """The lines written so far; one that was cut off is done again."""
    found: dict[str, dict[str, Any]] = {}
    for text in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        found[line["key"]] = line
    return list(found.values())


def outcome(line: dict[str, Any]) -> str:
    """first, top 3, wrong (fails for another reason), missed, cannot or error; of a healthy subject its status."""
    for odd in ("cannot", "error"):
        if odd in line:
            return odd
    if not line["fault"]:
        return "alarm" if line["status"] == "fail" else str(line["status"])
    named = [repair for _, repair in line["causes"]]
    wanted = line["repairs"]
    if len(wanted) > 1:
        return (
            "first"
            if set(wanted) <= set(named[: len(wanted) + 1])
            else "top 3"
            if set(wanted) & set(named)
            else ("wrong" if line["status"] == "fail" else "missed")
        )
    if named[:1] == wanted:
        return "first"
    if wanted[0] in named[:3]:
        return "top 3"
    return "wrong" if line["status"] == "fail" else "missed"


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares over the faults that measurably harm; an error counts as missed, what cannot be planted not at all."""
    planted = [x for x in lines if x["fault"] and outcome(x) != "cannot"]
    single = [x for x in planted if x.get("harms", True) and len(x["repairs"]) == 1]
    pairs = [x for x in planted if x.get("harms", True) and len(x["repairs"]) > 1]
    healthy = [x for x in lines if not x["fault"]]

    def share(part: Sequence[dict[str, Any]], *names: str) -> float | None:
        return round(sum(outcome(x) in names for x in part) / len(part), 4) if part else None

    return {
        "planted": len(planted),
        "that_harm": len(single) + len(pairs),
        "named_first": share(single, "first"),
        "named_in_top_three": share(single, "first", "top 3"),
        "missed": share(single, "missed", "error"),
        "pairs": len(pairs),
        "both_of_a_pair": share(pairs, "first"),
        "healthy": len(healthy),
        "controls": sum(bool(x["control"]) for x in healthy),
        "false_alarms": sum(outcome(x) in ("alarm", "error") for x in healthy),
    }


def table(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown: how each kind of fault fares, then what was not named first."""
    yield "| kind | faults that harm | first | top 3 | another cause | missed |"
    yield "|---|---|---|---|---|---|"
    planted = [x for x in lines if x["fault"] and outcome(x) != "cannot" and x.get("harms", True)]
    for kind in sorted({x["kind"] for x in planted}):
        got = [outcome(x) for x in planted if x["kind"] == kind]
        counts = [got.count(name) for name in ("first", "top 3", "wrong")]
        yield f"| {kind} | {len(got)} | {' | '.join(map(str, counts))} | {got.count('missed') + got.count('error')} |"
    yield ""
    yield "| not named first | harm, nats | wanted | named |"
    yield "|---|---|---|---|"
    for x in planted:
        if outcome(x) != "first":
            named = ", ".join(f"{check} ({repair})" for check, repair in x.get("causes", [])[:3])
            yield f"| {x['key']} | {x.get('harm', 0):.2f} | {', '.join(x['repairs'])} | {named or outcome(x)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", nargs="?", default="own", help="a package beside this file with subjects() and faults()")
    parser.add_argument("--out", type=Path, default=Path("runs/zoo"))
    parser.add_argument("--budget", default="quick")
    parser.add_argument("--only", nargs="+", help="only these faults, and no controls")
    parser.add_argument("--subjects", nargs="+", help="only these subjects")
    parser.add_argument("--table", action="store_true", help="print what a run has written")
    words = parser.parse_args()
    if not words.table:
        torch.set_num_threads(1)
        zoo = importlib.import_module(f"zoo.{words.zoo}")
        subjects = [s for s in zoo.subjects() if words.subjects is None or s.name in words.subjects]
        faults = [f for f in zoo.faults() if words.only is None or f.name in words.only]
        run([s for s in subjects if words.only is None or not s.control], faults, words.out, words.budget)
    lines = read(words.out / "results.jsonl")
    print("\n".join(table(lines)))
    print(json.dumps(summary(lines)))


if __name__ == "__main__":
    main()

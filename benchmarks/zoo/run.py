"""Every fault of a zoo planted, its harm measured, the subject diagnosed: is the right repair named first?

    PYTHONPATH=benchmarks python -m zoo.run own --out runs/zoo --jobs 15
    PYTHONPATH=benchmarks python -m zoo.run own --out runs/zoo --only stale_logits --subjects hand
    PYTHONPATH=benchmarks python -m zoo.run own --out runs/zoo --table [--write docs/diagnosis_benchmark.md]

One line of JSON a diagnosis in ``OUT/results.jsonl``: stopped, it goes on where it was. One thread a process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from unmask.core.errors import UsageError
from unmask.core.files import write_text
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.subject import Subject
from zoo.contract import ZooFault, ZooSubject
from zoo.harm import harm

STRENGTHS = (1.0, 0.5)


@dataclass(frozen=True)
class Cell:
    """One diagnosis: a subject, healthy (``fault`` empty) or with a fault planted at some strength."""

    subject: str
    fault: str = ""
    strength: float = 1.0
    budget: str = "quick"

    @property
    def key(self) -> str:
        return " / ".join([self.subject, self.fault or "healthy", f"{self.strength:g}", self.budget])


def cells(subjects: Sequence[ZooSubject], faults: Sequence[ZooFault], budget: str) -> list[Cell]:
    """Every healthy subject, and every fault in every subject that it can be planted into."""
    found = []
    for subject in subjects:
        found.append(Cell(subject.name, budget=budget))
        for fault in () if subject.control else faults:
            if fault.needs <= subject.has:
                strengths = STRENGTHS if fault.graded else STRENGTHS[:1]
                found += [Cell(subject.name, fault.name, strength, budget) for strength in strengths]
    return found


def run(
    subjects: Sequence[ZooSubject], faults: Sequence[ZooFault], out: Path, budget: str = "quick", jobs: int = 1
) -> None:
    """Diagnose what is not diagnosed yet, one line a diagnosis.

    Args:
        subjects, faults: what is planted into what.
        out: where ``results.jsonl`` is written, and what is trained kept unless ``$UNMASK_ZOO`` says where.
        budget: of the diagnosis.
        jobs: processes.
    """
    out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("UNMASK_ZOO", str(out / "subjects"))
    file = out / "results.jsonl"
    done = {line["key"] for line in read(file)}
    todo = [cell for cell in cells(subjects, faults, budget) if cell.key not in done]
    print(f"{len(todo)} diagnoses to do, {len(done)} done before", flush=True)
    _zoo.update({s.name: s for s in subjects}, {f.name: f for f in faults})
    with file.open("a", encoding="utf-8") as lines:
        for line in map(examine, todo) if jobs == 1 else _shared(todo, jobs):
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            lines.flush()
            said = line.get("headline") or line.get("cannot") or line.get("error", "").strip().split("\n")[-1]
            print(f"{outcome(line):8s} {line['key']}  {said[:110]}", flush=True)


class _Zoo:
    """What this process diagnoses: subjects and faults by name, and the healthy subject that it asked for last."""

    def __init__(self) -> None:
        self.subjects: dict[str, ZooSubject] = {}
        self.faults: dict[str, ZooFault] = {}
        self.last: tuple[str, Subject] | None = None

    def update(self, subjects: dict[str, ZooSubject], faults: dict[str, ZooFault]) -> None:
        """Another zoo."""
        self.subjects, self.faults, self.last = subjects, faults, None

    def healthy(self, name: str) -> Subject:
        """The subject, made once in a row of diagnoses of it."""
        if self.last is None or self.last[0] != name:
            self.last = (name, self.subjects[name].make())
        return self.last[1]


_zoo = _Zoo()


def _shared(todo: Sequence[Cell], jobs: int) -> Iterator[dict[str, Any]]:
    """The lines of the cells as they come. Processes are forked: subjects and faults are functions of this one."""
    pool = ProcessPoolExecutor(jobs, get_context("fork"), torch.set_num_threads, (1,))
    # a subject is made, and kept, by one process before others ask for it
    first = {cell.subject: cell for cell in reversed(todo)}
    with pool:
        running = {pool.submit(examine, cell): cell for cell in first.values()}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                yield future.result()
                if cell is first[cell.subject]:
                    more = [other for other in todo if other.subject == cell.subject and other is not cell]
                    running |= {pool.submit(examine, other): other for other in more}


def examine(cell: Cell) -> dict[str, Any]:
    """The line of one diagnosis; what goes wrong is in it too."""
    subject, fault = _zoo.subjects[cell.subject], _zoo.faults.get(cell.fault)
    line: dict[str, Any] = {
        "key": cell.key,
        "subject": subject.name,
        "control": subject.control,
        "fault": fault.name if fault else "",
        "kind": fault.kind if fault else "healthy",
        "repairs": [fault.repair, *fault.also] if fault else [],
        "strength": cell.strength,
        "budget": cell.budget,
    }
    try:
        healthy = _zoo.healthy(cell.subject)
        planted = fault.plant(healthy, cell.strength) if fault else healthy
        if fault:
            found = harm(healthy, planted)
            parts = {"written": found.written.value, "known": found.known.value, "reported": found.reported}
            line |= {"harm": found.nats, "harms": found.harms, "harm_parts": parts}
        start = time.perf_counter()
        verdict = diagnose(planted, budget=cell.budget)  # type: ignore[arg-type]
    except UsageError as error:
        # a fault that does not fit is no miss; a healthy subject that cannot be diagnosed is
        return line | ({"cannot": str(error)} if fault else {"error": str(error)})
    except Exception:
        # the other cells are worth having, and this one is counted as missed
        return line | {"error": traceback.format_exc(limit=-3)}
    writing = verdict.writing
    return line | {
        "status": verdict.status,
        "headline": verdict.headline,
        "writing": None if writing is None else [writing.status, writing.sentence],
        "wiring": verdict.wiring,
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
    """first, top 3, wrong (another cause is named), unnamed (it fails, for no cause), missed, cannot or error.

    Of a healthy subject: alarm (it fails), or its status.
    """
    for odd in ("cannot", "error"):
        if odd in line:
            return odd
    if not line["fault"]:
        return "alarm" if line["status"] == "fail" else str(line["status"])
    named = [repair for _, repair in line["causes"]]
    wanted = line["repairs"]
    if len(wanted) > 1:
        if set(wanted) <= set(named[: len(wanted) + 1]):
            return "first"
        if set(wanted) & set(named):
            return "top 3"
    elif named[:1] == wanted:
        return "first"
    elif wanted[0] in named[:3]:
        return "top 3"
    if line["status"] != "fail":
        return "missed"
    return "wrong" if named else "unnamed"


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares over the faults that measurably harm; an error counts as missed, what cannot be planted not at all."""
    planted = [x for x in lines if x["fault"] and outcome(x) != "cannot"]
    single = [x for x in planted if x.get("harms", True) and len(x["repairs"]) == 1]
    pairs = [x for x in planted if x.get("harms", True) and len(x["repairs"]) > 1]
    healthy = [x for x in lines if not x["fault"]]
    alarms = [x for x in healthy if outcome(x) in ("alarm", "error")]

    def share(part: Sequence[dict[str, Any]], *names: str) -> float | None:
        return round(sum(outcome(x) in names for x in part) / len(part), 4) if part else None

    return {
        "planted": len(planted),
        "that_harm": len(single) + len(pairs),
        "named_first": share(single, "first"),
        "named_in_top_three": share(single, "first", "top 3"),
        "fails_without_a_cause": share(single, "unnamed"),
        "missed": share(single, "missed", "error"),
        "pairs": len(pairs),
        "both_of_a_pair": share(pairs, "first"),
        "healthy": len(healthy),
        "controls": sum(bool(x["control"]) for x in healthy),
        "false_alarms": len(alarms),
        "of_these_for_writing_alone": sum(x.get("wiring", "fail") != "fail" for x in alarms),
    }


def table(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown: how each kind of fault fares, then what was not named first, then healthy subjects that fail."""
    yield "| kind | faults that harm | first | top 3 | another cause | fails, no cause | missed |"
    yield "|---|---|---|---|---|---|---|"
    planted = [x for x in lines if x["fault"] and outcome(x) != "cannot" and x.get("harms", True)]
    for kind in sorted({x["kind"] for x in planted}):
        got = [outcome(x) for x in planted if x["kind"] == kind]
        counts = [got.count(name) for name in ("first", "top 3", "wrong", "unnamed")]
        yield f"| {kind} | {len(got)} | {' | '.join(map(str, counts))} | {got.count('missed') + got.count('error')} |"
    yield ""
    yield "| not named first | harm, nats | wanted | named |"
    yield "|---|---|---|---|"
    for x in planted:
        if outcome(x) != "first":
            named = ", ".join(f"{check} ({repair})" for check, repair in x.get("causes", [])[:3])
            yield f"| {x['key']} | {x.get('harm', 0):.2f} | {', '.join(x['repairs'])} | {named or outcome(x)} |"
    alarms = [x for x in lines if not x["fault"] and outcome(x) in ("alarm", "error")]
    if alarms:
        yield from ("", "| healthy, and blamed | said |", "|---|---|")
        for x in alarms:
            yield f"| {x['subject']} | {str(x.get('headline', 'error')).replace('|', '/')[:160]} |"


def in_words(lines: Sequence[dict[str, Any]]) -> str:
    """The figures in one paragraph."""
    s = summary(lines)

    def share(name: str) -> str:
        return "none" if s[name] is None else f"{s[name]:.1%}"

    return (
        f"{s['that_harm']} of {s['planted']} planted faults harm by more than .05 nats a token. Of those that come "
        f"alone **{share('named_first')} are named first**, {share('named_in_top_three')} in the top three, "
        f"{share('missed')} missed. Of {s['pairs']} pairs both faults are named in {share('both_of_a_pair')}. "
        f"{s['healthy']} healthy subjects, {s['controls']} of them unusual: **{s['false_alarms']} false alarms** "
        f"({s['of_these_for_writing_alone']} for what they write alone)."
    )


def fill(page: Path, mark: str, lines: Sequence[dict[str, Any]]) -> None:
    """Replace what stands in a page between ``<!-- MARK -->`` and ``<!-- end of MARK -->``.

    Raises:
        UsageError: the page has no such lines.
    """
    marked = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)", re.S)
    text = page.read_text(encoding="utf-8")
    if not marked.search(text):
        raise UsageError(f"{page} has no line '<!-- {mark} -->' followed by '<!-- end of {mark} -->'")
    made = "\n".join([in_words(lines), "", *table(lines)])
    write_text(page, marked.sub(lambda m: f"{m[1]}{made}\n{m[2]}", text))


def chosen(every: Sequence[Any], names: Sequence[str] | None, what: str) -> list[Any]:
    """Those of these names, or all.

    Raises:
        SystemExit: a name that there is not.
    """
    unknown = sorted(set(names or ()) - {one.name for one in every})
    if unknown:
        known = ", ".join(sorted(one.name for one in every))
        raise SystemExit(f"no {what} is called {', '.join(unknown)}; there are {known}")
    return [one for one in every if names is None or one.name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", nargs="?", default="own", help="a package beside this file with subjects() and faults()")
    parser.add_argument("--out", type=Path, default=Path("runs/zoo"))
    parser.add_argument("--budget", default="quick")
    parser.add_argument("--only", nargs="+", help="only these faults, and no controls")
    parser.add_argument("--subjects", nargs="+", help="only these subjects")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--table", action="store_true", help="print what a run has written")
    parser.add_argument("--write", type=Path, help="the page whose marked part becomes the table")
    words = parser.parse_args()
    if not words.table:
        torch.set_num_threads(1)
        zoo = importlib.import_module(f"zoo.{words.zoo}")
        subjects = chosen(zoo.subjects(), words.subjects, "subject")
        faults = chosen(zoo.faults(), words.only, "fault")
        subjects = [s for s in subjects if words.only is None or not s.control]
        run(subjects, faults, words.out, words.budget, words.jobs)
    lines = read(words.out / "results.jsonl")
    if words.write is not None:
        fill(words.write, f"zoo {words.zoo}", lines)
    print("\n".join(table(lines)))
    print(json.dumps(summary(lines)))


if __name__ == "__main__":
    main()

"""Faults x checks: is every planted fault named first, and is no healthy model blamed? Last line is JSON.

The older benchmark: it asks for the name of the check that a fault was planted for, and plants it where that check
looks. ``zoo/run.py`` replaces it; it is kept until that one has run once at full length.

    python benchmarks/diagnosis.py --prepare runs/diagnosis_bench
    python benchmarks/diagnosis.py --from runs/diagnosis_bench --out runs/diagnosis_results --workers 15
    python benchmarks/diagnosis.py --table runs/diagnosis_results [--write docs/diagnosis_benchmark.md]

The first writes text, vectors and tokenizer; the second needs nothing but that folder. It trains SGDD, plain masked
diffusion and a causal model (weights stay in ``OUT/models``) and adds one line for each model and fault to
``OUT/results.jsonl``: stopped, it goes on where it was. One process a worker, one thread a process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch

from diagnosis_models import Model, load_subject, prepare, train_into
from unmask.core.errors import UsageError
from unmask.core.files import write_text
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.fault import faults
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.subject import Subject


@dataclass(frozen=True)
class Cell:
    """One diagnosis: a model, healthy (``fault`` empty) or with a fault planted."""

    model: Model
    fault: str = ""
    budget: Literal["quick", "full"] = "quick"
    seed: int = 0

    @property
    def key(self) -> str:
        return " ".join([self.model.name, self.fault or "healthy", self.budget, str(self.seed)])


@dataclass(frozen=True)
class Work:
    """Where a worker finds things."""

    inputs: Path
    models: Path
    steps: int
    device: str

    def weights(self, model: Model) -> Path:
        return self.models / f"{model.name}_{self.steps}.safetensors"


def models(words: argparse.Namespace) -> list[Model]:
    """The largest first, since they take longest."""
    kinds = [(kind, seed) for seed in words.seeds for kind in ("sgdd", "plain")]
    kinds += [("causal", words.seeds[0])]
    chosen = [Model(kind, dim, seed) for dim in sorted(words.dims, reverse=True) for kind, seed in kinds]
    return [m for m in chosen if m.kind in words.kinds]


def cells(model: Model, words: argparse.Namespace) -> list[Cell]:
    """Faults that are trained first, since they take longest; then the healthy model; then the other faults."""
    planted = []
    for name in () if words.healthy else words.faults or faults:
        leaf = faults.get(name)
        kind = "causal" if model.kind == "causal" else "masked"
        if kind in leaf.kinds and (model.kind == "sgdd" or not leaf.conditional):
            budget: Literal["quick", "full"] = "full" if leaf.needs_full else "quick"
            planted += [(not leaf.trains, Cell(model, faults.spec_of(e), budget)) for e in leaf.examples()]
    healthy: list[tuple[bool, Cell]] = []
    if not words.faults:
        healthy = [(True, Cell(model, seed=seed)) for seed in range(3)] + [(True, Cell(model, budget="full"))]
    return [cell for _, cell in sorted(healthy + planted, key=lambda pair: pair[0])]


@lru_cache(maxsize=2)
def healthy_subject(model: Model, work: Work) -> Subject:
    return load_subject(model, work.inputs, work.weights(model), work.device)


def train(model: Model, work: Work) -> float:
    start = time.perf_counter()
    if not work.weights(model).exists():
        train_into(model, work.inputs, work.weights(model), work.steps)
    return time.perf_counter() - start


def examine(cell: Cell, work: Work) -> dict[str, Any]:
    """The line of one cell; what goes wrong is in it too."""
    start = time.perf_counter()
    line: dict[str, Any] = {"key": cell.key, "model": cell.model.name, "fault": cell.fault, "budget": cell.budget}
    if cell.fault:
        line["check"] = faults.get(cell.fault.split(":")[0]).caught_by
    try:
        subject = healthy_subject(cell.model, work)
        if cell.fault:
            subject = faults.make(cell.fault).inject(subject)
        planted = time.perf_counter()
        verdict = diagnose(subject, budget=cell.budget, seed=cell.seed)
    except UsageError as error:
        return line | {"cannot": str(error)}
    except Exception:
        # the other cells are worth having, and this one is counted as missed
        return line | {"error": traceback.format_exc(limit=-3)}
    return line | {
        "status": verdict.status,
        "headline": verdict.headline,
        "causes": [c.finding.check for c in verdict.causes],
        "warned": [f.check for f in verdict.findings if f.status == "warn"],
        "findings": {f.check: [f.status, round(f.share, 4), f.measured or f.why] for f in verdict.findings},
        "forwards": verdict.forwards,
        "seconds": round(time.perf_counter() - planted, 2),
        "planting_seconds": round(planted - start, 2),
        "parameters": sum(p.numel() for p in network_of(subject).parameters()) if not cell.fault else None,
        **machine(),
    }


def network_of(subject: Subject) -> torch.nn.Module:
    return subject.denoiser if isinstance(subject, NativeSubject) else subject.model  # type: ignore[attr-defined,no-any-return]


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """What the numbers were made with."""
    cpu = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else None
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "commit": commit or "unknown",
        "torch": torch.__version__,
        "cpu": named.group(1) if named else platform.processor(),
        "cores": os.cpu_count(),
    }


def one_thread() -> None:
    torch.set_num_threads(1)


def run(words: argparse.Namespace) -> None:
    """Train what is not trained, examine what is not examined."""
    work = Work(words.inputs.absolute(), (words.out / "models").absolute(), words.steps, words.device)
    file = words.out / "results.jsonl"
    words.out.mkdir(parents=True, exist_ok=True)
    done = {line["key"] for line in read(file)}
    todo = {m: [c for c in cells(m, words) if c.key not in done] for m in models(words)}
    todo = {m: part for m, part in todo.items() if part}
    total, finished, start = sum(map(len, todo.values())), 0, time.perf_counter()
    print(f"{total} diagnoses of {len(todo)} models to do, {len(done)} done before", flush=True)
    # one thread a process from its first import on
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    with (
        ProcessPoolExecutor(words.workers, mp_context=get_context("spawn"), initializer=one_thread) as pool,
        file.open("a", encoding="utf-8") as lines,
    ):
        running: dict[Future[Any], Model | Cell] = {pool.submit(train, m, work): m for m in todo}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                what = running.pop(future)
                took = f"[{time.perf_counter() - start:5.0f} s]"
                if isinstance(what, Model):
                    print(f"{took} trained {what.name} in {future.result():.0f} s", flush=True)
                    running |= {pool.submit(examine, cell, work): cell for cell in todo[what]}
                    continue
                line = future.result()
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
                lines.flush()
                finished += 1
                print(f"{took} {finished}/{total} {said(line)}", flush=True)


def read(file: Path) -> list[dict[str, Any]]:
    """The lines written so far; one that was cut off is done again."""
    found: dict[str, dict[str, Any]] = {}
    for text in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if "lesion" in line:  # what a fault was called until 0.1.0
            line["fault"] = line.pop("lesion")
        found[line["key"]] = line
    return list(found.values())


def outcome(line: dict[str, Any]) -> str:
    """first, top 3, missed, cannot or error for a fault; the status for a healthy model."""
    for odd in ("cannot", "error"):
        if odd in line:
            return odd
    if not line["fault"]:
        return str(line["status"])
    causes = line["causes"]
    return "first" if causes[:1] == [line["check"]] else "top 3" if line["check"] in causes[:3] else "missed"


def said(line: dict[str, Any]) -> str:
    named = line.get("cannot") or line.get("error", "").strip().split("\n")[-1] or ", ".join(line["causes"])
    return f"{outcome(line):6s} {line['key']}: {named} ({line.get('seconds', 0):.1f} s)"


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The numbers that matter; a fault that ended in an error counts as missed."""
    planted = [x for x in lines if x["fault"] and outcome(x) != "cannot"]
    healthy = [x for x in lines if not x["fault"]]
    first = sum(outcome(x) == "first" for x in planted)
    third = first + sum(outcome(x) == "top 3" for x in planted)
    times = sorted(x["seconds"] for x in healthy if x["budget"] == "quick" and "seconds" in x)
    return {
        "benchmark": "diagnosis",
        "models": len({x["model"] for x in lines}),
        "planted": len(planted),
        "planted_into": len({x["model"] for x in planted}),
        "named_first": round(first / max(len(planted), 1), 4),
        "named_in_top_three": round(third / max(len(planted), 1), 4),
        "healthy": len(healthy),
        "false_alarms": sum(outcome(x) not in ("pass", "warn") for x in healthy),
        "warnings": sum(outcome(x) == "warn" for x in healthy),
        "cannot_be_planted": sum(outcome(x) == "cannot" for x in lines),
        "median_quick_seconds": times[len(times) // 2] if times else None,
        "made_with": sorted({f"{x['cpu']}, torch {x['torch']}, commit {x['commit']}" for x in lines if "cpu" in x}),
    }


def table(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The matrix as Markdown: for each fault, over the models, how often it was named first and in the top three."""
    yield "| fault | must be named by | models | first | top 3 | named before it |"
    yield "|---|---|---|---|---|---|"
    planted = [x for x in lines if x["fault"] and outcome(x) != "cannot"]
    for fault in sorted({x["fault"] for x in planted}):
        rows = [x for x in planted if x["fault"] == fault]
        got = [outcome(x) for x in rows]
        other = sorted(
            {(x.get("causes") or [outcome(x) if "error" in x else "nothing"])[0] for x in rows if outcome(x) != "first"}
        )
        yield (
            f"| {fault} | {rows[0]['check']} | {len(rows)} | {got.count('first')} | "
            f"{got.count('first') + got.count('top 3')} | {', '.join(other) or '-'} |"
        )
    yield ""
    yield "| healthy model | parameters | diagnoses | failing | warned about | quick, s | full, s | forwards, quick |"
    yield "|---|---|---|---|---|---|---|---|"
    for model in dict.fromkeys(x["model"] for x in lines if not x["fault"]):
        rows = [x for x in lines if x["model"] == model and not x["fault"] and "seconds" in x]
        quick, full = ([x for x in rows if x["budget"] == b] for b in ("quick", "full"))
        blamed = sorted({cause for x in rows for cause in x["causes"]})
        warned = sorted({name for x in rows for name in x["warned"]})

        def middle(part: list[dict[str, Any]]) -> str:
            times = sorted(x["seconds"] for x in part)
            return f"{times[len(times) // 2]:.1f}" if times else "-"

        if rows:
            yield (
                f"| {model} | {rows[0]['parameters']:,} | {len(rows)} | {', '.join(blamed) or '-'} | "
                f"{', '.join(warned) or '-'} | {middle(quick)} | {middle(full)} | "
                f"{max((x['forwards'] for x in quick), default=0):,} |"
            )


MARK = re.compile(r"(<!-- results -->\n).*?(<!-- end of results -->)", re.S)


def page(text: str, lines: Sequence[dict[str, Any]]) -> str:
    """The page with its marked part replaced by what the lines say."""
    if not MARK.search(text):
        raise UsageError("the page has no line '<!-- results -->' followed by '<!-- end of results -->'")
    s = summary(lines)
    head = (
        f"{s['planted']} planted faults in {s['planted_into']} models: **{s['named_first']:.1%} named first**, "
        f"**{s['named_in_top_three']:.1%} in the top three**. {s['healthy']} diagnoses of {s['models']} healthy "
        f"models: **{s['false_alarms']} false alarms**, {s['warnings']} with a warning. "
        f"Made with {'; '.join(s['made_with'])}; one thread a diagnosis."
    )
    return MARK.sub(lambda m: m.group(1) + "\n".join([head, "", *table(lines)]) + "\n" + m.group(2), text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prepare", type=Path, metavar="FOLDER", help="write the inputs")
    what.add_argument("--from", type=Path, metavar="FOLDER", dest="inputs", help="run on these inputs")
    what.add_argument("--table", type=Path, metavar="OUT", help="print what a run has written")
    parser.add_argument("--out", type=Path, default=Path("runs/diagnosis_results"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--texts", type=int, default=22_000)
    parser.add_argument("--kinds", nargs="+", default=["sgdd", "plain", "causal"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--faults", nargs="+", help="only these, and no healthy models")
    parser.add_argument("--healthy", action="store_true", help="only the healthy models")
    parser.add_argument("--write", type=Path, help="the page whose marked part becomes the table")
    words = parser.parse_args()
    if words.prepare is not None:
        prepare(words.prepare, words.texts)
        size = sum(f.stat().st_size for f in words.prepare.iterdir())
        print(json.dumps({"prepared": str(words.prepare), "bytes": size}))
        return
    if words.inputs is not None:
        run(words)
    lines = read((words.table or words.out) / "results.jsonl")
    print("\n".join(table(lines)))
    if words.write is not None:
        write_text(words.write, page(words.write.read_text(encoding="utf-8"), lines))
        figures = json.dumps(summary(lines), indent=1) + "\n"
        write_text(words.write.with_name("benchmarks") / "diagnosis.json", figures)
    print(json.dumps(summary(lines)))


if __name__ == "__main__":
    main()

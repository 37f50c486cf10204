"""The numbers of docs/cases/knorm.md and docs/cases/presses.md, as JSON in docs/benchmarks/, and their tables.

    python benchmarks/kv_cases.py                     every part, then the tables of both pages
    python benchmarks/kv_cases.py --part planted      one part
    python benchmarks/kv_cases.py --pages             only write the tables of the pages again, from the JSON
    python benchmarks/kv_cases.py --small ...         a try: context 256, two windows

Needs kvpress and the packaged SmolLM2 (extras kv, offline and puzzles). The last line is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unmask.cli.kv import read_text
from unmask.core.files import write_text
from unmask.diagnosis.faults._measured import StoredOrder
from unmask.diagnosis.faults.compounding_ratio import CompoundingRatio
from unmask.diagnosis.faults.shrunken_positions import ShrunkenPositions
from unmask.diagnosis.faults.stale_mask import StaleMask
from unmask.diagnosis.faults.stuck_positions import StuckPositions
from unmask.kvcache.bench import Settings, bench, text_windows
from unmask.kvcache.budget import CacheBudget
from unmask.kvcache.positions import PositionedCache
from unmask.kvcache.press import presses
from unmask.kvcache.protocols import OneShot, Rolling
from unmask.kvcache.scoring import ArmSpec, score
from unmask.kvcache.timing import Spread, decode_overhead
from unmask.models.causal import CausalModel, load_causal

ROOT = Path(__file__).resolve().parent.parent
JSON = ROOT / "docs" / "benchmarks"
SOURCE = 155.91 / 39.68  # what the source document saw at keep .9

KNORM = "knorm,knorm_protected,keydiff,streaming_llm:n_sink=0,knorm_high"
PRESSES = (
    "knorm,knorm_protected,keydiff,snapkv,tova,expected_attention,lagkv,pyramidkv,chunkkv:press=keydiff,"
    "adakv:press=snapkv,protected:press=keydiff,key_rerotation:press=streaming_llm"
)
ROLLING = "knorm,knorm_protected,keydiff,protected:press=keydiff,tova"

SHRUNKEN = ShrunkenPositions().measured()
AGAIN = {interval: CompoundingRatio(interval=interval) for interval in (1, 16, 64)}

# (what was planted, how the cache is compressed, positions, press)
PLANTED: list[tuple[str, Any, type[PositionedCache], str]] = [
    ("nothing", OneShot(), PositionedCache, "knorm"),
    ("keys stored in another order", OneShot(), StoredOrder, "knorm"),
    ("positions from the cache's length", OneShot(), SHRUNKEN, "knorm"),
    ("positions that never move on", Rolling(16), StuckPositions().measured(), "knorm"),
    ("a mask of the old length", OneShot(), StaleMask(hidden=4).measured(), "knorm"),
    ("wrong sign", OneShot(), PositionedCache, "knorm_high"),
    ("wrong sign, positions from the cache's length", OneShot(), SHRUNKEN, "knorm_high"),
    ("ratio again at every token", AGAIN[1], PositionedCache, "knorm"),
    ("ratio again at every token, positions from the cache's length", AGAIN[1], SHRUNKEN, "knorm"),
    ("ratio again every 16 tokens", AGAIN[16], PositionedCache, "knorm"),
    ("ratio again every 16 tokens, positions from the cache's length", AGAIN[16], SHRUNKEN, "knorm"),
    ("ratio again every 64 tokens", AGAIN[64], PositionedCache, "knorm"),
    ("ratio again every 64 tokens, positions from the cache's length", AGAIN[64], SHRUNKEN, "knorm"),
    ("rolling budget, recent tokens unprotected", Rolling(32), PositionedCache, "knorm"),
]  # fmt: skip


def base(small: bool) -> Settings:
    if small:
        return Settings(context=256, continuation=64, windows=2, needles=1, long=0, write=8, greedy=8, repeats=2,
                        new_tokens=8)  # fmt: skip
    return Settings(context=1024, continuation=256, windows=5, needles=3, long=3, repeats=7, writing_windows=2)


def knorm(causal: CausalModel, text: str, small: bool) -> dict[str, Any]:
    """The source document's table, measured properly: one-shot, true positions, controls, retrieval and cost."""
    settings = dataclasses.replace(
        base(small), press=KNORM, budgets=("1", "0.5") if small else ("1", "0.9", "0.8", "0.7", "0.5")
    )
    return json.loads(bench(causal, text, settings, progress=say).json())


def planted(causal: CausalModel, text: str, small: bool) -> dict[str, Any]:
    """The source document's faults, planted one by one and together."""
    settings = base(small)
    windows = text_windows(causal, text, settings)
    rows = []
    for what, when, cache, press in PLANTED:
        for keep in ("0.9",) if small or not isinstance(when, OneShot) else ("0.9", "0.5"):
            arm = ArmSpec(presses.parse(press)[0], CacheBudget.parse(keep))
            full, (found,) = score(causal.model, windows, settings.context, [arm], when, greedy=0, write=0, cache=cache)
            if found.dnll is None or found.ppl is None or found.sizes is None:
                rows.append({"planted": what, "keep": keep, "reason": found.reason})
                continue
            rows.append(
                {
                    "planted": what,
                    "keep": keep,
                    "full_ppl": full.value,
                    "ppl": found.ppl.value,
                    "times": found.dnll.exp().value,
                    "low": known(found.dnll.exp().low),
                    "high": known(found.dnll.exp().high),
                    "slots": found.sizes.slots,
                }
            )
            say(f"{what} {keep}: x{rows[-1]['times']:.2f}")
    return {"rows": rows, "source_times": SOURCE, "settings": dataclasses.asdict(settings)}


def side_by_side(causal: CausalModel, text: str, small: bool) -> dict[str, Any]:
    """The presses that matter, one-shot."""
    budgets = ("1", "0.5") if small else ("1", "0.75", "0.5", "0.25")
    settings = dataclasses.replace(base(small), press="knorm,keydiff" if small else PRESSES, budgets=budgets)
    return json.loads(bench(causal, text, settings, progress=say).json())


def rolling(causal: CausalModel, text: str, small: bool) -> dict[str, Any]:
    """The same while reading on."""
    settings = dataclasses.replace(
        base(small),
        press="knorm,knorm_protected" if small else ROLLING,
        budgets=("0.5",) if small else ("0.5", "0.25"),
        rolling=True,
        repeats=0,
        needles=0,
        long=0,
    )
    return json.loads(bench(causal, text, settings, progress=say).json())


def overhead(causal: CausalModel, text: str, small: bool) -> dict[str, Any]:
    """What measuring costs beside a plain transformers loop with kvpress' own hooks, medians of one run."""
    settings = dataclasses.replace(base(small), windows=1)
    (window,) = text_windows(causal, text, settings)
    repeats = 3 if small else 5
    found: dict[str, Any] = {
        "decode": decode_overhead(causal.model, window[None, : settings.context], repeats=repeats, new_tokens=16)
    }
    for count in (1, 4):
        specs = presses.parse("knorm,keydiff,snapkv,tova")[:count]
        arms = [ArmSpec(s, CacheBudget.parse("0.5")) for s in specs]
        ours, plain = [], []
        for turn in range(repeats + 1):
            for run, into in ((ours_once, ours), (plain_once, plain))[:: 1 if turn % 2 else -1]:
                start = time.perf_counter()
                run(causal, window, settings, arms)
                if turn:
                    into.append(time.perf_counter() - start)
        found[f"score_{count}_presses"] = Spread.of(ours).median / Spread.of(plain).median
    return found


def ours_once(causal: CausalModel, window: torch.Tensor, settings: Settings, arms: list[ArmSpec]) -> None:
    score(causal.model, [window], settings.context, arms, OneShot(), greedy=0, write=0)


@torch.inference_mode()
def plain_once(causal: CausalModel, window: torch.Tensor, settings: Settings, arms: list[ArmSpec]) -> None:
    from transformers import DynamicCache

    context, new = window[None, : settings.context], window[None, settings.context :]
    position_ids = torch.arange(settings.context, len(window))[None]
    for asked in (None, *arms):
        cache = DynamicCache()
        if asked is None or asked.press is None:
            causal.model(context, past_key_values=cache, logits_to_keep=1)
        else:
            press = asked.press.build()
            press.compression_ratio = 0.5
            with press(causal.model):
                causal.model(context, past_key_values=cache, logits_to_keep=1)
        logits = causal.model(new, past_key_values=cache, position_ids=position_ids).logits
        torch.nn.functional.cross_entropy(logits[0, :-1].float(), new[0, 1:])


PARTS: dict[str, Callable[[CausalModel, str, bool], dict[str, Any]]] = {
    "knorm": knorm,
    "planted": planted,
    "presses": side_by_side,
    "rolling": rolling,
    "overhead": overhead,
}


def known(value: float) -> float | None:
    """NaN is no JSON."""
    return value if value == value else None


def say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


# ---- the tables of the pages


def read(part: str) -> dict[str, Any] | None:
    file = JSON / f"kv_{part}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def tables() -> dict[str, str]:
    """Marker -> Markdown table, for what was measured."""
    made = {}
    for part in ("knorm", "presses", "rolling"):
        if (found := read(part)) is not None:
            made[part] = quality(found) + "\n\n" + where(found)
            if found["needle"]:
                made[f"{part}-needle"] = retrieval(found["needle"])
            if found["longset"]:
                made[f"{part}-long"] = retrieval(found["longset"])
            if found["timing"]:
                made[f"{part}-cost"] = cost(found["timing"])
    if (found := read("planted")) is not None:
        made["planted"] = faults(found)
    if (found := read("overhead")) is not None:
        made["overhead"] = "\n".join(
            f"- {k.replace('_', ' ')}: {v:.2f}x" for k, v in found.items() if isinstance(v, float)
        )
    return made


def table(head: list[str], rows: list[list[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def quality(found: dict[str, Any]) -> str:
    rows = []
    for a in found["arms"]:
        name = f"{a['press']} (control)" if a["control"] else a["press"]
        if a["reason"]:
            rows.append([name, a["budget"], "not measured", *[""] * 6])
            continue
        d, over = a["dnll"], a["over_control"]
        spread = "" if d["low"] is None else f" [{d['low']:.3f}, {d['high']:.3f}]"
        better = "" if over is None else ("yes" if over["high"] is not None and over["high"] < 0 else "no")
        hidden = " hidden" if a["sizes"]["masked_only"] else ""
        cells = [name, a["budget"], f"{a['sizes']['bytes'] / 2**20:.1f}{hidden}", f"{a['full_ppl']['value']:.2f}"]
        cells += [f"{a['ppl']['value']:.2f}", f"{d['value']:.3f}{spread}", f"{a['accuracy']:.3f}"]
        rows.append([*cells, f"{a['agreement']:.3f}", better])
    head = ["press", "keep", "KV MiB", "PPL, full", "PPL, compressed", "dNLL, nats [95 %]", "next right", "top-1 agree"]
    return table([*head, "beats random + sinks"], rows)


def where(found: dict[str, Any]) -> str:
    p, e = found["protocol"], found["environment"]
    return (
        f"{e['model']} ({e['dtype']}, {e['device']}, {e['threads']} thread(s)), {p['when']}, context {p['context']}, "
        f"{p['scored_tokens']} tokens scored in {p['windows']} windows, seed {p['seed']}, text {p['text_sha256']}; "
        f"torch {e['torch']}, transformers {e['transformers']}, kvpress {e['kvpress']}."
    )


def retrieval(rows: list[dict[str, Any]]) -> str:
    heads = sorted({r["task"] if r["depth"] is None else f"depth {r['depth']:g}" for r in rows})
    cells: dict[tuple[str, str], dict[str, list[int]]] = {}
    for r in rows:
        head = r["task"] if r["depth"] is None else f"depth {r['depth']:g}"
        counts = cells.setdefault((r["press"], r["budget"]), {}).setdefault(head, [0, 0])
        counts[0], counts[1] = counts[0] + r["right"], counts[1] + r["asked"]
    made = []
    for (press, budget), mine in cells.items():
        total = [sum(c[i] for c in mine.values()) for i in (0, 1)]
        made.append([press, budget, *(f"{mine[h][0]}/{mine[h][1]}" for h in heads), f"{total[0]}/{total[1]}"])
    return table(["press", "keep", *heads, "all"], made)


def cost(timing: dict[str, Any]) -> str:
    rows = []
    for r in timing["rows"]:
        t, p = r["ttft_ms"], r["tpot_ms"]
        rows.append([r["press"], r["budget"], f"{t['median']:.0f} [{t['q1']:.0f}, {t['q3']:.0f}]",
                     f"{r['cold_ms']:.0f} ({r['cold_order']})", f"{p['median']:.1f} [{p['q1']:.1f}, {p['q3']:.1f}]",
                     f"{r['tokens_per_s']:.1f}", f"{r['cache_bytes'] / 2**20:.1f}"])  # fmt: skip
    head = ["press", "keep", "TTFT ms [quartiles]", "cold TTFT ms (turn)", "TPOT ms", "tokens/s", "KV MiB"]
    floor = (
        f"Two runs of the same arm lie {100 * timing['noise_ttft']:.1f} % (TTFT) and "
        f"{100 * timing['noise_tpot']:.1f} % (TPOT) apart; {timing['repeats']} warm runs of each arm."
    )
    return table(head, rows) + "\n\n" + floor


def faults(found: dict[str, Any]) -> str:
    rows = []
    for r in found["rows"]:
        if "times" not in r:
            rows.append([r["planted"], r["keep"], "not measured", "", ""])
            continue
        spread = "" if r["low"] is None else f" [{r['low']:.2f}, {r['high']:.2f}]"
        slots = r["slots"][0] if r["slots"][0] == r["slots"][1] else f"{r['slots'][0]}-{r['slots'][1]}"
        rows.append([r["planted"], r["keep"], f"{r['ppl']:.2f}", f"x{r['times']:.2f}{spread}", slots])
    return table(["planted", "keep", "PPL", "times the full cache's", "slots"], rows)


def write_pages() -> None:
    """Put the tables between the markers of the pages."""
    made = tables()
    for page in (ROOT / "docs" / "cases" / "knorm.md", ROOT / "docs" / "cases" / "presses.md"):
        if not page.is_file():
            continue
        text = page.read_text(encoding="utf-8")
        for name, body in made.items():
            text = re.sub(
                rf"(<!-- numbers:{name} -->\n).*?(<!-- end -->)",
                lambda m, b=body: f"{m[1]}{b}\n{m[2]}",
                text,
                flags=re.S,
            )
        write_text(page, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be given repeatedly")
    parser.add_argument("--small", action="store_true", help="context 256, two windows: a try")
    parser.add_argument("--pages", action="store_true", help="only write the tables of the pages again")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=JSON)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT
    ).stdout.strip()
    stamp = {"benchmark": "kv_cases", "small": chosen.small, "threads": chosen.threads, "torch": torch.__version__,
             "commit": commit, "seconds": {}}  # fmt: skip
    if not chosen.pages:
        causal, text = load_causal("smollm2"), read_text("story")
        chosen.out.mkdir(parents=True, exist_ok=True)
        for part in chosen.part or PARTS:
            start = time.perf_counter()
            found = PARTS[part](causal, text, chosen.small)
            stamp["seconds"][part] = round(time.perf_counter() - start, 1)
            found["measured"] = {"commit": commit, "small": chosen.small, "seconds": stamp["seconds"][part]}
            write_text(chosen.out / f"kv_{part}.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if chosen.out == JSON:
        write_pages()
    print(json.dumps(stamp))


if __name__ == "__main__":
    main()

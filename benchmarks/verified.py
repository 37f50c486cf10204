"""Text from a vector, by search against the encoder: what each part of it brings, at equal encoder calls.

python benchmarks/verified.py checkpoints/sgdd_verses --per 30 --write docs/benchmarks
python benchmarks/verified.py checkpoints/sgdd_verses --near 10000 --write docs/benchmarks

Exact match (ignoring case and punctuation, and strict) against encoder calls, with Wilson's 95 % intervals, for
held-out texts of up to 8, 9 to 16 and 17 to 32 tokens of the model: those of its ``held_out.jsonl``, where it has one.
A run that was stopped goes on: texts that are in ``verified_MODEL.json`` are not written again. ``--near`` measures how
often a text that differs by a comma, a name, a number or the order of two words would be *verified*. Last line is JSON;
``python benchmarks/verified_page.py`` writes the page.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import unmask
from unmask.core.files import write_json
from unmask.evaluation.held_out import held_out
from unmask.evaluation.held_out_file import read_held_out
from unmask.families.puzzle.solving import interval_dict, wilson
from unmask.metrics.bleu import bleu
from unmask.metrics.rep_n import rep_n
from unmask.metrics.word_recall import word_recall
from unmask.metrics.words import word_tokens
from unmask.search.lexicons import lexicon_of
from unmask.search.loop import SearchResult, search
from unmask.search.plan import RankingWeights, SearchPlan
from unmask.search.units import split_units
from unmask.search.verifiers.cosine import THRESHOLDS, CosineVerifier
from unmask.search.writer import MaskFiller
from where import where

BUCKETS = {"<= 8": (1, 8), "9-16": (9, 16), "17-32": (17, 32)}
MARKS = (50, 100, 200, 400, 700, 1000, 1500, 2000)
LOCAL = ("replace", "insert", "delete", "move")
SWAPS = {"one": "two", "two": "three", "three": "four", "seven": "eight", "ten": "nine", "hundred": "thousand"}
#: texts that are written together, and kept when they are
PIECE = 10
UNGUIDED = RankingWeights(word=0.0, missing=0.0, foreign=0.0, gain=0.0)

Way = tuple[SearchPlan, "Starts | None"]
Starts = Callable[[Sequence[str], torch.Tensor], list[list[str]]]


class Bench:
    """A model with its encoder, lexicon and training texts."""

    def __init__(self, folder: str, texts: str | None, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model: Any = unmask.load(folder, "cpu")
        travels = [] if texts else read_held_out(folder)
        self.kinds = {one.text: one.kind for one in travels}
        self.drawn = {name: [one.text for one in travels if one.bucket == high] for name, (_, high) in BUCKETS.items()}
        self.texts = [one.text for one in travels]
        self._source = texts
        self.encoder = self.model.card.load_encoder()
        self.coarse = self.model.card.load_encoder("bf16")
        self.lexicon = lexicon_of(self.model)
        self._known_z: torch.Tensor | None = None
        if not travels:
            self.texts = list(held_out(self.model, texts, texts=10**6)[1])

    @cached_property
    def known(self) -> list[str]:
        """What was trained on."""
        return list(held_out(self.model, self._source, texts=10**6)[2] or [])

    def buckets(self, per: int) -> dict[str, list[str]]:
        """Texts of each bucket; whole sentences of longer texts fill the short one."""
        if self.kinds:
            return {
                name: [texts[int(i)] for i in np.linspace(0, len(texts) - 1, min(per, len(texts))).round()]
                for name, texts in self.drawn.items()
            }
        trained = {" ".join(word_tokens(s)) for t in self.known for s in [t, *_sentences(t)]}
        whole = {t: n for t, n in zip(self.texts, self._tokens(self.texts), strict=True)}
        found = {}
        for name, (low, high) in BUCKETS.items():
            mine = [t for t, n in whole.items() if low <= n <= high and " ".join(word_tokens(t)) not in trained]
            if name == "<= 8" and len(mine) < per:
                parts = sorted({s for t in self.texts for s in _sentences(t) if s[0].isupper() and '"' not in s})
                fits = [s for s, n in zip(parts, self._tokens(parts), strict=True) if 4 <= n <= high]
                fits = [s for s in fits if " ".join(word_tokens(s)) not in trained and s not in mine]
                mine += random.Random(0).sample(fits, min(len(fits), per - len(mine)))
            found[name] = [mine[int(i)] for i in np.linspace(0, len(mine) - 1, min(per, len(mine))).round()]
        return found

    def _tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self.model.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.from_numpy(self.encoder.encode(list(texts)))

    def search(
        self, texts: Sequence[str], numbers: Sequence[int], plan: SearchPlan, starts: Starts | None = None
    ) -> list[SearchResult]:
        """What was found for the vectors of texts, whose numbers name the noise."""
        z_BZ = self.encode(texts)
        check = CosineVerifier(dict(zip(numbers, z_BZ, strict=True)), self.encoder, self.coarse)
        writer = MaskFiller(self.model.denoiser, self.model.tokenizer)
        first = None if starts is None else starts(texts, z_BZ)
        return search(list(numbers), z_BZ, check, writer, self.lexicon, plan, starts=first)

    def rows(self, name: str, texts: Sequence[str], numbers: Sequence[int], way: Way | None) -> list[dict[str, Any]]:
        """What a way makes of some texts, one row a text."""
        begun = time.process_time()
        found = self.once(texts) if way is None else self.search(texts, numbers, *way)
        seconds = (time.process_time() - begun) / len(texts)
        return [row(t, one, seconds, self.kinds.get(t, "")) for t, one in zip(texts, found, strict=True)]

    def once(self, texts: Sequence[str]) -> list[SearchResult]:
        """One generation in 16 steps at temperature 0, which asks the encoder nothing."""
        out = unmask.sample(self.model, list(texts), steps=16, temperature=0.0, precision="fp32")
        score = (self.encode(out.texts) * self.encode(texts)).sum(1).tolist()
        return [
            SearchResult(t, s, s >= THRESHOLDS["fp32"], 0, 16, "", []) for t, s in zip(out.texts, score, strict=True)
        ]

    def nearest(self, texts: Sequence[str], z_BZ: torch.Tensor) -> list[list[str]]:
        """The training texts whose vectors are nearest, and clauses of them."""
        if self._known_z is None:
            some = random.Random(0).sample(self.known, min(len(self.known), 20_000))
            self._near = [*some, *{s for t in some for s in _sentences(t)}]
            self._known_z = torch.from_numpy(self.coarse.encode(self._near))
        top = (z_BZ @ self._known_z.T).topk(8, -1).indices.tolist()
        return [[self._near[i] for i in row] for row in top]

    def n_grams(self, texts: Sequence[str], z_BZ: torch.Tensor) -> list[list[str]]:
        """Texts drawn word by word from the trigram and the probe together, with no denoiser."""
        lexicon, out = self.lexicon, []
        trigram, every = lexicon.trigram, np.arange(len(lexicon.words))
        for row, z in enumerate(z_BZ):
            draw, found = np.random.default_rng(row), []
            logits = lexicon.probe.logits(z[None])[0].numpy()
            length = float(lexicon.probe.length(z[None])[0])
            for _ in range(48):
                ids = [trigram.start, trigram.start]
                for _ in range(max(2, round(draw.normal(length, 2 + 0.08 * length)))):
                    a, b = np.full(len(every), ids[-2]), np.full(len(every), ids[-1])
                    score = trigram.log_prob(a, b, every) + 0.6 * logits - 2.5 * np.isin(every, ids)
                    top = np.argpartition(-score, 24)[:24]
                    chance = np.exp((score[top] - score[top].max()) / 0.8)
                    ids.append(int(draw.choice(top, p=chance / chance.sum())))
                found.append(lexicon.spelling.spell([lexicon.words[i] for i in ids[2:]]))
            out.append(found)
        return out


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.?!])\s+(?=[A-Z\"])", text) if part]


def arms(bench: Bench, calls: int) -> dict[str, tuple[SearchPlan, Starts | None]]:
    """Ablations by name; each may spend the same encoder calls."""
    whole = SearchPlan(calls=calls)
    bare = replace(whole, bias=0.0, elite=0.0, join=False)
    edits = (*LOCAL, "cross")
    return {
        "best of N": (replace(bare, proposals=(), drafts=calls, waves=0), None),
        "nearest training text + edits": (
            replace(whole, drafts=0, proposals=edits, weights=RankingWeights(denoiser=0.0)),
            bench.nearest,
        ),
        "no denoiser": (replace(whole, drafts=0, proposals=edits, weights=RankingWeights(denoiser=0.0)), bench.n_grams),
        "random remask": (replace(bare, proposals=("span", "whole")), None),
        "local edits": (replace(bare, proposals=LOCAL, weights=UNGUIDED), None),
        "+ probes": (replace(whole, proposals=LOCAL, join=False), None),
        "+ joined edits": (replace(whole, proposals=LOCAL), None),
        "everything": (whole, None),
    }


def plain(text: str) -> str:
    return " ".join(word_tokens(text.replace("'", "")))


def row(text: str, one: SearchResult, seconds: float, kind: str) -> dict[str, Any]:
    """One text: what was written, whether it is right, and when it was first right for good."""
    path = [(h.calls, h.text) for h in one.path] or [(one.calls, one.text)]
    return {
        "text": text,
        "kind": kind,
        "wrote": one.text,
        "exact": plain(one.text) == plain(text),
        "strict": one.text == text,
        "verified": one.verified,
        "cosine": round(one.score, 5),
        "calls": one.calls,
        "forwards": one.forwards,
        "seconds": round(seconds, 2),
        # the best hypothesis after so many calls: right or not
        "curve": {
            str(mark): plain(next((t for calls, t in reversed(path) if calls <= mark), "")) == plain(text)
            for mark in MARKS
            if one.path
        },
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares with intervals, and means, over rows."""

    def share(hits: Sequence[bool]) -> dict[str, Any]:
        return interval_dict(wilson(sum(hits), len(hits)))

    pairs = [row["wrote"] for row in rows], [row["text"] for row in rows]
    found: dict[str, Any] = {key: share([row[key] for row in rows]) for key in ("exact", "strict", "verified")}
    found["false verified"] = sum(row["verified"] and not row["exact"] for row in rows)
    found["bleu"] = bleu(*pairs).bleu
    held, wanted = word_recall(*pairs)
    found["recall"] = float(held.sum() / wanted.sum())
    found["rep_2"] = [float(np.nanmean(rep_n([word_tokens(t) for t in part], 2))) for part in pairs]
    found |= {key: float(np.mean([row[key] for row in rows])) for key in ("cosine", "calls", "forwards", "seconds")}
    found["curve"] = {mark: share([row["curve"][mark] for row in rows]) for mark in rows[0]["curve"]}
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("whole", "sentence")}
    found["kinds"] = {kind: share([row["exact"] for row in mine]) for kind, mine in kinds.items() if mine}
    return found


# -- near misses ----------------------------------------------------------------------------------------------------
def near_misses(texts: Sequence[str], count: int) -> list[tuple[str, str, str]]:
    """(kind, text, a text that differs from it by little)."""
    draw, found = random.Random(0), []
    names = sorted({u for t in texts for u in split_units(t)[1:] if u[0].isupper()})
    kinds = ("comma", "name", "number", "order", "mark")
    while len(found) < count:
        text = draw.choice(texts)
        kind = draw.choice(kinds)
        parts = text.split(" ")
        at = draw.randrange(len(parts))
        if kind == "comma":
            new = [p.rstrip(",") if i == at else p for i, p in enumerate(parts)]
            new = new if new != parts else [p + "," if i == at and p[-1].isalnum() else p for i, p in enumerate(parts)]
        elif kind == "name":
            spots = [i for i, p in enumerate(parts) if i and p.strip(",.;:?!\"'") in names]
            new = list(parts)
            if spots:
                i = draw.choice(spots)
                new[i] = parts[i].replace(parts[i].strip(",.;:?!\"'"), draw.choice(names))
        elif kind == "number":
            swaps = {
                "one": "two",
                "two": "three",
                "three": "four",
                "seven": "eight",
                "ten": "nine",
                "hundred": "thousand",
            }
            new = [swaps.get(p, p) for p in parts]
        elif kind == "order":
            new = list(parts)
            i = draw.randrange(max(1, len(parts) - 1))
            new[i : i + 2] = new[i : i + 2][::-1]
        else:
            new = [*parts[:-1], parts[-1].rstrip(".;:,") + draw.choice([";", ":", ",", "!", "?"])]
        other = " ".join(new)
        if other.lower() != text.lower():
            found.append((kind, text, other))
    return found


def near(bench: Bench, count: int) -> dict[str, Any]:
    """How near the nearest misses come, and how many would be verified, by how the vectors are stored."""
    rows = near_misses(bench.texts, count)
    texts = sorted({t for _, a, b in rows for t in (a, b)})
    z_NZ = torch.nn.functional.normalize(bench.encode(texts), dim=1)
    at = {t: i for i, t in enumerate(texts)}
    one, two = (z_NZ[[at[row[i]] for row in rows]] for i in (1, 2))
    found: dict[str, Any] = {"count": len(rows), "kinds": {}}
    for stored, least in THRESHOLDS.items():
        kept = _stored(one, stored)
        cosine = torch.nn.functional.cosine_similarity(kept, two)
        itself = torch.nn.functional.cosine_similarity(kept, one)
        wrong = int((cosine >= least).sum())
        found[stored] = {
            "threshold": least,
            "false verified": interval_dict(wilson(wrong, len(rows))),
            "highest": round(float(cosine.max()), 6),
            "the text itself refused": int((itself < least).sum()),
            "lowest of the text itself": round(float(itself.min()), 6),
        }
    cosine = (one * two).sum(1)
    for kind in sorted({row[0] for row in rows}):
        mine = cosine[[i for i, row in enumerate(rows) if row[0] == kind]]
        found["kinds"][kind] = {"median": round(float(mine.median()), 5), "highest": round(float(mine.max()), 6)}
    return found


def _stored(z_NZ: torch.Tensor, how: str) -> torch.Tensor:
    if how == "int8":
        scale = z_NZ.abs().amax(1, keepdim=True) / 127
        return (z_NZ / scale).round() * scale
    kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return z_NZ.to(kinds[how]).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a model that writes from vectors")
    parser.add_argument("--texts", help="file of held-out texts; what training held out when left out")
    parser.add_argument("--per", type=int, default=30, help="texts a bucket")
    parser.add_argument("--calls", type=int, default=2000, help="encoder calls a text")
    parser.add_argument("--arms", help="names, comma between; all when left out")
    parser.add_argument("--near", type=int, default=0, help="near misses to verify instead")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", type=Path, help="folder for verified.json")
    given = parser.parse_args()
    bench = Bench(given.model, given.texts, given.threads)
    name = Path(given.model).name
    path = None if given.write is None else given.write / f"verified_{name}.json"
    found: dict[str, Any] = {"benchmark": "verified", "model": name, "calls": given.calls}
    if path is not None and path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["calls"] != given.calls:
            parser.error(f"{path} was measured with --calls {kept['calls']}: choose another folder")
        found |= kept
    found["where"] = where()
    if given.near:
        found["near misses"] = near(bench, given.near)
        print(json.dumps(found["near misses"], indent=1))
    else:
        ways: dict[str, Way | None] = {"one pass": None, **arms(bench, given.calls)}
        for bucket, texts in bench.buckets(given.per).items():
            for way in given.arms.split(",") if given.arms else ways:
                rows = found.setdefault("arms", {}).setdefault(way, {}).setdefault(bucket, {}).setdefault("rows", [])
                known = {row["text"] for row in rows}
                left = [(i, t) for i, t in enumerate(texts) if t not in known]
                for start in range(0, len(left), PIECE):
                    numbers, some = zip(*left[start : start + PIECE], strict=True)
                    rows += bench.rows(way, some, numbers, ways[way])
                    if path is not None:
                        write_json(path, found)
                now = found["arms"][way][bucket] = {**summary(rows), "rows": rows}
                print(f"{bucket:6} {way:30} exact {now['exact']['value']:.2f} calls {now['calls']:.0f}", flush=True)
    if path is not None:
        write_json(path, found)
    print(json.dumps({"benchmark": "verified", "model": name, "where": found["where"]}))


if __name__ == "__main__":
    main()

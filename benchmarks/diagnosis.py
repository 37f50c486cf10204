"""Lesions x checks: is every planted fault named first, and is no healthy model blamed? Last line is JSON.

    python benchmarks/diagnosis.py [FOLDER ...] [--seeds 0 1 2] [--dims 64 128] [--budget quick] [--write
    docs/diagnosis_benchmark.md]

``FOLDER`` are runs of ``unmask train`` (their cards name their data). Without any, small models on clauses of the World
English Bible are trained here: plain and conditional on MiniLM's vector, each size and seed; and a causal one.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from unmask.core.condition import Condition
from unmask.core.errors import WrongUse
from unmask.data.corpora import verses
from unmask.data.tokenizer import encode_fixed, train_bpe
from unmask.diagnosis.causal import CausalSubject
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.lesion import lesions
from unmask.diagnosis.lesions._training import ShortTraining
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.subject import Batch, Subject
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel

LENGTH, VOCAB = 32, 1024


class Corpus:
    """Clauses of verses as canvases with MiniLM's vectors; made once."""

    def __init__(self, texts: int) -> None:
        clauses = {c.strip() for verse in verses("web").values() for c in re.split(r"(?<=[,;:.!?])", verse)}
        chosen = sorted(c for c in clauses if 20 <= len(c) <= 80)
        random.Random(0).shuffle(chosen)
        chosen = chosen[:texts]
        cut = len(chosen) // 15
        self.tokenizer = train_bpe(chosen[cut:], VOCAB)
        self.held, self.train = self._rows(chosen[:cut]), self._rows(chosen[cut:])

    def _rows(self, texts: list[str]) -> Batch:
        from unmask.models.encoders import SentenceEncoder

        rows = encode_fixed(self.tokenizer, texts, LENGTH, over_long="drop")
        kept = tuple(texts[i] for i in rows.rows)
        vectors = torch.from_numpy(SentenceEncoder.load("minilm").encode(list(kept), batch_size=256, progress=True))
        return Batch(torch.from_numpy(rows.ids).long(), Condition.of(vectors.float()), texts=kept)


def without_vectors(batch: Batch) -> Batch:
    return Batch(batch.ids_BL, texts=batch.texts)


def masked(corpus: Corpus, conditional: bool, dim: int, seed: int, steps: int) -> NativeSubject:
    torch.manual_seed(seed)
    train, held = corpus.train, corpus.held
    config: dict[str, Any] = {}
    if conditional:
        assert train.cond is not None
        config = {"conditioning": "adaln", "latent_dim": train.cond.latent_BZ.shape[1], "latent_tokens": 4}
    else:
        train, held = without_vectors(train), without_vectors(held)
    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(
            vocab_size=VOCAB,
            max_length=LENGTH,
            dim=dim,
            layers=3,
            heads=4,
            ffn_dim=4 * dim,
            time_embedding=True,
            **config,
        )
    )
    if net.latent is not None and train.cond is not None:
        net.latent.whiten.fit(train.cond.latent_BZ[:20_000])
    ShortTraining(steps=steps, seed=seed, lr=2e-3)(net, train.ids_BL, train.cond)
    kind = "SGDD" if conditional else "plain"
    return NativeSubject(net, held, train, tokenizer=corpus.tokenizer, name=f"{kind} {dim} seed {seed}")


def causal(corpus: Corpus, dim: int, seed: int, steps: int) -> CausalSubject:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB, hidden_size=dim, intermediate_size=2 * dim, num_hidden_layers=3, num_attention_heads=4,
            max_position_embeddings=4 * LENGTH, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1,
            eos_token_id=1,
        )
    )  # fmt: skip
    best = torch.optim.AdamW(model.parameters(), 3e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(best, 3e-3, total_steps=steps + 1)
    noise = torch.Generator().manual_seed(seed)
    ids_NL = corpus.train.ids_BL
    for _ in range(steps):
        ids_BL = ids_NL[torch.randint(0, len(ids_NL), (64,), generator=noise)]
        logits_BLV = model(input_ids=ids_BL).logits
        loss = torch.nn.functional.cross_entropy(
            logits_BLV[:, :-1].flatten(0, 1), ids_BL[:, 1:].flatten(), ignore_index=0
        )
        best.zero_grad()
        loss.backward()
        best.step()
        rate.step()
    held, train = without_vectors(corpus.held), without_vectors(corpus.train)
    return CausalSubject(
        model.eval(), held, train, pad_id=0, eos_id=1, tokenizer=corpus.tokenizer, name=f"causal {dim} seed {seed}"
    )


def from_folder(folder: str) -> NativeSubject:
    from unmask import api

    model = api.load(folder)
    sources, references, found = api.held_out(model, texts=512)
    train_texts = [] if found is None else [found.train[i] for i in range(min(8000, len(found.train)))]
    subject = NativeSubject.of(model, references, sources=sources, train_texts=train_texts)
    if train_texts:  # trained lesions need the vectors of the training rows too
        cond = model.condition(train_texts) if model.denoiser.conditional else None
        subject.train = lambda n: Batch(model.tokenize(train_texts), cond).rows(0, n)
    return subject


def subjects(words: argparse.Namespace) -> Iterator[Subject]:
    if words.folders:
        yield from (from_folder(folder) for folder in words.folders)
        return
    corpus = Corpus(words.texts)
    for dim in words.dims:
        for seed in words.seeds:
            yield masked(corpus, True, dim, seed, words.steps)
            yield masked(corpus, False, dim, seed, words.steps)
        yield causal(corpus, dim, words.seeds[0], words.steps)


def sick(subject: Subject, words: argparse.Namespace) -> Iterator[tuple[str, str, Subject, str]]:
    """(lesion, the check that must name it, the subject with it, the budget)."""
    for name in words.lesions or lesions:
        leaf = lesions.get(name)
        if subject.kind not in leaf.kinds or (leaf.conditional and not subject.conditional):
            continue
        for example in leaf.examples():
            try:
                yield (
                    lesions.spec_of(example),
                    leaf.caught_by,
                    example.inject(subject),
                    "full" if leaf.needs_full else words.budget,
                )
            except WrongUse as error:
                print(f"  {name}: cannot be planted ({error})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dims", type=int, nargs="+", default=[96, 160])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--texts", type=int, default=40_000)
    parser.add_argument("--budget", default="quick", choices=("quick", "full"))
    parser.add_argument("--lesions", nargs="+", help="only these")
    parser.add_argument("--write", type=Path)
    words = parser.parse_args()
    planted: list[dict[str, Any]] = []
    healthy: list[dict[str, Any]] = []
    for subject in subjects(words):
        verdict = diagnose(subject, budget=words.budget)
        healthy.append({"subject": subject.name, "status": verdict.status, "seconds": verdict.seconds,
                        "forwards": verdict.forwards, "failed": [f.check for f in verdict.findings if f.status ==
                        "fail"], "warned": [f.check for f in verdict.findings if f.status == "warn"]})  # fmt: skip
        print(f"{subject.name}: {verdict.headline} ({verdict.seconds:.1f} s)", flush=True)
        for lesion, check, other, budget in sick(subject, words):
            start = time.perf_counter()
            verdict = diagnose(other, budget=budget)  # type: ignore[arg-type]
            named = [cause.finding.check for cause in verdict.causes]
            planted.append({"subject": subject.name, "lesion": lesion, "check": check, "causes": named,
                            "seconds": round(time.perf_counter() - start, 1)})  # fmt: skip
            word = "first" if named[:1] == [check] else "top 3" if check in named[:3] else "MISSED"
            print(f"  {word:6s} {lesion:32s} {check:22s} {', '.join(named)}", flush=True)
    first = sum(p["causes"][:1] == [p["check"]] for p in planted)
    third = sum(p["check"] in p["causes"][:3] for p in planted)
    false = sum(h["status"] == "fail" for h in healthy)
    n = max(len(planted), 1)
    result = {
        "benchmark": "diagnosis",
        "budget": words.budget,
        "planted": len(planted),
        "named_first": round(first / n, 4),
        "named_in_top_three": round(third / n, 4),
        "healthy": len(healthy),
        "false_alarms": false,
        "median_seconds": sorted(h["seconds"] for h in healthy)[len(healthy) // 2] if healthy else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        ).stdout.strip(),
    }
    if words.write is not None:
        words.write.write_text(page(result, planted, healthy), encoding="utf-8")
    print(json.dumps(result))


def page(result: dict[str, Any], planted: list[dict[str, Any]], healthy: list[dict[str, Any]]) -> str:
    """The matrix as a Markdown page: for each lesion, over the subjects, how often it was named first and in "
    "the top 3."""
    lines = [
        "# Does the diagnosis find what was planted?",
        "",
        "Made by `python benchmarks/diagnosis.py --write docs/diagnosis_benchmark.md`. A fault is *named first* "
        "if the check that must "
        "catch it is the first cause of the verdict.",
        "",
        f"{result['planted']} planted faults: {result['named_first']:.1%} named first, "
        f"{result['named_in_top_three']:.1%} in the top "
        f"three. {result['healthy']} healthy subjects, {result['false_alarms']} false alarms. Budget "
        f"{result['budget']}, commit "
        f"{result['commit']}, {result['threads']} threads.",
        "",
        "| lesion | must be named by | subjects | first | top 3 | named instead |",
        "|---|---|---|---|---|---|",
    ]
    for lesion in dict.fromkeys(p["lesion"] for p in planted):
        rows = [p for p in planted if p["lesion"] == lesion]
        first = sum(p["causes"][:1] == [p["check"]] for p in rows)
        third = sum(p["check"] in p["causes"][:3] for p in rows)
        other = sorted({p["causes"][0] if p["causes"] else "nothing" for p in rows if p["causes"][:1] != [p["check"]]})
        lines.append(f"| {lesion} | {rows[0]['check']} | {len(rows)} | {first} | {third} | {', '.join(other) or '-'} |")
    lines += ["", "| healthy subject | verdict | warned | forwards | seconds |", "|---|---|---|---|---|"]
    lines += [
        f"| {h['subject']} | {h['status']} | {', '.join(h['warned']) or '-'} | {h['forwards']:,} | {h['seconds']:.1f} |"
        for h in healthy
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

"""Three real cases of a good score and bad text, diagnosed; fills the marked parts of docs/cases/. Last line is JSON.

    python benchmarks/cases.py ignored     an SGDD whose vector is ignored, its healthy twin, and the cure (3 trainings)
    python benchmarks/cases.py ppl7        "PPL 7" scored on visible tokens, on checkpoints/sgdd_verses
    python benchmarks/cases.py bert        a BERT-style masked language model used as a diffusion model (1 training)

Reports and weights go to ``runs/cases/NAME``; the numbers to docs/cases/NAME.json. ``--pictures`` also photographs the
reports (needs Chromium).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from case_pages import PAGES, fill, picture
from diagnosis_models import LENGTH, VOCAB, Corpus, corpus, prepare
from unmask import api
from unmask.data.tokenizer import decode
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.diagnosis.fault import faults
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.subject import Batch, State, everywhere
from unmask.diagnosis.verdict import Verdict
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskingProcess
from unmask.metrics.bleu import bleu
from unmask.metrics.exact_match import exact_match
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.encoders import encoder_folder
from unmask.models.hub import silenced

ROOT = Path(__file__).parents[1]
LAW = MaskingProcess("count", time_power=1.5)


# -- what is measured beside the verdict ------------------------------------------------------------------------------
def hidden_nats(subject: NativeSubject, share: float, rows: int = 512, padding_seen: bool = True) -> float:
    """Nats a hidden token of the text when ``share`` of each row is hidden."""
    batch = subject.data(rows)
    L = batch.ids_BL.shape[1]
    noise_BL = torch.rand(batch.ids_BL.shape, generator=torch.Generator().manual_seed(1))
    at_BL = noise_BL.argsort(1).argsort(1) < max(1, round(share * L))
    asked_BL = at_BL & text(subject, batch.ids_BL)
    valid_BL = None
    if not padding_seen:
        # as a BERT was trained: padding does not exist, and [CLS] and [SEP] are never asked for
        valid_BL = text(subject, batch.ids_BL)
        special_BL = torch.isin(batch.ids_BL, torch.tensor(subject.tokenizer.all_special_ids))
        asked_BL = asked_BL & ~special_BL
        at_BL = at_BL if share == 1 else at_BL & ~special_BL
    state = State(batch.ids_BL.masked_fill(at_BL, subject.denoiser.mask_id), asked_BL, batch.cond, valid_BL=valid_BL)
    return nats(subject, state, batch.ids_BL)


def nats(subject: NativeSubject, state: State, ids_BL: Tensor) -> float:
    """Mean cross-entropy where the state asks."""
    total, count = 0.0, 0
    for first in range(0, len(ids_BL), 32):
        part = state.rows(first, first + 32)
        with torch.no_grad():
            logits_NV = subject.predict(part)
        target_N = ids_BL[first : first + 32][part.at_BL]
        total += float(torch.nn.functional.cross_entropy(logits_NV.float(), target_N, reduction="sum"))
        count += len(target_N)
    return total / count


def text(subject: NativeSubject, ids_BL: Tensor) -> Tensor:
    """The tokens of each text, its end included, padding not."""
    return everywhere(ids_BL) if subject.pad_id is None else ids_BL != subject.pad_id


def written(subject: NativeSubject, texts: int, guidance: float = 1.0) -> tuple[list[str], list[str]]:
    """Held-out texts, and what is written for them: 16 steps, margin order, the most probable token."""
    batch = subject.data(texts)
    plan = DecodingPlan(order="margin", steps=16, temperature=0.0, guidance=guidance)
    canvas_BL = torch.full_like(batch.ids_BL, subject.denoiser.mask_id)
    with torch.no_grad():
        out = generate(subject.denoiser, canvas_BL, plan, cond=batch.cond)
    assert batch.texts is not None
    return list(batch.texts), decode(subject.tokenizer, out.sequences)


def figures(subject: NativeSubject, texts: int = 128, padding_seen: bool = True) -> dict[str, Any]:
    """The numbers that people watch, beside what it writes."""
    true, mine = written(subject, texts)
    score = bleu(mine, true)
    return {
        "ppl_15_percent_hidden": math.exp(hidden_nats(subject, 0.15, padding_seen=padding_seen)),
        "ppl_half_hidden": math.exp(hidden_nats(subject, 0.5, padding_seen=padding_seen)),
        "ppl_all_hidden": math.exp(hidden_nats(subject, 1.0, padding_seen=padding_seen)),
        "exact_match": float(exact_match(mine, true).mean()),
        "bleu": score.bleu,
        "bleu_1": score.bleu_1,
        "texts": texts,
        "samples": [{"text": t, "written": m} for t, m in zip(true[:5], mine[:5], strict=True)],
    }


def said(verdict: Verdict) -> dict[str, Any]:
    """A verdict in brief."""
    return {
        "status": verdict.status,
        "headline": verdict.headline,
        "causes": [
            {"check": c.finding.check, "measured": c.finding.measured, "next": c.finding.next_step,
             "explains": list(c.consequences)} for c in verdict.causes
        ],
        "warnings": [f.check for f in verdict.findings if f.status == "warn"],
        "forwards": verdict.forwards,
        "seconds": verdict.seconds,
        "numbers": {f.check: f.tree()["numbers"] for f in verdict.findings if f.check in ("latent_use", "loss_by_ratio",
                                                                                       "scored_visible")},
    }  # fmt: skip


# -- training ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Training:
    """SGDD with a variational bottleneck: the mean loss of hidden tokens plus beta times the KL.

    Attributes:
        beta: weight of the KL. per_text: take the KL a text, which is what the mistake does; else a token.
    """

    beta: float
    per_text: bool
    steps: int
    seed: int = 0
    lr: float = 2e-3

    def __call__(self, net: MaskedDiffusionModel, data: Corpus) -> MaskedDiffusionModel:
        torch.manual_seed(self.seed)
        noise = torch.Generator().manual_seed(self.seed)
        best = torch.optim.AdamW(net.parameters(), self.lr, betas=(0.9, 0.98), weight_decay=0.01)
        rate = torch.optim.lr_scheduler.OneCycleLR(best, self.lr, total_steps=self.steps + 1, pct_start=0.1)
        net.train()
        assert data.train.cond is not None
        for step in range(self.steps):
            rows = torch.randint(0, len(data.train), (64,), generator=noise)
            ids_BL = data.train.ids_BL[rows]
            cond = data.train.cond[rows].drop(torch.rand(64, generator=noise) < 0.1)
            losses = token_losses(net, LAW.corrupt(ids_BL, net.mask_id, noise), cond)
            assert losses.kl_BZ is not None
            kl = losses.kl_BZ.sum(1).mean()  # nats a text
            if not self.per_text:
                kl = kl / (ids_BL != net.pad_id).sum(1).float().mean()
            # both run-ups are the usual ones: the KL comes in over the first tenth
            loss = losses.loss + self.beta * min(1.0, 10 * step / self.steps) * kl
            best.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            best.step()
            rate.step()
        return net.eval()


def bottlenecked(data: Corpus, seed: int = 0) -> MaskedDiffusionModel:
    torch.manual_seed(seed)
    assert data.train.cond is not None
    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(
            vocab_size=VOCAB, max_position_embeddings=LENGTH,
            dim=96, layers=3, heads=4, ffn_dim=384, time_embedding=True,
            conditioning="adaln", latent_dim=data.train.cond.latent_BZ.shape[1], latent_tokens=4, bottleneck=96,
        )
    )  # fmt: skip
    assert net.latent is not None
    net.latent.whiten.fit(data.train.cond.latent_BZ)
    return net


# -- the cases --------------------------------------------------------------------------------------------------------
def ignored(words: argparse.Namespace, place: Path) -> dict[str, Any]:
    """The KL is taken a text, the cross-entropy a token: the bottleneck is squeezed shut."""
    data = corpus(inputs())
    tokens = float((data.train.ids_BL != 0).sum(1).float().mean())
    beta = 0.2
    wrong = Training(beta, per_text=True, steps=words.steps)
    right = replace(wrong, per_text=False, beta=0.02)
    sick = wrong(bottlenecked(data), data)
    case: dict[str, Any] = {"tokens_a_text": tokens, "beta_sick": beta, "beta_right": right.beta, "steps": words.steps}
    case |= judged("sick", sick, data, place)
    case |= judged("healthy", right(bottlenecked(data), data), data, place)
    case |= judged("cured", right(sick, data), data, place)
    return case


def judged(name: str, net: MaskedDiffusionModel, data: Corpus, place: Path) -> dict[str, Any]:
    """Figures and verdict of one model; its report is saved."""
    subject = NativeSubject(net, data.held, data.train, tokenizer=data.tokenizer, law=LAW, name=f"SGDD, {name}")
    verdict = api.diagnose(subject)
    verdict.save(place / f"{name}.html")
    verdict.save(place / f"{name}.json")
    print(f"{name}: {verdict.headline}", flush=True)
    return {name: figures(subject) | {"verdict": said(verdict)}}


def ppl7(words: argparse.Namespace, place: Path) -> dict[str, Any]:
    """The number of the seed: clean text, time 0, every position scored."""
    from unmask.evaluation.scored import scored_texts

    model = api.load(ROOT / "checkpoints" / "sgdd_verses", "cpu")
    chosen = scored_texts(model, texts=512)
    sources, references, known = chosen.sources, chosen.references, chosen.known
    assert known is not None
    train = [known[i] for i in range(0, len(known), max(1, len(known) // 2000))]
    subject = NativeSubject.of(model, references, sources=sources, train_texts=train)
    batch = subject.data(len(references))
    seen_BL = text(subject, batch.ids_BL)
    shown = State(batch.ids_BL, seen_BL, batch.cond, t_B=torch.zeros(len(batch)))
    case = {"ppl_visible": math.exp(nats(subject, shown, batch.ids_BL)), "texts_scored": len(batch)} | figures(subject)
    for name, other in {"honest": subject, "visible": faults.make("visible_scored").inject(subject)}.items():
        other.name = f"sgdd_verses, {name} loss"
        verdict = api.diagnose(other)
        verdict.save(place / f"{name}.html")
        verdict.save(place / f"{name}.json")
        print(f"{name}: {verdict.headline}", flush=True)
        case[name] = said(verdict)
        case[f"{name}_loss"] = other.training_view(other.data(64), 0).loss
    return case


def bert(words: argparse.Namespace, place: Path) -> dict[str, Any]:
    """MiniLM's own body, trained on as BERTs are: 15 % chosen; of these 80 % hidden, 10 % replaced, 10 % kept.

    Padding is neither seen nor scored. MiniLM ships without a head for masked words: a new one is learned here.
    """
    data, folder = corpus(inputs()), encoder_folder("minilm")
    assert data.held.texts is not None and data.train.texts is not None
    if not words.keep or not (place / "model" / "config.json").is_file():
        masked_lm(words.steps, data, folder, place / "model")
    model = api.load(place / "model", "cpu")
    model.card = replace(model.card, length=LENGTH)  # clauses are short; its own canvas is 128
    # what a user types: unmask diagnose runs/cases/bert/model --data FILE
    verdict = api.diagnose(model, data.held.texts)
    verdict.save(place / "report.html")
    verdict.save(place / "report.json")
    print(verdict.headline, flush=True)
    held = Batch(model.tokenize(data.held.texts), texts=data.held.texts)
    subject = NativeSubject(model.denoiser, held, tokenizer=model.tokenizer, name="MiniLM as a masked language model")
    # at home: padding was neither seen nor scored in its training
    return figures(subject, padding_seen=False) | {"steps": words.steps, "verdict": said(verdict)}


def masked_lm(steps: int, data: Corpus, folder: Path, out: Path) -> None:
    """The training of :func:`bert`, saved as transformers saves it."""
    from transformers import AutoTokenizer, BertForMaskedLM

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = LENGTH
    rows = tokenizer(list(data.train.texts), padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    torch.manual_seed(0)
    with silenced():
        net = BertForMaskedLM.from_pretrained(folder)
    best = torch.optim.AdamW(net.parameters(), 5e-4, betas=(0.9, 0.98), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(best, 5e-4, total_steps=steps + 1, pct_start=0.1)
    noise = torch.Generator().manual_seed(0)
    special = torch.tensor(tokenizer.all_special_ids)
    net.train()
    for step in range(steps):
        pick_B = torch.randint(0, len(rows["input_ids"]), (48,), generator=noise)
        ids_BL, seen_BL = rows["input_ids"][pick_B], rows["attention_mask"][pick_B]
        chosen_BL = ~torch.isin(ids_BL, special) & (torch.rand(ids_BL.shape, generator=noise) < 0.15)
        lot_BL = torch.rand(ids_BL.shape, generator=noise)
        x_BL = ids_BL.masked_fill(chosen_BL & (lot_BL < 0.8), tokenizer.mask_token_id)
        other_BL = torch.randint(1000, len(tokenizer), ids_BL.shape, generator=noise)
        x_BL = torch.where(chosen_BL & (lot_BL > 0.9), other_BL, x_BL)
        hidden_BLD = net.bert(input_ids=x_BL, attention_mask=seen_BL).last_hidden_state
        loss = torch.nn.functional.cross_entropy(net.cls(hidden_BLD[chosen_BL]), ids_BL[chosen_BL])
        best.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        best.step()
        rate.step()
        if step % 50 == 0:
            print(f"step {step}: {loss.item():.2f} nats", flush=True)
    net.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)


def inputs() -> Path:
    """The prepared corpus, made now if it is missing."""
    folder = ROOT / "runs" / "diagnosis_bench"
    if not (folder / "corpus.safetensors").exists():
        prepare(folder, 22_000)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=("ignored", "ppl7", "bert"))
    parser.add_argument("--steps", type=int, default=1500, help="of each training")
    parser.add_argument("--keep", action="store_true", help="bert: diagnose the weights of the run before")
    parser.add_argument("--page", action="store_true", help="only fill the page from its JSON again")
    parser.add_argument("--pictures", action="store_true", help="photograph the reports with Chromium")
    words = parser.parse_args()
    place = ROOT / "runs" / "cases" / words.case
    place.mkdir(parents=True, exist_ok=True)
    if words.page:
        case = json.loads((PAGES / f"{words.case}.json").read_text(encoding="utf-8"))
    else:
        start = time.perf_counter()
        case = {"ignored": ignored, "ppl7": ppl7, "bert": bert}[words.case](words, place)
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
        case["made_with"] = (
            f"{torch.get_num_threads()} CPU threads, torch {torch.__version__}, "
            f"commit {commit.stdout.strip()}, {time.perf_counter() - start:.0f} s"
        )
    fill(words.case, case)
    if words.pictures:
        for report in sorted(place.glob("*.html")):
            picture(report, PAGES / "img" / f"{words.case}_{report.stem}.png")
    print(json.dumps({k: v for k, v in case.items() if not isinstance(v, (dict, list))}))


if __name__ == "__main__":
    main()

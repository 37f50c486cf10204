"""The small models that the diagnosis is measured on: clauses of the World English Bible, with MiniLM's vectors.

:func:`prepare` writes everything the models need into one folder; whatever else is here works from that folder alone.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from unmask.core.condition import Condition
from unmask.data.tokenizer import encode_fixed, train_bpe
from unmask.diagnosis.causal import CausalSubject
from unmask.diagnosis.faults._training import ShortTraining
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.subject import Batch
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel

LENGTH, VOCAB = 32, 1024


def clauses(texts: int) -> list[str]:
    """Different clauses of 20 to 80 characters, shuffled."""
    from unmask.data.corpora import verses

    found = {c.strip() for verse in verses("web").values() for c in re.split(r"(?<=[,;:.!?])", verse)}
    chosen = sorted(c for c in found if 20 <= len(c) <= 80)
    random.Random(0).shuffle(chosen)
    return chosen[:texts]


def prepare(folder: Path, texts: int) -> None:
    """Write tokenizer, ids, vectors and texts: at 22,000 texts below 22 MB."""
    from unmask.models.encoders import SentenceEncoder

    chosen = clauses(texts)
    held = len(chosen) // 15
    tokenizer = train_bpe(chosen[held:], VOCAB)
    encoder = SentenceEncoder.load("minilm")
    tensors, kept = {}, {}
    for name, side in {"held_out": chosen[:held], "train": chosen[held:]}.items():
        rows = encode_fixed(tokenizer, side, LENGTH, over_long="drop")
        kept[name] = [side[i] for i in rows.rows]
        vectors = torch.from_numpy(encoder.encode(kept[name], batch_size=256, progress=True))
        tensors |= {f"{name}_ids": torch.from_numpy(rows.ids).short(), f"{name}_vectors": vectors.half()}
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "texts.json").write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
    save_file(tensors, folder / "corpus.safetensors")


@dataclass(frozen=True)
class Corpus:
    """Held-out and training rows with their vectors."""

    tokenizer: Any
    held: Batch
    train: Batch


@lru_cache(maxsize=1)
def corpus(folder: Path) -> Corpus:
    """What :func:`prepare` wrote."""
    from transformers import PreTrainedTokenizerFast

    tensors = load_file(folder / "corpus.safetensors")
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    held, train = (
        Batch(
            tensors[f"{side}_ids"].long(),
            Condition.of(tensors[f"{side}_vectors"].float()),
            texts=tuple(texts[side]),
        )
        for side in ("held_out", "train")
    )
    return Corpus(PreTrainedTokenizerFast.from_pretrained(folder), held, train)


@dataclass(frozen=True)
class Model:
    """One healthy model of the benchmark: what it is and how it was trained."""

    kind: str  # sgdd, plain or causal
    dim: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.dim}_seed{self.seed}"


def network(model: Model, tied: Corpus) -> Any:
    """Untrained, of the model's shape."""
    torch.manual_seed(model.seed)
    if model.kind == "causal":
        from transformers import LlamaConfig, LlamaForCausalLM

        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCAB, hidden_size=model.dim, intermediate_size=2 * model.dim, num_hidden_layers=3,
                num_attention_heads=4, max_position_embeddings=4 * LENGTH, tie_word_embeddings=True, pad_token_id=0,
                bos_token_id=1, eos_token_id=1,
            )
        )  # fmt: skip
    config: dict[str, Any] = {}
    if model.kind == "sgdd":
        assert tied.train.cond is not None
        config = {"conditioning": "adaln", "latent_dim": tied.train.cond.latent_BZ.shape[1], "latent_tokens": 4}
    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(
            vocab_size=VOCAB, max_position_embeddings=LENGTH, dim=model.dim, layers=3, heads=4, ffn_dim=4 * model.dim,
            time_embedding=True, **config,
        )
    )  # fmt: skip
    if net.latent is not None and tied.train.cond is not None:
        net.latent.whiten.fit(tied.train.cond.latent_BZ)
    return net


def trained(model: Model, folder: Path, steps: int) -> Any:
    """The model, trained."""
    data = corpus(folder)
    net = network(model, data)
    if model.kind != "causal":
        cond = data.train.cond if model.kind == "sgdd" else None
        return ShortTraining(steps=steps, seed=model.seed, lr=2e-3)(net, data.train.ids_BL, cond)
    best = torch.optim.AdamW(net.parameters(), 3e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(best, 3e-3, total_steps=steps + 1)
    noise = torch.Generator().manual_seed(model.seed)
    ids_NL = data.train.ids_BL
    for _ in range(steps):
        ids_BL = ids_NL[torch.randint(0, len(ids_NL), (64,), generator=noise)]
        logits_BLV = net(input_ids=ids_BL).logits
        loss = torch.nn.functional.cross_entropy(
            logits_BLV[:, :-1].flatten(0, 1), ids_BL[:, 1:].flatten(), ignore_index=0
        )
        best.zero_grad()
        loss.backward()
        best.step()
        rate.step()
    return net.eval()


def subject_of(model: Model, net: Any, folder: Path) -> NativeSubject | CausalSubject:
    """The subject around a trained network."""
    data = corpus(folder)
    held, train = data.held, data.train
    if model.kind != "sgdd":
        held, train = (Batch(side.ids_BL, texts=side.texts) for side in (held, train))
    if model.kind == "causal":
        return CausalSubject(net, held, train, pad_id=0, eos_id=1, tokenizer=data.tokenizer, name=model.name)
    return NativeSubject(net, held, train, tokenizer=data.tokenizer, name=model.name)


def train_into(model: Model, folder: Path, place: Path, steps: int) -> None:
    """Train a model and write its weights, whole or not at all."""
    net = trained(model, folder, steps)
    # tied weights are written once
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_suffix(".part")
    save_file(weights, part)
    part.replace(place)


def load_subject(model: Model, folder: Path, place: Path, device: str = "cpu") -> NativeSubject | CausalSubject:
    """The subject around weights that :func:`train_into` wrote."""
    net = network(model, corpus(folder))
    net.load_state_dict(load_file(place))
    return subject_of(model, net.eval().to(device), folder)

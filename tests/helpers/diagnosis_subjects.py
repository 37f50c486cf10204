"""Small healthy subjects on real text, for the tests of the diagnosis."""

from __future__ import annotations

import random
import re
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.data.corpora import verses
from unmask.data.tokenizer import encode_fixed, train_bpe
from unmask.diagnosis.causal import CausalSubject
from unmask.diagnosis.faults._training import ShortTraining
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.subject import Batch
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel

LENGTH, VOCAB, WIDTH = 24, 512, 96


@lru_cache(maxsize=1)
def corpus() -> tuple[Any, Tensor, Tensor, list[str], list[str]]:
    """Tokenizer, training ids, held-out ids, and the texts: clauses of verses, every 20th held out."""
    clauses = {c.strip() for verse in verses("web").values() for c in re.split(r"(?<=[,;:.!?])", verse)}
    texts = sorted(c for c in clauses if 20 <= len(c) <= 60)
    random.Random(0).shuffle(texts)
    train = [t for i, t in enumerate(texts) if i % 20]
    held = [t for i, t in enumerate(texts) if i % 20 == 0]
    tokenizer = train_bpe(train, VOCAB)
    parts = []
    for side in (train, held):
        rows = encode_fixed(tokenizer, side, LENGTH, over_long="drop")
        parts.append((torch.from_numpy(rows.ids).long(), [side[i] for i in rows.rows]))
    return tokenizer, parts[0][0], parts[1][0], parts[0][1], parts[1][1]


def bag_of_words(ids_NL: Tensor) -> Tensor:
    """A vector that says which tokens a text has [N, WIDTH]: the sum of fixed random directions, normalised."""
    table = torch.randn(VOCAB, WIDTH, generator=torch.Generator().manual_seed(5))
    table[:3] = 0
    return torch.nn.functional.normalize(table[ids_NL].sum(1), dim=-1)


def rows(ids_NL: Tensor, texts: list[str], conditional: bool) -> Batch:
    return Batch(ids_NL, Condition.of(bag_of_words(ids_NL)) if conditional else None, texts=tuple(texts))


@lru_cache(maxsize=8)
def make_subject(conditional: bool, seed: int = 0, dim: int = 64, steps: int = 500, **config: Any) -> NativeSubject:
    """A model trained for some seconds, as a subject."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    tokenizer, train_ids, held_ids, train_texts, held_texts = corpus()
    if conditional:
        config = {"conditioning": "adaln", "latent_dim": WIDTH, **config}
    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(
            vocab_size=VOCAB,
            max_position_embeddings=LENGTH,
            dim=dim,
            layers=2,
            heads=4,
            ffn_dim=4 * dim,
            time_embedding=True,
            **config,
        )
    )
    train = rows(train_ids, train_texts, conditional)
    if net.latent is not None and train.cond is not None:
        net.latent.whiten.fit(train.cond.latent_BZ[:4000])
    ShortTraining(steps=steps, seed=seed)(net, train.ids_BL, train.cond)
    return NativeSubject(net, rows(held_ids, held_texts, conditional), train, tokenizer=tokenizer, name="verses")


@lru_cache(maxsize=1)
def make_causal(steps: int = 100) -> CausalSubject:
    """A small causal model on the same clauses."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    torch.set_num_threads(1)
    tokenizer, train_ids, held_ids, train_texts, held_texts = corpus()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=4 * LENGTH,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        )
    )
    best = torch.optim.AdamW(model.parameters(), 5e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(best, 5e-3, total_steps=steps + 1)
    noise = torch.Generator().manual_seed(0)
    for _ in range(steps):
        ids_BL = train_ids[torch.randint(0, len(train_ids), (64,), generator=noise)]
        logits_BLV = model(input_ids=ids_BL).logits
        loss = torch.nn.functional.cross_entropy(
            logits_BLV[:, :-1].flatten(0, 1), ids_BL[:, 1:].flatten(), ignore_index=0
        )
        best.zero_grad()
        loss.backward()
        best.step()
        rate.step()
    return CausalSubject(
        model.eval(),
        rows(held_ids, held_texts, False),
        rows(train_ids, train_texts, False),
        pad_id=0,
        eos_id=1,
        tokenizer=tokenizer,
        name="verses, causal",
    )

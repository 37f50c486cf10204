"""Our own models on clauses of the World English Bible, trained the way benchmarks/diagnosis_models.py trains."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

import diagnosis_models
from diagnosis_models import LENGTH, VOCAB, Corpus, Model
from unmask.core.condition import Condition
from unmask.core.sampling import drawn_lengths
from unmask.data.tokenizer import encode_fixed
from unmask.diagnosis.causal import CausalSubject
from unmask.diagnosis.faults._training import ShortTraining
from unmask.diagnosis.faults.low_mask_training import CappedLaw
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.record import Record
from unmask.diagnosis.subject import Batch, NotProvided
from unmask.diffusion.process import MaskingProcess
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from zoo.own.kept import Recipe, folder, record_kept, shuffled_words, some, weights_of

TEXTS = 12_000


def clauses() -> Corpus:
    """Ids, texts and MiniLM's vectors; made once (minutes)."""
    place = folder() / "clauses"
    if not (place / "corpus.safetensors").exists():
        diagnosis_models.prepare(place, TEXTS)
    return diagnosis_models.corpus(place)


@lru_cache(maxsize=4)
def rows(recipe: Recipe) -> Batch:
    """The training rows of a recipe, in a fixed order."""
    data = clauses()
    train = data.train
    assert train.texts is not None and train.cond is not None
    ids_NL, latent_NZ, texts = train.ids_BL, train.cond.latent_BZ, list(train.texts)
    if recipe.shuffled:
        odd_N = some(len(texts), recipe.shuffled)
        texts = [shuffled_words(t, i) if odd else t for i, (t, odd) in enumerate(zip(texts, odd_N, strict=True))]
        laid = encode_fixed(data.tokenizer, texts, LENGTH, over_long="drop")
        texts, latent_NZ = [texts[i] for i in laid.rows], latent_NZ[laid.rows]
        ids_NL = torch.from_numpy(laid.ids).long()
    if recipe.strangers:
        odd_N = some(len(texts), recipe.strangers, 1)
        latent_NZ = torch.where(odd_N[:, None], latent_NZ.roll(1, 0), latent_NZ)
    if recipe.leaked:
        held = data.held
        assert held.texts is not None and held.cond is not None
        in_N = some(len(held), recipe.leaked, 2)
        order = torch.randperm(len(texts) + int(in_N.sum()), generator=torch.Generator().manual_seed(5))
        ids_NL = torch.cat([ids_NL, held.ids_BL[in_N]])[order]
        latent_NZ = torch.cat([latent_NZ, held.cond.latent_BZ[in_N]])[order]
        every = texts + [t for t, inside in zip(held.texts, in_N, strict=True) if inside]
        texts = [every[i] for i in order.tolist()]
    return Batch(ids_NL, Condition.of(latent_NZ), texts=tuple(texts)).rows(0, recipe.rows or len(texts))


class _Kept:
    """What training left: its recipe, its record, and another training of the same kind."""

    kept: Record | None = None
    what: str = ""
    recipe: Recipe = Recipe()

    def record(self) -> Record:
        if self.kept is None:
            raise NotProvided("a record: what this model scored in training was not recorded")
        return self.kept

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        laid = encode_fixed(clauses().tokenizer, list(texts), LENGTH, over_long="drop")
        return torch.from_numpy(laid.ids).long(), None

    def again(self, **changes: Any) -> Any:
        """The subject of another recipe."""
        return system(self.what, replace(self.recipe, **changes))


class Ours(_Kept, NativeSubject):
    """A native model of the zoo."""

    def with_network(self, network: Any) -> Ours:
        """The same around another network; its record stays."""
        other = copy.copy(self)
        other.denoiser, other.path = network, None
        other.conditional = network.conditional
        return other

    @property
    def network(self) -> Any:
        return self.denoiser

    def canvas(self, batch: Batch, seed: int, temperature: float) -> tuple[Tensor, Tensor | None]:
        """Where a sampler starts [B, L]: masks, and what exists of them."""
        log_p_BL = self.denoiser.length_log_probs(batch.cond, len(batch))
        if log_p_BL is None:
            return torch.full_like(batch.ids_BL, self.denoiser.mask_id), None
        return self.denoiser.ragged_canvas(drawn_lengths(log_p_BL, temperature, seed), batch.ids_BL.shape[1])


class OursCausal(_Kept, CausalSubject):
    """A causal model of the zoo."""

    def with_network(self, network: Any) -> OursCausal:
        """The same around another network; its record stays."""
        other = copy.copy(self)
        other.model = network
        return other

    @property
    def network(self) -> Any:
        return self.model


def _network(what: str, recipe: Recipe, data: Corpus) -> Any:
    kind = "sgdd" if what.startswith("sgdd") else what
    if kind == "causal" or (not recipe.lengths and recipe.dim >= 16):
        return diagnosis_models.network(Model(kind, recipe.dim, recipe.seed), data)
    torch.manual_seed(recipe.seed)
    assert data.train.cond is not None
    width = data.train.cond.latent_BZ.shape[1]
    vector: dict[str, Any] = {"conditioning": "adaln", "latent_dim": width, "latent_tokens": 4}
    config = MaskedDiffusionConfig(
        vocab_size=VOCAB,
        max_position_embeddings=LENGTH,
        dim=recipe.dim,
        layers=3 if recipe.dim >= 16 else 1,
        heads=4 if recipe.dim >= 16 else 2,
        ffn_dim=4 * recipe.dim,
        time_embedding=True,
        length_model=recipe.lengths,
        **(vector if kind == "sgdd" else {}),
    )
    net = MaskedDiffusionModel(config)
    if net.latent is not None:
        net.latent.whiten.fit(data.train.cond.latent_BZ)
    return net


def system(what: str, recipe: Recipe, **settings: Any) -> Ours | OursCausal:
    """The subject ``what`` (sgdd, plain or causal) of a recipe, trained if it was not.

    Args:
        what, recipe: which.
        settings: of :class:`NativeSubject` or :class:`CausalSubject`, for subjects that write in another way.
    """
    data, train, name = clauses(), rows(recipe), f"{what}_{recipe.slug}"
    law = CappedLaw("count", cap=recipe.cap) if recipe.cap < 1 else MaskingProcess("count", time_power=1.5)

    def training(net: Any) -> None:
        if what == "causal":
            _next_token(net, train.ids_BL, recipe)
        else:
            cond = train.cond if what == "sgdd" else None
            ShortTraining(steps=recipe.steps, seed=recipe.seed, lr=2e-3, law=law)(net, train.ids_BL, cond)

    net = weights_of(name, _network(what, recipe, data), training)
    held = data.held
    if what != "sgdd":
        held, train = (Batch(side.ids_BL, texts=side.texts) for side in (held, train))
    if what == "causal":
        causal = OursCausal(
            net, held, train, pad_id=0, eos_id=1, tokenizer=data.tokenizer, name="own causal", **settings
        )
        causal.what, causal.recipe = what, recipe
        causal.kept = record_kept(name, causal, steps=recipe.steps)
        return causal
    if recipe.cap < 1:
        settings = {"law": law, **settings}
    subject = Ours(net, held, train, tokenizer=data.tokenizer, name=f"own {what}", **settings)
    subject.what, subject.recipe = what, recipe
    subject.kept = record_kept(name, subject, steps=recipe.steps)
    return subject


def _next_token(net: Any, ids_NL: Tensor, recipe: Recipe) -> None:
    best = torch.optim.AdamW(net.parameters(), 3e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(best, 3e-3, total_steps=recipe.steps + 1)
    noise = torch.Generator().manual_seed(recipe.seed)
    for _ in range(recipe.steps):
        ids_BL = ids_NL[torch.randint(0, len(ids_NL), (64,), generator=noise)]
        logits_BLV = net(input_ids=ids_BL).logits
        loss = torch.nn.functional.cross_entropy(
            logits_BLV[:, :-1].flatten(0, 1), ids_BL[:, 1:].flatten(), ignore_index=0
        )
        best.zero_grad()
        loss.backward()
        best.step()
        rate.step()

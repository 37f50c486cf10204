"""Subjects that share no code with ours: own network, own loss, own sampler, on a language of their own.

Shapes: B rows, L columns, N asked positions, V words, Z vector (docs/notation.md).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.condition import Condition
from unmask.diagnosis.record import Record
from unmask.diagnosis.subject import Batch, Generated, NotProvided, Split, State, Step, Subject, TrainingView
from zoo.own.grammar import LENGTH, Words, sentences, vectors
from zoo.own.kept import Recipe, record_kept, shuffled_words, some, weights_of

WORDS = Words()
V = len(WORDS)
MASK_ID = 2


class Net(nn.Module):
    """A transformer of torch's own layers; the vector is one more token in front."""

    def __init__(self, dim: int, length: int, layers: int = 2) -> None:
        super().__init__()
        self.word = nn.Embedding(V, dim)
        self.place = nn.Parameter(torch.randn(length, dim) * 0.1)
        self.about = nn.Linear(48, dim)
        self.nothing = nn.Parameter(torch.zeros(dim))
        heads = 4 if dim >= 16 else 2
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm, self.out = nn.LayerNorm(dim), nn.Linear(dim, V)

    def forward(self, x_BL: Tensor, cond: Condition | None) -> Tensor:
        """Logits [B, L, V]; the mask is never an answer."""
        front = self.nothing.expand(len(x_BL), -1)
        if cond is not None:
            front = torch.where(cond.present_B[:, None], self.about(cond.latent_BZ.to(self.place.dtype)), front)
        h = torch.cat([front[:, None], self.word(x_BL) + self.place[: x_BL.shape[1]]], 1)
        for layer in self.layers:
            h = layer(h)
        logits: Tensor = self.out(self.norm(h[:, 1:])).float()
        return logits.index_fill(2, torch.tensor([MASK_ID]), float("-inf"))


def hide(ids_BL: Tensor, noise: torch.Generator, cap: float = 1.0) -> Tensor:
    """True where a row is masked: a share drawn uniformly, one place at least."""
    share_B1 = torch.rand(len(ids_BL), 1, generator=noise) * cap
    lot_BL = torch.rand(ids_BL.shape, generator=noise)
    return (lot_BL < share_B1) | (lot_BL == lot_BL.amin(1, keepdim=True))


class ByHand(Subject):
    """The whole system: data, loss, answer, sampler."""

    kind, vocab_size, mask_id, pad_id, eos_id = "masked", V, MASK_ID, 0, 1
    tokenizer = WORDS
    steps, temperature, guidance, order = LENGTH, 1.0, 1.0, "random"

    def __init__(self, network: Net, recipe: Recipe, conditional: bool) -> None:
        self.network, self.recipe, self.conditional = network, recipe, conditional
        self.name = "by hand, with a vector" if conditional else "by hand"
        self.kept: Record | None = None
        self.settings = {"steps": (4, self.canvas_length), "temperature": (1.0, 0.5), "order": ("random", "margin")}
        if conditional:
            self.settings["guidance"] = (1.0, 3.0)

    @property
    def canvas_length(self) -> int:
        return self.recipe.canvas or LENGTH

    def with_network(self, network: Any) -> ByHand:
        """The same around another network; its record stays."""
        other = copy.copy(self)
        other.network = network
        return other

    def again(self, **changes: Any) -> ByHand:
        """The subject of another recipe."""
        return by_hand(self.conditional, replace(self.recipe, **changes))

    def canvas(self, batch: Batch, seed: int, temperature: float) -> tuple[Tensor, Tensor | None]:
        """Where a sampler starts [B, L]."""
        return torch.full_like(batch.ids_BL, MASK_ID), None

    def data(self, n: int, split: Split = "held_out") -> Batch:
        return _batch(self.recipe, split, self.conditional).rows(0, n)

    def training_view(self, batch: Batch, seed: int) -> TrainingView:
        masked_BL = hide(batch.ids_BL, torch.Generator().manual_seed(seed), self.recipe.cap)
        x_BL = batch.ids_BL.masked_fill(masked_BL, MASK_ID)
        self.network.eval()
        with torch.no_grad():
            logp_NV = self.network(x_BL, batch.cond)[masked_BL].log_softmax(-1)
        ce_N = -logp_NV.gather(1, batch.targets[masked_BL][:, None])[:, 0].double()
        return TrainingView(
            x_BL, masked_BL, ce_N, float(ce_N.mean()), torch.full_like(ce_N, 1 / len(ce_N)), cond=batch.cond
        )

    def predict(self, state: State) -> Tensor:
        self.network.eval()
        with torch.no_grad():
            return self.network(state.x_BL, state.cond)[state.at_BL]

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        steps = min(int(settings.get("steps", self.steps)), batch.ids_BL.shape[1])
        temperature = float(settings.get("temperature", self.temperature))
        gamma, order = float(settings.get("guidance", self.guidance)), settings.get("order", self.order)
        noise = torch.Generator().manual_seed(seed)
        x_BL, L = torch.full_like(batch.ids_BL, MASK_ID), batch.ids_BL.shape[1]
        lot_BL, trace = torch.rand(x_BL.shape, generator=noise), []
        for step in range(steps):
            with torch.no_grad():
                logits = self.network(x_BL, batch.cond)
                if gamma != 1 and batch.cond is not None:
                    free = self.network(x_BL, batch.cond.nulled())
                    logits = (free + gamma * (logits - free)).index_fill(2, torch.tensor([MASK_ID]), float("-inf"))
            masked_BL = x_BL == MASK_ID
            take = int(masked_BL[0].sum()) - (L - L * (step + 1) // steps)
            if order == "margin":
                best = logits.softmax(-1).topk(2, -1).values
                score_BL = best[..., 0] - best[..., 1]
            else:
                score_BL = lot_BL
            chosen_BK = score_BL.masked_fill(~masked_BL, -1.0).topk(take, 1).indices
            drawn_BL = torch.zeros_like(masked_BL).scatter_(1, chosen_BK, True)
            if temperature == 0:
                value = logits[drawn_BL].argmax(-1)
            else:
                p_NV = (logits[drawn_BL].double() / temperature).softmax(-1)
                value = torch.multinomial(p_NV, 1, generator=noise)[:, 0]
            trace.append(Step(x_BL.clone(), drawn_BL))
            x_BL[drawn_BL] = value
        forwards = len(x_BL) * steps * (2 if gamma != 1 else 1)
        return Generated(x_BL, tuple(trace), temperature, gamma, any_order=True, forwards=forwards)

    def draw(self, logits_NV: Tensor, seed: int) -> Tensor:
        noise = torch.Generator().manual_seed(seed)
        return torch.multinomial(logits_NV.double().softmax(-1), 1, generator=noise)[:, 0]

    def weights(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict())

    def record(self) -> Record:
        if self.kept is None:
            raise NotProvided("a record: what this model scored in training was not recorded")
        return self.kept

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        ids_BL = WORDS.rows(tuple(texts), self.canvas_length)
        return ids_BL, vectors(ids_BL, V) if self.conditional else None


@lru_cache(maxsize=8)
def _batch(recipe: Recipe, split: Split, conditional: bool) -> Batch:
    held, train = sentences()
    texts = list(held if split == "held_out" else train)
    if split == "train":
        odd_N = some(len(texts), recipe.shuffled).tolist()
        told = WORDS.rows(tuple(texts))
        texts = [shuffled_words(t, i) if odd else t for i, (t, odd) in enumerate(zip(texts, odd_N, strict=True))]
        if recipe.leaked:
            texts += [t for t, inside in zip(held, some(len(held), recipe.leaked, 2).tolist(), strict=True) if inside]
            order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(5)).tolist()
            texts = [texts[i] for i in order]
            told = WORDS.rows(tuple(texts))
        texts = texts[: recipe.rows]
    ids_NL = WORDS.rows(tuple(texts), recipe.canvas or LENGTH)
    if not conditional:
        return Batch(ids_NL, texts=tuple(texts))
    latent_NZ = vectors(ids_NL if split == "held_out" else told[: len(ids_NL)], V)
    if split == "train" and recipe.strangers:
        latent_NZ = torch.where(some(len(texts), recipe.strangers, 1)[:, None], latent_NZ.roll(1, 0), latent_NZ)
    return Batch(ids_NL, Condition.of(latent_NZ), texts=tuple(texts))


def _train(net: nn.Module, recipe: Recipe, conditional: bool) -> None:
    data = _batch(recipe, "train", conditional)
    noise = torch.Generator().manual_seed(recipe.seed)
    best = torch.optim.Adam(net.parameters(), 2e-3)
    net.train()
    for step in range(recipe.steps):
        for group in best.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 50) * (1 - step / recipe.steps)
        rows = torch.randint(0, len(data), (64,), generator=noise)
        ids_BL = data.ids_BL[rows]
        cond = None if data.cond is None else data.cond[rows].drop(torch.rand(64, generator=noise) < 0.1)
        masked_BL = hide(ids_BL, noise, recipe.cap)
        logits = net(ids_BL.masked_fill(masked_BL, MASK_ID), cond)
        loss = nn.functional.cross_entropy(logits[masked_BL], ids_BL[masked_BL])
        best.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        best.step()


def by_hand(conditional: bool, recipe: Recipe) -> ByHand:
    """The subject of a recipe, trained if it was not."""
    torch.manual_seed(recipe.seed)
    name = f"hand{'_vector' if conditional else ''}_{recipe.slug}"
    new = Net(recipe.dim, recipe.canvas or LENGTH, 2 if recipe.dim >= 16 else 1)
    subject = ByHand(
        weights_of(name, new, lambda net: _train(net, recipe, conditional)),  # type: ignore[arg-type]
        recipe,
        conditional,
    )
    subject.kept = record_kept(name, subject, steps=recipe.steps)
    return subject

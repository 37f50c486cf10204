"""Faults of training and its data: another recipe, trained once and kept; the record is that of the faulty training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unmask.diagnosis.record import Record, record_of
from unmask.diagnosis.subject import Batch, Generated, State, Subject, TrainingView, Wrapped
from zoo.contract import ZooFault
from zoo.own.loop import CausalLoop, Loop, system_of

MASKED, LATENT = frozenset({"masked"}), frozenset({"masked", "latent"})


def recipe(name: str, repair: str, needs: Any = frozenset(), half: Any = None, **changes: Any) -> ZooFault:
    """A fault whose subject went through another training; ``half`` is what changes at half strength."""

    def plant(subject: Subject, strength: float) -> Subject:
        system = system_of(subject)
        told = changes if strength == 1 or half is None else half
        wanted = {k: v(system.recipe) if callable(v) else v for k, v in told.items()}
        return system.again(**wanted)  # type: ignore[no-any-return]

    return ZooFault(name, "training" if repair != "data.split" else "data", repair, plant, needs, half is not None)


class WordCounts(Wrapped):
    """A table of how often each id stands in each column; it never looks at its input."""

    def __init__(self, inner: Subject, strength: float = 1.0) -> None:
        super().__init__(inner)
        ids_NL = inner.data(20_000, "train").ids_BL
        L, V = ids_NL.shape[1], inner.vocab_size
        counts_LV = torch.full((L, V), 0.05)
        counts_LV.scatter_add_(1, ids_NL.T, torch.ones(L, len(ids_NL)))
        if inner.mask_id is not None:
            counts_LV[:, inner.mask_id] = 0.0
        self.logp_LV = counts_LV.log() - counts_LV.sum(1, keepdim=True).log()
        self.loop: Wrapped | None = None
        self._record: Record | None = None

    def predict(self, state: State) -> Tensor:
        """The table's row of each asked column."""
        return self.logp_LV[state.at_BL.nonzero()[:, 1]]

    def training_view(self, batch: Batch, seed: int) -> TrainingView:
        """The same places, scored by the table."""
        view = self.inner.training_view(batch, seed)
        logits_NV = self.predict(State(view.x_BL, view.scored_BL))
        ce_N = -logits_NV.gather(1, batch.targets[view.scored_BL][:, None])[:, 0].double()
        weight_N = torch.full_like(ce_N, 1 / len(ce_N)) if view.weight_N is None else view.weight_N
        return replace(view, ce_N=ce_N, weight_N=weight_N, loss=float((weight_N * ce_N).sum()), logits_NV=None)

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        """Written by the plain loop."""
        if self.loop is None:
            self.loop = Loop(self) if self.kind == "masked" else CausalLoop(self)
            self.settings, self.skipped = self.loop.settings, self.loop.skipped
        return self.loop.generate(batch, seed, **settings)

    def record(self) -> Record:
        """The table's own."""
        if self._record is None:
            self._record = record_of(self, "training")
        return self._record

    def weights(self) -> dict[str, Tensor]:
        """The table."""
        return {"p": self.logp_LV.exp()}

    def reloaded(self) -> dict[str, Tensor]:
        """The table."""
        return {"p": self.logp_LV.exp()}


def word_counts(subject: Subject, strength: float) -> Subject:
    """The subject with a table in the network's place."""
    planted = WordCounts(system_of(subject))
    loop = Loop(planted) if planted.kind == "masked" else None
    if loop is not None:
        planted.settings, planted.skipped = loop.settings, loop.skipped
    return planted


def faults() -> list[ZooFault]:
    """Every fault of this file."""

    def fewer(share: float) -> Any:
        return lambda r: max(1, round(r.steps * share))

    return [
        recipe("tenth_of_the_steps", "training.steps", steps=fewer(0.1), half={"steps": fewer(0.3)}),
        recipe("hardly_trained", "training.steps", steps=fewer(0.03)),
        recipe("width_8", "training.capacity", dim=8, half={"dim": 16}),
        recipe("shuffled_words", "training.data", shuffled=1.0, half={"shuffled": 0.5}),
        recipe("few_texts", "training.data", rows=300, half={"rows": 1000}),
        recipe("half_of_held_out_in_training", "data.split", leaked=0.5, half={"leaked": 0.25}, rows=2000),
        recipe("low_ratios_alone", "training.ratios", MASKED, half={"cap": 0.5}, cap=0.25),
        recipe("vectors_of_others", "condition.rows", LATENT, half={"strangers": 0.5}, strangers=1.0),
        ZooFault("word_counts", "training", "training.capacity", word_counts),
    ]

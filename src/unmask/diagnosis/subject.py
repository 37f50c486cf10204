"""What a diagnosis sees of a model: four methods, and a few facts about its ids.

One convention makes masked and causal models look alike: **a row of logits belongs to the position it predicts**. For a
masked model that is the masked position itself; for a causal model the token at position j is predicted from the tokens
before j, so its logits are the network's output at j - 1.

Shapes: B batch, L length, N rows of logits asked for, V vocabulary, Z latent (docs/notation.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.model import Diagnosable
from unmask.diagnosis.record import Record
from unmask.diagnosis.rows import Batch, Kind, NotProvided, Split, State

__all__ = [
    "Batch", "CachedRun", "Generated", "NotProvided", "Step", "Record", "Split", "State", "Subject",
    "Kind", "TrainingView", "Wrapped", "everywhere",
]  # fmt: skip


@dataclass(frozen=True)
class TrainingView:
    """What training really feeds, asks for and reports.

    Attributes:
        x_BL: ids fed to the network.
        scored_BL: True where the loss is taken (row-major order is the order of every ``_N`` below).
        ce_N: cross-entropy there, nats, by training's own forward pass.
        loss: the number that is watched.
        weight_N: what each cross-entropy is multiplied by in ``loss``; None if unknown.
        bound: True if ``loss`` is published as a bound, or its exponential as a perplexity.
        logits_NV: training's logits at the scored positions, if at hand.
        t_B: the time fed, in the model's own unit; None for a model without one.
        cond: the condition fed.
        role_BL: what kind of place each position is, as small integers, where the column is not what matters (the first
            character of a block, say); None: the column.
    """

    x_BL: Tensor
    scored_BL: Tensor
    ce_N: Tensor
    loss: float
    weight_N: Tensor | None = None
    bound: bool = False
    logits_NV: Tensor | None = None
    t_B: Tensor | None = None
    cond: Condition | None = None
    role_BL: Tensor | None = None


@dataclass(frozen=True)
class Step:
    """One step of a sampler: what the network saw, and which positions were drawn from its answer.

    Attributes:
        x_BL: ids before the step.
        drawn_BL: positions given a value in this step.
        t_B: the time that was passed, in the model's own unit; None for a model without one.
    """

    x_BL: Tensor
    drawn_BL: Tensor
    t_B: Tensor | None = None


@dataclass(frozen=True)
class Generated:
    """What a sampler wrote.

    Attributes:
        ids_BL: the finished canvases.
        steps: how they came to be, first step first; None if the sampler does not tell.
        temperature: what was asked of the draw; 0 for the most probable token.
        guidance: gamma in gamma l_c + (1 - gamma) l_u; 1 is no guidance.
        any_order: True if the sampler claims to choose the order itself.
        top_k, top_p: what the draw was restricted to, at that temperature; None is all ids.
        altered: why what was drawn from is not what ``predict`` answers (a cache, a penalty), in words; empty if it is.
        forwards: calls of the network times rows; counted from ``steps`` when None.
        role_BL: see :class:`TrainingView`.
        remasks: True if written places are masked again as part of the sampler, False if never; None: not told.
    """

    ids_BL: Tensor
    steps: tuple[Step, ...] | None = None
    temperature: float = 1.0
    guidance: float = 1.0
    any_order: bool = False
    top_k: int | None = None
    top_p: float | None = None
    altered: str = ""
    forwards: int | None = None
    role_BL: Tensor | None = None
    remasks: bool | None = None


@dataclass(frozen=True)
class CachedRun:
    """Logits of a prefix-cached pass over known tokens.

    Attributes:
        logits_NV: for positions ``start`` to L - 1, each from a cache that holds what came before (row-major).
        start: the first position predicted from the cache.
        position_T: position ids that were given to the tokens fed after the prefix, in the order fed.
        kept_T: cache entries a layer held after each of these tokens (mean over layers).
        keep: the share of the prefix that the cache was asked to keep; 1 is no compression.
        held_K: places of the prefix whose entries stayed, if the cache can tell (a layer's; any layer will do).
        control_NV: ``logits_NV`` from a cache of the same size whose entries were drawn (the first tokens kept).
    """

    logits_NV: Tensor
    start: int
    position_T: Tensor
    kept_T: Tensor
    keep: float = 1.0
    held_K: Tensor | None = None
    control_NV: Tensor | None = None


class Subject(Diagnosable):
    """Derive from this to have a model of your own diagnosed; docs/diagnose_your_own.md walks through one.

    Four methods matter: :meth:`data`, :meth:`training_view`, :meth:`predict` and :meth:`generate`. Each one left out
    turns the checks that need it into "not run". The further ones allow further checks.

    Attributes:
        name: what the report calls it.
        path: the folder or id that it was loaded from; None if it was not.
        kind: ``masked`` (predicts hidden positions from both sides) or ``causal`` (predicts from what came before).
        vocab_size: V; mask_id, pad_id, eos_id: ids or None.
        tokenizer: with ``decode``, and for the round trip with ``encode``; None if there is none.
        conditional: True if a semantic vector is to change the answer.
        ragged: True if :meth:`predict` heeds ``state.valid_BL``; only then is it asked with padding.
        writes_padding: False if a row's padding does not exist for the model, because it draws its length first; it is
            then neither masked nor asked about.
        settings: what :meth:`generate` takes beside batch and seed, with values to try, e.g.
            ``{"order": ("random", "margin"), "steps": (4, 16)}``; the largest number of steps is used where another
            setting is tried.
        skipped: settings that mean nothing here, each with the reason that the report gives.
        notes: what a reader has to be told of the data, one sentence each (texts left out, unknown tokens).
        plan_words: how :meth:`generate` writes when it is given no setting, in one line; "" if nobody says.
        plan_settings: settings of a generation that :meth:`generate` has beside the model's default plan.
        rows_are_texts: False if a row is a part of a text behind what was read before it, so that the same row may
            stand in many texts.
        asks_reference: True if each row of data is what was to be written for its condition, as in reconstruction;
            None: where a masked subject is conditional.
    """

    name: str = "model"
    path: str | None = None
    kind: Kind = "masked"
    vocab_size: int
    mask_id: int | None = None
    pad_id: int | None = None
    eos_id: int | None = None
    tokenizer: Any = None
    conditional: bool = False
    ragged: bool = False
    writes_padding: bool = True
    settings: dict[str, tuple[Any, ...]] = {}
    skipped: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    plan_words: str = ""
    plan_settings: dict[str, Any] = {}
    asks_reference: bool | None = None
    rows_are_texts: bool = True

    @property
    def asks(self) -> bool:
        """Whether what is written for a row is to be that row."""
        return self.conditional and self.kind == "masked" if self.asks_reference is None else self.asks_reference

    # -- the four ---------------------------------------------------------------------------------------------------
    def data(self, n: int, split: Split = "held_out") -> Batch:
        """The first ``n`` rows (or fewer, if there are fewer) of a fixed shuffle of the held-out or training data."""
        raise NotProvided("data(n, split)")

    def training_view(self, batch: Batch, seed: int) -> TrainingView:
        """Corrupt (or shift) the batch as training does under this seed, run training's forward, score, and report.

        Feed ``batch.ids_BL``; score against ``batch.targets``. No update, no gradient.
        """
        raise NotProvided("training_view(batch, seed)")

    def predict(self, state: State) -> Tensor:
        """Logits [N, V] at ``state.at_BL`` (row-major), the way inference computes them."""
        raise NotProvided("predict(state)")

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        """Write ``len(batch)`` texts for the batch's conditions (a causal model: from the starts of its rows)."""
        raise NotProvided("generate(batch, seed)")

    # -- what more can be asked -------------------------------------------------------------------------------------
    def draw(self, logits_NV: Tensor, seed: int) -> Tensor:
        """Ids [N] that the sampler would draw from these logits at temperature 1."""
        raise NotProvided("draw(logits_NV, seed)")

    def posterior(self, cond: Condition) -> tuple[Tensor, Tensor]:
        """Mean and log variance [B, C] of a variational bottleneck."""
        raise NotProvided("posterior(cond)")

    def reloaded(self) -> dict[str, Tensor]:
        """:meth:`weights` of the same model after saving and loading it."""
        raise NotProvided("reloaded()")

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers by name."""
        raise NotProvided("weights()")

    def loading_report(self) -> dict[str, list[str]]:
        """``missing`` and ``unexpected`` names of the load that made this model."""
        raise NotProvided("loading_report()")

    def cached(self, ids_BL: Tensor, start: int) -> CachedRun:
        """Positions from ``start`` on predicted through the cache, token by token, fed with the true tokens."""
        raise NotProvided("cached(ids_BL, start)")

    def blocks(self, n: int) -> list[list[str]]:
        """The pieces that the first ``n`` held-out texts are written in, for a model that writes block by block."""
        raise NotProvided("blocks(n)")

    def record(self) -> Record:
        """What training scored, as it was kept beside the weights (:mod:`unmask.diagnosis.record`)."""
        raise NotProvided("record()")

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Ids [B, L] of texts, laid out as :meth:`data` lays them out, and their semantic vectors [B, Z] or None."""
        raise NotProvided("encode(texts)")

    def obeys(self, batch: Batch, ids_BL: Tensor) -> Tensor:
        """True [B] where a row keeps what its condition gives and every rule there is, as a filled puzzle does.

        For rows whose places have a meaning of their own, so that n-grams say nothing of them.
        """
        raise NotProvided("obeys(batch, ids)")

    def provides(self, method: str) -> bool:
        """Whether ``method`` is this subject's own."""
        return getattr(type(self), method) is not getattr(Subject, method)


#: what a wrapper takes over from the subject inside it
FACTS = (
    "name",
    "path",
    "kind",
    "vocab_size",
    "mask_id",
    "pad_id",
    "eos_id",
    "tokenizer",
    "conditional",
    "ragged",
    "writes_padding",
    "settings",
    "skipped",
    "notes",
    "plan_words",
    "plan_settings",
    "asks_reference",
    "rows_are_texts",
)
METHODS = (
    "data",
    "training_view",
    "predict",
    "generate",
    "draw",
    "posterior",
    "reloaded",
    "weights",
    "loading_report",
    "cached",
    "blocks",
    "record",
    "encode",
    "obeys",
)


class Wrapped(Subject):
    """A subject around a subject: everything is the inner one's unless overridden."""

    def __init__(self, inner: Subject) -> None:
        self.inner = inner
        for fact in FACTS:
            setattr(self, fact, getattr(inner, fact))

    def data(self, n: int, split: Split = "held_out") -> Batch:
        return self.inner.data(n, split)

    def training_view(self, batch: Batch, seed: int) -> TrainingView:
        return self.inner.training_view(batch, seed)

    def predict(self, state: State) -> Tensor:
        return self.inner.predict(state)

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        return self.inner.generate(batch, seed, **settings)

    def draw(self, logits_NV: Tensor, seed: int) -> Tensor:
        return self.inner.draw(logits_NV, seed)

    def posterior(self, cond: Condition) -> tuple[Tensor, Tensor]:
        return self.inner.posterior(cond)

    def reloaded(self) -> dict[str, Tensor]:
        return self.inner.reloaded()

    def weights(self) -> dict[str, Tensor]:
        return self.inner.weights()

    def loading_report(self) -> dict[str, list[str]]:
        return self.inner.loading_report()

    def cached(self, ids_BL: Tensor, start: int) -> CachedRun:
        return self.inner.cached(ids_BL, start)

    def blocks(self, n: int) -> list[list[str]]:
        return self.inner.blocks(n)

    def record(self) -> Record:
        return self.inner.record()

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        return self.inner.encode(texts)

    def obeys(self, batch: Batch, ids_BL: Tensor) -> Tensor:
        return self.inner.obeys(batch, ids_BL)

    def provides(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(Wrapped, method) or self.inner.provides(method)


def everywhere(x_BL: Tensor) -> Tensor:
    """True at every position."""
    return torch.ones_like(x_BL, dtype=torch.bool)

"""The subject of anything that meets the denoiser contract: native models and adapters."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import UnmaskError, UsageError
from unmask.core.random import Stream, generator, uniform
from unmask.core.renamed import current
from unmask.core.sampling import categorical, gumbel_argmax
from unmask.decoding.cache import BlockKVCache
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.quota import quotas
from unmask.decoding.rule import samplers
from unmask.diagnosis.baselines import in_text
from unmask.diagnosis.record import Record, kept_at
from unmask.diagnosis.recording import watched
from unmask.diagnosis.subject import Batch, Generated, NotProvided, Split, State, Subject, TrainingView
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskingProcess
from unmask.evaluation.likelihood import scoring
from unmask.models.denoiser import MaskedDiffusionModel
from unmask.models.text_model import TextModel, load_native

#: steps of the plan that is judged when none is given
PLAIN_STEPS = 32
#: training rows that are given vectors, where no more are asked for
TRAIN_VECTORS = 512
#: gives the first n rows of a fixed shuffle
RowSource = Callable[[int], Batch]


@dataclass(frozen=True)
class RowsOf:
    """Rows that are in memory already."""

    batch: Batch

    def __call__(self, n: int) -> Batch:
        return self.batch.rows(0, n)


class NativeSubject(Subject):
    """A denoiser with data.

    Args:
        denoiser: native model or adapter; used in evaluation mode.
        held_out, train: rows of data, or a function that gives the first n; ``train`` may be None.
        tokenizer: with ``decode`` and ``__call__``, or None.
        law: how training hides positions; exactly n ~ U{1..L} of them when None.
        plan: how it is sampled. When None: temperature 1 and random order in at most 32 steps, so that what is judged
            is the law that the model has learned. Give the plan you use, and its settings are judged too: those that
            mean something under it (see :func:`tried`).
        name, path: what to call it, and the folder it was loaded from.

    Raises:
        UsageError: a plan with a cache for a model that remembers no keys.
    """

    kind = "masked"
    ragged = True

    def __init__(
        self,
        denoiser: Denoiser,
        held_out: Batch | RowSource,
        train: Batch | RowSource | None = None,
        *,
        tokenizer: Any = None,
        law: MaskingProcess | None = None,
        plan: DecodingPlan | None = None,
        name: str = "model",
        path: str | None = None,
    ) -> None:
        self.denoiser, self.tokenizer, self.name, self.path = denoiser, tokenizer, name, path
        self.held_out = RowsOf(held_out) if isinstance(held_out, Batch) else held_out
        self.train = RowsOf(train) if isinstance(train, Batch) else train
        self.law = MaskingProcess("count") if law is None else law
        self.plan = plan
        self._encode: Callable[[Sequence[str]], tuple[Tensor, Tensor | None]] | None = None
        self.vocab_size, self.mask_id = denoiser.vocab_size, denoiser.mask_id
        self.pad_id, self.eos_id, self.conditional = denoiser.pad_id, denoiser.eos_id, denoiser.conditional
        self.writes_padding = not denoiser.models_length
        if plan is not None and plan.cache_leaf is not None:
            # refuses what cannot be written under this plan, in the model's own name
            BlockKVCache(denoiser, plan.cache_leaf)
        self.settings, self.skipped = tried(plan or DecodingPlan(), self._blocks())
        if denoiser.conditional:
            self.settings["guidance"] = (1.0, 3.0)

    @classmethod
    def of(
        cls,
        model: TextModel,
        texts: Sequence[str],
        *,
        sources: Sequence[str] | None = None,
        train_texts: Sequence[str] | None = None,
        plan: DecodingPlan | None = None,
        length: int | None = None,
        notes: tuple[str, ...] = (),
    ) -> NativeSubject:
        """A loaded model with texts.

        Args:
            model: from ``unmask.load``.
            texts: held-out texts that it is to write.
            sources: what the encoder reads for them; the texts themselves when None.
            train_texts: texts of the training set, for word counts and memorisation.
            plan: see :class:`NativeSubject`.
            length: positions of the canvas; the card's when None.
            notes: what a reader has to be told of the texts.

        Raises:
            UsageError: no text.
        """
        subject = cls(
            model.denoiser,
            text_rows(model, texts, sources, length=length),
            # of most of them only the ids are needed: vectors of a few are made where they are asked for
            None if not train_texts else text_rows(model, train_texts, encode=TRAIN_VECTORS, length=length),
            tokenizer=model.tokenizer,
            law=masking_process_of(model.card.recipe),
            plan=plan,
            name=Path(model.path).name if model.path else "model",
            path=model.path,
        )
        subject.notes = notes
        subject._encode = partial(_encoded, model, length, sources is None or list(sources) == list(texts))
        return subject

    @property
    def device(self) -> torch.device:
        parameters = getattr(self.denoiser, "parameters", None)
        return next(parameters()).device if parameters is not None else torch.device("cpu")

    def _blocks(self) -> int:
        """How many blocks the plan writes a canvas in."""
        if self.plan is None or self.plan.block_length is None:
            return 1
        return -(-self.held_out(1).ids_BL.shape[1] // self.plan.block_length)

    def data(self, n: int, split: Split = "held_out") -> Batch:
        rows = self.held_out if split == "held_out" else self.train
        if rows is None:
            raise NotProvided("data(n, 'train')")
        batch = rows(n)
        cond = None if batch.cond is None else batch.cond.to(self.device)
        ids_BL = batch.ids_BL.to(self.device)
        valid_BL = there(self.denoiser, ids_BL) if batch.valid_BL is None else batch.valid_BL.to(self.device)
        return replace(batch, ids_BL=ids_BL, cond=cond, valid_BL=valid_BL)

    def training_view(self, batch: Batch, seed: int) -> TrainingView:
        with scoring(self.denoiser):
            ids_BL = batch.ids_BL
            valid_BL = there(self.denoiser, ids_BL)
            corruption = self.law.corrupt(ids_BL, self.denoiser.mask_id, generator(seed, Stream.CORRUPT), valid_BL)
            carry = None
            if self.denoiser.wants_carry:
                state = (corruption.x_BL, batch.cond, corruption.fraction_B)
                carry = self.denoiser.body(*state, valid_BL=valid_BL).carry
            scored = replace(corruption, clean_BL=batch.targets)
            losses = token_losses(self.denoiser, scored, batch.cond, valid_BL=valid_BL, carry=carry)
        ce_N = losses.ce_N.double()
        if bool(torch.isnan(corruption.weight_B).any()):
            weight_N, bound = torch.full_like(ce_N, 1 / len(ce_N)), False
        else:
            # nats a text token: padding is priced (it says where the text ends) but is not divided by
            tokens = in_text(ids_BL, self.eos_id, self.pad_id).sum()
            weight_N, bound = corruption.weight_B.double()[losses.row_N] / tokens, True
        return TrainingView(
            x_BL=corruption.x_BL,
            scored_BL=corruption.masked_BL,
            ce_N=ce_N,
            loss=float((weight_N * ce_N).sum()),
            weight_N=weight_N,
            bound=bound,
            t_B=corruption.fraction_B,
            cond=batch.cond,
        )

    def predict(self, state: State) -> Tensor:
        return ask(self.denoiser, state)

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        plan = self.plan or DecodingPlan(order="random", steps=min(PLAIN_STEPS, batch.ids_BL.shape[1]))
        return watched(self.denoiser, batch, replace(plan, seed=seed, **settings))

    def draw(self, logits_NV: Tensor, seed: int) -> Tensor:
        row_N = torch.arange(len(logits_NV), device=logits_NV.device)
        if self.plan is not None and self.plan.draw == "gumbel":
            return gumbel_argmax(logits_NV, seed, row_N)
        return categorical(logits_NV, uniform(seed, row_N, Stream.VALUE))

    def posterior(self, cond: Condition) -> tuple[Tensor, Tensor]:
        found = self.denoiser.posterior(cond.latent_BZ)
        if found is None:
            raise NotProvided("a variational bottleneck")
        return found

    def weights(self) -> dict[str, Tensor]:
        if not isinstance(self.denoiser, torch.nn.Module):
            raise NotProvided("weights()")
        return dict(self.denoiser.state_dict())

    def reloaded(self) -> dict[str, Tensor]:
        if not isinstance(self.denoiser, MaskedDiffusionModel):
            raise NotProvided("reloaded()")
        if self.path is not None:
            return dict(load_native(self.path, self.device).denoiser.state_dict())  # type: ignore[attr-defined]
        with tempfile.TemporaryDirectory() as folder, quietly():
            self.denoiser.save_pretrained(Path(folder))
            return dict(MaskedDiffusionModel.from_pretrained(folder).state_dict())

    def record(self) -> Record:
        return kept_at(self.path)

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        if self._encode is None:
            raise NotProvided("encode(texts)")
        return self._encode(texts)

    def loading_report(self) -> dict[str, list[str]]:
        report = getattr(self.denoiser, "loading_report", None)
        if report is None:
            raise NotProvided("loading_report()")
        return dict(report() if callable(report) else report)


def tried(plan: DecodingPlan, blocks: int = 1) -> tuple[dict[str, tuple[Any, ...]], dict[str, str]]:
    """Settings that mean something under a plan, with two values each; and why the others mean nothing.

    Args:
        plan: how texts are written.
        blocks: how many blocks the canvas is written in. Each takes a step at least, so fewer steps are no fewer.
    """
    name, alone = samplers.name_of(plan.sampler_leaf), "a block of one token is written in one step, in one order"
    settings: dict[str, tuple[Any, ...]] = {}
    skipped: dict[str, str] = {}
    if "order" not in plan.sampler_leaf.uses:
        skipped["order"] = f"sampler {name!r} does not use it"
    elif plan.block_length == 1:
        skipped["order"] = alone
    else:
        settings["order"] = ("random", "margin")
    if plan.top_k == 1:
        skipped["temperature"] = "top_k=1 leaves nothing to draw"
    else:
        settings["temperature"] = (1.0, 0.5)
    if not plan.counts_steps:
        who = f"quota {quotas.name_of(plan.quota_leaf)!r}" if "quota" in plan.sampler_leaf.uses else f"sampler {name!r}"
        skipped["steps"] = f"{who} decides by itself"
    elif plan.block_length == 1:
        skipped["steps"] = alone
    else:
        settings["steps"] = (max(2, blocks), 8 * blocks)
    return settings, skipped


def there(denoiser: Denoiser, x_BL: Tensor) -> Tensor | None:
    """The positions that exist [B, L]: those without padding, for a model that draws its length; None: all."""
    return x_BL != denoiser.pad_id if denoiser.models_length else None


def ask(denoiser: Denoiser, state: State) -> Tensor:
    """Logits the way our samplers ask: evaluation mode, the masked fraction as time, a first pass where wanted."""
    if state.valid_BL is None:
        state = replace(state, valid_BL=there(denoiser, state.x_BL))
    with scoring(denoiser):
        t_B = state.t_B
        if t_B is None:
            hidden_BL = state.x_BL == denoiser.mask_id
            valid_BL = torch.ones_like(hidden_BL) if state.valid_BL is None else state.valid_BL
            t_B = (hidden_BL & valid_BL).sum(1) / valid_BL.sum(1)
        carry = None
        if denoiser.wants_carry:
            carry = denoiser.body(state.x_BL, state.cond, t_B, valid_BL=state.valid_BL).carry
        return denoiser.logits(state.x_BL, state.at_BL, state.cond, t_B, valid_BL=state.valid_BL, carry=carry)


@contextmanager
def quietly() -> Iterator[None]:
    """No progress bars of transformers inside."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def masking_process_of(recipe: dict[str, Any]) -> MaskingProcess:
    """The law that a recipe trains under."""
    recipe = current(recipe)
    known: dict[str, Any] = {k: recipe[k] for k in ("estimator", "schedule") if k in recipe}
    known |= {k: float(recipe[k]) for k in ("time_power", "word_dropout") if k in recipe}
    return MaskingProcess(**known)


def _encoded(model: TextModel, length: int | None, own: bool, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """Ids of texts and, where they are written from their ``own`` and the encoder is at hand, their vectors."""
    vectors = None
    if own and model.denoiser.conditional:
        with contextlib.suppress(UnmaskError):  # the encoder may not be here; the ids still say something
            vectors = model.condition(list(texts)).latent_BZ
    return model.tokenize(texts, length), vectors


def text_rows(
    model: TextModel,
    texts: Sequence[str],
    sources: Sequence[str] | None = None,
    encode: int | None = None,
    length: int | None = None,
) -> RowSource:
    """Rows of a text model: tokenised and encoded when asked for, and no more than asked for.

    Args:
        model: the text model.
        texts: what it is to write.
        sources: what the encoder reads; the texts themselves when None.
        encode: up to how many rows are given their semantic vectors, for a conditional model; any number when None.
        length: positions of the canvas; the card's when None.
    """
    if not len(texts):
        raise UsageError("there is no text to diagnose with: give held-out texts")
    order = torch.randperm(len(texts), generator=generator(0, Stream.SHUFFLE)).tolist()
    read = texts if sources is None else sources

    @lru_cache(maxsize=4)
    def rows(n: int) -> Batch:
        chosen = order[:n]
        written = tuple(texts[i] for i in chosen)
        wanted = model.denoiser.conditional and (encode is None or n <= encode)
        cond = model.condition([read[i] for i in chosen]) if wanted else None
        return Batch(model.tokenize(written, length), cond, texts=written)

    return rows
